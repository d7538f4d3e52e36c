//! The composition root and the life of the process: what is started in which order, and how it ends.
//!
//! In: a [`Configuration`]. Out: a running [`Gateway`]. This room puts the others together and must never do any of
//! their work.
//!
//! # Start
//! The process gives up what it does not need (`sandbox`). The access log opens, every socket is bound or taken over
//! from the service manager or from the process before (`passed`), upstreams resolve their names, the admin listener
//! opens, and only then is anything accepted and `/readyz` says so. A file or a socket that cannot be opened ends the
//! start before a single request was taken; a name that does not resolve does not. The service manager is told of this
//! and of all that follows (`systemd`).
//!
//! # In between
//! Another configuration can be [applied](Gateway::apply) at any time: everything that can fail is done beside what
//! runs, then the snapshot is swapped, and then listeners begin and end. Requests keep the snapshot that they began
//! under; what is not defined otherwise than before stays as it is. An old snapshot is taken apart once nobody uses
//! it, away from the threads that serve.
//!
//! Once a second the files of certificates are looked at, and listeners take up what has changed. That task ends
//! with the accepting.
//!
//! A new program can take the place of this one: see `upgrade`.
//!
//! # End
//! `/readyz` turns 503, and after `drain_delay` listeners stop accepting. HTTP/1.1 clients are told with their next
//! response and HTTP/2 clients at once that they should go; connections on which nothing is asked for are closed after
//! three seconds. Requests in flight have `shutdown_grace` to end. The process ends with the last of them, and after
//! the grace with a word to those that can be told: see `listener::drain`.

mod admin_listener;
mod beside;
mod files;
mod last_good;
mod listeners;
mod orders;
mod overload;
mod passed;
mod reload;
mod renewal;
mod run;
mod sandbox;
mod starting;
mod status;
mod succession;
mod systemd;
mod upgrade;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admin::{self, Command};
use crate::config::{Configuration, Settings};
use crate::listener::{AllClosed, LAST_WORDS as FAREWELL, OpenConnections};
use crate::observability::{AccessLog, AccessLogConfig, Metrics};
use crate::proxy::Proxy;
use crate::routing::Snapshot;
use crate::text::BindAddress;
use crate::upstream::Upstream;

use admin_listener::AdminListener;
use last_good::Serving;
use listeners::Listeners;
use overload::Sensors;
use passed::Passed;
use starting::Prepared;

pub use crate::admin::{
    BreakerShown, BroadcastShown, CacheShown, CanaryShown, DiskShown, EntryShown, InUseKind,
    InUseShown, KeyShown, LimitShown, OrderProblem, Outcome, OverrideShown, Purged, Report,
    RuleShown, Shown, StandingShown,
};
pub use passed::PassedError;
pub use run::{RunError, run};
pub use upgrade::{InheritError, Unproven};

/// For the admin listener to finish its replies, and for the access log to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// For the cache's disk to be opened or closed, which takes a second where it is a slow one.
const DISK_PATIENCE: Duration = Duration::from_secs(5);

/// Why the gateway could not start, or why a configuration could not be applied.
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

impl StartError {
    /// Whether it is something that the process may not do, which it may have given up itself.
    fn is_denied(&self) -> bool {
        let (StartError::Bind { cause, .. }
        | StartError::BindAdmin { cause, .. }
        | StartError::AccessLog(cause)) = self;
        cause.kind() == io::ErrorKind::PermissionDenied
    }
}

/// A running gateway. Dropping it ends it at once; [`Gateway::stop`] lets requests end.
pub struct Gateway {
    snapshot: Arc<ArcSwap<Snapshot>>,
    metrics: Metrics,
    is_ready: Arc<AtomicBool>,
    listeners: Listeners,
    admin: AdminListener,
    settings: Settings,
    /// What some of the settings stay until the end.
    started_with: Settings,
    /// Logs that were replaced; the last lines may still be on their way.
    former_logs: Vec<Weak<AccessLog>>,
    commands: Option<mpsc::Receiver<Command>>,
    stop_tasks: watch::Sender<bool>,
    tasks: JoinSet<()>,
    serving: Serving,
    retired: mpsc::UnboundedSender<Arc<Snapshot>>,
    sensors: Sensors,
    workers: usize,
    /// One for each time that it began to accept.
    closing: Vec<AllClosed>,
}

impl Gateway {
    /// Starts everything on the current runtime; `workers` is how many threads that has.
    pub async fn start(
        configuration: Configuration,
        metrics: Metrics,
        workers: usize,
    ) -> Result<Gateway, StartError> {
        let passed = Passed::default();
        let prepared = Gateway::prepare(configuration, metrics, workers, passed).await?;
        Ok(prepared.begin())
    }

    /// Does all that belongs to a start but to accept. Sockets that were passed are used where they fit.
    async fn prepare(
        configuration: Configuration,
        metrics: Metrics,
        workers: usize,
        mut passed: Passed,
    ) -> Result<Prepared, StartError> {
        let Configuration {
            mut snapshot,
            settings,
            archive,
            origin,
            quarantined,
            files: _,
        } = configuration;
        snapshot.access_log = open_log(settings.access_log.as_ref(), &metrics)?;
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let engine = Proxy::new(snapshot.clone()).into_engine(workers, settings.keepalive_pool);
        let (open, all_closed) = OpenConnections::new();
        let is_ready = Arc::new(AtomicBool::new(false));
        let (command, commands) = mpsc::channel(admin::MAX_COMMANDS);
        let (retired, taken_apart) = mpsc::unbounded_channel();
        let serving = Serving::default();
        let mut gateway = Gateway {
            listeners: Listeners::new(engine, open),
            admin: AdminListener::new(admin::State {
                snapshot: snapshot.clone(),
                metrics: metrics.clone(),
                is_ready: is_ready.clone(),
                command,
                serving: serving.shown.subscribe(),
            }),
            snapshot,
            metrics,
            is_ready,
            started_with: settings.clone(),
            former_logs: Vec::new(),
            settings,
            commands: Some(commands),
            stop_tasks: watch::Sender::new(false),
            tasks: JoinSet::new(),
            serving,
            retired,
            sensors: Sensors::default(),
            workers,
            closing: vec![all_closed],
        };
        let first = gateway.snapshot();
        let doors = gateway.doors(&first, &gateway.settings, &mut passed)?;
        passed.close();
        first.identity.start();
        prepare(&first.upstreams, None).await;
        first.show_canaries(None);
        gateway.keep_cache(&first).await;
        gateway.tasks.spawn(renewal::renew_certificates(
            gateway.snapshot.clone(),
            gateway.stop_tasks.subscribe(),
        ));
        gateway.sensors.follow(&gateway.snapshot, workers).await;
        gateway.tasks.spawn(reload::take_apart(taken_apart));
        gateway.tasks.spawn(gateway.serving.keep_each());
        Ok(Prepared {
            gateway,
            doors,
            archive,
            origin,
            quarantined,
        })
    }

    /// Has the cache open its disk and keep it. Waits until it is open, or cannot be: nothing is asked for twice for want of a moment.
    async fn keep_cache(&mut self, first: &Snapshot) {
        first.cache.apply(&first.cache_settings);
        self.tasks.spawn(first.cache.clone().keep());
        let is_open = first.cache.disk_settled();
        if tokio::time::timeout(DISK_PATIENCE, is_open).await.is_err() {
            log::warn!("cache: the disk is not open yet; serving without it until it is");
        }
    }

    /// Serves another configuration from now on. Where that cannot be, everything is as it was.
    ///
    /// `settings.workers` and `settings.keepalive_pool` stay what they were at the start.
    pub async fn apply(&mut self, configuration: Configuration) -> Result<(), StartError> {
        let Configuration {
            mut snapshot,
            settings,
            archive,
            origin,
            quarantined,
            files: _,
        } = configuration;
        let before = self.snapshot.load_full();
        snapshot.access_log = match settings.access_log == self.settings.access_log {
            true => before.access_log.clone(),
            false => {
                let former = before.access_log.iter().map(Arc::downgrade);
                self.former_logs.extend(former);
                self.former_logs.retain(|log| log.strong_count() > 0);
                open_log(settings.access_log.as_ref(), &self.metrics)?
            }
        };
        let doors = self.doors(&snapshot, &settings, &mut Passed::default())?;
        let is_new = |upstream: &&Arc<Upstream>| {
            let same = before.upstream(upstream.name());
            same.is_none_or(|same| !Arc::ptr_eq(same, upstream))
        };
        if !Arc::ptr_eq(&snapshot.identity, &before.identity) {
            snapshot.identity.start();
        }
        prepare(snapshot.upstreams.iter().filter(is_new), Some(&before)).await;
        snapshot.follow(&before);
        for upstream in snapshot.upstreams.iter().filter(is_new) {
            if let Some(before) = before.upstream(upstream.name()) {
                upstream.take_orders(before);
            }
        }
        snapshot.show_canaries(Some(&before));
        snapshot.cache.apply(&snapshot.cache_settings);
        self.snapshot.store(Arc::new(snapshot));
        self.sensors.follow(&self.snapshot, self.workers).await;
        self.settings = settings;
        self.open(doors);
        let now = self.snapshot.load();
        for upstream in &before.upstreams {
            let successor = now.upstream(upstream.name());
            if successor.is_none_or(|it| !Arc::ptr_eq(it, upstream)) {
                upstream.retire(successor.map(|it| &**it));
            }
        }
        drop(now);
        self.serves(archive, origin, quarantined);
        // Nobody is there to take it apart only where the gateway has ended.
        let _ = self.retired.send(before);
        Ok(())
    }

    /// What runs now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Each listener's address; a port 0 has become a real one.
    pub fn addresses(&self) -> Vec<(Box<str>, BindAddress)> {
        self.listeners.addresses()
    }

    pub fn admin_address(&self) -> Option<BindAddress> {
        self.admin.address()
    }

    /// What operators ask for by the admin listener; once. Whoever takes it is to answer.
    pub fn take_commands(&mut self) -> Option<mpsc::Receiver<Command>> {
        self.commands.take()
    }

    /// Stops: no new requests, and as long as the grace lasts for those in flight. True where all of them ended.
    pub async fn stop(mut self) -> bool {
        self.is_ready.store(false, Ordering::Relaxed);
        tokio::time::sleep(self.settings.drain_delay).await;
        self.listeners.drain(self.settings.shutdown_grace);
        let is_drained = self.drained().await;
        self.finish().await;
        is_drained
    }

    /// Waits for connections to end, for as long as the grace lasts, and then has them end. True where all of them
    /// have ended by themselves.
    async fn drained(&mut self) -> bool {
        let closing = &mut self.closing;
        let mut all_closed = std::pin::pin!(async {
            for all_closed in closing {
                all_closed.wait().await;
            }
        });
        let grace = self.settings.shutdown_grace;
        let is_drained = tokio::time::timeout(grace, &mut all_closed).await.is_ok();
        if !is_drained {
            self.listeners.end();
            // Each connection sees to that; the time is for those that the runtime comes to late.
            let _ = tokio::time::timeout(2 * FAREWELL, all_closed).await;
        }
        is_drained
    }

    /// Ends what is left once connections have ended.
    async fn finish(mut self) {
        // Nobody purges any more when the disk is closed.
        self.admin.stop(LAST_WORDS).await;
        let limits = self.snapshot.load().limits.clone();
        let _ = tokio::time::timeout(LAST_WORDS, limits.tell_stores()).await;
        // Not before: what is changed by the last requests is purged for good.
        let cache = self.snapshot.load().cache.clone();
        match cache.tell_others(LAST_WORDS).await {
            0 => {}
            count => log::warn!("cache: {count} purges were not told to other gateways"),
        }
        cache.release_disk();
        if tokio::time::timeout(DISK_PATIENCE, cache.disk_settled())
            .await
            .is_err()
        {
            log::warn!("cache: the disk could not be closed in time");
        }
        self.stop_tasks.send_replace(true);
        self.tasks.abort_all();
        let present = self.snapshot.load().access_log.clone();
        let former = self.former_logs.iter().filter_map(Weak::upgrade);
        for log in former.chain(present) {
            log.stop(LAST_WORDS).await;
        }
    }

    /// Binds what is not bound yet, for all that this configuration serves on.
    fn doors(
        &self,
        snapshot: &Snapshot,
        settings: &Settings,
        passed: &mut Passed,
    ) -> Result<Doors, StartError> {
        let listeners = snapshot.listeners.iter().map(|view| &view.listener);
        let of_admin: Vec<_> = self.admin.door().into_iter().map(|it| it.1).collect();
        let sockets = self
            .listeners
            .sockets(listeners.clone(), &of_admin, passed)?;
        let of_listeners: Vec<_> = self.listeners.doors().into_iter().map(|it| it.1).collect();
        let admin = match &settings.admin {
            None => None,
            Some(admin) => {
                let socket = self.admin.socket(admin, &of_listeners, passed)?;
                Some((admin.clone(), socket))
            }
        };
        Ok(Doors {
            listeners: listeners.cloned().zip(sockets).collect(),
            admin,
        })
    }

    fn open(&mut self, doors: Doors) {
        self.admin.serve(doors.admin);
        let grace = self.settings.shutdown_grace;
        self.listeners.serve(doors.listeners, grace);
        self.metrics.config_loaded_at(seconds_now());
    }
}

/// What a configuration serves on, and the sockets for it.
struct Doors {
    listeners: Vec<(Arc<crate::listener::Listener>, Arc<crate::listener::Socket>)>,
    admin: Option<(Arc<admin::Admin>, Arc<crate::listener::Socket>)>,
}

fn open_log(
    config: Option<&AccessLogConfig>,
    metrics: &Metrics,
) -> Result<Option<Arc<AccessLog>>, StartError> {
    let Some(config) = config else {
        return Ok(None);
    };
    let log = AccessLog::start(config, metrics.access_log_dropped());
    log.map(|log| Some(Arc::new(log)))
        .map_err(StartError::AccessLog)
}

/// Takes upstreams into service, all at once, in place of those that had their names before.
async fn prepare<'u>(
    upstreams: impl IntoIterator<Item = &'u Arc<Upstream>>,
    before: Option<&Snapshot>,
) {
    let mut preparing = JoinSet::new();
    for upstream in upstreams {
        let upstream = upstream.clone();
        let before = before.and_then(|it| it.upstream(upstream.name()).cloned());
        preparing.spawn(async move { upstream.prepare(before.as_deref()).await });
    }
    while preparing.join_next().await.is_some() {}
}

fn seconds_now() -> f64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
