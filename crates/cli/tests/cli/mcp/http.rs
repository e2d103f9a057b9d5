//! Streamable HTTP: who gets in, and that what gets in works.

use super::prepared;
use crate::SUITE;
use pyro_testkit::{Home, Running, Signal, Value, json, poll_until};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Starts a server, and returns the port that it listens at.
pub fn serve(home: &Home, flags: &[&str]) -> (Running, u16) {
    let server = home.pyro(["mcp", "serve", "--http-port", "0"]).args(flags).env("PYRO_MCP_TOKEN", TOKEN);
    let mut server = server.spawn();
    server.wait_for_stderr("/mcp\n");
    let talk = server.stderr();
    let port = talk.split("url=http://127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next());
    (server, port.unwrap().parse().unwrap())
}

/// Sends a request with these headers, and returns status, headers and body.
fn post(port: u16, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let mut request =
        format!("POST /mcp HTTP/1.1\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    // A server that refuses may do so before it has read everything.
    let _sent = connection.write_all(format!("{request}\r\n{body}").as_bytes());
    let mut answer = Vec::new();
    let _ended = connection.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_owned(), body.to_owned())
}

fn headers<'a>(port: u16, extra: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let host: &'static str = format!("127.0.0.1:{port}").leak();
    let mut headers = vec![
        ("Host", host),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    headers.retain(|(name, _)| extra.iter().all(|(other, _)| other != name));
    headers.extend_from_slice(extra);
    headers
}

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"0"}}}"#;
const BEARER: (&str, &str) = ("Authorization", "Bearer 0123456789abcdef0123456789abcdef");

#[test]
fn only_who_has_the_token_and_is_no_page_of_a_browser_gets_in() {
    let home = SUITE.bare();
    let (server, port) = serve(&home, &[]);
    let cases: [(&[(&str, &str)], u16); 7] = [
        (&[BEARER], 200),
        (&[], 401),
        (&[("Authorization", "Bearer 0123456789abcdef0123456789abcdee")], 401),
        (&[("Authorization", "Basic 0123456789abcdef0123456789abcdef")], 401),
        (&[BEARER, ("Host", "evil.example")], 403),
        (&[BEARER, ("Origin", "http://evil.example")], 403),
        (&[BEARER, ("Origin", "null")], 403),
    ];
    for (extra, expected) in cases {
        let (status, head, body) = post(port, &headers(port, extra), INITIALIZE);
        assert_eq!(status, expected, "{extra:?}: {head}\n{body}");
    }
    let (status, ..) = post(port, &headers(port, &[BEARER]), "{");
    assert!((400..500).contains(&status), "{status}");
    let (status, ..) = post(port, &headers(port, &[BEARER]), &"x".repeat(9 << 20));
    assert_eq!(status, 413);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code, Some(143));
    let weak = home.pyro(["mcp", "serve", "--http-port", "0"]).env("PYRO_MCP_TOKEN", "guess").run().expect(2);
    assert!(weak.stderr.contains("\n hint: unset PYRO_MCP_TOKEN"), "{}", weak.stderr);
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = home.pyro(["mcp", "serve", "--http-port", &port]).run().expect(1);
    assert!(refused.stderr.contains("\n hint: give `--http-port 0`"), "{}", refused.stderr);
}

/// The JSON of the last event of a stream.
fn event(body: &str) -> Value {
    let mut data = body
        .lines()
        .rev()
        .filter_map(|line| line.strip_prefix("data:"))
        .filter(|data| !data.trim().is_empty());
    serde_json::from_str(data.next().unwrap().trim()).unwrap()
}

#[test]
fn a_session_works_and_ends_with_the_server() {
    let home = prepared();
    let (server, port) = serve(&home, &["--profile", "workspace-full"]);
    let (_, head, _) = post(port, &headers(port, &[BEARER]), INITIALIZE);
    let session = head.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).unwrap().to_owned();
    let in_session =
        headers(port, &[BEARER, ("Mcp-Session-Id", &session), ("MCP-Protocol-Version", "2025-11-25")]);
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(post(port, &in_session, &initialized.to_string()).0, 202);
    let call = |tool: &str, arguments: Value| {
        let params = json!({ "name": tool, "arguments": arguments });
        let request = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params });
        event(&post(port, &in_session, &request.to_string()).2)["result"]["structuredContent"].clone()
    };
    let id = call("workspace_create", json!({}))["workspace_id"].clone();
    assert_eq!(call("workspace_exec", json!({ "workspace_id": id, "command": "echo hi" }))["stdout"], "hi\n");
    let id = id.as_str().unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code, Some(143));
    let _deleted = home.pyro(["workspace", "delete", id]).run().expect(0);
    assert!(poll_until(Duration::from_secs(5), || home.processes().is_empty().then_some(())).is_some());
}
