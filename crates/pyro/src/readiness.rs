//! What this host can do, as far as it was proven here.

use crate::boxed;
use crate::engine::blocking;
use crate::environments::InstallState;
use crate::network::NetworkPolicy;
use crate::prepare::{DailyLoop, Standing};
use crate::project::{Project, ProjectOptions, ProjectReport};
use crate::vm::StartKind;
use crate::{CATALOG_VERSION, DEFAULT_ENVIRONMENT, EngineChoice, Pyro, PyroError};
use pyro_images::Recipe;
use pyro_protocol::error::{Diagnostic, chain};
use pyro_runtime::Bundle;
use pyro_runtime::bundle::BundleStatus;
use pyro_runtime::host::{HostFacts, KvmAccess};
use pyro_runtime::probe::Acceleration;
use pyro_vmm::jail::{JailLevel, LandlockLevel};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The platform that guests run on.
pub(crate) const PLATFORM: &str = "linux-x86_64";

/// The report of `doctor`.
#[derive(Debug, Clone, Serialize)]
pub struct Readiness {
    /// Operating system and architecture reported on.
    pub platform: String,
    /// Whether guests can run.
    pub runtime: RuntimeReport,
    /// What they would run on.
    pub acceleration: AccelerationReport,
    /// What was proven on this host, by doing it.
    pub capabilities: Capabilities,
    /// Network policies that guests can be given.
    pub networking: Vec<&'static str>,
    /// Where environments are kept.
    pub cache_dir: PathBuf,
    /// Version of the catalog.
    pub catalog_version: &'static str,
    /// The environment asked about.
    pub environment: EnvironmentReport,
    /// What workspaces begin with by default when a server is started in the directory asked about.
    pub project: ProjectReport,
    /// What is in the way, each with a way out. That of the project source, which keeps no guest from running, is in `project`.
    pub issues: Vec<Issue>,
    /// The command to run next.
    pub next_command: String,
}

/// Whether guests can run.
#[derive(Debug, Clone, Serialize)]
pub struct RuntimeReport {
    /// The bundle is complete and a guest has booted from it.
    pub pass: bool,
    /// In one line: what is there, or what is missing.
    pub detail: String,
    /// Digest of the bundle, when installed.
    pub bundle: Option<String>,
}

/// What guests run on.
#[derive(Debug, Clone, Serialize)]
pub struct AccelerationReport {
    /// What there is of KVM.
    pub kvm: KvmReport,
    /// `kvm` or `emulation`; absent while no guest has booted.
    pub selected: Option<&'static str>,
    /// Name of the engine; absent while no guest has booted.
    pub engine: Option<&'static str>,
    /// Firecracker's version, where it is at hand.
    pub firecracker: Option<String>,
    /// What VMMs are confined by; absent while there is no bundle.
    pub jail: Option<JailReport>,
    /// Why.
    pub reason: String,
}

/// How much of the jail that VMMs run in this host grants.
#[derive(Debug, Clone, Serialize)]
pub struct JailReport {
    /// VMMs see the files that they are given and no others, no network and nobody's processes' memory, by namespaces.
    pub namespaces: bool,
    /// Why not.
    pub obstacle: Option<String>,
    /// Each runs as a user of its own.
    pub own_user: bool,
    /// Rules of Landlock in force: `full`, `partial` or `none`.
    pub landlock: &'static str,
    /// A control group bounds each one's memory and processors.
    pub cgroup: bool,
}

/// What there is of KVM.
#[derive(Debug, Clone, Serialize)]
pub struct KvmReport {
    /// `/dev/kvm` exists.
    pub exists: bool,
    /// It can be opened for reading.
    pub readable: bool,
    /// It can be opened for writing.
    pub writable: bool,
    /// A guest boots on it; absent while that was not tried.
    pub boots_guest: Option<bool>,
}

/// What was proven on this host, with the present bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// A guest's agent has answered.
    pub vm_boot: bool,
    /// A command has run in a guest.
    pub guest_exec: bool,
    /// A guest has reached a network.
    pub guest_network: bool,
}

/// How an environment stands.
#[derive(Debug, Clone, Serialize)]
pub struct EnvironmentReport {
    /// Its name.
    pub name: String,
    /// How its installation stands.
    pub state: InstallState,
    /// Where it is in its daily loop.
    pub daily_loop: DailyLoop,
    /// Why it is stale, where it is.
    pub stale_reason: Option<String>,
    /// How machines of the default shape start now.
    pub next_start: StartKind,
    /// Why they would boot their kernel, where they would.
    pub cold_start_reason: Option<String>,
}

/// Something in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub way_out: String,
}

impl Pyro {
    /// Reports on this host, one environment, and the project source of a server that is started in `cwd`. Downloads nothing; boots a guest where the bundle is installed and
    /// this host was not probed yet.
    #[boxed]
    pub async fn readiness(
        &self,
        platform: Option<&str>,
        environment: &str,
        cwd: &Path,
    ) -> Result<Readiness, PyroError> {
        let recipe = Recipe::find(environment)?;
        let platform = platform.unwrap_or(PLATFORM).to_owned();
        let mut issues = Vec::new();
        // What is installed here says nothing of another platform.
        let bundle = if platform == PLATFORM { self.installed_bundle(&mut issues).await } else { None };
        let kvm = blocking(|| Ok(HostFacts::gather().kvm)).await?;
        let (runtime, acceleration) =
            self.acceleration_report(&platform, bundle.as_ref(), &kvm, &mut issues).await;
        let environment = self.environment_report(&platform, recipe, &mut issues).await?;
        let capabilities = match &bundle {
            Some(bundle) => self.proven(bundle).await,
            None => Capabilities { vm_boot: false, guest_exec: false, guest_network: false },
        };
        // A runtime that passes has booted a guest.
        let capabilities = Capabilities { vm_boot: capabilities.vm_boot || runtime.pass, ..capabilities };
        let project = Project::resolve(&ProjectOptions::default(), cwd).await?.diagnose().await;
        let next_command = next_command(&platform, &runtime, &environment);
        Ok(Readiness {
            platform,
            runtime,
            acceleration,
            capabilities,
            networking: NetworkPolicy::ALL.map(NetworkPolicy::as_str).to_vec(),
            cache_dir: self.dirs().environments().to_owned(),
            catalog_version: CATALOG_VERSION,
            environment,
            project,
            issues,
            next_command,
        })
    }

    async fn installed_bundle(&self, issues: &mut Vec<Issue>) -> Option<Bundle> {
        let dirs = self.dirs().clone();
        let problem = match blocking(move || Ok(Bundle::status(&dirs)?)).await {
            Ok(BundleStatus::Ready(bundle)) => return Some(bundle),
            Ok(BundleStatus::Missing) => "the runtime bundle is not installed".to_owned(),
            Ok(BundleStatus::Damaged { problems, .. }) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                format!("the runtime bundle is damaged: {}", problems.join(", "))
            }
            Err(error) => {
                issues.push(Issue::of(&error));
                return None;
            }
        };
        issues.push(Issue { problem, way_out: "run `pyro runtime fetch`".to_owned() });
        None
    }

    async fn acceleration_report(
        &self,
        platform: &str,
        bundle: Option<&Bundle>,
        kvm: &KvmAccess,
        issues: &mut Vec<Issue>,
    ) -> (RuntimeReport, AccelerationReport) {
        let mut report = AccelerationReport {
            kvm: KvmReport {
                exists: kvm.exists,
                readable: kvm.readable,
                writable: kvm.writable,
                boots_guest: None,
            },
            selected: None,
            engine: None,
            firecracker: None,
            jail: None,
            reason: "no guest was booted yet".to_owned(),
        };
        let failed = |detail: &str| RuntimeReport { pass: false, detail: detail.to_owned(), bundle: None };
        if platform != PLATFORM {
            issues.push(Issue {
                problem: format!("pyro runs guests on {PLATFORM} only, not on {platform}"),
                way_out: format!("use a {PLATFORM} host"),
            });
            return (failed("unsupported platform"), report);
        }
        let Some(bundle) = bundle else {
            return (failed("there is no usable runtime bundle"), report);
        };
        let mut runtime = RuntimeReport {
            pass: true,
            detail: format!("bundle {}, kernel {}", bundle.id().short(), bundle.kernel_release()),
            bundle: Some(bundle.id().to_string()),
        };
        match pyro_vmm::probe::jail(bundle, self.dirs()).await {
            Ok(level) => {
                if level.namespaces.is_err() && level.landlock == LandlockLevel::None {
                    issues.push(Issue {
                        problem: "a VMM that a guest takes over can open the files of its user: there are neither namespaces nor \
                                  Landlock here"
                            .to_owned(),
                        way_out: "allow user namespaces, or use a kernel with Landlock (5.13 or later)".to_owned(),
                    });
                }
                report.jail = Some(JailReport::of(&level));
            }
            Err(error) => issues.push(Issue::of(&error.into())),
        }
        match self.firecracker_at_hand().await {
            Ok(version) => report.firecracker = version,
            Err(error) => issues.push(Issue::of(&error)),
        }
        match self.engine_record(false).await {
            Ok(record) => {
                let acceleration = record.engine.acceleration();
                let booted = self.chosen_boots(bundle).await;
                let was_tried =
                    self.settings.engine == EngineChoice::Auto || acceleration == Acceleration::Kvm;
                let boots = acceleration == Acceleration::Kvm && booted.is_ok();
                report.kvm.boots_guest = (was_tried && kvm.writable).then_some(boots);
                match booted {
                    Ok(()) => {
                        report.selected = Some(acceleration.name());
                        report.engine = Some(record.engine.name());
                        report.reason = record.reason;
                    }
                    Err(error) => runtime.fail(&error, issues),
                }
            }
            Err(error) => runtime.fail(&error, issues),
        }
        if let Some(way_out) = kvm.hint() {
            issues.push(Issue { problem: "/dev/kvm exists but is not writable for you".to_owned(), way_out });
        }
        (runtime, report)
    }

    /// Whether a guest boots on the engine that is used. What a probe has chosen has booted one; what was named is tried, unless
    /// it was proven earlier.
    async fn chosen_boots(&self, bundle: &Bundle) -> Result<(), PyroError> {
        if self.settings.engine == EngineChoice::Auto || self.proven(bundle).await.vm_boot {
            return Ok(());
        }
        self.boot_probe().await?;
        self.record_boot().await;
        Ok(())
    }

    /// The version of the Firecracker that is at hand.
    async fn firecracker_at_hand(&self) -> Result<Option<String>, PyroError> {
        let (source, dirs) = (self.settings.firecracker.clone(), self.dirs().clone());
        let at_hand = blocking(move || Ok(source.at_hand(&dirs)?)).await?;
        Ok(at_hand.map(|program| program.version().to_string()))
    }

    async fn environment_report(
        &self,
        platform: &str,
        recipe: &'static Recipe,
        issues: &mut Vec<Issue>,
    ) -> Result<EnvironmentReport, PyroError> {
        let listed = self.list_environments().await?;
        let info = listed.environments.into_iter().find(|info| info.name == recipe.name);
        let (state, problem) = info.map_or((InstallState::Absent, None), |info| (info.state, info.problem));
        if let Some(problem) = problem {
            issues.push(Issue { problem, way_out: format!("run `pyro env pull {}`", recipe.name) });
        }
        let standing = if platform == PLATFORM {
            self.standing(recipe, false).await?
        } else {
            Standing::elsewhere(platform)
        };
        if let Some(why) = &standing.template_failed {
            issues.push(Issue {
                problem: format!("machines boot their kernel: {why}"),
                way_out: format!("run `pyro prepare --force {}`", recipe.name),
            });
        }
        Ok(EnvironmentReport {
            name: recipe.name.to_owned(),
            state,
            daily_loop: standing.daily_loop,
            stale_reason: standing.reason,
            next_start: if standing.cold_start_reason.is_none() { StartKind::Warm } else { StartKind::Cold },
            cold_start_reason: standing.cold_start_reason,
        })
    }
}

impl RuntimeReport {
    fn fail(&mut self, error: &PyroError, issues: &mut Vec<Issue>) {
        self.pass = false;
        self.detail = chain(error);
        let issue = Issue::of(error);
        if !issues.contains(&issue) {
            issues.push(issue);
        }
    }
}

impl JailReport {
    fn of(level: &JailLevel) -> Self {
        Self {
            namespaces: level.namespaces.is_ok(),
            obstacle: level.namespaces.err().map(|obstacle| obstacle.to_string()),
            own_user: level.own_user,
            landlock: level.landlock.as_str(),
            cgroup: level.cgroup,
        }
    }
}

impl Issue {
    fn of(error: &PyroError) -> Self {
        Self { problem: chain(error), way_out: error.hint().unwrap_or_else(|| "see the message".to_owned()) }
    }
}

fn next_command(platform: &str, runtime: &RuntimeReport, environment: &EnvironmentReport) -> String {
    let name = &environment.name;
    if platform != PLATFORM {
        "pyro doctor".to_owned()
    } else if runtime.bundle.is_none() {
        "pyro runtime fetch".to_owned()
    } else if !runtime.pass {
        "pyro runtime verify".to_owned()
    } else if environment.daily_loop != DailyLoop::Warm {
        format!("pyro prepare {name}")
    } else if name.as_str() == DEFAULT_ENVIRONMENT {
        format!("pyro run {name} -- git --version")
    } else {
        format!("pyro run {name} -- uname -a")
    }
}
