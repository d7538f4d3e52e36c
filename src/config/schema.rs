//! The JSON Schema of the language, for editors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::GatewayConfig;
use crate::{admin, cache, identity, limits, listener, policies, routing, stores, upstream};

/// The configuration of Northgate.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Northgate")]
#[allow(
    dead_code,
    reason = "only its shape is used; files are read by `Document`, which keeps places"
)]
struct Language {
    /// Files to read as well, relative to this one; `*` and `?` are wildcards.
    include: Option<Vec<String>>,
    gateway: Option<GatewayConfig>,
    admin: Option<admin::Config>,
    identity: Option<identity::Config>,
    cache: Option<cache::Config>,
    /// By name.
    plans: Option<BTreeMap<String, limits::PlanConfig>>,
    /// By name.
    consumers: Option<BTreeMap<String, identity::ConsumerConfig>>,
    /// By name.
    stores: Option<BTreeMap<String, stores::Config>>,
    /// By name.
    listeners: Option<BTreeMap<String, listener::Config<policies::Config>>>,
    /// By name.
    upstreams: Option<BTreeMap<String, upstream::Config>>,
    /// By name.
    routes: Option<BTreeMap<String, routing::Config>>,
}

/// The JSON Schema of the language.
pub fn schema() -> Value {
    schemars::schema_for!(Language).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    #[test]
    fn the_schema_has_the_sections_that_are_read() {
        let schema = schema();
        let sections = schema["properties"].as_object().unwrap().keys();
        for section in sections {
            // Every section of the schema is known to the reader, and the reader's own list is as long.
            let loaded = load_text("t.toml", &format!("[{section}]\n"));
            let unknown = loaded
                .diagnostics
                .iter()
                .any(|problem| problem.message.contains("unknown key"));
            assert!(!unknown, "{section}");
        }
        let loaded = load_text("t.toml", "zzzzzzzzz = 1\n");
        let help: String = loaded
            .diagnostics
            .iter()
            .filter_map(|problem| problem.help.clone())
            .collect();
        for section in schema["properties"].as_object().unwrap().keys() {
            assert!(
                help.contains(section.as_str()),
                "{section} is not in: {help}"
            );
        }
    }
}
