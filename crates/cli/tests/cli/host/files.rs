//! What is in the files of hosts besides pyro's entry.

use super::Person;
use pyro_testkit::{Value, edit_json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

const CODEX: &str = "# mine\nmodel = \"m\" # why\n\n[mcp_servers.other] # note\ncommand = 'x'\nargs = [ \"a\",\n  \"b\" ] # c\nunknown = 3\n\n\
    [mcp_servers.other.env]\nK = \"v\"\n\n[projects.\"/x\"]\ntrust_level = \"trusted\"\n";
const OPENCODE: &str = "// mine\n{\n  \"$schema\": \"https://opencode.ai/config.json\",\n  \"theme\": \"x\", // why\n  \"mcp\": {\n    \
    /* other */ \"other\": {\"type\": \"local\", \"command\": [\"x\"], \"timeout\": 1e3},\n  },\n}\n";

#[test]
fn codex_keeps_comments_and_unknown_fields_of_other_servers() {
    let person = Person::new();
    person.write("codex", CODEX);
    person.does(&["connect", "codex"]);
    let entry = format!(
        "[mcp_servers.pyro]\ncommand = \"{}\"\nargs = [\"mcp\", \"serve\"]\n\n",
        person.home.program()
    );
    let added = CODEX.replace("[projects", &format!("{entry}[projects"));
    assert_eq!(person.text("codex"), added);
    person.edit("codex", person.home.program(), "/gone");
    person.does(&["repair", "codex"]);
    assert_eq!(person.text("codex"), added);
}

#[test]
fn opencode_keeps_everything_else() {
    let person = Person::new();
    person.write("opencode", OPENCODE);
    fs::set_permissions(person.config("opencode"), fs::Permissions::from_mode(0o640)).unwrap();
    person.does(&["connect", "opencode"]);
    let text = person.text("opencode");
    let kept = text.lines().filter(|line| OPENCODE.lines().any(|own| own == *line)).count();
    assert_eq!(kept, OPENCODE.lines().count(), "{text}");
    assert_eq!(person.shown("opencode"), format!("{} mcp serve", person.home.program()));
    let mode = fs::metadata(person.config("opencode")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let [backup] = &person.backups("opencode")[..] else { panic!("one backup") };
    assert_eq!(fs::read_to_string(backup).unwrap(), OPENCODE);
    assert_eq!(fs::metadata(backup).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn claude_code_keeps_its_other_servers_and_projects() {
    let person = Person::new();
    let old = "{\"mcpServers\": {\"other\": {\"command\": \"x\", \"unknown\": {\"a\": 1}}}, \"mine\": [1], \
        \"projects\": {\"/elsewhere\": {\"mcpServers\": {\"pyro\": {\"command\": \"/theirs\"}}}}}";
    person.write("claude-code", old);
    person.does(&["connect", "claude-code"]);
    let old: Value = serde_json::from_str(old).unwrap();
    edit_json(&person.config("claude-code"), |document| {
        assert_eq!(document["mcpServers"]["other"], old["mcpServers"]["other"]);
        assert_eq!(
            (&document["mine"], &document["projects"]["/elsewhere"]),
            (&old["mine"], &old["projects"]["/elsewhere"])
        );
    });
}

#[test]
fn a_linked_file_stays_a_link() {
    let person = Person::new();
    fs::create_dir(person.at("dotfiles")).unwrap();
    fs::remove_file(person.config("opencode")).unwrap();
    let files = [("codex", CODEX), ("opencode", OPENCODE), ("claude-code", "{\"mine\": 1}")];
    for (host, text) in files {
        fs::write(person.at("dotfiles").join(host), text).unwrap();
        symlink(person.at("dotfiles").join(host), person.config(host)).unwrap();
    }
    for (host, _) in files {
        person.does(&["connect", host]);
        assert!(fs::symlink_metadata(person.config(host)).unwrap().is_symlink(), "{host}");
        let text = fs::read_to_string(person.at("dotfiles").join(host)).unwrap();
        assert!(text.contains(person.home.program()), "{host}: {text}");
        assert_eq!(person.diagnosis(host, &[], 0)["status"], "ok", "{host}");
    }
}
