//! `forward_auth`: a service of the operator's decides.
//!
//! ```toml
//! [identity.forward_auth.main]
//! url = "http://127.0.0.1:9000/verify"
//! response_headers = ["x-user-id"]
//! identity = { subject = "x-user-id", roles = "x-user-roles" }
//! remember = { by = ["authorization", "cookie", "@method", "@authority", "@path"], for = "30s" }
//!
//! [routes.orders]
//! match = { path = "/orders/{*rest}" }
//! respond = { status = 200 }
//! policies.forward_auth = {}
//! ```
//!
//! The service is asked about every request of the route, as Traefik and Envoy do: with GET, or the request's own
//! method, at `url`, with `X-Forwarded-Method`, `-Uri`, `-Host`, `-Proto`, `-For` and `X-Request-Id` by the gateway and
//! those headers of the request that `request_headers` lists. What a client sends under the names of the gateway's
//! own never gets there.
//!
//! The credentials among `request_headers` go no further than the service, unless the policy says
//! `keep_credentials = true`: `Authorization`, `Proxy-Authorization`, `X-Api-Key`, `Api-Key`, `ApiKey`, `X-Auth-Token`,
//! `X-Access-Token`, and whatever other provider of the gateway reads credentials from. Cookies go on to the upstream,
//! as they are mostly the application's own; those of the gateway's logins never do (see `oidc`), but the service gets
//! them with the others where `cookie` is among `request_headers`.
//!
//! # Its answer
//! - 2xx lets the request go on. The headers in `response_headers` go to the upstream; what clients send under these
//!   names, in whatever spelling, is dropped on every route of the gateway, so none of them is one that credentials are
//!   read from, such as `Authorization`. `identity` says which of all headers tell who calls, and nothing else of the answer
//!   is looked at. Names in `identity` that are not in `response_headers` go no further.
//! - 401, 403 and 3xx are the client's: status, body, `Content-Type` and the headers in `answer_headers`. A 401 that says
//!   no `WWW-Authenticate` gets one that means nothing, since RFC 9110 wants one. Redirects are never followed. That is the end of the request also where `any_of` has others to ask, so it stands last there.
//! - Any other 4xx refuses the request with 403 `access_denied`.
//! - 5xx, no connection, and no answer within `client.timeout` are a service that is down: 503
//!   `authentication_unavailable`, or with `on_server_down = "allow"` the request goes on as an anonymous caller's,
//!   unless another authenticator of `any_of` refuses it or wants a credential.
//! - Anything else is 503 whatever `on_server_down` says, since a client could bring it about: an answer that names
//!   nobody where `identity` expects it, or is too large, or breaks off; and no place among the `concurrent` ones.
//!
//! # Bodies
//! With `body`, the whole body is read first, goes to the service, and then on to the upstream as it came. It may have
//! at most 64 KiB, which is what can be kept of it; a longer one gets 413 `payload_too_large`.
//!
//! # What is remembered
//! Nothing, unless `remember` says what requests have to have in common. Then an answer that allows is for all that
//! do, for as long as `for` says; the body belongs to it where the service gets it. Refusals are not remembered.

use std::sync::Arc;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::authentication::{
    self, Authentication, Challenge, Credential, Flaw, Outcome, Refusal, Scheme, Step,
    challenge_somehow, is_read,
};
use super::{BuildScope, Hooks, OnUpstreamRequest};
use crate::facts::{View, host};
use crate::identity::forward_auth::{Asked, Decision, Denied, Provider};
use crate::identity::hmac::Message;
use crate::identity::{Directory, Kind, Providers, TAKES_CREDENTIALS, is_credential};
use crate::response::{Code, Reply};

impl Scheme for Provider {
    fn providers(directory: &Directory) -> &Providers<Provider> {
        &directory.forward_auth
    }

    fn authenticate<'a>(self: &'a Arc<Self>, view: View<'a>) -> Step<'a> {
        let View { facts, request } = view;
        let asked = Asked {
            message: Message {
                method: &request.method,
                scheme: facts.scheme.as_str(),
                authority: host(request).unwrap_or_default(),
                path: request.uri.path(),
                query: request.uri.query(),
                headers: &request.headers,
            },
            client: facts.client,
            request_id: facts.request_id.as_str(),
            body: Provider::body(self).and(facts.body.clone()),
        };
        match self.known(&asked) {
            Some(identity) => Step::Now(Outcome::Proven(identity)),
            None => Step::Later(Box::pin(async move { outcome(self.ask(asked).await) })),
        }
    }

    fn credentials(&self) -> Vec<Credential> {
        let headers = self.request_headers().iter().filter(|it| is_credential(it));
        headers.cloned().map(Credential::Header).collect()
    }

    /// Every request has what it looks for.
    fn challenge(&self, _: View<'_>, _: Option<Flaw>) -> Challenge {
        Challenge::None
    }

    fn body(&self) -> Option<usize> {
        Provider::body(self)
    }
}

fn outcome(decision: Decision) -> Outcome {
    match decision {
        Decision::Allowed(identity) => Outcome::Proven(identity),
        Decision::Unasked => Outcome::Anybody,
        Decision::Denied(Denied {
            status,
            headers,
            body,
        }) => {
            let mut reply = Reply::content(status, headers, body);
            if status == StatusCode::UNAUTHORIZED {
                challenge_somehow(&mut reply.headers);
            }
            Outcome::Answer(Box::new(
                reply.cause("forward_auth: the service refuses it"),
            ))
        }
        Decision::Refused(status) => Outcome::Refused(Refusal::unjudged(
            Code::AccessDenied,
            format!("the service of forward_auth answered {status}"),
        )),
        Decision::Unavailable => Outcome::Refused(Refusal::unjudged(
            Code::AuthenticationUnavailable,
            "the service of forward_auth cannot be asked",
        )),
    }
}

/// Asks services, and hands on what they say to upstreams.
pub struct Policy {
    authentication: Arc<Authentication<Provider>>,
    /// Where the services are shown credentials that are meant for other providers.
    of_others: Box<[Credential]>,
}

impl super::Policy for Policy {
    const NAME: &'static str = Provider::NAME;
    type Config = authentication::Config;

    fn build(config: &authentication::Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let policy = Authentication::<Provider>::build(config, scope)?;
        let providers = || policy.providers().iter();
        let mut names = providers().flat_map(|it| it.response_headers());
        if let Some(name) = names.find(|name| is_read(name, scope.identity)) {
            let what = format!("hands on {name}, and so {TAKES_CREDENTIALS}");
            scope.subject.error(scope.span, what);
            return None;
        }
        let shown = providers().flat_map(|it| it.request_headers());
        let is_of_another =
            |name: &&http::HeaderName| **name != COOKIE && is_read(name, scope.identity);
        let of_others = shown.filter(is_of_another).cloned();
        Some(Policy {
            of_others: of_others.map(Credential::Header).collect(),
            authentication: Arc::new(policy),
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        self.authentication.hooks(hooks);
        let of_others = self.of_others.iter().cloned();
        self.authentication.claim(of_others, hooks);
        let providers = self.authentication.providers().iter();
        let names = providers.flat_map(|it| it.response_headers());
        let names: Vec<_> = names.cloned().collect();
        if !names.is_empty() {
            hooks.reserve(names);
            hooks.on_upstream_request(self.clone());
        }
    }
}

/// What clients have sent by these names is gone.
impl OnUpstreamRequest for Policy {
    fn on_upstream_request(&self, headers: &mut HeaderMap, view: View<'_>) {
        let Some(identity) = &view.facts.identity else {
            return;
        };
        let mut providers = self.authentication.providers().iter();
        let Some(provider) = providers.find(|it| it.has_proven(identity)) else {
            return;
        };
        for name in provider.response_headers() {
            let value = identity.claims.get(name.as_str());
            let value = value.and_then(|value| HeaderValue::from_str(value.as_str()?).ok());
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }
}
