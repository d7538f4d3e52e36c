//! One connection to etcd for all the prefixes of it that are watched with the same credentials.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rand::Rng as _;
use tokio::runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::access::Access;
use super::talk::Talk;
use crate::discovery::Failure;

/// After the first failure the next server is asked at once, and then less and less often.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that was good for so long was no failure. Longer than a server that says nothing is waited for.
const GOOD: Duration = Duration::from_secs(15);

/// How often everything is listed, whatever the watches say.
const LIST_AGAIN: Duration = Duration::from_secs(300);

/// What etcd says of a prefix.
#[derive(Debug)]
pub(super) enum News {
    /// These keys are there with these values, and no other.
    All(Vec<(Vec<u8>, Vec<u8>)>),
    /// There are no keys, and etcd has lost what it had: nobody has taken them away.
    Lost,
    /// These keys have changed, in this order; those without a value are gone.
    Changed(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    /// What is known is what there is: etcd has just said that it watches.
    Current,
    /// It cannot be asked, or refuses.
    Failed(Failure),
}

/// Who is told. It is called by the task that reads the connection, so it must be quick.
pub(super) type Listener = Box<dyn FnMut(News) + Send>;

/// A prefix that is watched for as long as this lives.
pub(super) struct Watched {
    id: u64,
    connection: Arc<Connection>,
}

/// One connection, made anew for as long as somebody watches.
pub(super) struct Connection {
    access: Arc<Access>,
    runtime: runtime::Id,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What the task of a connection shares with those who watch.
pub(super) struct Shared {
    prefixes: Mutex<Prefixes>,
    /// That they have changed.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct Prefixes {
    next: u64,
    watched: BTreeMap<u64, Prefix>,
}

#[derive(Clone)]
pub(super) struct Prefix {
    pub(super) key: Arc<[u8]>,
    listener: Arc<Mutex<Listener>>,
}

impl Prefix {
    pub(super) fn tell(&self, news: News) {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        listener(news);
    }
}

impl Shared {
    pub(super) fn prefixes(&self) -> BTreeMap<u64, Prefix> {
        self.locked().watched.clone()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Prefixes> {
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections of this process.
static CONNECTIONS: Mutex<Vec<Weak<Connection>>> = Mutex::new(Vec::new());

impl Connection {
    /// The connection of such an access, which is made where there is none. A runtime that ends takes its tasks with it, so
    /// that each has connections of its own.
    fn of(access: &Arc<Access>) -> Arc<Connection> {
        let runtime = runtime::Handle::current().id();
        let mut all = CONNECTIONS.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|connection| connection.strong_count() > 0);
        let mut known = all.iter().filter_map(Weak::upgrade);
        if let Some(known) = known.find(|it| it.runtime == runtime && it.access == *access) {
            return known;
        }
        let shared = Arc::new(Shared {
            prefixes: Mutex::default(),
            changed: Notify::new(),
        });
        let connection = Arc::new(Connection {
            access: access.clone(),
            runtime,
            task: tokio::spawn(keep(access.clone(), shared.clone())),
            shared,
        });
        all.push(Arc::downgrade(&connection));
        connection
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Has a prefix watched, over the connection that others of the same access have.
pub(super) fn watch(access: &Arc<Access>, key: &[u8], listener: Listener) -> Watched {
    let connection = Connection::of(access);
    let id = {
        let mut prefixes = connection.shared.locked();
        prefixes.next += 1;
        let id = prefixes.next;
        let prefix = Prefix {
            key: key.into(),
            listener: Arc::new(Mutex::new(listener)),
        };
        prefixes.watched.insert(id, prefix);
        id
    };
    connection.shared.changed.notify_one();
    Watched { id, connection }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.connection.shared.locked().watched.remove(&self.id);
        self.connection.shared.changed.notify_one();
    }
}

/// Where each prefix was left: what is told of it goes on behind that, over whatever connection.
pub(super) struct Progress {
    /// By the number of the prefix: the revision up to which everything was told.
    pub(super) revisions: HashMap<u64, i64>,
    /// Which cluster counts so.
    pub(super) cluster: Option<u64>,
    /// The latest term of Raft that it was in. One that is in an earlier one was put back to a copy.
    pub(super) term: u64,
    /// Prefixes of which etcd has lost what it had, until there are keys again.
    pub(super) lost: HashSet<Arc<[u8]>>,
    /// When everything is listed anew, for what nothing else has told.
    pub(super) list_at: Instant,
}

impl Progress {
    fn new() -> Progress {
        Progress {
            revisions: HashMap::new(),
            cluster: None,
            term: 0,
            lost: HashSet::new(),
            list_at: next_list(),
        }
    }
}

/// Not in step with other gateways.
pub(super) fn next_list() -> Instant {
    Instant::now() + LIST_AGAIN.mul_f64(rand::rng().random_range(0.8..1.0))
}

/// One connection after the other, to one server after the other.
async fn keep(access: Arc<Access>, shared: Arc<Shared>) {
    let mut progress = Progress::new();
    let mut failures = 0;
    for server in (0..access.servers()).cycle() {
        let began = Instant::now();
        let error = Talk::run(&access, server, &shared, &mut progress).await;
        if began.elapsed() >= GOOD {
            failures = 0;
        }
        let what = format!("{}: {error}", access.server(server));
        let failure = match error.is_refusal() {
            true => Failure::refused(what),
            false => Failure::unreachable(what),
        };
        // One of several that cannot be asked is no failure of the registry: the next one is asked at once.
        if failures + 1 >= access.servers() {
            for prefix in shared.prefixes().values() {
                prefix.tell(News::Failed(failure.clone()));
            }
        }
        tokio::time::sleep(pause(failures, access.servers())).await;
        failures += 1;
    }
}

/// Each server is asked once without waiting.
fn pause(failures: usize, servers: usize) -> Duration {
    let Some(rounds) = (failures + 1).checked_sub(servers) else {
        return Duration::ZERO;
    };
    let factor = 1u32 << rounds.min(10);
    let longest = LONGEST_PAUSE.min(FIRST_PAUSE * factor);
    // So that gateways that lost the same server do not come back in step.
    longest.mul_f64(rand::rng().random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let check = |failures, servers, from: u64, to: u64| {
            let pause = pause(failures, servers).as_millis() as u64;
            assert!((from..=to).contains(&pause), "{failures}: {pause} ms");
        };
        check(0, 3, 0, 0);
        check(1, 3, 0, 0);
        check(2, 3, 25, 50);
        check(0, 1, 25, 50);
        check(1, 1, 50, 100);
        check(4, 1, 400, 800);
        check(1000, 1, 2500, 5000);
    }
}
