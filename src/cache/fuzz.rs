//! Any two URLs: they share a key where they ask for the same, and nowhere else.

use std::collections::BTreeMap;

use pingora::http::RequestHeader;

use super::Key;
use super::key::{Query, Scope, primary};
use crate::facts::{Facts, Scheme, View};
use crate::text::fuzz::fuzz;

const WORDS: [&str; 30] = [
    "only ",
    "without ",
    "whole",
    "\n",
    "http://",
    "https://",
    "a.example",
    "A.example",
    ":443",
    "/",
    "//",
    "/a",
    "/a%2Fb",
    "/%61",
    "?",
    "&",
    "=",
    "a=1",
    "a=2",
    "b",
    "b=",
    "utm_source=x",
    "utm_*",
    "*",
    "%61=1",
    "+",
    "%26",
    "%3D",
    ";",
    "#",
];

/// How many bytes are left out of a URL, one at a time.
const MOST_NEIGHBOURS: usize = 48;

/// What counts of queries, and then a URL a line.
#[test]
fn fuzz_keys() {
    fuzz("cache_keys", &WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        let (rule, urls) = text.split_once('\n').unwrap_or((&text, ""));
        let rule = Rule::of(rule);
        let mut keys: BTreeMap<Normal, Key> = BTreeMap::new();
        let mut other_way: BTreeMap<Key, Normal> = BTreeMap::new();
        let mut take = |url: &str| {
            let (key, normal) = rule.key(url)?;
            let known = *keys.entry(normal.clone()).or_insert(key);
            assert_eq!(known, key, "{url} is {normal:?}");
            let known = other_way.entry(key).or_insert_with(|| normal.clone());
            assert_eq!(*known, normal, "{url} has the key of another");
            Some(())
        };
        for url in urls.lines().take(6) {
            if take(url).is_none() {
                continue;
            }
            for again in rule.respelled(url) {
                take(&again);
            }
            let ends = url.char_indices().take(MOST_NEIGHBOURS);
            for (at, letter) in ends {
                let rest = &url[at + letter.len_utf8()..];
                take(&format!("{}{rest}", &url[..at]));
                take(&format!("{}&{}", &url[..at], &url[at..]));
            }
        }
        (rule.kind, rule.names.len().min(4), keys.len())
    });
}

/// What tells one URL from another: scheme, host, path, and what counts of the query.
type Normal = (String, String, String, Counted);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    Whole(Option<String>),
    /// All of a name, in the order in which they stand.
    Pairs(BTreeMap<String, Vec<String>>),
}

struct Rule {
    kind: &'static str,
    names: Vec<String>,
    query: Query,
}

impl Rule {
    fn of(line: &str) -> Rule {
        let (kind, names) = line.split_once(' ').unwrap_or((line, ""));
        let names = names.split(' ').filter(|name| !name.is_empty());
        let names: Vec<String> = names.map(str::to_owned).collect();
        let (kind, query) = match kind {
            "only" => ("only", Query::only(&names)),
            "without" => ("without", Query::without(&names)),
            _ => ("whole", Query::Whole),
        };
        Rule { kind, names, query }
    }

    /// `None` where it is no URL that comes so far.
    fn key(&self, url: &str) -> Option<(Key, Normal)> {
        let (scheme, rest) = url.split_once("://")?;
        let (host, target) = rest.split_at(rest.find('/')?);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let is_plain = target.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain || target.contains('#') {
            return None;
        }
        let mut request = RequestHeader::build("GET", target.as_bytes(), None).ok()?;
        request.insert_header("host", host).ok()?;
        host.is_ascii().then_some(())?;
        let heard = match scheme {
            "https" => Scheme::Https,
            _ => Scheme::Http,
        };
        let facts = Facts::new([192, 0, 2, 7].into(), heard);
        let view = View {
            facts: &facts,
            request: &request,
        };
        let counts = self.query.of(request.uri.query());
        let again = self.query.of(counts.as_deref());
        assert_eq!(again, counts, "{url}: what counts of it counts");
        let scope = Scope {
            route: "route",
            branch: None,
            written: None,
        };
        let key = primary(scope, counts.as_deref(), None, view);
        let normal = (
            heard.as_str().to_owned(),
            host.to_lowercase(),
            path.to_owned(),
            self.counted(query),
        );
        Some((key, normal))
    }

    fn counted(&self, query: Option<&str>) -> Counted {
        if self.kind == "whole" {
            return Counted::Whole(query.map(str::to_owned));
        }
        let mut pairs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in query.unwrap_or_default().split('&') {
            let name = pair.split('=').next().unwrap_or_default();
            if !pair.is_empty() && self.is_kept(name) {
                pairs.entry(name.into()).or_default().push(pair.into());
            }
        }
        Counted::Pairs(pairs)
    }

    fn is_kept(&self, name: &str) -> bool {
        let is_named = self.names.iter().any(|pattern| {
            let beginning = pattern.strip_suffix('*');
            beginning.map_or(name == pattern, |beginning| name.starts_with(beginning))
        });
        is_named == (self.kind == "only")
    }

    /// The same in other words, where not all of the query counts: in another order, with more that does not count.
    fn respelled(&self, url: &str) -> Vec<String> {
        let Some((before, query)) = url.split_once('?') else {
            return vec![url.replacen("://A", "://a", 1)];
        };
        let mut pairs: Vec<&str> = query.split('&').collect();
        // Of one name each stays behind the other.
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.split('=').next()));
        let turned = pairs.join("&");
        let more = if self.is_kept("zz") { "" } else { "zz=1&" };
        vec![
            format!("{before}?{turned}"),
            format!("{before}?&{more}{query}&"),
        ]
    }
}
