//! A route's compiled hooks.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::Arc;

use http::response::Parts;
use http::{HeaderMap, HeaderName};

use super::limiting::ByPlan;
use super::overload::Guard;
use super::{
    Credential, Flow, Gate, GateProblem, Hooks, LimitStep, OnCost, OnIdentified, OnLimit,
    OnPreflight, OnRequest, OnRequestBody, OnResponse, OnResponseBody, OnUpstreamRequest, Policy,
    RequestBody, ResponseBody, limit_fields,
};
use crate::cache::Rules;
use crate::facts::View;
use crate::limits::{Criticality, Shedder, Taken};
use crate::response::{Code, Reply};
use crate::text::{HeaderPattern, Span, is_engine_owned};

/// Where a policy was declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Gateway,
    Listener,
    Route,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Gateway => "gateway",
            Scope::Listener => "listener",
            Scope::Route => "route",
        }
    }
}

/// A policy in force and the place that says so.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    pub policy: &'static str,
    pub scope: Scope,
    pub span: Span,
    /// Whether it changes only what an upstream gets, and does nothing where nothing is forwarded.
    pub is_for_upstream: bool,
}

/// What one scope says about one policy. Nearly always that is nothing, and then it takes no more than a pointer: there
/// is one of these for each policy and each of fifty thousand routes.
pub(super) struct Slot<P>(Option<Arc<Said<P>>>);

enum Said<P> {
    Off(Origin),
    On(Arc<P>, Origin),
}

impl<P> Default for Slot<P> {
    fn default() -> Self {
        Slot::unsaid()
    }
}

impl<P> Clone for Slot<P> {
    fn clone(&self) -> Self {
        Slot(self.0.clone())
    }
}

impl<P> Slot<P> {
    pub(super) fn unsaid() -> Slot<P> {
        Slot(None)
    }

    pub(super) fn off(origin: Origin) -> Slot<P> {
        Slot(Some(Arc::new(Said::Off(origin))))
    }

    pub(super) fn on(policy: P, origin: Origin) -> Slot<P> {
        Slot(Some(Arc::new(Said::On(Arc::new(policy), origin))))
    }
}

impl<P: Policy> Slot<P> {
    pub(super) fn or(&self, wider: &Slot<P>) -> Slot<P> {
        Slot(self.0.as_ref().or(wider.0.as_ref()).cloned())
    }

    pub(super) fn claim(&self, hooks: &mut Hooks, origins: &mut Origins) {
        match self.0.as_deref() {
            Some(Said::On(policy, origin)) => {
                let before = hooks.count_for_client();
                policy.hooks(hooks);
                origins.on.push(Origin {
                    is_for_upstream: hooks.count_for_client() == before,
                    ..*origin
                });
            }
            Some(Said::Off(origin)) => origins.off.push(*origin),
            None => {}
        }
    }
}

/// Where the policies of a route come from, and where those that it does without were switched off.
#[derive(Default)]
pub(super) struct Origins {
    on: Vec<Origin>,
    off: Vec<Origin>,
}

/// Who answers the preflights of a route, and the hooks that come first.
pub(super) struct Preflight {
    pub(super) before: Box<[Arc<dyn OnRequest>]>,
    pub(super) answer: Arc<dyn OnPreflight>,
}

/// The hooks of a route, one list per phase. Running a phase costs one indirect call per policy that has a hook
/// in it.
#[derive(Default)]
pub struct Pipeline {
    request: Box<[Arc<dyn OnRequest>]>,
    preflight: Option<Preflight>,
    gate: Gate,
    /// Why there is no saying who may come in; then nobody may.
    gate_problem: Option<GateProblem>,
    identified: Box<[Arc<dyn OnIdentified>]>,
    limit: Box<[Arc<dyn OnLimit>]>,
    limits_may_wait: bool,
    cost: Box<[Arc<dyn OnCost>]>,
    /// Tells clients of limits. Responses meet it before other hooks, so that other policies may change what it says.
    limit_fields: Option<Arc<dyn OnResponse>>,
    credentials: Box<[Credential]>,
    kept: Box<[Credential]>,
    reserved: Box<[HeaderName]>,
    upstream_request: Box<[Arc<dyn OnUpstreamRequest>]>,
    request_body: Box<[Arc<dyn OnRequestBody>]>,
    /// In reverse order, as the response meets the policies.
    response: Box<[Arc<dyn OnResponse>]>,
    /// In reverse order, too.
    response_body: Box<[Arc<dyn OnResponseBody>]>,
    has_largest_part: bool,
    cache: Option<Arc<Rules>>,
    managed: Box<[HeaderPattern]>,
    manages_odd_names: bool,
    /// Where plans say how much their callers matter.
    classes: Option<Arc<ByPlan<Option<Criticality>>>>,
    origins: Box<[Origin]>,
    off: Box<[Origin]>,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.origins.iter().map(|origin| origin.policy))
            .finish()
    }
}

impl Pipeline {
    pub(super) fn new(hooks: Hooks, origins: Origins) -> Pipeline {
        let (mut response, mut response_body) = (hooks.response, hooks.response_body);
        let is_silent = || {
            origins
                .off
                .iter()
                .any(|it| it.policy == limit_fields::Policy::NAME)
        };
        let limit_fields = (!hooks.limit.is_empty() && !is_silent()).then(|| {
            let default = || Arc::new(limit_fields::Policy::default()) as Arc<dyn OnResponse>;
            hooks.limit_fields.unwrap_or_else(default)
        });
        response.reverse();
        response_body.reverse();
        let needed = hooks.needs_identity.filter(|_| hooks.identify.is_empty());
        let gate = match needed {
            Some(policy) => Err(GateProblem::Nobody(policy)),
            None => Gate::new(
                hooks.identify,
                hooks.any_of.as_deref(),
                hooks.authentication,
            ),
        };
        let gate = gate.and_then(|gate| {
            let contested = contested(&hooks.kept_credentials, &hooks.credentials);
            contested.map_or(Ok(gate), Err)
        });
        let (gate, gate_problem) = match gate {
            Ok(gate) => (gate, None),
            Err(problem) => (Gate::closed(), Some(problem)),
        };
        let credentials = hooks.credentials.into_iter().map(|(_, place)| place);
        let kept = hooks.kept_credentials.into_iter().map(|(_, place)| place);
        Pipeline {
            gate,
            gate_problem,
            identified: hooks.identified.into(),
            limits_may_wait: hooks.limit.iter().any(|hook| hook.may_wait()),
            limit: hooks.limit.into(),
            cost: hooks.cost.into(),
            limit_fields,
            credentials: credentials.collect(),
            kept: kept.collect(),
            reserved: hooks.reserved.into(),
            request: hooks.request.into(),
            preflight: hooks.preflight,
            upstream_request: hooks.upstream_request.into(),
            request_body: hooks.request_body.into(),
            response: response.into(),
            has_largest_part: response_body.iter().any(|it| it.has_largest_part()),
            response_body: response_body.into(),
            manages_odd_names: !hooks.managed.iter().all(HeaderPattern::is_plain),
            cache: hooks.cache,
            managed: hooks.managed.into(),
            classes: None,
            origins: origins.on.into(),
            off: origins.off.into(),
        }
    }

    /// Of the route of a part of an aggregation: what it does to requests to upstreams, and how their answers are kept.
    pub fn of_part(&self, route: &str, cache: Option<Arc<Rules>>) -> Pipeline {
        let hooks = Hooks {
            route: route.into(),
            upstream_request: self.upstream_request.to_vec(),
            reserved: self.reserved.to_vec(),
            managed: self.managed.to_vec(),
            cache,
            ..Hooks::default()
        };
        Pipeline::new(hooks, Origins::default())
    }

    /// Whether requests to upstreams say something that clients have not sent, as who calls.
    pub fn changes_upstream_requests(&self) -> bool {
        !self.upstream_request.is_empty()
    }

    /// Has requests refused before anything else looks at them, while there is too much to do for those that matter as
    /// little as they do; and once it is known who calls, for those of callers that matter less.
    pub fn shed(&mut self, shedder: &Arc<Shedder>, class: Criticality) {
        let guard = Guard::new(shedder, class);
        if class != Criticality::Critical {
            let guard: Arc<dyn OnRequest> = guard.clone();
            self.request = [guard].into_iter().chain(self.request.to_vec()).collect();
        }
        if self.classes.is_some() {
            let guard: Arc<dyn OnIdentified> = guard;
            self.identified = [guard]
                .into_iter()
                .chain(self.identified.to_vec())
                .collect();
        }
    }

    /// Takes up what plans say of how much their callers matter.
    pub fn rank(&mut self, classes: &Arc<ByPlan<Option<Criticality>>>) {
        self.classes = Some(classes.clone());
    }

    /// How much a request matters whose caller is known: as much as its route (`class`), or less.
    pub fn criticality(&self, class: Criticality, view: View<'_>) -> Criticality {
        let classes = self.classes.as_ref();
        let of_plan = classes.and_then(|classes| *classes.of(view));
        of_plan.map_or(class, |of_plan| of_plan.min(class))
    }

    /// The policies in force, in order, with the places that put them there.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// The policies that are switched off, with the places that say so.
    pub fn off(&self) -> &[Origin] {
        &self.off
    }

    /// Whether some server takes a header for one that belongs to a policy; see [`Hooks::manage`].
    pub fn manages_twin(&self, name: &HeaderName) -> bool {
        let mut managed = self.managed.iter();
        managed.any(|pattern| pattern.matches_twin(name)) && !is_engine_owned(name)
    }

    /// Whether plain names may be twins of those that belong to policies; see [`is_plain`](crate::text::is_plain).
    pub fn manages_odd_names(&self) -> bool {
        self.manages_odd_names
    }

    /// The first reply that a policy has for the request.
    pub fn request(&self, view: View<'_>) -> Flow {
        run(&self.request, view)
    }

    /// The route's authenticators.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Why the route's authenticators cannot be put together. Such a pipeline must not serve.
    pub fn gate_problem(&self) -> Option<&GateProblem> {
        self.gate_problem.as_ref()
    }

    /// Where credentials stand that nobody but the authenticators may see.
    pub fn credentials(&self) -> &[Credential] {
        &self.credentials
    }

    /// The headers that its authenticators look at, hidden or not.
    pub fn credential_headers(&self) -> impl Iterator<Item = &HeaderName> {
        let all = self.credentials.iter().chain(&self.kept);
        all.filter_map(|credential| match credential {
            Credential::Header(name) => Some(name),
            Credential::Cookie(_) | Credential::Query(_) => None,
        })
    }

    /// Whether upstreams get the cookie of this name on purpose, whatever the gateway uses it for.
    pub fn keeps_cookie(&self, name: &[u8]) -> bool {
        let mut kept = self.kept.iter();
        kept.any(|it| matches!(it, Credential::Cookie(own) if own.as_bytes() == name))
    }

    /// The headers that no client can send on any route; see [`Hooks::reserve`].
    pub fn reserved(&self) -> &[HeaderName] {
        &self.reserved
    }

    /// As [`Pipeline::request`], of the policies that look at who calls.
    pub fn identified(&self, view: View<'_>) -> Flow {
        let mut hooks = self.identified.iter();
        hooks.try_for_each(|hook| hook.on_identified(view, &self.gate))
    }

    /// Whether the limits may have to wait, so that [`Pipeline::limit_later`] is to be asked and not
    /// [`Pipeline::limit`].
    pub fn limits_may_wait(&self) -> bool {
        self.limits_may_wait
    }

    /// How responses are kept, where they are.
    pub fn cache(&self) -> Option<&Arc<Rules>> {
        self.cache.as_ref()
    }

    /// Counts the request against the limits, none of which has to wait.
    pub fn limit(&self, view: View<'_>, taken: &mut Taken) -> Flow {
        for hook in &self.limit {
            match hook.on_limit(view, taken) {
                LimitStep::Now(flow) => flow?,
                LimitStep::Later(_) => return ControlFlow::Break(Reply::failure(Code::Internal)),
            }
        }
        ControlFlow::Continue(())
    }

    /// As [`Pipeline::limit`], of limits that may wait.
    pub async fn limit_later(&self, view: View<'_>, taken: &mut Taken) -> Flow {
        for hook in &self.limit {
            match hook.on_limit(view, taken) {
                LimitStep::Now(flow) => flow?,
                LimitStep::Later(flow) => flow.await?,
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether a policy of the route answers preflights of CORS.
    pub fn answers_preflights(&self) -> bool {
        self.preflight.is_some()
    }

    /// The answer to a preflight; `None` where no policy has one.
    pub fn preflight(&self, view: View<'_>) -> Option<Reply> {
        let Preflight { before, answer } = self.preflight.as_ref()?;
        Some(match run(before, view) {
            ControlFlow::Break(reply) => reply,
            ControlFlow::Continue(()) => answer.on_preflight(view),
        })
    }

    pub fn upstream_request(&self, headers: &mut HeaderMap, view: View<'_>) {
        for hook in &self.upstream_request {
            hook.on_upstream_request(headers, view);
        }
    }

    /// Whether responses may say what their requests have cost, so that [`Pipeline::cost`] is to be asked first.
    pub fn reads_costs(&self) -> bool {
        !self.cost.is_empty()
    }

    /// Charges limits with what a response says that its request has cost.
    pub fn cost(&self, headers: &HeaderMap, view: View<'_>, taken: &mut Taken) {
        for hook in &self.cost {
            hook.on_cost(headers, view, taken);
        }
    }

    /// Changes the header of a response. An interim one, which is not `is_final`, says nothing of limits: the response
    /// itself will.
    pub fn response(&self, headers: &mut HeaderMap, view: View<'_>, is_final: bool) {
        for hook in &self.cost {
            hook.hide_cost(headers);
        }
        if let Some(hook) = &self.limit_fields
            && is_final
        {
            hook.on_response(headers, view);
        }
        for hook in &self.response {
            hook.on_response(headers, view);
        }
    }

    /// What will look at a request's body on this attempt. Without hooks for it that costs nothing.
    pub fn request_body(&self, view: View<'_>) -> Vec<Box<dyn RequestBody>> {
        let hooks = self.request_body.iter();
        hooks
            .filter_map(|hook| hook.on_request_body(view))
            .collect()
    }

    /// Whether the body of a response may have to pass through anything.
    pub fn changes_bodies(&self) -> bool {
        !self.response_body.is_empty()
    }

    /// The most of a response's body that is to come at a time for this caller, where a policy says so.
    pub fn largest_part(&self, view: View<'_>) -> Option<NonZeroU32> {
        if !self.has_largest_part {
            return None;
        }
        let hooks = self.response_body.iter();
        hooks.filter_map(|it| it.largest_part(view)).min()
    }

    /// What the body of an upstream's response will pass through, in order. An error refuses the response.
    pub fn response_body(
        &self,
        head: &mut Parts,
        view: View<'_>,
    ) -> Result<Vec<Box<dyn ResponseBody>>, Code> {
        let hooks = self.response_body.iter();
        hooks
            .filter_map(|hook| hook.on_response_body(head, view).transpose())
            .collect()
    }

    /// What the body of a reply of the gateway itself will pass through. Hooks that refuse it are passed over.
    pub fn reply_body(&self, head: &mut Parts, view: View<'_>) -> Vec<Box<dyn ResponseBody>> {
        let hooks = self.response_body.iter().filter(|it| it.sees_replies());
        hooks
            .filter_map(|hook| hook.on_response_body(head, view).ok().flatten())
            .collect()
    }
}

/// What one policy keeps and another hides would be both, whoever calls.
fn contested(
    kept: &[(&'static str, Credential)],
    hidden: &[(&'static str, Credential)],
) -> Option<GateProblem> {
    let pairs = kept
        .iter()
        .flat_map(|kept| hidden.iter().map(move |it| (kept, it)));
    let mut same = pairs.filter(|(kept, hidden)| kept.1 == hidden.1);
    same.next()
        .map(|((by, place), (hidden_by, _))| GateProblem::Kept {
            by,
            hidden_by,
            place: place.clone(),
        })
}

fn run(hooks: &[Arc<dyn OnRequest>], view: View<'_>) -> Flow {
    hooks.iter().try_for_each(|hook| hook.on_request(view))
}
