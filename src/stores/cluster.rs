//! A cluster: which server has a key, and what to do when it says that another one has.
//!
//! Every server has a connection and a state of its own, so that one that is down is noticed by those alone whose keys
//! it has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::stream::{self, StreamExt as _};
use redis::{Cmd, RedisError, Value, cmd};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::StoreError;
use super::dial::Dialer;
use super::health::Health;
use super::node::{Node, Prefix, Target};
use super::place::address;
use super::slots::{Ranges, parse, slot_of};
use crate::text::EndpointAddress;

/// How often a command follows a server that says another one has the key.
const REDIRECTIONS: usize = 4;
/// How many servers are asked at once who has what.
const ASKED_AT_ONCE: usize = 4;
/// Between two times that they are asked, the first and the longest where nobody answers.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The servers of a cluster.
pub(super) struct Cluster {
    seeds: Vec<EndpointAddress>,
    dialer: Dialer,
    health: Arc<Health>,
    servers: Mutex<HashMap<EndpointAddress, Arc<Node>>>,
    owners: ArcSwap<Ranges<Arc<Node>>>,
    is_learning: AtomicBool,
    /// Whether anybody has been asked who has what, with or without success.
    was_tried: AtomicBool,
    learned: Notify,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<EndpointAddress>, dialer: Dialer, health: Arc<Health>) -> Cluster {
        Cluster {
            seeds,
            dialer,
            health,
            servers: Mutex::default(),
            owners: ArcSwap::default(),
            is_learning: AtomicBool::new(false),
            was_tried: AtomicBool::new(false),
            learned: Notify::new(),
        }
    }

    pub(super) async fn ask(
        self: &Arc<Self>,
        key: &[u8],
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, StoreError> {
        let mut server = self.owner(slot_of(key), deadline).await?;
        let mut is_asking = false;
        for _ in 0..REDIRECTIONS {
            let asking = cmd("ASKING");
            let prefix = match is_asking {
                true => Prefix::Command(&asking),
                false => Prefix::None,
            };
            let error = match server.ask(command, prefix, deadline).await {
                Err(StoreError::Redis(error)) => error,
                Err(error) => {
                    // Another one may have its keys by now.
                    self.learn();
                    return Err(error);
                }
                answer => return answer,
            };
            let Some((next, is_for_now)) = redirection(&error) else {
                if !is_of_command(&error) {
                    self.learn();
                }
                return Err(error.into());
            };
            if !is_for_now {
                self.learn();
            }
            server = self.server(next);
            is_asking = is_for_now;
        }
        Err(StoreError::Down(
            "one server of the cluster names another, and that one the next".into(),
        ))
    }

    async fn owner(
        self: &Arc<Self>,
        slot: u16,
        deadline: Instant,
    ) -> Result<Arc<Node>, StoreError> {
        let nobody = || StoreError::Down("no server of the cluster has the key".into());
        if let Some(owner) = self.owners.load().find(slot) {
            return Ok(owner.clone());
        }
        let learned = self.learned.notified();
        let was_tried = self.was_tried.load(Ordering::Acquire);
        self.learn();
        // Only those wait that come before anybody has been asked.
        if !was_tried && timeout_at(deadline, learned).await.is_err() {
            return Err(StoreError::Deadline(self.dialer.timeout()));
        }
        self.owners.load().find(slot).cloned().ok_or_else(nobody)
    }

    /// The server at an address, with the connection that it has.
    fn server(&self, at: EndpointAddress) -> Arc<Node> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let target = Target::At(at.clone());
            Node::new(target, self.dialer.clone(), self.health.clone())
        };
        servers.entry(at.clone()).or_insert_with(make).clone()
    }

    /// Has it found out who has what, unless that is being done.
    fn learn(self: &Arc<Self>) {
        if !self.is_learning.swap(true, Ordering::AcqRel) {
            tokio::spawn(learn(Arc::downgrade(self)));
        }
    }

    /// Whether anybody has said it.
    async fn ask_around(&self) -> bool {
        let mut known: Vec<EndpointAddress> = {
            let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            let answering = servers.iter().filter(|(_, server)| !server.is_down());
            answering.map(|(at, _)| at.clone()).collect()
        };
        known.extend(self.seeds.iter().cloned());
        let asked = known.into_iter().map(|at| self.view_of(at));
        let mut views = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        while let Some(view) = views.next().await {
            if let Some(view) = view {
                self.follow(view);
                return true;
            }
        }
        false
    }

    /// Who has what, as this one sees it.
    async fn view_of(&self, at: EndpointAddress) -> Option<Ranges<EndpointAddress>> {
        let deadline = Instant::now() + self.dialer.timeout();
        let mut question = cmd("CLUSTER");
        question.arg("SLOTS");
        let server = self.server(at.clone());
        let answer = server.ask(&question, Prefix::None, deadline).await;
        parse(answer.ok()?, &at)
    }

    fn follow(&self, view: Ranges<EndpointAddress>) {
        let owners = view.map(|at| (at.clone(), self.server(at)));
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are gone, or have no keys any more, need no connection.
        servers.retain(|at, _| owners.values().any(|(owner, _)| owner == at));
        drop(servers);
        self.owners
            .store(Arc::new(owners.map(|(_, server)| server)));
    }
}

/// Asks around until somebody answers, as long as anybody has the cluster.
async fn learn(cluster: Weak<Cluster>) {
    let mut pause = SHORTEST_PAUSE;
    while let Some(cluster) = cluster.upgrade() {
        let is_known = cluster.ask_around().await;
        cluster.was_tried.store(true, Ordering::Release);
        cluster.learned.notify_waiters();
        drop(cluster);
        // Nobody is asked more often than this, however many commands fail.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        if is_known {
            break;
        }
    }
    if let Some(cluster) = cluster.upgrade() {
        cluster.is_learning.store(false, Ordering::Release);
    }
}

/// Where the command has to go, and whether it is so for this once.
fn redirection(error: &RedisError) -> Option<(EndpointAddress, bool)> {
    let (place, _) = error.redirect_node()?;
    let (host, port) = place.rsplit_once(':')?;
    let is_for_now = error.code() == Some("ASK");
    Some((address(host, port.parse().ok()?), is_for_now))
}

/// Whether the fault is in what was asked, and not in whom.
fn is_of_command(error: &RedisError) -> bool {
    let of_server = ["CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY"];
    error.code().is_some_and(|code| !of_server.contains(&code))
}
