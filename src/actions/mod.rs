//! Actions: what answers a request once the policies let it through.
//!
//! In: an action's config and, per request, a [`View`] of its facts. Out: a [`Reply`] that the gateway makes
//! itself, at once or after asking others, or where and how to forward: to which of several upstreams, what else answers
//! where that cannot, and where a copy goes. An action must never know sessions: the proxy room writes its reply.

mod affinity;
mod aggregate;
mod batch;
mod fallback;
mod login;
mod mirror;
mod redirect;
mod respond;
mod rewrite;
mod split;
mod upstream_name;

use std::sync::Arc;

use crate::facts::View;
use crate::limits::Bulkhead;
use crate::response::{Code, Reply};
use crate::upstream::{Retry, Upstream};

pub use affinity::Affinities;
pub use aggregate::Aggregate;
pub use batch::{Batch, Config as BatchConfig, refusal};
pub use fallback::{Answer, Config as FallbackConfig, Fallback, Step, Why};
pub use login::Login;
pub use mirror::{Config as MirrorConfig, Mirror, Original};
pub use redirect::{Config as RedirectConfig, Redirect};
pub use respond::{Config as RespondConfig, Respond};
pub use rewrite::{Config as RewriteConfig, Rewrite};
pub use split::{Branch, Canaries, Canary, Config as SplitConfig, Guards, Seen, Split};
pub use upstream_name::some_upstream;

/// What a route does with a request.
#[derive(Debug)]
pub enum Action {
    /// Forwards to an upstream.
    Proxy(Proxy),
    /// Sends the client elsewhere.
    Redirect(Redirect),
    /// Answers with fixed content.
    Respond(Respond),
    /// Answers what logins at a provider need; see [`Action::later`].
    Login(Login),
    /// Puts an answer together of what several upstreams say.
    Aggregate(Aggregate),
    /// Runs a client's list of calls as if they had come one by one.
    Batch(Box<Batch>),
    /// Answers that the route has mistakes, and is not served for that.
    Quarantined,
    /// Nothing: the fallback, which never gets as far as its action.
    Nothing,
}

/// Forwarding to an upstream.
#[derive(Debug)]
pub struct Proxy {
    pub to: To,
    pub rewrite: Option<Rewrite>,
    /// What of a request chooses the endpoint, where an upstream hashes.
    pub affinities: Affinities,
    /// When requests are sent again, where that is not as the upstream has it.
    pub retry: Option<Arc<Retry>>,
    /// The places of the route, where they are limited.
    pub bulkhead: Option<Arc<Bulkhead>>,
    /// What answers where the upstream cannot.
    pub fallback: Fallback,
    /// Where copies of its requests go.
    pub mirror: Option<Arc<Mirror>>,
}

/// Where a route forwards to.
#[derive(Debug)]
pub enum To {
    One(Arc<Upstream>),
    Split(Box<Split>),
}

impl Proxy {
    /// Every upstream that its requests may come to.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let (one, split) = match &self.to {
            To::One(upstream) => (Some(upstream), None),
            To::Split(split) => (None, Some(split.branches())),
        };
        let branches = split.into_iter().flatten().map(|branch| &branch.upstream);
        let mirror = self.mirror.iter().map(|mirror| mirror.upstream());
        let chosen = one.into_iter().chain(branches);
        chosen.chain(self.fallback.upstreams()).chain(mirror)
    }

    /// The upstream that this request is for, and who watches how it does, if somebody does.
    pub fn choose(&self, view: View<'_>) -> Option<(Arc<Upstream>, Option<Arc<Canary>>)> {
        match &self.to {
            To::One(upstream) => Some((upstream.clone(), None)),
            To::Split(split) => {
                let branch = split.choose(view)?;
                Some((branch.upstream.clone(), branch.canary.clone()))
            }
        }
    }

    /// The guarded branches, with the weight that each has now.
    pub fn canaries(&self) -> impl Iterator<Item = (&Arc<Canary>, f64)> {
        let branches = match &self.to {
            To::One(_) => &[],
            To::Split(split) => split.branches(),
        };
        let canaries = branches.iter();
        canaries.filter_map(|branch| Some((branch.canary.as_ref()?, branch.weight())))
    }

    fn describe(&self) -> String {
        match &self.to {
            To::One(upstream) => format!("upstream {}", upstream.name()),
            To::Split(split) => {
                // Ramps make odd numbers.
                let weight = |it: &Branch| (it.weight() * 100.0).round() / 100.0;
                let branch = |it: &Branch| format!("{} {}", it.upstream.name(), weight(it));
                let branches: Vec<_> = split.branches().iter().map(branch).collect();
                format!("split {}", branches.join(", "))
            }
        }
    }

    /// Line by line for people: what becomes of branches, what answers else, and where copies go.
    fn details(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let To::Split(split) = &self.to {
            let branches = split.branches().iter().filter_map(Branch::describe);
            lines.extend(branches.map(|branch| format!("  {branch}")));
        }
        if !self.fallback.is_empty() {
            lines.push("fallback, in order:".to_owned());
            lines.extend(self.fallback.describe().map(|step| format!("  {step}")));
        }
        if let Some(mirror) = &self.mirror {
            lines.push(format!("mirror: {}", mirror.describe()));
        }
        lines
    }
}

impl Action {
    /// Every upstream that its requests may come to.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let (one, several) = match self {
            Action::Proxy(proxy) => (Some(proxy), None),
            Action::Aggregate(aggregate) => (None, Some(aggregate.proxies())),
            _ => (None, None),
        };
        let several = several.into_iter().flatten();
        one.into_iter().chain(several).flat_map(Proxy::upstreams)
    }

    /// The reply of an action that needs no upstream.
    pub fn reply(&self, view: View<'_>) -> Option<Reply> {
        match self {
            Action::Redirect(redirect) => Some(redirect.reply(view)),
            Action::Respond(respond) => Some(respond.reply()),
            Action::Quarantined => Some(Reply::failure(Code::Quarantined)),
            Action::Proxy(_)
            | Action::Login(_)
            | Action::Aggregate(_)
            | Action::Batch(_)
            | Action::Nothing => None,
        }
    }

    /// The action where it has to ask somebody before it can reply, or to read the request's body.
    pub fn later(&self) -> Option<&Login> {
        match self {
            Action::Login(login) => Some(login),
            _ => None,
        }
    }

    /// What there is to say beside [`Action::describe`], line by line.
    pub fn details(&self) -> Vec<String> {
        match self {
            Action::Proxy(proxy) => proxy.details(),
            Action::Aggregate(aggregate) => aggregate.details(),
            Action::Batch(batch) => batch.details(),
            _ => Vec::new(),
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        match self {
            Action::Proxy(proxy) => proxy.describe(),
            Action::Redirect(redirect) => format!("redirect {}", redirect.status()),
            Action::Respond(respond) => format!("respond {}", respond.status()),
            Action::Login(login) => format!("login {}", login.provider().core().name()),
            Action::Aggregate(aggregate) => aggregate.describe(),
            Action::Batch(batch) => batch.describe(),
            Action::Quarantined => "quarantined".into(),
            Action::Nothing => "nothing".into(),
        }
    }
}
