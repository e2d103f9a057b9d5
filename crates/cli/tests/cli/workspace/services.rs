//! Services: commands in the background of a workspace, from start to end.

use super::{EXISTS, INVALID, MISSING, WRONG_STATE, list};
use crate::{DEBIAN, SUITE};
use pyro_testkit::{Value, Workspace, json};

const TIMED_OUT: (i32, &str) = (1, "timed_out");

fn start(workspace: &Workspace<'_>, name: &str, flags: &[&str], script: &str) -> Value {
    workspace.json("service start", &[&[name], flags, &["--", "sh", "-c", script]].concat())
}

fn service_state(workspace: &Workspace<'_>, name: &str) -> Value {
    workspace.json("service status", &[name])
}

/// A web server of a few lines of Perl, which every Debian has.
const WEB: &str = r#"use IO::Socket::INET;
$| = 1;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8000, Listen => 5, ReuseAddr => 1) or die;
print "listening\n";
while (my $client = $server->accept) {
    my $line = <$client>;
    while (my $header = <$client>) { last if $header =~ /^\s*$/; }
    my $status = $line =~ m{^GET /health } ? "200 OK" : "404 Not Found";
    print $client "HTTP/1.1 $status\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhi\n";
    close $client;
}
"#;

#[test]
fn a_web_server_is_ready_probed_and_stopped() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    workspace.json("file write", &["web.pl", "--text", WEB]);
    let ready = ["web", "--ready-http", "http://127.0.0.1:8000/health", "--ready-interval-ms", "100"];
    let started = workspace.json("service start", &[&ready[..], &["--", "perl", "web.pl"]].concat());
    assert_eq!((&started["state"], &started["exit_code"]), (&json!("running"), &Value::Null));
    assert!(started["ready_at"].as_str() >= started["started_at"].as_str(), "{started}");
    assert_eq!(started["command"], json!(["perl", "web.pl"]));
    assert_eq!(workspace.sh("curl -s http://127.0.0.1:8000/health"), "hi\n");
    start(&workspace, "tcp", &["--ready-tcp", "8000"], "exec sleep 1000");
    start(
        &workspace,
        "file",
        &["--ready-file", "up", "--cwd", "/workspace"],
        "touch up; echo out; exec sleep 1000",
    );
    start(&workspace, "line", &["--ready-command", "test -e up"], "exec sleep 1000");
    let services = workspace.json("service list", &[]);
    assert_eq!((&services["count"], &services["running_count"]), (&json!(4), &json!(4)));
    let status = workspace.status();
    assert_eq!((&status["service_count"], &status["running_service_count"]), (&json!(4), &json!(4)));
    let entry = &list(&home)["workspaces"][0];
    assert_eq!((&entry["service_count"], &entry["running_service_count"]), (&json!(4), &json!(4)));
    assert_eq!(workspace.json("service logs", &["web"])["stdout"], "listening\n");

    let stopped = workspace.json("service stop", &["web"]);
    assert_eq!((&stopped["state"], &stopped["exit_code"]), (&json!("stopped"), &json!(143)));
    let _refused = workspace.exec(&[], "curl -s http://127.0.0.1:8000/health").run().expect(7);
    assert_eq!(workspace.json("service stop", &["web"])["state"], "stopped", "again");
    assert_eq!(workspace.json("service list", &[])["running_count"], 3);
    assert_eq!(list(&home)["workspaces"][0]["running_service_count"], 3);
    let diff = workspace.json("diff", &[]);
    assert_eq!(diff["summary"]["total"], 2, "logs are not in the workspace: {diff}");
}

#[test]
fn what_does_not_become_ready_is_told_with_the_end_of_its_log() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let never = ["--ready-file", "never", "--ready-timeout-seconds", "2"];
    let died = |script| [&["died"], &never[..], &["--", "sh", "-c", script]].concat();
    let error = workspace.refused("service start", &died("echo begun; echo why >&2; exit 3"), WRONG_STATE);
    assert!(error["message"].as_str().unwrap().contains("status 3"), "{error}");
    assert_eq!(error["log"], "begun\nwhy");
    let state = service_state(&workspace, "died");
    assert_eq!((&state["state"], &state["exit_code"]), (&json!("failed"), &json!(3)));
    let error = workspace.refused("service start", &died("echo waiting; exec sleep 1000"), TIMED_OUT);
    assert!(error["message"].as_str().unwrap().contains("2000 ms"), "{error}");
    assert_eq!(error["log"], "waiting");
    assert_eq!(workspace.sh("pgrep -xc sleep; true"), "0\n");
    // One that nobody can say is ready must not have ended at once, with whatever status.
    for (script, said) in [("exit 4", "status 4"), ("true", "status 0")] {
        let flags = ["brief", "--", "sh", "-c", script];
        let error = workspace.refused("service start", &flags, WRONG_STATE);
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
    }
    // A service may end by itself later, which is told by whoever asks next.
    workspace.sh("mkfifo wait");
    start(&workspace, "short", &["--ready-file", "short.up"], "touch short.up; read line < wait; exit 9");
    workspace.sh("echo > wait");
    let ended = loop {
        let state = service_state(&workspace, "short");
        if state["state"] != "running" {
            break state;
        }
    };
    assert_eq!(ended["state"], "exited", "{ended}");
    assert_eq!(workspace.status()["running_service_count"], 0);
}

#[test]
fn services_end_with_their_guest_and_it_is_told_which() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    start(&workspace, "one", &[], "exec sleep 1000");
    start(&workspace, "two", &[], "exec sleep 1000");
    workspace.json("service stop", &["two"]);
    workspace.json("stop", &[]);
    let told = |services: &Value| {
        let services = services["services"].as_array().unwrap().clone();
        let told = services.iter().map(|service| format!("{} {}", service["service_name"], service["state"]));
        told.collect::<Vec<_>>()
    };
    let lost = [r#""one" "lost""#, r#""two" "stopped""#];
    assert_eq!(told(&workspace.json("service list", &[])), lost);
    workspace.json("start", &[]);
    assert_eq!(told(&workspace.json("service list", &[])), lost);
    let status = workspace.status();
    assert_eq!((&status["service_count"], &status["running_service_count"]), (&json!(2), &json!(0)));
    workspace.refused("service logs", &["one"], MISSING);
    start(&workspace, "one", &[], "exec sleep 1000");
    assert_eq!(told(&workspace.json("service list", &[]))[1], r#""one" "running""#, "the last one started");
    workspace.vmm().unwrap().kill();
    loop {
        let services = told(&workspace.json("service list", &[]));
        if services[1] == r#""one" "lost""# {
            break;
        }
    }
    workspace.json("reset", &[]);
    assert_eq!(workspace.json("service list", &[])["count"], 0);
}

#[test]
fn a_service_outlives_the_process_that_starts_it() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let flags = ["slow", "--ready-file", "go", "--", "sh", "-c", "echo begun; exec sleep 1000"];
    let starting = workspace.call("service start", &flags).spawn();
    loop {
        let services = workspace.json("service list", &[]);
        if services["count"] == 1 {
            assert_eq!(services["services"][0]["state"], "starting");
            break;
        }
    }
    starting.signal(pyro_testkit::Signal::KILL);
    drop(starting);
    workspace.sh("touch go");
    while service_state(&workspace, "slow")["state"] != "running" {}
    assert_eq!(workspace.json("service logs", &["slow", "--all"])["stdout"], "begun\n");
}

#[test]
fn logs_are_bounded_and_their_last_lines_are_shown() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let script = "yes 0123456789 | head -c 2000009; echo over; echo beside >&2; touch done; exec sleep 1000";
    start(&workspace, "flood", &["--ready-file", "done"], script);
    let all = workspace.json("service logs", &["flood", "--all"]);
    let stdout = all["stdout"].as_str().unwrap();
    assert_eq!((stdout.len(), &all["truncated"]), (512 << 10, &json!(true)));
    assert!(stdout.ends_with("over\n"));
    assert_eq!(all["stderr"], "beside\n");
    let tail = workspace.json("service logs", &["flood", "--tail-lines", "2"]);
    assert_eq!((&tail["stdout"], &tail["stderr"]), (&json!("0123456789\nover\n"), &json!("beside\n")));
    let text = workspace.call("service logs", &["flood", "--tail-lines", "1"]).run().expect(0);
    assert_eq!(text.text(), "over\nbeside\n");
}

#[test]
fn what_no_service_can_be_is_refused() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    let none = workspace.refused("service status", &["none"], MISSING);
    assert!(none["hint"].as_str().unwrap().contains("service start"), "{none}");
    workspace.refused("service stop", &["none"], MISSING);
    workspace.refused("service logs", &["none"], MISSING);
    let refused = |flags: &[&str], refusal| {
        workspace.refused("service start", &[flags, &["--", "true"]].concat(), refusal)
    };
    refused(&["a/b"], INVALID);
    refused(&["one", "--ready-tcp", "host"], INVALID);
    refused(&["one", "--ready-http", "https://localhost/"], INVALID);
    refused(&["one", "--ready-timeout-seconds", "0"], INVALID);
    refused(&["one", "--ready-interval-ms", "0"], INVALID);
    refused(&["one", "--cwd", "../.."], INVALID);
    workspace.refused("service start", &["one", "--", "/no/program"], MISSING);
    let both = ["one", "--ready-tcp", "1", "--ready-file", "f", "--", "true"];
    let _usage = workspace.call("service start", &both).run().expect(2);
    assert_eq!(workspace.json("service list", &[])["count"], 0);
    start(&workspace, "one", &[], "exec sleep 1000");
    let taken = refused(&["one"], EXISTS);
    assert!(taken["hint"].as_str().unwrap().contains("service stop"), "{taken}");
    let near = workspace.refused("service status", &["two"], MISSING);
    assert!(near["hint"].as_str().unwrap().contains("one"), "{near}");
    workspace.json("stop", &[]);
    refused(&["one"], WRONG_STATE);
}
