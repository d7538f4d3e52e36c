//! `jwt`: who calls is proven by a JSON Web Token.
//!
//! ```toml
//! [identity.jwt.main]
//! issuer = "https://id.example.com/"
//! audiences = ["shop"]
//! jwks = { url = "https://id.example.com/jwks.json" }
//! claims = { roles = "realm_access.roles" }
//!
//! [upstreams.orders]
//! endpoints = ["127.0.0.1:8081"]
//!
//! [routes.orders]
//! match = { path = "/orders/{*rest}" }
//! upstream = "orders"
//! policies.jwt = { providers = ["main"] }
//! ```
//!
//! A token comes as `Authorization: Bearer …`, unless the provider says `header`, `cookie` or `query`. One that comes
//! twice, or in two places, is refused, for nobody could say which of them counts.
//!
//! # What a token has to be
//! Signed by the algorithm of a key of the provider, among `algorithms`; from `issuer`, for one of `audiences`; with an
//! `exp` that is not over, and an `nbf` and `iat`, where they are there, that are not ahead, give or take `leeway`. RSA
//! keys have 2048 bits at least, and secrets the length of the hash. Published keys verify no token that is signed by a
//! secret, whatever it says. Keys that a token brings along (`jwk`, `jku`, `x5u`, `x5c`), extensions (`crit`) and JSON
//! in which a name stands twice are refused. What exactly was wrong stands in the log's `cause` and nowhere else; the
//! client gets 401 `credential_refused` with a challenge by RFC 6750.
//!
//! # Keys
//! They come from `jwks`: a `url`, a `file`, `inline` text or a `secret`; without it from the issuer, by OpenID Connect
//! Discovery:
//!
//! ```toml
//! [identity.jwt.partner]
//! issuer = "https://partner.example.com"
//! audiences = ["shop"]
//! algorithms = ["ES256", "EdDSA"]
//! types = ["at+jwt"]
//! max_lifetime = "1h"
//! claims = { consumer = "azp" }
//!
//! [consumers.acme]
//! plan = "gold"
//!
//! [routes.partners]
//! match = { path = "/partners/{*rest}" }
//! respond = { status = 200 }
//! policies.jwt = { providers = ["partner"] }
//! ```
//!
//! A request waits for keys only where none that the provider has published so far goes by the token's `kid`, or none of
//! those that do has signed it: providers that use one name again and again, or none, rotate their keys like that. Where
//! the provider is down then, the answer is 503 `authentication_unavailable`. However many tokens are forged, the
//! provider is asked once in a `cooldown`.
//!
//! # Several issuers
//! A policy may name several providers; a token is judged by the one whose `issuer` it names.
//!
//! # What is remembered
//! A token that was verified is known again, byte for byte, until it expires, its provider's keys change or the
//! configuration does; it costs no check of a signature in that time. A token that its issuer revokes is good until it
//! expires, which is in the nature of these tokens; `introspection` asks the issuer instead.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::AUTHORIZATION;

use super::authentication::{
    Authentication, Challenge, Credential, Flaw, Outcome, Refusal, Scheme, Step, bearer,
};
use crate::facts::View;
use crate::identity::api_key::Shown;
use crate::identity::jwt::{Judged, Provider, Refused, Unsettled, Waiting};
use crate::identity::{Directory, Providers};
use crate::response::Code;

pub type Policy = Authentication<Provider>;

impl Scheme for Provider {
    fn providers(directory: &Directory) -> &Providers<Provider> {
        &directory.jwt
    }

    fn authenticate<'a>(self: &'a Arc<Self>, view: View<'a>) -> Step<'a> {
        let headers = &view.request.headers;
        let is_authorization = self.places().header.as_ref() == Some(&AUTHORIZATION);
        // RFC 9110 section 5.3: the header has one value, and others may read another of two than is read here.
        if is_authorization && headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
            return Step::Now(malformed("there are several authorization headers"));
        }
        match self.look(headers, view.request.uri.query()) {
            Shown::Nothing => Step::Now(Outcome::Absent),
            Shown::Several => Step::Now(malformed("there is more than one token")),
            Shown::One(Cow::Borrowed(token)) => match self.judge(token) {
                Judged::Proven(identity) => Step::Now(Outcome::Proven(identity)),
                Judged::Refused(why) => Step::Now(refused(why)),
                Judged::Waits(waiting) => Step::Later(Box::pin(settled(self, waiting))),
            },
            // No character of a token has to be escaped, and one token has one spelling.
            Shown::One(Cow::Owned(_)) => Step::Now(refused(Refused::Base64)),
        }
    }

    fn credentials(&self) -> Vec<Credential> {
        let places = self.places();
        let header = places.header.clone().map(Credential::Header);
        let query = places.query.clone().map(Credential::Query);
        let cookie = places.cookie.clone().map(Credential::Cookie);
        header.into_iter().chain(query).chain(cookie).collect()
    }

    fn challenge(&self, _: View<'_>, flaw: Option<Flaw>) -> Challenge {
        bearer::challenge(flaw)
    }
}

async fn settled(provider: &Provider, waiting: Waiting<'_>) -> Outcome {
    match provider.settle(waiting).await {
        Ok(identity) => Outcome::Proven(identity),
        Err(Unsettled::Refused(why)) => refused(why),
        Err(Unsettled::Unavailable) => Outcome::Refused(Refusal::unjudged(
            Code::AuthenticationUnavailable,
            "the keys of the issuer are not to be had",
        )),
    }
}

fn refused(why: Refused) -> Outcome {
    Outcome::Refused(Refusal::bad(why.as_str()))
}

fn malformed(cause: &'static str) -> Outcome {
    Outcome::Refused(Refusal::malformed(cause))
}
