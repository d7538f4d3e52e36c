//! What all policies have in common that prove who calls.
//!
//! An authenticator is a policy of a [`Scheme`]: it looks for credentials of its kind in the request and has a provider
//! of the identity room judge them. A route that has one refuses whoever shows nothing good, unless the policy says
//! `anonymous = "allow"`; a credential that is there and bad is refused even then.
//!
//! Which authenticator of several decides is said by `any_of`, see the policy of that name.

pub mod bearer;
mod forward;
mod gate;
mod reads;
mod refusal;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{BuildScope, Hooks, OnUpstreamRequest, Policy};
use crate::facts::View;
use crate::identity::{Directory, Identity, Kind, Providers};
use crate::response::Reply;
use crate::text::{Headers, Name, Spanned};

use forward::Forward;

pub(super) use reads::is_read;

pub use gate::{Gate, GateProblem};
pub use refusal::{Flaw, Refusal};

/// What every authenticator's policy says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "AuthenticationConfig")]
pub struct Config {
    /// Names below `identity.KIND`: the first that proves the caller counts. Default: the only one that there is.
    pub providers: Vec<Spanned<Name>>,
    /// What becomes of callers that show no credential. Default `"refuse"`.
    pub anonymous: Anonymous,
    /// Headers that tell upstreams who calls: `{ "x-user-id" = "subject", "x-tenant" = "claims.tenant" }`. The values
    /// name a field (`subject`, `consumer`, `credential`, `authenticator`, `provider`, `plan`, `scopes`, `roles`,
    /// `groups`) or a claim, also one inside another, `realm_access.roles`. Default: none.
    ///
    /// What is not visible ASCII, and `%` itself, is percent-encoded as UTF-8; elements of a list have spaces between
    /// them, and `%20` where they have spaces themselves. What is absent, empty, no text or longer than 8 KiB is not
    /// sent. No client can send these headers, in whatever spelling, on any route of the gateway; so none
    /// that credentials are read from can be among them.
    pub forward: Headers<Spanned<String>>,
    /// Whether upstreams get the credential, too. Default: `false`, and then it is taken out of the request wherever a
    /// provider of this policy may look for it, whoever called; `forward_auth` takes out what its service was shown, but
    /// for cookies. Authenticators of one route that look at the same place, such as
    /// `Authorization`, must say the same: what stands there may be the password or the token of any of them.
    ///
    /// This is about the routes of the policy. Elsewhere `Authorization`, keys and tokens go on as they are, since an
    /// upstream may have a scheme of its own in the same place. Only the cookies of the gateway's own logins are taken
    /// out on every route: a session's goes on where `oidc` says `true` here, one of a login that has begun nowhere.
    pub keep_credentials: bool,
}

/// What becomes of callers that show no credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Anonymous {
    /// They get 401.
    #[default]
    Refuse,
    /// They go on, and nobody is said to call. A bad credential is refused all the same.
    Allow,
}

/// One kind of credential in requests.
pub trait Scheme: Kind {
    /// The providers of the kind.
    fn providers(directory: &Directory) -> &Providers<Self>;

    /// Looks for a credential and judges it.
    fn authenticate<'a>(self: &'a Arc<Self>, view: View<'a>) -> Step<'a>;

    /// Where it looks for credentials: that is taken out of a request before anything but authenticators can see it,
    /// whoever proved who calls, unless the policy keeps it on purpose.
    fn credentials(&self) -> Vec<Credential>;

    /// What a caller is told that has shown no good credential; `flaw` is what was wrong with the one that it has
    /// shown to this kind, if any.
    fn challenge(&self, view: View<'_>, flaw: Option<Flaw>) -> Challenge;

    /// Up to how many bytes of a body it has to see, which is in `view.facts.body` then. The request waits for it.
    fn body(&self) -> Option<usize> {
        None
    }
}

/// A place of a request where a credential may stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// The whole header.
    Header(HeaderName),
    /// The cookie of this name, and no other.
    Cookie(Box<str>),
    /// The parameters of this name in the query, and no others.
    Query(Box<str>),
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Header(name) => write!(f, "header {name}"),
            Credential::Cookie(name) => write!(f, "cookie {name}"),
            Credential::Query(name) => write!(f, "query parameter {name}"),
        }
    }
}

/// How far an authenticator has got.
pub enum Step<'a> {
    Now(Outcome),
    /// It has to ask somebody. The future has a deadline of its own.
    Later(Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>),
}

impl Step<'_> {
    async fn outcome(self) -> Outcome {
        match self {
            Step::Now(outcome) => outcome,
            Step::Later(outcome) => outcome.await,
        }
    }
}

/// What an authenticator has found.
#[derive(Debug)]
pub enum Outcome {
    /// There is no credential of this kind, and it takes one.
    Absent,
    Proven(Arc<Identity>),
    Refused(Refusal),
    /// There is no credential, and none is needed: whoever calls may come in, unless another of several
    /// authenticators refuses, or wants a credential.
    Anybody,
    /// The request is the authenticator's own to answer.
    Answer(Box<Reply>),
}

/// What a caller without a good credential is told.
#[derive(Debug)]
pub enum Challenge {
    /// A value of `WWW-Authenticate` (RFC 9110 section 11.6.1).
    Header(HeaderValue),
    /// The same, and another header that says what is wanted.
    Also(HeaderValue, (HeaderName, HeaderValue)),
    /// An answer of its own in the place of a 401, such as a way to log in.
    Answer(Box<Reply>),
    /// Only somebody else knows what is wanted, as with a service that decides.
    None,
}

/// RFC 9110 section 15.5.2: a 401 has a challenge. This is for one that nobody has another for; the scheme is nobody's.
const UNSPECIFIED: HeaderValue = HeaderValue::from_static("Unspecified realm=\"northgate\"");

/// Adds a challenge to the headers of a 401 that have none.
pub(super) fn challenge_somehow(headers: &mut Vec<(HeaderName, HeaderValue)>) {
    if !headers.iter().any(|(name, _)| *name == WWW_AUTHENTICATE) {
        headers.push((WWW_AUTHENTICATE, UNSPECIFIED));
    }
}

/// The policy of a kind of authenticators: `jwt`, `mtls`.
pub struct Authentication<K> {
    providers: Box<[Arc<K>]>,
    anonymous: Anonymous,
    forward: Forward,
    keeps_credentials: bool,
}

impl<K> Authentication<K> {
    /// In the order in which they are asked.
    pub(super) fn providers(&self) -> &[Arc<K>] {
        &self.providers
    }
}

impl<K: Kind> Authentication<K> {
    /// Has such credentials taken out of requests, or kept on purpose.
    pub(super) fn claim(&self, credentials: impl Iterator<Item = Credential>, hooks: &mut Hooks) {
        match self.keeps_credentials {
            true => hooks.keep(K::NAME, credentials),
            false => hooks.hide(K::NAME, credentials),
        }
    }
}

impl<K: Scheme> Policy for Authentication<K> {
    const NAME: &'static str = K::NAME;
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Self> {
        let known = K::providers(scope.identity);
        let providers = known.resolve(&config.providers, scope.span, &mut scope.subject);
        let forward = Forward::build(
            &config.forward,
            scope.identity,
            &mut scope.subject.key("forward"),
        )?;
        (!providers.is_empty()).then(|| Authentication {
            providers: providers.into(),
            anonymous: config.anonymous,
            forward,
            keeps_credentials: config.keep_credentials,
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_identify(self.clone());
        let credentials = self.providers.iter().flat_map(|it| it.credentials());
        self.claim(credentials, hooks);
        hooks.reserve(self.forward.names());
        if !self.forward.is_empty() {
            hooks.on_upstream_request(self.clone());
        }
    }
}

impl<K: Scheme> OnUpstreamRequest for Authentication<K> {
    fn on_upstream_request(&self, headers: &mut HeaderMap, view: View<'_>) {
        if let Some(identity) = &view.facts.identity
            && identity.authenticator == K::NAME
        {
            self.forward.write(identity, headers);
        }
    }
}

/// An [`Authentication`] of any kind.
pub trait Authenticator: Send + Sync {
    fn name(&self) -> &'static str;

    fn anonymous(&self) -> Anonymous;

    /// Asks its providers, in order.
    fn authenticate<'a>(&'a self, view: View<'a>) -> Step<'a>;

    /// The first provider's.
    fn challenge(&self, view: View<'_>, flaw: Option<Flaw>) -> Challenge;

    /// Up to how many bytes of a body its providers have to see.
    fn body(&self) -> Option<usize>;
}

impl<K: Scheme> Authenticator for Authentication<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn anonymous(&self) -> Anonymous {
        self.anonymous
    }

    fn authenticate<'a>(&'a self, view: View<'a>) -> Step<'a> {
        match &*self.providers {
            // Nearly always, and then there is nothing to keep.
            [provider] => provider.authenticate(view),
            providers => first(
                providers,
                move |provider| provider.authenticate(view),
                |_, outcome| outcome,
            ),
        }
    }

    fn challenge(&self, view: View<'_>, flaw: Option<Flaw>) -> Challenge {
        let provider = self.providers.first();
        provider.map_or(Challenge::None, |provider| provider.challenge(view, flaw))
    }

    fn body(&self) -> Option<usize> {
        self.providers.iter().filter_map(|it| it.body()).max()
    }
}

/// The first outcome that decides; where there is none, the weightiest. `settle` says what an outcome is with this one.
fn first<'a, T: Sync>(
    all: &'a [T],
    ask: impl Fn(&'a T) -> Step<'a> + Send + 'a,
    settle: fn(&T, Outcome) -> Outcome,
) -> Step<'a> {
    let mut so_far = None;
    for (index, one) in all.iter().enumerate() {
        match ask(one) {
            Step::Now(outcome) => so_far = Some(weigh(so_far, settle(one, outcome))),
            Step::Later(outcome) => {
                return Step::Later(Box::pin(async move {
                    let mut so_far = weigh(so_far, settle(one, outcome.await));
                    for one in all.iter().skip(index + 1) {
                        if is_decided(&so_far) {
                            break;
                        }
                        let outcome = ask(one).outcome().await;
                        so_far = weigh(Some(so_far), settle(one, outcome));
                    }
                    so_far
                }));
            }
        }
        if so_far.as_ref().is_some_and(is_decided) {
            break;
        }
    }
    // Where nobody is asked, nobody comes in.
    Step::Now(so_far.unwrap_or(Outcome::Absent))
}

fn is_decided(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Proven(_) | Outcome::Answer(_))
}

/// What two outcomes are together, in whatever order. Anybody comes in only where neither refuses nor wants a
/// credential. Of two refusals, the weightier counts, and otherwise the first; it is known of both whose they are.
fn weigh(before: Option<Outcome>, now: Outcome) -> Outcome {
    match (before, now) {
        (Some(Outcome::Refused(before)), Outcome::Refused(now)) => {
            Outcome::Refused(match now.weight() > before.weight() {
                true => now.beside(before),
                false => before.beside(now),
            })
        }
        (Some(before @ Outcome::Refused(_)), Outcome::Absent | Outcome::Anybody) => before,
        (Some(Outcome::Absent), Outcome::Anybody) => Outcome::Absent,
        (_, now) => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Code;

    fn refused(code: Code) -> Outcome {
        Outcome::Refused(Refusal::unjudged(code, ""))
    }

    fn proven() -> Outcome {
        Outcome::Proven(Arc::default())
    }

    /// What one says that is asked, and whether only later.
    type Asked = (fn() -> Outcome, bool);

    async fn check(asked: &[Asked], expected: &str) {
        let step = first(
            asked,
            |(outcome, is_later)| match is_later {
                true => Step::Later(Box::pin(async { outcome() })),
                false => Step::Now(outcome()),
            },
            |_, outcome| outcome,
        );
        let said = match step.outcome().await {
            Outcome::Absent => "absent",
            Outcome::Proven(_) => "proven",
            Outcome::Refused(refusal) => refusal.code.slug(),
            Outcome::Anybody => "anybody",
            Outcome::Answer(_) => "answer",
        };
        assert_eq!(said, expected);
    }

    #[tokio::test]
    async fn the_first_proof_decides_and_then_the_weightiest_refusal() {
        let absent: fn() -> Outcome = || Outcome::Absent;
        let bad: fn() -> Outcome = || refused(Code::CredentialRefused);
        let anybody: fn() -> Outcome = || Outcome::Anybody;
        let down: fn() -> Outcome = || refused(Code::AuthenticationUnavailable);
        let later: fn() -> Outcome = || refused(Code::TooManyAttempts);
        let good: fn() -> Outcome = proven;
        let never: fn() -> Outcome = || unreachable!("it was decided before");
        for late in [0b000_u8, 0b001, 0b010, 0b100, 0b111, 0b110] {
            let asked = |all: [fn() -> Outcome; 3]| {
                let is_late = |index: usize| late >> index & 1 == 1;
                [0, 1, 2].map(|index| (all[index], is_late(index)))
            };
            check(&asked([absent, absent, absent]), "absent").await;
            check(&asked([good, never, never]), "proven").await;
            check(&asked([absent, good, never]), "proven").await;
            check(&asked([bad, good, never]), "proven").await;
            check(&asked([bad, absent, good]), "proven").await;
            check(&asked([bad, absent, absent]), "credential_refused").await;
            check(&asked([bad, down, absent]), "authentication_unavailable").await;
            check(&asked([down, bad, bad]), "authentication_unavailable").await;
            check(&asked([later, good, never]), "proven").await;
            check(&asked([later, absent, bad]), "too_many_attempts").await;
            check(&asked([bad, later, absent]), "too_many_attempts").await;
            check(&asked([later, down, bad]), "authentication_unavailable").await;
            // Anybody comes in only where all agree, in whatever order they are asked.
            check(&asked([anybody, anybody, anybody]), "anybody").await;
            check(&asked([anybody, good, never]), "proven").await;
            check(&asked([absent, anybody, good]), "proven").await;
            for (other, expected) in [
                (absent, "absent"),
                (bad, "credential_refused"),
                (down, "authentication_unavailable"),
            ] {
                check(&asked([other, anybody, anybody]), expected).await;
                check(&asked([anybody, other, anybody]), expected).await;
                check(&asked([anybody, anybody, other]), expected).await;
            }
        }
        check(&[], "absent").await;
    }
}
