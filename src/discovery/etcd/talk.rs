//! What is said on one connection to one server of etcd: lists, and watches that share a stream.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Client, Error as EtcdError, KvClient, WatchClient, WatchOptions, WatchResponse, WatchStream,
};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, interval_at, timeout};

use super::access::Access;
use super::connection::{News, Prefix, Progress, Shared, next_list};
use super::error::Error;
use super::listing::{Listing, list};
use crate::discovery::Failure;

/// For one question: a connection, a list, the beginning of a watch.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between two signs of life that are asked for. A server that gives none until the next is gone.
const LOOK: Duration = Duration::from_secs(5);
/// Messages of a watch that are larger break the connection. One revision is at most as large as a request of etcd, 1.5 MiB
/// where nothing else is configured there; a watch that was behind gets many revisions at once.
const LARGEST_MESSAGE: usize = 64 << 20;

/// A connection while it lasts.
pub(super) struct Talk<'a> {
    kv: KvClient,
    watcher: WatchClient,
    /// Of all watches together. There is none before the first.
    stream: Option<WatchStream>,
    shared: &'a Shared,
    progress: &'a mut Progress,
    /// By the number of the prefix.
    states: BTreeMap<u64, State>,
    /// From the number that etcd knows a watch by to that of the prefix.
    watches: HashMap<i64, u64>,
    next: i64,
    lists: FuturesUnordered<BoxFuture<'static, Listed>>,
    /// Whether it was asked for a sign of life that has not come.
    is_asked: bool,
}

type Listed = (u64, Result<Listing, Error>);

enum State {
    Listing(Prefix),
    Watching(Prefix, i64),
    /// It was refused, and is tried again later.
    Refused(Prefix),
}

impl State {
    fn prefix(&self) -> &Prefix {
        match self {
            State::Listing(prefix) | State::Watching(prefix, _) | State::Refused(prefix) => prefix,
        }
    }
}

impl Talk<'_> {
    /// Watches whatever is to be watched until the connection is of no use any more, and says why.
    pub(super) async fn run(
        access: &Access,
        server: usize,
        shared: &Shared,
        progress: &mut Progress,
    ) -> Error {
        let client = match timeout(DEADLINE, access.connect(server)).await {
            Err(_) => return Error::NoAnswer(DEADLINE),
            Ok(Err(error)) => return error,
            Ok(Ok(client)) => client,
        };
        Talk::on(&client, shared, progress).go().await
    }

    fn on<'a>(client: &Client, shared: &'a Shared, progress: &'a mut Progress) -> Talk<'a> {
        let watcher = client.watch_client();
        Talk {
            kv: client
                .kv_client()
                .max_decoding_message_size(LARGEST_MESSAGE),
            watcher: watcher.max_decoding_message_size(LARGEST_MESSAGE),
            stream: None,
            shared,
            progress,
            states: BTreeMap::new(),
            watches: HashMap::new(),
            next: 1,
            lists: FuturesUnordered::new(),
            is_asked: false,
        }
    }

    async fn go(mut self) -> Error {
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        let shared = self.shared;
        if let Err(error) = self.follow().await {
            return error;
        }
        loop {
            let outcome = tokio::select! {
                () = shared.changed.notified() => self.follow().await,
                Some((number, listed)) = self.lists.next(), if !self.lists.is_empty() => {
                    self.listed(number, listed).await
                }
                message = message(&mut self.stream) => match message {
                    Ok(message) => self.told(&message).await,
                    Err(error) => Err(error),
                },
                _ = look.tick() => self.look().await,
            };
            if let Err(error) = outcome {
                return error;
            }
        }
    }

    /// Begins with the prefixes that are new, and ends those that nobody watches any more.
    async fn follow(&mut self) -> Result<(), Error> {
        let prefixes = self.shared.prefixes();
        let is_there = |number: &u64| prefixes.contains_key(number);
        self.progress.revisions.retain(|number, _| is_there(number));
        let keys: HashSet<&Arc<[u8]>> = prefixes.values().map(|prefix| &prefix.key).collect();
        self.progress.lost.retain(|key| keys.contains(key));
        let states = self.states.keys().copied();
        let gone: Vec<u64> = states.filter(|number| !is_there(number)).collect();
        for number in gone {
            if let Some(State::Watching(_, watch)) = self.states.remove(&number) {
                self.cancel(watch).await?;
            }
        }
        for (number, prefix) in prefixes {
            if !self.states.contains_key(&number) {
                self.begin(number, prefix).await?;
            }
        }
        Ok(())
    }

    /// Goes on from where the prefix was left, or lists it.
    async fn begin(&mut self, number: u64, prefix: Prefix) -> Result<(), Error> {
        match self.progress.revisions.get(&number).copied() {
            Some(revision) => self.watch(number, prefix, revision).await,
            None => {
                let (kv, key) = (self.kv.clone(), prefix.key.clone());
                self.states.insert(number, State::Listing(prefix));
                self.lists.push(Box::pin(async move {
                    let listed = timeout(DEADLINE, list(kv, &key)).await;
                    (number, listed.unwrap_or(Err(Error::NoAnswer(DEADLINE))))
                }));
                Ok(())
            }
        }
    }

    async fn listed(&mut self, number: u64, listed: Result<Listing, Error>) -> Result<(), Error> {
        let Some(State::Listing(prefix)) = self.states.get(&number) else {
            return Ok(());
        };
        let prefix = prefix.clone();
        match listed {
            Ok(listing) => {
                self.is_as_before(listing.cluster, listing.term)?;
                self.progress.revisions.insert(number, listing.revision);
                let is_empty = listing.pairs.is_empty();
                let is_lost = self.progress.lost.contains(&prefix.key);
                prefix.tell(match is_empty && is_lost {
                    true => News::Lost,
                    false => News::All(listing.pairs),
                });
                if !is_empty {
                    self.progress.lost.remove(&prefix.key);
                }
                self.watch(number, prefix, listing.revision).await
            }
            Err(error) if error.is_of_the_prefix() => {
                self.refuse(number, prefix, &error.to_string());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Watches from the revision after this one.
    async fn watch(&mut self, number: u64, prefix: Prefix, revision: i64) -> Result<(), Error> {
        let watch = self.next;
        self.next += 1;
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(revision + 1)
            .with_progress_notify()
            .with_watch_id(watch);
        let key = &*prefix.key;
        match &mut self.stream {
            Some(stream) => in_time(stream.watch(key, Some(options))).await?,
            none => *none = Some(in_time(self.watcher.watch(key, Some(options))).await?),
        }
        self.watches.insert(watch, number);
        self.states.insert(number, State::Watching(prefix, watch));
        Ok(())
    }

    async fn cancel(&mut self, watch: i64) -> Result<(), Error> {
        self.watches.remove(&watch);
        match &mut self.stream {
            Some(stream) => in_time(stream.cancel(watch)).await,
            None => Ok(()),
        }
    }

    async fn told(&mut self, message: &WatchResponse) -> Result<(), Error> {
        self.is_asked = false;
        let Some(header) = message.header() else {
            return Ok(());
        };
        self.is_as_before(header.cluster_id(), header.raft_term())?;
        let now = header.revision();
        let Some(&number) = self.watches.get(&message.watch_id()) else {
            if message.created() && message.canceled() {
                // From 3.5 on etcd does not say which watch it refuses. All are listed again, over another connection: a
                // list says whose it was, and why.
                self.progress.revisions.clear();
                return Err(Error::Refused(message.cancel_reason().into()));
            }
            self.all_are_current();
            return Ok(());
        };
        let Some(State::Watching(prefix, watch)) = self.states.get(&number) else {
            return Ok(());
        };
        let (prefix, watch) = (prefix.clone(), *watch);
        if message.canceled() {
            self.watches.remove(&watch);
            return self.canceled(number, prefix, message).await;
        }
        let known = self.progress.revisions.entry(number).or_default();
        if message.created() && now < *known {
            // A server that knows less than was told has lost it, or is behind: a list is by what most know.
            self.cancel(watch).await?;
            self.progress.lost.insert(prefix.key.clone());
            return self.begin_anew(number, prefix).await;
        }
        let mut keys = message.events().iter().filter_map(|event| event.kv());
        let last = keys.next_back();
        match last {
            Some(last) => {
                *known = (*known).max(last.mod_revision());
                self.progress.lost.remove(&prefix.key);
            }
            // Nothing has happened up to here.
            None if !message.created() => *known = (*known).max(now),
            None => {}
        }
        prefix.tell(news(message));
        Ok(())
    }

    async fn canceled(
        &mut self,
        number: u64,
        prefix: Prefix,
        message: &WatchResponse,
    ) -> Result<(), Error> {
        if message.compact_revision() > 0 {
            // What happened since is no longer known there.
            log::info!(
                "etcd has compacted what happened below {}; it is listed again",
                String::from_utf8_lossy(&prefix.key)
            );
            return self.begin_anew(number, prefix).await;
        }
        // A list says more of the reason, an expired token for example.
        self.progress.revisions.remove(&number);
        self.refuse(number, prefix, message.cancel_reason());
        Ok(())
    }

    async fn begin_anew(&mut self, number: u64, prefix: Prefix) -> Result<(), Error> {
        self.progress.revisions.remove(&number);
        self.begin(number, prefix).await
    }

    fn refuse(&mut self, number: u64, prefix: Prefix, reason: &str) {
        prefix.tell(News::Failed(Failure::refused(reason)));
        self.states.insert(number, State::Refused(prefix));
    }

    /// Tries again what was refused, lists everything now and then, and asks for a sign of life.
    async fn look(&mut self) -> Result<(), Error> {
        let states = self.states.iter();
        let refused = states.filter(|(_, state)| matches!(state, State::Refused(_)));
        let refused: Vec<(u64, Prefix)> = refused
            .map(|(&number, state)| (number, state.prefix().clone()))
            .collect();
        for (number, prefix) in refused {
            self.begin(number, prefix).await?;
        }
        if self.progress.list_at <= Instant::now() {
            self.progress.list_at = next_list();
            self.list_again().await?;
        }
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        if self.is_asked {
            return Err(Error::Silent(LOOK));
        }
        self.is_asked = true;
        in_time(stream.request_progress()).await
    }

    async fn list_again(&mut self) -> Result<(), Error> {
        let states = self.states.iter();
        let watching = states.filter_map(|(&number, state)| match state {
            State::Watching(prefix, watch) => Some((number, prefix.clone(), *watch)),
            _ => None,
        });
        for (number, prefix, watch) in watching.collect::<Vec<_>>() {
            self.cancel(watch).await?;
            self.begin_anew(number, prefix).await?;
        }
        Ok(())
    }

    fn all_are_current(&self) {
        for state in self.states.values() {
            if let State::Watching(prefix, _) = state {
                prefix.tell(News::Current);
            }
        }
    }

    /// Another cluster at the same address has revisions of its own, and so has one that was put back to an earlier copy,
    /// whose terms count from there. A server that is only behind is taken for one as well, which costs a list.
    fn is_as_before(&mut self, cluster: u64, term: u64) -> Result<(), Error> {
        let progress = &mut *self.progress;
        let is_other = progress.cluster.is_some_and(|known| known != cluster);
        if !is_other && term >= progress.term {
            (progress.cluster, progress.term) = (Some(cluster), term);
            return Ok(());
        }
        let keys = self.states.values().map(|state| state.prefix().key.clone());
        progress.lost.extend(keys);
        progress.revisions.clear();
        (progress.cluster, progress.term) = (Some(cluster), term);
        Err(match is_other {
            true => Error::OtherCluster,
            false => Error::Restored,
        })
    }
}

/// What a message says that is neither the end of its watch nor that of all.
fn news(message: &WatchResponse) -> News {
    let events = message.events().iter();
    let changes: Vec<_> = events
        .filter_map(|event| event.kv())
        // A key that is gone has no version. The library's own word for the kind of an event panics at kinds that it does
        // not know.
        .map(|kv| match kv.version() {
            0 => (kv.key().to_vec(), None),
            _ => (kv.key().to_vec(), Some(kv.value().to_vec())),
        })
        .collect();
    match changes.is_empty() {
        true => News::Current,
        false => News::Changed(changes),
    }
}

/// The next message; none comes where there is no stream.
async fn message(stream: &mut Option<WatchStream>) -> Result<WatchResponse, Error> {
    match stream {
        None => std::future::pending().await,
        Some(stream) => match stream.message().await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(Error::Ended),
            Err(error) => Err(error.into()),
        },
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, EtcdError>>) -> Result<T, Error> {
    match timeout(DEADLINE, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::NoAnswer(DEADLINE)),
    }
}
