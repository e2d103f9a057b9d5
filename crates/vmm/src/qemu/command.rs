//! QEMU's command line.

use crate::{Disk, MachineSpec, Start};
use pyro_protocol::CHANNEL_PORT_NAME;
use pyro_runtime::Sha256Digest;
use pyro_runtime::bundle::{Bundle, Tool};
use pyro_runtime::probe::Acceleration;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Command;

/// QEMU's ends of the socket pairs, and the memory of a guest whose snapshot will be taken; inherited under the same numbers.
pub(super) struct Channels<'a> {
    pub(super) agent: &'a OwnedFd,
    pub(super) monitor: &'a OwnedFd,
    pub(super) ram: Option<&'a OwnedFd>,
}

/// Starts a kernel and does nothing else. SeaBIOS, the microvm machine's default, keeps ACPI tables at the end of memory,
/// where QEMU puts the initramfs: whether the kernel finds them depends on the initramfs' length.
const FIRMWARE: &str = "qboot.rom";

/// The first port is reserved for a console, which nobody has. By default there is room for 31 ports, and each costs two
/// queues, in QEMU as it starts and in the guest.
const SERIAL: &str = "virtio-serial-device,max_ports=2";

/// Name of the memory, the same in a template and its clones.
const MEMORY: &str = "ram";

/// Kernel parameters for every start: a quiet console that is there for diagnosis, and a guest that ends the VMM
/// instead of rebooting. One UART is probed, not 32: each probe is a dozen trapped accesses. Of the security modules only the
/// one that sandboxes in the guest use: nothing there configures the others, and every call passes through each of them.
const KERNEL_PARAMETERS: &str =
    "console=ttyS0 quiet reboot=t panic=-1 8250.nr_uarts=1 random.trust_cpu=on lsm=landlock";

/// More for emulation, each measured in docs/performance.md: it is no security boundary, so the guest kernel need not
/// pay for mitigations inside; and the kernel's self-tests, its built-in certificates (nothing checks module
/// signatures) and jitter entropy (the host gives entropy) cost a fifth of the boot. The time-stamp counter is the
/// host's; a watchdog that compares it with timer ticks, which come late on a loaded host, would condemn the better clock.
const EMULATION_PARAMETERS: &str = "mitigations=off cryptomgr.notests tsc=reliable \
     initcall_blacklist=load_system_certificate_list,jent_mod_init,bpf_dummy_struct_ops_init,bpf_tcp_ca_kfunc_init";

pub(super) fn build(
    bundle: &Bundle,
    acceleration: Acceleration,
    spec: &MachineSpec,
    channels: &Channels<'_>,
) -> Command {
    let mut command = bundle.command(Tool::Qemu);
    command.current_dir(&spec.directory);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"]);
    command.args(["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
    command.arg("-name").arg(format!("{},debug-threads=on", spec.name));
    command.args(["-bios", FIRMWARE]);
    command.args(machine(acceleration));
    command.args(memory(spec, channels.ram));
    command.arg("-smp").arg(spec.vcpus.get().to_string());
    if !matches!(spec.start, Start::Restore(_)) {
        command.arg("-kernel").arg(&spec.kernel).arg("-initrd").arg(&spec.initramfs);
        command.arg("-append").arg(kernel_command_line(acceleration));
    }
    for disk in &spec.disks {
        command.arg("-blockdev").arg(blockdev(disk));
        command
            .arg("-device")
            .arg(format!("virtio-blk-device,drive={0},serial={0},werror=report,rerror=report", disk.serial));
    }
    command.arg("-chardev").arg(format!("socket,id=agent,fd={}", channels.agent.as_raw_fd()));
    command.args(["-device", SERIAL]);
    command.arg("-device").arg(format!("virtserialport,chardev=agent,name={CHANNEL_PORT_NAME}"));
    command.arg("-chardev").arg(format!("socket,id=monitor,fd={}", channels.monitor.as_raw_fd()));
    command.args(["-mon", "chardev=monitor,mode=control"]);
    command
}

/// Digest of what a machine's devices and a guest's behaviour depend on besides the bundle and the specification: a snapshot
/// is good for machines with the same one.
pub(super) fn shape(acceleration: Acceleration) -> Sha256Digest {
    // To be counted up when `build` changes in a way that does not show in the rest.
    const GENERATION: &str = "1";
    let parameters = match acceleration {
        Acceleration::Kvm => "",
        Acceleration::Emulation => EMULATION_PARAMETERS,
    };
    let parts =
        [GENERATION, FIRMWARE, KERNEL_PARAMETERS, parameters, SERIAL, &machine(acceleration).join(" ")];
    Sha256Digest::of(parts.join("\n").as_bytes())
}

/// The guest's memory. Where snapshots come in it is a file: the shared one of a template to be, or a template's, of which
/// each clone has its own private view.
fn memory(spec: &MachineSpec, ram: Option<&OwnedFd>) -> Vec<OsString> {
    let mib = spec.memory.get();
    let mut arguments = vec!["-m".into(), format!("{mib}M").into()];
    let backend = match (&spec.start, ram) {
        (Start::BootForSnapshot(_), Some(ram)) => {
            format!("share=on,mem-path=/proc/self/fd/{}", ram.as_raw_fd()).into()
        }
        (Start::Restore(snapshot), _) => {
            arguments.extend(["-incoming".into(), "defer".into()]);
            let mut backend = OsString::from("share=off,readonly=on,rom=off,mem-path=");
            backend.push(escaped(&snapshot.ram));
            backend
        }
        _ => return arguments,
    };
    let mut object =
        OsString::from(format!("memory-backend-file,id={MEMORY},size={mib}M,merge=off,dump=off,"));
    object.push(backend);
    arguments.extend([
        "-object".into(),
        object,
        "-machine".into(),
        format!("memory-backend={MEMORY}").into(),
    ]);
    arguments
}

/// In emulation the legacy timer and interrupt controller stay out. The kernel takes the machine for hardware-reduced
/// ACPI and never initialises them, so that on a loaded host a tick of the firmware's timer can arrive as interrupt 0,
/// which is "divide error", and calibrating the TSC against them can fail, which hangs. Both were seen.
fn machine(acceleration: Acceleration) -> [&'static str; 6] {
    match acceleration {
        Acceleration::Kvm => ["-M", "microvm,isa-serial=on", "-accel", "kvm", "-cpu", "host"],
        Acceleration::Emulation => {
            ["-M", "microvm,isa-serial=on,pit=off,pic=off", "-accel", "tcg", "-cpu", "max,la57=off"]
        }
    }
}

fn kernel_command_line(acceleration: Acceleration) -> String {
    match acceleration {
        Acceleration::Kvm => KERNEL_PARAMETERS.to_owned(),
        Acceleration::Emulation => {
            let khz = super::tsc::khz();
            format!("{KERNEL_PARAMETERS} {EMULATION_PARAMETERS} tsc_early_khz={khz}")
        }
    }
}

/// Locking is off because read-only images are shared by many machines, and a writable one lies in its machine's private
/// directory.
fn blockdev(disk: &Disk) -> OsString {
    let read_only = if disk.read_only { "on" } else { "off" };
    let no_flush = if disk.volatile { "on" } else { "off" };
    let mut option = OsString::from(format!(
        "driver=raw,node-name={},read-only={read_only},cache.no-flush={no_flush},discard=unmap,file.driver=file,\
         file.locking=off,file.discard=unmap,file.filename=",
        disk.serial,
    ));
    option.push(escaped(&disk.path));
    option
}

/// QEMU splits options at commas; a comma in a value is written twice.
fn escaped(path: &Path) -> OsString {
    let bytes = path.as_os_str().as_bytes().iter();
    OsString::from_vec(
        bytes.flat_map(|&byte| std::iter::repeat_n(byte, if byte == b',' { 2 } else { 1 })).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_cannot_add_an_option() {
        let path = "/a,read-only=off/b".into();
        let option = blockdev(&Disk { path, serial: "pyro-image", read_only: true, volatile: false });
        let option = option.to_str().unwrap();
        assert!(option.ends_with("file.filename=/a,,read-only=off/b"), "{option}");
        assert!(option.starts_with("driver=raw,node-name=pyro-image,read-only=on,"));
    }
}
