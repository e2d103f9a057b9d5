//! Creation: the seed, a disk, a guest.
//!
//! The seed becomes an image that lies beneath the guest's own disk, which is empty at first; the baseline is a copy of that. A
//! workspace that is not complete is removed again, by this process or, when it is killed, by the next one.

use super::names::{check_labels, check_name};
use super::seed;
use super::snapshots::copy_disk;
use super::stream::import;
use super::supervisor::{self, Starting};
use super::{
    DEFAULT_WORKSPACE_TTL_SECONDS, NewSecret, SecretError, SecretInfo, SecretValues, Seed, SeedMode,
    SnapshotName, WorkspaceDirectory, WorkspaceError, WorkspaceId, WorkspaceStatus,
};
use crate::boxed;
use crate::engine::{blocking, on_thread};
use crate::network::NetworkRules;
use crate::project::{Project, ProjectClone, ProjectKind, ProjectSource};
use crate::store::{NewWorkspace, Origin, Record, Store, WorkspaceState, now};
use crate::vm::{DEFAULT_MEM_MIB, DEFAULT_VCPU_COUNT, Prepared, Shape, seconds};
use crate::{Pyro, PyroError};
use jiff::SignedDuration;
use pyro_runtime::lock::FileLock;
use pyro_tree::{Source, SourceKind, Totals};
use pyro_vmm::Guest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long the supervisor of a creation that was given up may take to end.
const ABANDON_PATIENCE: Duration = Duration::from_secs(5);

/// What a workspace is to be.
#[derive(Debug, Clone)]
pub struct CreateWorkspace {
    /// Name of the environment.
    pub environment: String,
    /// Virtual CPUs.
    pub vcpu_count: u32,
    /// Guest memory, in MiB.
    pub mem_mib: u32,
    /// After so many seconds from now the workspace is gone.
    pub ttl_seconds: u64,
    /// What its guest may reach.
    pub network: NetworkRules,
    /// Where no guest can run, run commands on the host instead, without isolation.
    pub allow_host_compat: bool,
    /// What `/workspace` is filled with: a directory, or a `.tar`, `.tar.gz` or `.tgz` archive. Taken whole.
    pub seed_path: Option<PathBuf>,
    /// What it is filled with where there is no `seed_path`.
    pub project: Project,
    /// A name for people.
    pub name: Option<String>,
    /// Labels for programs.
    pub labels: BTreeMap<String, String>,
    /// What its commands may have and nothing shows.
    pub secrets: Vec<NewSecret>,
}

impl CreateWorkspace {
    /// A request with every default.
    pub fn new(environment: impl Into<String>) -> Self {
        Self {
            environment: environment.into(),
            vcpu_count: DEFAULT_VCPU_COUNT,
            mem_mib: DEFAULT_MEM_MIB,
            ttl_seconds: DEFAULT_WORKSPACE_TTL_SECONDS,
            network: NetworkRules::default(),
            allow_host_compat: false,
            seed_path: None,
            project: Project::None,
            name: None,
            labels: BTreeMap::new(),
            secrets: Vec::new(),
        }
    }

    /// Fails when anything about it cannot be; returns the time to live, the opened `seed_path`, and the secrets.
    async fn check(&self) -> Result<(Duration, Option<Chosen>, SecretValues), PyroError> {
        self.name.as_deref().map_or(Ok(()), check_name)?;
        check_labels(&self.labels)?;
        self.network.check()?;
        let ttl = seconds("ttl_seconds", self.ttl_seconds)?;
        let seed = match self.seed_path.clone() {
            Some(path) => Some(blocking(move || Chosen::path(&path)).await?),
            None => None,
        };
        let secrets = self.secrets.clone();
        let secrets = blocking(move || Ok(SecretValues::read(secrets)?)).await?;
        Ok((ttl, seed, secrets))
    }
}

/// What a workspace is filled with, and what its status says of that.
struct Chosen {
    source: Source,
    seed: Seed,
    /// What is read, where it is there for that alone.
    clone: Option<ProjectClone>,
}

impl Chosen {
    fn path(path: &Path) -> Result<Self, PyroError> {
        let source = Source::open(path).map_err(WorkspaceError::from)?;
        let seed_path = Some(display(path));
        let seed = Seed { seed_path, origin_kind: "manual_seed_path".to_owned(), ..Seed::empty() };
        Ok(Self { source, seed, clone: None })
    }

    fn project(kind: ProjectKind, project: ProjectSource) -> Self {
        let ProjectSource { source, path, origin_ref, commit, clone } = project;
        let seed = Seed {
            seed_path: path.as_deref().map(display),
            origin_kind: kind.as_str().to_owned(),
            origin_ref: Some(origin_ref),
            origin_commit: commit,
            ..Seed::empty()
        };
        Self { source, seed, clone }
    }
}

impl Pyro {
    /// Creates a workspace, fills it, and starts its guest.
    #[boxed]
    pub async fn create_workspace(&self, request: CreateWorkspace) -> Result<WorkspaceStatus, PyroError> {
        let (ttl, chosen, secrets) = request.check().await?;
        let CreateWorkspace { environment, vcpu_count, mem_mib, allow_host_compat, .. } = request;
        let shape = Shape::new(&environment, vcpu_count, mem_mib, allow_host_compat)?;
        self.sweep().await?;
        let chosen = match chosen {
            Some(chosen) => Some(chosen),
            None => self
                .open_project(&request.project)
                .await?
                .map(|source| Chosen::project(request.project.kind(), source)),
        };
        let prepared = self.prepare_start(&shape).await?;
        prepared.require_network(&request.network)?;
        if prepared.image_digest().is_none() && !secrets.is_empty() {
            return Err(SecretError::NeedGuest.into());
        }
        self.progress().phase("create");
        let origin = Origin {
            environment,
            image_digest: prepared.image_digest().map(ToOwned::to_owned),
            vcpu_count,
            mem_mib,
            ttl_seconds: ttl.as_secs(),
            allow_host_compat,
            network_policy: request.network.policy,
            allow_hosts: request.network.allow_hosts,
            seed: chosen.as_ref().map_or_else(Seed::empty, |chosen| chosen.seed.clone()),
            secrets: SecretInfo::all(&request.secrets),
        };
        let created_at = now();
        let expires_at = created_at + SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX);
        let id = WorkspaceId::random()?;
        let (name, labels) = (request.name, request.labels);
        let workspace = NewWorkspace { id: id.clone(), name, labels, origin, created_at, expires_at };
        let mut creation = Creation::begin(self, workspace, secrets).await?;
        let filled = self.fill(&mut creation, &prepared, chosen, shape.boot_deadline()).await;
        let created = match filled {
            Ok(()) => creation.finish().await,
            Err(error) => Err(error),
        };
        if let Err(error) = created {
            let error = self.blame_host(&id, error);
            creation.undo().await;
            return Err(error);
        }
        drop(creation);
        self.status_workspace(&id).await
    }

    /// Makes the disks of a new workspace, and starts its guest.
    async fn fill(
        &self,
        creation: &mut Creation,
        prepared: &Prepared,
        chosen: Option<Chosen>,
        boot: Duration,
    ) -> Result<(), PyroError> {
        let (id, directory) = (creation.workspace.id.clone(), creation.directory.clone());
        let (mut source, clone) = chosen.map(|chosen| (chosen.source, chosen.clone)).unzip();
        let kind = source.as_ref().map(Source::kind);
        let seeding = || self.progress().phase(&format!("seed workspace_id={id}"));
        if let Some(bundle) = prepared.bundle() {
            if let (Some(source), Some(kind)) = (source.take(), kind) {
                seeding();
                let totals = seed::make(Arc::clone(&bundle), source, directory.seed()).await?;
                creation.set_seed(kind, totals).await?;
            }
            // Not in use yet, so that its name may show up before it is whole; it lasts when that of the copy does.
            prepared.make_disk(bundle, directory.disk()).await?;
            let (files, baseline) = (directory.clone(), directory.snapshot(&SnapshotName::baseline()));
            blocking(move || Ok(copy_disk(&files.disk(), &files.unfinished(), &baseline)?)).await?;
        }
        self.progress().phase(&format!("start workspace_id={id}"));
        let started = Starting::spawn(self, &id, &directory, boot).await?.ready().await?;
        creation.is_up = true;
        self.tell_start(&started);
        if let (Some(source), Some(kind)) = (source, kind) {
            // Commands run on the host, in the directory that stands for a machine.
            seeding();
            let (guest, root) = (Guest::at(directory.guest_socket()), directory.machine());
            let totals = import(source, guest.unpack(root.as_os_str().as_encoded_bytes()).await?).await?;
            creation.set_seed(kind, totals).await?;
        }
        // A clone may have many files.
        on_thread(move || drop(clone)).await;
        Ok(())
    }
}

fn display(path: &Path) -> String {
    std::path::absolute(path).as_deref().unwrap_or(path).display().to_string()
}

/// A workspace in the making. Dropping it before it is finished, as when its future is dropped, removes it again.
struct Creation {
    store: Store,
    workspace: NewWorkspace,
    directory: WorkspaceDirectory,
    /// Its guest came up.
    is_up: bool,
    is_finished: bool,
    _lock: FileLock,
}

impl Creation {
    async fn begin(pyro: &Pyro, workspace: NewWorkspace, secrets: SecretValues) -> Result<Self, PyroError> {
        let (store, directory) = (pyro.store().await?, pyro.workspace_directory(&workspace.id));
        blocking(move || {
            let lock = directory.create_locked()?;
            let creation =
                Self { store, workspace, directory, is_up: false, is_finished: false, _lock: lock };
            creation.store.transact(|store| creation.workspace.insert(store))?;
            if !secrets.is_empty() {
                secrets.save(&creation.directory)?;
            }
            Ok(creation)
        })
        .await
    }

    /// Records what the workspace begins with.
    async fn set_seed(&mut self, kind: SourceKind, totals: Totals) -> Result<(), PyroError> {
        let origin = &mut self.workspace.origin;
        origin.seed.mode =
            if kind == SourceKind::Directory { SeedMode::Directory } else { SeedMode::TarArchive };
        origin.seed.entry_count = totals.entries;
        origin.seed.bytes_written = totals.bytes;
        let (store, id, origin) = (self.store.clone(), self.workspace.id.clone(), origin.clone());
        blocking(move || Ok(store.transact(|store| Record::set_origin(store, &id, &origin))?)).await
    }

    /// From here on the workspace exists.
    async fn finish(&mut self) -> Result<(), PyroError> {
        let (store, id) = (self.store.clone(), self.workspace.id.clone());
        blocking(move || {
            Ok(store.transact(|store| {
                Record::set_state(store, &id, WorkspaceState::Running)?;
                Record::touch(store, &id)
            })?)
        })
        .await?;
        self.is_finished = true;
        Ok(())
    }

    /// Removes the workspace, whose supervisor is told to end first.
    async fn undo(&self) {
        // What cannot be removed now is removed by the next call of any process.
        let _left = supervisor::end(&self.directory).await;
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        // Until its guest is up the supervisor ends because nobody is at the other end of its socket any more.
        if self.is_up {
            let _gone = supervisor::kill(&self.directory);
        }
        let ended = self.directory.is_unused_within(ABANDON_PATIENCE).unwrap_or(false);
        if ended && self.directory.remove().is_ok() {
            // Where it stays, the next call of any process finds that nobody is making it, and removes it.
            let _left = self.store.transact(|store| Record::delete(store, &self.workspace.id));
        }
    }
}
