//! Help, reference and completions: made from the program itself.

use crate::SUITE;
use std::fs;
use std::path::Path;

#[test]
fn the_reference_is_the_programs_own() {
    let home = SUITE.bare();
    for (arguments, file) in [("reference", "cli.md"), ("reference --tools", "tools.md")] {
        let reference = home.pyro(arguments.split(' ')).run().expect(0);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
        let committed = fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == reference.text(),
            "docs/{file} is not up to date: run `cargo run --release -- {arguments} > docs/{file}`"
        );
    }
}

#[test]
fn every_command_explains_itself() {
    let home = SUITE.bare();
    let help = home.pyro(["--help"]).run().expect(0);
    for command in ["doctor", "env", "run", "host", "mcp", "demo", "runtime", "completions"] {
        assert!(help.text().contains(&format!("  {command} ")), "{command}:\n{}", help.text());
        let own = home.pyro([command, "--help"]).run().expect(0);
        assert!(own.text().contains("Usage: pyro"), "{command}:\n{}", own.text());
    }
    assert!(help.text().contains("pyro run debian:12 -- git --version"), "{}", help.text());
    let version = home.pyro(["--version"]).run().expect(0);
    assert_eq!(version.text(), format!("pyro {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_shell_gets_its_completions() {
    let home = SUITE.bare();
    for (shell, sign) in [("bash", "complete -F"), ("zsh", "#compdef pyro"), ("fish", "complete -c pyro")] {
        let script = home.pyro(["completions", shell]).run().expect(0);
        assert!(script.text().contains(sign) && script.text().contains("runtime"), "{shell}");
    }
}
