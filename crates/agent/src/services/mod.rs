//! Services: named commands in the background, each in a process group of its own, with their outputs kept and with a notion of
//! being ready.
//!
//! A task of its own brings each service up, waits for its end, and notes both, whether or not the call that started it is still
//! there. When a service's own process ends, its group is killed: a service that has ended has ended.

mod readiness;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pyro_protocol::limits::{MAX_SERVICE_WAIT, MAX_SERVICES, OUTPUT_LINGER, SERVICE_LOG_BYTES};
use pyro_protocol::v1::{
    Exited, FailureKind, ReadServiceLog, ServiceLog, ServiceState, ServiceStatus, Services, StartService,
    Started, StopService, reply,
};
use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{sleep, timeout};
use tokio::{join, select};

use crate::agent::Agent;
use crate::call::Call;
use crate::exec::{Group, Plan, Running, exited, spawn};
use crate::fail::Fail;
use crate::tail::Tail;
use readiness::{Probe, exec_of};

/// Longest name.
const MAX_NAME_BYTES: usize = 64;
/// How long a service that did not become ready may take to end.
const NOT_READY_GRACE: Duration = Duration::from_secs(3);
/// Shortest time between two looks at whether a service is ready.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
const READ_BYTES: usize = 16 * 1024;

/// The services of a guest, by name.
#[derive(Debug, Default)]
pub struct Registry {
    services: RefCell<BTreeMap<String, Rc<Service>>>,
    started: Cell<u64>,
}

/// One service.
#[derive(Debug)]
struct Service {
    name: String,
    /// How many were started before it.
    order: u64,
    pid: u32,
    /// `None` once it has ended.
    group: RefCell<Option<Group>>,
    stdout: RefCell<Tail>,
    stderr: RefCell<Tail>,
    started_unix_ns: u64,
    ready_unix_ns: Cell<u64>,
    ended_unix_ns: Cell<u64>,
    exited: Cell<Option<Exited>>,
    reason: RefCell<String>,
    is_asked_to_stop: Cell<bool>,
    status: watch::Sender<ServiceStatus>,
}

/// How long a service may take to be ready, and how often to look.
#[derive(Debug, Clone, Copy)]
struct Patience {
    limit: Duration,
    interval: Duration,
}

/// Starts a service, and waits until it is ready or has failed.
pub async fn start(agent: &Rc<Agent>, call: &Call, request: StartService) -> Result<Services, Fail> {
    check_name(&request.name)?;
    let patience = Patience {
        limit: Duration::from_millis(request.ready_timeout_ms).min(MAX_SERVICE_WAIT),
        interval: Duration::from_millis(request.ready_interval_ms).clamp(MIN_INTERVAL, MAX_SERVICE_WAIT),
    };
    let plan = Plan::new(agent, &exec_of(&request))?;
    let probe = Probe::new(agent, &request, &plan)?;
    let registry = &agent.services;
    registry.make_room(&request.name)?;
    let Running { group, exit, stdout, stderr, .. } = spawn(agent, &plan)?;
    let pid = group.leader().as_raw_nonzero().get().unsigned_abs();
    let service = Rc::new(Service {
        name: request.name.clone(),
        order: registry.started.replace(registry.started.get() + 1),
        pid,
        group: RefCell::new(Some(group)),
        stdout: RefCell::new(Tail::new(SERVICE_LOG_BYTES, agent.secrets.filter())),
        stderr: RefCell::new(Tail::new(SERVICE_LOG_BYTES, agent.secrets.filter())),
        started_unix_ns: unix_ns(),
        ready_unix_ns: Cell::new(0),
        ended_unix_ns: Cell::new(0),
        exited: Cell::new(None),
        reason: RefCell::default(),
        is_asked_to_stop: Cell::new(false),
        status: watch::Sender::new(ServiceStatus::Starting),
    });
    registry.services.borrow_mut().insert(request.name, Rc::clone(&service));
    let (ours, agents) = (Rc::clone(&service), Rc::clone(agent));
    spawn_local(async move {
        let begun = Instant::now();
        let printing = async {
            join!(keep(&ours.stdout, stdout), keep(&ours.stderr, stderr));
        };
        tokio::pin!(printing);
        let ending = async {
            let status = exit.await;
            if let Some(group) = ours.group.take() {
                group.kill_rest();
            }
            status.ok().map(|status| exited(status, false, begun.elapsed(), false))
        };
        let bringing_up = ours.bring_up(&agents, &probe, patience);
        let exited = async {
            tokio::pin!(ending);
            select! {
                biased;
                // Whatever is being looked at then is of no matter any more.
                exited = &mut ending => exited,
                () = bringing_up => ending.await,
            }
        };
        tokio::pin!(exited);
        let exited = select! {
            exited = &mut exited => {
                let _ = timeout(OUTPUT_LINGER, &mut printing).await;
                exited
            }
            () = &mut printing => exited.await,
        };
        ours.stdout.borrow_mut().finish();
        ours.stderr.borrow_mut().finish();
        ours.note_end(exited);
    });
    call.send(reply::Reply::Started(Started { pid })).await?;
    let mut status = service.status.subscribe();
    // The sender lives in the service.
    let _ = status.wait_for(|status| *status != ServiceStatus::Starting).await;
    Ok(Services { services: vec![service.state()] })
}

fn check_name(name: &str) -> Result<(), Fail> {
    let is_sound = !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let malformed = "a name has 1 to 64 letters, digits, `.`, `_` and `-`";
    if is_sound { Ok(()) } else { Err(Fail::invalid(malformed)) }
}

/// Keeps the end of what a service prints.
async fn keep(tail: &RefCell<Tail>, mut pipe: pipe::Receiver) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        tail.borrow_mut().append(&buffer[..count]);
        // A flood must not keep the others waiting.
        yield_now().await;
    }
}

fn unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

impl Registry {
    /// Makes room for a service of that name.
    fn make_room(&self, name: &str) -> Result<(), Fail> {
        let mut services = self.services.borrow_mut();
        if let Some(present) = services.get(name) {
            if present.is_up() {
                return Err(Fail::new(FailureKind::AlreadyExists, "there is a service of that name"));
            }
            services.remove(name);
        }
        if services.len() >= MAX_SERVICES {
            // Those that have ended are only kept to be looked at.
            let ended =
                services.values().filter(|service| !service.is_up()).min_by_key(|service| service.order);
            let Some(ended) = ended.map(|service| service.name.clone()) else {
                let full = format!("there are {MAX_SERVICES} services already");
                return Err(Fail::new(FailureKind::Exhausted, full));
            };
            services.remove(&ended);
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Rc<Service>, Fail> {
        let missing = || Fail::new(FailureKind::NotFound, "there is no such service");
        self.services.borrow().get(name).cloned().ok_or_else(missing)
    }

    /// All of them, in the order in which they were started.
    pub fn list(&self) -> Services {
        let mut services: Vec<_> = self.services.borrow().values().cloned().collect();
        services.sort_unstable_by_key(|service| service.order);
        Services { services: services.iter().map(|service| service.state()).collect() }
    }
}

impl Service {
    fn is_up(&self) -> bool {
        self.exited.get().is_none() && self.ended_unix_ns.get() == 0
    }

    fn state(&self) -> ServiceState {
        ServiceState {
            name: self.name.clone(),
            status: (*self.status.borrow()).into(),
            pid: self.pid,
            started_unix_ns: self.started_unix_ns,
            ready_unix_ns: self.ready_unix_ns.get(),
            ended_unix_ns: self.ended_unix_ns.get(),
            exited: self.exited.get(),
            reason: self.reason.borrow().clone(),
        }
    }

    /// Waits until it is ready, or ends it when it takes too long. Returns at once when it has ended.
    async fn bring_up(&self, agent: &Rc<Agent>, probe: &Probe, patience: Patience) {
        let interval = probe.interval(patience.interval);
        let looking = async {
            while self.group.borrow().is_some() {
                if probe.look(agent).await {
                    // Something else may have answered for it.
                    return self.group.borrow().is_some();
                }
                sleep(interval).await;
            }
            false
        };
        match timeout(patience.limit, looking).await {
            Ok(true) => {
                self.ready_unix_ns.set(unix_ns());
                self.status.send_replace(ServiceStatus::Running);
            }
            Ok(false) => {}
            Err(_late) => {
                self.reason.replace(format!("it was not ready within {} ms", patience.limit.as_millis()));
                self.end(NOT_READY_GRACE).await;
            }
        }
    }

    /// TERM, and KILL for what has not ended after `grace`.
    async fn end(&self, grace: Duration) {
        let signal = |signal| {
            if let Some(group) = &*self.group.borrow() {
                group.signal(signal);
            }
        };
        signal(Signal::TERM);
        // A stopped one would not see it.
        signal(Signal::CONT);
        let deadline = Instant::now() + grace;
        while self.group.borrow().is_some() && Instant::now() < deadline {
            sleep(MIN_INTERVAL).await;
        }
        signal(Signal::KILL);
    }

    /// Waits until it has ended.
    async fn gone(&self) {
        let mut status = self.status.subscribe();
        // The sender lives in the service.
        let _ = status.wait_for(|_| !self.is_up()).await;
    }

    fn note_end(&self, exited: Option<Exited>) {
        self.exited.set(exited);
        self.ended_unix_ns.set(unix_ns());
        let status = match (self.is_asked_to_stop.get(), self.ready_unix_ns.get()) {
            (true, _) => ServiceStatus::Stopped,
            (false, 0) => ServiceStatus::Failed,
            (false, _) => ServiceStatus::Exited,
        };
        self.status.send_replace(status);
    }
}

/// Sends what a service has printed.
pub async fn log(agent: &Agent, call: &Call, request: &ReadServiceLog) -> Result<(), Fail> {
    let service = agent.services.find(&request.name)?;
    let outputs = [&service.stdout, &service.stderr].map(|tail| tail.borrow().read(0, u64::MAX));
    let [(stdout_missed, stdout), (stderr_missed, stderr)] = outputs;
    let announced = ServiceLog {
        state: Some(service.state()),
        stdout_bytes: stdout.len() as u64,
        stdout_missed,
        stderr_bytes: stderr.len() as u64,
        stderr_missed,
    };
    call.send(reply::Reply::ServiceLog(announced)).await?;
    call.send_data(stdout).await?;
    call.send_data(stderr).await
}

/// Stops a service; returns when it is gone.
pub async fn stop(agent: &Agent, request: &StopService) -> Result<Services, Fail> {
    let service = agent.services.find(&request.name)?;
    if service.is_up() {
        service.is_asked_to_stop.set(true);
        service.end(Duration::from_millis(request.grace_ms).min(MAX_SERVICE_WAIT)).await;
        service.gone().await;
    }
    Ok(Services { services: vec![service.state()] })
}

/// Waits for the end of a service.
pub async fn ended(agent: &Agent, name: &str) -> Result<Services, Fail> {
    let service = agent.services.find(name)?;
    service.gone().await;
    Ok(Services { services: vec![service.state()] })
}
