//! A route's compiled hooks.

use std::ops::ControlFlow;
use std::sync::Arc;

use http::HeaderMap;

use super::{Flow, Hooks, OnPreflight, OnRequest, OnResponse, OnUpstreamRequest, Policy};
use crate::facts::View;
use crate::response::Reply;
use crate::text::Span;

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

/// What one scope says about one policy.
#[derive(Default)]
pub(super) enum Slot<P> {
    #[default]
    Unsaid,
    Off(Origin),
    On(Arc<P>, Origin),
}

impl<P> Clone for Slot<P> {
    fn clone(&self) -> Self {
        match self {
            Slot::Unsaid => Slot::Unsaid,
            Slot::Off(origin) => Slot::Off(*origin),
            Slot::On(policy, origin) => Slot::On(policy.clone(), *origin),
        }
    }
}

impl<P: Policy> Slot<P> {
    pub(super) fn or(&self, wider: &Slot<P>) -> Slot<P> {
        match self {
            Slot::Unsaid => wider.clone(),
            said => said.clone(),
        }
    }

    pub(super) fn claim(&self, hooks: &mut Hooks, origins: &mut Origins) {
        match self {
            Slot::On(policy, origin) => {
                let before = hooks.count_for_client();
                policy.hooks(hooks);
                origins.on.push(Origin {
                    is_for_upstream: hooks.count_for_client() == before,
                    ..*origin
                });
            }
            Slot::Off(origin) => origins.off.push(*origin),
            Slot::Unsaid => {}
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
    upstream_request: Box<[Arc<dyn OnUpstreamRequest>]>,
    /// In reverse order, as the response meets the policies.
    response: Box<[Arc<dyn OnResponse>]>,
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
        let mut response = hooks.response;
        response.reverse();
        Pipeline {
            request: hooks.request.into(),
            preflight: hooks.preflight,
            upstream_request: hooks.upstream_request.into(),
            response: response.into(),
            origins: origins.on.into(),
            off: origins.off.into(),
        }
    }

    /// The policies in force, in order, with the places that put them there.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// The policies that are switched off, with the places that say so.
    pub fn off(&self) -> &[Origin] {
        &self.off
    }

    /// The first reply that a policy has for the request.
    pub fn request(&self, view: View<'_>) -> Flow {
        run(&self.request, view)
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

    pub fn response(&self, headers: &mut HeaderMap, view: View<'_>) {
        for hook in &self.response {
            hook.on_response(headers, view);
        }
    }
}

fn run(hooks: &[Arc<dyn OnRequest>], view: View<'_>) -> Flow {
    hooks.iter().try_for_each(|hook| hook.on_request(view))
}
