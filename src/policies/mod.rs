//! Policies: declared behaviour attached to a gateway, a listener or a route.
//!
//! In: each policy's own config, per scope. Out: a [`Pipeline`] per route, in which every phase is a flat list of
//! the hooks that apply, so that a policy that a route does not use costs it nothing. A policy must never know
//! sessions, other policies, or where in the order it stands.
//!
//! # Order
//! The order of policies is the program's: it is the order of the list in `list.rs` for requests and its reverse
//! for responses. Nobody can put a cache in front of authentication.
//!
//! # Scopes
//! gateway → listener → route. The nearest scope replaces a policy whole, `NAME = "off"` removes it; there is no
//! merging, so what a route does can be read off one table.
//!
//! # A new policy
//! One file with a `Policy` that implements the trait [`Policy`] and its config, whose doc comments are the
//! reference and whose `//!` has an example; one word in the list; a file of tests in `tests/gateway/`.

pub mod authentication;

mod acl;
mod any_of;
mod api_key;
mod bandwidth;
mod basic;
mod cache;
mod client_limit;
mod compression;
mod concurrency;
mod cors;
mod failed_authentications;
mod fault;
mod forward_auth;
mod header_edits;
mod hmac;
mod https_redirect;
mod identity_token;
mod introspection;
mod ip_access;
mod jwt;
mod limit_fields;
mod limiting;
mod list;
mod mtls;
mod networks;
mod oidc;
mod overload;
mod pipeline;
mod quota;
mod rate_limit;
mod request_headers;
mod reserved;
mod response_headers;
mod security_headers;
mod size_limits;
mod vary;

use std::cell::Cell;
use std::future::Future;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::cache::{Cache, Rules};
use crate::facts::{Variables, View};
use crate::identity::Directory;
use crate::limits::{self, SharedConfig, Sharing, Taken};
use crate::response::{Code, Reply};
use crate::stores::Stores;
use crate::text::{HeaderPattern, Span, Subject};

pub use any_of::is_authenticator;
pub use authentication::{Credential, Gate, GateProblem};
pub use limiting::ByPlan;
pub use list::{Config, Layer, References};
pub use pipeline::{Origin, Pipeline, Scope};
pub use reserved::Reserved;

use authentication::Authenticator;
use pipeline::Preflight;

/// One kind of declared behaviour.
pub trait Policy: Sized + Send + Sync + 'static {
    /// The key in the configuration, and the name in logs, metrics and documentation.
    const NAME: &'static str;
    /// What users write. Unknown keys are refused.
    type Config: DeserializeOwned + JsonSchema + PartialEq;

    /// Compiles the configuration of one scope. `None` after diagnostics.
    fn build(config: &Self::Config, scope: &mut BuildScope<'_>) -> Option<Self>;

    /// Claims the hooks that it implements.
    fn hooks(self: &Arc<Self>, hooks: &mut Hooks);
}

/// Where a policy is being compiled.
pub struct BuildScope<'a> {
    /// The policy in the configuration.
    pub subject: Subject<'a>,
    /// The value of its key, all of it.
    pub span: Span,
    /// The variables that its templates may use.
    pub variables: Variables<'a>,
    /// What proves who calls.
    pub identity: &'a Directory,
    /// Where counts are kept.
    pub limits: &'a limits::Room,
    /// Where responses are kept.
    pub cache: &'a Arc<Cache>,
    /// What callers have bought.
    pub plans: &'a Arc<limits::Plans>,
    /// Where several gateways count together.
    pub stores: &'a Stores,
    /// Whether requests may be made to fail on purpose.
    pub allows_faults: bool,
    folder: &'a Path,
    reads_files: &'a Cell<bool>,
}

impl<'a> BuildScope<'a> {
    /// The folder of the file that configures it, which paths in there are relative to. Who asks for it reads files,
    /// and is built anew with each reload, since these may have changed.
    pub fn folder(&self) -> &'a Path {
        self.reads_files.set(true);
        self.folder
    }

    /// How a limit is counted together with other gateways. The outer `None` follows a diagnostic.
    pub fn sharing(&mut self, config: Option<&SharedConfig>) -> Option<Option<Sharing>> {
        let Some(config) = config else {
            return Some(None);
        };
        let sharing = Sharing::build(config, self.stores, &mut self.subject.key("shared"))?;
        if sharing.reads_files() {
            self.reads_files.set(true);
        }
        Some(Some(sharing))
    }
}

/// Whether a request goes on, or is answered here and now.
pub type Flow = ControlFlow<Reply>;

/// Looks at the header of a request once it has a route, and before anything is done about it. Runs once per
/// request, also where no route matches: then the policies of the listener decide before the 404 does.
pub trait OnRequest: Send + Sync {
    fn on_request(&self, view: View<'_>) -> Flow;
}

/// Watches a route's authenticators. It is not asked where there are none.
pub trait OnAuthentication: Send + Sync {
    /// Before anything of a caller's credentials is looked at.
    fn on_attempt(&self, view: View<'_>) -> Flow;

    /// The caller has shown a credential that proves nothing.
    fn on_failure(&self, view: View<'_>);
}

/// As [`OnRequest`], after the route's authenticators: [`Facts::identity`](crate::facts::Facts) is what they have proven.
pub trait OnIdentified: Send + Sync {
    /// `gate` are the authenticators, for answers to callers that have proven nothing.
    fn on_identified(&self, view: View<'_>, gate: &Gate) -> Flow;
}

/// Counts a request that may come in against limits. Runs after every [`OnIdentified`] hook.
pub trait OnLimit: Send + Sync {
    /// What is taken for the request stays in `taken` until it ends, also where a later hook refuses it.
    fn on_limit<'a>(&'a self, view: View<'a>, taken: &'a mut Taken) -> LimitStep<'a>;

    /// Whether it may ever have to wait. Routes whose hooks never do pay for no future.
    fn may_wait(&self) -> bool {
        false
    }
}

/// How far a limit has got.
pub enum LimitStep<'a> {
    Now(Flow),
    /// A store has to be asked, or the request waits for its turn. The future has a deadline of its own, and gives
    /// back what it has taken where it is dropped.
    Later(Pin<Box<dyn Future<Output = Flow> + Send + 'a>>),
}

/// Answers preflights of CORS in the place of whatever the route would do. They are routed by the method that they
/// ask for; the [`OnRequest`] hooks of the policies before this one run first, those after it do not.
pub trait OnPreflight: Send + Sync {
    fn on_preflight(&self, view: View<'_>) -> Reply;
}

/// Changes the header of the request that an upstream gets. Runs once per attempt, on a copy of the client's.
pub trait OnUpstreamRequest: Send + Sync {
    fn on_upstream_request(&self, headers: &mut HeaderMap, view: View<'_>);
}

/// Changes the header of the response that the client gets, whoever made it.
pub trait OnResponse: Send + Sync {
    fn on_response(&self, headers: &mut HeaderMap, view: View<'_>);
}

/// Charges limits with what a response says that its request has cost.
pub trait OnCost: Send + Sync {
    /// Runs before any other hook sees the response, and not for interim ones.
    fn on_cost(&self, headers: &HeaderMap, view: View<'_>, taken: &mut Taken);

    /// Takes out of a response what clients are not to see, after all have been charged.
    fn hide_cost(&self, headers: &mut HeaderMap);
}

/// Looks at bodies of requests on their way to an upstream.
pub trait OnRequestBody: Send + Sync {
    /// What will look at this request's body; `None` where there is nothing to look for. Asked once per attempt,
    /// since each sends the body from its beginning.
    fn on_request_body(&self, view: View<'_>) -> Option<Box<dyn RequestBody>>;
}

/// What one policy remembers of the body of one request.
pub trait RequestBody: Send + Sync {
    /// A part of the body has come, and `ends` where it was the last. The upstream gets it afterwards; where there
    /// is no body, that is its end, and comes before the upstream gets the header. An error
    /// refuses the request: the upstream's connection or stream is broken off, so that it never takes what it has
    /// for the whole.
    fn see(&mut self, chunk: &Bytes, ends: bool) -> Result<Seen, Code>;

    /// How long what it has seen last is to wait before it goes on; where that was refused, after how long it is worth to
    /// come again, if that is known.
    fn pause(&mut self) -> Duration {
        Duration::ZERO
    }
}

/// How much of a part has been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    All,
    /// There is more work than other requests should wait for: to be called again, with nothing new, after they
    /// have had their turn.
    Part,
}

/// Changes bodies of responses on their way to the client, or looks at them.
pub trait OnResponseBody: Send + Sync {
    /// What will see this response's body; `None` where it is not to be touched. Runs when the header is complete
    /// but for the request's ids, and changes it as the change of the body makes it necessary. An error turns an
    /// upstream's response into a failure; on a reply of the gateway itself the hook is then passed over.
    fn on_response_body(
        &self,
        head: &mut Parts,
        view: View<'_>,
    ) -> Result<Option<Box<dyn ResponseBody>>, Code>;

    /// Whether it is asked about replies of the gateway itself.
    fn sees_replies(&self) -> bool {
        true
    }

    /// Whether [`OnResponseBody::largest_part`] says anything of anybody.
    fn has_largest_part(&self) -> bool {
        false
    }

    /// The most of this caller's body that is to come at a time, so that none waits for long: kept where upstreams speak
    /// HTTP/1.1. Of HTTP/2, parts are frames of 16 KiB at most.
    fn largest_part(&self, _: View<'_>) -> Option<NonZeroU32> {
        None
    }
}

/// What one policy remembers of the body of one response.
pub trait ResponseBody: Send + Sync {
    /// A part of the body has come, and `ends` where it was the last, which may be empty. Gives what goes on. It
    /// runs on a thread that serves others, so its work must be in proportion to the part. An error breaks the
    /// response off.
    fn pass(&mut self, chunk: Option<Bytes>, ends: bool) -> Result<Option<Bytes>, Code>;

    /// How long what it has given last is to wait before it goes on; where it has refused, as for [`RequestBody::pause`].
    fn pause(&mut self) -> Duration {
        Duration::ZERO
    }
}

/// The hooks that the policies of a route have claimed, in order.
#[derive(Default)]
pub struct Hooks {
    route: Box<str>,
    request: Vec<Arc<dyn OnRequest>>,
    preflight: Option<Preflight>,
    authentication: Option<Arc<dyn OnAuthentication>>,
    identify: Vec<Arc<dyn Authenticator>>,
    any_of: Option<Box<[&'static str]>>,
    identified: Vec<Arc<dyn OnIdentified>>,
    needs_identity: Option<&'static str>,
    limit: Vec<Arc<dyn OnLimit>>,
    cost: Vec<Arc<dyn OnCost>>,
    limit_fields: Option<Arc<dyn OnResponse>>,
    credentials: Vec<(&'static str, Credential)>,
    kept_credentials: Vec<(&'static str, Credential)>,
    reserved: Vec<HeaderName>,
    upstream_request: Vec<Arc<dyn OnUpstreamRequest>>,
    request_body: Vec<Arc<dyn OnRequestBody>>,
    response: Vec<Arc<dyn OnResponse>>,
    response_body: Vec<Arc<dyn OnResponseBody>>,
    cache: Option<Arc<Rules>>,
    managed: Vec<HeaderPattern>,
}

impl Hooks {
    /// Says that what the upstream reads in these headers is the policy's to decide: what it sets, adds or removes.
    /// No client gets past that by writing their names in another way: such headers are gone before the policy's
    /// hooks run.
    pub fn manage(&mut self, headers: impl IntoIterator<Item = HeaderPattern>) {
        self.managed.extend(headers);
    }

    /// The name of the route whose hooks they are.
    pub fn route(&self) -> &str {
        &self.route
    }

    pub fn on_request(&mut self, hook: Arc<dyn OnRequest>) {
        self.request.push(hook);
    }

    /// The last claim counts.
    pub fn on_authentication(&mut self, hook: Arc<dyn OnAuthentication>) {
        self.authentication = Some(hook);
    }

    pub fn on_identify(&mut self, authenticator: Arc<dyn Authenticator>) {
        self.identify.push(authenticator);
    }

    /// Which authenticators are asked in which order.
    pub fn any_of(&mut self, order: Box<[&'static str]>) {
        self.any_of = Some(order);
    }

    /// Says that a policy lets nobody in who has proven nothing: without an authenticator, that is everybody.
    pub fn need_identity(&mut self, policy: &'static str) {
        self.needs_identity = Some(policy);
    }

    /// Where credentials of a policy stand that nobody but authenticators may see.
    pub fn hide(&mut self, policy: &'static str, credentials: impl Iterator<Item = Credential>) {
        self.credentials.extend(credentials.map(|it| (policy, it)));
    }

    /// Where credentials of a policy stand that go on to upstreams. No other policy may hide them.
    pub fn keep(&mut self, policy: &'static str, credentials: impl Iterator<Item = Credential>) {
        self.kept_credentials
            .extend(credentials.map(|it| (policy, it)));
    }

    /// Says that upstreams take what these headers say for proven: on no route of the gateway can a client send them.
    pub fn reserve(&mut self, headers: impl IntoIterator<Item = HeaderName>) {
        self.reserved.extend(headers);
    }

    pub fn on_identified(&mut self, hook: Arc<dyn OnIdentified>) {
        self.identified.push(hook);
    }

    pub fn on_limit(&mut self, hook: Arc<dyn OnLimit>) {
        self.limit.push(hook);
    }

    pub fn on_cost(&mut self, hook: Arc<dyn OnCost>) {
        self.cost.push(hook);
    }

    /// Says how clients are told of what [`Hooks::on_limit`] has counted.
    pub fn tell_limits(&mut self, hook: Arc<dyn OnResponse>) {
        self.limit_fields = Some(hook);
    }

    /// The last claim counts: only one answer can be given.
    pub fn on_preflight(&mut self, hook: Arc<dyn OnPreflight>) {
        self.preflight = Some(Preflight {
            before: self.request.as_slice().into(),
            answer: hook,
        });
    }

    pub fn on_upstream_request(&mut self, hook: Arc<dyn OnUpstreamRequest>) {
        self.upstream_request.push(hook);
    }

    pub fn on_request_body(&mut self, hook: Arc<dyn OnRequestBody>) {
        self.request_body.push(hook);
    }

    pub fn on_response(&mut self, hook: Arc<dyn OnResponse>) {
        self.response.push(hook);
    }

    pub fn on_response_body(&mut self, hook: Arc<dyn OnResponseBody>) {
        self.response_body.push(hook);
    }

    /// Has responses kept, and requests answered with them.
    pub fn keep_responses(&mut self, rules: Arc<Rules>) {
        self.cache = Some(rules);
    }

    /// How many hooks there are that do something whether or not the request goes on to an upstream.
    fn count_for_client(&self) -> usize {
        self.request.len()
            + usize::from(self.authentication.is_some())
            + self.identify.len()
            + usize::from(self.any_of.is_some())
            + self.identified.len()
            + self.limit.len()
            + usize::from(self.limit_fields.is_some())
            + self.response.len()
            + self.response_body.len()
    }
}
