//! Settling what a session is worth: asking the store, and renewing its tokens ahead of their end.
//!
//! A refresh token is good once with most providers, and one that is shown twice ends the whole login (RFC 9700 section
//! 4.14.2). So a session is renewed by one request at a time: on a node, whoever comes meanwhile waits for the same
//! answer; among nodes, by a lock in the store, under which the session is read again.

use std::sync::Arc;
use std::time::Duration;

use super::config::OnStoreDown;
use super::exchange::{ExchangeError, redeem};
use super::provider::{Core, Settled, unix_ms};
use super::session::{BrowserSession, Record, SessionId};
use super::shared::{Lock, Shared, SharedError};

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
                Some(session) => self.current(id, session, now_ms),
                None => Settled::Over("there is no such session, or no more"),
            };
        };
        if let Some(session) = remembered
            .clone()
            .filter(|it| self.is_confirmed(it, now_ms))
        {
            return self.current(id, session, now_ms);
        }
        match (shared.load(id).await, remembered) {
            (Ok(None), _) => {
                self.sessions.memory.remove(id);
                Settled::Over("there is no such session, or no more")
            }
            (Ok(Some(record)), Some(session)) if session.record.renewals >= record.renewals => {
                if session.record.renewals > record.renewals
                    && let Err(error) = shared.replace(id, &session.record).await
                {
                    return Settled::Unavailable(error.to_string().into());
                }
                session.confirm(now_ms);
                // Another node may have had a request since.
                session.touch(now_ms / 1000, u64::MAX);
                self.current(id, session, now_ms)
            }
            (Ok(Some(record)), _) => self.adopt(id, record, now_ms),
            (Err(error), Some(session)) if self.on_store_down == OnStoreDown::Remembered => {
                log::warn!("oidc {}: {error}; going by what is remembered", self.name);
                self.current(id, session, now_ms)
            }
            (Err(error), _) => Settled::Unavailable(error.to_string().into()),
        }
    }

    /// A remembered session, with the identity that this configuration sees in it.
    fn current(&self, id: &SessionId, session: Arc<BrowserSession>, now_ms: u64) -> Settled {
        match session.mapped_by == self.build {
            true => Settled::Good(session),
            false => self.adopt(id, session.record.clone(), now_ms),
        }
    }

    /// Remembers what the store has, or what was just made.
    pub(super) fn adopt(&self, id: &SessionId, record: Record, now_ms: u64) -> Settled {
        let identity = match self.identity(&record) {
            Ok(identity) => identity,
            Err(why) => {
                log::info!("oidc {}: a session is refused: {why}", self.name);
                return Settled::Over("the claims are none of anybody who may come in");
            }
        };
        let session = Arc::new(BrowserSession::new(record, identity, self.build, now_ms));
        self.sessions
            .memory
            .insert(*id, session.clone(), now_ms / 1000, self.idle);
        Settled::Good(session)
    }

    async fn renew(self: Arc<Self>, id: SessionId) -> Settled {
        let renewal = tokio::time::timeout(self.patience, self.renew_alone(&id)).await;
        let settled =
            renewal.unwrap_or_else(|_| Settled::Unavailable("the renewal took too long".into()));
        if let Settled::Unavailable(why) = &settled {
            log::warn!("oidc {}: a session cannot be renewed: {why}", self.name);
            self.sessions.pause(id, unix_ms() / 1000 + PAUSE);
        }
        settled
    }

    async fn renew_alone(&self, id: &SessionId) -> Settled {
        let Some(shared) = &self.shared else {
            let Some(session) = self.sessions.memory.find(id) else {
                return Settled::Over("the session has been ended");
            };
            // Whoever asked may have looked before the last renewal was done.
            return match self.is_due(&session.record, unix_ms() / 1000) {
                true => self.redeem(id, &session.record).await,
                false => Settled::Good(session),
            };
        };
        match self.take_turn(shared, id).await {
            Ok(Turn::Mine(lock, record)) => {
                let settled = self.redeem(id, &record).await;
                if let Err(error) = shared.unlock(lock).await {
                    log::debug!("oidc {}: {error}", self.name);
                }
                settled
            }
            Ok(Turn::Done(record)) => self.adopt(id, record, unix_ms()),
            Ok(Turn::Over) => {
                self.sessions.memory.remove(id);
                Settled::Over("the session has been ended")
            }
            Err(error) => Settled::Unavailable(error.to_string().into()),
        }
    }

    /// Waits for the lock on a session, or for another node to be done with it.
    async fn take_turn(&self, shared: &Shared, id: &SessionId) -> Result<Turn, SharedError> {
        loop {
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
                    return Ok(record.map_or(Turn::Over, Turn::Done));
                }
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Shows the refresh token.
    async fn redeem(&self, id: &SessionId, record: &Record) -> Settled {
        match self.renewed(record).await {
            Ok(next) => self.replace(id, next).await,
            Err(ExchangeError::Refused) => {
                self.forget(id).await;
                Settled::Over("the provider refuses to renew the session")
            }
            Err(error) => Settled::Unavailable(error.to_string().into()),
        }
    }

    async fn renewed(&self, record: &Record) -> Result<Record, ExchangeError> {
        let unavailable =
            |error: &dyn std::fmt::Display| ExchangeError::Unavailable(error.to_string().into());
        let metadata = self.discovery.metadata(&self.client, &self.issuer).await;
        let metadata = metadata.map_err(|error| unavailable(&error))?;
        let token = record.tokens.refresh.as_deref().unwrap_or_default();
        let parameters = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let granted = redeem(
            &self.client,
            &metadata.token_endpoint,
            &self.credentials,
            &parameters,
        )
        .await?;
        let mut next = record.clone();
        if let Some(id_token) = &granted.id_token {
            // OpenID Connect Core section 12.2: of the same person, by the same provider.
            let claims = self
                .verifier
                .id_token(id_token)
                .await
                .map_err(|error| unavailable(&error))?;
            if claims.get("sub") != record.claims.get("sub") {
                return Err(ExchangeError::Refused);
            }
            next.claims.extend(claims);
        }
        next.tokens = granted.tokens(Some(&record.tokens), unix_ms() / 1000)?;
        next.renewals += 1;
        Ok(next)
    }

    /// Puts a renewed session in the place of the old one, unless that has been ended meanwhile.
    ///
    /// Where the store cannot be told, this node remembers what the provider has given, and tells it later: the refresh
    /// token that the store has is good no more.
    async fn replace(&self, id: &SessionId, record: Record) -> Settled {
        let identity = match self.identity(&record) {
            Ok(identity) => identity,
            Err(why) => {
                log::info!("oidc {}: a session ends: {why}", self.name);
                self.forget(id).await;
                return Settled::Over("the claims are none of anybody who may come in");
            }
        };
        let stored = match &self.shared {
            Some(shared) => shared.replace(id, &record).await,
            None => Ok(self.sessions.memory.find(id).is_some()),
        };
        match stored {
            Ok(true) => {}
            Ok(false) => {
                self.sessions.memory.remove(id);
                return Settled::Over("the session has been ended");
            }
            Err(error) => log::warn!(
                "oidc {}: a renewed session is not stored: {error}",
                self.name
            ),
        }
        let now_ms = unix_ms();
        let session = Arc::new(BrowserSession::new(record, identity, self.build, now_ms));
        if !self.sessions.memory.replace(id, &session) {
            if self.shared.is_none() {
                return Settled::Over("the session has been ended");
            }
            self.sessions
                .memory
                .insert(*id, session.clone(), now_ms / 1000, self.idle);
        }
        Settled::Good(session)
    }

    /// Ends a session everywhere, as far as the store can be told.
    pub(super) async fn forget(&self, id: &SessionId) {
        self.sessions.memory.remove(id);
        if let Some(shared) = &self.shared
            && let Err(error) = shared.remove(id).await
        {
            log::warn!("oidc {}: a session stays in the store: {error}", self.name);
        }
    }
}

/// Whose turn it is to renew a session.
enum Turn {
    Mine(Lock, Record),
    Done(Record),
    Over,
}
