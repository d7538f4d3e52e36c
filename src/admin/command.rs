//! What operators tell the gateway to do, and what they are told of its configuration.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// An order, and where the answer goes.
#[derive(Debug)]
pub enum Command {
    /// To load the configuration anew.
    Reload(oneshot::Sender<Report>),
    /// To tell what that would change, object by object, or why it would be refused.
    Diff(oneshot::Sender<Result<serde_json::Value, Report>>),
    /// To let another program take the place of this one.
    Upgrade(oneshot::Sender<Report>),
}

/// What serves now, and what became of the last attempt to change that.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Serving {
    /// Unix time, in seconds.
    pub since: f64,
    /// Whether it is the last good configuration, because the files had errors at the start.
    pub is_last_good: bool,
    /// Objects that are not served for their mistakes, as `route NAME`.
    pub quarantined: Vec<String>,
    /// `None` before the first.
    pub last_reload: Option<Report>,
}

/// What has become of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub outcome: Outcome,
    /// Errors and warnings with their places, as `northgate check` prints them; empty where there are none.
    pub problems: String,
    /// What else is worth knowing, a sentence each.
    pub notes: Vec<String>,
}

/// Whether it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What was ordered serves.
    Applied,
    /// It is bad; what served before serves on.
    Refused,
}
