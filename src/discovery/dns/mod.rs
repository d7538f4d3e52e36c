//! DNS: the addresses of a name, or the servers of a service (SRV, RFC 2782), asked for again when their time is over.
//!
//! What is asked for is in time with the TTL of what was answered, within bounds, and never with a request. That there
//! is no such name, or nothing of the kind at it, is an answer too, as good as its negative TTL (RFC 2308). A server
//! that fails (SERVFAIL, REFUSED, silence) has said nothing.

mod answer;
mod config;

use std::convert::Infallible;
use std::net::SocketAddr;
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
            let asking = timeout(DEADLINE, self.ask(&resolver));
            let asked = asking.await;
            let no_answer = |_| Failure::unreachable(format!("no answer within {DEADLINE:?}"));
            let Set {
                members,
                lifetime,
                failure,
            } = asked.map_err(no_answer)??;
            sink.publish(members);
            failure.iter().for_each(|failure| sink.failed(failure));
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
}

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

    async fn ask(&self, resolver: &TokioResolver) -> Result<Set, Failure> {
        match &self.asked {
            Asked::Name { name, port } => {
                let target = Target::plain(name.clone(), *port);
                self.resolve(resolver, vec![target], Duration::MAX).await
            }
            Asked::Service(name) => {
                match Answer::of(resolver.lookup(&**name, RecordType::SRV).await)? {
                    Answer::None(lifetime) => Ok(Set {
                        lifetime,
                        ..Set::default()
                    }),
                    Answer::Records(records, lifetime) => {
                        let records = records.iter().filter_map(|it| match &it.data {
                            RData::SRV(record) => Some(record),
                            _ => None,
                        });
                        self.resolve(resolver, targets(records)?, lifetime).await
                    }
                }
            }
        }
    }

    /// All addresses of all targets. One that fails has the addresses that it had; where all fail, that is a failure.
    async fn resolve(
        &self,
        resolver: &TokioResolver,
        targets: Vec<Target>,
        lifetime: Duration,
    ) -> Result<Set, Failure> {
        let types = self.family.types();
        let names: std::collections::BTreeSet<&str> = targets.iter().map(|it| &*it.name).collect();
        let ask_one = async |name: &str| {
            let lookups = types.iter().map(|&of| async move {
                let found = Answer::of(resolver.lookup(name, of).await);
                (Box::<str>::from(name), of, found)
            });
            join_all(lookups).await
        };
        let asking = stream::iter(names).map(ask_one).buffer_unordered(AT_A_TIME);
        let found: Vec<_> = asking.concat().await;
        let mut set = Set {
            lifetime,
            ..Set::default()
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = Addresses::default();
        let mut has_answer = found.is_empty();
        for (name, of, found) in found {
            match found {
                Ok(answer) => {
                    has_answer = true;
                    set.lifetime = set.lifetime.min(answer.lifetime());
                    now.add(name, of, answer.addresses());
                }
                Err(failure) => {
                    let before = known.of(&name, of).to_vec();
                    now.add(name, of, before);
                    set.failure = Some(failure);
                }
            }
        }
        if !has_answer {
            return Err(set
                .failure
                .unwrap_or(Failure::Unreachable("no answer".into())));
        }
        for target in &targets {
            // As TLS has it.
            let host = target.name.trim_end_matches('.');
            let each = types.iter().flat_map(|&of| now.of(&target.name, of));
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
        Ok(set)
    }
}

/// Over UDP, and over TCP where an answer does not fit.
fn server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}
