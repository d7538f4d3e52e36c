//! A cluster: which server has a key, and what to do when it says that another one has.
//!
//! Every server has a connection and a state of its own, so that one that is down is noticed by those alone whose keys
//! it has.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::stream::{self, StreamExt as _};
use rand::seq::SliceRandom as _;
use redis::{RedisError, Value, cmd};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::StoreError;
use super::dial::{Dialer, Link};
use super::node::{Node, Prefix, Request, Target, pause};
use super::place::address_beside;
use super::slots::{Ranges, most_agreed, parse, slot_of};
use crate::observability::StoreMetrics;
use crate::text::EndpointAddress;

/// How often a command follows a server that says another one has the key.
const REDIRECTIONS: usize = 4;
/// Before a command is sent again to a server that has only a part of its keys, the first time and at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How many servers are asked who has what, where somebody has said it before, and how many of them at once.
const ASKED: usize = 5;
const ASKED_AT_ONCE: usize = 5;

/// The servers of a cluster.
pub(super) struct Cluster {
    seeds: Vec<EndpointAddress>,
    dialer: Dialer,
    metrics: Arc<StoreMetrics>,
    servers: Mutex<HashMap<EndpointAddress, Arc<Member>>>,
    owners: ArcSwap<Ranges<Arc<Member>>>,
    is_learning: AtomicBool,
    /// How often in a row nothing new was learned.
    in_vain: AtomicU32,
    /// Whether anybody has been asked who has what, with or without success.
    was_tried: AtomicBool,
    learned: Notify,
}

/// One of them, and where it is.
struct Member {
    at: EndpointAddress,
    node: Arc<Node>,
}

impl PartialEq for Member {
    fn eq(&self, other: &Member) -> bool {
        self.at == other.at
    }
}

/// Where a command goes that has an error for an answer.
enum Next {
    /// There, and so do others with the slot.
    Moved(EndpointAddress),
    /// There, for this once.
    Ask(EndpointAddress),
    /// To the same: it has some of the keys, and not yet all.
    Again,
    Nowhere,
}

impl Cluster {
    pub(super) fn new(
        seeds: Vec<EndpointAddress>,
        dialer: Dialer,
        metrics: Arc<StoreMetrics>,
    ) -> Cluster {
        Cluster {
            seeds,
            dialer,
            metrics,
            servers: Mutex::default(),
            owners: ArcSwap::default(),
            is_learning: AtomicBool::new(false),
            in_vain: AtomicU32::new(0),
            was_tried: AtomicBool::new(false),
            learned: Notify::new(),
        }
    }

    pub(super) async fn ask(
        self: &Arc<Self>,
        key: &[u8],
        request: &Request<'_>,
    ) -> Result<Value, StoreError> {
        let deadline = request.deadline;
        let mut server = self.owner(slot_of(key), deadline).await?;
        let (mut prefix, mut redirections) = (Prefix::None, 0);
        let mut pause = SHORTEST_PAUSE;
        loop {
            let error = match server.node.ask(request, prefix).await {
                Err(StoreError::Redis(error)) => error,
                Err(error) => {
                    // Another one may have its keys by now.
                    self.learn();
                    return Err(error);
                }
                answer => return answer,
            };
            let next = Next::of(&error, &server.at);
            if !matches!(next, Next::Ask(_) | Next::Again) && !is_of_command(&error) {
                self.learn();
            }
            (server, prefix) = match next {
                Next::Moved(at) => (self.server(at), Prefix::None),
                Next::Ask(at) => (self.server(at), Prefix::Asking),
                Next::Again => {
                    sleep_until(deadline.min(Instant::now() + pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
                Next::Nowhere => return Err(error.into()),
            };
            redirections += 1;
            if redirections > REDIRECTIONS {
                return Err(StoreError::Down(
                    "the servers of the cluster do not agree who has the key".into(),
                ));
            }
        }
    }

    /// A connection beside the one for everybody to the server that is known to have a key.
    pub(super) async fn dial(
        self: &Arc<Self>,
        key: &[u8],
        deadline: Instant,
    ) -> Result<Link, StoreError> {
        let server = self.owner(slot_of(key), deadline).await?;
        let dialed = server.node.dial().await;
        if dialed.is_err() {
            self.learn();
        }
        dialed
    }

    async fn owner(
        self: &Arc<Self>,
        slot: u16,
        deadline: Instant,
    ) -> Result<Arc<Member>, StoreError> {
        let nobody = || StoreError::Down("no server of the cluster has the key".into());
        if let Some(owner) = self.owners.load().find(slot) {
            return Ok(owner.clone());
        }
        let learned = self.learned.notified();
        let was_tried = self.was_tried.load(Ordering::Acquire);
        self.learn();
        // Only those wait that come before anybody has been asked, or has waited in vain.
        if !was_tried && timeout_at(deadline, learned).await.is_err() {
            self.was_tried.store(true, Ordering::Release);
            return Err(StoreError::Deadline(self.dialer.timeout()));
        }
        self.owners.load().find(slot).cloned().ok_or_else(nobody)
    }

    /// The server at an address, with the connection that it has.
    fn server(&self, at: EndpointAddress) -> Arc<Member> {
        let make = || {
            let target = Target::At(at.clone());
            let node = Node::new(target, self.dialer.clone(), self.metrics.clone());
            let at = at.clone();
            Arc::new(Member { at, node })
        };
        let mut servers = self.servers();
        servers.entry(at.clone()).or_insert_with(make).clone()
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<EndpointAddress, Arc<Member>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it found out who has what, unless that is being done.
    fn learn(self: &Arc<Self>) {
        if !self.is_learning.swap(true, Ordering::AcqRel) {
            tokio::spawn(learn(Arc::downgrade(self)));
        }
    }

    /// Who has what: the first answer where nobody has said it so far, and then what most of some say. One that is cut off
    /// from the others would have its word believed for as long as it answers first.
    async fn ask_around(&self) -> Option<Ranges<EndpointAddress>> {
        let is_first = self.owners.load().is_empty();
        let mut known: Vec<EndpointAddress> = {
            let servers = self.servers();
            let is_down =
                |at: &EndpointAddress| servers.get(at).is_some_and(|it| it.node.is_down());
            let known: HashSet<_> = self.seeds.iter().chain(servers.keys()).collect();
            let answering = known.into_iter().filter(|at| !is_down(at));
            answering.cloned().collect()
        };
        known.shuffle(&mut rand::rng());
        if !is_first {
            known.truncate(ASKED);
        }
        let asked = known.into_iter().map(|at| self.view_of(at));
        let mut answers = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        let mut views = Vec::new();
        while let Some(view) = answers.next().await {
            views.extend(view);
            if is_first && !views.is_empty() {
                break;
            }
        }
        most_agreed(views)
    }

    /// Who has what, as this one sees it.
    async fn view_of(&self, at: EndpointAddress) -> Option<Ranges<EndpointAddress>> {
        let mut question = cmd("CLUSTER");
        question.arg("SLOTS");
        let request = Request {
            command: &question,
            is_repeatable: true,
            deadline: Instant::now() + self.dialer.timeout(),
        };
        let server = self.server(at);
        let answer = server.node.ask(&request, Prefix::None).await;
        parse(answer.ok()?, &server.at)
    }

    /// Whether anything is new.
    fn follow(&self, view: Ranges<EndpointAddress>) -> bool {
        let owners = view.map(|at| self.server(at));
        // Those that are gone, or have no keys any more, need no connection. Who is configured is asked again.
        self.servers().retain(|at, _| {
            self.seeds.contains(at) || owners.values().any(|owner| owner.at == *at)
        });
        let is_new = **self.owners.load() != owners;
        if is_new {
            self.owners.store(Arc::new(owners));
        }
        is_new
    }
}

/// Asks around until somebody answers, as long as anybody has the cluster.
async fn learn(cluster: Weak<Cluster>) {
    while let Some(cluster) = cluster.upgrade() {
        let view = cluster.ask_around().await;
        let is_known = view.is_some();
        let is_new = view.is_some_and(|view| cluster.follow(view));
        let in_vain = match is_new {
            true => 0,
            false => cluster.in_vain.load(Ordering::Relaxed).saturating_add(1),
        };
        cluster.in_vain.store(in_vain, Ordering::Relaxed);
        cluster.was_tried.store(true, Ordering::Release);
        cluster.learned.notify_waiters();
        drop(cluster);
        // Nobody is asked more often than this, however many commands fail.
        sleep(pause(in_vain)).await;
        if is_known {
            break;
        }
    }
    if let Some(cluster) = cluster.upgrade() {
        cluster.is_learning.store(false, Ordering::Release);
    }
}

impl Next {
    /// `asked` is where the error comes from.
    fn of(error: &RedisError, asked: &EndpointAddress) -> Next {
        let named = || {
            let (place, _) = error.redirect_node()?;
            let (host, port) = place.rsplit_once(':')?;
            address_beside(asked, host, port.parse().ok()?)
        };
        match (error.code(), named()) {
            (Some("MOVED"), Some(at)) => Next::Moved(at),
            (Some("ASK"), Some(at)) => Next::Ask(at),
            (Some("TRYAGAIN"), _) => Next::Again,
            _ => Next::Nowhere,
        }
    }
}

/// Whether the fault is in what was asked, and not in whom.
fn is_of_command(error: &RedisError) -> bool {
    let of_server = ["MOVED", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY"];
    error.code().is_some_and(|code| !of_server.contains(&code))
}
