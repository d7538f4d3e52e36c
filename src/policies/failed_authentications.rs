//! `failed_authentications`: how often an address may show credentials that are no good.
//!
//! ```toml
//! [identity.api_key.main]
//!
//! [gateway.policies]
//! failed_authentications = { rate = "10/min", burst = 20 }
//!
//! [routes.orders]
//! match = { path = "/orders/{*rest}" }
//! respond = { status = 200 }
//! policies.api_key = {}
//! ```
//!
//! A credential that proves nothing counts for the address that has shown it, whatever the kind: wrong passwords, made-up
//! keys, forged tokens. Requests without a credential do not count, and neither does what could not be judged, or was judged by a
//! service of `forward_auth`. An address that has used
//! it up is refused on every route with an authenticator, before anything of its credentials is looked at: a guess that
//! would have been right is not known to be. It gets 429 `too_many_attempts`, with `Retry-After`.
//!
//! What is judged at the same time is counted afterwards, as a debt of up to two bursts. Where `any_of` finds another proof
//! in the same request, the caller comes in and nothing is counted.
//!
//! Behind one address there may be many callers, one of whom has an old token and tries again each second; give them
//! room, or name the address in `except`. Guesses at one name from many addresses are counted by `basic` itself.
//!
//! Declared on the gateway it counts over all of its routes. Without an authenticator it does nothing.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::limiting::{Clients, ClientsConfig};
use super::{BuildScope, Flow, Hooks, OnAuthentication};
use crate::facts::View;
use crate::response::Code;

pub struct Policy(Clients);

impl super::Policy for Policy {
    const NAME: &'static str = "failed_authentications";
    type Config = ClientsConfig;

    fn build(config: &ClientsConfig, scope: &mut BuildScope<'_>) -> Option<Policy> {
        Clients::build(config, "failed-authentications", scope).map(Policy)
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_authentication(self.clone());
    }
}

impl OnAuthentication for Policy {
    fn on_attempt(&self, view: View<'_>) -> Flow {
        match self.0.look(view.facts.client) {
            None => ControlFlow::Continue(()),
            Some(excess) => ControlFlow::Break(excess.refuse(Code::TooManyAttempts)),
        }
    }

    fn on_failure(&self, view: View<'_>) {
        self.0.charge(view.facts.client);
    }
}
