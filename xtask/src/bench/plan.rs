//! What to measure, and how often.

use anyhow::{Context, Result, bail};

/// Rounds by default.
const RUNS: usize = 20;
/// Most cold starts: each takes seconds.
const COLD_RUNS: usize = 5;

/// What can be asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    Floor,
    RunWarm,
    RunCold,
    Create,
    FirstExec,
    LiveExec,
    FirstGit,
    Reset,
    Delete,
    IdleMemory,
    Fleet,
    Workspace,
    WorkspaceDiff,
    WorkspaceList,
    WorkspaceLive,
    Network,
    Mcp,
    Firecracker,
    Install,
}

impl Figure {
    const ALL: [Self; 19] = [
        Self::Floor,
        Self::RunWarm,
        Self::RunCold,
        Self::Create,
        Self::FirstExec,
        Self::LiveExec,
        Self::FirstGit,
        Self::Reset,
        Self::Delete,
        Self::IdleMemory,
        Self::Fleet,
        Self::Workspace,
        Self::WorkspaceDiff,
        Self::WorkspaceList,
        Self::WorkspaceLive,
        Self::Network,
        Self::Mcp,
        Self::Firecracker,
        Self::Install,
    ];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::RunWarm => "run warm",
            Self::RunCold => "run cold",
            Self::Create => "create",
            Self::FirstExec => "first exec",
            Self::LiveExec => "live exec",
            Self::FirstGit => "first git",
            Self::Reset => "reset",
            Self::Delete => "delete",
            Self::IdleMemory => "idle memory",
            Self::Fleet => "fleet",
            Self::Workspace => "workspace",
            Self::WorkspaceDiff => "workspace diff",
            Self::WorkspaceList => "workspace list",
            Self::WorkspaceLive => "workspace live",
            Self::Network => "network",
            Self::Mcp => "mcp",
            Self::Firecracker => "firecracker",
            Self::Install => "install",
        }
    }

    /// Its name as an argument, which needs no quotes.
    fn word(self) -> String {
        self.name().replace(' ', "-")
    }

    /// It is a time that is printed as a multiple of the floor.
    pub fn has_floor(self) -> bool {
        !matches!(self, Self::Floor | Self::IdleMemory) && self.goes_by_rounds()
    }

    /// It is measured once in every round, by turns with others.
    fn goes_by_rounds(self) -> bool {
        !matches!(
            self,
            Self::Fleet
                | Self::Workspace
                | Self::WorkspaceDiff
                | Self::WorkspaceList
                | Self::WorkspaceLive
                | Self::Network
                | Self::Mcp
                | Self::Firecracker
                | Self::Install
        )
    }

    /// It is a step in the life of one guest, whose steps are taken all or none.
    pub fn is_of_one_guest(self) -> bool {
        matches!(
            self,
            Self::Create
                | Self::FirstExec
                | Self::LiveExec
                | Self::FirstGit
                | Self::Reset
                | Self::Delete
                | Self::IdleMemory
        )
    }
}

/// The figures asked for, and the number of rounds.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    figures: Vec<Figure>,
    runs: usize,
}

impl Plan {
    /// Reads `[SERIES…] [--runs N]`. A name is taken with spaces or hyphens.
    pub fn parse(arguments: &[&str]) -> Result<Self> {
        let mut plan = Self { figures: Vec::new(), runs: RUNS };
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            if argument == "--runs" {
                let count = arguments.next().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
                plan.runs = count.context("--runs takes a number, at least 1")?;
                continue;
            }
            let named = |figure: &Figure| figure.word() == argument || figure.name() == argument;
            let Some(figure) = Figure::ALL.into_iter().find(named) else {
                bail!("there is no series `{argument}`; there are {}", words());
            };
            plan.figures.push(figure);
        }
        if plan.figures.is_empty() {
            // Installing takes minutes and the network; Firecracker takes KVM.
            let usual = |figure: &Figure| !matches!(figure, Figure::Firecracker | Figure::Install);
            plan.figures.extend(Figure::ALL.into_iter().filter(usual));
        }
        Ok(plan)
    }

    /// This figure is to be printed: asked for, or the floor of one that is.
    pub fn has(&self, figure: Figure) -> bool {
        let implied = figure == Figure::Floor && self.figures.iter().any(|figure| figure.has_floor());
        implied || self.figures.contains(&figure)
    }

    /// Some step of one guest is to be printed.
    pub fn has_one_guest(&self) -> bool {
        self.figures.iter().any(|figure| figure.is_of_one_guest())
    }

    /// Something is measured in the prepared cache.
    pub fn needs_guests(&self) -> bool {
        self.figures.iter().any(|figure| *figure != Figure::Install)
    }

    /// Something is measured by turns.
    pub fn goes_by_rounds(&self) -> bool {
        self.figures.iter().any(|figure| figure.goes_by_rounds())
    }

    /// How many rounds there are.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// A cold start is due in this round, counted from 0: five in all, or one a round when there are fewer, spread evenly.
    pub fn is_cold_due(&self, round: usize) -> bool {
        let cold = COLD_RUNS.min(self.runs);
        round * cold % self.runs < cold
    }
}

/// How to call it.
pub fn usage() -> String {
    format!(
        "cargo xtask bench [SERIES…] [--runs N]\n\n\
         SERIES: {}; all but firecracker and install by default\n\
         --runs N: rounds, {RUNS} by default; cold starts are measured in {COLD_RUNS} of them at most",
        words()
    )
}

fn words() -> String {
    Figure::ALL.map(Figure::word).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_go_by_name() {
        let plan = Plan::parse(&["run-warm", "run cold", "--runs", "3"]).unwrap();
        assert_eq!(plan, Plan { figures: vec![Figure::RunWarm, Figure::RunCold], runs: 3 });
        assert!(plan.has(Figure::Floor) && !plan.has(Figure::Create) && !plan.has_one_guest());
        let all = Plan::parse(&[]).unwrap();
        assert!(all.has(Figure::Fleet) && !all.has(Figure::Install) && all.runs == RUNS);
        let install = Plan::parse(&["install"]).unwrap();
        assert!(!install.needs_guests() && !install.goes_by_rounds() && !install.has(Figure::Floor));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let error = Plan::parse(&["run"]).unwrap_err().to_string();
        assert!(error.contains("`run`") && error.contains("run-warm, run-cold, create"), "{error}");
        for count in [&["--runs"][..], &["--runs", "0"], &["--runs", "many"]] {
            assert!(Plan::parse(count).is_err());
        }
    }

    #[test]
    fn cold_starts_are_spread_over_the_rounds() {
        for (runs, cold) in [(20, 5), (7, 5), (5, 5), (3, 3), (1, 1)] {
            let plan = Plan { figures: Vec::new(), runs };
            assert_eq!((0..runs).filter(|round| plan.is_cold_due(*round)).count(), cold, "{runs}");
        }
        let plan = Plan { figures: Vec::new(), runs: 20 };
        assert!([0, 4, 8, 12, 16].into_iter().all(|round| plan.is_cold_due(round)));
    }
}
