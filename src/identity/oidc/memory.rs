//! The sessions that one node remembers: all of them, or those of a store that have just been used here.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::session::{BrowserSession, SessionId};

/// Sessions by id, of which those that were not used for the longest time make room for new ones.
///
/// In shards, each under a lock that is held for one look-up: requests hardly ever wait for each other.
pub struct Memory(Box<[Shard]>);

type Shard = Mutex<Sessions>;

struct Sessions {
    map: LruCache<SessionId, Arc<BrowserSession>>,
    /// How often one or more of them were ended.
    ends: u64,
}

/// A moment, as one shard knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u64);

const SHARDS: usize = 16;
/// A map of fewer is one shard, in which the least used is really the least used of all.
const SMALL: usize = 1024;
/// So many that are over are thrown away for each one that is added.
const TIDIED: usize = 4;

impl Memory {
    pub fn new(most: NonZeroUsize) -> Memory {
        let shards = if most.get() < SMALL { 1 } else { SHARDS };
        let each = NonZeroUsize::new(most.get().div_ceil(shards)).unwrap_or(most);
        // Room is made as it is needed.
        let shard = || {
            Mutex::new(Sessions {
                map: LruCache::sparse(each),
                ends: 0,
            })
        };
        Memory((0..shards).map(|_| shard()).collect())
    }

    /// Another bound, for a configuration that has changed.
    pub fn resize(&self, most: NonZeroUsize) {
        let each = most.get().div_ceil(self.0.len());
        for shard in &self.0 {
            if let Some(each) = NonZeroUsize::new(each) {
                lock(shard).map.resize(each);
            }
        }
    }

    pub fn find(&self, id: &SessionId) -> Option<Arc<BrowserSession>> {
        lock(self.shard(id)?).map.get(id).cloned()
    }

    /// Now, for what is about to be read of this session elsewhere.
    pub fn moment(&self, id: &SessionId) -> Moment {
        Moment(self.shard(id).map_or(0, |shard| lock(shard).ends))
    }

    /// Adds a session, or puts it in the place of an older one of this id, unless it may have been ended since this
    /// moment: whoever ends a session does so where it is kept first, and here then.
    pub fn insert(
        &self,
        id: SessionId,
        session: Arc<BrowserSession>,
        since: Moment,
        (now, idle): (u64, u64),
    ) -> bool {
        let Some(shard) = self.shard(&id) else {
            return false;
        };
        let Sessions { map: shard, ends } = &mut *lock(shard);
        if *ends != since.0 {
            return false;
        }
        for _ in 0..TIDIED {
            let is_over = |session: &BrowserSession| now >= session.used().saturating_add(idle);
            if !shard
                .peek_lru()
                .is_some_and(|(_, session)| is_over(session))
            {
                break;
            }
            shard.pop_lru();
        }
        shard.put(id, session);
        true
    }

    /// Replaces a session that is still there: what has been ended meanwhile stays ended.
    pub fn replace(&self, id: &SessionId, session: &Arc<BrowserSession>) -> bool {
        let Some(shard) = self.shard(id) else {
            return false;
        };
        match lock(shard).map.peek_mut(id) {
            Some(place) => {
                *place = session.clone();
                true
            }
            None => false,
        }
    }

    pub fn remove(&self, id: &SessionId) -> Option<Arc<BrowserSession>> {
        let mut shard = lock(self.shard(id)?);
        shard.ends += 1;
        shard.map.pop(id)
    }

    /// Ends every session that is as wanted, and gives how many there were. Looks at all of them.
    pub fn remove_where(&self, is_wanted: impl Fn(&BrowserSession) -> bool) -> usize {
        let removed = self.0.iter().map(|shard| {
            let mut shard = lock(shard);
            shard.ends += 1;
            let before = shard.map.len();
            shard.map.retain(|_, session| !is_wanted(session));
            before - shard.map.len()
        });
        removed.sum()
    }

    /// Ids are random, so any part of one spreads them evenly.
    fn shard(&self, id: &SessionId) -> Option<&Shard> {
        let first = id.as_bytes().first().copied().unwrap_or_default();
        self.0.get(usize::from(first) % self.0.len())
    }
}

fn lock(shard: &Shard) -> MutexGuard<'_, Sessions> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::session::tests::session;
    use super::*;

    fn memory(most: usize) -> Memory {
        Memory::new(NonZeroUsize::new(most).expect("not zero"))
    }

    fn id() -> SessionId {
        SessionId::draw().expect("randomness")
    }

    fn insert(
        memory: &Memory,
        id: SessionId,
        session: Arc<BrowserSession>,
        (now, idle): (u64, u64),
    ) {
        assert!(memory.insert(id, session, memory.moment(&id), (now, idle)));
    }

    #[test]
    fn the_least_used_makes_room() {
        let memory = memory(2);
        let (one, two, three) = (id(), id(), id());
        insert(&memory, one, session("a", "1", 100, 0), (0, 50));
        insert(&memory, two, session("b", "2", 100, 0), (0, 50));
        assert!(memory.find(&one).is_some());
        insert(&memory, three, session("c", "3", 100, 0), (0, 50));
        assert!(memory.find(&two).is_none(), "it was used last");
        assert!(memory.find(&one).is_some() && memory.find(&three).is_some());
    }

    #[test]
    fn what_is_over_goes_first() {
        let memory = memory(100);
        let ids: Vec<_> = (0..6).map(|_| id()).collect();
        for id in &ids {
            insert(&memory, *id, session("a", "1", 100, 0), (0, 10));
        }
        insert(&memory, id(), session("a", "1", 100, 10), (10, 10));
        let left = ids.iter().filter(|id| memory.find(id).is_some()).count();
        assert_eq!(left, 6 - TIDIED);
    }

    #[test]
    fn what_has_ended_stays_ended() {
        let memory = memory(2000);
        let one = id();
        insert(&memory, one, session("a", "1", 100, 0), (0, 50));
        assert!(memory.replace(&one, &session("a", "2", 100, 0)));
        assert!(memory.remove(&one).is_some());
        assert!(!memory.replace(&one, &session("a", "3", 100, 0)));
        assert!(memory.find(&one).is_none());
    }

    #[test]
    fn what_ends_while_it_is_looked_up_elsewhere_is_not_remembered() {
        let memory = memory(2000);
        let one = id();
        let ends: [&dyn Fn() -> usize; 2] = [&|| memory.remove(&one).into_iter().count(), &|| {
            memory.remove_where(|it| it.record.subject() == "nobody")
        }];
        for end in ends {
            let since = memory.moment(&one);
            assert_eq!(end(), 0);
            assert!(!memory.insert(one, session("a", "1", 100, 0), since, (0, 50)));
            assert!(memory.find(&one).is_none());
        }
        insert(&memory, one, session("a", "1", 100, 0), (0, 50));
        assert!(memory.find(&one).is_some());
    }

    #[test]
    fn all_of_a_person_end_at_once_in_every_shard() {
        let memory = memory(10_000);
        for index in 0..500 {
            let who = if index % 2 == 0 { "alice" } else { "bob" };
            insert(&memory, id(), session(who, "1", 100, 0), (0, 50));
        }
        assert_eq!(
            memory.remove_where(|it| it.record.subject() == "alice"),
            250
        );
        assert_eq!(memory.remove_where(|it| it.record.subject() == "alice"), 0);
        assert_eq!(memory.remove_where(|_| true), 250);
    }
}
