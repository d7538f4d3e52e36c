//! Settling what a session is worth: asking the store, and renewing its tokens ahead of their end.
//!
//! A refresh token is good once with most providers, and one that is shown twice ends the whole login (RFC 9700 section
//! 4.14.2). So a session is renewed by one request at a time: on a node, whoever comes meanwhile waits for the same
//! answer; among nodes, by a lock in the store, under which the session is read again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::OnStoreDown;
use super::memory::Moment;
use super::provider::{Core, Settled, unix_ms};
use super::refresh::Renewal;
use super::session::{BrowserSession, Record, SessionId};
use super::shared::{Lock, Shared, SharedError};
use crate::identity::Identity;

/// How often another node that has the lock is looked after.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// After a failure that may pass, in seconds.
const PAUSE: u64 = 2;

impl Core {
    /// What a session is worth that [`Core::look`] could not settle.
    pub async fn settle(self: &Arc<Self>, id: SessionId) -> Settled {
        let session = match self.recall(&id).await {
            Settled::Good(session) => session,
            other => return other,
        };
        let now = unix_ms() / 1000;
        if !session.touch(now, self.idle) {
            self.sessions.memory.remove(&id);
            return Settled::Over("the session is over");
        }
        if !self.is_due(&session.record, now) {
            return Settled::Good(session);
        }
        let tokens = &session.record.tokens;
        if tokens.refresh.is_none() {
            self.forget(&id).await;
            return Settled::Over("the access token has ended, and there is no refresh token");
        }
        let is_good = tokens.expires.is_none_or(|expires| now < expires);
        if self.sessions.is_paused(&id, now) {
            return match is_good {
                true => Settled::Good(session),
                false => Settled::Unavailable(
                    "the provider could not renew the session a moment ago".into(),
                ),
            };
        }
        let core = self.clone();
        let flight = self
            .sessions
            .flight(id, || async move { core.renew(id).await });
        // Ahead of the end nobody has to wait for it.
        match is_good {
            true => Settled::Good(session),
            false => flight.await,
        }
    }

    /// A session as the store has it, or as this node remembers it where that is enough.
    async fn recall(&self, id: &SessionId) -> Settled {
        let remembered = self.sessions.memory.find(id);
        let now_ms = unix_ms();
        let Some(shared) = &self.shared else {
            return match remembered {
                Some(session) => self.current(id, session),
                None => Settled::Over("there is no such session, or no more"),
            };
        };
        if let Some(session) = remembered
            .clone()
            .filter(|it| self.is_confirmed(it, now_ms))
        {
            return self.current(id, session);
        }
        // Before the store is asked: what ends from here on must not be remembered again.
        let since = self.sessions.memory.moment(id);
        match (shared.load(id).await, remembered) {
            (Ok(None), _) => {
                self.sessions.memory.remove(id);
                Settled::Over("there is no such session, or no more")
            }
            (Ok(Some(record)), Some(session)) if session.record.version >= record.version => {
                if session.record.version > record.version {
                    match shared.replace(id, &session.record).await {
                        Ok(true) => {}
                        Ok(false) => {
                            self.sessions.memory.remove(id);
                            return Settled::Over("the session has been ended");
                        }
                        Err(error) => return Settled::Unavailable(error.to_string().into()),
                    }
                }
                session.confirm(now_ms);
                // Another node may have had a request since.
                session.touch(now_ms / 1000, u64::MAX);
                self.current(id, session)
            }
            (Ok(Some(record)), _) => self.adopt(id, record, now_ms, since),
            (Err(error), Some(session)) if self.on_store_down == OnStoreDown::Remembered => {
                log::warn!("oidc {}: {error}; going by what is remembered", self.name);
                self.current(id, session)
            }
            (Err(error), _) => Settled::Unavailable(error.to_string().into()),
        }
    }

    /// A remembered session, with the identity that this configuration sees in it.
    fn current(&self, id: &SessionId, session: Arc<BrowserSession>) -> Settled {
        if session.mapped_by == self.build {
            return Settled::Good(session);
        }
        let identity = match self.known(&session.record) {
            Ok(identity) => identity,
            Err(over) => return over,
        };
        let session = Arc::new(session.mapped(identity, self.build));
        let is_there = self.sessions.memory.replace(id, &session);
        // Where there is a store, a session that has just made room for another goes on.
        match is_there || self.shared.is_some() {
            true => Settled::Good(session),
            false => Settled::Over("the session has been ended"),
        }
    }

    /// Remembers what the store had after `since`, or what was just made. A session that may have been ended since is
    /// good for this request, which came before that, and is not remembered.
    pub(super) fn adopt(
        &self,
        id: &SessionId,
        record: Record,
        now_ms: u64,
        since: Moment,
    ) -> Settled {
        let identity = match self.known(&record) {
            Ok(identity) => identity,
            Err(over) => return over,
        };
        let session = Arc::new(BrowserSession::new(record, identity, self.build, now_ms));
        let memory = &self.sessions.memory;
        memory.insert(*id, session.clone(), since, (now_ms / 1000, self.idle));
        Settled::Good(session)
    }

    /// The identity of somebody who may come in.
    fn known(&self, record: &Record) -> Result<Arc<Identity>, Settled> {
        self.identity(record).map_err(|why| {
            log::info!("oidc {}: a session is refused: {why}", self.name);
            Settled::Over("the claims are none of anybody who may come in")
        })
    }

    async fn renew(self: Arc<Self>, id: SessionId) -> Settled {
        // Nothing that comes after this is broken off: what the provider gives must not be lost.
        let place = tokio::time::timeout(self.client.timeout(), self.renewals.acquire()).await;
        let settled = match place {
            Ok(Ok(_place)) => self.renew_alone(&id).await,
            _ => Settled::Unavailable("too many sessions are renewed".into()),
        };
        if let Settled::Unavailable(why) = &settled {
            log::warn!("oidc {}: a session cannot be renewed: {why}", self.name);
            self.sessions.pause(id, unix_ms() / 1000 + PAUSE);
        }
        settled
    }

    async fn renew_alone(self: &Arc<Self>, id: &SessionId) -> Settled {
        let Some(shared) = &self.shared else {
            let Some(session) = self.sessions.memory.find(id) else {
                return Settled::Over("the session has been ended");
            };
            // Whoever asked may have looked before the last renewal was done.
            return match self.is_due(&session.record, unix_ms() / 1000) {
                true => {
                    let renewal = Renewal::new(*id, None);
                    self.refresh(renewal, session.record.clone()).await
                }
                false => Settled::Good(session),
            };
        };
        match self.take_turn(shared, id).await {
            Ok(Turn::Mine(lock, record)) => {
                self.refresh(Renewal::new(*id, Some(lock)), record).await
            }
            Ok(Turn::Done(record, since)) => self.adopt(id, record, unix_ms(), since),
            Ok(Turn::Never) => {
                Settled::Unavailable("another gateway takes too long to renew the session".into())
            }
            Ok(Turn::Over) => {
                self.sessions.memory.remove(id);
                Settled::Over("the session has been ended")
            }
            Err(error) => Settled::Unavailable(error.to_string().into()),
        }
    }

    /// Waits for the lock on a session, or for another node to be done with it.
    async fn take_turn(&self, shared: &Shared, id: &SessionId) -> Result<Turn, SharedError> {
        let patience = Instant::now() + self.patience;
        loop {
            let since = self.sessions.memory.moment(id);
            let lock = shared.lock(id).await?;
            let record = shared.load(id).await?;
            let is_due = record
                .as_ref()
                .is_some_and(|it| self.is_due(it, unix_ms() / 1000));
            match (record, lock) {
                (Some(record), Some(lock)) if is_due => return Ok(Turn::Mine(lock, record)),
                (record, lock) if !is_due => {
                    if let Some(lock) = lock {
                        shared.unlock(lock).await?;
                    }
                    return Ok(record.map_or(Turn::Over, |record| Turn::Done(record, since)));
                }
                _ if Instant::now() >= patience => return Ok(Turn::Never),
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Ends a session everywhere, as far as the store can be told.
    pub(super) async fn forget(&self, id: &SessionId) {
        if let Some(shared) = &self.shared
            && let Err(error) = shared.remove(id).await
        {
            log::warn!("oidc {}: a session stays in the store: {error}", self.name);
        }
        // Last, so that nobody remembers it again.
        self.sessions.memory.remove(id);
    }
}

/// Whose turn it is to renew a session.
enum Turn {
    Mine(Lock, Record),
    /// Another node has done it.
    Done(Record, Moment),
    Over,
    /// Another node has the lock for too long.
    Never,
}
