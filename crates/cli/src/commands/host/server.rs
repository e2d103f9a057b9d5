//! What a host is told to start: this pyro, with the flags of `mcp serve` that were given.

use super::super::{Arguments as Pyro, Command};
use crate::human::shell_words;
use crate::server_options::ServerOptions;
use anyhow::Result;
use clap::Parser;
use pyro::{Project, ProjectReport, PyroError};
use pyro_hosts::{Expected, HostError, Registration, without_passwords};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The program's name, where it is installed.
const NAME: &str = "pyro";
const SERVE: [&str; 2] = ["mcp", "serve"];
const INSTALLED_PACKAGE: &str = "--installed-package";

/// The server to register.
#[derive(Debug, Clone, clap::Args)]
pub struct Server {
    #[command(flatten)]
    options: ServerOptions,
    /// Register `pyro mcp serve`, to be found in PATH, instead of this program's own path
    #[arg(long)]
    installed_package: bool,
}

impl Server {
    /// What to register.
    pub fn registration(&self) -> Result<Registration> {
        let program = if self.installed_package { NAME.into() } else { own_program()?.into_os_string() };
        let command = std::iter::once(program).chain(SERVE.map(OsString::from)).chain(self.flags()?);
        Ok(Registration::new(command.collect()))
    }

    /// What counts as registered. With flags it is exactly that; with none, whatever serves with this program, because those
    /// that were given when it was registered are not to be given again each time.
    pub fn expected(&self) -> Result<Expected> {
        let exact = self.installed_package || self.options != ServerOptions::default();
        Ok(Expected { registration: self.registration()?, exact, accepts: serves })
    }

    /// The flags again, as they would be typed, each with a space before it, and without passwords.
    pub fn typed(&self) -> Result<String> {
        let mut flags = self.flags()?;
        if self.installed_package {
            flags.push(INSTALLED_PACKAGE.into());
        }
        let flags: Vec<_> = flags.iter().map(|flag| flag.to_string_lossy().into_owned()).collect();
        let shown = shell_words(&without_passwords(&flags));
        Ok(if flags.is_empty() { String::new() } else { format!(" {shown}") })
    }

    /// The project that the server would take when it was started here, and whether it is ready.
    pub async fn project(&self) -> Result<ProjectReport> {
        let project = Project::resolve(&self.options.project(), &std::env::current_dir()?).await;
        Ok(project.map_err(PyroError::from)?.diagnose().await)
    }

    fn flags(&self) -> Result<Vec<OsString>> {
        Ok(self.options.clone().with_absolute_path()?.to_arguments())
    }
}

/// Whether pyro serves MCP when it is given these arguments.
fn serves(arguments: &[String]) -> bool {
    let words = std::iter::once(NAME).chain(arguments.iter().map(String::as_str));
    Pyro::try_parse_from(words).is_ok_and(|pyro| matches!(pyro.command, Command::Mcp(_)))
}

/// The path of this program.
fn own_program() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let is_there = program.exists();
    let program = if is_there { program } else { without_mark(program) };
    if is_there || program.exists() {
        Ok(program)
    } else {
        Err(HostError::ProgramGone { path: program }.into())
    }
}

/// The path of a program that was replaced since it was started, which Linux marks so: the new one is at the same place.
fn without_mark(program: PathBuf) -> PathBuf {
    const MARK: &[u8] = b" (deleted)";
    match program.as_os_str().as_bytes().strip_suffix(MARK) {
        Some(path) => OsString::from_vec(path.to_vec()).into(),
        None => program,
    }
}

/// Whether a program of this name is in `PATH`, which a host needs that is told nothing but the name.
pub fn is_in_path(program: &OsStr) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    program.as_bytes().contains(&b'/')
        || std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_serves_is_taken_for_a_server() {
        let cases: [(&[&str], bool); 9] = [
            (&["mcp", "serve"], true),
            (&["mcp", "serve", "--mode", "inspect"], true),
            (&["mcp", "serve", "--repo-url", "u", "--repo-ref", "r"], true),
            (&["mcp", "serve", "--mode", "no-such-mode"], false),
            (&["mcp", "serve", "--help"], false),
            (&["mcp"], false),
            (&["doctor"], false),
            (&["serve"], false),
            (&[], false),
        ];
        for (arguments, expected) in cases {
            let arguments: Vec<_> = arguments.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(serves(&arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn a_program_that_was_replaced_is_where_it_was() {
        assert_eq!(without_mark("/a/pyro (deleted)".into()), PathBuf::from("/a/pyro"));
        assert_eq!(without_mark("/a/pyro".into()), PathBuf::from("/a/pyro"));
        assert!(own_program().is_ok_and(|program| program.is_absolute()));
    }
}
