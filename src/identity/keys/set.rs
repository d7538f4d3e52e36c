//! Sets of keys that verify signatures, as one document gives them.

use serde_json::Value;

use super::algorithm::Algorithm;
use super::jwk::{self, Jwk, Publisher};
use super::key::{Key, Material, SharedSecret, Unfit};
use super::pem;
use crate::identity::json::parse_object;

/// A document larger than this is not read. The largest of real providers have some tens of KiB.
pub const LARGEST_DOCUMENT: usize = 1 << 20;

/// Real sets have one to ten keys.
const MOST_KEYS: usize = 256;

/// How many keys a token is tried with at most: each costs a check of a signature, and whoever sends the token
/// chooses how many fit.
const MOST_CANDIDATES: usize = 4;

/// Keys, and what each may be used for. It never changes; a new document makes a new one.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Box<[Key]>,
    skipped: Box<[Skipped]>,
}

/// Two sets are the same where they verify the same signatures; what was left out does not count.
impl PartialEq for KeySet {
    fn eq(&self, other: &KeySet) -> bool {
        self.keys == other.keys
    }
}

/// A key of the document that is not used.
#[derive(Debug)]
pub struct Skipped {
    /// The key's name, or its place where it has none.
    pub key: Box<str>,
    pub why: Unfit,
}

/// Why a document gives no keys. Says nothing of what stands in it.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    #[error("the key set is larger than 1 MiB")]
    TooLarge,
    #[error("the key set has more than {MOST_KEYS} keys")]
    TooMany,
    #[error("the key set is no good JSON: {0}")]
    Json(serde_json::Error),
    #[error("the key set has no array \"keys\" of objects")]
    NotASet,
    #[error("the key cannot be used: {0}")]
    Unfit(#[from] Unfit),
}

impl KeySet {
    /// A JWK Set that a provider publishes (RFC 7517 section 5). Keys that cannot verify a token are left out, as the
    /// RFC has it, among them all private keys and shared secrets: what is published is no secret any more. So a set
    /// may have no keys at all.
    pub fn parse_jwks(document: &[u8]) -> Result<KeySet, KeySetError> {
        KeySet::of_jwks(document, Publisher::Provider)
    }

    /// A file of the operator's own: a JWK Set, one JWK, or public keys in PEM. JWKs of type `oct`, shared secrets,
    /// are taken here.
    pub fn parse_file(content: &[u8]) -> Result<KeySet, KeySetError> {
        if content.len() > LARGEST_DOCUMENT {
            return Err(KeySetError::TooLarge);
        }
        match content.trim_ascii_start().starts_with(b"{") {
            true => KeySet::of_jwks(content, Publisher::Operator),
            false => KeySet::of(pem::keys(content).map(|key| (None, key))),
        }
    }

    /// A secret that the provider and the gateway share, for HS256, HS384 and HS512 as far as its length allows.
    pub fn of_secret(secret: &[u8]) -> Result<KeySet, KeySetError> {
        let secret = SharedSecret::new(secret)?;
        let key = Key::new(None, None, Material::Shared(secret))?;
        Ok(KeySet {
            keys: [key].into(),
            skipped: Box::default(),
        })
    }

    fn of_jwks(document: &[u8], publisher: Publisher) -> Result<KeySet, KeySetError> {
        if document.len() > LARGEST_DOCUMENT {
            return Err(KeySetError::TooLarge);
        }
        let object = parse_object(document).map_err(KeySetError::Json)?;
        if publisher == Publisher::Operator && object.contains_key("kty") {
            return KeySet::of([&object].into_iter().map(|jwk| described(jwk, publisher)));
        }
        let Some(Value::Array(members)) = object.get("keys") else {
            return Err(KeySetError::NotASet);
        };
        let jwks: Option<Vec<&Jwk>> = members.iter().map(Value::as_object).collect();
        let jwks = jwks.ok_or(KeySetError::NotASet)?;
        KeySet::of(jwks.into_iter().map(|jwk| described(jwk, publisher)))
    }

    fn of<'j>(
        described: impl Iterator<Item = (Option<&'j str>, Result<Key, Unfit>)>,
    ) -> Result<KeySet, KeySetError> {
        let (mut keys, mut skipped) = (Vec::<Key>::new(), Vec::new());
        for (place, (kid, key)) in described.enumerate() {
            if place >= MOST_KEYS {
                return Err(KeySetError::TooMany);
            }
            // Two keys of one name are both kept: providers that never change the name have both while they rotate,
            // and no token may be refused that one of them signed.
            let key = key.and_then(|key| match keys.iter().any(|one| one.is_twin(&key)) {
                true => Err(Unfit::Twice),
                false => Ok(key),
            });
            match key {
                Ok(key) => keys.push(key),
                Err(why) => skipped.push(Skipped {
                    key: kid.map_or_else(|| format!("keys[{place}]").into(), Into::into),
                    why,
                }),
            }
        }
        Ok(KeySet {
            keys: keys.into(),
            skipped: skipped.into(),
        })
    }

    /// The keys that may have signed a token, four at most: those of the name that the token says, and after them those
    /// that have none; for a token without a name, all that are for its algorithm. Names are compared byte for byte and
    /// mean nothing else.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        let is_named = move |key: &&Key| kid.is_some() && key.kid() == kid;
        let is_possible = move |key: &&Key| kid.is_none() || key.kid().is_none();
        let named = self.keys.iter().filter(is_named);
        let possible = self.keys.iter().filter(is_possible);
        let is_fit = move |key: &&Key| key.algorithms().contains(algorithm);
        named.chain(possible).filter(is_fit).take(MOST_CANDIDATES)
    }

    /// Whether a newer set is worth asking for: none of these keys goes by the name, so that only a later document
    /// can have it.
    pub fn lacks(&self, kid: Option<&str>) -> bool {
        match kid {
            Some(wanted) => {
                let is_here = |key: &Key| key.kid().is_none_or(|kid| kid == wanted);
                !self.keys.iter().any(is_here)
            }
            None => self.keys.is_empty(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// What was left out, for the log.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

fn described(jwk: &Jwk, publisher: Publisher) -> (Option<&str>, Result<Key, Unfit>) {
    (jwk::kid(jwk).ok().flatten(), jwk::key(jwk, publisher))
}
