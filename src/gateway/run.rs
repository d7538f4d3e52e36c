//! Running as a process: the runtime and the signals.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use super::{Gateway, StartError, sandbox};
use crate::config::Configuration;
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
/// without waiting for those in flight.
pub fn run(
    configuration: Configuration,
    metrics: Metrics,
    ready: impl FnOnce(&Gateway),
) -> Result<(), RunError> {
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
        let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Runtime)?;
        let gateway = Gateway::start(configuration, metrics, workers).await?;
        ready(&gateway);
        tokio::select! {
            _ = terminate.recv() => log::info!("SIGTERM: draining"),
            _ = interrupt.recv() => log::info!("SIGINT: draining"),
        }
        tokio::select! {
            is_drained = gateway.stop() => {
                log::info!("{}", if is_drained { "drained" } else { "the grace is over; connections are cut" });
            }
            _ = terminate.recv() => log::warn!("a second signal: not waiting"),
            _ = interrupt.recv() => log::warn!("a second signal: not waiting"),
        }
        Ok(())
    })
}
