//! A client of `pyro mcp serve`, one message at a time, so that a test can also say what no client would.

use crate::{Value, json, poll_until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What every client of today can speak.
pub const PROTOCOL: &str = "2025-11-25";

/// A server with this client at its other end. Dropping it kills the server.
#[derive(Debug)]
pub struct McpClient {
    child: Child,
    stdin: Option<ChildStdin>,
    messages: Receiver<Value>,
    unclaimed: RefCell<Vec<Value>>,
    next_id: Cell<u64>,
    deadline: Duration,
    has_enough: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl McpClient {
    pub(crate) fn new(mut child: Child, deadline: Duration) -> Self {
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let mut stderr = child.stderr.take().expect("standard error is a pipe");
        let (sender, messages) = channel();
        let has_enough = Arc::new(AtomicBool::new(false));
        let stops = Arc::clone(&has_enough);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if stops.load(Ordering::SeqCst) {
                    break;
                }
                let message = serde_json::from_str(&line);
                // What is no JSON becomes a message that no test waits for, and shows in the failure of one that does.
                if sender.send(message.unwrap_or(Value::String(line))).is_err() {
                    break;
                }
            }
        });
        std::thread::spawn(move || {
            let mut talk = Vec::new();
            let _ended = stderr.read_to_end(&mut talk);
        });
        let (unclaimed, next_id) = (RefCell::default(), Cell::new(1));
        Self { child, stdin, messages, unclaimed, next_id, deadline, has_enough, reader: Some(reader) }
    }

    /// Begins the session, and returns what the server says of itself.
    #[must_use]
    pub fn initialize(&mut self, protocol: &str) -> Value {
        let info = json!({ "name": "test", "version": "0" });
        let params = json!({ "protocolVersion": protocol, "capabilities": {}, "clientInfo": info });
        let answer = self.request("initialize", &params);
        self.notify("notifications/initialized", &json!({}));
        answer["result"].clone()
    }

    /// Sends a request and returns its id.
    pub fn send(&mut self, method: &str, params: &Value) -> u64 {
        let id = self.next_id.replace(self.next_id.get() + 1);
        self.send_line(
            &json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string(),
        );
        id
    }

    /// Sends a notification.
    pub fn notify(&mut self, method: &str, params: &Value) {
        self.send_line(&json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string());
    }

    /// Sends whatever is given, as one line.
    pub fn send_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("the session is open");
        stdin
            .write_all(line.as_bytes())
            .and_then(|()| stdin.write_all(b"\n"))
            .expect("the server reads what it is sent");
    }

    /// Waits for the answer to a request.
    #[must_use]
    #[track_caller]
    pub fn answer(&self, id: u64) -> Value {
        self.wait_for(|message| message["id"] == id && message["method"].is_null())
    }

    /// Waits for a message.
    #[must_use]
    #[track_caller]
    pub fn wait_for(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        let found = self.look_for(self.deadline, &is_it);
        found.unwrap_or_else(|| panic!("it never came; what came: {:#?}", self.unclaimed.borrow()))
    }

    /// The message, where it comes within `deadline`.
    pub fn look_for(&self, deadline: Duration, is_it: impl Fn(&Value) -> bool) -> Option<Value> {
        let mut unclaimed = self.unclaimed.borrow_mut();
        if let Some(index) = unclaimed.iter().position(&is_it) {
            return Some(unclaimed.remove(index));
        }
        let begun = Instant::now();
        loop {
            match self.messages.recv_timeout(deadline.saturating_sub(begun.elapsed())) {
                Ok(message) if is_it(&message) => return Some(message),
                Ok(message) => unclaimed.push(message),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Sends a request and waits for its answer.
    #[must_use]
    #[track_caller]
    pub fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.send(method, params);
        self.answer(id)
    }

    /// Calls a tool and returns its result, whatever that is.
    #[must_use]
    #[track_caller]
    pub fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let answer = self.request("tools/call", &json!({ "name": tool, "arguments": arguments }));
        assert!(answer["error"].is_null(), "{tool} ended in an error of the protocol: {answer:#}");
        answer["result"].clone()
    }

    /// Calls a tool that has to succeed, and returns its structured content.
    #[track_caller]
    pub fn tool(&mut self, tool: &str, arguments: &Value) -> Value {
        let result = self.call(tool, arguments);
        assert_ne!(result["isError"], true, "{tool} failed: {}", result["content"][0]["text"]);
        assert!(result["structuredContent"].is_object(), "{tool} has no structured content: {result:#}");
        result["structuredContent"].clone()
    }

    /// Calls a tool that has to fail, and returns what the model is told.
    #[must_use]
    #[track_caller]
    pub fn failure(&mut self, tool: &str, arguments: &Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{tool} did not fail: {result:#}");
        result["content"][0]["text"].as_str().expect("a failure is told in words").to_owned()
    }

    /// The names of the tools, sorted.
    #[must_use]
    pub fn tool_names(&mut self) -> Vec<String> {
        let listed = self.request("tools/list", &json!({}));
        let tools = listed["result"]["tools"].as_array().expect("there is a list of tools").clone();
        let mut names: Vec<_> =
            tools.iter().filter_map(|tool| Some(tool["name"].as_str()?.to_owned())).collect();
        names.sort();
        names
    }

    /// The id of the server's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes the server's standard input, as a client that goes away does, and waits for its end.
    #[must_use]
    #[track_caller]
    pub fn close(mut self) -> ExitStatus {
        drop(self.stdin.take());
        self.wait()
    }

    /// Closes the server's standard output. Its input stays open.
    pub fn stop_reading(&mut self) {
        self.has_enough.store(true, Ordering::SeqCst);
        // The answer to this is the last line that is read.
        let _unanswered = self.send("ping", &json!({}));
        if let Some(reader) = self.reader.take() {
            reader.join().expect("a reader does not panic");
        }
    }

    /// Waits for the server to end by itself.
    #[must_use]
    #[track_caller]
    pub fn ended(mut self) -> ExitStatus {
        self.wait()
    }

    /// Sends the server a signal, and waits for its end.
    #[must_use]
    #[track_caller]
    pub fn end_by(mut self, signal: Signal) -> ExitStatus {
        let _ended = kill_process(Pid::from_child(&self.child), signal);
        self.wait()
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let look = || self.child.try_wait().expect("a child can be waited for");
        poll_until(self.deadline, look).expect("the server ends when its client has gone")
    }
}

impl Drop for McpClient {
    fn drop(&mut self) {
        // It leads its group. Both fail only when it has ended already.
        let _ended = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _reaped = self.child.wait();
    }
}
