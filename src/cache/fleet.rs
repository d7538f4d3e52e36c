//! The other gateways: what they are told, and what is heard of them.
//!
//! # With a disk
//! What is on disk may be older than what others have purged since it was written. So the log of the disk says as well what was
//! heard last ([`Heard`]), after all marks that came of it, and whoever opens the disk goes on hearing from there. For that the
//! hearing begins when the disk is open. While another process still has the disk, as in an upgrade, it waits for that, ten
//! seconds at most; and a disk that is opened later than that, and says that less was heard than is needed, is purged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::Cache;
use super::broadcast::{
    Audience, Broadcast, Channel, Counts, MOST_UNTOLD, Memory, MessageId, Told,
};
use super::marks::{Purge, Sign};
use crate::stores::StoreError;

/// For how long hearing waits for a disk that another process still has.
pub(super) const WAIT_FOR_DISK: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Fleet(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wanted: Option<Channel>,
    /// What was purged before others could be told.
    early: Vec<Purge>,
    speaks: Option<(Channel, Arc<Broadcast>)>,
}

/// What was heard last of a channel, as the disk's log keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    channel: Sign,
    id: MessageId,
}

impl Heard {
    const LENGTH: usize = 26;
    /// Its first bytes, and the version.
    const HEAD: [u8; 2] = [b'H', 1];

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Heard::LENGTH);
        bytes.extend(Heard::HEAD);
        bytes.extend(self.channel.to_bytes());
        bytes.extend(self.id.to_bytes());
        bytes
    }

    /// `None` for a record of something else.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Heard> {
        let bytes = bytes.strip_prefix(&Heard::HEAD)?;
        let (channel, id) = bytes.split_first_chunk()?;
        Some(Heard {
            channel: Sign::from_bytes(*channel),
            id: MessageId::from_bytes(*id.as_array()?),
        })
    }

    fn of(channel: &Channel, id: MessageId) -> Heard {
        Heard {
            channel: Sign::tag(channel.name.as_bytes()),
            id,
        }
    }

    fn is_of(&self, channel: &Channel) -> bool {
        self.channel == Sign::tag(channel.name.as_bytes())
    }
}

/// Does what others have purged, for as long as there is a cache.
struct Listener(Weak<Cache>);

impl Audience for Listener {
    fn hear(&self, purge: &Purge) {
        if let Some(cache) = self.0.upgrade() {
            cache.purge_here(purge);
        }
    }
}

impl Fleet {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom to tell from now on. What is to be told until [`Fleet::begin`] is kept until then.
    pub(super) fn want(&self, channel: Option<Channel>) {
        let mut state = self.state();
        if channel.is_none() {
            state.early.clear();
            state.speaks = None;
        }
        state.wanted = channel;
    }

    /// Begins to tell and to hear, where that is wanted and not done; `heard` is what the disk says. Within the runtime.
    pub(super) fn begin(&self, cache: &Arc<Cache>, heard: Option<Heard>) {
        let mut state = self.state();
        let State {
            wanted: Some(wanted),
            early,
            speaks,
        } = &mut *state
        else {
            return;
        };
        let mut memory = match speaks {
            Some((now, _)) if now == wanted => return,
            // What was heard of another channel says nothing of this one.
            Some((now, before)) => Memory {
                heard: before.last().filter(|_| now.name == wanted.name),
                ..before.memory()
            },
            None => Memory {
                heard: heard.filter(|it| it.is_of(wanted)).map(|it| it.id),
                untold: Vec::new(),
            },
        };
        memory.untold.append(early);
        let listener = Arc::new(Listener(Arc::downgrade(cache)));
        let broadcast = Broadcast::start(wanted.clone(), listener, memory);
        *speaks = Some((wanted.clone(), Arc::new(broadcast)));
    }

    fn broadcast(&self) -> Option<Arc<Broadcast>> {
        Some(self.state().speaks.as_ref()?.1.clone())
    }

    /// Whether all that was told since what a disk says was heard here, or will be.
    pub(super) fn knows_since(&self, heard: Option<Heard>) -> bool {
        let state = self.state();
        let Some((channel, broadcast)) = &state.speaks else {
            // It goes on from there.
            return true;
        };
        match (broadcast.since(), heard.filter(|it| it.is_of(channel))) {
            // It has heard nothing so far, and purges everything when it does.
            (None, _) => true,
            (Some(since), Some(heard)) => since <= heard.id,
            (Some(_), None) => false,
        }
    }

    /// What was heard last: all before it was purged here.
    pub(super) fn heard(&self) -> Option<Heard> {
        let state = self.state();
        let (channel, broadcast) = state.speaks.as_ref()?;
        Some(Heard::of(channel, broadcast.last()?))
    }

    /// Tells others of a purge that was done here; `None` where there are none to be told. It waits no longer than the store's
    /// `timeout`.
    pub(super) async fn tell(&self, purge: &Purge) -> Option<Told> {
        let broadcast = {
            let mut state = self.state();
            state.wanted.as_ref()?;
            match &state.speaks {
                Some((_, broadcast)) => broadcast.clone(),
                None => {
                    state.keep_early(*purge);
                    let why = "the cache's disk is waited for before others are told".into();
                    return Some(Told::LocalOnly(StoreError::Down(why)));
                }
            }
        };
        Some(broadcast.publish(purge).await)
    }

    /// As [`Fleet::tell`] without waiting, for what requests have changed: while thousands wait to be told they are not.
    pub(super) fn tell_soon(&self, purge: &Purge) {
        let mut state = self.state();
        match (&state.wanted, &state.speaks) {
            (Some(_), Some((_, broadcast))) => broadcast.publish_soon(purge),
            (Some(_), None) if !state.early.contains(purge) => state.keep_early(*purge),
            _ => {}
        }
    }

    pub(super) fn counts(&self) -> Option<Counts> {
        Some(self.broadcast()?.counts())
    }

    /// Waits until all is told, for so long at most. Gives how much is not.
    pub(super) async fn drain(&self, patience: Duration) -> usize {
        match self.broadcast() {
            Some(broadcast) => broadcast.drain(patience).await,
            None => 0,
        }
    }
}

impl State {
    fn keep_early(&mut self, purge: Purge) {
        // It is a matter of seconds; the outbox has the same bound.
        const MOST: usize = MOST_UNTOLD / 10;
        if self.early.len() >= MOST {
            self.early.clear();
            self.early.push(Purge::all());
        }
        self.early.push(purge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_is_kept() {
        let heard = Heard {
            channel: Sign::tag(b"a"),
            id: "1700000000000-7".parse().unwrap(),
        };
        let bytes = heard.to_bytes();
        assert_eq!(bytes.len(), Heard::LENGTH);
        assert_eq!(Heard::from_bytes(&bytes), Some(heard));
        assert_eq!(Heard::from_bytes(&bytes[1..]), None);
        assert_eq!(Heard::from_bytes(&bytes[..25]), None);
        assert_eq!(Heard::from_bytes(&[&bytes[..], &[0]].concat()), None);
        let mark = super::super::marks::Marks::new().purge(&Purge::all());
        assert_eq!(Heard::from_bytes(&mark.to_bytes()), None);
    }
}
