//! Running as a process: the runtime, and doing what the process is told.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Runtime;

use super::files::Watch;
use super::orders::{Order, Orders, Reply};
use super::passed::{Passed, PassedError};
use super::starting::Prepared;
use super::succession::{Succession, upgrade};
use super::upgrade::{InheritError, Inheritance, Predecessor, Program, Unproven};
use super::{Gateway, LAST_WORDS, StartError, last_good, reload, sandbox, status, systemd};
use crate::admin::Report;
use crate::config::{Configuration, Files, Origin, make_folder};
use crate::observability::Metrics;

/// Why the process ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Passed(#[from] PassedError),
    #[error(transparent)]
    Inherit(#[from] InheritError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("upgrade: {0}")]
    Unproven(#[from] Unproven),
    #[error("upgrade: the configuration has errors")]
    Errors,
    #[error("upgrade: the running gateway has not told this one to serve")]
    NotWanted,
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT, or until another process has taken its place. `ready` is called once requests are
/// served; a second signal ends the process without waiting for those in flight. SIGHUP has the configuration at
/// `path` loaded anew; without a path there is nothing to load. SIGUSR2 has another program take the place of this
/// one.
///
/// Call it before any other thread is started.
pub fn run(
    configuration: Configuration,
    path: Option<PathBuf>,
    metrics: Metrics,
    ready: impl FnOnce(&Gateway),
) -> Result<(), RunError> {
    let program = Program::of_this_process();
    let (inheritance, passed) = match Inheritance::receive()? {
        Some((inheritance, passed)) => (Some(inheritance), passed),
        None => (None, Passed::from_service_manager()?),
    };
    if inheritance.is_some() && configuration.origin != Origin::Files {
        // There is a process that serves what is good.
        return Err(RunError::Errors);
    }
    // The sandbox lets write in it, but not make it.
    if let Some(folder) = &configuration.settings.state_dir {
        last_good::make_folder(folder);
    }
    if let Some(disk) = &configuration.snapshot.cache_settings.disk {
        // Where it cannot be made the cache says so.
        let _ = make_folder(&disk.folder);
    }
    sandbox::enter(&configuration);
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let workers = configuration.settings.workers.unwrap_or_else(available);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("worker")
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let outcome = runtime.block_on(async {
        let mut orders = Orders::new().map_err(RunError::Runtime)?;
        let source = path.map(|path| Source {
            path,
            files: configuration.files.clone(),
        });
        let prepared = Gateway::prepare(configuration, metrics, workers, passed).await?;
        let predecessor = match inheritance {
            Some(inheritance) => Some(succeed(&prepared, inheritance, &mut orders).await?),
            None => None,
        };
        let mut gateway = prepared.begin();
        let is_alone = Arc::new(AtomicBool::new(predecessor.is_none()));
        if let Some(predecessor) = predecessor {
            follow(predecessor, &gateway, is_alone.clone());
        }
        systemd::ready(&status::serving(&gateway.snapshot()));
        let watchdog = tokio::spawn(systemd::watch(workers));
        orders.listen_to(gateway.take_commands());
        ready(&gateway);
        match serve(&mut gateway, source, &program, &mut orders, &is_alone).await {
            Some(is_drained) => {
                tell_end(is_drained);
                gateway.finish().await;
            }
            None => stop(gateway, &mut orders).await,
        }
        watchdog.abort();
        Ok(())
    });
    end(runtime);
    outcome
}

/// What waits for a file or for another process must not hold this one.
fn end(runtime: Runtime) {
    runtime.shutdown_timeout(LAST_WORDS);
}

/// Proves that this process would serve, and waits until it may.
async fn succeed(
    prepared: &Prepared,
    inheritance: Inheritance,
    orders: &mut Orders,
) -> Result<Predecessor, RunError> {
    prepared.prove().await?;
    log::info!("upgrade: ready");
    let may_serve = tokio::task::spawn_blocking(move || inheritance.await_go());
    tokio::select! {
        Ok(Some(predecessor)) = may_serve => Ok(predecessor),
        () = orders.end("this process does not serve yet") => Err(RunError::NotWanted),
        else => Err(RunError::NotWanted),
    }
}

/// Once the process before is gone, the service manager listens to this one.
fn follow(predecessor: Predecessor, gateway: &Gateway, is_alone: Arc<AtomicBool>) {
    let snapshot = gateway.snapshot.clone();
    let wait = move || {
        while let Some(purges) = predecessor.purged() {
            let cache = snapshot.load().cache.clone();
            for purge in &purges {
                cache.purge_as_told(purge);
            }
        }
        is_alone.store(true, Ordering::Relaxed);
        systemd::ready(&status::serving(&snapshot.load()));
    };
    // A thread of its own, because it may take as long as the other one drains.
    let started = std::thread::Builder::new()
        .name("predecessor".into())
        .spawn(wait);
    if let Err(error) = started {
        log::warn!("systemd: is not told once the process before has ended: {error}");
    }
}

const NO_FILE: &str = "this configuration does not come from a file";

/// Where the configuration comes from, and what files that was the last time.
struct Source {
    path: PathBuf,
    files: Files,
}

/// Does what the process is told, one thing after the other, until it is told to end, or until another process serves
/// and nothing is left to do here: then with whether all has ended by itself.
async fn serve(
    gateway: &mut Gateway,
    mut source: Option<Source>,
    program: &Program,
    orders: &mut Orders,
    is_alone: &AtomicBool,
) -> Option<bool> {
    let mut watch = Watch::default();
    let watched = |gateway: &Gateway, source: &Option<Source>| {
        let source = source.as_ref().filter(|_| gateway.settings.watch)?;
        Some(source.files.clone())
    };
    watch.follow(watched(gateway, &source));
    loop {
        let order = tokio::select! {
            order = orders.next() => order,
            () = watch.changed() => {
                log::info!("the files of the configuration have changed");
                Order::Reload(Reply::default())
            }
        };
        match order {
            Order::End => return None,
            Order::Reload(reply) => {
                let source = &mut source;
                unless_ended(orders, load_anew(gateway, source, reply)).await?;
                watch.follow(watched(gateway, source));
            }
            Order::Diff(reply) => {
                let compared = unless_ended(orders, diff(gateway, source.as_ref())).await?;
                // An operator who has gone wants no answer.
                let _ = reply.send(compared);
            }
            // The process before is the main one until it ends, and knows of no other successor than this one.
            Order::Upgrade(reply) if systemd::is_there() && !is_alone.load(Ordering::Relaxed) => {
                reply.refuse(
                    "the process before this one still drains: once more when it has ended",
                );
            }
            Order::Upgrade(reply) => match upgrade(gateway, orders, program, reply).await {
                Succession::Stays => {}
                Succession::Ends => return None,
                Succession::Over { is_drained } => return Some(is_drained),
            },
        }
    }
}

/// Does it, unless the process is told to end meanwhile: files may be on a disk that does not answer. What is given up
/// so has changed nothing.
async fn unless_ended<T>(orders: &mut Orders, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = orders.told_to_end() => None,
    }
}

async fn load_anew(gateway: &mut Gateway, source: &mut Option<Source>, reply: Reply) {
    let Some(source) = source else {
        return reply.refuse(NO_FILE);
    };
    let reloading = systemd::Reloading::begin();
    let (report, files) = reload::reload(gateway, &source.path).await;
    if let Some(files) = files {
        source.files = files;
    }
    reloading.end(status::serving(&gateway.snapshot()));
    reply.send(report);
}

async fn diff(gateway: &Gateway, source: Option<&Source>) -> Result<serde_json::Value, Report> {
    match source {
        Some(source) => reload::diff(gateway, &source.path).await,
        None => Err(reload::refused(String::new(), NO_FILE)),
    }
}

/// Drains and ends, however long that may take, unless it is told so once more.
async fn stop(gateway: Gateway, orders: &mut Orders) {
    let snapshot = gateway.snapshot();
    systemd::stopping(&status::draining(&snapshot));
    let mut stopping = std::pin::pin!(gateway.stop());
    let mut again = tokio::time::interval(systemd::EXTENSION / 2);
    loop {
        tokio::select! {
            is_drained = &mut stopping => return tell_end(is_drained),
            _ = again.tick() => systemd::still_stopping(&status::draining(&snapshot)),
            () = orders.end("this process ends") => {
                return log::warn!("a second signal: not waiting");
            }
        }
    }
}

fn tell_end(is_drained: bool) {
    log::info!(
        "{}",
        if is_drained {
            "drained"
        } else {
            "the grace is over; connections are cut"
        }
    );
}
