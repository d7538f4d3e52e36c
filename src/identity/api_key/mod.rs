//! API keys: who shows one of the keys whose hashes the configuration holds is the consumer that it belongs to.

mod hash;
mod index;
mod key;
mod place;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::Identity;
use crate::text::{Name, Shorthand, Spanned, Timestamp, private_shorthand, shorthand_schema};

pub use hash::{InvalidHash, KeyHash};
pub use index::Proof;
pub use key::{NewKey, NoRandomness, Prefix, make};
pub use place::{Places, Shown};

use index::Index;
use key::{Shape, shape};

/// What is longer was not made to be a key.
pub const LONGEST_KEY: usize = 512;

/// How many keys of a consumer may be good at a time: one in use, and the one that replaces it.
pub const MOST_LIVE_KEYS: usize = 2;

/// A key of a consumer, as the configuration has it.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    pub hash: KeyHash,
    pub id: Option<Name>,
    pub expires: Option<Timestamp>,
    pub scopes: Option<Vec<Spanned<Box<str>>>>,
}

/// An API key: what is kept of it, and what it is good for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ApiKey")]
pub struct ApiKeyTable {
    /// The SHA-256 of the key, as `northgate key` prints it. The key itself is written nowhere.
    hash: KeyHash,
    /// What logs call the key. Default: the beginning of its hash.
    id: Option<Name>,
    /// From then on the key is refused. Default: it is good until it is taken out.
    expires: Option<Timestamp>,
    /// Which of the consumer's scopes the key has. Default: all of them.
    scopes: Option<Vec<Spanned<Box<str>>>>,
}

impl From<ApiKeyTable> for ApiKey {
    fn from(table: ApiKeyTable) -> ApiKey {
        ApiKey {
            hash: table.hash,
            id: table.id,
            expires: table.expires,
            scopes: table.scopes,
        }
    }
}

impl std::str::FromStr for ApiKey {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<ApiKey, InvalidHash> {
        Ok(ApiKey {
            hash: text.parse()?,
            id: None,
            expires: None,
            scopes: None,
        })
    }
}

impl Shorthand for ApiKey {
    type Long = ApiKeyTable;
    const EXPECTED: &'static str = "the hash of a key, such as \"sha256:9f86d081…\", or a table such as { hash = \"sha256:9f86d081…\", expires = 2027-01-31 }";
}

impl<'de> Deserialize<'de> for ApiKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        private_shorthand(deserializer)
    }
}

impl JsonSchema for ApiKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ApiKeyOrHash".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        shorthand_schema::<Self>(generator)
    }
}

/// Why a key proves nobody. For the log: the client learns only that it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the key is empty")]
    Empty,
    #[error("the key is longer than {LONGEST_KEY} bytes")]
    Long,
    #[error("the checksum of the key is wrong: it is mistyped or cut off")]
    Mistyped,
    #[error("no consumer has this key")]
    Unknown,
    #[error("the key has expired")]
    Expired,
}

/// Every key of every consumer, for finding who shows one.
pub struct Keys {
    prefix: Prefix,
    index: Index,
}

impl Keys {
    /// No two have the same hash.
    pub fn new(prefix: Prefix, keys: impl Iterator<Item = Proof>) -> Keys {
        Keys {
            prefix,
            index: Index::new(keys.collect()),
        }
    }

    /// Whose key it is. That costs less than a microsecond however many keys there are, and allocates nothing.
    pub fn verify(&self, key: &[u8]) -> Result<&Arc<Identity>, Refused> {
        match key.len() {
            0 => return Err(Refused::Empty),
            ..=LONGEST_KEY => {}
            _ => return Err(Refused::Long),
        }
        if shape(&self.prefix, key) == Shape::Mistyped {
            return Err(Refused::Mistyped);
        }
        let found = self.index.find(&KeyHash::of(key));
        let found = found.ok_or(Refused::Unknown)?;
        if found.expires.is_some_and(|end| Timestamp::now() >= end) {
            return Err(Refused::Expired);
        }
        Ok(&found.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_are_known_and_good_prove_anybody() {
        let made: Vec<NewKey> = (0..4)
            .map(|_| make(&Prefix::default()).expect("randomness"))
            .collect();
        let foreign = "another-gateway/k+ey==";
        let proof = |key: &str, expires: Option<&str>, subject: &str| Proof {
            hash: KeyHash::of(key.as_bytes()),
            expires: expires.map(|it| it.parse().expect("a time")),
            identity: Arc::new(Identity {
                subject: subject.into(),
                ..Identity::default()
            }),
        };
        let keys = [
            proof(&made[0].text, None, "ann"),
            proof(&made[1].text, Some("2999-01-01"), "ben"),
            proof(&made[2].text, Some("2001-01-01"), "cid"),
            proof(foreign, None, "dan"),
        ];
        let keys = Keys::new(Prefix::default(), keys.into_iter());
        let check = |key: &str, expected: Result<&str, Refused>| {
            let proven = keys.verify(key.as_bytes());
            let subject = proven.map(|identity| identity.text("subject").expect("it has one"));
            assert_eq!(subject.as_deref().map_err(|&why| why), expected, "{key}");
        };
        check(&made[0].text, Ok("ann"));
        check(&made[1].text, Ok("ben"));
        check(&made[2].text, Err(Refused::Expired));
        check(&made[3].text, Err(Refused::Unknown));
        check(foreign, Ok("dan"));
        check("", Err(Refused::Empty));
        check(
            &KeyHash::of(made[0].text.as_bytes()).to_string(),
            Err(Refused::Unknown),
        );
        check(&made[0].text[..51], Err(Refused::Mistyped));
        check(&"k".repeat(LONGEST_KEY), Err(Refused::Unknown));
        check(&"k".repeat(LONGEST_KEY + 1), Err(Refused::Long));
    }
}
