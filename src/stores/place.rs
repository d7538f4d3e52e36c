//! Where servers are, as the configuration says it.

use std::net::IpAddr;

use super::config::Config;
use crate::text::{EndpointAddress, Invalid, Span, Spanned, Subject, quoted};

/// The ports of servers and of sentinels that are given without one.
const SERVER: u16 = 6379;
const SENTINEL: u16 = 26379;

/// More would be connections to no use.
const MOST: usize = 100;

/// One URL.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: EndpointAddress,
    pub(super) is_tls: bool,
    database: u16,
}

/// What is at the addresses.
#[derive(Debug)]
pub(super) enum Places {
    One(Place),
    Sentinels {
        all: Vec<Place>,
        master: Box<str>,
        database: u16,
    },
    Cluster(Vec<Place>),
}

impl Places {
    /// `None` after diagnostics.
    pub(super) fn parse(config: &Spanned<Config>, subject: &mut Subject<'_>) -> Option<Places> {
        match (&config.url, &config.sentinel, &config.cluster) {
            (Some(url), None, None) => {
                let place = parse(url, SERVER, &mut subject.key("url"))?;
                Some(Places::One(place))
            }
            (None, Some(sentinel), None) => {
                let mut subject = subject.key("sentinel");
                let all = list(&sentinel.urls, SENTINEL, &mut subject.key("urls"));
                if sentinel.master.is_empty() {
                    subject.key("master").error(sentinel.span, "is empty");
                    return None;
                }
                Some(Places::Sentinels {
                    all: all?,
                    master: sentinel.master.as_str().into(),
                    database: sentinel.database,
                })
            }
            (None, None, Some(nodes)) => {
                let nodes = list(nodes, SERVER, &mut subject.key("cluster"))?;
                Some(Places::Cluster(nodes))
            }
            (url, sentinel, cluster) => {
                let spans = [
                    url.as_ref().map(|it| it.span),
                    sentinel.as_ref().map(|it| it.span),
                    cluster.as_ref().map(|it| it.span),
                ];
                // Of several the last one is too much.
                let given: Vec<Span> = spans.into_iter().flatten().collect();
                let span = given.last().copied().unwrap_or(config.span);
                subject.error(span, "needs one of url, sentinel and cluster, and only one");
                None
            }
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Place> {
        match self {
            Places::One(place) => std::slice::from_ref(place),
            Places::Sentinels { all, .. } | Places::Cluster(all) => all,
        }
        .iter()
    }

    pub(super) fn database(&self) -> u16 {
        match self {
            Places::One(place) => place.database,
            Places::Sentinels { database, .. } => *database,
            Places::Cluster(_) => 0,
        }
    }
}

/// Whether what is sent there stays on this machine.
pub(super) fn is_local(address: &EndpointAddress) -> bool {
    match address {
        EndpointAddress::Unix(_) => true,
        EndpointAddress::Socket(socket) => socket.ip().to_canonical().is_loopback(),
        EndpointAddress::Name { host, .. } => **host == *"localhost",
    }
}

/// What a server says of where another one is: an address without brackets, or a name.
pub(super) fn address(host: &str, port: u16) -> EndpointAddress {
    match host.parse::<IpAddr>() {
        Ok(ip) => EndpointAddress::Socket((ip, port).into()),
        Err(_) => EndpointAddress::Name {
            host: host.into(),
            port,
        },
    }
}

/// As [`address`], of a server of a cluster, which may leave the host out: then it is where `asked` is. `None` where it
/// says `?`, which is a name that it does not know (`cluster-preferred-endpoint-type`).
pub(super) fn address_beside(
    asked: &EndpointAddress,
    host: &str,
    port: u16,
) -> Option<EndpointAddress> {
    match (host, asked) {
        ("?", _) => None,
        ("", EndpointAddress::Socket(socket)) => {
            Some(EndpointAddress::Socket((socket.ip(), port).into()))
        }
        ("", EndpointAddress::Name { host, .. }) => Some(EndpointAddress::Name {
            host: host.clone(),
            port,
        }),
        ("", EndpointAddress::Unix(_)) => None,
        (host, _) => Some(address(host, port)),
    }
}

/// Addresses that are all with TLS, or all without.
fn list(
    urls: &Spanned<Vec<Spanned<String>>>,
    port: u16,
    subject: &mut Subject<'_>,
) -> Option<Vec<Place>> {
    if urls.is_empty() || urls.len() > MOST {
        subject.error(urls.span, format!("must have 1 to {MOST} addresses"));
        return None;
    }
    let parsed = urls.iter().enumerate().map(|(index, url)| {
        let mut subject = subject.index(index);
        let place = parse(url, port, &mut subject)?;
        let is_tls = urls
            .first()
            .is_some_and(|first| first.starts_with("rediss:"));
        let problem = match &place.address {
            EndpointAddress::Unix(_) => "must be redis://… or rediss://… here",
            _ if place.database != 0 => "must not name a database",
            _ if place.is_tls != is_tls => "must be with TLS where the first one is, or without",
            _ => return Some(place),
        };
        subject.error(url.span, problem);
        None
    });
    // All are looked at, so that every mistake is told.
    let parsed: Vec<_> = parsed.collect();
    parsed.into_iter().collect()
}

fn parse(url: &Spanned<String>, port: u16, subject: &mut Subject<'_>) -> Option<Place> {
    if let Some(path) = url.strip_prefix("unix://") {
        let address = format!("unix:{path}").parse();
        return place(url, address, "", false, subject);
    }
    let plain = url.strip_prefix("redis://").map(|rest| (rest, false));
    let Some((rest, is_tls)) = plain.or_else(|| Some((url.strip_prefix("rediss://")?, true)))
    else {
        let what = format!(
            "must be redis://…, rediss://… or unix://…, got {}",
            quoted(url)
        );
        subject.error(url.span, what);
        return None;
    };
    // What stands before an `@`, or in a query, is a password or leads to one.
    if rest.contains(['@', '?', '#']) {
        subject
            .error(url.span, "must be an address alone")
            .help("username and password have keys of their own");
        return None;
    }
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let has_port = authority.contains(':') && !authority.ends_with(']');
    let address = match has_port {
        true => authority.parse(),
        false => format!("{authority}:{port}").parse(),
    };
    place(url, address, database, is_tls, subject)
}

fn place(
    url: &Spanned<String>,
    address: Result<EndpointAddress, Invalid>,
    database: &str,
    is_tls: bool,
    subject: &mut Subject<'_>,
) -> Option<Place> {
    let database = match database {
        "" => Ok(0),
        digits => digits.parse(),
    };
    match (address, database) {
        (Ok(address), Ok(database)) => Some(Place {
            address,
            is_tls,
            database,
        }),
        (Err(_), _) => {
            let what = format!(
                "must be HOST:PORT or a path behind ://, got {}",
                quoted(url)
            );
            subject.error(url.span, what);
            None
        }
        (_, Err(_)) => {
            let what = format!(
                "must have the number of a database at its end, got {}",
                quoted(url)
            );
            subject.error(url.span, what);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Diagnostics, Sources};

    fn spanned<T>(value: T) -> Spanned<T> {
        let span = Span::start_of(Sources::new().add("a.toml", ""));
        Spanned { span, value }
    }

    fn check(url: &str, expected: Result<(&str, bool, u16), &str>) {
        let mut diagnostics = Diagnostics::new();
        let url = spanned(url.to_owned());
        let parsed = parse(&url, SERVER, &mut Subject::new(&mut diagnostics, "url"));
        let parsed = parsed.map(|it| (it.address.to_string(), it.is_tls, it.database));
        let parsed = parsed.ok_or_else(|| {
            let said = diagnostics.iter().map(|one| one.message.to_string());
            said.collect::<Vec<_>>().join("; ")
        });
        let expected =
            expected.map(|(address, is_tls, database)| (address.to_owned(), is_tls, database));
        assert_eq!(parsed, expected.map_err(str::to_owned), "{}", url.value);
    }

    #[test]
    fn urls() {
        check("redis://127.0.0.1:6379", Ok(("127.0.0.1:6379", false, 0)));
        check(
            "redis://redis.internal/3",
            Ok(("redis.internal:6379", false, 3)),
        );
        check(
            "rediss://redis.internal:6380/0",
            Ok(("redis.internal:6380", true, 0)),
        );
        check("redis://[::1]", Ok(("[::1]:6379", false, 0)));
        check("redis://[::1]:7000/", Ok(("[::1]:7000", false, 0)));
        check(
            "unix:///run/redis.sock",
            Ok(("unix:/run/redis.sock", false, 0)),
        );
        let wrong = "url must be redis://…, rediss://… or unix://…, got \"http://redis\"";
        check("http://redis", Err(wrong));
        let alone = "url must be an address alone";
        check("redis://:hunter2@redis", Err(alone));
        check("redis://redis/?password=x", Err(alone));
        check("rediss://redis/#insecure", Err(alone));
        let wrong = "url must have the number of a database at its end, got \"redis://redis/x\"";
        check("redis://redis/x", Err(wrong));
        let wrong = "url must be HOST:PORT or a path behind ://, got \"redis://\"";
        check("redis://", Err(wrong));
        let wrong = "url must be HOST:PORT or a path behind ://, got \"unix://redis.sock\"";
        check("unix://redis.sock", Err(wrong));
    }

    #[test]
    fn what_stays_on_this_machine() {
        for (text, expected) in [
            ("localhost:1", true),
            ("127.0.0.2:1", true),
            ("[::1]:1", true),
            ("unix:/run/redis.sock", true),
            ("10.0.0.1:1", false),
            ("redis:1", false),
        ] {
            let address = text.parse().expect("an address");
            assert_eq!(is_local(&address), expected, "{text}");
        }
    }

    #[test]
    fn what_servers_say_of_others() {
        for (host, expected) in [
            ("10.0.0.1", "10.0.0.1:7"),
            ("fd00::1", "[fd00::1]:7"),
            ("redis-1.internal", "redis-1.internal:7"),
        ] {
            assert_eq!(address(host, 7).to_string(), expected);
        }
        for (asked, host, expected) in [
            ("10.0.0.9:1", "10.0.0.1", Some("10.0.0.1:7")),
            ("10.0.0.9:1", "", Some("10.0.0.9:7")),
            ("[fd00::9]:1", "", Some("[fd00::9]:7")),
            ("redis.internal:1", "", Some("redis.internal:7")),
            ("unix:/run/redis.sock", "", None),
            ("10.0.0.9:1", "?", None),
        ] {
            let asked = asked.parse().expect("an address");
            let beside = address_beside(&asked, host, 7).map(|it| it.to_string());
            assert_eq!(beside.as_deref(), expected, "{asked} {host:?}");
        }
    }
}
