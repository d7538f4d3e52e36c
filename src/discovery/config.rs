//! `discovery = { … }` of an upstream as written.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Build, Source, consul, dns, etcd, file, kubernetes};
use crate::text::Spanned;

/// Who knows where the endpoints are: exactly one of the registries.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Discovery")]
pub struct Config {
    /// A file with the endpoints, TOML or (`*.json`) JSON, relative to the configuration file. It is read anew
    /// whenever it changes; one with mistakes changes nothing.
    pub file: Option<Spanned<PathBuf>>,
    /// Keys of etcd.
    pub etcd: Option<Spanned<etcd::Config>>,
    /// A service of Kubernetes.
    pub kubernetes: Option<Spanned<kubernetes::Config>>,
    /// DNS: the addresses of a name, or the servers of a service.
    pub dns: Option<Spanned<dns::Config>>,
    /// Consul: the healthy instances of a service.
    pub consul: Option<Spanned<consul::Config>>,
    /// What to do where the registry says that there are no endpoints at all. Default: `"keep"` for registries in
    /// which that is more often a fault than meant (`dns`, `consul`), and `"drop"` for the others, but for an `etcd` that
    /// has lost what it had.
    pub on_empty: Option<OnEmpty>,
}

/// What a set without endpoints means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnEmpty {
    /// Nothing: the last endpoints stay in use, the log and a metric say so.
    Keep,
    /// What it says: requests get 503 `upstream_unhealthy` until there are endpoints.
    Drop,
}

impl Config {
    /// Compiles the one source that is written. `None` after diagnostics.
    pub(super) fn source(
        config: &Spanned<Config>,
        context: &mut Build<'_>,
    ) -> Option<Arc<dyn Source>> {
        let Config {
            file,
            etcd,
            kubernetes,
            dns,
            consul,
            on_empty,
        } = &config.value;
        let written = [
            ("file", file.is_some()),
            ("etcd", etcd.is_some()),
            ("kubernetes", kubernetes.is_some()),
            ("dns", dns.is_some()),
            ("consul", consul.is_some()),
        ];
        let mut names = written.iter().filter(|(_, is_there)| *is_there);
        let (first, second) = (names.next(), names.next());
        if first.is_none() || second.is_some() {
            let known = written.map(|(name, _)| name).join(", ");
            let subject = &mut context.subject;
            let what = format!("must have exactly one of {known}");
            subject
                .error(config.span, what)
                .help("write discovery = { file = \"endpoints.toml\" }");
            return None;
        }
        if let Some(file) = file {
            return file::build(file, context);
        }
        if let Some(etcd) = etcd {
            return etcd::build(etcd, *on_empty, context);
        }
        if let Some(kubernetes) = kubernetes {
            return kubernetes::build(kubernetes, context);
        }
        if let Some(dns) = dns {
            return dns::build(dns, context);
        }
        consul::build(consul.as_ref()?, context)
    }
}
