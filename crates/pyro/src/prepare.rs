//! `prepare`: everything the daily loop needs is installed, made and proven, and the proof is on record.

use crate::boxed;
use crate::engine::blocking;
use crate::network::NetworkRules;
use crate::readiness::PLATFORM;
use crate::template::{Demand, Template, Unusable};
use crate::vm::{DEFAULT_MEM_MIB, DEFAULT_VCPU_COUNT, Shape, StartKind, Throwaway};
use crate::{CATALOG_VERSION, Pyro, PyroError};
use jiff::Timestamp;
use pyro_images::{Environment, Recipe, Status};
use pyro_protocol::error::chain;
use pyro_runtime::fs::{FsError, create_dir_all, write_atomic};
use pyro_runtime::{Bundle, Sha256Digest, host};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What to prepare.
#[derive(Debug, Clone)]
pub struct PrepareRequest {
    /// Name of the environment.
    pub environment: String,
    /// Probe the host, and make the template and the proof, anew, whatever is on record.
    pub force: bool,
    /// Prove that guests reach a network, too.
    pub network: bool,
}

/// What was prepared.
#[derive(Debug, Clone, Serialize)]
pub struct Preparation {
    /// Name of the environment.
    pub environment: &'static str,
    /// It was all there, and proven earlier.
    pub reused: bool,
    /// When it was proven.
    pub prepared_at: Timestamp,
    /// Digest of the environment's image.
    pub environment_digest: String,
    /// Name of the engine that the proof ran on.
    pub engine: String,
    /// How the proof's machines came up.
    pub start: StartKind,
    /// Why they did not come up from a template, where they did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_start_reason: Option<String>,
    /// The template that machines of the default shape start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateInfo>,
    /// Guests have reached a network.
    pub network_proven: bool,
    /// The proof: each step of the daily loop on one throwaway machine.
    pub proof: Proof,
}

/// A template, as far as users care.
#[derive(Debug, Clone, Serialize)]
pub struct TemplateInfo {
    /// When it was made.
    pub created_at: Timestamp,
    /// Bytes on disk of both of its memories: what was touched of them.
    pub ram_disk_bytes: u64,
    /// Bytes of CPUs and devices, likewise.
    pub state_bytes: u64,
}

/// Milliseconds of each step of the daily loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// A machine was created and started.
    pub create_ms: u64,
    /// It ran a command, which left a file.
    pub exec_ms: u64,
    /// It was reset, and the file was gone.
    pub reset_ms: u64,
    /// It was deleted.
    pub delete_ms: u64,
}

/// Where an environment is in its daily loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DailyLoop {
    /// Never prepared here.
    Cold,
    /// Prepared, and everything is as it was then.
    Warm,
    /// Prepared, but something has changed since.
    Stale,
}

impl DailyLoop {
    /// The name in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "COLD",
            Self::Warm => "WARM",
            Self::Stale => "STALE",
        }
    }
}

/// What is on record about a preparation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    environment: String,
    environment_digest: String,
    catalog_version: String,
    platform: String,
    bundle: Sha256Digest,
    host: Sha256Digest,
    engine: String,
    start: StartKind,
    cold_start_reason: Option<String>,
    prepared_at: Timestamp,
    network_proven_at: Option<Timestamp>,
    proof: Proof,
}

/// The standing of an environment, and what is behind it.
pub(crate) struct Standing {
    pub(crate) daily_loop: DailyLoop,
    /// Why it is stale.
    pub(crate) reason: Option<String>,
    /// Why its machines boot their kernel, where they do.
    pub(crate) cold_start_reason: Option<String>,
    /// Why the template failed, where it did.
    pub(crate) template_failed: Option<String>,
    record: Option<Record>,
}

impl Pyro {
    /// Installs what is missing for machines of this environment, makes their template, and proves create, exec, reset and
    /// delete on a throwaway machine. Answered from the record of an earlier proof while that is still true.
    ///
    /// Fails when something cannot be installed or proven; that a template cannot be made or used is reported, since
    /// machines then boot their kernel, with the same result.
    #[boxed]
    pub async fn prepare_environment(&self, request: PrepareRequest) -> Result<Preparation, PyroError> {
        let shape = Shape::new(&request.environment, DEFAULT_VCPU_COUNT, DEFAULT_MEM_MIB, false)?;
        let recipe = shape.environment;
        if request.force {
            self.engine_record_anew().await?;
        } else if let Standing { daily_loop: DailyLoop::Warm, record: Some(record), .. } =
            self.standing(recipe, true).await?
        {
            let prepared = self.prepare_start(&shape).await?;
            let template = prepared.template().await?.and_then(Result::ok);
            if !request.network || record.network_proven_at.is_some() {
                return Ok(record.into_preparation(recipe, true, template));
            }
            self.prove_network(shape, prepared).await?;
            let record = self
                .store_preparation(Record { network_proven_at: Some(Timestamp::now()), ..record })
                .await?;
            return Ok(record.into_preparation(recipe, false, template));
        }
        let prepared = self.prepare_start(&shape).await?;
        let demand = if request.force { Demand::Anew } else { Demand::IfMissing };
        let template = match self.make_template(&shape, &prepared, demand).await {
            Ok(template) => template,
            Err(error) if request.force => return Err(error),
            Err(error) => {
                self.progress().phase(&format!("no-template reason=\"{}\"", chain(&error)));
                None
            }
        };
        let (proof, machine) = self.prove(shape.clone(), prepared.clone()).await?;
        let network_proven_at = if request.network {
            self.prove_network(shape, prepared).await?;
            Some(Timestamp::now())
        } else {
            None
        };
        let environment = self.environment(recipe).await?;
        let record = self.record_preparation(&environment, proof, &machine, network_proven_at).await?;
        let template = template.filter(|_| record.start == StartKind::Warm);
        Ok(record.into_preparation(recipe, false, template))
    }

    /// The daily loop, step by step, on one machine.
    async fn prove(&self, shape: Shape, prepared: crate::vm::Prepared) -> Result<(Proof, Proven), PyroError> {
        self.progress().phase("prove step=create");
        let begun = Instant::now();
        let mut machine = Throwaway::of(self, shape, prepared, NetworkRules::default()).await?;
        let create_ms = milliseconds(begun);
        self.progress().phase("prove step=exec");
        let begun = Instant::now();
        expect(&machine, "exec", "echo proof >proof && cat proof", "proof\n").await?;
        let exec_ms = milliseconds(begun);
        self.progress().phase("prove step=reset");
        let begun = Instant::now();
        machine.reset().await?;
        let reset_ms = milliseconds(begun);
        expect(&machine, "reset", "ls -A", "").await?;
        let proven = Proven {
            engine: machine.engine(),
            start: machine.start(),
            cold_start_reason: machine.cold_start_reason(),
        };
        self.progress().phase("prove step=delete");
        let begun = Instant::now();
        machine.delete().await;
        self.record_proof().await;
        Ok((Proof { create_ms, exec_ms, reset_ms, delete_ms: milliseconds(begun) }, proven))
    }

    async fn record_preparation(
        &self,
        environment: &Environment,
        proof: Proof,
        proven: &Proven,
        network_proven_at: Option<Timestamp>,
    ) -> Result<Record, PyroError> {
        let bundle = self.bundle().await?;
        let record = Record {
            environment: environment.manifest.environment.clone(),
            environment_digest: environment.manifest.digest.clone(),
            catalog_version: CATALOG_VERSION.to_owned(),
            platform: PLATFORM.to_owned(),
            bundle: bundle.id(),
            host: host::identity(bundle.id()),
            engine: proven.engine.to_owned(),
            start: proven.start,
            cold_start_reason: proven.cold_start_reason.clone(),
            prepared_at: Timestamp::now(),
            network_proven_at,
            proof,
        };
        self.store_preparation(record).await
    }

    async fn store_preparation(&self, record: Record) -> Result<Record, PyroError> {
        let (path, stored) = (self.record_path(&record.environment), record.clone());
        blocking(move || {
            create_dir_all(path.parent().unwrap_or(&path))?;
            let text = serde_json::to_vec_pretty(&stored)
                .map_err(|error| FsError::on("write", &path)(error.into()))?;
            Ok(write_atomic(&path, &text)?)
        })
        .await?;
        Ok(record)
    }

    /// Where an environment stands. Installs and makes nothing, but for a Firecracker that is needed and missing, where it
    /// `may_fetch`.
    pub(crate) async fn standing(
        &self,
        recipe: &'static Recipe,
        may_fetch: bool,
    ) -> Result<Standing, PyroError> {
        let (path, dirs, store) =
            (self.record_path(recipe.name), self.dirs().clone(), self.environment_store());
        let (on_record, installed) = blocking(move || {
            let environment = match store.status(recipe)? {
                Status::Installed(_) => Ok(store.open(recipe)?),
                Status::Stale(_) => Err("it was built from another version of the catalog".to_owned()),
                Status::Broken(what) => Err(format!("its install is broken: {what}")),
                Status::Absent => Err("its install is missing".to_owned()),
            };
            let bundle = match Bundle::open(&dirs) {
                Ok(bundle) => bundle.ok_or_else(|| "the runtime bundle is missing".to_owned()),
                Err(error) => Err(chain(&error)),
            };
            let installed = environment.and_then(|environment| Ok((environment, bundle?)));
            Ok((Record::load(&path), installed))
        })
        .await?;
        let mut standing = match (on_record, &installed) {
            (None, _) => Standing::of(DailyLoop::Cold, None),
            (Some(Err(reason)), _) => Standing::of(DailyLoop::Stale, Some(reason)),
            (Some(Ok(_)), Err(reason)) => Standing::of(DailyLoop::Stale, Some(reason.clone())),
            (Some(Ok(record)), Ok((environment, bundle))) => match record.outdated(environment, bundle) {
                Some(reason) => Standing::of(DailyLoop::Stale, Some(reason.to_owned())),
                None => Standing { record: Some(record), ..Standing::of(DailyLoop::Warm, None) },
            },
        };
        match installed {
            Ok(_) => self.look_at_template(recipe, may_fetch, &mut standing).await?,
            Err(reason) => standing.cold_start_reason = Some(reason),
        }
        Ok(standing)
    }

    /// Adds what is to be said of the template. Bundle and environment are there, so that nothing is installed by this; a host
    /// that was not probed yet is.
    async fn look_at_template(
        &self,
        recipe: &'static Recipe,
        may_fetch: bool,
        standing: &mut Standing,
    ) -> Result<(), PyroError> {
        let shape = Shape::new(recipe.name, DEFAULT_VCPU_COUNT, DEFAULT_MEM_MIB, false)?;
        let prepared = match self.prepare_guest(&shape, may_fetch).await {
            Ok(prepared) => prepared,
            Err(error) => {
                let why = chain(&error);
                standing.outdate(why.clone());
                standing.cold_start_reason = Some(why);
                return Ok(());
            }
        };
        let (engine, template) = (prepared.engine(), prepared.template().await?);
        let on_another = standing.record.as_ref().filter(|record| record.engine != engine);
        if let Some(record) = on_another {
            standing
                .outdate(format!("it was prepared on {}, and machines run on {engine} now", record.engine));
        }
        let stale = match (&template, standing.record.as_ref().map(|record| record.start)) {
            (_, None) | (Some(Ok(_)), Some(StartKind::Warm)) | (None, Some(StartKind::Cold)) => None,
            (Some(Ok(_)), Some(StartKind::Cold)) => Some("it was prepared without a template".to_owned()),
            (None, Some(StartKind::Warm)) => {
                Some("it was prepared with a template, and none is used now".to_owned())
            }
            (Some(Err(unusable)), Some(_)) => Some(unusable.to_string()),
        };
        if let Some(why) = stale {
            standing.outdate(why);
        }
        match template {
            Some(Ok(_)) => {}
            Some(Err(unusable)) => {
                let why = unusable.to_string();
                if let Unusable::Rejected { .. } | Unusable::Damaged { .. } = unusable {
                    standing.template_failed = Some(why.clone());
                }
                standing.cold_start_reason = Some(why);
            }
            None => standing.cold_start_reason = Some("templates are not used here".to_owned()),
        }
        Ok(())
    }

    fn record_path(&self, environment: &str) -> PathBuf {
        self.dirs().state().join("prepared").join(format!("{}.json", environment.replace(':', "-")))
    }
}

/// What the throwaway machine was.
struct Proven {
    engine: &'static str,
    start: StartKind,
    cold_start_reason: Option<String>,
}

impl Standing {
    /// On another platform: what was prepared here says nothing of it.
    pub(crate) fn elsewhere(platform: &str) -> Self {
        let cold_start_reason = Some(format!("no machine starts on {platform}"));
        Self { cold_start_reason, ..Self::of(DailyLoop::Cold, None) }
    }

    /// Says of what was warm why it no longer is.
    fn outdate(&mut self, why: String) {
        if self.record.take().is_some() {
            (self.daily_loop, self.reason) = (DailyLoop::Stale, Some(why));
        }
    }

    fn of(daily_loop: DailyLoop, reason: Option<String>) -> Self {
        Self { daily_loop, reason, cold_start_reason: None, template_failed: None, record: None }
    }
}

impl Record {
    /// The record at `path`, if there is one; else what is wrong with it.
    fn load(path: &Path) -> Option<Result<Self, String>> {
        let unreadable = |why: String| format!("the record of its preparation is unreadable: {why}");
        match std::fs::read(path) {
            Ok(text) => Some(serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => Some(Err(unreadable(error.to_string()))),
        }
    }

    /// What has changed since.
    fn outdated(&self, environment: &Environment, bundle: &Bundle) -> Option<&'static str> {
        let parts = [
            (self.platform == PLATFORM, "it was prepared on another platform"),
            (self.catalog_version == CATALOG_VERSION, "it was prepared with another version of the catalog"),
            (self.environment_digest == environment.manifest.digest, "it was built anew since"),
            (self.bundle == bundle.id(), "the runtime has changed"),
            (self.host == host::identity(bundle.id()), "the host has changed"),
        ];
        parts.into_iter().find_map(|(same, what)| (!same).then_some(what))
    }

    fn into_preparation(
        self,
        recipe: &'static Recipe,
        reused: bool,
        template: Option<Template>,
    ) -> Preparation {
        Preparation {
            environment: recipe.name,
            reused,
            prepared_at: self.prepared_at,
            environment_digest: self.environment_digest,
            engine: self.engine,
            start: self.start,
            cold_start_reason: self.cold_start_reason,
            template: template.map(|template| TemplateInfo {
                created_at: template.created_at,
                ram_disk_bytes: template.ram_disk_bytes,
                state_bytes: template.state_bytes,
            }),
            network_proven: self.network_proven_at.is_some(),
            proof: self.proof,
        }
    }
}

/// Runs a script and compares what it prints; fails when it is anything else.
async fn expect(
    machine: &Throwaway,
    step: &'static str,
    script: &str,
    expected: &str,
) -> Result<(), PyroError> {
    let (exit_code, stdout) = machine.exec(&["sh", "-c", script]).await?;
    if exit_code == 0 && stdout == expected {
        return Ok(());
    }
    let stdout = stdout.chars().take(200).collect();
    Err(PyroError::NotProven { step, exit_code, stdout })
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
