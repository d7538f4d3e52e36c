//! Endpoints as somebody has listed them, in a file.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};

use super::{Labels, Member, Socket};
use crate::text::{
    Bounded, Diagnostics, EndpointAddress, Shorthand, Sources, Spanned, Table, shorthand,
};

/// Each unit of weight is a place in the order in which endpoints take turns, which bounds it.
type Weight = Bounded<1, 1000>;

/// One endpoint of a list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listed {
    pub(super) address: EndpointAddress,
    pub(super) weight: u32,
    pub(super) priority: u8,
    pub(super) zone: Option<Arc<str>>,
    pub(super) labels: Labels,
}

impl Listed {
    /// The endpoint, at this socket where its address is a name; `None` where it is one and no socket is said.
    pub(super) fn member(&self, resolved: Option<std::net::SocketAddr>) -> Option<Member> {
        let member = match (&self.address, resolved) {
            (EndpointAddress::Socket(socket), _) => Member::at(*socket, self.weight),
            (EndpointAddress::Unix(path), _) => {
                Member::new(Socket::Unix(path.clone()), "localhost".into(), self.weight)
            }
            (EndpointAddress::Name { host, .. }, Some(socket)) => {
                Member::new(Socket::Inet(socket), host.clone(), self.weight)
            }
            (EndpointAddress::Name { .. }, None) => return None,
        };
        Some(Member {
            priority: self.priority,
            zone: self.zone.clone(),
            labels: self.labels.clone(),
            ..member
        })
    }
}

impl Listed {
    /// The same endpoint, of which this is said.
    pub(super) fn with(self, weight: u32, zone: Option<&str>, labels: Labels) -> Listed {
        Listed {
            weight,
            zone: zone.map(Arc::from),
            labels,
            ..self
        }
    }
}

/// An endpoint of a list as a table.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LongListed {
    /// `"10.0.0.5:8002"`, `"[2001:db8::5]:8002"`, `"orders.internal:8002"` or `"unix:/run/orders.sock"`.
    address: EndpointAddress,
    /// The share of requests that it gets, relative to the others: 1 to 1000.
    weight: Option<Weight>,
    /// Endpoints of a higher number are for when those of lower ones fail.
    #[serde(default)]
    priority: u8,
    zone: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl From<LongListed> for Listed {
    fn from(long: LongListed) -> Listed {
        let labels = long.labels.into_iter();
        Listed {
            address: long.address,
            weight: long.weight.map_or(1, |weight| u32::from(weight.get())),
            priority: long.priority,
            zone: long.zone.map(Arc::from),
            labels: labels
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }
}

impl FromStr for Listed {
    type Err = <EndpointAddress as FromStr>::Err;

    fn from_str(text: &str) -> Result<Listed, Self::Err> {
        Ok(Listed {
            address: text.parse()?,
            weight: 1,
            priority: 0,
            zone: None,
            labels: Labels::default(),
        })
    }
}

impl Shorthand for Listed {
    type Long = LongListed;
    const EXPECTED: &'static str = "an address such as \"10.0.0.5:8002\", or a table such as { address = \"10.0.0.5:8002\", weight = 2 }";
}

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        shorthand(deserializer)
    }
}

/// The endpoints that a TOML file lists: `endpoints = ["10.0.0.5:8002", …]`. The error is the first mistake, with file,
/// line and column.
pub(super) fn of_toml(path: &str, text: &str) -> Result<Vec<Listed>, String> {
    let (mut sources, mut diagnostics) = (Sources::new(), Diagnostics::new());
    let source = sources.add(path, text);
    let listed = Table::parse(&mut diagnostics, source, text).and_then(|mut table| {
        let listed = table.require::<Vec<Spanned<Listed>>>("endpoints");
        table.finish();
        listed
    });
    if let Some(first) = diagnostics.reports(&sources).first() {
        let (line, column) = (first.line.unwrap_or(1), first.column.unwrap_or(1));
        return Err(format!("{path}:{line}:{column}: {}", first.message));
    }
    let listed = listed.unwrap_or_default();
    Ok(listed.into_iter().map(|it| it.value).collect())
}

/// The endpoints that a JSON file lists: `{"endpoints": ["10.0.0.5:8002", …]}`. As [`of_toml`].
pub(super) fn of_json(path: &str, text: &str) -> Result<Vec<Listed>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct List {
        endpoints: Vec<OfJson>,
    }
    let list: List = serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let what = said.strip_suffix(&place).unwrap_or(&said);
        format!("{path}:{}:{}: {what}", error.line(), error.column())
    })?;
    Ok(list.endpoints.into_iter().map(|it| it.0).collect())
}

/// Of JSON, whose reader knows nothing of [`Shorthand`].
struct OfJson(Listed);

impl<'de> Deserialize<'de> for OfJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either).map(OfJson)
    }
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address such as \"10.0.0.5:8002\", or an object with one")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Listed, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Listed, A::Error> {
        LongListed::deserialize(MapAccessDeserializer::new(map)).map(Listed::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = fn(&str, &str) -> Result<Vec<Listed>, String>;

    fn check(read: Read, text: &str, expected: Result<&[(&str, u32, u8)], &str>) {
        let seen = read("users", text);
        let seen: Result<Vec<_>, _> = seen.map(|listed| {
            let seen = |it: &Listed| (it.address.to_string(), it.weight, it.priority);
            listed.iter().map(seen).collect()
        });
        let expected = expected.map(|listed| {
            let owned = |it: &(&str, u32, u8)| (it.0.to_owned(), it.1, it.2);
            listed.iter().map(owned).collect()
        });
        assert_eq!(seen, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn toml() {
        check(of_toml, "endpoints = []", Ok(&[]));
        check(
            of_toml,
            "endpoints = [\n  \"10.0.0.5:80\",\n  { address = \"a.b:81\", weight = 3, priority = 1, zone = \"z\" },\n]",
            Ok(&[("10.0.0.5:80", 1, 0), ("a.b:81", 3, 1)]),
        );
        check(of_toml, "", Err("users:1:1: missing key \"endpoints\""));
        check(
            of_toml,
            "endpoints = [\n  \"10.0.0.5\",\n]",
            Err(
                "users:2:3: endpoints[0] must be an address such as \"10.0.0.5:8002\", \"orders.internal:8002\" or \"unix:/run/orders.sock\", got \"10.0.0.5\"",
            ),
        );
        check(
            of_toml,
            "endpoints = [\n  { address = \"a:1\", wieght = 3 },\n]",
            Err("users:2:22: endpoints[0]: unknown key \"wieght\", did you mean \"weight\"?"),
        );
        check(
            of_toml,
            "endpoints = [",
            Err("users:1:13: this array is never closed"),
        );
    }

    #[test]
    fn json() {
        check(of_json, r#"{"endpoints": []}"#, Ok(&[]));
        check(
            of_json,
            r#"{"endpoints": ["10.0.0.5:80", {"address": "unix:/run/a", "weight": 1000, "labels": {"v": "1"}}]}"#,
            Ok(&[("10.0.0.5:80", 1, 0), ("unix:/run/a", 1000, 0)]),
        );
        check(of_json, "{}", Err("users:1:2: missing field `endpoints`"));
        check(
            of_json,
            "{\"endpoints\":\n [5]}",
            Err(
                "users:2:3: invalid type: integer `5`, expected an address such as \"10.0.0.5:8002\", or an object with one",
            ),
        );
    }

    #[test]
    fn what_is_said_of_an_endpoint_comes_with_it() {
        let text =
            "endpoints = [{ address = '10.0.0.5:80', zone = 'a', labels = { b = 'c', a = 'd' } }]";
        let listed = of_toml("users", text).unwrap();
        let member = listed[0].member(None).unwrap();
        assert_eq!(member.zone.as_deref(), Some("a"));
        let labels = [("a".into(), "d".into()), ("b".into(), "c".into())];
        assert_eq!(*member.labels, labels);
    }
}
