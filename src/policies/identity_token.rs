//! `identity_token`: upstreams get a token, signed by the gateway, that says who calls.
//!
//! ```toml
//! [consumers.billing]
//! certificates = [{ dns = "billing.example" }]
//!
//! [upstreams.orders]
//! endpoints = ["127.0.0.1:8081"]
//!
//! [identity.issuer]
//! name = "https://gateway.example"
//!
//! [routes.orders]
//! match = { path = "/orders/{*rest}" }
//! upstream = "orders"
//! [routes.orders.policies]
//! mtls = {}
//! identity_token = { audience = "orders", claims = ["tenant"] }
//! ```
//!
//! Headers that say who calls ([`forward`](super::authentication::Config::forward)) are to be believed by upstreams
//! that only the gateway can reach. Where others can reach them too, they verify this: a JSON Web Token, ES256, in the
//! header `x-northgate-identity`, by the keys that the admin listener publishes at `/jwks.json`. It has `iss`, `aud`,
//! `sub`, `iat`, `exp`, `scope`, `roles`, `groups`, `authenticator` (`jwt`) and `provider` (`main`); `consumer`, `plan`,
//! `credential` and `auth_exp` where there are such; and below `claims` those that are asked for. `sub` is a name that
//! the provider gives: the same one of two providers may be two callers.
//!
//! A token says nothing of the request, so one is used again for the same caller until half of its life is over: a
//! signature is made twice a minute for each caller, and not for each request. It ends at the latest when the
//! gateway itself does not take the proof for good any more, which is `auth_exp`: for a JSON Web Token, its `exp` and the
//! provider's `leeway` after that. Anonymous callers have none, and no client can send the header on any route.
//!
//! For another key, have the new one as `identity.issuer.key` and the old one among `previous_keys`, on all gateways,
//! until upstreams have fetched the keys again.

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::authentication::is_read;
use super::{BuildScope, Hooks, OnUpstreamRequest};
use crate::facts::View;
use crate::identity::{Issuer, TAKES_CREDENTIALS, TAKES_NO_CREDENTIALS};
use crate::text::{ENGINE_OWNED, HeaderName, HeaderPattern, Spanned, is_engine_owned};

/// A token for upstreams that says who calls.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IdentityTokenConfig")]
pub struct Config {
    /// For whom it is, its `aud`: who gets a token for somebody else is not to believe it.
    pub audience: Spanned<Box<str>>,
    /// Claims of the caller's to pass on, also those inside others, `realm_access.roles`. Default: none.
    #[serde(default)]
    pub claims: Vec<Box<str>>,
    /// Where it stands; nowhere that credentials are read from. Default `"x-northgate-identity"`.
    #[serde(default)]
    pub header: Option<Spanned<HeaderName>>,
}

/// Tells upstreams who calls.
pub struct Policy {
    audience: Box<str>,
    claims: Box<[Box<str>]>,
    header: http::HeaderName,
    issuer: Arc<Issuer>,
}

impl super::Policy for Policy {
    const NAME: &'static str = "identity_token";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let before = scope.subject.error_count();
        if config.audience.is_empty() {
            scope
                .subject
                .key("audience")
                .error(config.audience.span, "is empty");
        }
        let header = config.header.as_ref();
        if let Some(header) = header.filter(|header| is_engine_owned(header)) {
            scope.subject.key("header").error(header.span, ENGINE_OWNED);
        } else if let Some(header) = header.filter(|it| is_read(it, scope.identity)) {
            let mut subject = scope.subject.key("header");
            let problem = subject.error(header.span, TAKES_CREDENTIALS);
            problem.help(TAKES_NO_CREDENTIALS);
        }
        let usual = http::HeaderName::from_static("x-northgate-identity");
        (scope.subject.error_count() == before).then(|| Policy {
            audience: config.audience.value.clone(),
            claims: config.claims.as_slice().into(),
            header: header.map_or(usual, |header| (**header).clone().into_inner()),
            issuer: scope.identity.issuer.clone(),
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.manage([HeaderPattern::Exact(self.header.clone())]);
        hooks.reserve([self.header.clone()]);
        hooks.on_upstream_request(self.clone());
    }
}

impl OnUpstreamRequest for Policy {
    fn on_upstream_request(&self, headers: &mut HeaderMap, view: View<'_>) {
        headers.remove(&self.header);
        let Some(identity) = &view.facts.identity else {
            return;
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let token = self
            .issuer
            .token(identity, &self.audience, &self.claims, now);
        if let Some(token) = token.and_then(|token| HeaderValue::from_str(&token).ok()) {
            headers.insert(self.header.clone(), token);
        }
    }
}
