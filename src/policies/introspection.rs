//! `introspection`: who calls is said by the server that gave the bearer token out (RFC 7662).
//!
//! ```toml
//! [identity.introspection.main]
//! url = "https://id.example.com/token/introspection"
//! client_id = "gateway"
//! client_secret = { credential = "introspection.secret" }
//! audiences = ["shop"]
//! remember = "30s"
//!
//! [routes.orders]
//! match = { path = "/orders/{*rest}" }
//! respond = { status = 200 }
//! policies.introspection = {}
//! ```
//!
//! For tokens that nobody else can read. The token of `Authorization: Bearer …` is sent to the server; one that is
//! active, has not expired, and is of the `issuer` and for one of the `audiences` that are expected, proves what
//! `claims` makes of the answer. A token that is bound to a key (`cnf`) is refused, since whether the caller has the
//! key is not verified.
//!
//! # What is remembered
//! Answers are remembered for `remember`, never beyond the token's `exp`, and those that refuse for
//! `remember_refused`; so a token that is revoked is let in for at most `remember`. What is remembered is a hash of the
//! token and who it is. Tokens that are not active have a memory of their own, so that whoever shows many of them
//! makes nobody else be asked about again. However often a token is shown while it is asked about, there is one
//! question; `concurrent` bounds how many there are for all tokens. Reloads keep what is remembered, unless they change the provider, or
//! `claims.consumer` is set.
//!
//! # When the server is down
//! No answer within `client.timeout`, an answer that is not 200, is no JSON or does not say `active`, a redirect: all
//! are a server that cannot be asked, and nobody asks it about that token again for a second. With
//! `on_server_down = "refuse"` the request gets 503 `authentication_unavailable`. With `"allow_cached"` the last answer
//! counts for `allow_cached_for` longer, as long as the token has not expired; a token of which nothing is known gets
//! 503 all the same. Once a question about a token has failed, one request with it asks again from time to time, and
//! the others go by the last answer without waiting.

use std::sync::Arc;

use super::authentication::bearer::{self, Bearer, bearer};
use super::authentication::{
    Authentication, Challenge, Credential, Flaw, Outcome, Refusal, Scheme, Step,
};
use crate::facts::View;
use crate::identity::introspection::{Provider, Verdict};
use crate::identity::{Directory, Providers};
use crate::response::Code;

pub type Policy = Authentication<Provider>;

impl Scheme for Provider {
    fn providers(directory: &Directory) -> &Providers<Provider> {
        &directory.introspection
    }

    fn authenticate<'a>(self: &'a Arc<Self>, view: View<'a>) -> Step<'a> {
        let token = match bearer(&view.request.headers) {
            Bearer::None => return Step::Now(Outcome::Absent),
            Bearer::Malformed(cause) => {
                return Step::Now(Outcome::Refused(Refusal::malformed(cause)));
            }
            Bearer::Token(token) => token,
        };
        match self.known(token) {
            Ok(verdict) => Step::Now(outcome(verdict)),
            Err(question) => Step::Later(Box::pin(async move {
                match self.ask(token, question).await {
                    Ok(verdict) => outcome(verdict),
                    Err(_) => Outcome::Refused(Refusal::unjudged(
                        Code::AuthenticationUnavailable,
                        "the introspection server cannot be asked",
                    )),
                }
            })),
        }
    }

    fn credentials(&self) -> Vec<Credential> {
        vec![Credential::Header(http::header::AUTHORIZATION)]
    }

    fn challenge(&self, _: View<'_>, flaw: Option<Flaw>) -> Challenge {
        bearer::challenge(flaw)
    }
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Active(identity) => Outcome::Proven(identity),
        Verdict::Refused(cause) => Outcome::Refused(Refusal::bad(cause)),
    }
}
