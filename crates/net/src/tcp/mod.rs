//! TCP: a table of flows, and a task for each of them.

mod device;
mod flow;
mod host;
mod open;
mod stack;

use crate::event::{EventKind, Limit, Protocol, count};
use crate::limits::{DNS_CONNECTIONS, FLOW_QUEUE, FLOW_QUEUE_WAIT, rings};
use crate::packet::{Control, FlowKey};
use crate::route::{Context, Route};
use bytes::Bytes;
use open::Opening;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{Id, JoinError, JoinSet};

/// All TCP connections of a guest. Dropped, it ends them.
pub(crate) struct TcpFlows {
    context: Arc<Context>,
    flows: HashMap<FlowKey, Entry>,
    tasks: JoinSet<()>,
    keys: HashMap<Id, FlowKey>,
    pending: Arc<Semaphore>,
    to_resolver: Arc<Semaphore>,
}

struct Entry {
    task: Id,
    packets: mpsc::Sender<Bytes>,
}

impl TcpFlows {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        let pending = Arc::new(Semaphore::new(context.limits.pending_connects.min(Semaphore::MAX_PERMITS)));
        Self {
            context,
            flows: HashMap::new(),
            tasks: JoinSet::new(),
            keys: HashMap::new(),
            pending,
            to_resolver: Arc::new(Semaphore::new(DNS_CONNECTIONS)),
        }
    }

    /// Hands a segment to its flow, or begins one.
    pub(crate) async fn segment(&mut self, key: FlowKey, control: Control, packet: Bytes) {
        let packet = match self.flows.get(&key) {
            Some(entry) => match deliver(&entry.packets, packet).await {
                Ok(delivered) => {
                    count(&self.context.log.counts().packets_dropped, u64::from(!delivered));
                    return;
                }
                // That flow has just ended; its task is only not collected yet.
                Err(packet) => packet,
            },
            None => packet,
        };
        match control {
            Control::Open => self.open(key, packet),
            Control::Other => self.reset(packet),
            Control::Reset => {}
        }
    }

    fn open(&mut self, key: FlowKey, syn: Bytes) {
        // Those that have ended count until they are collected.
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.collect(ended);
        }
        let log = &self.context.log;
        let (subject, route) = self.context.route(Protocol::Tcp, key.destination);
        let route = match route {
            Ok(route) => route,
            Err(reason) => {
                log.say(&subject, EventKind::Refused { reason });
                return self.reset(syn);
            }
        };
        if self.tasks.len() >= self.context.limits.tcp_flows {
            log.met(Limit::TcpFlows);
            return self.reset(syn);
        }
        let (places, limit) = match route {
            Route::Resolver => (&self.to_resolver, Limit::DnsConnections),
            Route::Direct(_) | Route::Proxied { .. } => (&self.pending, Limit::PendingConnects),
        };
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            log.met(limit);
            return self.reset(syn);
        };
        let (packets, inbox) = mpsc::channel(FLOW_QUEUE);
        let rings = rings(self.tasks.len());
        let opening = Opening { key, syn, inbox, route, subject, rings, place: Some(place) };
        let task = self.tasks.spawn(open::run(Arc::clone(&self.context), opening)).id();
        self.keys.insert(task, key);
        self.flows.insert(key, Entry { task, packets });
        self.gauge();
    }

    /// Answers a segment of no connection. One that finds no room is repeated by the guest.
    fn reset(&self, packet: Bytes) {
        if let Some(reset) = stack::reset(packet)
            && self.context.to_guest.try_send(reset).is_err()
        {
            count(&self.context.log.counts().packets_dropped, 1);
        }
    }

    /// Waits until a flow has ended; for ever while there is none.
    pub(crate) async fn ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.collect(ended),
            None => std::future::pending().await,
        }
    }

    fn collect(&mut self, ended: Result<(Id, ()), JoinError>) {
        let task = match ended {
            Ok((task, ())) => task,
            Err(error) => {
                count(&self.context.log.counts().faults, u64::from(error.is_panic()));
                error.id()
            }
        };
        if let Some(key) = self.keys.remove(&task)
            && self.flows.get(&key).is_some_and(|entry| entry.task == task)
        {
            self.flows.remove(&key);
        }
        self.gauge();
    }

    fn gauge(&self) {
        self.context.log.counts().tcp_open.store(self.tasks.len() as u64, Ordering::Relaxed);
    }
}

/// Whether the flow has taken `packet`, which comes back when the flow is no more.
async fn deliver(packets: &mpsc::Sender<Bytes>, packet: Bytes) -> Result<bool, Bytes> {
    use mpsc::error::{SendTimeoutError, TrySendError};
    let packet = match packets.try_send(packet) {
        Ok(()) => return Ok(true),
        Err(TrySendError::Closed(packet)) => return Err(packet),
        Err(TrySendError::Full(packet)) => packet,
    };
    match packets.send_timeout(packet, FLOW_QUEUE_WAIT).await {
        Ok(()) => Ok(true),
        Err(SendTimeoutError::Timeout(_)) => Ok(false),
        Err(SendTimeoutError::Closed(packet)) => Err(packet),
    }
}
