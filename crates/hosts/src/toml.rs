//! The entry of a server in Codex's TOML, read and changed in place: all other text stays as it is.

use toml_edit::{Array, DocumentMut, Item, Table, TableLike, Value, value};

const SECTION: &str = "mcp_servers";
/// What an entry of a server has that is reached by a URL. It has nothing that is worth keeping.
const URL: &str = "url";

/// Fails, in words, with a text that is malformed.
pub fn check(text: &str, name: &str) -> Result<(), String> {
    let mut document = parse(text)?;
    section_of(&mut document)?.map_or(Ok(()), |section| entry_of(section, name).map(drop))
}

/// The text with this command in the entry, which is made where it is missing. Its other fields are kept, but for one that
/// turns it off.
pub fn write(text: &str, name: &str, words: &[String]) -> Result<String, String> {
    let mut document = parse(text)?;
    if section_of(&mut document)?.is_none() {
        let mut section = Table::new();
        section.set_implicit(true);
        document.insert(SECTION, Item::Table(section));
    }
    let Some(section) = section_of(&mut document)? else { return Err(no_table(SECTION)) };
    match entry_of(section, name)? {
        Some(entry) if !entry.contains_key(URL) => set(entry, words),
        _ => replace(section, name, words),
    }
    Ok(document.to_string())
}

/// The command of the entry: none where there is no entry, or it has no command.
pub fn words(text: &str, name: &str) -> Option<Vec<String>> {
    let document = parse(text).ok()?;
    let entry = document.get(SECTION)?.as_table_like()?.get(name)?.as_table_like()?;
    let mut words = vec![entry.get("command")?.as_str()?.to_owned()];
    for word in entry.get("args").and_then(Item::as_array).into_iter().flatten() {
        words.push(word.as_str()?.to_owned());
    }
    Some(words)
}

/// Whether there is an entry, of whatever kind.
pub fn has(text: &str, name: &str) -> bool {
    let document = parse(text).ok();
    let section = document.as_ref().and_then(|document| document.get(SECTION)?.as_table_like());
    section.is_some_and(|section| section.contains_key(name))
}

/// The text without any servers and empty lines: what two texts have besides.
pub fn besides_servers(text: &str) -> Option<String> {
    let mut document = parse(text).ok()?;
    document.remove(SECTION);
    let text = document.to_string();
    Some(text.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n"))
}

fn parse(text: &str) -> Result<DocumentMut, String> {
    text.parse::<DocumentMut>().map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        format!("{} on line {line}", error.message().trim())
    })
}

fn no_table(name: &str) -> String {
    format!("`{name}` is not a table")
}

fn section_of(document: &mut DocumentMut) -> Result<Option<&mut dyn TableLike>, String> {
    match document.get_mut(SECTION) {
        None => Ok(None),
        Some(item) => item.as_table_like_mut().map(Some).ok_or_else(|| no_table(SECTION)),
    }
}

fn entry_of<'a>(section: &'a mut dyn TableLike, name: &str) -> Result<Option<&'a mut dyn TableLike>, String> {
    match section.get_mut(name) {
        None => Ok(None),
        Some(item) => item.as_table_like_mut().map(Some).ok_or_else(|| no_table(name)),
    }
}

fn replace(section: &mut dyn TableLike, name: &str, words: &[String]) {
    let mut table = Table::new();
    set(&mut table, words);
    // A section that is written in one line takes no table with a heading: it becomes one of the same form by itself.
    section.insert(name, Item::Table(table));
}

fn set(entry: &mut dyn TableLike, words: &[String]) {
    let Some((program, arguments)) = words.split_first() else { return };
    put(entry, "command", Value::from(program.as_str()));
    put(entry, "args", Value::Array(arguments.iter().map(String::as_str).collect::<Array>()));
    if entry.get("enabled").and_then(Item::as_bool) == Some(false) {
        entry.remove("enabled");
    }
}

/// Sets one value; what is around the one that was there, as a comment behind it, stays.
fn put(entry: &mut dyn TableLike, key: &str, mut new: Value) {
    match entry.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => drop(entry.insert(key, value(new))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words() -> Vec<String> {
        ["/a b/pyro", "mcp", "serve"].map(ToOwned::to_owned).to_vec()
    }

    #[test]
    fn an_entry_is_added_or_changed_and_nothing_else() {
        let table = "[mcp_servers.pyro]\ncommand = \"/a b/pyro\"\nargs = [\"mcp\", \"serve\"]\n";
        let cases = [
            (String::new(), table.to_owned()),
            ("# a\nmodel = 'o' # b\n".to_owned(), format!("# a\nmodel = 'o' # b\n\n{table}")),
            (
                "[mcp_servers.a] # one\nx = [ 1,\n 2 ]\n\n[mcp_servers.a.env]\nK = \"v\"\n\n[z]\n".to_owned(),
                format!("[mcp_servers.a] # one\nx = [ 1,\n 2 ]\n\n[mcp_servers.a.env]\nK = \"v\"\n\n{table}\n[z]\n"),
            ),
            (
                "[mcp_servers.pyro] # mine\nenabled = false\ncommand = \"x\" # old\ntool_timeout_sec = 600\n".to_owned(),
                "[mcp_servers.pyro] # mine\ncommand = \"/a b/pyro\" # old\ntool_timeout_sec = 600\nargs = [\"mcp\", \"serve\"]\n".to_owned(),
            ),
            (
                "mcp_servers.pyro.command = \"x\"\nmcp_servers.b.command = \"y\"\n".to_owned(),
                "mcp_servers.pyro.command = \"/a b/pyro\"\nmcp_servers.pyro.args = [\"mcp\", \"serve\"]\nmcp_servers.b.command = \"y\"\n".to_owned(),
            ),
            (
                "mcp_servers = { b = { url = \"x\", n = 1 } } # c\n".to_owned(),
                "mcp_servers = { b = { url = \"x\", n = 1 } , pyro = { command = \"/a b/pyro\", args = [\"mcp\", \"serve\"] } } # c\n".to_owned(),
            ),
            (
                "[mcp_servers.pyro]\nurl = \"x\"\nbearer_token_env_var = \"T\"\n".to_owned(),
                table.to_owned(),
            ),
        ];
        for (text, expected) in cases {
            let written = write(&text, "pyro", &words()).unwrap();
            assert_eq!(written, expected, "{text}");
            assert_eq!(write(&written, "pyro", &words()).unwrap(), written, "a second time changes nothing");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let cases = [
            ("a = 1\nx = = 1\n", "on line 2"),
            ("mcp_servers = 7\n", "`mcp_servers` is not a table"),
            ("[mcp_servers]\npyro = 7\n", "`pyro` is not a table"),
            ("a = 1\na = 2\n", "on line"),
        ];
        for (text, reason) in cases {
            let error = check(text, "pyro").unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
            assert_eq!(write(text, "pyro", &words()).unwrap_err(), error);
        }
        for text in ["", "[mcp_servers.pyro]\n", "[a]\nb = 1\n"] {
            check(text, "pyro").unwrap();
        }
    }

    #[test]
    fn what_is_besides_the_servers_is_compared_without_them() {
        let one = "a = 1 # x\n\n[mcp_servers.a]\nk = 1\n[b]\nc = 2\n";
        let other = "a = 1 # x\n[mcp_servers.z]\n\n\n[b]\nc = 2\n\n";
        assert_eq!(besides_servers(one), besides_servers(other));
        assert_ne!(besides_servers(one), besides_servers("a = 1 # y\n[b]\nc = 2\n"));
    }

    proptest! {
        #[test]
        fn all_other_lines_survive(blocks in prop::collection::vec(0..6_usize, 0..6)) {
            let mut text = String::from("# head\nmodel = \"m\" # why\n");
            for (number, kind) in blocks.into_iter().enumerate() {
                let block = match kind {
                    0 => format!("[mcp_servers.s{number}] # note {number}\ncommand = 'c'\nargs = [ 'a',\n  'b' ] # d\n"),
                    1 => format!("\n# about {number}\n[projects.\"/x {number}\"]\ntrust_level = \"trusted\"\n"),
                    2 => format!("[mcp_servers.t{number}]\nurl = \"u\"\nunknown = {{ a = 1 }}\n[mcp_servers.t{number}.env]\nK = \"v\"\n"),
                    3 => format!("[[things{number}]]\nn = 1\n[[things{number}]]\nn = 2\n"),
                    4 => format!("[text{number}]\nlong = \"\"\"\n[mcp_servers.pyro]\ncommand = 1\n\"\"\"\n"),
                    _ => format!("\n\n  [w{number}]   \n  k   =   1979-05-27T07:32:00Z\n"),
                };
                text.push_str(&block);
            }
            let written = write(&text, "pyro", &words()).unwrap();
            let mut rest = written.lines();
            for line in text.lines() {
                prop_assert!(rest.any(|other| other == line), "`{line}` is lost:\n{text}\nbecame\n{written}");
            }
            prop_assert_eq!(besides_servers(&text), besides_servers(&written));
        }
    }
}
