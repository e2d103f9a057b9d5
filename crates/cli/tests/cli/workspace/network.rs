//! The network of workspaces and of one-shot guests, on real guests and the real package mirror.

use super::{INVALID, UNSUPPORTED};
use crate::{CLOSED_MIRROR, DEBIAN, SUITE};
use pyro::FetchOptions;
use pyro_testkit::{Value, Workspace, json, poll_until};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// No supervisor takes so long to see what its guest has done.
const DEADLINE: Duration = Duration::from_mins(1);
const EGRESS: [&str; 2] = ["--network-policy", "egress"];

/// The mirror's base, host and port.
fn mirror() -> (String, String, u16) {
    let mirror = FetchOptions::default().mirror().unwrap();
    let (host, port) = mirror.place();
    (mirror.base().to_owned(), host, port)
}

/// A script that prints the first line of the mirror's release file.
fn fetch(base: &str) -> String {
    format!("curl -sS --max-time 60 {base}/dists/bookworm/InRelease | head -n1")
}

/// A script that installs a package from the mirror.
pub fn install(package: &str) -> String {
    let (base, ..) = mirror();
    format!(
        "rm -rf /etc/apt/sources.list.d/* && echo 'deb {base} bookworm main' > /etc/apt/sources.list &&
         apt-get -q update && apt-get -q install -y --no-install-recommends {package}"
    )
}

const SIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----\n";

fn refused(document: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let refused = document["refused_destinations"].as_array().cloned().unwrap_or_default();
    refused.iter().map(|it| format!("{} {}", text(&it["destination"]), it["port"])).collect()
}

/// Connects to a place from the guest, and tells whether that worked.
fn connects(workspace: &Workspace<'_>, host: &str, port: u16) -> bool {
    let script =
        format!("timeout 20 bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2>/dev/null && echo yes || echo no");
    workspace.sh(&script) == "yes\n"
}

#[test]
fn off_is_off() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace();
    assert_eq!(workspace.sh("ls /sys/class/net"), "lo\n");
    let (_, host, port) = mirror();
    assert!(!connects(&workspace, &host, port));
    assert_eq!(workspace.sh("cat /proc/net/route | wc -l"), "1\n", "only the heading");
    let network = workspace.json("network", &[]);
    assert_eq!((&network["network_policy"], &network["interfaces"]), (&json!("off"), &json!([])));
    let flags = ["workspace", "create", DEBIAN, "--json", "--allow-host", "example.org"];
    let _named = home.pyro(flags).run().refused(INVALID);
}

#[test]
fn egress_reaches_the_world_and_not_the_host() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace_with(&EGRESS);
    let (base, host, port) = mirror();
    assert_eq!(workspace.sh(&fetch(&base)), SIGNED);
    // The host's loopback under the gateway's address and its own, its networks, and where clouds keep credentials.
    for address in ["10.127.0.1", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1"] {
        assert!(!connects(&workspace, address, 80), "{address}");
    }
    assert!(!connects(&workspace, "no-such-name.invalid", 80));
    let status = workspace.status();
    assert!(refused(&status).contains(&"169.254.169.254 80".to_owned()), "{status}");
    let network = workspace.json("network", &[]);
    assert_eq!(network["interfaces"][0]["name"], "pyro0");
    let connected = |event: &Value| event["kind"] == "connected" && event["name"] == json!(host);
    let events = network["events"].as_array().unwrap();
    assert!(events.iter().any(|event| connected(event) && event["port"] == json!(port)), "{network:#}");
    assert!(network["counters"]["bytes_received"].as_u64() > Some(10_000), "{network:#}");
    let summary = workspace.call("summary", &[]).run().expect(0);
    assert!(summary.text().contains("169.254.169.254"), "{}", summary.text());
    // It comes back with its guest, and what was refused is forgotten with what was done.
    workspace.json("stop", &[]);
    assert!(refused(&workspace.status()).contains(&"169.254.169.254 80".to_owned()));
    workspace.json("start", &[]);
    assert_eq!(workspace.sh(&fetch(&base)), SIGNED);
    workspace.json("reset", &[]);
    assert_eq!(refused(&workspace.status()), [""; 0]);
    assert_eq!(workspace.sh(&fetch(&base)), SIGNED);
}

#[test]
fn only_allowed_names_are_reached() {
    let home = SUITE.with(DEBIAN);
    let (base, host, port) = mirror();
    let flags = [&EGRESS[..], &["--allow-host", &host, "--allow-host", "*.example.org"]].concat();
    let workspace = home.workspace_with(&flags);
    assert_eq!(workspace.status()["allow_hosts"], json!([host, "*.example.org"]));
    // An address that nobody has asked for by an allowed name.
    assert!(!connects(&workspace, "198.51.100.7", port));
    assert_eq!(workspace.sh("getent hosts example.com || echo refused"), "refused\n");
    assert_eq!(workspace.sh(&fetch(&base)), SIGNED);
    let refused = refused(&workspace.status());
    assert!(refused.contains(&"example.com null".to_owned()), "{refused:?}");
    assert!(refused.contains(&format!("198.51.100.7 {port}")), "{refused:?}");
}

#[test]
fn a_guest_that_floods_is_limited_and_told() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace_with(&EGRESS);
    let (base, host, port) = mirror();
    let flood = format!(
        "use IO::Socket::INET; my ($kept, $failed, @all) = (0, 0);
         for (1 .. 700) {{ my $it = IO::Socket::INET->new(PeerAddr => '{host}', PeerPort => {port}, Timeout => 20);
           if ($it) {{ push @all, $it; $kept++ }} else {{ $failed++; last if $failed > 20 }} }}
         print \"$kept $failed\\n\";"
    );
    workspace.json("file write", &["flood.pl", "--text", &flood]);
    let counts =
        workspace.exec(&["--timeout-seconds", "300"], "ulimit -n 2000; perl flood.pl").run().expect(0);
    let (kept, failed) = counts.text().trim().split_once(' ').unwrap();
    let (kept, failed): (usize, usize) = (kept.parse().unwrap(), failed.parse().unwrap());
    assert!(kept <= 512 && failed > 0, "{kept} connections, {failed} refused");
    let status = workspace.status();
    assert!(status["refused_destinations"].to_string().contains("too many TCP connections"), "{status:#}");
    // Datagrams without end: nobody else is any slower for it.
    let flood = "timeout 5 perl -e 'use IO::Socket::INET; my $it = IO::Socket::INET->new(Proto => \"udp\", PeerAddr => \"10.127.0.1\", PeerPort => 9); $it->send(\"x\" x 1400) while 1'; true";
    workspace.sh(flood);
    assert_eq!(workspace.sh(&fetch(&base)), SIGNED);
}

#[test]
fn one_command_has_a_network_when_it_is_asked_for() {
    let home = SUITE.with(DEBIAN);
    let (base, ..) = mirror();
    let script =
        format!("{}; timeout 5 bash -c 'exec 3<>/dev/tcp/192.168.0.1/80' 2>/dev/null; true", fetch(&base));
    let run = crate::sh(&home, &["--network", "--json", "--timeout-seconds", "120"], &script).run().expect(0);
    let result = run.json();
    assert_eq!(result["stdout"], SIGNED, "{result}");
    assert_eq!(
        (&result["network_policy"], refused(&result)),
        (&json!("egress"), vec!["192.168.0.1 80".to_owned()])
    );
    let off = crate::sh(&home, &["--json"], "ls /sys/class/net").run().expect(0).json();
    assert_eq!((&off["stdout"], &off["network_policy"]), (&json!("lo\n"), &json!("off")));
}

#[test]
fn what_a_guest_does_to_its_interface_is_its_own_matter_and_told() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace_with(&EGRESS);
    let (base, ..) = mirror();
    // It is down while packets come, and up again.
    let bounce = format!(
        "curl -s {base}/dists/bookworm/main/binary-amd64/Packages.gz -o /dev/null --max-time 20 &
         for i in 1 2 3 4 5; do ip link set pyro0 down; ip link set pyro0 up; done; kill $!; wait;
         ip route replace default via 10.127.0.1"
    );
    workspace.sh(&bounce);
    assert_eq!(workspace.sh(&fetch(&base)), SIGNED);
    assert_eq!(workspace.json("network", &[])["has_ended"], false);
    workspace.sh("ip link delete pyro0");
    let ended = || Some(workspace.json("network", &[])).filter(|network| network["has_ended"] == true);
    let network = poll_until(DEADLINE, ended).unwrap();
    assert_eq!(network["interfaces"], json!([]));
    assert_eq!(workspace.status()["network_has_ended"], true);
    workspace.json("stop", &[]);
    workspace.json("start", &[]);
    assert_eq!(workspace.status()["network_has_ended"], Value::Null);
    assert_eq!(workspace.sh(&fetch(&base)), SIGNED);
}

/// An HTTP proxy that connects to wherever it is told to, and tells where that was.
fn proxy() -> (String, Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (told, asked) = channel();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let told = told.clone();
            // What a client or server does wrong is for the guest to see.
            thread::spawn(move || tunnel(client, &told).ok());
        }
    });
    (format!("http://{address}"), asked)
}

fn tunnel(mut client: TcpStream, told: &Sender<String>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head);
    let place = head.split(' ').nth(1).unwrap_or_default();
    told.send(place.to_owned()).unwrap();
    let mut server = TcpStream::connect(place)?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _bytes = io::copy(&mut from_client, &mut to_server);
        let _gone = to_server.shutdown(Shutdown::Write);
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Write)
}

#[test]
fn a_host_behind_a_proxy_takes_its_guests_through_it() {
    let home = SUITE.with(DEBIAN);
    let (base, host, port) = mirror();
    let (url, asked) = proxy();
    let create = ["workspace", "create", DEBIAN, "--id-only"];
    let created = home.pyro(create).args(EGRESS).env("HTTPS_PROXY", &url).run().expect(0);
    let workspace = Workspace::adopt(&home, created.text().trim());
    assert_eq!(workspace.sh(&fetch(&base)), SIGNED);
    assert_eq!(asked.recv_timeout(DEADLINE).unwrap(), format!("{host}:{port}"), "by name");
    assert!(!connects(&workspace, "localhost.", 80) && !connects(&workspace, "169.254.169.254", 80));
    assert!(asked.try_recv().is_err());
    let socks = home.pyro(create).args(EGRESS).env("HTTPS_PROXY", "socks5://127.0.0.1:1").run().expect(2);
    assert!(socks.stderr.contains("socks5") && socks.stderr.contains(" hint: "), "{}", socks.stderr);
}

#[test]
fn a_package_is_installed() {
    let home = SUITE.with(DEBIAN);
    let workspace = home.workspace_with(&EGRESS);
    let install = install("hello") + " && hello";
    let installed = workspace.exec(&["--timeout-seconds", "600"], &install).run().expect(0);
    assert!(installed.text().ends_with("Hello, world!\n"), "{}", installed.text());
}

#[test]
fn what_cannot_be_enforced_on_the_host_is_refused() {
    let home = SUITE.bare();
    let flags =
        ["workspace", "create", DEBIAN, "--json", "--allow-host-compat", "--allow-host", "example.org"];
    let run = home.pyro(flags).args(EGRESS).env("PYRO_DEBIAN_MIRROR", CLOSED_MIRROR).run();
    let _refused = run.refused(UNSUPPORTED);
}
