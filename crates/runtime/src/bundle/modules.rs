//! The kernel's modules: the few that reach the root, and an image of all.
//!
//! Debian's package has the modules without their index, which `depmod` makes when it is installed: here the bundle's own
//! depmod does, since both the order of loading and every `modprobe` in a guest need it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::contents::{BOOT_MODULES, BOOT_MODULES_DIR, MODULES_IMAGE, VSOCK_MODULES};
use super::error::BundleError;
use super::tool::{self, Tool};
use crate::debian::xz_decoder;
use crate::fs::{FsError, create_dir_all, set_mode};

/// The files that list boot modules in the order to load them: those that every guest loads, and those that one with a virtio
/// socket loads besides.
pub(super) const ORDERS: [&str; 2] = ["order", "order-vsock"];

/// Where in a file system modules are; the image is mounted there.
const PLACE: &str = "usr/lib/modules";

/// The image's UUID: fixed, since the same modules have to give the same image.
const IMAGE_UUID: &str = "7079726f-6d6f-6475-6c65-730000000000";

/// What depmod and mkfs.erofs may take.
const LIMIT: Duration = Duration::from_mins(3);

/// The largest module, unpacked.
const MAX_MODULE: u64 = 64 << 20;

/// The directory of a module tree below `root`.
pub(super) fn tree(root: &Path) -> PathBuf {
    root.join(PLACE)
}

/// Makes the index of the modules of `release` below `root`, with the depmod of the bundle in `bundle`.
pub(super) fn index(bundle: &Path, root: &Path, release: &str) -> Result<(), BundleError> {
    // depmod looks in /lib/modules; Debian's file system has /lib as a link into /usr.
    let lib = root.join("lib");
    symlink("usr/lib", &lib).map_err(FsError::on("create", &lib))?;
    let mut command = tool::command(bundle, Tool::Depmod);
    tool::run(Tool::Depmod, command.arg("-b").arg(root).arg(release), LIMIT)?;
    normalise(&tree(root).join(release))
}

/// Gives what depmod wrote the modes that everything else has, whatever the umask is.
fn normalise(dir: &Path) -> Result<(), BundleError> {
    for entry in fs::read_dir(dir).map_err(FsError::on("read", dir))? {
        let path = entry.map_err(FsError::on("read", dir))?.path();
        if path.is_file() {
            set_mode(&path, 0o644)?;
        }
    }
    Ok(())
}

/// Writes the boot modules, unpacked, and their order into the bundle.
pub(super) fn write_boot_modules(bundle: &Path, root: &Path, release: &str) -> Result<(), BundleError> {
    let tree = tree(root).join(release);
    let read = |name: &str| {
        let path = tree.join(name);
        fs::read_to_string(&path).map_err(FsError::on("read", &path))
    };
    let (dep, builtin) = (read("modules.dep")?, read("modules.builtin")?);
    let target = bundle.join(BOOT_MODULES_DIR);
    create_dir_all(&target)?;
    for (order_name, wanted) in ORDERS.into_iter().zip([BOOT_MODULES, VSOCK_MODULES]) {
        let mut order = String::new();
        for path in load_order(&dep, &builtin, wanted)? {
            let packed = tree.join(&path);
            let name = file_name(&path).trim_end_matches(".xz").to_owned();
            let module =
                unpack(&packed).map_err(|problem| BundleError::Module { name: name.clone(), problem })?;
            let file = target.join(&name);
            fs::write(&file, module).map_err(FsError::on("write", &file))?;
            order.push_str(&name);
            order.push('\n');
        }
        let file = target.join(order_name);
        fs::write(&file, order).map_err(FsError::on("write", &file))?;
    }
    Ok(())
}

/// Writes the image of all modules into the bundle.
pub(super) fn write_image(bundle: &Path, root: &Path) -> Result<(), BundleError> {
    let image = bundle.join(MODULES_IMAGE);
    let mut command = tool::command(bundle, Tool::MkfsErofs);
    command.args(["-d0", "-T0", "--all-root", "-b4096", "-U", IMAGE_UUID]).arg(&image).arg(tree(root));
    tool::run(Tool::MkfsErofs, &mut command, LIMIT)
}

/// The files of `wanted` and what they depend on, each after what it depends on, as paths within the module tree.
///
/// A line of `modules.dep` has a module's file and the files it depends on, directly or not, last first.
fn load_order(dep: &str, builtin: &str, wanted: &[&str]) -> Result<Vec<String>, BundleError> {
    let lines: HashMap<String, (&str, &str)> =
        dep.lines().filter_map(|line| line.split_once(':')).map(|line| (module_name(line.0), line)).collect();
    let builtin: BTreeSet<String> = builtin.lines().map(module_name).collect();
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        let Some((path, needs)) = lines.get(*name) else {
            if builtin.contains(*name) {
                continue;
            }
            let problem = "the kernel has none of that name".to_owned();
            return Err(BundleError::Module { name: (*name).to_owned(), problem });
        };
        for file in needs.split_whitespace().rev().chain([*path]) {
            if !order.iter().any(|present| present == file) {
                order.push(file.to_owned());
            }
        }
    }
    Ok(order)
}

/// The name the kernel has for the module in a file: without directory and suffixes, with underscores.
fn module_name(path: &str) -> String {
    file_name(path).split('.').next().unwrap_or_default().replace('-', "_")
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A module's content, decompressed.
fn unpack(path: &Path) -> Result<Vec<u8>, String> {
    let packed = fs::read(path).map_err(|error| error.to_string())?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => Ok(packed),
        Some("xz") => {
            let mut module = Vec::new();
            let decoder = xz_decoder(packed.as_slice()).map_err(|error| error.to_string())?;
            decoder.take(MAX_MODULE).read_to_end(&mut module).map_err(|error| error.to_string())?;
            Ok(module)
        }
        other => Err(format!("it is packed as {}", other.unwrap_or("nothing known"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/fs/overlayfs/overlay.ko.xz:\n\
        kernel/fs/erofs/erofs.ko.xz: kernel/fs/netfs/netfs.ko.xz kernel/lib/lz4.ko.xz kernel/lib/base.ko.xz\n\
        kernel/fs/netfs/netfs.ko.xz: kernel/lib/base.ko.xz\n\
        kernel/drivers/char/virtio-rng.ko.xz: kernel/lib/base.ko.xz\n";
    const BUILTIN: &str = "kernel/fs/ext4/ext4.ko\nkernel/lib/crc-t10.ko\n";

    #[test]
    fn dependencies_come_first_and_once() {
        let order = load_order(DEP, BUILTIN, &["ext4", "crc_t10", "erofs", "overlay", "virtio_rng"]).unwrap();
        assert_eq!(
            order,
            [
                "kernel/lib/base.ko.xz",
                "kernel/lib/lz4.ko.xz",
                "kernel/fs/netfs/netfs.ko.xz",
                "kernel/fs/erofs/erofs.ko.xz",
                "kernel/fs/overlayfs/overlay.ko.xz",
                "kernel/drivers/char/virtio-rng.ko.xz",
            ]
        );
    }

    #[test]
    fn a_module_the_kernel_has_not_is_named() {
        let error = load_order(DEP, BUILTIN, &["zfs"]).unwrap_err();
        assert_eq!(error.to_string(), "the kernel module zfs is unusable: the kernel has none of that name");
    }

    #[test]
    fn modules_are_unpacked_by_their_suffix() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content, unpacked) in [
            ("a.ko", b"plain".to_vec(), Ok(b"plain".to_vec())),
            ("a.ko.xz", crate::debian::xz_for_tests(b"packed"), Ok(b"packed".to_vec())),
            ("a.ko.zst", b"x".to_vec(), Err("it is packed as zst".to_owned())),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            assert_eq!(unpack(&path), unpacked);
        }
    }
}
