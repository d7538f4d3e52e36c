//! Tokens that the provider signs for the gateway: ID tokens and logout tokens.

use ahash::RandomState;
use serde_json::{Map, Value};

use super::provider::unix_ms;
use crate::identity::jwt::{Plausible, Refused, Rules};
use crate::identity::keys::{Source, Unavailable, Wanted};

/// A longer token is refused, in bytes.
const LONGEST: usize = 64 << 10;

/// Why a token proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("{}", .0.as_str())]
    Refused(Refused),
    #[error("the token was issued to another client (azp)")]
    Party,
    #[error("{Unavailable}")]
    Keys,
}

impl From<Refused> for TokenError {
    fn from(refused: Refused) -> TokenError {
        TokenError::Refused(refused)
    }
}

impl From<Unavailable> for TokenError {
    fn from(_: Unavailable) -> TokenError {
        TokenError::Keys
    }
}

/// What tokens must say, and the keys that sign them.
pub struct Verifier {
    pub client_id: Box<str>,
    pub(in crate::identity) id: Rules,
    pub(in crate::identity) logout: Rules,
    pub keys: Source,
    /// For hashes of tokens.
    pub state: RandomState,
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
        let wanted = match self.keys.keys(plausible.kid()) {
            None => Wanted::Named(plausible.kid()),
            Some(keys) => {
                let token = self.state.hash_one(token);
                match plausible.check_signature(&keys) {
                    Ok(()) => return Ok(plausible.into_claims()),
                    // The provider may have begun to sign with another key, and not have said so by a new name.
                    Err(Refused::NoKey | Refused::Signature) if self.keys.may_change(token) => {
                        let than = keys.clone();
                        Wanted::Other { than, token }
                    }
                    Err(refused) => return Err(refused.into()),
                }
            }
        };
        let keys = self.keys.renewed(wanted).await?;
        plausible.check_signature(&keys)?;
        Ok(plausible.into_claims())
    }
}
