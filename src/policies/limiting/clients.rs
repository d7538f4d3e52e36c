//! Counting by the client's address, before it is known who calls.

use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Style, refuse, written};
use crate::limits::{
    Charge, Gcra, Key, KeyPart, KeyReader, KeyWords, Limiter, MAX_KEYS, Now, Rule, Standing,
};
use crate::observability::Decision;
use crate::policies::BuildScope;
use crate::policies::ip_access::{self, List};
use crate::policies::networks::Networks;
use crate::response::{Code, Reply};
use crate::text::{Bounded, Rate, Spanned};

/// How often an address may do something.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClientLimitConfig")]
pub struct ClientsConfig {
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

/// Addresses, and what each has taken.
pub struct Clients {
    limiter: Arc<Limiter>,
    prefixes: Prefixes,
    except: Networks,
}

impl Clients {
    /// `rule` is what clients are told that it is called. `None` after diagnostics.
    pub fn build(
        config: &ClientsConfig,
        rule: &str,
        scope: &mut BuildScope<'_>,
    ) -> Option<Clients> {
        let before = scope.subject.error_count();
        let except = ip_access::read("except", &config.except, scope);
        let burst = config.burst.unwrap_or(config.rate.count());
        let (count, period) = (config.rate.count(), config.rate.period());
        let longest = Duration::from_secs(10 * 365 * 86_400).as_nanos();
        let interval = period.as_nanos().div_ceil(count.get().into());
        if interval.saturating_mul(burst.get().into()) > longest {
            let what = format!(
                "must be no more than {} brings back in ten years, got {burst}",
                config.rate
            );
            scope.subject.key("burst").error(scope.span, what);
        }
        let gcra = Gcra::new(count.into(), period, burst.into());
        let name = scope.subject.to_string();
        let rules = vec![Rule::Gcra(gcra).named(rule)];
        let limiter = Limiter::new(&name, rules, MAX_KEYS, scope.limits);
        let ipv4 = config.ipv4_prefix.map_or(32, Bounded::get);
        let ipv6 = config.ipv6_prefix.map_or(64, Bounded::get);
        if scope.subject.error_count() > before {
            return None;
        }
        let prefixes = Prefixes {
            ipv4: u32::MAX << (32 - u32::from(ipv4)),
            ipv6: u128::MAX << (128 - u32::from(ipv6)),
        };
        let limiter = Arc::new(limiter);
        scope.limits.list(&limiter, Arc::new(prefixes), false);
        Some(Clients {
            limiter,
            prefixes,
            except: except.into_iter().collect(),
        })
    }

    /// Counts something that the client does, unless that is more than it may: then that is given.
    pub fn take(&self, client: IpAddr) -> Option<Excess> {
        let key = self.key(client)?;
        let standing = self.limiter.take(key, 1, Now::read());
        self.decided(key, standing)
    }

    /// As [`Clients::take`], but what the client does is counted later, by [`Clients::charge`], if at all.
    pub fn look(&self, client: IpAddr) -> Option<Excess> {
        let key = self.key(client)?;
        let standing = self.limiter.look(key, 1, Now::read());
        self.decided(key, standing)
    }

    /// Counts something that the client has done, also where that is more than it may.
    pub fn charge(&self, client: IpAddr) {
        if let Some(key) = self.key(client) {
            self.limiter.charge(key, 1, Now::read());
        }
    }

    fn decided(&self, key: Key, standing: Standing) -> Option<Excess> {
        self.limiter.metrics().count(match standing.is_within() {
            true => Decision::Admitted,
            false => Decision::Refused,
        });
        (!standing.is_within()).then(|| self.excess(key, standing))
    }

    #[cold]
    fn excess(&self, key: Key, standing: Standing) -> Excess {
        Excess(Charge {
            limiter: self.limiter.clone(),
            key,
            cost: 1,
            standing,
            is_shadow: false,
        })
    }

    /// `None` for those that are not counted.
    fn key(&self, client: IpAddr) -> Option<Key> {
        let client = client.to_canonical();
        if self.except.contains(client) {
            return None;
        }
        let mut key = Key::hasher();
        self.prefixes.with(client, |network| key.part(network));
        Some(key.finish())
    }
}

/// Which bits of an address count.
#[derive(Clone, Copy)]
struct Prefixes {
    ipv4: u32,
    ipv6: u128,
}

impl Prefixes {
    /// The network that a canonical address is counted as.
    fn with<T>(&self, client: IpAddr, act: impl FnOnce(&[u8]) -> T) -> T {
        match client {
            IpAddr::V4(address) => act(&(address.to_bits() & self.ipv4).to_be_bytes()),
            IpAddr::V6(address) => act(&(address.to_bits() & self.ipv6).to_be_bytes()),
        }
    }
}

impl KeyReader for Prefixes {
    fn by(&self) -> &str {
        "client"
    }

    fn read(&self, words: &mut KeyWords) -> Result<Vec<KeyPart>, String> {
        let client = written::address(words.need("client")?)?;
        Ok(vec![self.with(client, |network| Some(network.into()))])
    }
}

/// More than an address may.
pub struct Excess(Charge);

impl Excess {
    /// The answer, with the fields of the style `ietf`: there is nobody else to write them.
    pub fn refuse(self, code: Code) -> Reply {
        let charges = [self.0];
        let cause = format!("the limit {} is used up", charges[0].limiter.name());
        let mut reply = refuse(code, &charges).cause(cause);
        let mut fields = HeaderMap::new();
        Style::Ietf.write(&charges, &mut fields);
        let fields = fields.iter();
        let fields = fields.map(|(name, value)| (name.clone(), value.clone()));
        reply.headers.extend(fields);
        reply
    }
}
