//! `pyro host print-config`. The hosts need not be there.

use crate::SUITE;
use insta::assert_snapshot;
use std::fs;

fn printed(host: &str) -> String {
    let home = SUITE.bare();
    let flags = ["--installed-package", "--mode", "inspect", "--environment", "debian:13"];
    let run = home.pyro(["host", "print-config", host]).args(flags).env("PATH", "/nowhere").run().expect(0);
    let json = home.pyro(["host", "print-config", host, "--json"]).args(flags).run().expect(0).json();
    assert_eq!((json["host"].as_str(), json["config"].as_str()), (Some(host), Some(run.text())));
    run.text().to_owned()
}

#[test]
fn the_entry_is_as_each_host_reads_it() {
    assert_snapshot!(printed("claude-code"), @r#"
    {
      "mcpServers": {
        "pyro": {
          "type": "stdio",
          "command": "pyro",
          "args": ["mcp", "serve", "--mode", "inspect", "--environment", "debian:13"]
        }
      }
    }
    "#);
    assert_snapshot!(printed("codex"), @r#"
    [mcp_servers.pyro]
    command = "pyro"
    args = ["mcp", "serve", "--mode", "inspect", "--environment", "debian:13"]
    "#);
    assert_snapshot!(printed("opencode"), @r#"
    {
      "mcp": {
        "pyro": {
          "type": "local",
          "command": ["pyro", "mcp", "serve", "--mode", "inspect", "--environment", "debian:13"],
          "enabled": true
        }
      }
    }
    "#);
}

#[test]
fn a_file_gets_the_entry_and_keeps_the_rest() {
    let home = SUITE.bare();
    let file = home.path().join("some.json");
    let path = file.to_str().unwrap();
    let write = || home.pyro(["host", "print-config", "opencode", "--json", "--output", path]).run();
    assert_eq!(write().expect(0).json()["changed"], true);
    assert_eq!(write().expect(0).json()["changed"], false);
    let old = "{\n  // mine\n  \"theme\": \"x\"\n}\n";
    fs::write(&file, old).unwrap();
    let written = write().expect(0).json();
    assert_eq!(fs::read_to_string(written["backup_path"].as_str().unwrap()).unwrap(), old);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("  // mine\n  \"theme\": \"x\",\n") && text.contains(home.program()), "{text}");
    fs::write(&file, "{").unwrap();
    write().refused((1, "integrity"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "{");
}
