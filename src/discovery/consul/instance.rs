//! What Consul says of the instances of a service, as far as it matters here.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::config::Health;
use crate::discovery::listed::Listed;
use crate::discovery::{Failure, Labels};

/// More is said of no endpoint.
const MOST_LABELS: usize = 256;
/// The check that an operator's maintenance is to Consul, of a node or (with a name behind it) of a service.
const MAINTENANCE: [&str; 2] = ["_node_maintenance", "_service_maintenance"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Instance {
    node: Node,
    service: Service,
    #[serde(default, deserialize_with = "or_null")]
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(default)]
    address: String,
    #[serde(default, deserialize_with = "or_null")]
    meta: BTreeMap<String, String>,
    locality: Option<Locality>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(default)]
    address: String,
    port: u16,
    #[serde(default, deserialize_with = "or_null")]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "or_null")]
    meta: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_null")]
    weights: Weights,
    locality: Option<Locality>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Locality {
    #[serde(default)]
    zone: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Weights {
    passing: u32,
    warning: u32,
}

impl Default for Weights {
    fn default() -> Weights {
        Weights {
            passing: 1,
            warning: 1,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID", default)]
    id: String,
    status: String,
}

/// Go writes lists and tables that are not there as null.
fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Those that are healthy enough, of an answer of the health API. One that nothing can be sent to is left out, since it says
/// nothing of the others; `problems` gets why.
pub(super) fn instances(
    body: &[u8],
    wanted: Health,
    problems: &mut BTreeSet<String>,
) -> Result<Vec<Listed>, Failure> {
    let values: Vec<Value> = serde_json::from_slice(body).map_err(Failure::malformed)?;
    let mut all = Vec::with_capacity(values.len());
    for value in values {
        let id = value.pointer("/Service/ID").and_then(Value::as_str);
        let id = id.unwrap_or("without an ID").to_owned();
        let listed = serde_json::from_value(value).map_err(Failure::malformed);
        match listed.map(|it: Instance| it.listed(wanted)) {
            Ok(None) => {}
            Ok(Some(Ok(listed))) => all.push(listed),
            Ok(Some(Err(why))) | Err(why) => {
                problems.insert(format!("instance {id:?} is left out: {why}"));
            }
        }
    }
    Ok(all)
}

impl Instance {
    fn listed(&self, wanted: Health) -> Option<Result<Listed, Failure>> {
        let has = |status: &str| self.checks.iter().any(|it| it.status == status);
        let is_warning = has("warning");
        let is_wanted = match wanted {
            Health::Passing => self.checks.iter().all(|it| it.status == "passing"),
            Health::Warning => self
                .checks
                .iter()
                .all(|it| it.status == "passing" || it.status == "warning"),
            Health::Any => !self.is_in_maintenance(),
        };
        let weight = match is_warning {
            true => self.service.weights.warning,
            false => self.service.weights.passing,
        };
        // Nothing is to be sent to one without weight.
        if !is_wanted || weight == 0 {
            return None;
        }
        Some(self.at(weight))
    }

    fn is_in_maintenance(&self) -> bool {
        let mut ids = self.checks.iter().map(|it| it.id.as_str());
        ids.any(|id| MAINTENANCE.iter().any(|known| id.starts_with(known)))
    }

    fn at(&self, weight: u32) -> Result<Listed, Failure> {
        let Service { address, port, .. } = &self.service;
        let host = match address.is_empty() {
            true => &self.node.address,
            false => address,
        };
        let is_unix = host.starts_with("unix:");
        let address = match (is_unix, host.contains(':')) {
            (true, _) => host.clone(),
            (false, true) => format!("[{host}]:{port}"),
            (false, false) => format!("{host}:{port}"),
        };
        let bad = |error: <Listed as std::str::FromStr>::Err| {
            Failure::malformed(format!("the address of an instance {error}"))
        };
        let listed: Listed = address.parse().map_err(bad)?;
        Ok(listed.with(weight, self.zone(), self.labels()))
    }

    fn zone(&self) -> Option<&str> {
        let localities = [&self.service.locality, &self.node.locality];
        let localities = localities.into_iter().flatten().map(|it| &*it.zone);
        let metas = [&self.service.meta, &self.node.meta].into_iter();
        let metas = metas.filter_map(|meta| meta.get("zone").map(String::as_str));
        localities.chain(metas).find(|zone| !zone.is_empty())
    }

    fn labels(&self) -> Labels {
        let tags = self.service.tags.iter();
        let tags = tags.map(|tag| tag.split_once('=').unwrap_or((tag, "")));
        let meta = self
            .service
            .meta
            .iter()
            .map(|(name, value)| (&**name, &**value));
        // What the metadata says counts more.
        let labels: BTreeMap<&str, &str> = tags.chain(meta).collect();
        let labels = labels.into_iter().take(MOST_LABELS);
        labels
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(health: Health, text: &str, expected: &[(&str, u32, Option<&str>)]) {
        let listed = instances(text.as_bytes(), health, &mut BTreeSet::new()).unwrap();
        let members = listed.iter().filter_map(|it| it.member(None));
        let seen: Vec<_> = members
            .map(|it| {
                (
                    it.socket.text(),
                    it.weight,
                    it.zone.map(|zone| zone.to_string()),
                )
            })
            .collect();
        let expected = expected
            .iter()
            .map(|&(address, weight, zone)| (address.to_owned(), weight, zone.map(str::to_owned)));
        assert_eq!(seen, expected.collect::<Vec<_>>(), "{health:?} {text}");
    }

    fn instance(service: &str, statuses: &[&str]) -> String {
        let checks = statuses
            .iter()
            .map(|it| format!("{{\"CheckID\": \"c\", \"Status\": \"{it}\"}}"));
        let checks = checks.collect::<Vec<_>>().join(",");
        format!(
            "[{{\"Node\": {{\"Address\": \"10.0.0.9\", \"Meta\": {{\"zone\": \"n\"}}}}, \"Service\": {{{service}}}, \"Checks\": [{checks}]}}]"
        )
    }

    #[test]
    fn addresses_weights_and_zones() {
        let passing = |service: &str| instance(service, &["passing"]);
        check(Health::Passing, "[]", &[]);
        check(
            Health::Passing,
            &passing("\"Port\": 80"),
            &[("10.0.0.9:80", 1, Some("n"))],
        );
        check(
            Health::Passing,
            &passing(
                "\"Port\": 80, \"Address\": \"::1\", \"Tags\": null, \"Meta\": {\"zone\": \"s\"}, \"Weights\": {\"Passing\": 7}",
            ),
            &[("[::1]:80", 7, Some("s"))],
        );
        check(
            Health::Passing,
            &passing("\"Port\": 80, \"Locality\": {\"Region\": \"r\", \"Zone\": \"l\"}"),
            &[("10.0.0.9:80", 1, Some("l"))],
        );
        check(
            Health::Passing,
            &passing("\"Port\": 80, \"Weights\": {\"Passing\": 0, \"Warning\": 1}"),
            &[],
        );
    }

    #[test]
    fn health() {
        let service = "\"Port\": 80, \"Weights\": {\"Passing\": 5, \"Warning\": 2}";
        let at = |weight| Some(("10.0.0.9:80", weight, Some("n")));
        for (statuses, passing, warning, any) in [
            (&[][..], at(5), at(5), at(5)),
            (&["passing", "passing"], at(5), at(5), at(5)),
            (&["passing", "warning"], None, at(2), at(2)),
            (&["passing", "critical"], None, None, at(5)),
        ] {
            let text = instance(service, statuses);
            for (health, expected) in [
                (Health::Passing, passing),
                (Health::Warning, warning),
                (Health::Any, any),
            ] {
                check(health, &text, expected.as_slice());
            }
        }
        let maintained = instance(service, &["critical"]).replace("\"c\"", "\"_node_maintenance\"");
        check(Health::Any, &maintained, &[]);
    }

    #[test]
    fn tags_and_metadata_are_labels() {
        let text = instance(
            "\"Port\": 80, \"Tags\": [\"v1\", \"track=canary\", \"a=b\"], \"Meta\": {\"a\": \"c\"}",
            &[],
        );
        let listed = instances(text.as_bytes(), Health::Passing, &mut BTreeSet::new()).unwrap();
        let member = listed[0].member(None).unwrap();
        let labels: Vec<_> = member
            .labels
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(labels, [("a", "c"), ("track", "canary"), ("v1", "")]);
    }

    #[test]
    fn a_bad_instance_is_left_out_and_the_others_stay() {
        for bad in [
            "{}",
            "5",
            "{\"Node\": {}, \"Service\": {\"Port\": 70000}}",
            "{\"Node\": {}, \"Service\": {\"Port\": 80}}",
            "{\"Node\": {\"Address\": \"10.0.0.1\"}, \"Service\": {\"Port\": 0}}",
            "{\"Node\": {}, \"Service\": {\"Port\": 80, \"Address\": \"a b\"}}",
        ] {
            let good = "{\"Node\": {\"Address\": \"10.0.0.9\"}, \"Service\": {\"Port\": 80}}";
            let text = format!("[{bad},{good}]");
            check(Health::Passing, &text, &[("10.0.0.9:80", 1, None)]);
            let mut problems = BTreeSet::new();
            instances(text.as_bytes(), Health::Passing, &mut problems).unwrap();
            assert_eq!(problems.len(), 1, "{bad}: {problems:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_failure() {
        for text in ["", "{}"] {
            let failure =
                instances(text.as_bytes(), Health::Passing, &mut BTreeSet::new()).unwrap_err();
            assert!(
                matches!(failure, Failure::Malformed(_)),
                "{text}: {failure:?}"
            );
        }
    }
}
