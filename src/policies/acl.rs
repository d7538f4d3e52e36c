//! `acl`: what a caller must be, have or do to come in.
//!
//! ```toml
//! [consumers.billing]
//! certificates = [{ dns = "billing.example" }]
//! scopes = ["orders:read"]
//!
//! [routes.order]
//! match = { path = "/tenants/{tenant}/orders/{id}" }
//! respond = { status = 200 }
//! [routes.order.policies]
//! mtls = {}
//! acl = { scopes = ["orders:read"], allow = 'identity.claims.tenant == path.tenant || "partner" in identity.roles' }
//! ```
//!
//! Everything that it says has to hold: all of `scopes`, one of `any_scopes`, one of `roles`, one of `groups`, the
//! `consumers`, and the condition in `allow`, which is an expression in CEL.
//!
//! It decides after the route's authenticators, over what they have proven. Who has proven nothing (where they let
//! anonymous callers in) gets 401 with their challenges; who falls short gets 403 `access_denied`, and for a scope
//! that is missing in a bearer token the `WWW-Authenticate` of RFC 6750, `error="insufficient_scope"`. What was
//! missing stands in the access log as the `cause`, and in the answer only with `explain = true`: in its `detail`, and
//! where all of `scopes` are needed in the `scope` of that challenge.
//!
//! A condition that cannot be evaluated, because a claim is absent that it names or has another type than it needs,
//! lets nobody in; the log says so.
//!
//! A route with an `acl` and no authenticator is an error: nobody could come in.
//! What an expression can name is said at [`Expression`].

use std::ops::ControlFlow;
use std::sync::Arc;

use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{BuildScope, Flow, Gate, Hooks, OnIdentified};
use crate::facts::{Expression, View};
use crate::identity::Identity;
use crate::response::{Code, Reply};
use crate::text::{Spanned, Subject};

/// Kinds of authenticators whose credentials are bearer tokens.
const BEARER: [&str; 2] = ["jwt", "introspection"];

/// What a caller must be, have or do to come in. All that is said has to hold.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "AclConfig")]
pub struct Config {
    /// The caller has all of these scopes. Default: none is needed.
    pub scopes: Option<Spanned<Vec<Spanned<Box<str>>>>>,
    /// The caller has one of these scopes. Default: none is needed.
    pub any_scopes: Option<Spanned<Vec<Spanned<Box<str>>>>>,
    /// The caller has one of these roles. Default: none is needed.
    pub roles: Option<Spanned<Vec<Spanned<Box<str>>>>>,
    /// The caller belongs to one of these groups. Default: to none need it belong.
    pub groups: Option<Spanned<Vec<Spanned<Box<str>>>>>,
    /// Which consumers come in. Default: all, and callers that are no consumer.
    pub consumers: Option<Consumers>,
    /// A condition in CEL. Default: none.
    pub allow: Option<Spanned<String>>,
    /// Whether a caller is told what it lacks, in the answer's `detail` and the challenge's `scope`. Default: `false`,
    /// since that tells a stranger what to look for.
    pub explain: bool,
}

/// Consumers by name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "AclConsumers")]
pub struct Consumers {
    /// Nobody but these consumers. Default: everybody that `deny` does not name.
    pub allow: Option<Spanned<Vec<Spanned<Box<str>>>>>,
    /// None of these consumers, even where `allow` names them. Default: nobody.
    pub deny: Option<Spanned<Vec<Spanned<Box<str>>>>>,
}

/// What a caller must be, have or do.
pub struct Policy {
    requirements: Box<[Requirement]>,
    explains: bool,
}

struct Requirement {
    rule: Rule,
    /// What the log says where it is not met.
    cause: Arc<str>,
    /// What a bearer of a token is told of it.
    challenge: Option<HeaderValue>,
}

type Words = Box<[Box<str>]>;

enum Rule {
    Scopes(Words),
    AnyScope(Words),
    Roles(Words),
    Groups(Words),
    Consumers { allow: Option<Words>, deny: Words },
    Condition(Expression<bool>),
}

impl super::Policy for Policy {
    const NAME: &'static str = "acl";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let before = scope.subject.error_count();
        let mut requirements = Vec::new();
        type Build = fn(Words) -> Rule;
        let lists: [(&str, &Option<_>, &str, Build); 4] = [
            ("scopes", &config.scopes, "one of the scopes", Rule::Scopes),
            (
                "any_scopes",
                &config.any_scopes,
                "each of the scopes",
                Rule::AnyScope,
            ),
            ("roles", &config.roles, "each of the roles", Rule::Roles),
            ("groups", &config.groups, "each of the groups", Rule::Groups),
        ];
        for (key, list, what, rule) in lists {
            let Some(list) = list else { continue };
            let words = words(list, &mut scope.subject.key(key));
            let mut challenge = None;
            if key.ends_with("scopes") {
                check_scopes(list, &mut scope.subject.key(key));
                // The parameter lists scopes that are all needed.
                let told = config.explain && key == "scopes";
                challenge = insufficient_scope(told.then_some(&words));
            }
            requirements.push(Requirement {
                cause: format!("the caller lacks {what} {}", words.join(" ")).into(),
                rule: rule(words),
                challenge,
            });
        }
        requirements.extend(config.consumers.as_ref().map(|it| consumers(it, scope)));
        if let Some(text) = &config.allow {
            let mut subject = scope.subject.key("allow");
            let condition = Expression::build(text, scope.variables, &mut subject);
            requirements.extend(condition.map(|condition| Requirement {
                rule: Rule::Condition(condition),
                cause: "the condition in allow does not hold".into(),
                challenge: None,
            }));
        }
        if requirements.is_empty() && scope.subject.error_count() == before {
            let problem = scope.subject.error(scope.span, "asks for nothing");
            problem.help("an authenticator alone refuses who has proven nothing; leave acl out, or say what is needed");
        }
        (scope.subject.error_count() == before).then(|| Policy {
            requirements: requirements.into(),
            explains: config.explain,
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_identified(self.clone());
        hooks.need_identity(Self::NAME);
    }
}

fn words(list: &Spanned<Vec<Spanned<Box<str>>>>, subject: &mut Subject<'_>) -> Words {
    if list.is_empty() {
        let problem = subject.error(list.span, "is empty");
        problem.help("leave it out where nothing of the kind is needed");
    }
    for (index, word) in list.iter().enumerate() {
        if word.is_empty() {
            subject.index(index).error(word.span, "is empty");
        }
    }
    list.iter().map(|word| word.value.clone()).collect()
}

/// They are in the form of RFC 6749 section 3.3, which is that of the parameter in a challenge.
fn check_scopes(scopes: &Spanned<Vec<Spanned<Box<str>>>>, subject: &mut Subject<'_>) {
    let is_scope_byte = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    for (index, scope) in scopes.iter().enumerate() {
        if !scope.bytes().all(is_scope_byte) {
            let mut subject = subject.index(index);
            let what = format!("is no scope (RFC 6749 section 3.3): {:?}", scope.value);
            subject.error(scope.span, what);
        }
    }
}

/// RFC 6750 section 3. `needed` are all scopes of the resource, where the caller is told.
fn insufficient_scope(needed: Option<&Words>) -> Option<HeaderValue> {
    let mut value = String::from("Bearer realm=\"northgate\", error=\"insufficient_scope\"");
    if let Some(needed) = needed {
        value.push_str(&format!(", scope=\"{}\"", needed.join(" ")));
    }
    HeaderValue::try_from(value).ok()
}

fn consumers(config: &Consumers, scope: &mut BuildScope<'_>) -> Requirement {
    let known = &scope.identity.consumers;
    let mut subject = scope.subject.key("consumers");
    let mut named = |key: &str, list: &Option<Spanned<Vec<Spanned<Box<str>>>>>| {
        let list = list.as_ref()?;
        let mut subject = subject.key(key);
        for (index, name) in list.iter().enumerate() {
            if !name.is_empty() && known.find(name).is_none() {
                let what = format!("there is no [consumers.{}]", name.value);
                subject.index(index).error(name.span, what);
            }
        }
        Some(words(list, &mut subject))
    };
    let allow = named("allow", &config.allow);
    let deny = named("deny", &config.deny).unwrap_or_default();
    Requirement {
        rule: Rule::Consumers { allow, deny },
        cause: "the consumer is not let in".into(),
        challenge: None,
    }
}

impl OnIdentified for Policy {
    fn on_identified(&self, view: View<'_>, gate: &Gate) -> Flow {
        let Some(identity) = &view.facts.identity else {
            return ControlFlow::Break(gate.refuse(view, None));
        };
        for requirement in &self.requirements {
            match requirement.rule.is_met(identity, view) {
                Ok(true) => {}
                Ok(false) => {
                    let cause = requirement.cause.to_string();
                    return ControlFlow::Break(self.deny(requirement, identity, cause));
                }
                Err(error) => {
                    let cause = format!("the condition in allow cannot be told: {error}");
                    return ControlFlow::Break(self.deny(requirement, identity, cause));
                }
            }
        }
        ControlFlow::Continue(())
    }
}

impl Policy {
    #[cold]
    fn deny(&self, requirement: &Requirement, identity: &Identity, cause: String) -> Reply {
        let mut reply = Reply::failure(Code::AccessDenied);
        if self.explains {
            reply = reply.detail(requirement.cause.to_string());
        }
        if BEARER.contains(&identity.authenticator)
            && let Some(challenge) = &requirement.challenge
        {
            reply.headers.push((WWW_AUTHENTICATE, challenge.clone()));
        }
        reply.cause(cause)
    }
}

impl Rule {
    fn is_met(
        &self,
        identity: &Identity,
        view: View<'_>,
    ) -> Result<bool, crate::facts::EvaluationError> {
        let any = |wanted: &Words, own: &Words| wanted.iter().any(|word| own.contains(word));
        Ok(match self {
            Rule::Scopes(wanted) => wanted.iter().all(|word| identity.scopes.contains(word)),
            Rule::AnyScope(wanted) => any(wanted, &identity.scopes),
            Rule::Roles(wanted) => any(wanted, &identity.roles),
            Rule::Groups(wanted) => any(wanted, &identity.groups),
            Rule::Consumers { allow, deny } => {
                let is_in = |names: &Words| {
                    let own = identity.consumer();
                    own.is_some_and(|own| names.iter().any(|name| **name == *own))
                };
                !is_in(deny) && allow.as_ref().is_none_or(is_in)
            }
            Rule::Condition(condition) => return condition.evaluate(view),
        })
    }
}
