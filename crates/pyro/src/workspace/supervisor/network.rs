//! Records what a guest's network does, a batch at a time.

use crate::Pyro;
use crate::network::{EVENT_QUEUE, NetEvent};
use crate::store::add_network_events;
use crate::workspace::{Redaction, WorkspaceId};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

/// How long events are gathered before they are recorded.
const GATHERING: Duration = Duration::from_millis(250);
/// Events that are recorded together: at least as many as may be waiting, so that a flush leaves none.
const BATCH: usize = EVENT_QUEUE;

/// Asks the recorder to record what it has; it answers when that is done.
pub(super) type Flush = oneshot::Sender<()>;

/// Records `events` of the guest of that generation until their senders are gone.
pub(super) async fn record(
    pyro: Pyro,
    (id, generation): (WorkspaceId, i64),
    redaction: Redaction,
    mut events: mpsc::Receiver<NetEvent>,
    mut asked: mpsc::Receiver<Flush>,
) {
    let mut gathered = Vec::new();
    loop {
        let mut flushed = None;
        tokio::select! {
            biased;
            count = events.recv_many(&mut gathered, BATCH) => match count {
                0 => return,
                _ if gathered.len() < BATCH => {
                    // More may follow at once; whoever asks does not wait for it.
                    tokio::select! {
                        () = sleep(GATHERING) => {}
                        flush = asked.recv() => flushed = flush,
                    }
                    while gathered.len() < 2 * BATCH && let Ok(event) = events.try_recv() {
                        gathered.push(event);
                    }
                }
                _ => {}
            },
            flush = asked.recv() => match flush {
                Some(_) => flushed = flush,
                None => return,
            },
        }
        for event in &mut gathered {
            event.name = event.name.take().map(|name| redaction.host_name(name));
        }
        let (id, batch) = (id.clone(), std::mem::take(&mut gathered));
        if !batch.is_empty() {
            // What cannot be recorded is lost; the counters have it.
            let _lost = pyro.transact(move |store| add_network_events(store, &id, generation, &batch)).await;
        }
        if let Some(flushed) = flushed {
            // Whoever does not wait does not need it.
            let _unheard = flushed.send(());
        }
    }
}
