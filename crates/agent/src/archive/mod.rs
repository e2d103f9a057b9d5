//! Pack and Unpack: trees as tar archives.

mod pack;
mod unpack;

use pyro_protocol::v1::{Pack, Transferred, Unpack};

use crate::agent::Agent;
use crate::call::Call;
use crate::fail::Fail;
use crate::transfer::{receive, transmit};
use crate::tree::{Tree, absolute};
use unpack::{Owner, Unpacker};

/// Sends a directory or a file as an archive.
pub async fn pack(agent: &Agent, call: &Call, request: Pack) -> Result<Transferred, Fail> {
    let path = absolute(&request.path)?;
    transmit(agent, call, move |out| pack::pack(&path, out)).await
}

/// Unpacks the archive that the host sends into an existing directory.
pub async fn unpack(agent: &Agent, call: &Call, request: Unpack) -> Result<Transferred, Fail> {
    let path = absolute(&request.path)?;
    let Unpack { uid, gid, .. } = request;
    let owner = if request.override_owner { Owner::Fixed { uid, gid } } else { Owner::default() };
    receive(agent, call, move |input| Unpacker::new(Tree::open(&path)?, owner).unpack(input)).await
}
