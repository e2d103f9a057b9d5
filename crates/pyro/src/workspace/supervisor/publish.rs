//! Published ports: listeners on the host's loopback, each of which lives exactly as long as its service.
//!
//! Whoever starts a service asks first, on a control connection that stays open:
//!
//! 1. [`super::Control::Publish`]: all ports are bound, or none, and the answer says which;
//! 2. the service is started in the guest;
//! 3. [`Confirm`], with the id of its process: the guest is asked to tell of the end of that service, and from then on
//!    connections are accepted, each of which is a call into the guest.
//!
//! A connection that closes before the third step unpublishes. So does the end of the service, of the guest, and of this process.

use super::connection::{Visitor, carry};
use super::messages::{receive, send};
use super::relay::MAX_CALLS;
use super::serve::BREATHER;
use super::{Confirm, Confirmed, Publication, PublishAnswer};
use crate::workspace::{PublishPort, PublishedPort};
use pyro_protocol::limits::MAX_SERVICES;
use pyro_vmm::guest::{AwaitedService, MAX_OPEN_CALLS, ServiceStatus};
use pyro_vmm::{Guest, VmmError};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpSocket, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Most published ports of a workspace.
const MAX_PORTS: usize = 64;
/// Connections carried at the same time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 224;
/// Those of one service: what does not answer is not to take the others' share.
const MAX_CONNECTIONS_OF_ONE: usize = 208;
/// Calls of the supervisor's own, beyond one for each service.
const OWN_CALLS: usize = 16;
/// Connections that may wait at a port to be accepted.
const BACKLOG: u32 = 1024;
/// How long starting a service may take between the two things that a client says.
const CONFIRMATION_PATIENCE: Duration = Duration::from_mins(1);
/// How long the guest may take to say what runs in it.
const LIST_DEADLINE: Duration = Duration::from_secs(10);
/// How long the listeners of a service that has ended may take to be gone.
const UNPUBLISH_PATIENCE: Duration = Duration::from_secs(2);

// However many connections there are, everybody else's calls find room. Descriptors: with those below the usual limit of 1024; a
// guest with a network has it raised.
const _: () = assert!(MAX_CALLS + MAX_CONNECTIONS + MAX_SERVICES + OWN_CALLS <= MAX_OPEN_CALLS);
const _: () = assert!(MAX_CALLS + MAX_CONNECTIONS + 2 * MAX_PORTS + 64 <= 1024);

/// What is published, and what carries it. Cloning shares it.
#[derive(Clone)]
pub(super) struct Publisher {
    guests: watch::Receiver<Option<Guest>>,
    is_allowed: bool,
    connections: Arc<Semaphore>,
    published: Arc<watch::Sender<Vec<Entry>>>,
    numbers: Arc<AtomicU64>,
}

struct Entry {
    number: u64,
    service: String,
    /// Known once the service has been started.
    pid: Option<u32>,
    ports: Vec<PublishedPort>,
}

/// The listeners of one service.
struct Bound {
    listeners: Vec<(TcpListener, u16)>,
    // After them: what is not listed is not bound.
    listed: Listed,
}

/// What is listed for as long as this lives.
struct Listed {
    number: u64,
    published: Arc<watch::Sender<Vec<Entry>>>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.published.send_modify(|entries| entries.retain(|entry| entry.number != self.number));
    }
}

impl Publisher {
    /// `is_allowed`: services of this workspace may be published.
    pub(super) fn new(guests: watch::Receiver<Option<Guest>>, is_allowed: bool) -> Self {
        Self {
            guests,
            is_allowed,
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            published: Arc::new(watch::Sender::new(Vec::new())),
            numbers: Arc::default(),
        }
    }

    /// What is published.
    pub(super) fn published(&self) -> Vec<Publication> {
        let entries = self.published.borrow();
        let confirmed = entries.iter().filter_map(|entry| {
            let (pid, ports) = (entry.pid?, entry.ports.clone());
            Some(Publication { service: entry.service.clone(), pid, ports })
        });
        confirmed.collect()
    }

    /// Waits until nothing of a service is published, unless the guest says that it has not ended.
    pub(super) async fn unpublished(&self, service: &str) {
        let mut published = self.published.subscribe();
        let gone = published
            .wait_for(|entries| !entries.iter().any(|entry| entry.pid.is_some() && entry.service == service));
        let _not_yet = timeout(UNPUBLISH_PATIENCE, gone).await;
    }

    /// Waits until nothing is published, once there is no guest.
    pub(super) async fn settled(&self) {
        let mut published = self.published.subscribe();
        let _not_yet = timeout(UNPUBLISH_PATIENCE, published.wait_for(Vec::is_empty)).await;
    }

    /// Does what a client asks for until the service has ended.
    pub(super) async fn publish(
        self,
        client: BufReader<UnixStream>,
        service: String,
        ports: Vec<PublishPort>,
    ) {
        let mut guests = self.guests.clone();
        tokio::select! {
            () = self.serve(client, service, ports) => {}
            // The sender goes with the supervisor.
            _ = guests.wait_for(Option::is_none) => {}
        }
    }

    async fn serve(self, mut client: BufReader<UnixStream>, service: String, ports: Vec<PublishPort>) {
        // One of that name may just have ended.
        self.unpublished(&service).await;
        let bound = match self.bind(&service, &ports) {
            Ok(bound) => bound,
            Err(refusal) => {
                // Whoever does not wait for the answer does not need it.
                let _unheard = send(&mut client, &refusal).await;
                return;
            }
        };
        let answer = PublishAnswer::Bound { ports: bound.ports() };
        if send(&mut client, &answer).await.is_err() {
            return;
        }
        let confirmed = timeout(CONFIRMATION_PATIENCE, receive(&mut client)).await;
        let Ok(Ok(Confirm { pid })) = confirmed else { return };
        let Some(guest) = self.guests.borrow().clone() else { return };
        let Ok(Some(awaited)) = watched(&guest, &service, pid).await else {
            let _unheard = send(&mut client, &Confirmed { published: false }).await;
            return;
        };
        bound.confirm(pid);
        let _unheard = send(&mut client, &Confirmed { published: true }).await;
        drop(client);
        let share = Arc::new(Semaphore::new(MAX_CONNECTIONS_OF_ONE));
        let accepting =
            bound.listeners.iter().map(|(listener, port)| self.accept(&guest, &share, listener, *port));
        tokio::select! {
            _ended = awaited.ended() => {}
            _never = futures::future::join_all(accepting) => {}
        }
    }

    fn bind(&self, service: &str, ports: &[PublishPort]) -> Result<Bound, PublishAnswer> {
        if !self.is_allowed {
            return Err(PublishAnswer::NotAllowed);
        }
        let present = {
            let entries = self.published.borrow();
            if entries.iter().any(|entry| entry.pid.is_some() && entry.service == service) {
                return Err(PublishAnswer::ServiceExists);
            }
            entries.iter().map(|entry| entry.ports.len()).sum::<usize>()
        };
        if present + ports.len() > MAX_PORTS {
            return Err(PublishAnswer::TooMany { max: MAX_PORTS });
        }
        let (mut listeners, mut bound) = (Vec::new(), Vec::new());
        for port in ports {
            let wanted = port.host_port.unwrap_or_default();
            let listening = listen(wanted).and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
            let (host_port, listener) = listening.map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => PublishAnswer::PortInUse { port: wanted },
                io::ErrorKind::PermissionDenied => PublishAnswer::PortForbidden { port: wanted },
                _ => PublishAnswer::Failed { message: error.to_string() },
            })?;
            listeners.push((listener, port.guest_port));
            bound.push(PublishedPort::new(host_port, port.guest_port));
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { number, service: service.to_owned(), pid: None, ports: bound };
        self.published.send_modify(|entries| entries.push(entry));
        let listed = Listed { number, published: Arc::clone(&self.published) };
        Ok(Bound { listeners, listed })
    }

    /// Accepts connections to a port, without end.
    async fn accept(&self, guest: &Guest, share: &Arc<Semaphore>, listener: &TcpListener, guest_port: u16) {
        loop {
            let Ok((client, _)) = listener.accept().await else {
                // Too many open files: those who have some will close them.
                tokio::time::sleep(BREATHER).await;
                continue;
            };
            let visitor = Visitor::new(client);
            let Ok(own) = Arc::clone(share).acquire_owned().await else { return };
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else { return };
            let guest = guest.clone();
            // It ends with either of its ends: what a service has sent before it ended still arrives.
            tokio::spawn(async move {
                carry(&guest, visitor, guest_port).await;
                drop((own, permit));
            });
        }
    }
}

impl Bound {
    fn ports(&self) -> Vec<PublishedPort> {
        let entries = self.listed.published.borrow();
        let own = entries.iter().find(|entry| entry.number == self.listed.number);
        own.map(|entry| entry.ports.clone()).unwrap_or_default()
    }

    fn confirm(&self, pid: u32) {
        self.listed.published.send_modify(|entries| {
            for entry in entries.iter_mut().filter(|entry| entry.number == self.listed.number) {
                entry.pid = Some(pid);
            }
        });
    }
}

/// The service of that name and process, if it has not ended.
async fn watched(guest: &Guest, service: &str, pid: u32) -> Result<Option<AwaitedService>, VmmError> {
    // The guest takes calls in their order: where the list shows that process, it is its end that is waited for.
    let awaited = guest.await_service(service).await?;
    let present = guest.list_services(LIST_DEADLINE).await?;
    let is_up = |status| matches!(status, ServiceStatus::Starting | ServiceStatus::Running);
    let is_it = present.iter().any(|state| state.name == service && state.pid == pid && is_up(state.status));
    Ok(is_it.then_some(awaited))
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections of a service before may still be remembered.
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher(is_allowed: bool) -> Publisher {
        let (_guests, at_present) = watch::channel(None);
        Publisher::new(at_present, is_allowed)
    }

    fn chosen(guest_port: u16) -> PublishPort {
        PublishPort { host_port: None, guest_port }
    }

    #[tokio::test]
    async fn ports_are_bound_all_or_none() {
        let publisher = publisher(true);
        let bound = publisher.bind("one", &[chosen(80), chosen(81)]).ok().unwrap();
        let [first, second] = <[PublishedPort; 2]>::try_from(bound.ports()).unwrap();
        assert_eq!((first.guest_port, second.guest_port), (80, 81));
        assert!(publisher.published().is_empty(), "it is not confirmed");
        let taken = PublishPort { host_port: Some(second.host_port), guest_port: 80 };
        let free = PublishPort { host_port: Some(first.host_port), guest_port: 80 };
        let refused = publisher.bind("two", &[chosen(80), taken]).err();
        assert!(matches!(refused, Some(PublishAnswer::PortInUse { port }) if port == second.host_port));
        bound.confirm(7);
        assert_eq!(publisher.published().len(), 1);
        assert!(matches!(publisher.bind("one", &[chosen(80)]).err(), Some(PublishAnswer::ServiceExists)));
        drop(bound);
        assert!(publisher.published().is_empty());
        let again = publisher.bind("two", &[free, taken]).ok().unwrap();
        assert_eq!(again.ports().len(), 2, "nothing of it is bound any more");
    }

    #[tokio::test]
    async fn there_is_a_limit_and_a_policy() {
        let refused = publisher(false).bind("one", &[chosen(80)]).err();
        assert!(matches!(refused, Some(PublishAnswer::NotAllowed)));
        let publisher = publisher(true);
        let many: Vec<_> = (1..=64).map(chosen).collect();
        let bound = publisher.bind("one", &many).ok().unwrap();
        let refused = publisher.bind("two", &[chosen(80)]).err();
        assert!(matches!(refused, Some(PublishAnswer::TooMany { max: 64 })));
        drop(bound);
        assert!(publisher.bind("two", &[chosen(80)]).is_ok());
    }
}
