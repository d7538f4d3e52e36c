//! The composition root and the life of the process: what is started in which order, and how it ends.
//!
//! In: a [`Configuration`]. Out: a running [`Gateway`]. This room puts the others together and must never do any of
//! their work.
//!
//! # Start
//! The process gives up what it does not need (`sandbox`). The access log opens, every socket is bound, upstreams
//! resolve their names, the admin listener opens, and only then is anything accepted and `/readyz` says so. A file
//! or a socket that cannot be opened ends the start before a single request was taken; a name that does not resolve
//! does not.
//!
//! # In between
//! Once a second the files of certificates are looked at, and listeners take up what has changed. That task ends
//! with the accepting.
//!
//! # End
//! `/readyz` turns 503, and after `drain_delay` listeners stop accepting. HTTP/1.1 clients are told with their next
//! response and HTTP/2 clients at once that they should go; connections on which nothing is asked for are closed after
//! three seconds. Requests in flight have `shutdown_grace` to end. The process ends with the last of them, and after
//! the grace with a word to those that can be told: see [`Drain`].

mod renewal;
mod run;
mod sandbox;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin;
use crate::config::Configuration;
use crate::listener::{
    self, AllClosed, Drain, LAST_WORDS as FAREWELL, OpenConnections, Serve, Socket,
};
use crate::observability::{AccessLog, Metrics};
use crate::proxy::{Engine, Proxy};
use crate::routing::Snapshot;
use crate::text::BindAddress;

pub use run::{RunError, run};

/// For the admin listener to finish its replies, and for the access log to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("listener {name}: cannot bind {address}: {cause}")]
    Bind {
        name: Box<str>,
        address: BindAddress,
        cause: io::Error,
    },
    #[error("admin: cannot bind {address}: {cause}")]
    BindAdmin {
        address: BindAddress,
        cause: io::Error,
    },
    #[error("access log: {0}")]
    AccessLog(io::Error),
}

/// A running gateway. Dropping it ends it at once; [`Gateway::stop`] lets requests end.
pub struct Gateway {
    snapshot: Arc<ArcSwap<Snapshot>>,
    engine: Arc<Engine>,
    access_log: Option<Arc<AccessLog>>,
    is_ready: Arc<AtomicBool>,
    stop_accepting: watch::Sender<bool>,
    stop_admin: watch::Sender<bool>,
    open: OpenConnections,
    all_closed: AllClosed,
    tasks: JoinSet<()>,
    addresses: Vec<(Box<str>, BindAddress)>,
    admin_address: Option<BindAddress>,
    drain: Arc<Drain>,
    drain_delay: Duration,
    shutdown_grace: Duration,
}

impl Gateway {
    /// Starts everything on the current runtime; `workers` is how many threads that has.
    pub async fn start(
        configuration: Configuration,
        metrics: Metrics,
        workers: usize,
    ) -> Result<Gateway, StartError> {
        let Configuration { snapshot, settings } = configuration;
        let access_log = match &settings.access_log {
            None => None,
            Some(config) => {
                let dropped = metrics.access_log_dropped();
                Some(Arc::new(
                    AccessLog::start(config, dropped).map_err(StartError::AccessLog)?,
                ))
            }
        };
        let sockets = bind_all(&snapshot)?;
        let admin = match settings.admin {
            None => None,
            Some(admin) => match listener::bind(&admin.bind) {
                Ok(socket) => Some((admin, socket)),
                Err(cause) => {
                    return Err(StartError::BindAdmin {
                        address: admin.bind,
                        cause,
                    });
                }
            },
        };
        prepare(&snapshot).await;
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let engine = Proxy::new(snapshot.clone(), access_log.clone())
            .into_engine(workers, settings.keepalive_pool);
        let (open, all_closed) = OpenConnections::new();
        let mut gateway = Gateway {
            snapshot,
            engine,
            access_log,
            is_ready: Arc::new(AtomicBool::new(false)),
            stop_accepting: watch::Sender::new(false),
            stop_admin: watch::Sender::new(false),
            open,
            all_closed,
            tasks: JoinSet::new(),
            addresses: Vec::new(),
            admin_address: None,
            drain: Drain::new(),
            drain_delay: settings.drain_delay,
            shutdown_grace: settings.shutdown_grace,
        };
        if let Some((admin, socket)) = admin {
            gateway.open_admin(admin, socket, &metrics);
        }
        gateway.accept(sockets);
        gateway.tasks.spawn(renewal::renew_certificates(
            gateway.snapshot.clone(),
            gateway.stop_accepting.subscribe(),
        ));
        metrics.config_loaded_at(seconds_now());
        gateway.is_ready.store(true, Ordering::Relaxed);
        Ok(gateway)
    }

    /// Each listener's address; a port 0 has become a real one.
    pub fn addresses(&self) -> &[(Box<str>, BindAddress)] {
        &self.addresses
    }

    pub fn admin_address(&self) -> Option<&BindAddress> {
        self.admin_address.as_ref()
    }

    /// Stops: no new requests, and as long as the grace lasts for those in flight. True where all of them ended.
    pub async fn stop(mut self) -> bool {
        self.is_ready.store(false, Ordering::Relaxed);
        tokio::time::sleep(self.drain_delay).await;
        self.stop_accepting.send_replace(true);
        self.drain.begin(self.shutdown_grace);
        drop(self.open);
        let drained = tokio::time::timeout(self.shutdown_grace, self.all_closed.wait());
        let is_drained = drained.await.is_ok();
        if !is_drained {
            self.drain.end();
            // Each connection sees to that; the time is for those that the runtime comes to late.
            let _ = tokio::time::timeout(2 * FAREWELL, self.all_closed.wait()).await;
        }
        self.stop_admin.send_replace(true);
        // Whoever holds a connection to the admin listener open must not hold the process.
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, ended).await.is_err() {
            self.tasks.abort_all();
        }
        if let Some(log) = &self.access_log {
            log.stop(LAST_WORDS).await;
        }
        is_drained
    }

    fn accept(&mut self, sockets: Vec<Socket>) {
        let snapshot = self.snapshot.load_full();
        for (view, socket) in snapshot.listeners.iter().zip(sockets) {
            let listener = view.listener.clone();
            let address = socket
                .local_address()
                .unwrap_or_else(|_| listener.bind.clone());
            log::info!("listener {}: serving {address}", listener.name);
            self.addresses.push((listener.name.clone(), address));
            let server: Arc<dyn Serve> = self.engine.clone();
            self.tasks.spawn(listener::accept(
                socket,
                listener,
                server,
                self.open.clone(),
                self.drain.clone(),
            ));
        }
    }

    fn open_admin(&mut self, admin: admin::Admin, socket: Socket, metrics: &Metrics) {
        let address = socket
            .local_address()
            .unwrap_or_else(|_| admin.bind.clone());
        log::info!("admin: serving {address}");
        self.admin_address = Some(address);
        let state = admin::State {
            snapshot: self.snapshot.clone(),
            metrics: metrics.clone(),
            is_ready: self.is_ready.clone(),
        };
        let shutdown = self.stop_admin.subscribe();
        self.tasks
            .spawn(admin::serve(admin, socket, state, shutdown));
    }
}

fn bind_all(snapshot: &Snapshot) -> Result<Vec<Socket>, StartError> {
    let bind = |view: &crate::routing::View| {
        let listener = &view.listener;
        listener::bind(&listener.bind).map_err(|cause| StartError::Bind {
            name: listener.name.clone(),
            address: listener.bind.clone(),
            cause,
        })
    };
    snapshot.listeners.iter().map(bind).collect()
}

/// Resolves the names of all upstreams at once and starts their background tasks.
async fn prepare(snapshot: &Snapshot) {
    let mut preparing = JoinSet::new();
    for upstream in &snapshot.upstreams {
        let upstream = upstream.clone();
        preparing.spawn(async move {
            upstream.prepare().await;
            upstream.watch();
        });
    }
    while preparing.join_next().await.is_some() {}
}

fn seconds_now() -> f64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
