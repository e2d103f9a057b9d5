//! Files that are generated and committed, so that building needs neither their generator nor its dependencies.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;

struct Generated {
    path: PathBuf,
    content: Vec<u8>,
}

/// Writes every generated file.
pub fn write() -> Result<()> {
    for file in all()? {
        fs::write(&file.path, &file.content)
            .with_context(|| format!("cannot write {}", file.path.display()))?;
    }
    Ok(())
}

/// Fails when a generated file is not what its source makes today.
pub fn check() -> Result<()> {
    for file in all()? {
        if fs::read(&file.path).ok().as_deref() != Some(&file.content) {
            bail!("{} is not up to date: run `cargo xtask generate`", file.path.display());
        }
    }
    Ok(())
}

fn all() -> Result<Vec<Generated>> {
    Ok(vec![protocol()?])
}

fn protocol() -> Result<Generated> {
    let crate_dir = super::root()?.join("crates/protocol");
    let schema = protox::compile(["agent.proto"], [crate_dir.join("proto")])?;
    let out = std::env::temp_dir().join(format!("pyro-generate-{}", std::process::id()));
    fs::create_dir_all(&out)?;
    let generated = prost_build::Config::new().bytes(["."]).out_dir(&out).compile_fds(schema);
    let content = generated.and_then(|()| fs::read(out.join("pyro.agent.v1.rs")));
    fs::remove_dir_all(&out)?;
    Ok(Generated { path: crate_dir.join("src/generated/pyro.agent.v1.rs"), content: content? })
}
