//! The guest's first root: the agent, and the modules that reach the real one.
//!
//! Not compressed: in emulation unpacking a compressed one costs more than reading the larger one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::contents::BOOT_MODULES_DIR;
use super::cpio::Cpio;
use super::error::BundleError;
use super::modules::ORDERS;
use crate::fs::FsError;

/// The initramfs of the bundle in `dir` with this agent. The agent finds the modules in `/modules`, and the order to load
/// them in, one file name a line, in `/modules/order`; for a guest with a virtio socket it goes on in `/modules/order-vsock`.
pub(super) fn build(dir: &Path, agent: &[u8]) -> Result<Vec<u8>, BundleError> {
    let modules = dir.join(BOOT_MODULES_DIR);
    let mut orders = Vec::new();
    for name in ORDERS {
        let file = modules.join(name);
        orders.push((name, fs::read_to_string(&file).map_err(FsError::on("read", &file))?));
    }
    let mut cpio = Cpio::default();
    for name in ["dev", "newroot", "proc", "sys", "modules"] {
        cpio.directory(name, 0o755)?;
    }
    // The kernel opens it for PID 1 before anything could mount a file system with device nodes.
    cpio.char_device("dev/console", 0o600, (5, 1))?;
    cpio.file("init", 0o755, agent)?;
    let names: BTreeSet<&str> = orders.iter().flat_map(|(_, order)| order.lines()).collect();
    for name in names {
        let path = modules.join(name);
        let module = fs::read(&path).map_err(FsError::on("read", &path))?;
        cpio.file(&format!("modules/{name}"), 0o644, &module)?;
    }
    for (name, order) in &orders {
        cpio.file(&format!("modules/{name}"), 0o644, order.as_bytes())?;
    }
    cpio.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::cpio::tests::read;

    #[test]
    fn agent_and_modules_are_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().join(BOOT_MODULES_DIR);
        fs::create_dir_all(&modules).unwrap();
        fs::write(modules.join("order"), "z.ko\na.ko\n").unwrap();
        fs::write(modules.join("order-vsock"), "a.ko\nv.ko\n").unwrap();
        fs::write(modules.join("v.ko"), "V").unwrap();
        fs::write(modules.join("a.ko"), "A").unwrap();
        fs::write(modules.join("z.ko"), "Z").unwrap();
        let image = build(dir.path(), b"agent").unwrap();
        assert_eq!(image, build(dir.path(), b"agent").unwrap());
        let entries = read(&image);
        let content = |name: &str| &entries.iter().find(|entry| entry.name == name).unwrap().content;
        assert_eq!(content("init"), b"agent");
        assert_eq!(content("modules/order"), b"z.ko\na.ko\n");
        assert_eq!(content("modules/order-vsock"), b"a.ko\nv.ko\n");
        assert_eq!(content("modules/z.ko"), b"Z");
        assert_eq!(content("modules/v.ko"), b"V");
        assert_eq!(entries.iter().find(|entry| entry.name == "dev/console").unwrap().device, (5, 1));
        fs::remove_file(modules.join("a.ko")).unwrap();
        assert!(build(dir.path(), b"agent").unwrap_err().to_string().contains("a.ko"));
    }
}
