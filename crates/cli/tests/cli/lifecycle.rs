//! The SDK's one-shot lifecycle, step by step, on real guests.

use crate::DEBIAN;
use crate::sdk::{block_on, prepared};
use pyro::network::{NetworkPolicy, NetworkRules};
use pyro::vm::lifecycle::{CreateVm, VmExec, VmState};
use pyro::{OutputMode, PyroError, VmId};
use pyro_testkit::GONE_DEADLINE;
use std::time::Duration;

fn request(ttl_seconds: u64) -> CreateVm {
    let environment = DEBIAN.to_owned();
    CreateVm {
        environment,
        vcpu_count: 1,
        mem_mib: 512,
        ttl_seconds,
        network: NetworkRules::default(),
        allow_host_compat: false,
    }
}

fn command(words: &[&str]) -> VmExec {
    VmExec { command: words.iter().map(|word| (*word).to_owned()).collect(), timeout_seconds: 30 }
}

#[test]
fn a_machine_executes_one_command_and_is_gone() {
    let (home, pyro) = prepared();
    block_on(async {
        let created = pyro.create_vm(request(300)).await.unwrap();
        let id = created.vm_id.clone();
        assert_eq!((created.state, created.engine), (VmState::Created, None));
        let early = pyro.exec_vm(&id, command(&["true"]), OutputMode::Capture).await.unwrap_err();
        assert!(
            matches!(early, PyroError::WrongVmState { state: "created", needed: "started", .. }),
            "{early}"
        );

        let started = pyro.start_vm(&id).await.unwrap();
        assert_eq!(started.state, VmState::Started);
        assert!(started.engine.is_some_and(|engine| engine != "host-compat"));
        assert_eq!(pyro.network_info_vm(&id).await.unwrap().policy, NetworkPolicy::Off);
        let again = pyro.start_vm(&id).await.unwrap_err();
        assert!(matches!(again, PyroError::WrongVmState { state: "started", .. }), "{again}");

        let result =
            pyro.exec_vm(&id, command(&["sh", "-c", "hostname; exit 3"]), OutputMode::Capture).await.unwrap();
        assert_eq!((result.exit_code, result.stdout.trim()), (3, id.as_str()));
        assert!(result.cleanup.deleted && result.cleanup.vm_id == id);
        assert!(matches!(pyro.status_vm(&id).await, Err(PyroError::UnknownVm { .. })));
    });
    assert_eq!(home.machines(), [] as [std::path::PathBuf; 0]);
}

#[test]
fn a_machine_with_a_network_says_how_it_is_connected() {
    let (_home, pyro) = prepared();
    block_on(async {
        let network =
            NetworkRules { policy: NetworkPolicy::Egress, allow_hosts: vec!["example.org".parse().unwrap()] };
        let id = pyro.create_vm(CreateVm { network, ..request(300) }).await.unwrap().vm_id;
        let created = pyro.network_info_vm(&id).await.unwrap();
        assert!(created.interfaces.is_empty() && created.counters.is_none());
        pyro.start_vm(&id).await.unwrap();
        let started = pyro.network_info_vm(&id).await.unwrap();
        assert_eq!((started.policy, started.interfaces[0].name), (NetworkPolicy::Egress, "pyro0"));
        assert!(started.counters.is_some() && started.allow_hosts[0].to_string() == "example.org");
        let lookup = command(&["getent", "hosts", "example.com"]);
        let result = pyro.exec_vm(&id, lookup, OutputMode::Capture).await.unwrap();
        assert_eq!((result.exit_code, &*result.refused_destinations[0].destination), (2, "example.com"));
    });
}

#[test]
fn a_machine_is_stopped_and_deleted_whatever_it_does() {
    let (home, pyro) = prepared();
    block_on(async {
        let id = pyro.create_vm(request(300)).await.unwrap().vm_id;
        pyro.start_vm(&id).await.unwrap();
        assert_eq!(home.machines().len(), 1);
        assert_eq!(pyro.stop_vm(&id).await.unwrap().state, VmState::Stopped);
        home.expect_no_process_within(GONE_DEADLINE);
        let late = pyro.exec_vm(&id, command(&["true"]), OutputMode::Capture).await.unwrap_err();
        assert!(matches!(late, PyroError::WrongVmState { state: "stopped", .. }), "{late}");
        pyro.delete_vm(&id).await.unwrap();
        let unknown = pyro.delete_vm(&VmId::parse("vm-none")).await.unwrap_err();
        assert!(matches!(unknown, PyroError::UnknownVm { .. }), "{unknown}");
    });
    assert!(home.machines().is_empty());
}

#[test]
fn a_machine_whose_time_has_passed_is_gone_without_anyone_calling() {
    let (home, pyro) = prepared();
    block_on(async {
        let kept = pyro.create_vm(request(300)).await.unwrap().vm_id;
        let id = pyro.create_vm(request(1)).await.unwrap().vm_id;
        let gone = async {
            while pyro.status_vm(&id).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
        assert_eq!(pyro.reap_expired().await.unwrap().count, 0, "nothing is left to reap");
        assert!(pyro.status_vm(&kept).await.is_ok(), "the other one is not affected");
        pyro.delete_vm(&kept).await.unwrap();
    });
    assert!(home.machines().is_empty());
}
