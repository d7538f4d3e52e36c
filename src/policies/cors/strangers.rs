//! Origins that are nobody's friends: what a pattern is tried on before users' credentials are trusted to it.
//!
//! An expression that is too wide cannot be told from one that is meant to be wide; but most mistakes let in one of a
//! few origins that anybody can register.

/// In schemes, and ports as they may stand behind a host.
const SCHEMES: [&str; 2] = ["https://", "http://"];
const PORTS: [&str; 4] = ["", ":8443", ":8080", ":3000"];

/// Hosts of nobody in particular, under several top-level domains.
const HOSTS: [&str; 15] = [
    "stranger.invalid",
    "stranger.com",
    "www.stranger.com",
    "stranger.net",
    "stranger.org",
    "stranger.io",
    "stranger.dev",
    "stranger.app",
    "stranger.xyz",
    "stranger.info",
    "stranger.de",
    "stranger.co.uk",
    "stranger.com.au",
    "203.0.113.7",
    "[2001:db8::7]",
];

/// Top-level domains that nobody can register anything under (RFC 6761, RFC 6762, and ICANN's `internal`).
const PRIVATE: [&str; 6] = [
    "localhost",
    "test",
    "example",
    "invalid",
    "local",
    "internal",
];

/// What stands before a country in the domains that everybody there registers under.
const SECOND_LEVEL: [&str; 7] = ["ac", "co", "com", "edu", "gov", "net", "org"];

/// Whether anybody may register a name under this host: `com`, `co.uk`.
pub(super) fn is_registry(host: &str) -> bool {
    match host.split_once('.') {
        None => !PRIVATE.contains(&host),
        Some((first, country)) => SECOND_LEVEL.contains(&first) && country.len() == 2,
    }
}

/// An origin of a stranger's that is matched, for an expression over origins that was written so.
pub(super) fn stranger(source: &str, is_match: impl Fn(&str) -> bool) -> Option<String> {
    let anywhere = HOSTS
        .iter()
        .flat_map(|host| PORTS.map(|port| [host, port].concat()));
    // A port that is written in the expression comes with its host.
    let like_its_own = literals(source)
        .into_iter()
        .flat_map(|literal| beside(&literal));
    anywhere.chain(like_its_own).find_map(|authority| {
        let origins = SCHEMES.map(|scheme| [scheme, &authority].concat());
        origins.into_iter().find(|origin| is_match(origin))
    })
}

/// Strangers' hosts that are like one of the expression's: with more glued before the name that is registered, with
/// anything for a dot, and with another domain behind; each with the port that stands behind it, or with several.
fn beside(literal: &str) -> Vec<String> {
    let (host, port) = literal.split_once(':').unwrap_or((literal, ""));
    let mut hosts = vec![
        format!("{host}.stranger.com"),
        format!("stranger{host}.stranger.com"),
    ];
    if let Some((before, registered)) = split_registered(host) {
        hosts.push(format!("stranger{registered}"));
        hosts.push(format!("{before}x{registered}"));
    }
    let with_ports = |host: &String| match port {
        "" => PORTS.map(|port| [host, port].concat()).to_vec(),
        port => vec![format!("{host}:{port}")],
    };
    hosts.iter().flat_map(with_ports).collect()
}

/// The name that somebody has registered, and what stands before it without the dot between them.
fn split_registered(host: &str) -> Option<(&str, &str)> {
    let mut dots = host.rmatch_indices('.').map(|(at, _)| at);
    dots.next()?;
    let mut before = dots.next();
    if before.is_some_and(|at| host.get(at + 1..).is_some_and(is_registry)) {
        before = dots.next();
    }
    match before {
        None => Some(("", host)),
        Some(at) => Some((host.get(..at)?, host.get(at + 1..)?)),
    }
}

/// The parts of an expression that stand for themselves and have a dot in them. A dot that is not escaped is taken
/// for one, since it was meant so where nothing repeats it.
fn literals(source: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let token = ["\\.", "[.]", "\\-", "\\:"].iter();
        let token = token.copied().find(|token| rest.starts_with(token));
        let length = token.map_or(first.len_utf8(), str::len);
        rest = rest.get(length..).unwrap_or_default();
        let literal = match token {
            Some(token) => token
                .chars()
                .find(|letter| matches!(letter, '.' | '-' | ':')),
            None => {
                Some(first).filter(|first| first.is_ascii_alphanumeric() || ".-:".contains(*first))
            }
        };
        let is_repeated = rest.starts_with(['*', '+', '?', '{']);
        match (literal.filter(|_| !is_repeated), found.last_mut()) {
            (Some(literal), Some(last)) => last.push(literal.to_ascii_lowercase()),
            _ => found.push(String::new()),
        }
    }
    found.retain(|literal| literal.contains('.'));
    found
}

#[cfg(test)]
mod tests {
    use crate::text::RegexPattern;

    use super::*;

    #[test]
    fn wide_expressions_are_found() {
        let check = |source: &str, expected: Option<&str>| {
            let regex = RegexPattern::new(source).unwrap();
            let found = stranger(source, |origin| regex.is_match(origin.as_bytes()));
            assert_eq!(found.as_deref(), expected, "{source}");
        };
        check(".*", Some("https://stranger.invalid"));
        check("http://.*", Some("http://stranger.invalid"));
        check("https://.*:[0-9]+", Some("https://stranger.invalid:8443"));
        check(
            "https://[^/]+[.](com|net|org)",
            Some("https://stranger.com"),
        );
        check(r"https://.*\.de", Some("https://stranger.de"));
        check(r"http://[0-9.]+:3000", Some("http://203.0.113.7:3000"));
        check(r"https://[a-z]+\.co\.uk", Some("https://stranger.co.uk"));
        check(
            r"https://.*example\.com",
            Some("https://strangerexample.com"),
        );
        check(
            r"https://.*example\.co\.uk",
            Some("https://strangerexample.co.uk"),
        );
        check(
            r"https://.*example[.]com(:[0-9]+)?",
            Some("https://strangerexample.com"),
        );
        check(
            r"https://.*example\.com:9000",
            Some("https://strangerexample.com:9000"),
        );
        check(r"https://.*\.example.com", None);
        check(
            r"https://.*.example.com",
            Some("https://strangerexample.com"),
        );
        check(r"https://app.example.com", Some("https://appxexample.com"));
        check(
            r"https://example\.com.*",
            Some("https://example.com.stranger.com"),
        );
        check(
            r"https://[a-z]+\.example\.com.*",
            Some("https://stranger.example.com.stranger.com"),
        );
        check(
            r"https://.*example\.com:[0-9]+",
            Some("https://strangerexample.com:8443"),
        );
        for good in [
            r"https://pr-[0-9]+\.example\.com",
            r"https://pr-[0-9]+[.]example[.]dev",
            r"https://.*\.example\.com",
            r"https://(.*\.)?example\.com",
            r"https://(.+[.])?example[.]co[.]uk(:[0-9]+)?",
            r"https://[a-z]+-app\.example\.com",
            r"https://.*app\.example\.com",
            r"https?://(localhost|127\.0\.0\.1)(:[0-9]+)?",
            r"http://192\.168\.[0-9]+\.[0-9]+:3000",
            r"https://App[.]example[.]com",
        ] {
            check(good, None);
        }
    }

    #[test]
    fn registries_are_told() {
        for registry in ["com", "de", "co.uk", "com.au", "corp"] {
            assert!(is_registry(registry), "{registry}");
        }
        for host in [
            "example.com",
            "localhost",
            "internal",
            "test",
            "a.co.uk",
            "co.example",
        ] {
            assert!(!is_registry(host), "{host}");
        }
    }
}
