//! Published ports: services of a guest that are reached from the host, for as long as they live.

use super::{EXISTS, INVALID, MISSING, WRONG_STATE, list};
use crate::{DEBIAN, SUITE};
use pyro_testkit::{Home, Signal, Value, Workspace, json, poll_until};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::time::Duration;

const POLICY: [&str; 2] = ["--network-policy", "egress+published-ports"];
const TIMED_OUT: (i32, &str) = (1, "timed_out");
const PYTHON: &str = "debian:12-build";
/// Nothing takes this long unless something hangs; guests may be emulated, and hosts busy.
const DEADLINE: Duration = Duration::from_mins(2);

/// A server with a process for each connection, which does what the first line says.
const SERVER: &str = r#"use IO::Socket::INET;
$SIG{CHLD} = "IGNORE";
$SIG{PIPE} = "DEFAULT";
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => shift, Listen => 128, ReuseAddr => 1) or die;
open(my $up, ">", "up") and close $up;
while (1) {
    my $client = $server->accept or next;
    next if fork;
    close $server;
    $client->autoflush(1);
    my $line = <$client>;
    exit unless defined $line;
    if ($line =~ /^echo (.*)/) { print $client "$1\n"; }
    if ($line =~ /^hold (.*)/) { print $client "$1\n"; <$client>; }
    if ($line =~ /^count/) { my $all = 0; my $got; while ($got = read($client, my $data, 65536)) { $all += $got; } print $client "$all\n"; }
    if ($line =~ /^flood/) { my $data = "x" x 65536; while (print $client $data) {} }
    if ($line =~ /^deaf/) { sleep 1000; }
    if ($line =~ /^first/) { print $client "done\n"; shutdown($client, 1); my $rest = <$client>; open(my $heard, ">", "heard"); print $heard $rest; close $heard; }
    exit;
}
"#;

fn workspace(home: &Home) -> Workspace<'_> {
    let workspace = home.workspace_with(&POLICY);
    workspace.json("file write", &["server.pl", "--text", SERVER]);
    workspace
}

/// Starts a server at the guest's port 8000; returns what is told of it, and its port on the host.
fn serve(workspace: &Workspace<'_>, name: &str, publish: &str) -> (Value, u16) {
    let flags = [name, "--ready-tcp", "8000", "--publish", publish, "--", "perl", "server.pl", "8000"];
    let started = workspace.json("service start", &flags);
    let port = host_port(&started);
    (started, port)
}

fn host_port(service: &Value) -> u16 {
    service["published_ports"][0]["host_port"].as_u64().unwrap().try_into().unwrap()
}

fn published(host_port: u16) -> Value {
    json!([{ "host": "127.0.0.1", "host_port": host_port, "guest_port": 8000, "protocol": "tcp" }])
}

fn connect(port: u16) -> TcpStream {
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.set_write_timeout(Some(DEADLINE)).unwrap();
    client
}

/// What a server answers to a line.
#[track_caller]
fn ask(port: u16, line: &str) -> String {
    let mut client = connect(port);
    client.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

/// Nobody listens there any more.
#[track_caller]
fn expect_closed(port: u16) {
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused), "somebody listens at {port}");
}

/// The same, soon.
#[track_caller]
fn expect_closing(port: u16) {
    let closed = poll_until(DEADLINE, || {
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).err()?;
        // One that the listener had taken when it ended is reset; the next one is refused.
        (refused.kind() == ErrorKind::ConnectionRefused).then_some(())
    });
    assert!(closed.is_some(), "somebody listens at {port}");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_service_is_reached_for_as_long_as_it_lives() {
    let home = SUITE.with(DEBIAN);
    let workspace = workspace(&home);
    let (started, port) = serve(&workspace, "web", "8000");
    assert_eq!(started["published_ports"], published(port));
    assert_eq!(ask(port, "echo hello"), "hello\n");
    let status = workspace.json("service status", &["web"]);
    assert_eq!(status["published_ports"], published(port));
    assert_eq!(workspace.status()["published_ports"], published(port));
    assert_eq!(list(&home)["workspaces"][0]["published_ports"], published(port));
    let text = workspace.call("service list", &[]).run().expect(0);
    assert!(text.text().contains(&format!("127.0.0.1:{port} -> 8000")), "{}", text.text());

    // It is published on the loopback alone, and once.
    let taken = [&*format!("{port}:1"), "--", "true"];
    let error = workspace.refused("service start", &[&["two", "--publish"], &taken[..]].concat(), EXISTS);
    assert!(error["message"].as_str().unwrap().contains(&port.to_string()), "{error}");
    let again = ["web", "--publish", "8000", "--", "true"];
    workspace.refused("service start", &again, EXISTS);
    assert_eq!(workspace.json("service list", &[])["count"], 1, "nothing was started");
    assert_eq!(ask(port, "echo still here"), "still here\n");

    let stopped = workspace.json("service stop", &["web"]);
    expect_closed(port);
    assert_eq!(stopped["published_ports"], json!([]));
    assert_eq!(workspace.status()["published_ports"], json!([]));
    assert_eq!(list(&home)["workspaces"][0]["published_ports"], json!([]));
    // The same one again, as people do.
    let (started, again) = serve(&workspace, "web", &format!("{port}:8000"));
    assert_eq!((again, &started["published_ports"]), (port, &published(port)));
    assert_eq!(ask(port, "echo back"), "back\n");
}

#[test]
fn a_web_server_is_fetched_from_at_a_fixed_port() {
    let home = SUITE.with(PYTHON);
    let workspace = home.pyro(["workspace", "create", PYTHON, "--id-only"]).args(POLICY).run().expect(0);
    let workspace = Workspace::adopt(&home, workspace.text().trim());
    workspace.json("file write", &["site/index.html", "--text", "<h1>hello</h1>"]);
    let port = free_port();
    let publish = format!("{port}:8000");
    let flags = ["web", "--cwd", "site", "--ready-http", "http://127.0.0.1:8000/", "--publish", &publish];
    let command = ["--", "python3", "-m", "http.server", "8000", "--bind", "127.0.0.1"];
    let text = workspace.call("service start", &[&flags[..], &command].concat()).run().expect(0);
    assert_eq!(text.text(), format!("web is ready\npublished 127.0.0.1:{port} -> 8000\n"));
    let mut client = connect(port);
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    client.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.0 200 OK") && page.ends_with("<h1>hello</h1>"), "{page}");
}

#[test]
fn the_listener_ends_with_its_service_however_that_ends() {
    let home = SUITE.with(DEBIAN);
    let workspace = workspace(&home);
    let (_, port) = serve(&workspace, "killed", "8000");
    workspace.sh("pkill -9 -o -f server.pl");
    expect_closing(port);
    assert_eq!(workspace.json("service status", &["killed"])["published_ports"], json!([]));
    workspace.sh("mkfifo wait");
    let flags = ["exits", "--publish", "9", "--", "sh", "-c", "read line < wait"];
    let port = host_port(&workspace.json("service start", &flags));
    workspace.sh("echo > wait");
    expect_closing(port);
    // What is not ready in time has no listener when that is told.
    let port = free_port();
    let publish = format!("{port}:8000");
    let never = ["--publish", &publish, "--ready-file", "never", "--ready-timeout-seconds", "1"];
    let flags = [&["late"], &never[..], &["--", "sleep", "1000"]].concat();
    workspace.refused("service start", &flags, TIMED_OUT);
    expect_closed(port);
    let flags = [&["dies"], &never[..], &["--", "false"]].concat();
    workspace.refused("service start", &flags, WRONG_STATE);
    expect_closed(port);
    workspace.refused("service start", &["none", "--publish", &publish, "--", "/no/program"], MISSING);
    expect_closed(port);
}

#[test]
fn the_listener_ends_with_its_guest_and_its_supervisor() {
    let home = SUITE.with(DEBIAN);
    let workspace = workspace(&home);
    let (_, port) = serve(&workspace, "web", "8000");
    workspace.json("stop", &[]);
    expect_closed(port);
    assert_eq!(workspace.status()["published_ports"], json!([]));
    workspace.json("start", &[]);
    expect_closed(port);
    let (_, port) = serve(&workspace, "web", "8000");
    workspace.json("reset", &[]);
    expect_closed(port);
    workspace.json("file write", &["server.pl", "--text", SERVER]);
    let (_, port) = serve(&workspace, "web", "8000");
    let mut client = connect(port);
    client.write_all(b"hold on\n").unwrap();
    let mut held = [0; 3];
    client.read_exact(&mut held).unwrap();
    workspace.vmm().unwrap().kill();
    expect_closing(port);
    assert_eq!(client.read(&mut held).unwrap_err().kind(), ErrorKind::ConnectionReset, "no orderly end");
    let told = poll_until(DEADLINE, || (workspace.status()["state"] == "stopped").then_some(()));
    assert!(told.is_some());
    workspace.json("start", &[]);
    let (_, port) = serve(&workspace, "web", "8000");
    workspace.supervisor().unwrap().end();
    expect_closing(port);
    assert_eq!(workspace.status()["published_ports"], json!([]));
    workspace.json("start", &[]);
    let (_, port) = serve(&workspace, "web", "8000");
    workspace.delete();
    expect_closed(port);
}

#[test]
fn what_cannot_be_published_is_refused_before_anything_is_started() {
    let home = SUITE.with(DEBIAN);
    let workspace = workspace(&home);
    for malformed in ["0", "65536", "80:", "a:80", "127.0.0.1:80:80"] {
        let flags = ["one", "--publish", malformed, "--", "true"];
        let _usage = workspace.call("service start", &flags).run().expect(2);
    }
    for twice in [["80", "80"], ["8080:80", "8080:81"]] {
        let flags = ["one", "--publish", twice[0], "--publish", twice[1], "--", "true"];
        workspace.refused("service start", &flags, INVALID);
    }
    let (own, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), free_port());
    let taken = format!("{}:80", own.local_addr().unwrap().port());
    let free = format!("{other}:80");
    let flags = ["one", "--publish", &free, "--publish", &taken, "--", "true"];
    let error = workspace.refused("service start", &flags, EXISTS);
    assert!(error["message"].as_str().unwrap().contains("in use"), "{error}");
    expect_closed(other);
    assert_eq!(workspace.json("service list", &[])["count"], 0);
    for policy in ["off", "egress"] {
        let workspace = home.workspace_with(&["--network-policy", policy]);
        let flags = ["one", "--publish", &free, "--", "true"];
        let error = workspace.refused("service start", &flags, WRONG_STATE);
        assert!(error["hint"].as_str().unwrap().contains("egress+published-ports"), "{error}");
        assert_eq!(workspace.json("service list", &[])["count"], 0);
        expect_closed(other);
    }
}

#[test]
fn whoever_starts_a_service_and_is_killed_leaves_no_listener_behind() {
    let home = SUITE.with(DEBIAN);
    let workspace = workspace(&home);
    let port = free_port();
    // As the client does it, up to where it starts the service.
    let directory = File::open(home.workspace_directory(workspace.id())).unwrap();
    let socket = format!("/proc/self/fd/{}/control.sock", directory.as_raw_fd());
    let mut control = UnixStream::connect(socket).unwrap();
    let ports = json!([{ "host_port": port, "guest_port": 8000 }]);
    let asked = json!({ "publish": { "service": "web", "ports": ports } });
    control.write_all(format!("{asked}\n").as_bytes()).unwrap();
    let mut answer = [0; 64];
    assert!(control.read(&mut answer).unwrap() > 0);
    let _waiting = connect(port);
    assert_eq!(workspace.status()["published_ports"], json!([]), "there is no service");
    drop(control);
    expect_closing(port);
    // A service that is being started is published, also when nobody waits for it any more.
    let publish = format!("{port}:8000");
    let flags = ["web", "--publish", &publish, "--ready-file", "never", "--", "perl", "server.pl", "8000"];
    let starting = workspace.call("service start", &flags).spawn();
    let shown = poll_until(DEADLINE, || {
        let service = workspace.json("service list", &[])["services"][0].clone();
        (service["published_ports"] == published(port)).then_some(service)
    });
    assert_eq!(shown.unwrap()["state"], "starting");
    starting.signal(Signal::KILL);
    drop(starting);
    workspace.sh("until test -e up; do sleep 0.1; done");
    assert_eq!(ask(port, "echo hello"), "hello\n");
    workspace.json("service stop", &["web"]);
    expect_closed(port);
}

#[test]
fn two_hundred_connections_at_once_lose_nothing() {
    let home = SUITE.with(DEBIAN);
    let workspace = workspace(&home);
    let (_, port) = serve(&workspace, "web", "8000");
    // All of them are open, and have been answered, before the first one ends.
    let all_answered = Barrier::new(200);
    let all = &all_answered;
    let lost: Vec<String> = std::thread::scope(|scope| {
        let talk = move |number: usize| {
            let mut client = connect(port);
            let answered = client.write_all(format!("hold {number}\n").as_bytes()).and_then(|()| {
                let mut answer = vec![0; number.to_string().len() + 1];
                client.read_exact(&mut answer).map(|()| answer)
            });
            all.wait();
            let mut rest = Vec::new();
            let ended = client.write_all(b"over\n").and_then(|()| client.read_to_end(&mut rest));
            let expected = format!("{number}\n").into_bytes();
            let is_whole = answered.as_ref().is_ok_and(|answer| *answer == expected) && rest.is_empty();
            (!is_whole || ended.is_err()).then(|| format!("{number}: {answered:?} {ended:?}"))
        };
        let clients: Vec<_> = (0..200).map(|number| scope.spawn(move || talk(number))).collect();
        clients.into_iter().filter_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(lost, [] as [String; 0]);
    assert_eq!(workspace.status()["guest_responsive"], true);
}

#[test]
fn what_others_do_to_their_connections_disturbs_nobody() {
    let home = SUITE.with(DEBIAN);
    let workspace = workspace(&home);
    let (_, port) = serve(&workspace, "web", "8000");
    let say = |line: &str| {
        let mut client = connect(port);
        client.write_all(format!("{line}\n").as_bytes()).unwrap();
        client
    };
    // Half-open ones that say nothing, slow ones that do not read, a server that does not.
    let silent: Vec<_> = (0..20).map(|_| connect(port)).collect();
    let unread: Vec<_> = (0..5).map(|_| say("flood")).collect();
    let mut unheard = say("deaf");
    unheard.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let chunk = vec![0; 1 << 20];
    let mut written = 0;
    while unheard.write_all(&chunk).is_ok() {
        written += chunk.len();
        assert!(written < 200 << 20, "there is no end to what is held");
    }
    assert_eq!(ask(port, "echo one"), "one\n");
    // A direction ends by itself: the client's first, then the server's.
    let mut client = say("count");
    client.write_all(&vec![7; 300_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "300000\n");
    let mut client = say("first");
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "done\n");
    client.write_all(b"and I go on\n").unwrap();
    workspace.sh("until test -s heard; do sleep 0.1; done");
    assert_eq!(workspace.sh("cat heard"), "and I go on\n");
    // Those who just go: the guest's programs see it, also where nobody reads what they sent.
    let flooding = "pgrep -fc '[s]erver.pl'";
    let before: usize = workspace.sh(flooding).trim().parse().unwrap();
    assert!(before >= 27, "{before}");
    drop((silent, unread));
    let ended = poll_until(DEADLINE, || (workspace.sh(flooding).trim() == "2").then_some(()));
    assert!(ended.is_some(), "{}", workspace.sh("ps ax"));
    drop(unheard);
    assert_eq!(ask(port, "echo two"), "two\n");
    assert_eq!(workspace.status()["guest_responsive"], true);
    // A port that nobody serves: reset, neither silence nor an orderly end.
    let flags = ["empty", "--publish", "9", "--", "sleep", "1000"];
    let port = host_port(&workspace.json("service start", &flags));
    let mut client = connect(port);
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}
