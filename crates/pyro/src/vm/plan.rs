//! What one machine is to be, and how it begins.

use crate::PyroError;
use crate::engine::blocking;
use crate::network::{NetworkPlan, NetworkRules};
use crate::private_directory::PrivateDirectory;
use crate::template::Template;
use crate::vm::VmId;
use crate::workspace::SecretValues;
use pyro_runtime::fs::{FsError, same_content};
use pyro_vmm::{Snapshot, Start};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// One machine to start.
#[derive(Debug, Clone)]
pub(crate) struct MachinePlan {
    /// Its host name, which also shows in process lists.
    pub(crate) name: String,
    /// An existing private directory.
    pub(crate) directory: PathBuf,
    /// Its writable disk; without one it gets a new one that is of no use afterwards.
    pub(crate) disk: Option<PathBuf>,
    /// The image of the tree that its workspace begins with, if it is to have one.
    pub(crate) seed: Option<PathBuf>,
    /// What is locked as long as the machine runs.
    pub(crate) lock: Option<Arc<OwnedFd>>,
    /// Its network, if it is to have one.
    pub(crate) network: Option<NetworkPlan>,
    /// What its guest is given before anything of the user's runs in it.
    pub(crate) secrets: SecretValues,
}

impl MachinePlan {
    /// A machine whose disk goes with it.
    pub(crate) fn throwaway(id: &VmId, directory: &PrivateDirectory) -> Self {
        Self {
            name: id.to_string(),
            directory: directory.path().to_owned(),
            disk: None,
            seed: None,
            lock: None,
            network: None,
            secrets: SecretValues::default(),
        }
    }

    /// Where the disk is that goes with it.
    pub(crate) fn throwaway_disk(&self) -> PathBuf {
        self.directory.join("scratch.ext4")
    }

    /// How it begins from `template`: in its joined root if its disk is to be made, or nobody has written to it.
    pub(super) async fn beginning<'a>(&self, template: &'a Template) -> Result<Beginning<'a>, PyroError> {
        let Some(disk) = self.disk.clone() else { return Ok(Beginning::Joined(template)) };
        let of_template = template.files.disk.clone();
        let is_new = blocking(move || {
            let own = File::open(&disk).map_err(FsError::on("open", &disk))?;
            // A template that is replaced right now, or cannot be read, fails where it is used.
            let same = File::open(&of_template).and_then(|of_template| same_content(&own, &of_template));
            Ok(same.unwrap_or(false))
        });
        Ok(if is_new.await? { Beginning::Joined(template) } else { Beginning::Apart(template) })
    }

    /// The same machine with a network of its own, where that is what the rules say. What happens is kept with it.
    pub(crate) fn connected(self, rules: &NetworkRules) -> Self {
        let network = NetworkPlan { rules: rules.clone(), events: None };
        Self { network: rules.policy.allows_egress().then_some(network), ..self }
    }
}

/// How a machine begins.
pub(crate) enum Beginning<'a> {
    /// With its kernel.
    Boot,
    /// With its kernel, to become a part of a template.
    BootForSnapshot(Snapshot),
    /// In a template's joined root, with a disk that is the template's, byte for byte.
    Joined(&'a Template),
    /// In a template that has nothing of a disk, with any.
    Apart(&'a Template),
}

impl Beginning<'_> {
    pub(super) fn start(&self) -> Start {
        match self {
            Self::Boot => Start::Boot,
            Self::BootForSnapshot(files) => Start::BootForSnapshot(files.clone()),
            Self::Joined(template) => Start::Restore(template.files.joined()),
            Self::Apart(template) => Start::Restore(template.files.apart()),
        }
    }

    /// What a new disk has to be a copy of, where it cannot be empty.
    pub(super) fn disk(&self) -> Option<PathBuf> {
        match self {
            Self::Joined(template) => Some(template.files.disk.clone()),
            Self::Boot | Self::BootForSnapshot(_) | Self::Apart(_) => None,
        }
    }
}
