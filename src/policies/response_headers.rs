//! `response_headers`: headers of the response that the client gets, from an upstream or from the gateway.
//!
//! ```toml
//! [listeners.public.policies]
//! response_headers = { remove = ["server", "x-powered-by", "x-internal-*"], set = { x-api-version = "v1" } }
//! ```

use std::sync::Arc;

use http::HeaderMap;

use super::header_edits::{Config, Edits};
use super::{BuildScope, Hooks, OnResponse};
use crate::facts::View;

/// Edits the response before the gateway adds the request's ids to it.
#[derive(Debug)]
pub struct Policy(Edits);

impl super::Policy for Policy {
    const NAME: &'static str = "response_headers";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        Edits::build(config, scope).map(Policy)
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_response(self.clone());
    }
}

impl OnResponse for Policy {
    fn on_response(&self, headers: &mut HeaderMap, view: View<'_>) {
        self.0.apply(headers, view);
    }
}
