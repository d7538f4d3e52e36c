//! Hosts: what a route asks for, what a request says, and the index from one to the other.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use super::precedence::HostRank;
use super::trie::{FixedState, NodeId};

/// The longest name DNS allows. A longer host can name nothing; looking at its suffixes would let a client
/// choose how much is hashed.
const MAX_HOST: usize = 253;

/// A host that a route answers for, in lower case and without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostMatch {
    /// This name, or this address (IPv6 in brackets).
    Exact(Box<str>),
    /// `*.suffix`, held without its `*.`: the suffix after one or more labels.
    Suffix(Box<str>),
}

impl HostMatch {
    /// How specifically this matches `host`, a normalised one; `None` when it does not.
    pub(super) fn rank(&self, host: &str) -> Option<HostRank> {
        match self {
            Self::Exact(name) => (**name == *host).then_some(HostRank::Exact),
            Self::Suffix(suffix) => {
                let labels = host.strip_suffix(&**suffix)?.strip_suffix('.')?;
                (!labels.is_empty()).then_some(HostRank::Suffix(suffix.len()))
            }
        }
    }
}

/// From a name and whether it is a wildcard. A wildcard's name may come with or without its `*.`.
impl From<(&str, bool)> for HostMatch {
    fn from((name, is_wildcard): (&str, bool)) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if is_wildcard {
            Self::Suffix(name.strip_prefix("*.").unwrap_or(&name).into())
        } else {
            Self::Exact(name.into())
        }
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

/// The host of a request without its port, in lower case, without dots at its end. Allocates only to lower
/// capitals. A host too long for DNS becomes the empty one, which only routes without a host match.
pub fn normalise(host: &str) -> Cow<'_, str> {
    let name = without_port(host);
    let name = name.trim_end_matches('.');
    if name.len() > MAX_HOST {
        Cow::Borrowed("")
    } else if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // In `[::1]` the last colon is inside the brackets, and what follows it is not a number.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// From hosts to the roots of their tries.
#[derive(Debug, Default)]
pub(super) struct HostIndex {
    exact: HashMap<Box<str>, NodeId, FixedState>,
    suffix: HashMap<Box<str>, NodeId, FixedState>,
    any: Option<NodeId>,
    /// Suffixes longer than every configured one are not worth a hash.
    longest_suffix: usize,
}

impl HostIndex {
    /// The root of `host`'s trie (`None`: of the routes without a host), made by `create` the first time.
    pub(super) fn root(
        &mut self,
        host: Option<&HostMatch>,
        create: impl FnOnce() -> NodeId,
    ) -> NodeId {
        let (roots, name) = match host {
            None => return *self.any.get_or_insert_with(create),
            Some(HostMatch::Exact(name)) => (&mut self.exact, name),
            Some(HostMatch::Suffix(suffix)) => {
                self.longest_suffix = self.longest_suffix.max(suffix.len());
                (&mut self.suffix, suffix)
            }
        };
        if let Some(&root) = roots.get(name) {
            return root;
        }
        *roots.entry(name.clone()).or_insert_with(create)
    }

    /// Whether any route asks for a host at all.
    pub(super) fn tells_hosts_apart(&self) -> bool {
        !self.exact.is_empty() || !self.suffix.is_empty()
    }

    /// The roots to try for a normalised host, the most specific first.
    pub(super) fn roots<'a>(&'a self, host: &'a str) -> impl Iterator<Item = NodeId> + 'a {
        // Without wildcards there is nothing to walk the labels for.
        let labels = if self.longest_suffix == 0 { "" } else { host };
        let suffixes = labels
            .match_indices('.')
            .filter(|&(at, _)| at > 0)
            .filter_map(|(at, dot)| labels.get(at + dot.len()..))
            .filter(|suffix| suffix.len() <= self.longest_suffix)
            .filter_map(|suffix| self.suffix.get(suffix));
        self.exact
            .get(host)
            .into_iter()
            .chain(suffixes)
            .chain(&self.any)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises() {
        let check = |input: &str, expected: &str| assert_eq!(normalise(input), expected, "{input}");
        check("api.example", "api.example");
        check("API.Example", "api.example");
        check("api.example:8443", "api.example");
        check("api.example:", "api.example");
        check("api.example.", "api.example");
        check("api.example.:443", "api.example");
        check("api.example..", "api.example");
        check("[::1]", "[::1]");
        check("[::1]:80", "[::1]");
        check("[FE80::A]:80", "[fe80::a]");
        check("127.0.0.1:80", "127.0.0.1");
        check("", "");
        check(":80", "");
        check(&"a.".repeat(4000), "");
        assert!(matches!(normalise("api.example:80"), Cow::Borrowed(_)));
    }

    #[test]
    fn ranks() {
        let check = |pattern: (&str, bool), host: &str, expected: Option<HostRank>| {
            assert_eq!(
                HostMatch::from(pattern).rank(host),
                expected,
                "{pattern:?} {host}"
            );
        };
        check(
            ("Api.Example.", false),
            "api.example",
            Some(HostRank::Exact),
        );
        check(("api.example", false), "v1.api.example", None);
        check(
            ("*.example", true),
            "api.example",
            Some(HostRank::Suffix(7)),
        );
        check(
            ("example", true),
            "v1.api.example",
            Some(HostRank::Suffix(7)),
        );
        check(("example", true), "example", None);
        check(("example", true), ".example", None);
        check(("example", true), "counterexample", None);
    }

    #[test]
    fn roots_come_most_specific_first() {
        let mut index = HostIndex::default();
        let hosts = [("c.d", true), ("b.c.d", true), ("a.b.c.d", false)].map(HostMatch::from);
        for (root, host) in (1..).zip(&hosts) {
            assert_eq!(index.root(Some(host), || root), root);
            assert_eq!(
                index.root(Some(host), || unreachable!("it is there already")),
                root
            );
        }
        index.root(None, || 9);
        let check = |host: &str, expected: &[NodeId]| {
            assert_eq!(index.roots(host).collect::<Vec<_>>(), expected, "{host}");
        };
        check("a.b.c.d", &[3, 2, 1, 9]);
        check("x.y.b.c.d", &[2, 1, 9]);
        check("b.c.d", &[1, 9]);
        check("c.d", &[9]);
        check(".c.d", &[9]);
        check("", &[9]);
    }
}
