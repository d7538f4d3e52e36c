//! Whether a request may go on: who calls, what that caller may do, and how often.

use std::ops::ControlFlow;

use pingora::http::RequestHeader;

use super::exchange::Exchange;
use crate::limits::Taken;
use crate::policies::Flow;

impl Exchange {
    /// Finds out who calls.
    pub(super) async fn identify(&mut self, request: &RequestHeader) -> Flow {
        let gate = self.route.pipeline.gate();
        self.facts.identity = gate.pass(self.view(request)).await?;
        let (pipeline, class) = (&self.route.pipeline, self.facts.criticality);
        self.facts.criticality = pipeline.criticality(class, self.view(request));
        ControlFlow::Continue(())
    }

    /// Past the policies that look at who calls.
    pub(super) fn authorize(&self, request: &RequestHeader) -> Flow {
        self.route.pipeline.identified(self.view(request))
    }

    /// Past the limits, where none of them may have to wait.
    pub(super) fn limit(&mut self, request: &RequestHeader) -> Flow {
        let mut taken = Taken::default();
        let flow = self.route.pipeline.limit(self.view(request), &mut taken);
        self.facts.taken = taken;
        flow
    }

    /// As [`Exchange::limit`], where some may.
    pub(super) async fn limit_later(&mut self, request: &RequestHeader) -> Flow {
        let mut taken = Taken::default();
        let pipeline = &self.route.pipeline;
        let flow = pipeline.limit_later(self.view(request), &mut taken).await;
        self.facts.taken = taken;
        flow
    }
}
