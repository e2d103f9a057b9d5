//! Hints of the SDK, which name commands and flags, in the words of tools and arguments.

/// The hint with tools in the place of commands, and arguments in that of flags. A command without a tool that is offered here
/// stays: the user can run it.
pub(crate) fn for_model(
    hint: &str,
    is_offered: impl Fn(&str) -> bool,
    is_argument: impl Fn(&str) -> bool,
) -> String {
    let part = |(index, part): (usize, &str)| match tool_of(part) {
        // Every second part is between backticks.
        _ if index % 2 == 0 => flags_as_arguments(part, &is_argument),
        Some(tool) if is_offered(&tool) => format!("`{tool}`"),
        _ if part.starts_with("pyro ") => format!("`{part}` on the user's machine"),
        _ => format!("`{part}`"),
    };
    hint.split('`').enumerate().map(part).collect()
}

/// The tool that does what a command does.
fn tool_of(command: &str) -> Option<String> {
    let mut words = command.strip_prefix("pyro ")?.split(' ');
    let mut next = || words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
    match (next()?, next()) {
        ("workspace", Some(group @ ("shell" | "service" | "snapshot"))) => {
            Some(format!("{group}_{}", next()?))
        }
        ("workspace", Some(group @ ("file" | "disk" | "sync" | "patch"))) => {
            Some(format!("workspace_{group}_{}", next()?))
        }
        ("workspace", Some(verb)) => Some(format!("workspace_{verb}")),
        ("run", _) => Some("vm_run".to_owned()),
        ("env", Some("list")) => Some("vm_list_environments".to_owned()),
        _ => None,
    }
}

/// `--ttl-seconds` is `ttl_seconds` here. A flag that is none of an offered tool's arguments is one of the server's.
fn flags_as_arguments(text: &str, is_argument: impl Fn(&str) -> bool) -> String {
    let word = |word: &str| match word.strip_prefix("--") {
        Some(flag) if !flag.is_empty() => {
            let end = flag.find(|character: char| !character.is_ascii_lowercase() && character != '-');
            let (flag, rest) = flag.split_at(end.unwrap_or(flag.len()));
            let argument = flag.replace('-', "_");
            if is_argument(&argument) { format!("`{argument}`{rest}") } else { word.to_owned() }
        }
        _ => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_become_tools() {
        let cases = [
            ("stop it with `pyro workspace stop ws-1`", "stop it with `workspace_stop`"),
            ("`pyro workspace shell open ws-1`", "`shell_open`"),
            ("its whole log: `pyro workspace service logs ws-1 web --all`", "its whole log: `service_logs`"),
            (
                "create a new one, with a longer --ttl-seconds",
                "create a new one, with a longer `ttl_seconds`",
            ),
            ("add --network-policy egress.", "add `network_policy` egress."),
            ("take a clone with --repo-url", "take a clone with --repo-url"),
            ("see `pyro doctor`", "see `pyro doctor` on the user's machine"),
            ("did you mean `ws-1`?", "did you mean `ws-1`?"),
            ("name a program, such as `git --version`", "name a program, such as `git --version`"),
            ("bring it with `pyro workspace sync push`", "bring it with `workspace_sync_push`"),
        ];
        for (hint, expected) in cases {
            assert_eq!(for_model(hint, |_| true, |argument| argument != "repo_url"), expected);
        }
        let kept = for_model("stop it with `pyro workspace stop ws-1`", |_| false, |_| true);
        assert_eq!(kept, "stop it with `pyro workspace stop ws-1` on the user's machine");
    }
}
