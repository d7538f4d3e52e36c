//! What is known of one login, and for how long it is good.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::Identity;
use super::seal::OVERHEAD;

/// Names a session and opens what a store has of it: only the cookie of its browser holds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; SessionId::LENGTH]);

impl SessionId {
    const LENGTH: usize = 32;
    /// How long the value of a session's cookie is: sealed, and in base64url.
    pub const COOKIE: usize = ((SessionId::LENGTH + OVERHEAD) * 4).div_ceil(3);

    /// A new one, which nobody can guess. `None` where the system has no randomness.
    pub fn draw() -> Option<SessionId> {
        let mut bytes = [0; SessionId::LENGTH];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        Some(SessionId(bytes))
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<SessionId> {
        Some(SessionId(bytes.try_into().ok()?))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What a store may know it by: from this nobody finds the id.
    pub fn public_name(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What the provider has given for a login.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// Shown to the provider when the session is to end there, too.
    pub id: Box<str>,
    pub access: Option<Box<str>>,
    pub refresh: Option<Box<str>>,
    /// When the access token ends, in Unix seconds, where the provider says it.
    pub expires: Option<u64>,
    /// When it should be renewed.
    pub renew: Option<u64>,
}

impl Tokens {
    /// Whether they should be renewed.
    pub fn is_due(&self, now: u64) -> bool {
        self.refresh.is_some() && self.renew.is_some_and(|renew| now >= renew)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// All of a session that a store keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The claims of the ID token.
    pub claims: Map<String, Value>,
    /// Those of the userinfo endpoint, where it is asked. Each renewal replaces both.
    pub userinfo: Map<String, Value>,
    pub tokens: Tokens,
    /// What the provider has given for the refresh token of `tokens`, which is spent since, while it cannot be told yet
    /// what these new tokens say. Until then the session is as good as the old ones.
    pub next: Option<Tokens>,
    /// When it ends whatever happens, in Unix seconds.
    pub ends: u64,
    /// Of two records of one session the one with the greater number is the newer one.
    pub version: u64,
}

/// What a renewed ID token need not say again (OpenID Connect Core section 12.2): it is of the login, which stays the
/// same. What else it does not say is not true any more.
const OF_THE_LOGIN: [&str; 5] = ["sid", "nonce", "auth_time", "acr", "amr"];

impl Record {
    /// The tokens that were given last.
    pub fn newest(&self) -> &Tokens {
        self.next.as_ref().unwrap_or(&self.tokens)
    }

    /// Everything that is said of the person. The ID token counts more than the endpoint, which says nothing of the
    /// login.
    pub fn all_claims(&self) -> Map<String, Value> {
        let mut all = self.userinfo.clone();
        all.extend(self.claims.clone());
        all
    }

    /// The claims of a renewed ID token, with those of the login that it does not say again.
    pub fn renewed_claims(&self, mut fresh: Map<String, Value>) -> Map<String, Value> {
        for name in OF_THE_LOGIN {
            if let (Some(value), false) = (self.claims.get(name), fresh.contains_key(name)) {
                fresh.insert(name.to_owned(), value.clone());
            }
        }
        fresh
    }

    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// How the provider names the person.
    pub fn subject(&self) -> &str {
        self.claim("sub").unwrap_or_default()
    }

    /// How the provider names its own session (OpenID Connect Front-Channel Logout section 3).
    pub fn provider_session(&self) -> Option<&str> {
        self.claim("sid")
    }
}

/// A session as one node remembers it.
#[derive(Debug)]
pub struct BrowserSession {
    pub record: Record,
    pub identity: Arc<Identity>,
    /// Which build of the provider has made the identity: another may see another in the same claims.
    pub mapped_by: u64,
    /// When a request last came with it, in Unix seconds.
    used: AtomicU64,
    /// When the store last said that it still is, in Unix milliseconds.
    confirmed: AtomicU64,
}

impl BrowserSession {
    pub fn new(
        record: Record,
        identity: Arc<Identity>,
        mapped_by: u64,
        now_ms: u64,
    ) -> BrowserSession {
        BrowserSession {
            record,
            identity,
            mapped_by,
            used: AtomicU64::new(now_ms / 1000),
            confirmed: AtomicU64::new(now_ms),
        }
    }

    /// The same session with the identity that another build sees in it: it is no younger by that.
    pub fn mapped(&self, identity: Arc<Identity>, mapped_by: u64) -> BrowserSession {
        BrowserSession {
            record: self.record.clone(),
            identity,
            mapped_by,
            used: AtomicU64::new(self.used()),
            confirmed: AtomicU64::new(self.confirmed()),
        }
    }

    /// Whether it is good at this second; a request that came with it gives it another `idle` seconds.
    pub fn touch(&self, now: u64, idle: u64) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        if now >= self.record.ends || now >= used.saturating_add(idle) {
            return false;
        }
        if now > used {
            self.used.store(now, Ordering::Relaxed);
        }
        true
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Relaxed)
    }

    pub fn confirm(&self, now_ms: u64) {
        self.confirmed.store(now_ms, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn record(subject: &str, sid: &str, ends: u64) -> Record {
        let claims = serde_json::json!({ "sub": subject, "sid": sid });
        Record {
            claims: claims.as_object().cloned().unwrap_or_default(),
            userinfo: Map::new(),
            tokens: Tokens {
                id: "i".into(),
                access: None,
                refresh: None,
                expires: None,
                renew: None,
            },
            next: None,
            ends,
            version: 0,
        }
    }

    pub fn session(subject: &str, sid: &str, ends: u64, now: u64) -> Arc<BrowserSession> {
        let record = record(subject, sid, ends);
        Arc::new(BrowserSession::new(record, Arc::default(), 0, now * 1000))
    }

    #[test]
    fn it_ends_by_idleness_or_by_age() {
        let session = session("alice", "s", 100, 10);
        assert!(session.touch(19, 10));
        assert!(session.touch(28, 10), "it was used since");
        assert!(!session.touch(38, 10), "idle");
        assert!(!session.touch(100, 1000), "old");
        assert!(session.touch(99, 1000));
        // A clock that was set back makes it no younger and ends nothing.
        assert!(session.touch(5, 1000));
        assert_eq!(session.used(), 99);
    }

    #[test]
    fn another_build_makes_it_no_younger() {
        let session = session("alice", "s", 100, 10);
        assert!(session.touch(12, 10));
        session.confirm(11_500);
        let mapped = session.mapped(Arc::default(), 7);
        assert_eq!((mapped.mapped_by, &mapped.record), (7, &session.record));
        assert_eq!((mapped.used(), mapped.confirmed()), (12, 11_500));
        assert!(!mapped.touch(22, 10), "it has been idle all the time");
    }

    #[test]
    fn what_a_renewed_token_does_not_say_is_not_true_any_more() {
        let object = |value: Value| value.as_object().cloned().expect("claims");
        let mut record = record("alice", "s", 100);
        record.claims.extend(object(serde_json::json!({
            "roles": ["admin"], "acr": "1", "nonce": "n", "iat": 1
        })));
        record.userinfo = object(serde_json::json!({ "sub": "mallory", "email": "a@b.c" }));
        let fresh = serde_json::json!({ "sub": "alice", "acr": "2", "iat": 2 });
        record.claims = record.renewed_claims(object(fresh));
        let expected = serde_json::json!({
            "sub": "alice", "sid": "s", "acr": "2", "nonce": "n", "iat": 2
        });
        assert_eq!(record.claims, object(expected));
        let all = record.all_claims();
        assert_eq!(
            (&all["sub"], &all["email"]),
            (&"alice".into(), &"a@b.c".into())
        );
    }

    #[test]
    fn nothing_that_opens_a_session_is_printed() {
        let id = SessionId::draw().expect("randomness");
        assert_eq!(format!("{id:?}"), "***");
        assert_ne!(Some(id), SessionId::draw());
        let record = record("alice", "s", 100);
        assert!(format!("{record:?}").contains("tokens: ***"));
        assert_eq!(SessionId::from_bytes(id.as_bytes()), Some(id));
        assert_eq!(SessionId::from_bytes(&[0; 31]), None);
    }
}
