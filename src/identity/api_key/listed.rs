//! A key as its consumer lists it.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::hash::{InvalidHash, KeyHash};
use crate::text::{Name, Shorthand, Spanned, Timestamp, private_shorthand, shorthand_schema};

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
