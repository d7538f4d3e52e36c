//! What outlives a reload: the sessions, and what is going on about them.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared as SharedFuture};
use lru::LruCache;

use super::memory::Memory;
use super::provider::Settled;
use super::session::SessionId;

/// A renewal that is going on; everybody who needs it waits for the same one.
pub type Flight = SharedFuture<BoxFuture<'static, Settled>>;

/// So many logout tokens, and as many ends of logins, are remembered until nobody can show them again.
const USED: usize = 10_000;

/// The sessions of a provider on this node.
pub struct Sessions {
    pub memory: Memory,
    flights: Mutex<HashMap<SessionId, Flight>>,
    /// When a session's renewal may be tried again, in Unix seconds, where the provider could not be asked.
    pauses: Mutex<LruCache<SessionId, u64>>,
    /// Logout tokens that have been used.
    pub tokens: Used,
    /// Logins that have come back, by their `state`.
    pub logins: Used,
}

/// What is good once, and has been used: until when nobody can use it anyway, in Unix seconds.
pub struct Used(Mutex<LruCache<Box<str>, u64>>);

impl Sessions {
    pub fn new(most: NonZeroUsize) -> Sessions {
        let used = NonZeroUsize::new(USED).unwrap_or(NonZeroUsize::MIN);
        Sessions {
            memory: Memory::new(most),
            flights: Mutex::default(),
            pauses: Mutex::new(LruCache::sparse(used)),
            tokens: Used(Mutex::new(LruCache::sparse(used))),
            logins: Used(Mutex::new(LruCache::sparse(used))),
        }
    }

    /// The renewal of a session that is going on, or the one that begins now. It ends also where nobody waits any more:
    /// what the provider has given for a refresh token must not be lost.
    pub fn flight<F>(self: &Arc<Self>, id: SessionId, begin: impl FnOnce() -> F) -> Flight
    where
        F: Future<Output = Settled> + Send + 'static,
    {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(&id) {
            return flight.clone();
        }
        let (renewal, sessions) = (begin(), self.clone());
        let task = tokio::spawn(async move {
            let settled = renewal.await;
            lock(&sessions.flights).remove(&id);
            settled
        });
        let flight = async move {
            task.await
                .unwrap_or_else(|_| Settled::Unavailable("the renewal was broken off".into()))
        };
        let flight = flight.boxed().shared();
        flights.insert(id, flight.clone());
        flight
    }

    /// Whether a renewal has just failed for a reason that may pass.
    pub fn is_paused(&self, id: &SessionId, now: u64) -> bool {
        lock(&self.pauses).get(id).is_some_and(|&until| now < until)
    }

    pub fn pause(&self, id: SessionId, until: u64) {
        lock(&self.pauses).put(id, until);
    }
}

impl Used {
    /// Whether it is used for the first time, by whoever asks this.
    pub fn is_new(&self, name: &str, now: u64, until: u64) -> bool {
        let mut used = lock(&self.0);
        if used.get(name).is_some_and(|&until| now <= until) {
            return false;
        }
        used.put(name.into(), until);
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
