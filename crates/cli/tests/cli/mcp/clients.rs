//! Clients that others have made: the official Python SDK, and the command line of the MCP Inspector.

use super::http::{TOKEN, serve};
use super::prepared;
use crate::SUITE;
use pyro_testkit::{Home, Signal, Value, json};
use std::path::Path;

/// What the client prints after a session.
fn python(home: &Home, mode: &str, transport: &[&str]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/client.py");
    let interpreter = SUITE.python();
    let call = home.call(interpreter.to_str().unwrap()).args([script.to_str().unwrap(), mode]);
    let mut seen = call.args(transport).run().expect(0).json();
    assert_eq!(seen["tools"].as_array().unwrap().len(), 17, "{seen:#}");
    assert!(seen["phases"].as_array().unwrap().iter().any(|phase| !phase.is_null()), "{seen:#}");
    assert!(seen["failure"]["error"].as_str().unwrap().contains("did you mean `command`?"), "{seen:#}");
    assert_eq!(seen["resources"].as_array().unwrap().len(), 2, "{seen:#}");
    assert!(seen["patch"].as_str().unwrap().ends_with("+b\n"), "{seen:#}");
    for key in ["tools", "phases", "failure", "resources", "patch", "written"] {
        seen.as_object_mut().unwrap().remove(key);
    }
    seen
}

fn expected(protocol: &str) -> Value {
    json!({
        "protocol": protocol, "stdout": "from python\n", "read": "b\n", "listed": 1, "commands": 1, "journal": 1,
        "workspaces": 1, "resets": 1, "state": "running", "deleted": true,
        "prompts": ["repro-fix", "parallel-workspaces", "untrusted-inspection"],
    })
}

#[test]
fn the_python_sdk_works_over_stdio_in_both_ways_to_begin() {
    let home = prepared();
    let server = ["stdio", home.program(), "mcp", "serve", "--no-project-source"];
    assert_eq!(python(&home, "legacy", &server), expected("2025-11-25"));
    assert_eq!(python(&home, "auto", &server), expected("2026-07-28"));
}

#[test]
fn the_python_sdk_works_over_http() {
    let home = prepared();
    let (server, port) = serve(&home, &["--no-project-source"]);
    let url = format!("http://127.0.0.1:{port}/mcp");
    for (mode, protocol) in [("legacy", "2025-11-25"), ("auto", "2026-07-28")] {
        assert_eq!(python(&home, mode, &["http", &url, TOKEN]), expected(protocol));
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code, Some(143));
}

#[test]
fn the_inspector_lists_and_calls_tools() {
    let home = prepared();
    let inspector = SUITE.node_programs().join("mcp-inspector");
    let call = |arguments: &[&str]| {
        let server = ["--cli", home.program(), "mcp", "serve", "--no-project-source"];
        let call = home.call(inspector.to_str().unwrap()).args(server).args(arguments);
        call.run().expect(0).json()
    };
    let listed = call(&["--method", "tools/list"]);
    assert_eq!(listed["tools"].as_array().unwrap().len(), 17);
    let arguments = ["--tool-arg", "command=echo inspected", "--tool-arg", "vcpu_count=1"];
    let run = call(&[&["--method", "tools/call", "--tool-name", "vm_run"][..], &arguments].concat());
    assert_eq!(run["structuredContent"]["stdout"], "inspected\n", "{run:#}");
    let prompts = call(&["--method", "prompts/list"]);
    assert_eq!(prompts["prompts"][0]["name"], "repro-fix");
}
