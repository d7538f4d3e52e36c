//! What operators see: metrics, the access log.
//!
//! In: one [`AccessRecord`] and one metrics update per exchange, from the proxy room's `logging` callback, and
//! what the other rooms count. Out: Prometheus text for the admin listener and lines for the access log. This
//! room must never know sessions or policies, and must never make a request wait: what does not fit is dropped
//! and counted.

mod access_log;
mod access_record;
mod balance_metrics;
mod bulkhead_metrics;
mod cache_metrics;
mod certificate_metrics;
mod config_metrics;
mod discovery_metrics;
mod guard_metrics;
mod key_metrics;
mod limit_metrics;
mod metrics;
mod overload_metrics;
mod part_metrics;
mod register;
mod retain;
mod retry_metrics;
mod series;
mod shaping_metrics;
mod store_metrics;
mod upstream_metrics;
mod wall;
mod watched;

pub use access_log::{AccessLog, Config as AccessLogConfig, Format};
pub use access_record::AccessRecord;
pub use bulkhead_metrics::BulkheadMetrics;
pub use cache_metrics::{CacheFamily, CacheFigure};
pub use certificate_metrics::CertificateMetrics;
pub use discovery_metrics::DiscoveryMetrics;
pub use key_metrics::KeyMetrics;
pub use limit_metrics::{Decision, LimitMetrics};
pub use metrics::{ListenerMetrics, Metrics, RouteMetrics};
pub use overload_metrics::OverloadMetrics;
pub use part_metrics::PartMetrics;
pub use retain::Owner;
pub use shaping_metrics::{CanaryMetrics, MirrorMetrics};
pub use store_metrics::{DecidedBy, SharingMode, StoreMetrics, StoreResult};
pub use upstream_metrics::UpstreamMetrics;
pub use wall::unix_time;

use watched::Watched;
