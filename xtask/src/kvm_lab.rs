//! `kvm-lab`: runs a command where KVM works, on a host where it need not.
//!
//! In software emulation a guest of pyro's has the virtualization extensions of an AMD CPU (SVM), and its kernel's modules are
//! all there. So the laboratory is a workspace: it begins with the release build of `pyro`, the runtime bundle and an environment
//! on its read-only seed disk, the modules of KVM are loaded, and the command finds `pyro` in its `PATH`, with a cache that has
//! all it needs. Output and exit status are the command's.
//!
//! Firecracker is there, too, where `PYRO_FIRECRACKER_BIN` names one on this host; else guests run on QEMU with KVM, and it is said
//! that Firecracker is left out. With `--suite`, the tests of the command are there as `pyro-suite`, a program that takes names of
//! tests, with every environment that they need and a way to the package mirror. `xtask bench SERIES` measures there.

use crate::cargo;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};

/// What the laboratory's own guest is made from: it has the Python that loads modules.
const OUTER: &str = "debian:12-build";
/// What guests inside of it are made from, and some of the tests' besides.
const INNER: &str = "debian:12";
const INNER_OF_SUITE: [&str; 2] = [INNER, OUTER];
/// Directory of programs in the seed.
const PROGRAMS: &str = "bin";
/// Room for two guests with 1 GiB each, a template, and what the host's end needs.
const SIZE: [&str; 4] = ["--vcpu-count", "2", "--mem-mib", "8192"];
/// For a whole suite of tests, where each exit of a guest costs an emulated world switch.
const SECONDS: &str = "14400";

/// The kernel would unpack them by itself, but Debian's is built without that.
const LOAD_MODULES: &str = r#"
import ctypes, lzma, os, pathlib, sys
INIT_MODULE = 175
libc = ctypes.CDLL(None, use_errno=True)
modules = pathlib.Path("/lib/modules") / os.uname().release
for name in ("irqbypass", "kvm", "kvm-amd"):
    path = next(modules.rglob(name + ".ko.xz"), None)
    if path is None:
        sys.exit(f"there is no module {name}")
    module = lzma.decompress(path.read_bytes())
    if libc.syscall(INIT_MODULE, module, ctypes.c_ulong(len(module)), b"") != 0:
        sys.exit(f"{path}: {os.strerror(ctypes.get_errno())}")
"#;

/// What the command is run by: `$1` loads the modules, `$2` is where the tests expect what they test, the rest is the command.
const RUN: &str = r#"
python3 -c "$1" && [ -e /dev/kvm ] || { echo "kvm-lab: there is no /dev/kvm in the laboratory" >&2; exit 1; }
mkdir -p "$2/release" "$2/tmp/pyro-test"
ln -s /workspace/bin/pyro "$2/release/pyro"
ln -s /workspace/cache "$2/tmp/pyro-test/cache"
shift 2
export PATH="/workspace/bin:$PATH" XDG_CACHE_HOME=/workspace/cache HOME=/root PYRO_PROGRAM=/workspace/bin/pyro
if [ -e /workspace/bin/firecracker ]; then
    export PYRO_FIRECRACKER_BIN=/workspace/bin/firecracker
else
    # Emulated world switches make a boot take longer than a probe waits.
    export PYRO_ENGINE=qemu-kvm
fi
exec "$@"
"#;

pub fn usage() -> &'static str {
    "cargo xtask kvm-lab [--suite] -- COMMAND [ARGUMENT…]"
}

/// Runs `command` in the laboratory, with the tests in it where `suite` says so; the exit status is its own.
#[expect(clippy::print_stderr, reason = "what is left out is no part of the command's output")]
pub fn kvm_lab(command: &[&str], suite: bool) -> Result<ExitCode> {
    if command.is_empty() {
        bail!("usage: {}", usage());
    }
    let root = super::root()?;
    let target = root.join("target");
    // Building the tests builds what they test.
    let (tests, pyro) =
        if suite { (Some(tests(root)?), target.join("release/pyro")) } else { (None, super::built(root)?) };
    let pyro = Program(pyro);
    let seed = target.join("kvm-lab");
    let environments: &[&str] = if suite { &INNER_OF_SUITE } else { &[INNER] };
    pyro.prepare_seed(&seed, environments)?;
    let programs = seed.join(PROGRAMS);
    strip(&std::env::current_exe()?, &programs.join("xtask"))?;
    if let Some(tests) = tests {
        strip(&tests, &programs.join("pyro-suite"))?;
    }
    match std::env::var_os("PYRO_FIRECRACKER_BIN") {
        Some(firecracker) => strip(Path::new(&firecracker), &programs.join("firecracker"))?,
        None => eprintln!(
            "[kvm-lab] PYRO_FIRECRACKER_BIN names no Firecracker: guests run on QEMU with KVM alone"
        ),
    }
    let laboratory = Laboratory::create(&pyro, &seed, suite)?;
    laboratory.run(command, &target)
}

/// Builds the tests of the command; where they are.
fn tests(root: &Path) -> Result<PathBuf> {
    let mut build = cargo(root);
    // All of the workspace, as for running them: for one package alone its dependencies would have other features.
    build.args(["test", "--release", "--workspace", "--no-run", "--message-format", "json"]);
    let Output { status, stdout, .. } = build.stderr(Stdio::inherit()).output()?;
    if !status.success() {
        bail!("the tests were not built");
    }
    let messages = stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let executable = |message: Value| {
        let target = &message["target"];
        let is_suite = target["name"] == "cli" && target["kind"][0] == "test";
        message["executable"].as_str().filter(|_| is_suite).map(PathBuf::from)
    };
    messages.into_iter().find_map(executable).context("cargo names no tests of the command")
}

/// The release build.
struct Program(PathBuf);

impl Program {
    fn call<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(&self.0);
        command.args(arguments);
        command
    }

    /// What a call prints. Its talk is passed on.
    fn output<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Result<String> {
        let mut command = self.call(arguments);
        let Output { status, stdout, .. } = command.stderr(Stdio::inherit()).output()?;
        if !status.success() {
            bail!("{command:?} ended with {status}");
        }
        Ok(String::from_utf8(stdout)?)
    }

    fn document<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Result<Value> {
        Ok(serde_json::from_str(&self.output(arguments)?)?)
    }

    /// Puts what the laboratory begins with into `seed`, as links where possible: the program, the bundle, and `inner`, the
    /// environments.
    fn prepare_seed(&self, seed: &Path, inner: &[&str]) -> Result<()> {
        for environment in [OUTER, INNER] {
            self.output(["env", "pull", environment])?;
        }
        let bundle = self.document(["runtime", "status", "--json"])?;
        let bundle = path_in(&bundle["bundle"]["path"])?;
        let current = bundle.with_file_name("current.json");

        if seed.exists() {
            fs::remove_dir_all(seed)?;
        }
        let (programs, cache) = (seed.join(PROGRAMS), seed.join("cache/pyro"));
        let (bundles, environments) = (cache.join("runtime"), cache.join("environments"));
        for directory in [&programs, &bundles, &environments] {
            fs::create_dir_all(directory)?;
        }
        strip(&self.0, &programs.join("pyro"))?;
        for name in inner {
            let environment = self.document(["env", "inspect", name, "--json"])?;
            let image = path_in(&environment["path"])?;
            let manifest = image.with_file_name(name.replace(':', "-") + ".json");
            for file in [&image, &manifest] {
                link(file, &environments.join(file.file_name().unwrap_or_default()))?;
            }
        }
        link(&current, &bundles.join(current.file_name().unwrap_or_default()))?;
        link_tree(&bundle, &bundles.join(bundle.file_name().unwrap_or_default()))
    }
}

/// Copies a program without what only debuggers read, which is most of it; as it is, where there is no `strip`.
fn strip(from: &Path, to: &Path) -> Result<()> {
    if Command::new("strip").arg("-o").arg(to).arg(from).status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    link(from, to)
}

fn path_in(value: &Value) -> Result<PathBuf> {
    Ok(value.as_str().context("pyro names no path")?.into())
}

fn link(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

fn link_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            link_tree(&from, &to)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else {
            link(&from, &to)?;
        }
    }
    Ok(())
}

/// A workspace that goes with this process, however it ends: a keeper, which Ctrl-C does not reach, deletes it when the pipe to
/// it closes.
struct Laboratory<'a> {
    pyro: &'a Program,
    id: String,
    keeper: Child,
}

const KEEP: &str = r#"read -r _; exec "$0" workspace delete "$1" >/dev/null"#;

impl<'a> Laboratory<'a> {
    fn create(pyro: &'a Program, seed: &Path, connected: bool) -> Result<Self> {
        let mut arguments = vec!["workspace", "create", OUTER, "--id-only", "--ttl-seconds", SECONDS];
        arguments.extend(SIZE);
        if connected {
            arguments.extend(["--network-policy", "egress"]);
        }
        arguments.extend(["--name", "kvm-lab", "--seed-path"]);
        let mut arguments: Vec<&OsStr> = arguments.into_iter().map(OsStr::new).collect();
        arguments.push(seed.as_os_str());
        let id = pyro.output(arguments)?.trim().to_owned();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEP]).arg(&pyro.0).arg(&id).stdin(Stdio::piped()).process_group(0);
        let keeper =
            keeper.spawn().with_context(|| format!("the workspace {id} is left, without a keeper"))?;
        Ok(Self { pyro, id, keeper })
    }

    fn run(&self, command: &[&str], target: &Path) -> Result<ExitCode> {
        let words =
            ["workspace", "exec", &self.id, "--timeout-seconds", SECONDS, "--", "sh", "-c", RUN, "kvm-lab"];
        let status = self.pyro.call(words).arg(LOAD_MODULES).arg(target).args(command).status()?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.context("pyro was killed")?.into())
    }
}

impl Drop for Laboratory<'_> {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // What it says of a failure goes to standard error; the time to live ends what is left.
        let _deleted = self.keeper.wait();
    }
}
