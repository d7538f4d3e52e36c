//! The gateway as an issuer: short tokens that tell upstreams who calls, and that they can verify.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ahash::RandomState;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Identity;
use crate::text::{Duration, Secret, Spanned, Subject};

/// How many tokens are kept. Each has some hundred bytes.
const MOST_TOKENS: usize = 10_000;

/// How long a token is good, in seconds.
const USUAL: u64 = 60;
const SHORTEST: u64 = 2;
const LONGEST: u64 = 60 * 60;

/// The gateway's own tokens, which the policy `identity_token` gives to upstreams. Their public keys are published by
/// the admin listener at `/jwks.json`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "IssuerConfig")]
pub struct Config {
    /// Their `iss`. Default `"northgate"`.
    pub name: Box<str>,
    /// The key that signs them: for ES256, in PEM (PKCS #8), as `openssl genpkey -algorithm EC -pkeyopt
    /// ec_paramgen_curve:P-256` makes it. Several gateways whose tokens are to be one share it. Default: one that is
    /// made when the gateway starts, and that nobody else has.
    pub key: Option<Spanned<Secret>>,
    /// Keys that signed before: upstreams may still get tokens of theirs, so they stay published. Default: none.
    pub previous_keys: Vec<Spanned<Secret>>,
    /// How long a token is good. One is used again for the same caller until half of that is over. Default `"1m"`,
    /// from `"2s"` to `"1h"`.
    pub lifetime: Option<Spanned<Duration>>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            name: "northgate".into(),
            key: None,
            previous_keys: Vec::new(),
            lifetime: None,
        }
    }
}

impl Config {
    /// Whether what it means depends on more than what is written.
    pub(super) fn reads_files(&self) -> bool {
        self.key.is_some() || !self.previous_keys.is_empty()
    }
}

/// Signs tokens.
pub struct Issuer {
    name: Box<str>,
    lifetime: u64,
    /// Made when it is first needed where none is configured, and then kept by reloads.
    key: Arc<OnceLock<Option<Key>>>,
    is_self_made: bool,
    previous: Box<[Value]>,
    tokens: Mutex<HashMap<Box<str>, Kept, RandomState>>,
}

/// A token that can be used again.
struct Kept {
    token: Box<str>,
    until: u64,
}

struct Key {
    pair: EcdsaKeyPair,
    /// The header of its tokens, encoded.
    header: Box<str>,
    jwk: Value,
}

impl Default for Issuer {
    fn default() -> Issuer {
        Issuer {
            name: Config::default().name,
            lifetime: USUAL,
            key: Arc::default(),
            is_self_made: true,
            previous: Box::default(),
            tokens: Mutex::default(),
        }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why a key cannot sign.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must be a private key for ES256 in PEM (PKCS #8)")]
struct NoKey;

impl Issuer {
    /// `before` is the one of the running configuration, whose key is kept where none is configured. What is wrong
    /// with the keys is told, and they are left out.
    pub fn build(
        config: &Config,
        folder: &Path,
        before: Option<&Issuer>,
        subject: &mut Subject<'_>,
    ) -> Issuer {
        let read = |secret: &Spanned<Secret>, subject: &mut Subject<'_>| {
            let content = match secret.read(folder) {
                Ok(content) => content,
                Err(error) => {
                    subject.error(secret.span, error);
                    return None;
                }
            };
            let key = Key::parse(content.expose());
            key.map_err(|error| subject.error(secret.span, error)).ok()
        };
        let lifetime = config
            .lifetime
            .map_or(USUAL, |it| it.value.as_std().as_secs());
        if let Some(written) = &config.lifetime
            && !(SHORTEST..=LONGEST).contains(&lifetime)
        {
            let what = format!("must be from \"2s\" to \"1h\", got \"{}\"", written.value);
            subject.key("lifetime").error(written.span, what);
        }
        let key = match &config.key {
            Some(secret) => Arc::new(OnceLock::from(read(secret, &mut subject.key("key")))),
            None => match before.filter(|before| before.is_self_made) {
                Some(before) => before.key.clone(),
                None => Arc::default(),
            },
        };
        let mut list = subject.key("previous_keys");
        let previous = config.previous_keys.iter().enumerate();
        let previous = previous
            .filter_map(|(index, secret)| read(secret, &mut list.index(index)).map(|key| key.jwk));
        Issuer {
            name: config.name.clone(),
            lifetime,
            key,
            is_self_made: config.key.is_none(),
            previous: previous.collect(),
            tokens: Mutex::default(),
        }
    }

    /// The public keys, as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> Value {
        let own = self.key().map(|key| &key.jwk);
        let keys: Vec<&Value> = own.into_iter().chain(&self.previous).collect();
        json!({ "keys": keys })
    }

    /// A token that says who calls, for `audience`, with these claims of the caller's below `claims`. It is
    /// over when the identity's `expires` is, at the latest. `None` where there is no key, or the proof is over.
    pub fn token(
        &self,
        identity: &Identity,
        audience: &str,
        claims: &[Box<str>],
        now: u64,
    ) -> Option<Box<str>> {
        let mut said = self.said(identity, audience, claims);
        let what = Value::Object(said.clone()).to_string();
        let end = identity
            .expires
            .unwrap_or(u64::MAX)
            .min(now + self.lifetime);
        let lock = || self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = lock().get(&*what)
            && now < kept.until
        {
            return Some(kept.token.clone());
        }
        if end <= now {
            return None;
        }
        said.insert("iat".into(), now.into());
        said.insert("exp".into(), end.into());
        let token = self.key()?.sign(&Value::Object(said))?;
        let until = now + (end - now).div_ceil(2);
        let mut tokens = lock();
        if tokens.len() >= MOST_TOKENS {
            tokens.retain(|_, kept| now < kept.until);
            if tokens.len() >= MOST_TOKENS {
                tokens.clear();
            }
        }
        let kept = Kept {
            token: token.clone(),
            until,
        };
        tokens.insert(what.into(), kept);
        Some(token)
    }

    fn said(&self, identity: &Identity, audience: &str, claims: &[Box<str>]) -> Map<String, Value> {
        let mut said = Map::new();
        let mut say = |name: &str, value: Value| {
            said.insert(name.to_owned(), value);
        };
        say("iss", (*self.name).into());
        say("aud", audience.into());
        say("sub", (*identity.subject).into());
        if let Some(consumer) = identity.consumer() {
            say("consumer", consumer.into());
        }
        if let Some(plan) = &identity.plan {
            say("plan", (**plan).into());
        }
        say("scope", identity.scopes.join(" ").into());
        let words = |words: &[Box<str>]| -> Value {
            words.iter().map(|word| Value::from(&**word)).collect()
        };
        say("roles", words(&identity.roles));
        say("groups", words(&identity.groups));
        say("authenticator", identity.authenticator.into());
        // Subjects are names that one provider gives.
        say("provider", (*identity.provider).into());
        if let Some(credential) = &identity.credential {
            say("credential", (**credential).into());
        }
        if let Some(expires) = identity.expires {
            // So that another proof makes another token.
            say("auth_exp", expires.into());
        }
        let chosen = claims
            .iter()
            .filter_map(|name| Some((name.to_string(), identity.claim(name)?.clone())));
        let chosen: Map<String, Value> = chosen.collect();
        if !chosen.is_empty() {
            say("claims", Value::Object(chosen));
        }
        said
    }

    fn key(&self) -> Option<&Key> {
        self.key.get_or_init(Key::generate).as_ref()
    }
}

impl Key {
    /// `None` where the system gives no random bits.
    fn generate() -> Option<Key> {
        Key::of(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?).ok()
    }

    fn parse(pem: &[u8]) -> Result<Key, NoKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| NoKey)?;
        let der = der.secret_pkcs8_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
        Key::of(pair.map_err(|_| NoKey)?)
    }

    fn of(pair: EcdsaKeyPair) -> Result<Key, NoKey> {
        // An uncompressed point: a byte that says so, and two coordinates of 32.
        let point = pair.public_key().as_ref();
        let (x, y) = point
            .get(1..)
            .and_then(|both| both.split_at_checked(32))
            .ok_or(NoKey)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // RFC 7638: its members in order, without spaces.
        let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, thumbprint.as_bytes()));
        let header = json!({ "alg": "ES256", "kid": kid, "typ": "JWT" });
        Ok(Key {
            header: URL_SAFE_NO_PAD.encode(header.to_string()).into(),
            jwk: json!({
                "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "alg": "ES256", "use": "sig",
            }),
            pair,
        })
    }

    /// RFC 7515 section 3.1.
    fn sign(&self, claims: &Value) -> Option<Box<str>> {
        let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
        let message = format!("{}.{payload}", self.header);
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message.as_bytes())
            .ok()?;
        let signature = URL_SAFE_NO_PAD.encode(signature);
        Some(format!("{message}.{signature}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::{Algorithm, KeySet};
    use super::*;

    fn claims_of(token: &str) -> Value {
        let payload = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    fn identity(expires: Option<u64>) -> Identity {
        let claims = json!({ "tenant": "acme", "email": "a@b" });
        Identity {
            subject: "u1".into(),
            scopes: ["a".into(), "b".into()].into(),
            authenticator: "jwt",
            claims: claims.as_object().unwrap().clone(),
            expires,
            ..Identity::default()
        }
    }

    #[test]
    fn tokens_are_used_again_until_half_of_their_life_and_never_outlive_the_identity() {
        let issuer = Issuer::default();
        let token = |expires, now| issuer.token(&identity(expires), "shop", &[], now);
        let first = token(None, 1000).unwrap();
        assert_eq!(claims_of(&first)["exp"], 1060);
        assert_eq!(token(None, 1029).unwrap(), first);
        let next = token(None, 1030).unwrap();
        assert_ne!(next, first);
        assert_eq!(claims_of(&next)["exp"], 1090);
        let short = token(Some(1040), 1030).unwrap();
        assert_eq!(claims_of(&short)["exp"], 1040);
        assert_eq!(token(Some(1040), 1040), None);
        assert_ne!(
            issuer.token(&identity(None), "other", &[], 1030).unwrap(),
            next
        );
    }

    #[test]
    fn callers_of_two_providers_are_two_callers() {
        let issuer = Issuer::default();
        let token = |provider: &str, credential: Option<&str>| {
            let identity = Identity {
                provider: provider.into(),
                credential: credential.map(Box::from),
                ..identity(None)
            };
            issuer.token(&identity, "shop", &[], 1000).unwrap()
        };
        let main = token("main", None);
        let said = claims_of(&main);
        assert_eq!(said["provider"], "main");
        assert_eq!(said.get("credential"), None);
        assert_eq!(token("main", None), main);
        let partner = token("partner", None);
        assert_ne!(partner, main);
        assert_eq!(claims_of(&partner)["provider"], "partner");
        let named = token("main", Some("key-1"));
        assert_eq!(claims_of(&named)["credential"], "key-1");
        assert_ne!(claims_of(&token("main", Some("key-2"))), claims_of(&named));
    }

    #[test]
    fn tokens_are_verified_by_what_is_published() {
        let issuer = Issuer::default();
        let claims = [Box::from("tenant"), Box::from("absent")];
        let token = issuer
            .token(&identity(None), "shop", &claims, 1000)
            .unwrap();
        let set = KeySet::parse_jwks(issuer.jwks().to_string().as_bytes()).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let mut keys = set.find(None, Algorithm::from_name("ES256").unwrap());
        let algorithm = Algorithm::from_name("ES256").unwrap();
        assert!(keys.any(|key| key.verifies(algorithm, message.as_bytes(), &signature)));
        let said = claims_of(&token);
        assert_eq!(said["sub"], "u1");
        assert_eq!(said["scope"], "a b");
        assert_eq!(said["claims"], json!({ "tenant": "acme" }));
        assert!(!issuer.jwks().to_string().contains("\"d\""));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let issuer = Issuer::default();
        for number in 0..MOST_TOKENS + 10 {
            let audience = number.to_string();
            issuer.token(&identity(None), &audience, &[], 1000).unwrap();
        }
        assert!(issuer.tokens.lock().unwrap().len() <= MOST_TOKENS);
    }
}
