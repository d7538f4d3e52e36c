//! `[admin]` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{BindAddress, Secret, Spanned};

pub(super) const MIN_TOKEN_BYTES: usize = 16;

/// The listener for operators: `/livez`, `/readyz`, `/metrics`, `/upstreams`, `/routes`, `/limits`. Without this section
/// there is none.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A loopback address or `"unix:/path"`; any other only together with `token`.
    pub bind: Spanned<BindAddress>,
    /// Asked for as `Authorization: Bearer …` on everything but `/livez` and `/readyz`. At least 16 bytes.
    pub token: Option<Spanned<Secret>>,
}
