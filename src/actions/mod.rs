//! Actions: what answers a request once the policies let it through.
//!
//! In: an action's config and, per request, a [`View`] of its facts. Out: a [`Reply`] that the gateway makes
//! itself, at once or after asking others, or where and how to forward. An action must never know sessions: the proxy room writes its reply.

mod login;
mod redirect;
mod respond;
mod rewrite;

use std::sync::Arc;

use crate::facts::View;
use crate::limits::Bulkhead;
use crate::response::{Code, Reply};
use crate::upstream::Upstream;

pub use login::Login;
pub use redirect::{Config as RedirectConfig, Redirect};
pub use respond::{Config as RespondConfig, Respond};
pub use rewrite::{Config as RewriteConfig, Rewrite};

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
    /// Answers that the route has mistakes, and is not served for that.
    Quarantined,
    /// Nothing: the fallback, which never gets as far as its action.
    Nothing,
}

/// Forwarding to an upstream.
#[derive(Debug)]
pub struct Proxy {
    pub upstream: Arc<Upstream>,
    pub rewrite: Option<Rewrite>,
    /// The places of the route, where they are limited.
    pub bulkhead: Option<Arc<Bulkhead>>,
}

impl Action {
    /// The reply of an action that needs no upstream.
    pub fn reply(&self, view: View<'_>) -> Option<Reply> {
        match self {
            Action::Redirect(redirect) => Some(redirect.reply(view)),
            Action::Respond(respond) => Some(respond.reply()),
            Action::Quarantined => Some(Reply::failure(Code::Quarantined)),
            Action::Proxy(_) | Action::Login(_) | Action::Nothing => None,
        }
    }

    /// The action where it has to ask somebody before it can reply, or to read the request's body.
    pub fn later(&self) -> Option<&Login> {
        match self {
            Action::Login(login) => Some(login),
            _ => None,
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        match self {
            Action::Proxy(proxy) => format!("upstream {}", proxy.upstream.name()),
            Action::Redirect(redirect) => format!("redirect {}", redirect.status()),
            Action::Respond(respond) => format!("respond {}", respond.status()),
            Action::Login(login) => format!("login {}", login.provider().core().name()),
            Action::Quarantined => "quarantined".into(),
            Action::Nothing => "nothing".into(),
        }
    }
}
