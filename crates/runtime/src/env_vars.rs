//! Every environment variable pyro reads, in one type, from which the documentation is made.
//!
//! Values are read through a lookup function rather than from the process, so that tests and the SDK can pass their own.

use std::ffi::OsString;

/// Where environment variables are looked up: the process's, or a caller's own.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Looks `name` up in the process's environment; an empty value counts as not set.
pub fn process(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// One documented variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvVar {
    /// Its name.
    pub name: &'static str,
    /// What it does, as Markdown prose.
    pub doc: &'static str,
}

macro_rules! env_vars {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {
        /// The names of the environment variables pyro reads.
        #[derive(Debug)]
        pub struct EnvVars;

        impl EnvVars {
            $($(#[doc = $doc])+ pub const $name: &'static str = stringify!($name);)+

            /// All of them, with their documentation, in the order they are documented in.
            pub const ALL: &'static [EnvVar] = &[
                $(EnvVar { name: stringify!($name), doc: concat!($($doc),+) }),+
            ];
        }
    };
}

env_vars! {
    /// One directory for everything pyro keeps, instead of the XDG directories: its `cache`, `data`, `state` and `run`
    /// subdirectories. Must be absolute.
    PYRO_HOME;
    /// Directory of the environment cache alone. Must be absolute.
    PYRO_ENVIRONMENT_CACHE_DIR;
    /// Directory of a runtime bundle just built, used as it is after verification, instead of the cached one.
    PYRO_RUNTIME_BUNDLE_DIR;
    /// Base URL of the Debian mirror that packages come from, such as `http://mirror.example/debian`. Without it, the
    /// host's own apt sources say which.
    PYRO_DEBIAN_MIRROR;
    /// URL of a Debian archive at a point in time, with `{timestamp}` where the time goes; needed by `--snapshot`.
    PYRO_DEBIAN_SNAPSHOT_URL;
    /// When machines start from templates: `auto` (the default: whenever there is one, and one is made in the background after
    /// the first cold start of a shape), `manual` (only `pyro prepare` makes them), `off` (every machine boots its kernel).
    PYRO_TEMPLATES;
    /// Which engine runs guests: `auto` (the default: where a guest has been seen to boot on KVM, Firecracker, or QEMU where there is
    /// no Firecracker; else QEMU in software emulation), `firecracker`, `qemu-kvm`, `qemu-emulation`. One that is named is used
    /// without a probe, and nothing takes its place.
    PYRO_ENGINE;
    /// The `firecracker` program to use, instead of the official release that pyro fetches when it has a use for it.
    PYRO_FIRECRACKER_BIN;
    /// The `pyro` program, for SDK programs that are not it: workspaces need one to supervise their guests. Without it, the one
    /// in `PATH` is taken.
    PYRO_PROGRAM;
    /// The token that clients of `pyro mcp serve --http-port` have to show, of at least 16 characters. Without it, one is made.
    PYRO_MCP_TOKEN;
    /// The host's HTTP proxy for what guests with a network connect to, as `http://proxy.example:3128`; the name in lower case
    /// goes first, as with the next three.
    HTTPS_PROXY;
    /// The same for port 80, where it differs.
    HTTP_PROXY;
    /// The proxy for both, where they name none.
    ALL_PROXY;
    /// Hosts that are reached without the proxy: names, with what is below them, addresses and networks, separated by commas.
    NO_PROXY;
    /// Base of the cache directory (XDG), `~/.cache` when not set.
    XDG_CACHE_HOME;
    /// Base of the data directory (XDG), `~/.local/share` when not set.
    XDG_DATA_HOME;
    /// Base of the state directory (XDG), `~/.local/state` when not set.
    XDG_STATE_HOME;
    /// Base of the runtime directory (XDG): sockets live here. Without it, they live in the state directory.
    XDG_RUNTIME_DIR;
    /// Where programs are found: the `pyro` that supervises an SDK program's workspaces.
    PATH;
    /// The user's home directory, where the XDG directories are by default.
    HOME;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_documented_once() {
        for (index, var) in EnvVars::ALL.iter().enumerate() {
            assert!(var.doc.trim().ends_with('.'), "{} has no sentence of documentation", var.name);
            assert!(
                EnvVars::ALL[index + 1..].iter().all(|other| other.name != var.name),
                "{} twice",
                var.name
            );
        }
        assert_eq!(EnvVars::PYRO_HOME, "PYRO_HOME");
    }
}
