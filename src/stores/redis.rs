//! Redis, and what speaks its protocol.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Arg, Cmd, FromRedisValue, ParsingError, RedisError, Value};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::config::{Built, Config, Parts};
use super::line::OwnLine;
use super::node::{Node, Prefix, Request, Target};
use super::place::Places;
use super::script::Call;
use super::sentinel::Sentinels;
use crate::observability::{StoreMetrics, StoreResult};
use crate::text::{Spanned, Subject};

/// Why a command has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no answer after {0:?}")]
    Deadline(Duration),
    /// It was not asked, because it did not answer before.
    #[error("{0}")]
    Down(Arc<str>),
    /// The server says so, or the connection broke: then the command may have been done.
    #[error("{0}")]
    Redis(#[from] RedisError),
}

impl From<ParsingError> for StoreError {
    fn from(error: ParsingError) -> StoreError {
        StoreError::Redis(error.into())
    }
}

/// One server, the master of some, or a cluster. Each server has one connection for everybody, which is made when it is
/// first needed and again when it breaks.
pub struct Redis {
    parts: Parts,
    place: Place,
    timeout: Duration,
    metrics: Arc<StoreMetrics>,
}

enum Place {
    Node(Arc<Node>),
    Cluster(Arc<Cluster>),
}

impl Redis {
    /// `None` after diagnostics. Blocks on the file system.
    pub fn build(
        config: &Spanned<Config>,
        base: &Path,
        metrics: StoreMetrics,
        subject: &mut Subject<'_>,
    ) -> Option<Redis> {
        let Built {
            parts,
            places,
            dialer,
            sentinel_dialer,
        } = Config::build(config, base, subject)?;
        let metrics = Arc::new(metrics);
        let timeout = dialer.timeout();
        let server = |target| Place::Node(Node::new(target, dialer.clone(), metrics.clone()));
        let place = match places {
            Places::One(place) => server(Target::At(place.address)),
            Places::Sentinels { all, master, .. } => server(Target::Master(Sentinels {
                all: all.into_iter().map(|place| place.address).collect(),
                master,
                dialer: sentinel_dialer,
            })),
            Places::Cluster(nodes) => {
                let seeds = nodes.into_iter().map(|place| place.address).collect();
                let cluster = Cluster::new(seeds, dialer.clone(), metrics.clone());
                Place::Cluster(Arc::new(cluster))
            }
        };
        Some(Redis {
            parts,
            place,
            timeout,
            metrics,
        })
    }

    pub(super) fn is_same(&self, other: &Redis) -> bool {
        self.parts == other.parts
    }

    /// The longest that a command takes.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether something beside the configuration says how it is reached.
    pub fn reads_files(&self) -> bool {
        self.parts.reads_files()
    }

    pub fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    /// Has a command done whose first argument is its key. It is sent again where the connection turns out to be broken,
    /// so that it may be done twice.
    pub async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let key = match command.args_iter().nth(1) {
            Some(Arg::Simple(key)) => key,
            _ => &[],
        };
        let began = Instant::now();
        let request = Request {
            command,
            is_repeatable: true,
            deadline: began + self.timeout,
        };
        let answer = self.ask(key, &request).await;
        self.observe(began, &answer);
        Ok(T::from_redis_value(answer?)?)
    }

    /// As [`Redis::command`], for a script; but see [`Call::once`].
    pub async fn script<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, StoreError> {
        let began = Instant::now();
        let ask = async |command| {
            let request = Request {
                command: &command,
                is_repeatable: call.is_repeatable(),
                deadline: began + self.timeout,
            };
            self.ask(call.first_key(), &request).await
        };
        let mut answer = ask(call.by_digest()).await;
        if answer.as_ref().is_err_and(is_unknown) {
            answer = ask(call.whole()).await;
        }
        self.observe(began, &answer);
        Ok(T::from_redis_value(answer?)?)
    }

    /// A connection of one's own to the server that has a key now, for commands that the server waits with. It is made
    /// within twice `timeout`, whatever is known of the server; whoever makes one after another leaves pauses in between.
    /// In a cluster it may turn out to be another server's key by now: commands without a line of their own find out whose.
    pub async fn own_line(&self, key: &[u8]) -> Result<OwnLine, StoreError> {
        let link = match &self.place {
            Place::Node(server) => server.dial().await?,
            Place::Cluster(cluster) => cluster.dial(key, Instant::now() + self.timeout).await?,
        };
        Ok(OwnLine::new(link, self.timeout))
    }

    async fn ask(&self, key: &[u8], request: &Request<'_>) -> Result<Value, StoreError> {
        match &self.place {
            Place::Node(server) => server.ask(request, Prefix::None).await,
            Place::Cluster(cluster) => cluster.ask(key, request).await,
        }
    }

    fn observe(&self, began: Instant, answer: &Result<Value, StoreError>) {
        let result = match answer {
            Ok(_) => StoreResult::Ok,
            Err(StoreError::Deadline(_)) => StoreResult::Timeout,
            Err(StoreError::Down(_)) => StoreResult::Down,
            Err(StoreError::Redis(_)) => StoreResult::Error,
        };
        self.metrics.observe(result, began.elapsed());
    }
}

fn is_unknown(error: &StoreError) -> bool {
    matches!(error, StoreError::Redis(error) if error.code() == Some("NOSCRIPT"))
}

/// The address and the secrets stay out of it.
impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}
