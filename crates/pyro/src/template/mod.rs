//! Templates: the memory of a guest that is ready to become any machine of its shape.
//!
//! A template is a guest that has booted, put its root together, run a few typical commands, and was stopped ([`build`]), in two
//! forms: with the root as it is, for machines whose disk is a copy of the guest's; and with nothing of its disk mounted, for
//! those that have any other. A start then restores one: its memory is mapped privately, so that clones share what they do not
//! change; each has a writable disk of its own; and before anything of the user's runs it is given fresh entropy, the time
//! and its names. Without a template, or with one that fails, a machine boots its kernel, with the same result.
//!
//! Templates are made by `prepare`, or after the first cold start of a shape by a process of their own, for which nobody
//! waits ([`TemplatePolicy`]). What a template depends on is its [`key`]; its files are kept and verified by the [`store`].

mod build;
mod building;
mod key;
mod parts;
mod store;
mod unusable;

pub(crate) use build::Demand;
pub(crate) use key::TemplateKey;
pub(crate) use store::{Template, TemplateStore};
pub(crate) use unusable::Unusable;

use crate::boxed;
use crate::engine::blocking;
use crate::vm::Shape;
use crate::{Pyro, PyroError};
use jiff::{SignedDuration, Timestamp};
use pyro_images::{Environment, Recipe};
use pyro_runtime::bundle::scratch_disk_layout;
use pyro_runtime::child::{Priority, spawn_detached};
use pyro_runtime::env_vars::{EnvVars, Lookup};
use pyro_runtime::{Bundle, FirecrackerSource, Sha256Digest, host};
use pyro_vmm::{Engine, MemMib, VcpuCount};
use serde::{Deserialize, Serialize};
use std::process::{Command, Stdio};

/// How long a template that failed, or that somebody else with the same cache made for himself, is left alone before it is
/// made anew without being asked for.
const LEFT_ALONE: SignedDuration = SignedDuration::from_mins(10);

/// How many templates there may be for another one to be made without being asked for: whoever asks for ever other shapes
/// of machines must not fill the disk by that.
const MOST_UNASKED: usize = 16;
/// The largest machine, in MiB, that gets one without being asked for: every GiB takes some 32 MiB of disk.
const LARGEST_UNASKED: u32 = 4096;

/// When templates are used, and made without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplatePolicy {
    /// Used where there are any, and made after the first cold start of a shape.
    #[default]
    Auto,
    /// Used where there are any; only `prepare` makes them.
    Manual,
    /// Never used: every start boots a kernel.
    Off,
}

impl TemplatePolicy {
    /// The policy that the environment's `PYRO_TEMPLATES` names; fails when it is no such name.
    pub fn resolve(lookup: Lookup<'_>) -> Result<Self, PyroError> {
        match lookup(EnvVars::PYRO_TEMPLATES).map(|value| value.to_string_lossy().into_owned()).as_deref() {
            None | Some("auto") => Ok(Self::Auto),
            Some("manual") => Ok(Self::Manual),
            Some("off") => Ok(Self::Off),
            Some(other) => Err(PyroError::TemplatePolicy { given: other.to_owned() }),
        }
    }
}

impl Pyro {
    pub(crate) fn template_store(&self) -> TemplateStore {
        TemplateStore::new(self.dirs().cache().join("templates"))
    }

    /// Makes the template for machines of this shape, unless there is one or another process is making it. For the process
    /// that does it after a cold start; `prepare_environment` is for everybody else.
    #[boxed]
    pub async fn build_template(
        &self,
        environment: &str,
        vcpu_count: u32,
        mem_mib: u32,
    ) -> Result<(), PyroError> {
        let shape = Shape::new(environment, vcpu_count, mem_mib, false)?;
        let prepared = self.prepare_start(&shape).await?;
        self.make_template(&shape, &prepared, Demand::IfLeftUndone).await.map(drop)
    }

    /// Removes templates that fit nothing installed here, with what interrupted builds left.
    pub(crate) async fn prune_templates(&self) -> Result<Vec<pyro_images::Pruned>, PyroError> {
        let (store, environments) = (self.template_store(), self.environment_store());
        let dirs = self.dirs().clone();
        blocking(move || {
            let bundle = Bundle::open(&dirs).ok().flatten();
            let current = |key: &TemplateKey| {
                let image = Recipe::find(&key.environment).and_then(|recipe| environments.open(recipe));
                bundle.as_ref().is_some_and(|bundle| {
                    key.bundle == bundle.id() && key.host == host::identity(bundle.id())
                }) && key.agent == Sha256Digest::of(pyro_runtime::AGENT)
                    && image.is_ok_and(|image| image.manifest.digest == key.image)
            };
            Ok(store.prune(&current)?)
        })
        .await
    }

    /// Has a process of its own make the template for `shape`, when the reason for a cold start was that there is none.
    /// Nobody waits for it, and it waits for nobody: where one is being made already, it ends.
    pub(crate) fn make_template_later(&self, shape: &Shape, unusable: &Unusable) {
        let due = match unusable {
            Unusable::Rejected { at, .. } | Unusable::Stale { at, .. } => {
                Timestamp::now().duration_since(*at) > LEFT_ALONE
            }
            Unusable::Missing => self.template_store().count() < MOST_UNASKED,
            Unusable::Damaged { .. } => true,
            Unusable::Failed { .. } => false,
        };
        let wanted = self.settings.templates == TemplatePolicy::Auto && shape.memory.get() <= LARGEST_UNASKED;
        let Some(program) = self.settings.program.as_ref().filter(|_| due && wanted) else {
            return;
        };
        let mut command = Command::new(program);
        command
            .args(["template-build", shape.environment.name])
            .args([
                "--vcpu-count",
                &shape.vcpus.get().to_string(),
                "--mem-mib",
                &shape.memory.get().to_string(),
                "--engine",
                self.settings.engine.name(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let FirecrackerSource::Named(path) = &self.settings.firecracker {
            command.env(EnvVars::PYRO_FIRECRACKER_BIN, path);
        }
        // A template is only a matter of speed: the command it would have helped has its result.
        let _unmade = spawn_detached(command, Priority::Background);
    }
}

/// The key of templates for machines of this shape.
pub(crate) fn key(
    environment: &Environment,
    bundle: &Bundle,
    engine: &dyn Engine,
    vcpus: VcpuCount,
    memory: MemMib,
) -> TemplateKey {
    TemplateKey {
        environment: environment.manifest.environment.clone(),
        image: environment.manifest.digest.clone(),
        bundle: bundle.id(),
        agent: Sha256Digest::of(pyro_runtime::AGENT),
        engine: engine.capabilities().engine.to_owned(),
        machine: Sha256Digest::of(format!("{} {}", engine.shape(), scratch_disk_layout()).as_bytes()),
        host: host::identity(bundle.id()),
        vcpu_count: vcpus.get(),
        mem_mib: memory.get(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_goes_by_its_name() {
        let resolve = |value: Option<&str>| TemplatePolicy::resolve(&|_| value.map(Into::into));
        assert_eq!(resolve(None).unwrap(), TemplatePolicy::Auto);
        assert_eq!(resolve(Some("off")).unwrap(), TemplatePolicy::Off);
        assert_eq!(resolve(Some("manual")).unwrap(), TemplatePolicy::Manual);
        assert!(resolve(Some("on")).unwrap_err().to_string().contains("`on`"));
    }
}
