//! Asking sentinels which server is the master.

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::{Value, cmd};

use super::StoreError;
use super::dial::{Dialer, Link};
use super::place::address;
use crate::text::EndpointAddress;

/// The sentinels of one master.
pub(super) struct Sentinels {
    pub(super) all: Vec<EndpointAddress>,
    pub(super) master: Box<str>,
    pub(super) dialer: Dialer,
}

/// What there is on the way to a master.
enum Step {
    /// A sentinel says that it is there.
    Named(EndpointAddress),
    Reached(Link),
}

/// What went wrong, and how much that says. Nobody need be told that a sentinel is down where another one says more.
struct Failure {
    weight: Weight,
    error: StoreError,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    OfSentinel,
    Unknown,
    OfMaster,
}

impl Sentinels {
    /// A connection to a server that says itself that it is the master. All sentinels are asked at once, every server
    /// that one of them names is dialled while the others are still asked, and the first that is good decides. So one
    /// that does not answer costs no time, nor does one that is behind and names a server that is none any more. Which of
    /// two servers is the master that both say it of themselves, as on the two sides of a parted network, it cannot know:
    /// `min-replicas-to-write` at the servers has one of them refuse.
    pub(super) async fn dial_master(&self, servers: &Dialer) -> Result<Link, StoreError> {
        let asked = self.all.iter().map(|sentinel| self.ask(sentinel).boxed());
        let mut steps: FuturesUnordered<BoxFuture<'_, Result<Step, Failure>>> = asked.collect();
        let mut tried: Vec<EndpointAddress> = Vec::new();
        let mut failure: Option<Failure> = None;
        while let Some(step) = steps.next().await {
            match step {
                Ok(Step::Reached(link)) => return Ok(link),
                Ok(Step::Named(master)) if tried.contains(&master) => {}
                Ok(Step::Named(master)) => {
                    tried.push(master.clone());
                    steps.push(self.dial(master, servers).boxed());
                }
                Err(next) => {
                    let is_more = |last: &Failure| next.weight > last.weight;
                    if failure.as_ref().is_none_or(is_more) {
                        failure = Some(next);
                    }
                }
            }
        }
        let error = failure.map(|failure| failure.error);
        Err(error.unwrap_or_else(|| self.unknown()))
    }

    async fn ask(&self, sentinel: &EndpointAddress) -> Result<Step, Failure> {
        let asked = async {
            let link = self.dialer.dial(sentinel).await?;
            let mut question = cmd("SENTINEL");
            question.arg("GET-MASTER-ADDR-BY-NAME").arg(&*self.master);
            let answer = link.send(&question).await?;
            Ok(redis::from_redis_value(answer)?)
        };
        let asked = tokio::time::timeout(self.dialer.timeout(), asked).await;
        let late = || Err(StoreError::Deadline(self.dialer.timeout()));
        let place: Result<Option<(String, u16)>, _> = asked.unwrap_or_else(|_| late());
        match place {
            Ok(Some((host, port))) => Ok(Step::Named(address(&host, port))),
            Ok(None) => Err(Weight::Unknown.of(self.unknown())),
            Err(error) => Err(Weight::OfSentinel.of(error)),
        }
    }

    async fn dial(&self, master: EndpointAddress, servers: &Dialer) -> Result<Step, Failure> {
        let dialed = async {
            let link = servers.dial(&master).await?;
            let role = link.send(&cmd("ROLE")).await?;
            match role {
                Value::Array(parts) if is_master(parts.first()) => Ok(link),
                _ => Err(StoreError::Down(
                    format!("{master} is no master, whatever a sentinel says").into(),
                )),
            }
        };
        let dialed = tokio::time::timeout(servers.timeout(), dialed).await;
        let dialed = dialed.unwrap_or(Err(StoreError::Deadline(servers.timeout())));
        match dialed {
            Ok(link) => Ok(Step::Reached(link)),
            Err(error) => Err(Weight::OfMaster.of(error)),
        }
    }

    fn unknown(&self) -> StoreError {
        StoreError::Down(format!("no sentinel knows a master {:?}", self.master).into())
    }
}

impl Weight {
    fn of(self, error: StoreError) -> Failure {
        Failure {
            weight: self,
            error,
        }
    }
}

fn is_master(role: Option<&Value>) -> bool {
    match role {
        Some(Value::BulkString(role)) => role == b"master",
        Some(Value::SimpleString(role)) => role == "master",
        _ => false,
    }
}
