//! The contract between pyro's host side and its guest agent.
//!
//! - [`v1`]: the messages, generated from `proto/agent.proto` (`cargo xtask generate`);
//! - [`frame`]: how one message becomes bytes on a stream;
//! - [`preamble`]: how the two ends find each other on a byte channel that may hold leftovers;
//! - [`packets`]: how the packets of a tunnel become the data of a message;
//! - [`limits`]: every bound that both ends rely on;
//! - [`error`]: the kinds of failure and what each face of pyro makes of them.
//!
//! Nothing here performs I/O. Everything that decodes treats its input as hostile: lengths are checked before memory
//! is reserved, and no input panics.

pub mod error;
pub mod frame;
pub mod limits;
pub mod packets;
pub mod preamble;

/// Messages of generation 1, as generated from `proto/agent.proto`.
#[expect(missing_docs, reason = "generated; the schema's comments are the documentation")]
#[expect(clippy::pedantic, reason = "generated")]
pub mod v1 {
    include!("generated/pyro.agent.v1.rs");
}

/// The generation of the contract that this build speaks.
pub const GENERATION: u32 = 1;

/// Name of the virtio-serial port that carries the channel.
pub const CHANNEL_PORT_NAME: &str = "pyro.agent";

/// Port of the virtio socket that carries the channel, where the machine has one ([`parameter::VSOCK_CHANNEL`]).
pub const CHANNEL_VSOCK_PORT: u32 = 1024;

/// What the agent, as PID 1, prints on the console each time it begins to wait for a host end.
pub const WAITING_LINE: &str = "waiting for a host";

/// Serial numbers by which the guest finds its disks (a virtio-blk serial holds at most 20 bytes).
pub mod serial {
    /// Read-only image of the environment's root file system.
    pub const IMAGE: &str = "pyro-image";
    /// Writable disk of this machine.
    pub const SCRATCH: &str = "pyro-scratch";
    /// Read-only image of the tree that the workspace began with, where there is one.
    pub const SEED: &str = "pyro-seed";
    /// Read-only image of the kernel's module tree.
    pub const MODULES: &str = "pyro-modules";
}

/// What a host may tell an agent on the kernel's command line, which the kernel itself ignores.
pub mod parameter {
    /// The channel is a virtio socket, and no virtio-serial port.
    pub const VSOCK_CHANNEL: &str = "pyro.channel=vsock";
    /// `pyro.disks=SERIAL,SERIAL`: the disks in the order in which the machine has them, for a VMM that gives them no serial
    /// numbers of ours.
    pub const DISKS: &str = "pyro.disks=";
}

/// Name of the network interface of a guest that has a tunnel.
pub const TUNNEL_INTERFACE: &str = "pyro0";

/// Root of a workspace inside the guest, and the default working directory of commands.
pub const WORKSPACE_DIR: &str = "/workspace";
