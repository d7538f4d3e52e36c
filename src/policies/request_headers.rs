//! `request_headers`: headers of the request that the upstream gets.
//!
//! ```toml
//! [routes.orders.policies]
//! request_headers = { remove = ["cookie"], set = { x-order = "{path.id}" }, add = { via = "1.1 edge" } }
//! ```

use std::sync::Arc;

use http::HeaderMap;

use super::header_edits::{Config, Edits};
use super::{BuildScope, Hooks, OnUpstreamRequest};
use crate::facts::View;

/// Edits the upstream's copy of the request, after the gateway has written its own headers.
#[derive(Debug)]
pub struct Policy(Edits);

impl super::Policy for Policy {
    const NAME: &'static str = "request_headers";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        Edits::build(config, scope).map(Policy)
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_upstream_request(self.clone());
        hooks.manage(self.0.names());
        hooks.reserve(self.0.proofs());
    }
}

impl OnUpstreamRequest for Policy {
    fn on_upstream_request(&self, headers: &mut HeaderMap, view: View<'_>) {
        self.0.apply(headers, view);
    }
}
