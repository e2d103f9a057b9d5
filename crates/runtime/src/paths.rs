//! Where pyro keeps things: resolved once from the environment, absolute ever after.
//!
//! XDG base directories with `/pyro` below each; `PYRO_HOME` moves all four; `PYRO_ENVIRONMENT_CACHE_DIR` moves the
//! environment cache alone. Nothing is created by resolving.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use pyro_protocol::error::{Diagnostic, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::env_vars::{self, EnvVars, Lookup};

/// What the dynamic loader gives a meaning in a library path.
const LOADER_SYNTAX: &[u8] = b":;$";

/// Why the directories could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// A variable holds a relative path.
    #[error("{variable} is not an absolute path: {}", path.display())]
    Relative {
        /// The variable.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// A variable holds a path that climbs: what a VMM may see of the host is known by plain paths.
    #[error("{variable} has a `..` in it: {}", path.display())]
    Climbs {
        /// The variable.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// The dynamic loader, which starts the bundle's programs, would take the path for several or expand it.
    #[error("the path {} has a `:`, `;` or `$`, with which the programs of the runtime bundle cannot be started", path.display())]
    LoaderSyntax {
        /// The path.
        path: PathBuf,
    },
    /// Neither the XDG variable nor the home directory is known.
    #[error("no place for pyro's files: neither {} nor {} is set", EnvVars::PYRO_HOME, EnvVars::HOME)]
    NoHome,
}

impl Diagnostic for PathsError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Relative { variable, .. } => format!("Set {variable} to an absolute path, or unset it."),
            Self::Climbs { variable, .. } => format!("Set {variable} to a path without `..`, or unset it."),
            Self::LoaderSyntax { .. } | Self::NoHome => {
                format!("Set {} to a directory you can write to.", EnvVars::PYRO_HOME)
            }
        })
    }
}

/// The directories pyro keeps its files in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dirs {
    cache: PathBuf,
    data: PathBuf,
    state: PathBuf,
    run: PathBuf,
    environments: PathBuf,
    bundle_override: Option<PathBuf>,
}

impl Dirs {
    /// Resolves the directories from the process's environment.
    pub fn from_env() -> Result<Self, PathsError> {
        Self::resolve(&env_vars::process)
    }

    /// Everything below one directory, as with `PYRO_HOME`, whatever the environment says.
    pub fn under(home: &Path) -> Self {
        let cache = home.join("cache");
        Self {
            environments: cache.join("environments"),
            cache,
            data: home.join("data"),
            state: home.join("state"),
            run: home.join("run"),
            bundle_override: None,
        }
    }

    /// Resolves the directories from the variables `lookup` knows.
    pub fn resolve(lookup: Lookup<'_>) -> Result<Self, PathsError> {
        let mut dirs = match absolute(lookup, EnvVars::PYRO_HOME)? {
            Some(home) => Self::under(&home),
            None => Self::xdg(lookup)?,
        };
        if let Some(environments) = absolute(lookup, EnvVars::PYRO_ENVIRONMENT_CACHE_DIR)? {
            dirs.environments = environments;
        }
        dirs.bundle_override = absolute(lookup, EnvVars::PYRO_RUNTIME_BUNDLE_DIR)?;
        let bundles = dirs.bundle_override.as_ref().unwrap_or(&dirs.cache);
        if bundles.as_os_str().as_bytes().iter().any(|byte| LOADER_SYNTAX.contains(byte)) {
            return Err(PathsError::LoaderSyntax { path: bundles.clone() });
        }
        Ok(dirs)
    }

    fn xdg(lookup: Lookup<'_>) -> Result<Self, PathsError> {
        let base = |variable: &'static str, in_home: &str| -> Result<PathBuf, PathsError> {
            // The XDG specification says to ignore a relative value rather than to fail.
            if let Some(value) = lookup(variable).map(PathBuf::from).filter(|path| path.is_absolute()) {
                return Ok(plain(variable, value)?.join("pyro"));
            }
            let home = absolute(lookup, EnvVars::HOME)?.ok_or(PathsError::NoHome)?;
            Ok(home.join(in_home).join("pyro"))
        };
        let cache = base(EnvVars::XDG_CACHE_HOME, ".cache")?;
        let state = base(EnvVars::XDG_STATE_HOME, ".local/state")?;
        let run = match lookup(EnvVars::XDG_RUNTIME_DIR).map(PathBuf::from) {
            Some(path) if path.is_absolute() => plain(EnvVars::XDG_RUNTIME_DIR, path)?.join("pyro"),
            _ => state.join("run"),
        };
        Ok(Self {
            environments: cache.join("environments"),
            data: base(EnvVars::XDG_DATA_HOME, ".local/share")?,
            cache,
            state,
            run,
            bundle_override: None,
        })
    }

    /// What can be made again: packages, bundles.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// What the user made: workspaces, with their records and disks.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Records: logs, what was proven on this host.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Sockets and pid files, gone after a reboot.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// The cache of environments.
    pub fn environments(&self) -> &Path {
        &self.environments
    }

    /// The cache of packages and package lists.
    pub fn debian(&self) -> PathBuf {
        self.cache.join("debian")
    }

    /// The cache of runtime bundles.
    pub fn runtime(&self) -> PathBuf {
        self.cache.join("runtime")
    }

    /// The bundle to use instead of the cached one, if the user said so.
    pub fn bundle_override(&self) -> Option<&Path> {
        self.bundle_override.as_deref()
    }
}

fn absolute(lookup: Lookup<'_>, variable: &'static str) -> Result<Option<PathBuf>, PathsError> {
    let Some(path) = lookup(variable).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    if path.is_absolute() {
        plain(variable, path).map(Some)
    } else {
        Err(PathsError::Relative { variable, path })
    }
}

fn plain(variable: &'static str, path: PathBuf) -> Result<PathBuf, PathsError> {
    let climbs = path.components().any(|component| component == Component::ParentDir);
    if climbs { Err(PathsError::Climbs { variable, path }) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(vars: &[(&str, &str)]) -> Result<Dirs, PathsError> {
        Dirs::resolve(&|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn directories_follow_the_environment() {
        type Case<'a> = (&'a [(&'a str, &'a str)], [&'a str; 5]);
        let cases: &[Case<'_>] = &[
            (
                &[("HOME", "/h")],
                [
                    "/h/.cache/pyro",
                    "/h/.local/share/pyro",
                    "/h/.local/state/pyro",
                    "/h/.local/state/pyro/run",
                    "/h/.cache/pyro/environments",
                ],
            ),
            (
                &[
                    ("HOME", "/h"),
                    ("XDG_CACHE_HOME", "/c"),
                    ("XDG_RUNTIME_DIR", "/r"),
                    ("XDG_DATA_HOME", "d"),
                ],
                [
                    "/c/pyro",
                    "/h/.local/share/pyro",
                    "/h/.local/state/pyro",
                    "/r/pyro",
                    "/c/pyro/environments",
                ],
            ),
            (
                &[("PYRO_HOME", "/p"), ("XDG_CACHE_HOME", "/c"), ("PYRO_ENVIRONMENT_CACHE_DIR", "/e")],
                ["/p/cache", "/p/data", "/p/state", "/p/run", "/e"],
            ),
        ];
        for (vars, expected) in cases {
            let dirs = resolve(vars).unwrap();
            let got = [dirs.cache(), dirs.data(), dirs.state(), dirs.run(), dirs.environments()];
            assert_eq!(got, expected.map(Path::new), "{vars:?}");
        }
    }

    #[test]
    fn unusable_environments_are_refused() {
        assert!(matches!(resolve(&[]), Err(PathsError::NoHome)));
        let error = resolve(&[("PYRO_HOME", "relative/home")]).unwrap_err();
        assert!(matches!(error, PathsError::Relative { variable: "PYRO_HOME", .. }));
        for variable in ["PYRO_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"] {
            let error = resolve(&[("HOME", "/h"), (variable, "/a/../b")]).unwrap_err();
            assert!(error.to_string().contains(variable), "{error}");
            assert!(matches!(error, PathsError::Climbs { .. }));
        }
        assert!(error.hint().unwrap().contains("PYRO_HOME"));
        for home in ["/a:b", "/a;b", "/a$LIB"] {
            assert!(
                matches!(resolve(&[("PYRO_HOME", home)]), Err(PathsError::LoaderSyntax { .. })),
                "{home}"
            );
        }
    }
}
