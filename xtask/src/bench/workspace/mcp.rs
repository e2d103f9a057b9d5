//! The MCP server, as a chat host starts it in a checkout.

use super::super::memory::pss_mib;
use super::super::series::Collected;
use super::seeds;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;
use tokio::task::block_in_place;

/// Files of the project.
const FILES: usize = 1000;
/// Bytes of each of them.
const FILE_BYTES: usize = 4 << 10;
/// How often what takes milliseconds is repeated in one session.
const REPEATED: usize = 5;
const PROTOCOL: &str = "2025-11-25";

/// Takes one server from its start to its end.
pub fn measure(binary: &Path, series: &mut Collected) -> Result<()> {
    block_in_place(|| {
        let project = seeds::tree(FILES, FILE_BYTES)?;
        for arguments in [["init", "--quiet", "."], ["add", "--all", "."]] {
            ensure!(
                Command::new("git").args(arguments).current_dir(project.path()).status()?.success(),
                "git failed"
            );
        }
        session(binary, project.path(), series)
    })
}

fn session(binary: &Path, project: &Path, series: &mut Collected) -> Result<()> {
    let begun = Instant::now();
    let mut client = Client::start(binary, project)?;
    client.initialize()?;
    series.time("server, start to the end of the handshake", begun.elapsed());
    let id = client.call("workspace_create", &json!({}))?["workspace_id"].clone();
    let exec = json!({ "workspace_id": id, "command": ["true"] });
    client.call("workspace_exec", &exec)?;
    series.time(&format!("server, start to the first command in {FILES} files"), begun.elapsed());
    for _ in 0..REPEATED {
        let begun = Instant::now();
        client.request("tools/list", &json!({}))?;
        series.time("tools/list", begun.elapsed());
        let begun = Instant::now();
        client.call("workspace_exec", &exec)?;
        series.time("workspace_exec", begun.elapsed());
    }
    series.size("server, memory", pss_mib(client.child.id())?);
    client.call("workspace_delete", &json!({ "workspace_id": id }))?;
    client.end()
}

struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    sent: u64,
}

impl Client {
    fn start(binary: &Path, project: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(["mcp", "serve"]).current_dir(project);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().context("no standard input")?;
        let stdout = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self { child, stdin, stdout, sent: 0 })
    }

    fn initialize(&mut self) -> Result<()> {
        let info = json!({ "name": "bench", "version": "0" });
        let params = json!({ "protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": info });
        self.request("initialize", &params)?;
        writeln!(self.stdin, "{}", json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        Ok(())
    }

    fn request(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.sent += 1;
        let request = json!({ "jsonrpc": "2.0", "id": self.sent, "method": method, "params": params });
        writeln!(self.stdin, "{request}")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        ensure!(answer["id"] == self.sent && answer["error"].is_null(), "{method} was answered with {line}");
        Ok(answer["result"].clone())
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value> {
        let result = self.request("tools/call", &json!({ "name": tool, "arguments": arguments }))?;
        ensure!(result["isError"] != true, "{tool} failed: {}", result["content"][0]["text"]);
        Ok(result["structuredContent"].clone())
    }

    fn end(self) -> Result<()> {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        ensure!(child.wait()?.success(), "the server failed");
        Ok(())
    }
}
