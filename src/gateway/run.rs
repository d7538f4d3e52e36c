//! Running as a process: the runtime, the signals and the commands.

use std::io;
use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::files::Watch;
use super::{Gateway, StartError, last_good, reload, sandbox};
use crate::admin::{Command, Report};
use crate::config::{Configuration, Files};
use crate::observability::Metrics;

/// Why the process ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT. `ready` is called once requests are served; a second signal ends the process
/// without waiting for those in flight. SIGHUP has the configuration at `path` loaded anew; without a path there is
/// nothing to load.
pub fn run(
    configuration: Configuration,
    path: Option<PathBuf>,
    metrics: Metrics,
    ready: impl FnOnce(&Gateway),
) -> Result<(), RunError> {
    // The sandbox lets write in it, but not make it.
    if let Some(folder) = &configuration.settings.state_dir {
        last_good::make_folder(folder);
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
    runtime.block_on(async {
        let mut signals = Signals::new().map_err(RunError::Runtime)?;
        let files = configuration.files.clone();
        let mut gateway = Gateway::start(configuration, metrics, workers).await?;
        let commands = gateway.take_commands();
        ready(&gateway);
        let source = path.map(|path| Source { path, files });
        serve(&mut gateway, source, commands, &mut signals).await;
        tokio::select! {
            is_drained = gateway.stop() => {
                log::info!("{}", if is_drained { "drained" } else { "the grace is over; connections are cut" });
            }
            () = signals.end() => log::warn!("a second signal: not waiting"),
        }
        Ok(())
    })
}

/// Where the configuration comes from, and what files that was the last time.
struct Source {
    path: PathBuf,
    files: Files,
}

/// Does what the process is told, one thing after the other, until it is told to end.
async fn serve(
    gateway: &mut Gateway,
    mut source: Option<Source>,
    commands: Option<mpsc::Receiver<Command>>,
    signals: &mut Signals,
) {
    let mut commands = commands.unwrap_or_else(|| mpsc::channel(1).1);
    let mut watch = Watch::default();
    let watched = |gateway: &Gateway, source: &Option<Source>| {
        let source = source.as_ref().filter(|_| gateway.settings.watch)?;
        Some(source.files.clone())
    };
    watch.follow(watched(gateway, &source));
    loop {
        let order = tokio::select! {
            told = signals.next() => match told {
                Told::End => return,
                Told::Reload => Order::Reload(None),
            },
            Some(command) = commands.recv() => match command {
                Command::Reload(reply) => Order::Reload(Some(reply)),
                Command::Diff(reply) => Order::Diff(reply),
            },
            () = watch.changed() => {
                log::info!("the files of the configuration have changed");
                Order::Reload(None)
            }
        };
        // An operator who has gone has the log.
        match order {
            Order::Diff(reply) => drop(reply.send(diff(gateway, source.as_ref()).await)),
            Order::Reload(reply) => {
                let report = reload(gateway, source.as_mut()).await;
                watch.follow(watched(gateway, &source));
                if let Some(reply) = reply {
                    let _ = reply.send(report);
                }
            }
        }
    }
}

/// What is to be done, and who waits for it.
enum Order {
    Reload(Option<oneshot::Sender<Report>>),
    Diff(oneshot::Sender<Result<serde_json::Value, Report>>),
}

async fn reload(gateway: &mut Gateway, source: Option<&mut Source>) -> Report {
    let Some(source) = source else {
        return no_file();
    };
    let (report, files) = reload::reload(gateway, &source.path).await;
    source.files = files;
    report
}

async fn diff(gateway: &Gateway, source: Option<&Source>) -> Result<serde_json::Value, Report> {
    match source {
        Some(source) => reload::diff(gateway, &source.path).await,
        None => Err(no_file()),
    }
}

fn no_file() -> Report {
    reload::refused(
        String::new(),
        "this configuration does not come from a file",
    )
}

/// The signals that the process listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal tells.
enum Told {
    End,
    Reload,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => {
                log::info!("SIGTERM: draining");
                Told::End
            }
            _ = self.interrupt.recv() => {
                log::info!("SIGINT: draining");
                Told::End
            }
            _ = self.hangup.recv() => {
                log::info!("SIGHUP: reloading");
                Told::Reload
            }
        }
    }

    /// Waits for one that tells to end.
    async fn end(&mut self) {
        while !matches!(self.next().await, Told::End) {}
    }
}
