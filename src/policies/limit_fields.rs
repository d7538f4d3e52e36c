//! `limit_fields`: how clients are told of their limits.
//!
//! ```toml
//! [gateway.policies]
//! limit_fields = { styles = ["ietf", "x_ratelimit"] }
//!
//! [routes.search]
//! match = { path = "/search" }
//! respond = { status = 200 }
//! policies.rate_limit = { rate = "10/s", burst = 20 }
//! ```
//!
//! Every response of a route that counts its callers tells how the caller stands, without this policy in the style
//! `ietf`:
//!
//! ```text
//! RateLimit-Policy: "10/s";q=20;w=2
//! RateLimit: "10/s";r=19;t=1
//! ```
//!
//! `q` of something can be had in `w` seconds; `r` remain, and after `t` seconds there is all of it again or, where
//! nothing remains, some of it. For a rate with a burst that is the burst, and the time in which it comes back. Each limit has
//! its own line. Who is refused gets `Retry-After` as well, whatever the style, with the same time.
//!
//! Other styles are for clients that know them. What an upstream says of limits of its own is removed, since clients
//! could not tell which is which, unless `keep_upstream` is set. It goes on to callers who have no limit here, and to
//! those of whom a limit only watches. `limit_fields = "off"` says nothing, and leaves what the upstream says. What a
//! response has cost (`response_cost`) is in the fields, unless the store of a shared limit is still being told.
//!
//! Guards that count before it is known who calls (`client_limit`) are told of only where they refuse, in the style
//! `ietf`, and also where this is off.

use std::sync::Arc;

use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::limiting::{Style, is_field};
use super::{BuildScope, Hooks, OnResponse};
use crate::facts::View;
use crate::text::Spanned;

/// How clients are told of their limits.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "LimitFieldsConfig")]
pub struct Config {
    /// The styles, all of them together. Default `["ietf"]`.
    pub styles: Option<Spanned<Vec<Style>>>,
    /// Whether what an upstream says of its own limits goes on to the client. Default: `false`.
    pub keep_upstream: bool,
}

/// Writes the fields. As it is by default, it is on every route that counts anything.
pub struct Policy {
    styles: Box<[Style]>,
    keeps_upstream: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            styles: Box::new([Style::Ietf]),
            keeps_upstream: false,
        }
    }
}

impl super::Policy for Policy {
    const NAME: &'static str = "limit_fields";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let mut policy = Policy {
            keeps_upstream: config.keep_upstream,
            ..Policy::default()
        };
        if let Some(styles) = &config.styles {
            let mut subject = scope.subject.key("styles");
            if styles.is_empty() {
                let problem = subject.error(styles.span, "is empty");
                problem.help("write limit_fields = \"off\" to say nothing");
                return None;
            }
            if styles.contains(&Style::XRatelimit) && styles.contains(&Style::Envoy) {
                subject.error(
                    styles.span,
                    "has x_ratelimit and envoy, which have the same fields",
                );
                return None;
            }
            policy.styles = styles.value.clone().into();
        }
        Some(policy)
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.tell_limits(self.clone());
    }
}

impl OnResponse for Policy {
    fn on_response(&self, headers: &mut HeaderMap, view: View<'_>) {
        let charges = &view.facts.taken.charges;
        if charges.iter().all(|charge| charge.is_shadow) {
            return;
        }
        if !self.keeps_upstream && headers.keys().any(is_field) {
            let theirs: Vec<_> = headers
                .keys()
                .filter(|name| is_field(name))
                .cloned()
                .collect();
            theirs.iter().for_each(|name| drop(headers.remove(name)));
        }
        for style in &self.styles {
            style.write(charges, headers);
        }
    }
}
