//! One renewal: the refresh token is shown, what comes back is kept before anything else, and is read then.
//!
//! From the moment that the provider has given new tokens the old refresh token is spent, and must never be shown again. So
//! the new ones are kept as [`Record::next`] before their ID token is judged. Where that cannot be done now, the next
//! renewal goes on from there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::exchange::{ExchangeError, redeem};
use super::provider::{Core, Settled, unix_ms};
use super::session::{BrowserSession, Record, SessionId, Tokens};
use super::shared::Lock;
use super::token::TokenError;

/// Between two attempts to tell the store what the provider has given.
const TELL_AGAIN: Duration = Duration::from_millis(200);
/// The store is told no more so long before the lock ends: another gateway may have it then.
const MARGIN: Duration = Duration::from_secs(2);

/// The session that is renewed, and the right to do so where there is a store.
pub(super) struct Renewal {
    id: SessionId,
    lock: Option<Lock>,
    /// What the store could not be told.
    untold: Option<Record>,
}

/// Why it is not known what new tokens say.
enum Unread {
    /// They are of nobody, or of somebody else; why, for the log.
    Refused(Box<str>),
    /// It cannot be told now.
    Unavailable(Box<str>),
}

impl From<ExchangeError> for Unread {
    fn from(error: ExchangeError) -> Unread {
        match error {
            ExchangeError::Unavailable(why) => Unread::Unavailable(why),
            error => Unread::Refused(error.to_string().into()),
        }
    }
}

impl From<TokenError> for Unread {
    fn from(error: TokenError) -> Unread {
        let why = error.to_string().into();
        match error {
            TokenError::Keys => Unread::Unavailable(why),
            _ => Unread::Refused(why),
        }
    }
}

impl Renewal {
    pub(super) fn new(id: SessionId, lock: Option<Lock>) -> Renewal {
        Renewal {
            id,
            lock,
            untold: None,
        }
    }
}

impl Core {
    /// Renews a session, and gives the lock back once the store knows what has become of it.
    pub(super) async fn refresh(self: &Arc<Self>, mut renewal: Renewal, record: Record) -> Settled {
        let refreshed = self.refreshed(&mut renewal, record).await;
        if let (Some(shared), Some(lock)) = (&self.shared, renewal.lock) {
            match renewal.untold {
                Some(record) => {
                    tokio::spawn(self.clone().tell_later(renewal.id, record, lock));
                }
                None => {
                    if let Err(error) = shared.unlock(lock).await {
                        log::debug!("oidc {}: {error}", self.name);
                    }
                }
            }
        }
        refreshed.map_or_else(|other| other, Settled::Good)
    }

    async fn refreshed(
        &self,
        renewal: &mut Renewal,
        mut record: Record,
    ) -> Result<Arc<BrowserSession>, Settled> {
        let now = unix_ms() / 1000;
        // Of an earlier renewal, and not in need of another themselves.
        let mut waiting = record.next.clone();
        if waiting.as_ref().is_some_and(|next| next.is_due(now)) {
            waiting = None;
        }
        loop {
            let is_new = waiting.is_none();
            let next = match waiting.take() {
                Some(next) => next,
                None => {
                    let next = self.redeem_refresh(renewal, &record).await?;
                    record.next = Some(next.clone());
                    record.version += 1;
                    self.keep(renewal, &record).await?;
                    next
                }
            };
            match self.read(&record, &next).await {
                Ok((claims, userinfo)) => {
                    (record.claims, record.userinfo) = (claims, userinfo);
                    (record.tokens, record.next) = (next, None);
                    record.version += 1;
                    return self.keep(renewal, &record).await;
                }
                Err(Unread::Unavailable(why)) => {
                    return Err(Settled::Unavailable(String::from(why).into()));
                }
                // What had to wait may have become too old.
                Err(Unread::Refused(_)) if !is_new => {}
                Err(Unread::Refused(why)) => {
                    log::warn!("oidc {}: renewed tokens are no good: {why}", self.name);
                    self.forget(&renewal.id).await;
                    return Err(Settled::Over("the tokens of the renewal are no good"));
                }
            }
        }
    }

    /// Shows the refresh token.
    async fn redeem_refresh(&self, renewal: &Renewal, record: &Record) -> Result<Tokens, Settled> {
        let unavailable =
            |error: &dyn std::fmt::Display| Settled::Unavailable(error.to_string().into());
        let metadata = self.discovery.metadata(&self.client, &self.issuer).await;
        let metadata = metadata.map_err(|error| unavailable(&error))?;
        let before = record.newest();
        let token = before.refresh.as_deref().unwrap_or_default();
        let parameters = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let granted = redeem(
            &self.client,
            &metadata.token_endpoint,
            &self.credentials,
            &parameters,
        )
        .await;
        let tokens = granted.and_then(|granted| granted.tokens(Some(before), unix_ms() / 1000));
        match tokens {
            Ok(tokens) => Ok(tokens),
            Err(ExchangeError::Refused) => {
                self.forget(&renewal.id).await;
                Err(Settled::Over("the provider refuses to renew the session"))
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// What new tokens say of the person: the claims of the ID token, and those of the userinfo endpoint.
    async fn read(
        &self,
        record: &Record,
        next: &Tokens,
    ) -> Result<(Map<String, Value>, Map<String, Value>), Unread> {
        let mut claims = record.claims.clone();
        // Without a new one, what the last one said still holds.
        if next.id != record.tokens.id {
            let fresh = self.verifier.id_token(&next.id).await?;
            // OpenID Connect Core section 12.2: of the same person, and where it names a login of the same one.
            if fresh.get("sub") != claims.get("sub") {
                return Err(Unread::Refused("the ID token is of somebody else".into()));
            }
            let nonce = fresh.get("nonce");
            if nonce.is_some() && nonce != claims.get("nonce") {
                return Err(Unread::Refused("the ID token is of another login".into()));
            }
            claims = record.renewed_claims(fresh);
        }
        let userinfo = self
            .userinfo(next.access.as_deref(), record.subject())
            .await?;
        Ok((claims, userinfo))
    }

    /// Puts a record in the place of the one before it, unless the session has been ended meanwhile.
    ///
    /// Where the store cannot be told, this node remembers what the provider has given, and tells it later: the refresh
    /// token that the store has is good no more.
    async fn keep(
        &self,
        renewal: &mut Renewal,
        record: &Record,
    ) -> Result<Arc<BrowserSession>, Settled> {
        let (id, memory) = (&renewal.id, &self.sessions.memory);
        let identity = match self.identity(record) {
            Ok(identity) => identity,
            Err(why) => {
                log::info!("oidc {}: a session ends: {why}", self.name);
                self.forget(id).await;
                return Err(Settled::Over(
                    "the claims are none of anybody who may come in",
                ));
            }
        };
        let (since, now_ms) = (memory.moment(id), unix_ms());
        let session = BrowserSession::new(record.clone(), identity, self.build, now_ms);
        let is_there = match &self.shared {
            None => true,
            Some(shared) => match shared.replace(id, record).await {
                Ok(is_there) => {
                    renewal.untold = None;
                    is_there
                }
                Err(error) => {
                    log::warn!(
                        "oidc {}: a renewed session is not stored yet: {error}",
                        self.name
                    );
                    renewal.untold = Some(record.clone());
                    // The next request finds out how the store does.
                    session.confirm(0);
                    true
                }
            },
        };
        let session = Arc::new(session);
        let over = Settled::Over("the session has been ended");
        if !is_there {
            memory.remove(id);
            return Err(over);
        }
        if !memory.replace(id, &session) {
            if self.shared.is_none() {
                return Err(over);
            }
            memory.insert(*id, session.clone(), since, (now_ms / 1000, self.idle));
        }
        Ok(session)
    }

    /// Tells the store what it could not be told, for as long as nobody else has the lock.
    async fn tell_later(self: Arc<Self>, id: SessionId, record: Record, lock: Lock) {
        let Some(shared) = &self.shared else { return };
        while Instant::now() + MARGIN < lock.ends() {
            tokio::time::sleep(TELL_AGAIN).await;
            match shared.replace(&id, &record).await {
                Err(_) => continue,
                Ok(true) => {}
                Ok(false) => drop(self.sessions.memory.remove(&id)),
            }
            if let Err(error) = shared.unlock(lock).await {
                log::debug!("oidc {}: {error}", self.name);
            }
            return;
        }
        log::warn!(
            "oidc {}: a renewed session could not be stored in time",
            self.name
        );
    }
}
