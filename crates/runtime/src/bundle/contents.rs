//! What a bundle is made of: packages, the files taken from them, and the places those get.

use super::tool::Tool;

/// The Debian release bundles are made from.
pub(super) const SUITE: &str = "trixie";

/// The packages wanted; what they need is resolved.
pub(super) const ROOTS: &[&str] =
    &["qemu-system-x86", "linux-image-cloud-amd64", "e2fsprogs", "erofs-utils", "kmod"];

/// Packages that are dependencies, but of nothing that is taken. A library missing because of this list fails the build
/// by name, since the closure over what the programs really load is checked then.
pub(super) const EXCLUDED: &[&str] = &[
    // QEMU's display, sound and smart-card modules, and the helpers of its bridge networking; firmware of network cards
    // and of machines with a BIOS.
    "qemu-system-common",
    "ipxe-qemu",
    "seabios",
    // What a kernel package runs when it is installed on a real machine.
    "initramfs-tools",
    "linux-base",
    // Users that packages make: nothing of the bundle is installed.
    "adduser",
    // Documentation, plug-ins and helpers that the libraries and programs can do without.
    "gcc-14-base",
    "libsasl2-modules-db",
    "logsave",
    "openssl-provider-legacy",
];

/// Programs: their place in a package, and the tool they are.
pub(super) const PROGRAMS: &[(&str, Tool)] = &[
    ("usr/bin/qemu-system-x86_64", Tool::Qemu),
    ("usr/sbin/mke2fs", Tool::Mke2fs),
    ("usr/sbin/e2fsck", Tool::E2fsck),
    ("usr/sbin/debugfs", Tool::Debugfs),
    ("usr/sbin/resize2fs", Tool::Resize2fs),
    ("usr/sbin/dumpe2fs", Tool::Dumpe2fs),
    ("usr/bin/mkfs.erofs", Tool::MkfsErofs),
    ("usr/bin/fsck.erofs", Tool::FsckErofs),
    ("usr/bin/dump.erofs", Tool::DumpErofs),
    ("usr/bin/kmod", Tool::Depmod),
];

/// Other files: their place in a package and in the bundle.
pub(super) const FILES: &[(&str, &str)] = &[
    // The firmware of the microvm machine, which starts at once; the option ROMs load the kernel, by ELF note or as a
    // bzImage.
    ("usr/share/qemu/qboot.rom", "share/qemu/qboot.rom"),
    ("usr/share/qemu/pvh.bin", "share/qemu/pvh.bin"),
    ("usr/share/qemu/linuxboot_dma.bin", "share/qemu/linuxboot_dma.bin"),
    // The APIC's patch for KVM guests, asked for by every x86 machine that has one.
    ("usr/share/qemu/kvmvapic.bin", "share/qemu/kvmvapic.bin"),
    ("etc/mke2fs.conf", "etc/mke2fs.conf"),
];

/// The dynamic loader, through which every program is started.
pub(super) const LOADER: &str = "ld-linux-x86-64.so.2";

/// Libraries that no program names but that are loaded: glibc loads this one when a thread is cancelled or exits early.
pub(super) const IMPLICIT_LIBRARIES: &[&str] = &[LOADER, "libgcc_s.so.1"];

/// Modules the guest needs to reach its root; those built into the kernel are skipped, their dependencies added.
pub(super) const BOOT_MODULES: &[&str] = &["virtio_mmio", "virtio_blk", "overlay", "erofs", "ext4", "tun"];

/// What a guest needs besides where its channel is a virtio socket.
pub(super) const VSOCK_MODULES: &[&str] = &["vmw_vsock_virtio_transport", "virtio_rng"];

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const VMLINUX: &str = "kernel/vmlinux";
pub(super) const BOOT_MODULES_DIR: &str = "kernel/boot-modules";
pub(super) const MODULES_IMAGE: &str = "images/modules.erofs";
