//! `cache`: responses are kept, and answer for the upstream while they are good.
//!
//! ```toml
//! [routes.catalog]
//! match = { path = "/products/{*rest}" }
//! respond = { status = 200 }
//!
//! [routes.catalog.policies]
//! cache = { stale_while_revalidate = "30s", stale_if_error = "10m", tags = ["catalog"] }
//! ```
//!
//! What may be kept and for how long is said by the upstream (RFC 9111), and changed by the policy. See the
//! [cache](crate::cache) for what it does and what it never does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::limiting::{ByConfig, Counted};
use super::{BuildScope, Hooks};
use crate::cache::marks::TagField;
use crate::cache::{Freshness, Query, Rules, StatusTtl, VaryBy};
use crate::facts::Expression;
use crate::text::{self, Bounded, ByteSize, Ratio, Setting, Spanned};

/// Keeps responses.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "CacheConfig")]
pub struct Config {
    /// For how long a response is fresh, whatever it says itself. It does not make storable what is not: `no-store`,
    /// `private` and `no-cache` hold. Default: as the response says.
    pub ttl: Option<text::Duration>,
    /// For how long a response is fresh that says nothing of it. Default: a tenth of the time since it was changed, a day at
    /// most, for statuses for which RFC 9110 allows that.
    pub default_ttl: Option<text::Duration>,
    /// For how long responses with these statuses are fresh that say nothing of it: `{ "404" = "10s", "5xx" = "1s" }`.
    pub statuses: BTreeMap<String, Spanned<text::Duration>>,
    /// Whether a response that says nothing of how long it is fresh may be taken to be for a while. Default: yes.
    pub heuristic: Option<bool>,
    /// For how long a response is served that is stale, while a new one is fetched (RFC 5861), where it does not say itself.
    /// `must-revalidate` and `proxy-revalidate` forbid it; `s-maxage` does not, other than in RFC 9111 section 4.2.4: the route is
    /// asked for what its owner wants. Default: not at all.
    pub stale_while_revalidate: Option<text::Duration>,
    /// For how long a response is served that is stale, where no new one can be had (RFC 5861), where it does not say itself.
    /// Forbidden as above. Default: not at all.
    pub stale_if_error: Option<text::Duration>,
    /// What else than its URL tells one response from another, one thing or several together: `"identity"`, `"plan"`,
    /// `"claim:tenant"`, `"header:x-tenant"`. Callers without a plan are one group. Without it, what is answered to a caller that has proven who it is is kept only
    /// where the response says that all may have it (RFC 9111 section 3.5). `"all"` says that they may.
    pub vary_by: Option<Spanned<ByConfig>>,
    /// The parameters of the query that count; the upstream gets no others. Default: the whole query, as it is.
    pub query: Option<Vec<String>>,
    /// The parameters of the query that do not count, with `*` at the end for all that begin so; the upstream does not get
    /// them.
    pub ignore_query: Option<Vec<String>>,
    /// Requests that are not answered from the cache, and whose responses are not kept: a CEL expression.
    pub bypass: Option<Spanned<String>>,
    /// How often something has to be asked for before it is kept. 1 to 100. Default 1.
    pub min_uses: Option<Bounded<1, 100>>,
    /// The largest body that is kept. Default `"16MiB"`.
    pub max_object: Option<ByteSize>,
    /// How long who asks for what is being fetched already waits for that before it asks the upstream as well. Default `"5s"`.
    pub collapse: Option<Setting<text::Duration>>,
    /// How much of its time a response may have left when it is fetched anew, in the background, because somebody asks for it:
    /// `"10%"`. Default: none.
    pub refresh_ahead: Option<Ratio>,
    /// Whether clients have a say in what they get, by `Cache-Control` and `Pragma` of their requests (RFC 9111 section 5.2.1).
    /// Default: yes.
    pub client_control: Option<bool>,
    /// Whether everybody gets the cookies that a response sets for whoever asked first. Without it a response that sets some is
    /// kept only where it says that all may have it (`public`, `s-maxage`), though RFC 9111 section 7.3 would allow more: what is in
    /// cookies is as a rule who somebody is. Default: no.
    pub share_cookies: bool,
    /// What all responses of the route are tagged with, to be purged by.
    pub tags: Vec<String>,
    /// The headers of responses that have tags; clients do not get them. Default `["surrogate-key", "cache-tag"]`.
    pub tag_headers: Option<Vec<text::HeaderName>>,
    /// The fields that say in the place of `Cache-Control` what this cache is to do, the nearest first (RFC 9213). Default
    /// `["cdn-cache-control"]`.
    pub targets: Option<Vec<text::HeaderName>>,
    /// Who may purge a URL with the method `PURGE`: a CEL expression. Default: nobody.
    pub purge: Option<Spanned<String>>,
    /// What is purged where a request that is not safe has succeeded on this route: tags.
    pub purge_on_write: Vec<String>,
}

const LARGEST: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than anybody has the patience for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The cache, as a route uses it.
pub struct Policy(Arc<Rules>);

impl super::Policy for Policy {
    const NAME: &'static str = "cache";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let errors = scope.subject.error_count();
        let query = match (&config.query, &config.ignore_query) {
            (None, None) => Query::Whole,
            (Some(names), None) => Query::only(names),
            (None, Some(names)) => Query::without(names),
            (Some(_), Some(_)) => {
                let problem = scope
                    .subject
                    .error(scope.span, "has both query and ignore_query");
                problem.help("say either which parameters count or which do not");
                return None;
            }
        };
        let mut statuses = Vec::new();
        for (status, ttl) in &config.statuses {
            match StatusTtl::parse(status, ttl.value.as_std()) {
                Some(one) => statuses.push(one),
                None => {
                    let what = format!("\"{status}\" is no status such as \"404\" or \"5xx\"");
                    scope.subject.key("statuses").error(ttl.span, what);
                }
            }
        }
        let vary_by = match &config.vary_by {
            None => None,
            Some(by) => {
                let subject = &mut scope.subject.key("vary_by");
                let counted = Counted::build(by, scope.variables, subject)?;
                if counted.has_route() {
                    let problem = subject.error(by.span, "needs no \"route\"");
                    problem.help("no two routes have one response anyway");
                    return None;
                }
                Some(VaryBy::new(counted.parts().cloned(), counted.text()))
            }
        };
        let collapse = match &config.collapse {
            None => Some(PATIENCE),
            Some(Setting::Off) => None,
            Some(Setting::On(wait)) => Some(wait.as_std().min(LONGEST_WAIT)),
        };
        let (variables, subject) = (scope.variables, &mut scope.subject);
        let mut expression = |text: &Option<Spanned<String>>, key| {
            let text = text.as_ref()?;
            Expression::<bool>::build(text, variables, &mut subject.key(key))
        };
        let (bypass, purge) = (
            expression(&config.bypass, "bypass"),
            expression(&config.purge, "purge"),
        );
        let tag_fields = match &config.tag_headers {
            None => TagField::usual().into(),
            Some(own) => own
                .iter()
                .map(|name| TagField::named((**name).clone()))
                .collect(),
        };
        let targets = match &config.targets {
            None => [HeaderName::from_static("cdn-cache-control")].into(),
            Some(own) => own.iter().map(|name| (**name).clone()).collect(),
        };
        let seconds = |time: Option<text::Duration>| time.map(|time| time.as_std());
        (scope.subject.error_count() == errors).then(|| {
            Policy(Arc::new(Rules {
                freshness: Freshness {
                    ttl: seconds(config.ttl),
                    default_ttl: seconds(config.default_ttl),
                    statuses: statuses.into(),
                    is_heuristic: config.heuristic.unwrap_or(true),
                    while_revalidate: seconds(config.stale_while_revalidate),
                    if_error: seconds(config.stale_if_error),
                },
                query,
                vary_by,
                bypass,
                min_uses: config.min_uses.map_or(1, Bounded::get),
                max_object: config.max_object.map_or(LARGEST, |it| it.as_u64()),
                collapse,
                refresh_ahead: config.refresh_ahead,
                hears_clients: config.client_control.unwrap_or(true),
                shares_cookies: config.share_cookies,
                tags: config.tags.iter().map(|tag| tag.as_str().into()).collect(),
                tag_fields,
                targets,
                purge,
                purge_on_write: config
                    .purge_on_write
                    .iter()
                    .map(|tag| tag.as_str().into())
                    .collect(),
                cache: scope.cache.clone(),
            }))
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.keep_responses(self.0.clone());
    }
}
