//! Turns, records and files of workspaces that have no guest.

use super::{Seed, SnapshotName, WorkspaceId};
use crate::Pyro;
use crate::network::NetworkPolicy;
use crate::store::{NewWorkspace, Origin, Record, SnapshotRow, WorkspaceState};
use crate::testing::{block_on, sdk};
use jiff::{SignedDuration, Timestamp};
use pyro_protocol::error::{Diagnostic, ErrorKind};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tokio::time::timeout;

const AN_HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Records a workspace that has no files.
async fn record(pyro: &Pyro, state: WorkspaceState, left: SignedDuration) -> WorkspaceId {
    let origin = Origin {
        environment: "debian:12".to_owned(),
        image_digest: None,
        vcpu_count: 1,
        mem_mib: 512,
        ttl_seconds: 3600,
        allow_host_compat: true,
        network_policy: NetworkPolicy::Off,
        allow_hosts: vec![],
        seed: Seed::empty(),
        secrets: vec![],
    };
    let (id, created_at) = (WorkspaceId::random().unwrap(), Timestamp::now());
    let (name, labels, expires_at) = (None, BTreeMap::new(), created_at + left);
    let workspace = NewWorkspace { id: id.clone(), name, labels, origin, created_at, expires_at };
    pyro.transact(move |store| workspace.insert(store)).await.unwrap();
    set_state(pyro, &id, state).await;
    id
}

async fn set_state(pyro: &Pyro, id: &WorkspaceId, state: WorkspaceState) {
    let id = id.clone();
    pyro.transact(move |store| Record::set_state(store, &id, state)).await.unwrap();
}

/// Runs `test` with a workspace in `state` that has no files, and `left` to live.
fn with_record(state: WorkspaceState, left: SignedDuration, test: impl AsyncFnOnce(&Pyro, &WorkspaceId)) {
    let home = tempfile::tempdir().unwrap();
    let pyro = sdk(home.path());
    block_on(async {
        let id = record(&pyro, state, left).await;
        test(&pyro, &id).await;
    });
}

#[test]
fn no_files_are_made_again_for_a_workspace_that_is_being_removed() {
    let cases = [
        (WorkspaceState::Running, -AN_HOUR),
        (WorkspaceState::Deleting, AN_HOUR),
        (WorkspaceState::Creating, AN_HOUR),
    ];
    for (state, left) in cases {
        with_record(state, left, async |pyro, id| {
            let error = pyro.lock(id, Duration::ZERO).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{state:?}: {error}");
            assert!(!pyro.workspace_directory(id).path().exists(), "{state:?}");
            assert_eq!(pyro.read(Record::all).await.unwrap().len(), 0, "{state:?}");
        });
    }
}

#[test]
fn a_workspace_whose_files_somebody_removed_can_be_deleted() {
    with_record(WorkspaceState::Stopped, AN_HOUR, async |pyro, id| {
        pyro.delete_workspace(id).await.unwrap();
        assert!(!pyro.workspace_directory(id).path().exists());
        assert_eq!(pyro.read(Record::all).await.unwrap().len(), 0);
    });
}

#[test]
fn a_supervisor_is_killed_only_where_its_workspace_is_still_in_the_making() {
    with_record(WorkspaceState::Creating, AN_HOUR, async |pyro, id| {
        let directory = pyro.workspace_directory(id);
        directory.create().unwrap();
        let _alive = directory.become_supervisor(Duration::ZERO).unwrap();
        let mut command = Command::new("sh");
        let mut supervisor =
            command.args(["-c", "read line", id.as_str()]).stdin(Stdio::piped()).spawn().unwrap();
        fs::write(directory.alive_file(), supervisor.id().to_string()).unwrap();
        let read_before = pyro.find_record(id).await.unwrap();
        set_state(pyro, id, WorkspaceState::Running).await;
        assert!(pyro.settle_now(&read_before).await);
        assert!(supervisor.try_wait().unwrap().is_none(), "it supervises a whole workspace");
        set_state(pyro, id, WorkspaceState::Creating).await;
        assert!(!pyro.settle_now(&read_before).await, "somebody still holds its lock");
        assert_eq!(supervisor.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    });
}

#[test]
fn copies_of_the_disk_that_are_no_snapshots_go_with_the_next_turn() {
    with_record(WorkspaceState::Stopped, AN_HOUR, async |pyro, id| {
        let directory = pyro.workspace_directory(id);
        directory.create().unwrap();
        let [kept, stray] = ["kept", "stray"].map(|name| SnapshotName::parse(name).unwrap());
        let baseline = SnapshotName::baseline();
        let [kept_file, stray_file, baseline] =
            [&kept, &stray, &baseline].map(|name| directory.snapshot(name));
        let left = [stray_file, directory.unfinished(), directory.next_disk()];
        let of_use = [kept_file, baseline, directory.disk()];
        for file in left.iter().chain(&of_use) {
            fs::write(file, "x").unwrap();
        }
        let recorded = id.clone();
        pyro.transact(move |store| SnapshotRow::insert(store, &recorded, &kept, 1)).await.unwrap();
        drop(pyro.turn(id).await.unwrap());
        assert!(!left.iter().any(|file| file.exists()) && of_use.iter().all(|file| file.exists()));
    });
}

#[test]
fn what_is_under_way_keeps_the_turn_though_nobody_waits_for_it_any_more() {
    with_record(WorkspaceState::Stopped, AN_HOUR, async |pyro, id| {
        let turn = pyro.turn(id).await.unwrap();
        let (go_on, told) = mpsc::channel();
        let work = turn.blocking(move || {
            told.recv().unwrap();
            Ok(())
        });
        assert!(timeout(Duration::from_millis(50), work).await.is_err());
        drop(turn);
        let error = pyro.lock(id, Duration::ZERO).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::WrongState, "{error}");
        go_on.send(()).unwrap();
        pyro.lock(id, Duration::from_secs(10)).await.unwrap();
    });
}
