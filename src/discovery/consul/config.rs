//! `consul = { … }` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::identity::{ClientConfig, Url};
use crate::text::{Duration, Secret, Spanned};

/// A service that is registered with Consul.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConsulDiscovery")]
pub struct Config {
    /// Where Consul's HTTP API is, best that of the agent on this machine. Default `"http://127.0.0.1:8500"`.
    pub address: Option<Spanned<Url>>,
    /// The service. Its instances are the endpoints, by the address that the service says, or else that of its node.
    /// The weight of an instance is its weight in Consul, its zone the one of its `Locality`, or `zone` in its metadata or
    /// that of its node. Its labels are its metadata and its tags, where one such as `version=v1` has a value.
    pub service: Spanned<String>,
    /// Instances that have all of these tags. Default: whatever tags they have.
    #[serde(default)]
    pub tags: Vec<Spanned<String>>,
    /// Instances that are so, in Consul's filter language: `"Service.Meta.version == v1"`.
    pub filter: Option<Spanned<String>>,
    /// How healthy an instance must be for Consul.
    #[serde(default)]
    pub health: Health,
    /// What this gateway may see, by Consul's ACLs. It is read anew whenever Consul refuses it.
    pub token: Option<Spanned<Secret>>,
    /// Default: that of the agent that is asked.
    pub datacenter: Option<Spanned<String>>,
    /// For how long Consul is asked to wait for a change before it says that there is none, at most ten minutes. A Consul
    /// that has vanished without a word is noticed after this time. Default `"30s"`.
    #[serde(default = "thirty_seconds")]
    pub wait: Duration,
    /// How Consul is asked.
    #[serde(default)]
    pub client: ClientConfig,
}

/// How healthy an instance must be, by the worst of its checks and those of its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ConsulHealth")]
pub enum Health {
    /// All checks pass.
    #[default]
    Passing,
    /// None is critical. An instance with a warning has the weight that it has in Consul for that.
    Warning,
    /// Whatever its checks say, but for maintenance: the gateway's own health checks decide.
    Any,
}

fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}
