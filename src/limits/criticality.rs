//! How much a request matters when there is not room for all.

use schemars::JsonSchema;
use serde::Deserialize;

/// How much a request matters when there is not room for all. From the least: what comes first is refused first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Criticality {
    /// Work that can be done later: exports, crawlers, prefetching.
    Low,
    /// What nobody has said anything else of.
    #[default]
    Normal,
    /// What people wait for.
    High,
    /// What must go on whatever else does not. It is never refused because of the load of the gateway.
    Critical,
}

impl Criticality {
    /// Every class, from the least.
    pub const ALL: [Criticality; 4] = [
        Criticality::Low,
        Criticality::Normal,
        Criticality::High,
        Criticality::Critical,
    ];

    /// The word of the configuration, and the label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Criticality::Low => "low",
            Criticality::Normal => "normal",
            Criticality::High => "high",
            Criticality::Critical => "critical",
        }
    }
}
