//! `client_limit`: how often an address may call, whoever that is.
//!
//! ```toml
//! [gateway.policies]
//! client_limit = { rate = "100/s", burst = 200, except = ["10.0.0.0/8"] }
//! ```
//!
//! It decides before it is known who calls, so that floods, and guesses of credentials, are refused for the price of a
//! look-up, also where no route matches. Behind one address there may be many callers: give them room, and limit each of them with
//! `rate_limit`. Declared on the gateway or a listener it counts over all routes that inherit it; on a route for that
//! alone.
//!
//! An address is that of the access log: the connection's peer or, behind the listener's `trusted_proxies`, the one
//! that those vouch for. Of IPv6 it is the network of the first 64 bits, since that is the least that anybody is given
//! (RFC 6177); `ipv6_prefix` and `ipv4_prefix` choose larger networks. Clients of a Unix socket count as `127.0.0.1`.
//!
//! Who has used it up gets 429 `rate_limited` with `Retry-After` and the fields of `limit_fields`' style `ietf`; responses
//! to the others say nothing of it.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::limiting::{Clients, ClientsConfig};
use super::{BuildScope, Flow, Hooks, OnRequest};
use crate::facts::View;
use crate::response::Code;

pub struct Policy(Clients);

impl super::Policy for Policy {
    const NAME: &'static str = "client_limit";
    type Config = ClientsConfig;

    fn build(config: &ClientsConfig, scope: &mut BuildScope<'_>) -> Option<Policy> {
        Clients::build(config, "client", scope).map(Policy)
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_request(self.clone());
    }
}

impl OnRequest for Policy {
    fn on_request(&self, view: View<'_>) -> Flow {
        match self.0.take(view.facts.client) {
            None => ControlFlow::Continue(()),
            Some(excess) => ControlFlow::Break(excess.refuse(Code::RateLimited)),
        }
    }
}
