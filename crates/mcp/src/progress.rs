//! Progress notifications, for a client that asks for them.
//!
//! A call that takes its time is reported five times a second at most: the present phase, and the seconds since the call began as
//! the value that grows. Clients that give up on a silent call do not give up on this one.

use pyro::Progress;
use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext};
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{interval, sleep};

/// Shortest time between two notifications.
const PAUSE: Duration = Duration::from_millis(200);
/// Time between notifications when nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Tells the client of one call how it goes.
pub(crate) struct Reporter {
    phases: Arc<Phases>,
    client: Option<(Peer<RoleServer>, ProgressToken)>,
}

/// The present phase.
struct Phases(watch::Sender<String>);

impl Progress for Phases {
    fn phase(&self, name: &str) {
        self.0.send_replace(name.to_owned());
    }

    fn total(&self, _bytes: u64) {}

    fn advance(&self, _bytes: u64) {}
}

impl Reporter {
    pub(crate) fn of(context: &RequestContext<RoleServer>) -> Self {
        let token = context.meta.get_progress_token();
        let client = token.map(|token| (context.peer.clone(), token));
        Self { phases: Arc::new(Phases(watch::Sender::new(String::new()))), client }
    }

    /// What the SDK reports to.
    pub(crate) fn progress(&self) -> Arc<dyn Progress> {
        Arc::clone(&self.phases) as Arc<dyn Progress>
    }

    /// Reports until it is dropped.
    pub(crate) async fn run(&self) -> Infallible {
        let Some((peer, token)) = &self.client else { return pending().await };
        let begun = Instant::now();
        let mut phase = self.phases.0.subscribe();
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.tick().await;
        loop {
            tokio::select! {
                changed = phase.changed() => if changed.is_err() { return pending().await },
                _ = heartbeat.tick() => {}
            }
            let seconds = begun.elapsed().as_secs_f64();
            let phase = phase.borrow_and_update().clone();
            let message = if phase.is_empty() { "running".to_owned() } else { phase };
            let report = ProgressNotificationParam::new(token.clone(), seconds).with_message(message);
            if peer.notify_progress(report).await.is_err() {
                // Nobody listens any more.
                return pending().await;
            }
            sleep(PAUSE).await;
        }
    }
}
