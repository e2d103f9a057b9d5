//! Pack and Unpack: trees as tar archives.

use pyro_protocol::v1::{Pack, Transferred, Unpack};
use pyro_tree::{Limits, Owner, Totals, Tree, Unpacker, absolute, relative};

use crate::agent::Agent;
use crate::call::Call;
use crate::fail::Fail;
use crate::transfer::{receive, transmit};

/// Sends a directory or a file as an archive.
pub async fn pack(agent: &Agent, call: &Call, request: Pack) -> Result<Transferred, Fail> {
    transmit(agent, call, move |out| {
        let totals = if request.root.is_empty() {
            pyro_tree::pack(&absolute(&request.path)?, out)?
        } else {
            let tree = Tree::open(&absolute(&request.root)?)?;
            pyro_tree::pack_beneath(&tree, &relative(&request.path)?, out)?
        };
        Ok(transferred(totals))
    })
    .await
}

/// Unpacks the archive that the host sends into a directory.
pub async fn unpack(agent: &Agent, call: &Call, request: Unpack) -> Result<Transferred, Fail> {
    let Unpack { uid, gid, .. } = request;
    let owner = if request.override_owner { Owner::Fixed { uid, gid } } else { Owner::default() };
    receive(agent, call, move |input| {
        let tree = if request.root.is_empty() {
            Tree::open(&absolute(&request.path)?)?
        } else {
            Tree::open(&absolute(&request.root)?)?.make_subtree(&relative(&request.path)?)?
        };
        Ok(transferred(Unpacker::new(tree, owner, Limits::default()).unpack(input)?))
    })
    .await
}

fn transferred(totals: Totals) -> Transferred {
    Transferred { bytes: totals.bytes, entries: totals.entries, ..Transferred::default() }
}
