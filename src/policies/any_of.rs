//! `any_of`: which of several authenticators have to prove who calls.
//!
//! ```toml
//! [routes.orders]
//! match = { path = "/orders" }
//! respond = { status = 200 }
//! [routes.orders.policies]
//! mtls = {}
//! any_of = ["mtls"]
//! ```
//!
//! They are asked in this order, and the first that proves the caller decides: who shows a bad credential to one may
//! have a good one for the next. Without it a route has at most one authenticator; where policies of the gateway, the
//! listener and the route add up to more, that is an error. `any_of` names all authenticators that are in force.
//!
//! Where nobody proves the caller, a bad credential is 401 `credential_refused` and none 401 `unauthenticated`. Each of
//! them says in a `WWW-Authenticate` of its own what it asks for, but for `forward_auth`, whose service knows; only the
//! one that was shown something bad says `error`. Upstreams get the `forward` headers of the authenticator that has proven the caller and of no
//! other, and no credential of any of them, but for `keep_credentials`.
//!
//! Who proves nothing comes in only where each of them lets him, by `anonymous = "allow"` or a `forward_auth` whose
//! service is down with `on_server_down = "allow"`: one that refuses, or wants a credential, has its way.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{BuildScope, Hooks};
use crate::text::{Spanned, nearest};

/// The names of authenticators' policies, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(rename = "AnyOf")]
pub struct Config(Vec<Spanned<Box<str>>>);

/// The policies that are authenticators.
pub const AUTHENTICATORS: [&str; 8] = [
    "mtls",
    "jwt",
    "hmac",
    "introspection",
    "forward_auth",
    "api_key",
    "basic",
    "oidc",
];

/// Whether a policy is an authenticator.
pub fn is_authenticator(policy: &str) -> bool {
    AUTHENTICATORS.contains(&policy)
}

/// An order of authenticators.
pub struct Policy {
    order: Box<[&'static str]>,
}

impl super::Policy for Policy {
    const NAME: &'static str = "any_of";
    type Config = Config;

    fn build(Config(names): &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let errors = scope.subject.error_count();
        if names.is_empty() {
            let problem = scope.subject.error(scope.span, "is empty");
            problem.help("leave it out where a route has one authenticator or none");
        }
        let mut order = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let mut subject = scope.subject.index(index);
            match AUTHENTICATORS
                .into_iter()
                .find(|known| **known == *name.value)
            {
                Some(known) if order.contains(&known) => {
                    subject.error(name.span, format!("has {known} twice"));
                }
                Some(known) => order.push(known),
                None => {
                    let what = format!("must be an authenticator's policy, got {:?}", name.value);
                    let problem = subject.error(name.span, what);
                    match nearest(&name.value, AUTHENTICATORS) {
                        Some(near) => problem.help(format!("did you mean {near:?}?")),
                        None => problem.help(format!("these are {}", AUTHENTICATORS.join(", "))),
                    };
                }
            }
        }
        (scope.subject.error_count() == errors).then(|| Policy {
            order: order.into(),
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.any_of(self.order.clone());
    }
}
