//! A request to run a command, validated.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use pyro_protocol::limits::{MAX_ARGUMENT_BYTES, MAX_PATH_BYTES, MAX_TIMEOUT};
use pyro_protocol::v1::{EnvVar, Exec};

use super::env::{self, Environment};
use crate::agent::Agent;
use crate::fail::Fail;

/// Everything needed to spawn a command. Secrets may be in its environment.
pub struct Plan {
    /// Not empty.
    pub argv: Vec<OsString>,
    pub cwd: PathBuf,
    pub env: Environment,
    pub timeout: Option<Duration>,
    pub stdin: bool,
}

impl Plan {
    /// Fails when `request` is malformed or over a limit.
    pub fn new(agent: &Agent, request: &Exec) -> Result<Self, Fail> {
        check_size(request)?;
        let argv = request
            .argv
            .iter()
            .map(|argument| without_nul("an argument", argument))
            .collect::<Result<Vec<_>, _>>()?;
        if argv.first().is_none_or(|program| program.is_empty()) {
            return Err(Fail::invalid("there is no program to run"));
        }
        let cwd = working_directory(agent, &request.cwd)?;
        let mut env = env::defaults(&agent.mode, &cwd);
        for entry in &request.env {
            let (name, value) = variable(entry)?;
            env.insert(name, value);
        }
        for wanted in &request.secrets {
            env.insert(variable_name(&wanted.variable)?, agent.secrets.variable(wanted)?);
        }
        Ok(Self { argv, cwd, env, timeout: time_limit(request.timeout_ms)?, stdin: request.stdin })
    }
}

fn check_size(request: &Exec) -> Result<(), Fail> {
    let arguments: usize = request.argv.iter().map(|argument| argument.len() + 1).sum();
    let variables: usize = request.env.iter().map(|entry| entry.name.len() + entry.value.len() + 2).sum();
    if arguments + variables > MAX_ARGUMENT_BYTES {
        let message = format!("arguments and environment are over {MAX_ARGUMENT_BYTES} bytes together");
        return Err(Fail::invalid(message));
    }
    Ok(())
}

fn without_nul(what: &str, bytes: &Bytes) -> Result<OsString, Fail> {
    if bytes.contains(&0) {
        return Err(Fail::invalid(format!("{what} contains a NUL byte")));
    }
    Ok(OsString::from_vec(bytes.to_vec()))
}

fn variable(entry: &EnvVar) -> Result<(OsString, OsString), Fail> {
    Ok((variable_name(&entry.name)?, without_nul("a variable's value", &entry.value)?))
}

fn variable_name(name: &Bytes) -> Result<OsString, Fail> {
    let name = without_nul("a variable's name", name)?;
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        return Err(Fail::invalid("a variable's name is empty or contains '='"));
    }
    Ok(name)
}

fn working_directory(agent: &Agent, cwd: &Bytes) -> Result<PathBuf, Fail> {
    if cwd.is_empty() {
        return Ok(agent.default_cwd().to_owned());
    }
    if cwd.first() != Some(&b'/') || cwd.len() >= MAX_PATH_BYTES {
        return Err(
            Fail::invalid("the working directory must be an absolute path within the limit").at(&cwd[..])
        );
    }
    without_nul("the working directory", cwd).map(PathBuf::from)
}

fn time_limit(milliseconds: u64) -> Result<Option<Duration>, Fail> {
    let limit = Duration::from_millis(milliseconds);
    if limit > MAX_TIMEOUT {
        return Err(Fail::invalid(format!("a timeout is at most {} seconds", MAX_TIMEOUT.as_secs())));
    }
    Ok((!limit.is_zero()).then_some(limit))
}

/// What is run: nothing of the environment.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("argv", &self.argv).field("cwd", &self.cwd).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Mode;
    use pyro_protocol::v1::FailureKind;

    fn request(argv: &[&str]) -> Exec {
        Exec {
            argv: argv.iter().map(|argument| Bytes::copy_from_slice(argument.as_bytes())).collect(),
            ..Exec::default()
        }
    }

    fn variable(name: &'static str, value: &'static str) -> EnvVar {
        EnvVar { name: name.into(), value: value.into() }
    }

    #[test]
    fn refuses_what_is_malformed_or_over_a_limit() {
        let agent = Agent::new(Mode::Init);
        let long = "x".repeat(MAX_ARGUMENT_BYTES);
        let cases = [
            request(&[]),
            request(&[""]),
            request(&["a\0b"]),
            request(&[&long]),
            Exec { cwd: "relative".into(), ..request(&["a"]) },
            Exec { cwd: "/a\0".into(), ..request(&["a"]) },
            Exec { env: vec![variable("", "")], ..request(&["a"]) },
            Exec { env: vec![variable("a=b", "")], ..request(&["a"]) },
            Exec { env: vec![variable("a", "\0")], ..request(&["a"]) },
            Exec { timeout_ms: u64::MAX, ..request(&["a"]) },
        ];
        for request in cases {
            let refused = Plan::new(&agent, &request).unwrap_err();
            assert_eq!(refused.kind, FailureKind::Invalid, "{refused}");
        }
    }

    #[test]
    fn the_last_entry_of_a_variable_wins_over_the_default() {
        let agent = Agent::new(Mode::Init);
        let env = vec![variable("LANG", "first"), variable("LANG", "second")];
        let plan = Plan::new(&agent, &Exec { env, ..request(&["a"]) }).unwrap();
        assert_eq!(plan.env.get(std::ffi::OsStr::new("LANG")).unwrap(), "second");
        assert_eq!(plan.cwd, PathBuf::from(pyro_protocol::WORKSPACE_DIR));
        assert_eq!(plan.timeout, None);
    }
}
