//! `oidc`: who calls is proven by a login of the browser at a provider of OpenID Connect.
//!
//! ```toml
//! [identity.oidc.main]
//! issuer = "https://id.example.com"
//! client_id = "shop"
//! client_secret = { credential = "oidc-client-secret" }
//! callback_url = "https://shop.example.com/oauth/callback"
//! scopes = ["email", "offline_access"]
//! session = { keys = [{ credential = "session-key" }], idle = "1h", lifetime = "12h" }
//!
//! [routes.login]
//! match = { hosts = ["shop.example.com"], path = "/oauth/{*rest}" }
//! login = "main"
//!
//! [routes.account]
//! match = { hosts = ["shop.example.com"], path = "/account/{*rest}" }
//! upstream = "account"
//! policies.oidc = { providers = ["main"] }
//! ```
//!
//! # Who is sent to log in, and who gets a 401
//! Only a browser that opens a page can be sent to the provider: `GET` or `HEAD` with `Sec-Fetch-Mode: navigate` or, where
//! a client does not say that, an `Accept` that names `text/html`, and without `X-Requested-With`. Everything else is a
//! call of a script or a program and gets 401, as does a page of another host than that of `callback_url`, since a login
//! that begins there could not end. A script sends its page to `/oauth/login?return=/where/to` instead.
//!
//! # What the route with `login` serves
//! In the folder of `callback_url`, here `/oauth/`:
//!
//! | path | |
//! |---|---|
//! | `callback` | the end of a login; it is given to the provider as a redirect URI |
//! | `login` | begins a login; `return` is the path to come back to |
//! | `logout` | ends the session here and at the provider; only for pages of the same site |
//! | `userinfo` | the claims of the session as JSON, or 401 |
//! | `backchannel-logout` | where the provider ends sessions; it is given to the provider as back-channel logout URI |
//!
//! # Sessions
//! The cookie holds a sealed random number and is called `__Host-northgate-NAME`: it is `Secure`, `HttpOnly` and
//! `SameSite=Lax`. Everything else is in the memory of the process or, with `session.store`, in a store for several
//! gateways. What is in the store opens only with the number of the cookie and the keys of the configuration. A login has
//! a session of its own, and ends the one that the browser had before.
//!
//! Tokens are renewed ahead of their end, by one request for all tabs and gateways. Where the provider refuses that, the
//! session is over, and pages are sent to log in again. Where it cannot be asked, the session goes on to the end of the
//! access token and is then answered 503.
//!
//! A cookie of which there is no session any more is as good as none; one that was not sealed here is a bad credential.
//!
//! Browsers send the cookies to every path of the host, so they are taken out of requests on all routes of the gateway,
//! with or without this policy: an upstream that had a session's could come in with it. A route whose `oidc` says
//! `keep_credentials = true` hands the session's on; those of logins that have begun go nowhere.

use std::sync::Arc;

use http::header::{ACCEPT, CACHE_CONTROL, HeaderName, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::authentication::{
    Authentication, Challenge, Credential, Flaw, Outcome, Refusal, Scheme, Step,
};
use crate::facts::{View, host};
use crate::identity::oidc::{Looked, Provider, Settled, Step as Next};
use crate::identity::{Directory, Providers};
use crate::response::{Code, Reply};

pub type Policy = Authentication<Provider>;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const UPGRADE: HeaderName = http::header::UPGRADE;

impl Scheme for Provider {
    fn providers(directory: &Directory) -> &Providers<Provider> {
        &directory.oidc
    }

    fn authenticate<'a>(self: &'a Arc<Self>, view: View<'a>) -> Step<'a> {
        let core = self.core();
        match core.look(&view.request.headers) {
            Looked::Good(session) => Step::Now(Outcome::Proven(session.identity.clone())),
            Looked::Unsettled(id) => Step::Later(Box::pin(async move {
                match core.settle(id).await {
                    Settled::Good(session) => Outcome::Proven(session.identity.clone()),
                    Settled::Over(_) => self.stranger(view).await,
                    Settled::Unavailable(cause) => Outcome::Refused(Refusal::unjudged(
                        Code::AuthenticationUnavailable,
                        cause.to_string(),
                    )),
                }
            })),
            Looked::Forged(cause) => Step::Now(Outcome::Refused(Refusal::bad(cause))),
            Looked::Nothing | Looked::Over(_) if core.is_known() => Step::Now(Outcome::Absent),
            Looked::Nothing | Looked::Over(_) => Step::Later(Box::pin(self.stranger(view))),
        }
    }

    fn credentials(&self) -> Vec<Credential> {
        vec![Credential::Cookie(self.core().cookie_name().into())]
    }

    fn challenge(&self, view: View<'_>, _: Option<Flaw>) -> Challenge {
        let core = self.core();
        if !self.can_log_in(view) {
            return Challenge::Header(core.challenge());
        }
        let target = view
            .request
            .uri
            .path_and_query()
            .map_or("/", |it| it.as_str());
        Challenge::Answer(Box::new(
            match core.begin_now(&view.request.headers, target) {
                Some(next) => sent_on(next),
                None => Reply::failure(Code::AuthenticationUnavailable)
                    .cause("the provider's addresses are not known yet"),
            },
        ))
    }
}

impl Provider {
    /// A caller without a session. One that is to be sent to the provider has to wait until that has said where it is.
    async fn stranger(&self, view: View<'_>) -> Outcome {
        if self.can_log_in(view) {
            self.core().prepare().await;
        }
        Outcome::Absent
    }

    fn can_log_in(&self, view: View<'_>) -> bool {
        let request = view.request;
        is_navigation(&request.method, &request.headers)
            && host(request).is_some_and(|host| self.core().is_own_host(host))
    }
}

/// A redirect that sets cookies.
fn sent_on(next: Next) -> Reply {
    let mut headers = vec![
        (LOCATION, next.to),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    headers.extend(next.cookies.into_iter().map(|cookie| (SET_COOKIE, cookie)));
    Reply::content(StatusCode::FOUND, headers, bytes::Bytes::new())
}

/// Whether a browser opens a page, so that it can show the provider's instead.
fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    if ![Method::GET, Method::HEAD].contains(method)
        || headers.contains_key(X_REQUESTED_WITH)
        || headers.contains_key(UPGRADE)
    {
        return false;
    }
    match headers.get(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => headers.get_all(ACCEPT).iter().any(names_html),
    }
}

fn names_html(accept: &HeaderValue) -> bool {
    let mut ranges = accept.as_bytes().split(|&byte| byte == b',');
    ranges.any(|range| {
        let media = range.split(|&byte| byte == b';').next().unwrap_or_default();
        media.trim_ascii().eq_ignore_ascii_case(b"text/html")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, lines: &[(&'static str, &str)], expected: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a value"));
        }
        assert_eq!(
            is_navigation(&method, &headers),
            expected,
            "{method} {lines:?}"
        );
    }

    #[test]
    fn who_opens_a_page() {
        let page = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        let navigate = ("sec-fetch-mode", "navigate");
        check(Method::GET, &[page], true);
        check(Method::HEAD, &[page], true);
        check(Method::GET, &[navigate], true);
        check(
            Method::GET,
            &[navigate, ("accept", "application/json")],
            true,
        );
        check(
            Method::GET,
            &[("accept", "application/json, TEXT/HTML ;q=0.1")],
            true,
        );
        check(Method::GET, &[("accept", "application/json"), page], true);
        for mode in [
            "cors",
            "no-cors",
            "same-origin",
            "websocket",
            "",
            "navigate, cors",
        ] {
            check(Method::GET, &[("sec-fetch-mode", mode), page], false);
        }
        check(Method::POST, &[navigate, page], false);
        check(Method::GET, &[], false);
        check(Method::GET, &[("accept", "*/*")], false);
        check(Method::GET, &[("accept", "application/json")], false);
        check(Method::GET, &[("accept", "text/htmlx")], false);
        check(
            Method::GET,
            &[page, ("x-requested-with", "XMLHttpRequest")],
            false,
        );
        check(Method::GET, &[navigate, ("upgrade", "websocket")], false);
    }
}
