//! The admin listener: health, metrics, what the gateway is doing, and what it is told to do.
//!
//! In: the running snapshot and the metrics. Out: answers for operators and orchestrators, on a socket of its own, and
//! [`Command`]s for whoever runs the gateway. This room must never serve or change what clients see.

mod breakers;
mod cache;
mod canaries;
mod command;
mod config;
mod limits;
mod routes;
mod serve;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use crate::listener::Socket;
use crate::observability::Metrics;
use crate::routing::Snapshot;
use crate::text::{BindAddress, Diagnostics, SecretValue, Spanned, Subject};

pub use breakers::BreakerShown;
pub use cache::{BroadcastShown, CacheShown, DiskShown, EntryShown, Purged};
pub use canaries::CanaryShown;
pub use command::{Command, Outcome, Report, Serving};
pub use config::Config;
pub use limits::{
    InUseKind, InUseShown, KeyShown, LimitShown, OrderProblem, OverrideShown, RuleShown, Shown,
    StandingShown,
};

/// Commands that may wait for their turn; more are refused.
pub const MAX_COMMANDS: usize = 16;

/// The admin listener as compiled.
#[derive(Debug, PartialEq)]
pub struct Admin {
    pub bind: BindAddress,
    token: Option<SecretValue>,
}

impl Admin {
    /// Whether a browser on this machine can reach it without proving anything.
    fn is_open_to_browsers(&self) -> bool {
        self.token.is_none() && matches!(self.bind, BindAddress::Socket(_))
    }

    /// Compiles it. `None` after diagnostics.
    pub fn build(
        config: &Spanned<Config>,
        base: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Admin> {
        let mut subject = Subject::new(diagnostics, "admin");
        let token = match &config.token {
            None => None,
            Some(secret) => {
                let mut subject = subject.key("token");
                match secret
                    .value
                    .read(base)
                    .map(|token| (token.expose().len(), token))
                {
                    Ok((config::MIN_TOKEN_BYTES.., token)) => Some(token),
                    Ok((length, _)) => {
                        let what = format!(
                            "must be at least {} bytes long, or it can be guessed; it has {length}",
                            config::MIN_TOKEN_BYTES
                        );
                        subject.error(secret.span, what);
                        return None;
                    }
                    Err(error) => {
                        subject.error(secret.span, error);
                        return None;
                    }
                }
            }
        };
        if token.is_none() && !config.bind.is_local() {
            let what = format!(
                "{} can be reached from other machines, without a token",
                config.bind.value
            );
            subject
                .key("bind")
                .error(config.bind.span, what)
                .help("bind it to 127.0.0.1 or to a Unix socket, or set token = { file = \"…\" }");
            return None;
        }
        Some(Admin {
            bind: config.bind.value.clone(),
            token,
        })
    }
}

/// What the admin listener shows, and where it takes what it is told.
#[derive(Clone)]
pub struct State {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub metrics: Metrics,
    /// Whether new requests are welcome.
    pub is_ready: Arc<AtomicBool>,
    pub command: mpsc::Sender<Command>,
    pub serving: watch::Receiver<Serving>,
}

/// Serves until `shutdown` becomes true. There are 64 connections at most, a header has ten seconds, and no
/// connection is older than five minutes.
pub async fn serve(
    admin: Arc<Admin>,
    socket: Arc<Socket>,
    state: State,
    shutdown: watch::Receiver<bool>,
) {
    let router = routes::router(state, admin);
    serve::serve(socket, router, shutdown).await;
}
