//! DNS: the addresses of a name, or the servers of a service (SRV, RFC 2782), asked for again when their time is over.
//!
//! What is asked for is in time with the TTL of what was answered, within bounds, and never with a request. That there
//! is no such name, or nothing of the kind at it, is an answer too, as good as its negative TTL (RFC 2308). A server
//! that fails (SERVFAIL, REFUSED, silence) has said nothing.

mod answer;
mod config;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use rand::Rng;
use tokio::time::{sleep, timeout};

use self::answer::{Addresses, Answer, Target, targets};
use super::{Build, Failure, Member, OnEmpty, Sink, Socket, Source};
use crate::text::Spanned;

pub use self::config::{Config, Family};

/// For all that one set takes, retries and other servers included.
const DEADLINE: Duration = Duration::from_secs(15);
/// For one question to one server.
const QUESTION: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
/// Names of one service that are looked up at the same time.
const AT_A_TIME: usize = 16;
/// A set is asked for anew up to this much of its time earlier, so that many gateways do not ask all at once.
const EARLIER: f64 = 0.1;

#[derive(Debug)]
struct Dns {
    asked: Asked,
    servers: Box<[SocketAddr]>,
    family: Family,
    shortest: Duration,
    longest: Duration,
    /// What each name was last, for the time in which one of its lookups fails and others do not.
    known: Mutex<Addresses>,
}

/// What is looked up.
#[derive(Debug)]
enum Asked {
    Name { name: Box<str>, port: u16 },
    Service(Box<str>),
}

/// Compiles it. `None` after diagnostics.
pub(super) fn build(config: &Spanned<Config>, context: &mut Build<'_>) -> Option<Arc<dyn Source>> {
    let mut subject = context.subject.key("dns");
    let asked = config.value.asked(config.span, &mut subject)?;
    let Config {
        servers,
        family,
        min_ttl,
        max_ttl,
        ..
    } = &config.value;
    if min_ttl > max_ttl {
        let what = "must not be more than max_ttl";
        subject.key("min_ttl").error(config.span, what);
        return None;
    }
    Some(Arc::new(Dns {
        asked,
        servers: servers.iter().map(|it| it.address()).collect(),
        family: *family,
        shortest: min_ttl.as_std(),
        longest: max_ttl.as_std(),
        known: Mutex::default(),
    }))
}

#[async_trait]
impl Source for Dns {
    fn kind(&self) -> &'static str {
        "dns"
    }

    fn describe(&self) -> String {
        let what = match &self.asked {
            Asked::Name { name, port } => format!("dns {name} port {port}"),
            Asked::Service(name) => format!("dns srv {name}"),
        };
        match &self.servers[..] {
            [] => what,
            servers => format!("{what} of {servers:?}"),
        }
    }

    /// A name that is gone is more often a zone that was broken than a service that was switched off.
    fn on_empty(&self) -> OnEmpty {
        OnEmpty::Keep
    }

    async fn follow(&self, sink: &Sink) -> Result<Infallible, Failure> {
        let resolver = self.resolver().await?;
        loop {
            let asking = timeout(DEADLINE, self.ask(&resolver, sink));
            let asked = asking.await;
            let no_answer = |_| Failure::unreachable(format!("no answer within {DEADLINE:?}"));
            let Set {
                members,
                lifetime,
                failure,
                is_word,
            } = asked.map_err(no_answer)??;
            match is_word {
                true => sink.publish(members),
                false => _ = sink.put(members),
            }
            sink.unresolved(failure.as_ref());
            let lifetime = lifetime.clamp(self.shortest, self.longest);
            let part = rand::rng().random_range(1.0 - EARLIER..=1.0);
            sleep(lifetime.mul_f64(part).max(self.shortest)).await;
        }
    }
}

/// What there is for now.
#[derive(Debug, Default)]
struct Set {
    members: Vec<Member>,
    /// How long it is good for, by the shortest TTL in it.
    lifetime: Duration,
    /// Why a part of it is as it was before.
    failure: Option<Failure>,
    /// Whether any of it was answered just now.
    is_word: bool,
}

/// A name, a kind of address, and what was said of it.
type Found = (Box<str>, RecordType, Result<Answer, Failure>);

impl Dns {
    /// It keeps nothing: what is asked for is in time with what was answered.
    async fn resolver(&self) -> Result<TokioResolver, Failure> {
        let servers = self.servers.clone();
        // The system's configuration is read from files.
        let made = tokio::task::spawn_blocking(move || {
            let is_system = servers.is_empty();
            let mut builder = match is_system {
                true => TokioResolver::builder_tokio()?,
                false => {
                    let servers = servers.iter().map(server).collect();
                    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
                    let provider = TokioRuntimeProvider::default();
                    TokioResolver::builder_with_config(config, provider)
                }
            };
            let options = builder.options_mut();
            options.cache_size = 0;
            options.timeout = QUESTION;
            options.attempts = TRIES;
            if !is_system {
                options.use_hosts_file = ResolveHosts::Never;
            }
            builder.build()
        });
        let made = made.await.map_err(Failure::unreachable)?;
        made.map_err(|error| Failure::malformed(format!("the system's resolver: {error}")))
    }

    async fn ask(&self, resolver: &TokioResolver, sink: &Sink) -> Result<Set, Failure> {
        match &self.asked {
            Asked::Name { name, port } => {
                let target = Target::plain(name.clone(), *port);
                let targets = [target];
                let found = self.look_up(resolver, &targets).await;
                self.set(sink, found, &targets, Duration::MAX)
            }
            Asked::Service(name) => {
                match Answer::of(resolver.lookup(&**name, RecordType::SRV).await)? {
                    Answer::None(lifetime) => Ok(Set {
                        lifetime,
                        is_word: true,
                        ..Set::default()
                    }),
                    Answer::Records(records, lifetime) => {
                        let records = records.iter().filter_map(|it| match &it.data {
                            RData::SRV(record) => Some(record),
                            _ => None,
                        });
                        let targets = targets(records)?;
                        let found = self.look_up(resolver, &targets).await;
                        self.set(sink, found, &targets, lifetime)
                    }
                }
            }
        }
    }

    /// What each name has of each kind of address.
    async fn look_up(&self, resolver: &TokioResolver, targets: &[Target]) -> Vec<Found> {
        let names: BTreeSet<&str> = targets.iter().map(|it| &*it.name).collect();
        let ask_one = async |name: &str| {
            let lookups = self.family.types().iter().map(|&of| async move {
                let found = Answer::of(resolver.lookup(name, of).await);
                (Box::<str>::from(name), of, found)
            });
            join_all(lookups).await
        };
        let asking = stream::iter(names).map(ask_one);
        asking.buffer_unordered(AT_A_TIME).concat().await
    }

    /// All addresses of all targets. One that fails has the addresses that it had; where all fail, or nothing is known, that
    /// is a failure.
    fn set(
        &self,
        sink: &Sink,
        found: Vec<Found>,
        targets: &[Target],
        lifetime: Duration,
    ) -> Result<Set, Failure> {
        let types = self.family.types();
        let mut set = Set {
            lifetime,
            ..Set::default()
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = Addresses::default();
        let (mut has_answer, mut failure) = (found.is_empty(), None);
        for (name, of, found) in found {
            match found {
                Ok(answer) => {
                    has_answer = true;
                    set.lifetime = set.lifetime.min(answer.lifetime());
                    let addresses = answer.addresses();
                    set.is_word |= !addresses.is_empty();
                    now.add(name, of, addresses);
                }
                Err(why) => {
                    let before = known.of(&name, of).map(<[_]>::to_vec);
                    let before = before.or_else(|| addresses_in(&sink.last(), &name, of));
                    set.failure = Some(Failure::unresolved(format_args!("{name} {of}: {why}")));
                    failure = Some(why);
                    if let Some(before) = before {
                        now.add(name, of, before);
                    }
                }
            }
        }
        for target in targets {
            let host = host(&target.name);
            let each = types.iter().filter_map(|&of| now.of(&target.name, of));
            let each = each.flatten();
            set.members.extend(each.map(|&address| Member {
                priority: target.priority,
                ..Member::new(
                    Socket::Inet((address, target.port).into()),
                    host.into(),
                    target.weight,
                )
            }));
        }
        *known = now;
        match set.failure.is_some() {
            // How long the other parts are good for says nothing of the one that failed.
            true => set.lifetime = self.shortest,
            false => set.is_word = true,
        }
        match failure.filter(|_| !has_answer || set.members.is_empty()) {
            Some(failure) => Err(failure),
            None => Ok(set),
        }
    }
}

/// What a name had of a kind of address in a set; `None` where that was nothing.
fn addresses_in(members: &[Member], name: &str, of: RecordType) -> Option<Vec<IpAddr>> {
    let of_name = members.iter().filter(|it| *it.host == *host(name));
    let addresses = of_name.filter_map(|it| match it.socket {
        Socket::Inet(at) => Some(at.ip()),
        Socket::Unix(_) => None,
    });
    let of_kind = addresses.filter(|ip| ip.is_ipv4() == (of == RecordType::A));
    // It may be there with several ports.
    let addresses: BTreeSet<IpAddr> = of_kind.collect();
    (!addresses.is_empty()).then(|| addresses.into_iter().collect())
}

/// A name as TLS has it.
fn host(name: &str) -> &str {
    name.trim_end_matches('.')
}

/// Over UDP, and over TCP where an answer does not fit.
fn server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::sink::tests::{sink as sink_of_nothing, sink_after};

    fn member(host: &str, address: &str) -> Member {
        Member::new(Socket::Inet(address.parse().unwrap()), host.into(), 1)
    }

    fn dns() -> Dns {
        Dns {
            asked: Asked::Service("_http._tcp.users.".into()),
            servers: Box::default(),
            family: Family::Any,
            shortest: Duration::from_secs(1),
            longest: Duration::from_secs(1),
            known: Mutex::default(),
        }
    }

    fn fails(name: &str, of: RecordType) -> Found {
        (name.into(), of, Err(Failure::refused("SERVFAIL")))
    }

    /// The server has restarted with half of its zones, say, and so has the gateway.
    #[test]
    fn a_target_that_fails_at_a_start_has_the_addresses_that_were_kept() {
        let before = [
            member("a.test", "10.0.0.1:80"),
            member("a.test", "[fd00::1]:80"),
            member("b.test", "10.0.0.2:80"),
        ];
        let (sink, _sets) = sink_after(before.to_vec());
        let targets = [
            Target::plain("a.test.".into(), 80),
            Target::plain("b.test.".into(), 80),
        ];
        let lifetime = Duration::from_secs(9);
        let found = || {
            vec![
                fails("a.test.", RecordType::A),
                fails("a.test.", RecordType::AAAA),
                fails("b.test.", RecordType::A),
                (
                    "b.test.".into(),
                    RecordType::AAAA,
                    Ok(Answer::None(lifetime)),
                ),
            ]
        };
        let dns = dns();
        let set = dns.set(&sink, found(), &targets, lifetime).unwrap();
        assert_eq!(set.members, before);
        assert!(matches!(set.failure, Some(Failure::Unresolved(_))));
        // What failed is asked for again soon, and what was kept is no word.
        assert!(set.lifetime == dns.shortest && !set.is_word);
        // By now it knows them itself.
        let (other, _sets) = sink_of_nothing();
        let set = dns.set(&other, found(), &targets, lifetime).unwrap();
        assert_eq!(set.members, before);
    }

    #[test]
    fn a_part_of_an_answer_that_fails_is_no_word_of_there_being_none() {
        let (sink, _sets) = sink_of_nothing();
        let targets = [Target::plain("a.test.".into(), 80)];
        let none = Answer::None(Duration::from_secs(9));
        let found = vec![
            fails("a.test.", RecordType::A),
            ("a.test.".into(), RecordType::AAAA, Ok(none)),
        ];
        let outcome = dns().set(&sink, found, &targets, Duration::MAX);
        assert!(matches!(outcome, Err(Failure::Refused(_))));
    }
}
