//! The environment that commands start with.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use crate::agent::Mode;

/// Variables by name.
pub type Environment = BTreeMap<OsString, OsString>;

/// Where programs are looked for when nothing else says so.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables about the user, which an ordinary process has and PID 1 must make up.
const OF_THE_USER: [(&str, &str); 4] =
    [("PATH", DEFAULT_PATH), ("HOME", "/root"), ("USER", "root"), ("LOGNAME", "root")];

/// The environment of a command that runs in `cwd`. Nothing else of the agent's own environment is passed on.
pub fn defaults(mode: &Mode, cwd: &Path) -> Environment {
    let mut env = Environment::from([
        ("SHELL".into(), "/bin/sh".into()),
        ("LANG".into(), "C.UTF-8".into()),
        // Output goes into pipes: no colours, no cursor movement.
        ("TERM".into(), "dumb".into()),
        ("PWD".into(), cwd.into()),
    ]);
    for (name, default) in OF_THE_USER {
        let value = match mode {
            Mode::Init => None,
            Mode::Process { .. } => std::env::var_os(name),
        };
        env.insert(name.into(), value.unwrap_or_else(|| default.into()));
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn pid_1_makes_up_a_user_and_an_ordinary_process_passes_its_own_on() {
        let of = |mode: &Mode, name: &str| defaults(mode, Path::new("/w")).get(OsStr::new(name)).cloned();
        let process = Mode::Process { workdir: "/w".into(), secrets: None };
        assert_eq!(of(&Mode::Init, "HOME"), Some("/root".into()));
        assert_eq!(of(&Mode::Init, "PATH"), Some(DEFAULT_PATH.into()));
        assert_eq!(of(&process, "PATH"), std::env::var_os("PATH"));
        assert_eq!(of(&process, "PWD"), Some("/w".into()));
        assert_eq!(of(&process, "CARGO_PKG_NAME"), None);
    }
}
