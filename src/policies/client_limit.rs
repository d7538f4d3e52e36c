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

use std::net::IpAddr;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::ip_access::{self, List};
use super::limiting::{Style, refuse};
use super::networks::Networks;
use super::{BuildScope, Flow, Hooks, OnRequest};
use crate::facts::View;
use crate::limits::{Charge, Gcra, Key, Limiter, MAX_KEYS, Now, Rule};
use crate::response::Code;
use crate::text::{Bounded, Rate, Spanned};

/// How often an address may call.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClientLimitConfig")]
pub struct Config {
    /// How often in the long run.
    pub rate: Rate,
    /// How many may come at once. Default: as many as `rate` allows in its time.
    pub burst: Option<NonZero<u32>>,
    /// How many bits of an IPv4 address count. Default 32: each address by itself.
    pub ipv4_prefix: Option<Bounded<8, 32>>,
    /// How many bits of an IPv6 address count. Default 64.
    pub ipv6_prefix: Option<Bounded<16, 128>>,
    /// Addresses and networks that are not counted, or files of them. Default: none.
    #[serde(default)]
    pub except: Vec<Spanned<List>>,
}

pub struct Policy {
    limiter: Arc<Limiter>,
    masks: (u32, u128),
    except: Networks,
}

impl super::Policy for Policy {
    const NAME: &'static str = "client_limit";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let before = scope.subject.error_count();
        let except: Networks = ip_access::read("except", &config.except, scope)
            .into_iter()
            .collect();
        let burst = config.burst.unwrap_or(config.rate.count());
        let gcra = Gcra::new(
            config.rate.count().into(),
            config.rate.period(),
            burst.into(),
        );
        let rule = Rule::Gcra(gcra).named("client");
        let name = scope.subject.to_string();
        let limiter = Limiter::new(&name, vec![rule], MAX_KEYS, scope.limits);
        let ipv4 = config.ipv4_prefix.map_or(32, Bounded::get);
        let ipv6 = config.ipv6_prefix.map_or(64, Bounded::get);
        (scope.subject.error_count() == before).then(|| Policy {
            limiter: Arc::new(limiter),
            masks: (
                u32::MAX << (32 - u32::from(ipv4)),
                u128::MAX << (128 - u32::from(ipv6)),
            ),
            except,
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_request(self.clone());
    }
}

impl Policy {
    fn key(&self, client: IpAddr) -> Key {
        let mut key = Key::hasher();
        match client {
            IpAddr::V4(address) => key.part(&(address.to_bits() & self.masks.0).to_be_bytes()),
            IpAddr::V6(address) => key.part(&(address.to_bits() & self.masks.1).to_be_bytes()),
        }
        key.finish()
    }
}

impl OnRequest for Policy {
    fn on_request(&self, view: View<'_>) -> Flow {
        let client = view.facts.client.to_canonical();
        if self.except.contains(client) {
            return ControlFlow::Continue(());
        }
        let key = self.key(client);
        let standing = self.limiter.take(key, 1, Now::read());
        if standing.is_within() {
            return ControlFlow::Continue(());
        }
        let charge = Charge {
            limiter: self.limiter.clone(),
            key,
            standing,
        };
        let charges = [charge];
        let mut reply = refuse(Code::RateLimited, &charges);
        let mut fields = http::HeaderMap::new();
        Style::Ietf.write(&charges, &mut fields);
        let fields = fields
            .into_iter()
            .filter_map(|(name, value)| Some((name?, value)));
        reply.headers.extend(fields);
        ControlFlow::Break(reply)
    }
}
