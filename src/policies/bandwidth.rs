//! `bandwidth`: how fast the bodies of a caller may flow.
//!
//! ```toml
//! [routes.downloads]
//! match = { path = "/downloads/{*rest}" }
//! respond = { status = 200 }
//! policies.bandwidth = { by = ["client"], response = "2MiB", request = "512KiB" }
//! ```
//!
//! Bodies of all of a caller's requests together are let through as fast as this, in bytes a second, and a burst of one
//! second on top. What is too fast waits, which its sender notices as a network that is slow; nothing is dropped, kept in
//! memory or hurried, and no timeout of the upstream or the client runs meanwhile but the route's. What is counted are the
//! bytes between gateway and client: compressed where the gateway compresses.
//!
//! Bodies of one caller wait for one another in turn, a part of each. Of responses of HTTP/1.1 upstreams a part is of a
//! quarter of a second, 1 KiB at least and 64 KiB at most; of HTTP/2, on either side, it is what is in a frame, 16 KiB at
//! most; of requests of HTTP/1.1 clients it is what has come, 64 KiB at most. A part waits for those before it and for as
//! long as it takes itself: at `"1KiB"` a second, 64 KiB take a minute. Where there are so many that a part would have to
//! wait behind others for more than a minute (or for longer than 128 KiB take), its body ends there and the others go on:
//! the client gets 429 `bandwidth_exceeded`, with a `Retry-After`, or a response that has begun is broken off.
//! Where what is left of the route's `timeout` is not enough for a part's turn, the exchange ends at once, with 504
//! `exchange_timeout`. A client that leaves is noticed when the part has had its turn, at the latest.
//!
//! How fast that is is said by the policy, and where that says neither `request` nor `response`, by the `bandwidth` of the
//! caller's plan, which is counted over all routes that leave it to plans and tell callers apart by the same.
//!
//! A request whose body is slowed down has its places meanwhile: at its upstream and of its route (`max_in_flight`,
//! `adaptive_concurrency`). So that no caller can fill those with bodies that wait, limit `concurrency` as well. There is no
//! `shadow`: what is said here holds.
//!
//! WebSockets and other tunnels are not slowed down, and neither is what the gateway itself answers.

use std::num::{NonZero, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::response::Parts;
use schemars::JsonSchema;
use serde::Deserialize;

use super::limiting::{By, ByConfig, ByPlan, Counted, check_plans};
use super::{BuildScope, Hooks, OnRequestBody, OnResponseBody, RequestBody, ResponseBody, Seen};
use crate::facts::{KeyBy, View};
use crate::limits::{Congested, Flow, Key, MAX_KEYS, Plan};
use crate::response::Code;
use crate::text::{ByteSize, Spanned};

/// How fast the bodies of a caller may flow.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "BandwidthConfig")]
pub struct Config {
    /// What tells callers apart, one thing or several together. Default `"consumer"`.
    pub by: Option<Spanned<ByConfig>>,
    /// Bytes a second of bodies of requests, `"1KiB"` at least. Default: as fast as they come, or where `response` is not
    /// said either, as the caller's plan says.
    pub request: Option<Spanned<ByteSize>>,
    /// Bytes a second of bodies of responses, `"1KiB"` at least. Default: as for `request`.
    pub response: Option<Spanned<ByteSize>>,
}

/// Slower, and a part of a body would wait for longer than anybody has the patience for.
const SLOWEST: u64 = 1024;

/// How fast bodies may flow.
pub struct Policy {
    counted: Counted,
    flows: ByPlan<Flows>,
    /// Whether anything limits the bodies of requests, and of responses.
    has: (bool, bool),
}

/// What limits the bodies of somebody.
#[derive(Clone, Default)]
struct Flows {
    request: Option<Arc<Flow>>,
    response: Option<Arc<Flow>>,
}

impl super::Policy for Policy {
    const NAME: &'static str = "bandwidth";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let errors = scope.subject.error_count();
        let by = match &config.by {
            Some(by) => by.clone(),
            None => Spanned::new(ByConfig::One(By::Of(KeyBy::Consumer)), scope.span),
        };
        let counted = Counted::build(&by, scope.variables, &mut scope.subject.key("by"))?;
        for (key, said) in [("request", &config.request), ("response", &config.response)] {
            if let Some(said) = said.as_ref().filter(|it| it.value.as_u64() < SLOWEST) {
                let what = format!("must be at least \"1KiB\", got \"{}\"", said.value);
                scope.subject.key(key).error(said.span, what);
            }
        }
        let room = scope.limits;
        let flow = |name: &str, rate: Option<ByteSize>| {
            let rate = rate?.as_u64().max(SLOWEST);
            Some(room.flow(name, NonZero::new(rate)?, MAX_KEYS))
        };
        let flows = if config.request.is_none() && config.response.is_none() {
            let says_so = |plan: &Plan| plan.bandwidth.is_some();
            check_plans(scope, Self::NAME, says_so, "response = \"1MiB\"");
            ByPlan::each(scope.plans, Flows::default(), |plan_name, plan| {
                let name = format!(
                    "plans.{}.bandwidth by {}",
                    plan_name.as_str(),
                    counted.text()
                );
                let said = plan.bandwidth.clone().unwrap_or_default();
                Flows {
                    request: flow(&format!("{name}, request"), said.request),
                    response: flow(&format!("{name}, response"), said.response),
                }
            })
        } else {
            let name = scope.subject.to_string();
            let said = |said: &Option<Spanned<ByteSize>>| said.as_ref().map(|it| it.value);
            let own = Flows {
                request: flow(&format!("{name}.request"), said(&config.request)),
                response: flow(&format!("{name}.response"), said(&config.response)),
            };
            ByPlan::same(own, scope.plans)
        };
        let has_request = flows.all().any(|flows| flows.request.is_some());
        let has_response = flows.all().any(|flows| flows.response.is_some());
        (scope.subject.error_count() == errors).then_some(Policy {
            counted,
            flows,
            has: (has_request, has_response),
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        let route = match self.counted.has_route() {
            true => hooks.route().into(),
            false => Box::default(),
        };
        let policy = self.clone();
        let on_route = Arc::new(OnRoute { policy, route });
        let (has_request, has_response) = self.has;
        if has_request {
            hooks.on_request_body(on_route.clone());
        }
        if has_response {
            hooks.on_response_body(on_route);
        }
    }
}

/// The policy on one of the routes that have it.
struct OnRoute {
    policy: Arc<Policy>,
    /// Empty where routes make no difference.
    route: Box<str>,
}

impl OnRoute {
    fn paced(&self, flow: &Option<Arc<Flow>>, view: View<'_>) -> Option<Box<Paced>> {
        let flow = flow.clone()?;
        Some(Box::new(Paced {
            flow,
            key: self.policy.counted.key(view, &self.route),
            pause: Duration::ZERO,
        }))
    }
}

impl OnRequestBody for OnRoute {
    fn on_request_body(&self, view: View<'_>) -> Option<Box<dyn RequestBody>> {
        let flows = self.policy.flows.of(view);
        let paced = self.paced(&flows.request, view)?;
        Some(paced)
    }
}

impl OnResponseBody for OnRoute {
    fn on_response_body(
        &self,
        _: &mut Parts,
        view: View<'_>,
    ) -> Result<Option<Box<dyn ResponseBody>>, Code> {
        let flows = self.policy.flows.of(view);
        let paced = self.paced(&flows.response, view);
        Ok(paced.map(|paced| paced as Box<dyn ResponseBody>))
    }

    fn sees_replies(&self) -> bool {
        false
    }

    fn has_largest_part(&self) -> bool {
        let mut flows = self.policy.flows.all();
        flows.any(|it| it.response.as_ref().is_some_and(|it| it.part().is_some()))
    }

    fn largest_part(&self, view: View<'_>) -> Option<NonZeroU32> {
        self.policy.flows.of(view).response.as_ref()?.part()
    }
}

/// One body.
struct Paced {
    flow: Arc<Flow>,
    key: Key,
    pause: Duration,
}

impl Paced {
    fn count(&mut self, bytes: usize) -> Result<(), Code> {
        if bytes > 0 {
            match self.flow.pass(self.key, bytes as u64, Instant::now()) {
                Ok(pause) => self.pause = pause,
                Err(Congested { again }) => {
                    self.pause = again;
                    return Err(Code::BandwidthExceeded);
                }
            }
        }
        Ok(())
    }
}

impl RequestBody for Paced {
    fn see(&mut self, chunk: &Bytes, _: bool) -> Result<Seen, Code> {
        self.count(chunk.len())?;
        Ok(Seen::All)
    }

    fn pause(&mut self) -> Duration {
        std::mem::take(&mut self.pause)
    }
}

impl ResponseBody for Paced {
    fn pass(&mut self, chunk: Option<Bytes>, _: bool) -> Result<Option<Bytes>, Code> {
        self.count(chunk.as_ref().map_or(0, Bytes::len))?;
        Ok(chunk)
    }

    fn pause(&mut self) -> Duration {
        std::mem::take(&mut self.pause)
    }
}
