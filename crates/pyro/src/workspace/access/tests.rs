use super::*;
use crate::network::NetworkPolicy;
use crate::store::{NewWorkspace, Origin};
use crate::testing::{block_on, sdk};
use crate::workspace::Seed;
use std::collections::BTreeMap;

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
    let inserting = pyro.transact(move |store| {
        workspace.insert(store)?;
        Record::set_state(store, &workspace.id, state)
    });
    inserting.await.unwrap();
    id
}

#[test]
fn no_files_are_made_again_for_a_workspace_that_is_being_removed() {
    let cases = [
        (WorkspaceState::Running, -AN_HOUR),
        (WorkspaceState::Deleting, AN_HOUR),
        (WorkspaceState::Creating, AN_HOUR),
    ];
    for (state, left) in cases {
        let home = tempfile::tempdir().unwrap();
        let pyro = sdk(home.path());
        block_on(async {
            let id = record(&pyro, state, left).await;
            let error = pyro.lock(&id, Duration::ZERO).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{state:?}: {error}");
            assert!(!pyro.workspace_directory(&id).path().exists(), "{state:?}");
            assert_eq!(pyro.read(Record::all).await.unwrap().len(), 0, "{state:?}");
        });
    }
}

#[test]
fn a_workspace_whose_files_somebody_removed_can_be_deleted() {
    let home = tempfile::tempdir().unwrap();
    let pyro = sdk(home.path());
    block_on(async {
        let id = record(&pyro, WorkspaceState::Stopped, AN_HOUR).await;
        pyro.delete_workspace(&id).await.unwrap();
        assert!(!pyro.workspace_directory(&id).path().exists());
        assert_eq!(pyro.read(Record::all).await.unwrap().len(), 0);
    });
}
