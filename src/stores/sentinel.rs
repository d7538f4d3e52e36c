//! Asking sentinels which server is the master.

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

impl Sentinels {
    /// A connection to a server that says itself that it is the master. All sentinels are asked at once, and the
    /// first whose answer is good decides: one that does not answer costs no time, and one that is behind is not believed.
    pub(super) async fn dial_master(&self, servers: &Dialer) -> Result<Link, StoreError> {
        let asked = self.all.iter().map(|sentinel| self.ask(sentinel));
        let mut answers: FuturesUnordered<_> = asked.collect();
        let mut tried: Vec<EndpointAddress> = Vec::new();
        let mut failure = None;
        while let Some(answer) = answers.next().await {
            let master = match answer {
                Ok(master) if tried.contains(&master) => continue,
                Ok(master) => master,
                // That one does not know it says more than that another one cannot be asked.
                Err(error @ StoreError::Down(_)) => {
                    failure = Some(error);
                    continue;
                }
                Err(error) => {
                    failure.get_or_insert(error);
                    continue;
                }
            };
            match self.dial(&master, servers).await {
                Ok(link) => return Ok(link),
                // What is wrong with the master says more than what is wrong with a sentinel.
                Err(error) => failure = Some(error),
            }
            tried.push(master);
        }
        Err(failure.unwrap_or_else(|| self.unknown()))
    }

    async fn ask(&self, sentinel: &EndpointAddress) -> Result<EndpointAddress, StoreError> {
        let asked = async {
            let link = self.dialer.dial(sentinel).await?;
            let mut question = cmd("SENTINEL");
            question.arg("GET-MASTER-ADDR-BY-NAME").arg(&*self.master);
            let answer = link.send(&question).await?;
            let place: Option<(String, u16)> = redis::from_redis_value(answer)?;
            place.ok_or_else(|| self.unknown())
        };
        let asked = tokio::time::timeout(self.dialer.timeout(), asked).await;
        let (host, port) = asked.unwrap_or(Err(StoreError::Deadline(self.dialer.timeout())))?;
        Ok(address(&host, port))
    }

    async fn dial(&self, master: &EndpointAddress, servers: &Dialer) -> Result<Link, StoreError> {
        let dialed = async {
            let link = servers.dial(master).await?;
            let role = link.send(&cmd("ROLE")).await?;
            match role {
                Value::Array(parts) if is_master(parts.first()) => Ok(link),
                _ => Err(StoreError::Down(
                    format!("{master} is no master, whatever a sentinel says").into(),
                )),
            }
        };
        let dialed = tokio::time::timeout(servers.timeout(), dialed).await;
        dialed.unwrap_or(Err(StoreError::Deadline(servers.timeout())))
    }

    fn unknown(&self) -> StoreError {
        StoreError::Down(format!("no sentinel knows a master {:?}", self.master).into())
    }
}

fn is_master(role: Option<&Value>) -> bool {
    match role {
        Some(Value::BulkString(role)) => role == b"master",
        Some(Value::SimpleString(role)) => role == "master",
        _ => false,
    }
}
