//! Secrets: what commands get of them, and what of them comes out.

use bytes::Bytes;
use pyro_protocol::v1::{
    EnvVar, Exec, FailureKind, OpenShell, ProbeCommand, PutSecrets, ReadServiceLog, ReadShell, Readiness,
    Secret, SecretEnv, ServiceStatus, StartService, StopService, WriteShell, readiness, reply, request,
};
use std::os::unix::fs::PermissionsExt;

use crate::client::{Guest, SECRETS, assert_failure, run, shell, with_agent};

const VALUE: &str = "hunter2/and more";
const BASE64: &str = "aHVudGVyMi9hbmQgbW9yZQ==";
const URL: &str = "hunter2%2Fand%20more";

fn secrets(secrets: &[(&str, &[u8])]) -> request::Call {
    let secret = |(name, value): &(&str, &[u8])| Secret {
        name: (*name).to_owned(),
        value: Bytes::copy_from_slice(value),
    };
    request::Call::PutSecrets(PutSecrets { secrets: secrets.iter().map(secret).collect() })
}

async fn put(guest: &Guest, given: &[(&str, &[u8])]) {
    let answer = guest.ask(secrets(given)).await;
    assert!(matches!(answer, reply::Reply::Done(_)), "{answer:?}");
}

fn mapped(secret: &str, variable: &'static str) -> Vec<SecretEnv> {
    vec![SecretEnv { secret: secret.to_owned(), variable: variable.into() }]
}

fn with_token(script: &str) -> Exec {
    Exec { secrets: mapped("TOKEN", "T"), ..shell(script) }
}

#[test]
fn a_command_has_a_secret_as_a_file_and_as_a_variable_and_shows_neither() {
    with_agent(async |guest| {
        put(guest, &[("TOKEN", VALUE.as_bytes()), ("LINE", b"with a line end\n")]).await;
        let file = guest.path(SECRETS).join("TOKEN");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o400);
        let seen =
            guest.exec(with_token("printf %s \"$T\" | wc -c; cat pyro-secrets/TOKEN; echo $T >&2")).await;
        assert_eq!(seen.text(), "16\n[REDACTED]");
        assert_eq!(seen.stderr, b"[REDACTED]\n");
        assert_eq!(guest.exec(shell("echo ${T-none}")).await.text(), "none\n", "only where it was asked for");
        let line = Exec { secrets: mapped("LINE", "L"), ..shell("printf %s \"$L\" | wc -c") };
        assert_eq!(guest.exec(line).await.text(), "15\n", "without its line end");
        let both = EnvVar { name: "T".into(), value: "plain".into() };
        let both = Exec { env: vec![both], ..with_token("test \"$T\" != plain && echo it wins") };
        assert_eq!(guest.exec(both).await.text(), "it wins\n");
    });
}

#[test]
fn output_is_redacted_encoded_and_in_pieces_and_nothing_else_is() {
    with_agent(async |guest| {
        put(guest, &[("TOKEN", VALUE.as_bytes())]).await;
        let script = format!(
            "echo {BASE64}; echo 'q={URL}&x'; printf hunter2/; sleep 0.2; echo 'and more'; printf hunt"
        );
        let seen = guest.exec(shell(&script)).await;
        assert_eq!(seen.text(), "[REDACTED]\nq=[REDACTED]&x\n[REDACTED]\nhunt");
        // Marks are longer than a short value: more comes out than went in.
        let many = guest.exec(with_token("yes \"$T\" | head -n 50000 | tr -d '\\n'; printf .")).await;
        assert_eq!(many.stdout.len(), 50_000 * 10 + 1);
        assert!(many.stdout.ends_with(b"[REDACTED]."));
        // What a process that stays holds open is cut off, and what was held back still comes.
        let left = guest.exec(shell("printf 'begin hunter2/and'; sleep 1000 &")).await;
        assert!(left.exited.output_cut);
        assert_eq!(left.text(), "begin hunter2/and");
    });
}

#[test]
fn what_is_longer_than_a_chunk_is_sent_in_pieces() {
    with_agent(async |guest| {
        let long = "0123456789abcdef".repeat(4096);
        put(guest, &[("LONG", long.as_bytes()), ("SHORT", b"tiny")]).await;
        // All of it but a byte is held back, and comes at once when the last one is another.
        let script = "yes tiny | head -n 40000 | tr -d '\\n'; head -c 65535 pyro-secrets/LONG; printf '.'; cat pyro-secrets/LONG";
        let seen = guest.exec(shell(script)).await;
        let expected = "[REDACTED]".repeat(40_000) + &long[..65_535] + ".[REDACTED]";
        assert!(seen.text() == expected, "{} bytes, not {}", seen.stdout.len(), expected.len());
    });
}

#[test]
fn shells_keep_and_count_what_may_show() {
    with_agent(async |guest| {
        put(guest, &[("TOKEN", VALUE.as_bytes())]).await;
        let argv = [
            "/bin/sh",
            "-c",
            "stty -echo; echo \"[$T]\"; printf hunter2; read x; echo \"/and more.\"; echo end; read x",
        ];
        let argv = argv.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        let secrets = mapped("TOKEN", "T");
        let open = OpenShell { id: "s".into(), argv, columns: 80, rows: 24, secrets, ..OpenShell::default() };
        guest.call(request::Call::OpenShell(open)).await.started().await;
        let first = read(guest, "]").await;
        assert_eq!(first, "[[REDACTED]]\r\n", "what may begin one is held back");
        for _ in 0..20 {
            assert_eq!(read(guest, "]").await, first, "however long it takes");
        }
        let data = Bytes::from_static(b"\n");
        guest.ask(request::Call::WriteShell(WriteShell { id: "s".into(), data })).await;
        assert_eq!(read(guest, "end").await, "[[REDACTED]]\r\n[REDACTED].\r\nend\r\n");
    });
}

/// All that a shell has printed, once it holds `text`.
async fn read(guest: &Guest, text: &str) -> String {
    loop {
        let read = ReadShell {
            id: "s".into(),
            max_bytes: u64::MAX,
            idle_ms: 20,
            limit_ms: 1000,
            ..ReadShell::default()
        };
        let mut call = guest.call(request::Call::ReadShell(read)).await;
        let reply::Reply::ShellOutput(announced) = call.reply().await else { panic!("no output") };
        let mut bytes = Vec::new();
        while let reply::Reply::Data(data) = call.reply().await {
            bytes.extend_from_slice(&data.data);
        }
        assert_eq!(announced.state.unwrap().end, bytes.len() as u64);
        let seen = String::from_utf8(bytes).unwrap();
        if seen.contains(text) {
            return seen;
        }
    }
}

#[test]
fn services_and_their_probes_have_secrets_and_their_logs_have_none() {
    with_agent(async |guest| {
        put(guest, &[("TOKEN", VALUE.as_bytes())]).await;
        let words =
            |words: [&str; 3]| words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        let probe = ProbeCommand { argv: words(["/bin/sh", "-c", "test \"$T\" = 'hunter2/and more'"]) };
        let start = StartService {
            name: "web".into(),
            argv: words(["/bin/sh", "-c", "echo \"$T\"; echo \"$T\" >&2; printf hunt; exec sleep 1000"]),
            readiness: Some(Readiness { probe: Some(readiness::Probe::Command(probe)) }),
            ready_timeout_ms: 20_000,
            ready_interval_ms: 100,
            secrets: mapped("TOKEN", "T"),
            ..StartService::default()
        };
        let mut call = guest.call(request::Call::StartService(start)).await;
        call.started().await;
        let reply::Reply::Services(services) = call.reply().await else { panic!("no service") };
        assert_eq!(services.services[0].status(), ServiceStatus::Running);
        // What it printed may be on its way.
        while log(guest).await != "[REDACTED]\n[REDACTED]\n" {}
        guest.ask(request::Call::StopService(StopService { name: "web".into(), grace_ms: 1000 })).await;
        assert_eq!(log(guest).await, "[REDACTED]\nhunt[REDACTED]\n", "what was held back comes at the end");
    });
}

/// Standard output of the service, then standard error.
async fn log(guest: &Guest) -> String {
    let mut call = guest.call(request::Call::ReadServiceLog(ReadServiceLog { name: "web".into() })).await;
    let reply::Reply::ServiceLog(_) = call.reply().await else { panic!("no log") };
    let mut printed = String::new();
    while let reply::Reply::Data(data) = call.reply().await {
        printed.push_str(std::str::from_utf8(&data.data).unwrap());
    }
    printed
}

#[test]
fn what_cannot_be_is_refused_in_words_that_show_nothing() {
    run(async {
        let guest = Guest::start().await;
        let early = guest.call(secrets(&[("TOKEN", VALUE.as_bytes())])).await.failure().await;
        assert_failure(&early, FailureKind::WrongState, "not configured");
        guest.configure().await;
        put(&guest, &[("TOKEN", VALUE.as_bytes()), ("NUL", b"ab\0cd")]).await;
        let again = guest.call(secrets(&[])).await.failure().await;
        assert_failure(&again, FailureKind::WrongState, "already");
        let refused = async |exec| guest.call(request::Call::Exec(exec)).await.failure().await;
        let unknown = refused(Exec { secrets: mapped("OTHER", "T"), ..shell("true") }).await;
        assert_failure(&unknown, FailureKind::NotFound, "no secret OTHER");
        let nul = refused(Exec { secrets: mapped("NUL", "T"), ..shell("true") }).await;
        assert_failure(&nul, FailureKind::Invalid, "the secret NUL contains a NUL byte");
        let nameless = refused(Exec { secrets: mapped("TOKEN", "A=B"), ..shell("true") }).await;
        assert_failure(&nameless, FailureKind::Invalid, "variable's name");
        let told = refused(Exec { argv: vec![format!("./{VALUE}").into()], ..Exec::default() }).await;
        assert_failure(&told, FailureKind::NotFound, "[REDACTED]");
        assert!(!told.message.contains("hunter2") && !told.path.windows(7).any(|part| part == b"hunter2"));
        assert!(guest.close().await.success());
    });
}
