//! Tokens that the provider signs for the gateway: ID tokens and logout tokens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Request;
use http::header::ACCEPT;
use serde_json::{Map, Value};

use super::metadata::{Discovery, MetadataError};
use super::provider::unix_ms;
use crate::identity::jwt::{Plausible, Refused, Rules};
use crate::identity::keys::KeySet;
use crate::identity::{Client, ClientError, Url};

/// Keys that verified a token so long ago are fetched again before the next one.
const FRESH: Duration = Duration::from_secs(300);
/// Between two fetches, however many tokens name keys that nobody knows.
const COOL_DOWN: Duration = Duration::from_secs(2);

/// A longer token is refused, in bytes.
const LONGEST: usize = 64 << 10;

/// Why a token proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("{}", .0.as_str())]
    Refused(Refused),
    #[error("the token was issued to another client (azp)")]
    Party,
    #[error("the provider's keys cannot be had: {0}")]
    Keys(Box<str>),
}

impl From<Refused> for TokenError {
    fn from(refused: Refused) -> TokenError {
        TokenError::Refused(refused)
    }
}

impl From<ClientError> for TokenError {
    fn from(error: ClientError) -> TokenError {
        TokenError::Keys(error.to_string().into())
    }
}

impl From<MetadataError> for TokenError {
    fn from(error: MetadataError) -> TokenError {
        TokenError::Keys(error.to_string().into())
    }
}

/// What tokens must say, and the keys that sign them.
pub struct Verifier {
    pub issuer: Url,
    pub client_id: Box<str>,
    pub(in crate::identity) id: Rules,
    pub(in crate::identity) logout: Rules,
    pub client: Client,
    pub discovery: Arc<Discovery>,
    pub keys: Arc<Keys>,
}

/// The keys of a provider as they were last fetched. They outlive reloads.
#[derive(Debug, Default)]
pub struct Keys {
    set: ArcSwap<KeySet>,
    fetched: Mutex<Option<Instant>>,
    /// When the provider last had no good answer.
    failed: Mutex<Option<Instant>>,
    turn: tokio::sync::Mutex<()>,
}

impl Verifier {
    /// The claims of an ID token (OpenID Connect Core section 3.1.3.7), of which the caller checks the nonce.
    pub async fn id_token(&self, token: &str) -> Result<Map<String, Value>, TokenError> {
        let claims = self.claims(token, &self.id).await?;
        let several = claims
            .get("aud")
            .and_then(Value::as_array)
            .is_some_and(|aud| aud.len() > 1);
        match claims.get("azp") {
            None if !several => Ok(claims),
            Some(Value::String(azp)) if **azp == *self.client_id => Ok(claims),
            _ => Err(TokenError::Party),
        }
    }

    /// The claims of a logout token; what they ask for is the caller's to see.
    pub async fn logout_token(&self, token: &str) -> Result<Map<String, Value>, TokenError> {
        self.claims(token, &self.logout).await
    }

    async fn claims(&self, token: &str, rules: &Rules) -> Result<Map<String, Value>, TokenError> {
        // What would not count anyway has no keys fetched.
        let plausible = Plausible::check(token.as_bytes(), rules, LONGEST, unix_ms() / 1000)?;
        if self.keys.is_fresh(FRESH) {
            match plausible.check_signature(&self.keys.set.load()) {
                Ok(()) => return Ok(plausible.into_claims()),
                // The provider may have other keys by now.
                Err(_) if !self.keys.is_fresh(COOL_DOWN) => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        let set = self.fetch().await?;
        plausible.check_signature(&set)?;
        Ok(plausible.into_claims())
    }

    async fn fetch(&self) -> Result<Arc<KeySet>, TokenError> {
        let asked = Instant::now();
        let _turn = self.keys.turn.lock().await;
        if self.keys.fetched().is_some_and(|fetched| fetched >= asked) {
            return Ok(self.keys.set.load_full());
        }
        // Whoever waited for a fetch that failed, or comes right after it, does not begin another: each would wait for
        // all before it.
        let failed = *lock(&self.keys.failed);
        if failed.is_some_and(|failed| failed >= asked || failed.elapsed() < COOL_DOWN) {
            return Err(TokenError::Keys("the provider has just failed".into()));
        }
        let set = self.ask().await;
        let answered = match &set {
            Ok(set) => {
                self.keys.set.store(set.clone());
                &self.keys.fetched
            }
            Err(_) => &self.keys.failed,
        };
        *lock(answered) = Some(Instant::now());
        set
    }

    async fn ask(&self) -> Result<Arc<KeySet>, TokenError> {
        let metadata = self.discovery.metadata(&self.client, &self.issuer).await?;
        let request = Request::get(metadata.jwks_uri.as_str()).header(ACCEPT, "application/json");
        let request = request
            .body(Bytes::new())
            .map_err(|error| TokenError::Keys(error.to_string().into()))?;
        let response = self.client.send(request).await?;
        if response.status() != http::StatusCode::OK {
            return Err(TokenError::Keys(
                format!("the provider answers {}", response.status()).into(),
            ));
        }
        let set = KeySet::parse_jwks(response.body());
        let set = set.map_err(|error| TokenError::Keys(error.to_string().into()))?;
        Ok(Arc::new(set))
    }
}

impl Keys {
    fn is_fresh(&self, within: Duration) -> bool {
        self.fetched()
            .is_some_and(|fetched| fetched.elapsed() < within)
    }

    fn fetched(&self) -> Option<Instant> {
        *lock(&self.fetched)
    }
}

fn lock(moment: &Mutex<Option<Instant>>) -> std::sync::MutexGuard<'_, Option<Instant>> {
    moment.lock().unwrap_or_else(PoisonError::into_inner)
}
