//! Which tools a server offers: profiles, which are about how much, and modes, which are about what for.

use std::fmt;
use std::str::FromStr;

/// How much a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// One command in a guest of its own, and nothing else.
    VmRun,
    /// Persistent workspaces: files, commands, diff, export, reset.
    #[default]
    WorkspaceCore,
    /// Everything there is.
    WorkspaceFull,
}

/// What a server is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Reproduce a failure, change the code, prove the change.
    ReproFix,
    /// Look at code that nobody has read, and report.
    Inspect,
    /// Find out whether a project installs and runs from nothing.
    ColdStart,
    /// Review a change, evaluate it, and go back.
    ReviewEval,
}

/// The tools of a server: those of a profile, or those of a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// Those of a profile.
    Profile(Profile),
    /// Those of a mode.
    Mode(Mode),
}

impl Default for Exposure {
    fn default() -> Self {
        Self::Profile(Profile::default())
    }
}

/// A name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use one of: {choices}")]
pub struct UnknownName {
    choices: String,
}

/// The names of a choice, both ways.
macro_rules! named {
    ($type:ident: $($variant:ident = $name:literal),+ $(,)?) => {
        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name, as in flags.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                let names: Vec<&str> = Self::ALL.iter().map(|one| one.as_str()).collect();
                let found = Self::ALL.iter().copied().find(|one| one.as_str() == text);
                found.ok_or_else(|| UnknownName { choices: names.join(", ") })
            }
        }
    };
}

named!(Profile: VmRun = "vm-run", WorkspaceCore = "workspace-core", WorkspaceFull = "workspace-full");
named!(Mode: ReproFix = "repro-fix", Inspect = "inspect", ColdStart = "cold-start", ReviewEval = "review-eval");

/// What one can do with any workspace, and in every mode.
const INSPECT: &[&str] = &[
    "workspace_create",
    "workspace_delete",
    "workspace_exec",
    "workspace_export",
    "workspace_file_list",
    "workspace_file_read",
    "workspace_list",
    "workspace_logs",
    "workspace_status",
    "workspace_summary",
    "workspace_update",
];
/// What it takes to change files, see what has changed, and go back.
const REPAIR: &[&str] = &[
    "workspace_diff",
    "workspace_file_write",
    "workspace_patch_apply",
    "workspace_reset",
    "workspace_sync_push",
];
const SHELLS: &[&str] = &["shell_close", "shell_open", "shell_read", "shell_signal", "shell_write"];
const SERVICES: &[&str] =
    &["service_list", "service_logs", "service_start", "service_status", "service_stop"];
const SNAPSHOTS: &[&str] = &["snapshot_create", "snapshot_delete", "snapshot_list"];

impl Exposure {
    /// Whether a server with this exposure offers a tool.
    pub(crate) fn offers(self, tool: &str) -> bool {
        let sets: &[&[&str]] = match self {
            Self::Profile(Profile::WorkspaceFull) => return true,
            Self::Profile(Profile::VmRun) => &[&["vm_run"]],
            Self::Profile(Profile::WorkspaceCore) => &[&["vm_run"], INSPECT, REPAIR],
            Self::Mode(Mode::ReproFix) => &[INSPECT, REPAIR],
            Self::Mode(Mode::Inspect) => &[INSPECT],
            Self::Mode(Mode::ColdStart) => &[INSPECT, &["workspace_reset"], SERVICES],
            Self::Mode(Mode::ReviewEval) => {
                &[INSPECT, &["workspace_diff", "workspace_reset"], SHELLS, SNAPSHOTS]
            }
        };
        sets.iter().any(|set| set.contains(&tool))
    }

    /// Whether an argument of a tool is offered: what crosses the host's boundary, only where the work needs it.
    pub(crate) fn offers_argument(self, argument: &str) -> bool {
        let is_full = self == Self::Profile(Profile::WorkspaceFull);
        match argument {
            "secrets" | "secret_env" => is_full,
            "network_policy" | "allow_hosts" | "published_ports" => {
                is_full || self == Self::Mode(Mode::ColdStart)
            }
            "allow_host_compat" => matches!(self, Self::Profile(_)),
            _ => true,
        }
    }
}
