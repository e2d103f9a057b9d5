//! UDP: one connected socket of the host's for each pair of ends, so that answers can only come from where questions went.
//!
//! Datagrams are lossy on both sides here as anywhere: what finds a queue full is dropped and counted. Fragments are
//! dropped; the packets of the tunnel are large.

mod flow;

use crate::dns;
use crate::event::{EventKind, Limit, Protocol, Refusal, Subject, count};
use crate::limits::{LOOKUP_TIMEOUT, UDP_QUEUE};
use crate::packet::{FlowKey, Unreachable, udp, unreachable};
use crate::route::{Context, Route};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinSet;

/// All UDP flows of a guest and its questions to the resolver. Dropped, it ends them.
pub(crate) struct UdpFlows {
    context: Arc<Context>,
    flows: HashMap<FlowKey, mpsc::Sender<Datagram>>,
    tasks: JoinSet<FlowKey>,
    queries: JoinSet<()>,
}

/// What a guest has sent, as content and as the packet that it was, for an error about it.
pub(crate) struct Datagram {
    pub(crate) content: Bytes,
    pub(crate) packet: Bytes,
}

impl UdpFlows {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, flows: HashMap::new(), tasks: JoinSet::new(), queries: JoinSet::new() }
    }

    /// Hands a datagram to its flow, or begins one.
    pub(crate) fn datagram(&mut self, key: FlowKey, datagram: Datagram) {
        let datagram = match self.flows.get(&key) {
            Some(flow) => match flow.try_send(datagram) {
                Ok(()) => return,
                Err(TrySendError::Full(_)) => return count(&self.context.log.counts().packets_dropped, 1),
                // It has just ended; its task is only not collected yet.
                Err(TrySendError::Closed(datagram)) => datagram,
            },
            None => datagram,
        };
        self.open(key, datagram);
    }

    fn open(&mut self, key: FlowKey, datagram: Datagram) {
        let (subject, route) = self.context.route(Protocol::Udp, key.destination);
        match route {
            Ok(Route::Resolver) => self.query(key, datagram.content),
            Ok(Route::Direct(_)) => {
                if self.tasks.len() >= self.context.limits.udp_flows {
                    return self.context.log.met(Limit::UdpFlows);
                }
                let (datagrams, inbox) = mpsc::channel(UDP_QUEUE);
                drop(datagrams.try_send(datagram));
                self.flows.insert(key, datagrams);
                let context = Arc::clone(&self.context);
                self.tasks.spawn(async move {
                    flow::run(&context, key, subject, inbox).await;
                    key
                });
                self.gauge();
            }
            Ok(Route::Proxied { .. }) => self.refuse(&subject, Refusal::NotThroughProxy, &datagram.packet),
            Err(reason) => self.refuse(&subject, reason, &datagram.packet),
        }
    }

    fn refuse(&self, subject: &Subject, reason: Refusal, packet: &[u8]) {
        self.context.log.say(subject, EventKind::Refused { reason });
        self.answer(unreachable(packet, Unreachable::Port));
    }

    fn query(&mut self, key: FlowKey, query: Bytes) {
        while self.queries.try_join_next().is_some() {}
        if self.queries.len() >= self.context.limits.dns_queries {
            return self.context.log.met(Limit::DnsQueries);
        }
        let context = Arc::clone(&self.context);
        self.queries.spawn(async move {
            let answer = dns::answer(&context, &query, dns::Transport::Udp).await;
            if let Some(packet) = answer.and_then(|answer| udp(&key, &answer)) {
                drop(context.to_guest.send_timeout(packet, LOOKUP_TIMEOUT).await);
            }
        });
    }

    fn answer(&self, packet: Option<Bytes>) {
        if let Some(packet) = packet
            && self.context.to_guest.try_send(packet).is_err()
        {
            count(&self.context.log.counts().packets_dropped, 1);
        }
    }

    /// Waits until a flow or a question has ended; for ever while there is none.
    pub(crate) async fn ended(&mut self) {
        tokio::select! {
            Some(ended) = self.tasks.join_next() => {
                if let Ok(key) = ended {
                    self.forget(key);
                } else {
                    count(&self.context.log.counts().faults, 1);
                    self.flows.retain(|_, flow| !flow.is_closed());
                }
                self.gauge();
            }
            Some(_) = self.queries.join_next() => {}
            else => std::future::pending().await,
        }
    }

    /// A flow of the same ends may have begun since.
    fn forget(&mut self, key: FlowKey) {
        if self.flows.get(&key).is_some_and(mpsc::Sender::is_closed) {
            self.flows.remove(&key);
        }
    }

    fn gauge(&self) {
        self.context.log.counts().udp_open.store(self.tasks.len() as u64, Ordering::Relaxed);
    }
}
