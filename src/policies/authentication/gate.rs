//! The authenticators of one route.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use http::HeaderValue;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};

use super::{
    Anonymous, Authenticator, Challenge, Credential, Outcome, Refusal, challenge_somehow, first,
};
use crate::facts::View;
use crate::identity::Identity;
use crate::policies::OnAuthentication;
use crate::response::{Code, Reply};

/// What nobody passes unproven.
#[derive(Default)]
pub struct Gate {
    authenticators: Box<[Arc<dyn Authenticator>]>,
    watch: Option<Arc<dyn OnAuthentication>>,
    is_closed: bool,
    body: Option<usize>,
}

/// Why authenticators cannot be put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateProblem {
    /// There are several, and nothing says which counts.
    Ambiguous(Vec<&'static str>),
    /// `any_of` does not name this one, which is in force.
    Unnamed(&'static str),
    /// `any_of` names this one, which is not in force.
    Missing(&'static str),
    /// This policy lets nobody in who has proven nothing, and nobody can prove anything.
    Nobody(&'static str),
    /// One of them has its credentials kept in the request and another has them taken out, from the same place.
    Kept {
        by: &'static str,
        hidden_by: &'static str,
        place: Credential,
    },
}

impl Gate {
    /// `order` is what `any_of` says. Where there is a problem, nobody comes in.
    pub(in crate::policies) fn new(
        mut authenticators: Vec<Arc<dyn Authenticator>>,
        order: Option<&[&'static str]>,
        watch: Option<Arc<dyn OnAuthentication>>,
    ) -> Result<Gate, GateProblem> {
        let names =
            |all: &[Arc<dyn Authenticator>]| all.iter().map(|it| it.name()).collect::<Vec<_>>();
        match order {
            None if authenticators.len() > 1 => {
                return Err(GateProblem::Ambiguous(names(&authenticators)));
            }
            None => {}
            Some(order) => {
                let present = names(&authenticators);
                if let Some(name) = present.iter().find(|name| !order.contains(name)) {
                    return Err(GateProblem::Unnamed(name));
                }
                if let Some(name) = order.iter().find(|name| !present.contains(name)) {
                    return Err(GateProblem::Missing(name));
                }
                let place = |name| order.iter().position(|it| *it == name);
                authenticators.sort_by_key(|it| place(it.name()));
            }
        }
        Ok(Gate {
            is_closed: false,
            watch,
            body: authenticators.iter().filter_map(|it| it.body()).max(),
            authenticators: authenticators.into(),
        })
    }

    /// A gate that nobody passes.
    pub(in crate::policies) fn closed() -> Gate {
        Gate {
            is_closed: true,
            ..Gate::default()
        }
    }

    /// Whether nobody is asked for anything.
    pub fn is_open(&self) -> bool {
        self.authenticators.is_empty() && !self.is_closed
    }

    /// Up to how many bytes of a body have to be there before anybody is asked.
    pub fn body(&self) -> Option<usize> {
        self.body
    }

    /// Finds out who calls; `None` is anybody, where that is allowed.
    pub async fn pass(&self, view: View<'_>) -> ControlFlow<Reply, Option<Arc<Identity>>> {
        if let Some(watch) = &self.watch
            && let ControlFlow::Break(reply) = watch.on_attempt(view)
        {
            return ControlFlow::Break(reply);
        }
        let outcome = match &*self.authenticators {
            [one] => settle(one, one.authenticate(view).outcome().await),
            all => {
                let step = first(all, move |one| one.authenticate(view), settle);
                step.outcome().await
            }
        };
        match outcome {
            Outcome::Proven(identity) => ControlFlow::Continue(Some(identity)),
            Outcome::Anybody => ControlFlow::Continue(None),
            Outcome::Answer(reply) => ControlFlow::Break(*reply),
            Outcome::Absent => ControlFlow::Break(self.refuse(view, None)),
            Outcome::Refused(refusal) => {
                if let Some(watch) = self
                    .watch
                    .as_ref()
                    .filter(|_| refusal.is_about_credential())
                {
                    watch.on_failure(view);
                }
                ControlFlow::Break(self.refuse(view, Some(&refusal)))
            }
        }
    }

    /// The answer to a caller that somebody asks for a proof who has none. A 401 says what each authenticator wants,
    /// and what was wrong to those alone that have refused something.
    pub fn refuse(&self, view: View<'_>, refusal: Option<&Refusal>) -> Reply {
        let code = refusal.map_or(Code::Unauthenticated, |refusal| refusal.code);
        let mut reply = Reply::failure(code);
        if let Some(refusal) = refusal {
            reply = reply.cause(refusal.cause.clone());
            let wait = refusal.retry_after.map(HeaderValue::from);
            reply.headers.extend(wait.map(|wait| (RETRY_AFTER, wait)));
        }
        if code.status() != http::StatusCode::UNAUTHORIZED {
            return reply;
        }
        for authenticator in &self.authenticators {
            let flaw = refusal.and_then(|it| it.flaw_of(authenticator.name()));
            match authenticator.challenge(view, flaw) {
                Challenge::Header(value) => reply.headers.push((WWW_AUTHENTICATE, value)),
                Challenge::Also(value, other) => {
                    reply.headers.extend([(WWW_AUTHENTICATE, value), other]);
                }
                Challenge::Answer(answer) => return *answer,
                Challenge::None => {}
            }
        }
        challenge_somehow(&mut reply.headers);
        reply
    }
}

/// Who shows nothing to one that lets strangers in may come in for its part. A refusal is this one's.
fn settle(one: &Arc<dyn Authenticator>, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Absent if one.anonymous() == Anonymous::Allow => Outcome::Anybody,
        Outcome::Refused(refusal) => Outcome::Refused(refusal.by(one.name())),
        outcome => outcome,
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.authenticators.iter().map(|it| it.name());
        f.debug_list().entries(names).finish()
    }
}

impl fmt::Display for GateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GateProblem::Ambiguous(names) => write!(
                f,
                "has {} authenticators, {}, and no any_of that says which of them have to prove who calls",
                names.len(),
                names.join(" and "),
            ),
            GateProblem::Unnamed(name) => {
                write!(f, "has an any_of without {name}, which is in force")
            }
            GateProblem::Nobody(policy) => {
                write!(
                    f,
                    "has an {policy} and no authenticator, so that it lets nobody in"
                )
            }
            GateProblem::Missing(name) => {
                write!(f, "has an any_of with {name}, which is not in force")
            }
            GateProblem::Kept {
                by,
                hidden_by,
                place,
            } => write!(
                f,
                "has a {by} with keep_credentials and a {hidden_by} without it, and both look at the {place}",
            ),
        }
    }
}

impl GateProblem {
    /// What to write instead.
    pub fn help(&self) -> String {
        match self {
            GateProblem::Ambiguous(names) => {
                let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
                format!(
                    "write any_of = [{}] where either will do, or switch one off",
                    names.join(", ")
                )
            }
            GateProblem::Unnamed(name) => {
                format!("add {name:?} to any_of, or write {name} = \"off\"")
            }
            GateProblem::Nobody(policy) => {
                format!("add one, such as jwt = {{}}, or write {policy} = \"off\" on this route")
            }
            GateProblem::Missing(name) => {
                format!("write {name} = {{}} as well, or take it out of any_of")
            }
            GateProblem::Kept { by, hidden_by, .. } => {
                format!(
                    "write keep_credentials = true in {hidden_by} as well, or take it out of {by}"
                )
            }
        }
    }
}
