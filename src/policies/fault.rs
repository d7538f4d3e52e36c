//! `fault`: makes requests slow, or makes them fail, to see what happens then.
//!
//! ```toml
//! [gateway]
//! allow_fault_injection = true
//!
//! [routes.orders]
//! match = { path = "/orders" }
//! respond = { status = 200 }
//! policies.fault = { delay = { time = "200ms", share = "5%" }, abort = { status = 503, share = "1%" }, header = "x-fault" }
//! ```
//!
//! It is a mistake in a configuration whose `gateway` does not allow it, so that nobody leaves it in by accident. It comes
//! after everything that may refuse a request, limits included, and before the upstream is asked. A request is delayed
//! first, and may be aborted then: with the status, or for callers of gRPC with UNAVAILABLE, the code `fault_injected`, and
//! that code in the access log.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{BuildScope, Flow, Hooks, LimitStep, OnLimit};
use crate::facts::View;
use crate::limits::Taken;
use crate::response::{Code, Reply};
use crate::text::{self, Bounded, Ratio, Spanned};

/// Makes requests slow, or makes them fail.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "FaultConfig")]
pub struct Config {
    /// Makes requests wait. Default: none waits.
    pub delay: Option<DelayConfig>,
    /// Answers in the place of the upstream. Default: none is aborted.
    pub abort: Option<AbortConfig>,
    /// Only for requests that have this header, whatever its value. Default: for all.
    pub header: Option<text::HeaderName>,
}

/// Makes requests wait.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FaultDelay")]
pub struct DelayConfig {
    /// For how long. At most `"1m"`.
    pub time: Spanned<text::Duration>,
    /// How many of the requests. Default: all.
    pub share: Option<Ratio>,
}

/// Makes requests fail.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FaultAbort")]
pub struct AbortConfig {
    /// 400 to 599. Default 503.
    pub status: Option<Bounded<400, 599>>,
    /// How many of the requests. Default: all.
    pub share: Option<Ratio>,
}

const LONGEST: Duration = Duration::from_secs(60);

/// What is to go wrong.
pub struct Policy {
    delay: Option<(Duration, Ratio)>,
    abort: Option<(StatusCode, Ratio)>,
    header: Option<HeaderName>,
}

impl super::Policy for Policy {
    const NAME: &'static str = "fault";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let errors = scope.subject.error_count();
        if !scope.allows_faults {
            let what = "makes requests fail, and the gateway does not allow that";
            let problem = scope.subject.error(scope.span, what);
            problem.help(
                "for a test, write allow_fault_injection = true in [gateway]; otherwise remove it",
            );
        }
        if config.delay.is_none() && config.abort.is_none() {
            let problem = scope
                .subject
                .error(scope.span, "has neither delay nor abort");
            problem.help("write delay = { time = \"200ms\", share = \"5%\" }");
        }
        if let Some(delay) = &config.delay
            && delay.time.as_std() > LONGEST
        {
            let mut subject = scope.subject.key("delay");
            let mut subject = subject.key("time");
            subject.error(delay.time.span, "is more than a minute");
        }
        let share = |share: Option<Ratio>| share.unwrap_or(Ratio::ALL);
        let status = |abort: &AbortConfig| {
            let status = abort.status.map_or(503, |status| status.get());
            StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
        };
        (scope.subject.error_count() == errors).then(|| Policy {
            delay: config
                .delay
                .as_ref()
                .map(|it| (it.time.as_std(), share(it.share))),
            abort: config
                .abort
                .as_ref()
                .map(|it| (status(it), share(it.share))),
            header: config.header.as_ref().map(|name| (**name).clone()),
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_limit(self.clone());
    }
}

impl OnLimit for Policy {
    fn on_limit<'a>(&'a self, view: View<'a>, _: &'a mut Taken) -> LimitStep<'a> {
        let is_meant = |name| view.request.headers.contains_key(name);
        if !self.header.as_ref().is_none_or(is_meant) {
            return LimitStep::Now(ControlFlow::Continue(()));
        }
        let flow = match &self.abort {
            Some((status, share)) if happens(*share) => abort(*status),
            _ => ControlFlow::Continue(()),
        };
        match &self.delay {
            Some((time, share)) if happens(*share) => {
                let time = *time;
                LimitStep::Later(Box::pin(async move {
                    tokio::time::sleep(time).await;
                    flow
                }))
            }
            _ => LimitStep::Now(flow),
        }
    }

    fn may_wait(&self) -> bool {
        self.delay.is_some()
    }
}

fn happens(share: Ratio) -> bool {
    share == Ratio::ALL || rand::random_range(0..1_000_000) < share.millionths()
}

fn abort(status: StatusCode) -> Flow {
    let mut reply = Reply::failure(Code::FaultInjected);
    reply.status = status;
    ControlFlow::Break(reply)
}
