//! `login`: what a provider of `identity.oidc` needs of the gateway's own paths. See the policy `oidc`.

use std::sync::Arc;

use bytes::Bytes;
use form_urlencoded::parse;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};

use crate::facts::View;
use crate::identity::oidc::{Core, Failure, FailureKind, Provider, Step, is_target};
use crate::response::{Code, Reply};

/// Logins and logouts of one provider.
#[derive(Debug)]
pub struct Login {
    provider: Arc<Provider>,
}

/// Logout tokens have about 1 KiB.
const LARGEST_BODY: usize = 64 << 10;
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Callback,
    Login,
    Logout,
    Userinfo,
    BackchannelLogout,
}

impl Page {
    fn methods(self) -> &'static [Method] {
        match self {
            Page::Logout => &[Method::GET, Method::POST],
            Page::BackchannelLogout => &[Method::POST],
            Page::Callback | Page::Login | Page::Userinfo => &[Method::GET],
        }
    }
}

impl Login {
    pub fn new(provider: Arc<Provider>) -> Login {
        Login { provider }
    }

    pub fn provider(&self) -> &Arc<Provider> {
        &self.provider
    }

    /// How much of the request's body it wants to see; none is read where it wants none.
    pub fn wants_body(&self, view: View<'_>) -> Option<usize> {
        let is_wanted = self.page(view) == Some(Page::BackchannelLogout);
        is_wanted.then_some(LARGEST_BODY)
    }

    /// Answers. It may ask the provider and the store, each within a deadline.
    pub async fn answer(&self, view: View<'_>, body: Bytes) -> Reply {
        let Some(page) = self.page(view) else {
            return Reply::failure(Code::RouteNotFound);
        };
        if !page.methods().contains(&view.request.method) {
            let allowed: Vec<&str> = page.methods().iter().map(Method::as_str).collect();
            return Reply::method_not_allowed(&allowed.join(", "));
        }
        let (core, headers) = (self.provider.core(), &view.request.headers);
        let query = view.request.uri.query().unwrap_or_default();
        match page {
            Page::Callback => step(core.finish(headers, query).await, Code::LoginFailed),
            Page::Login => self.begin(view, query).await,
            Page::Logout => step(core.leave(headers).await, Code::LogoutRefused),
            Page::Userinfo => self.claims(view).await,
            Page::BackchannelLogout => match ended(core, body).await {
                Ok(count) => {
                    log::info!(
                        "oidc {}: the provider has ended {count} sessions",
                        core.name()
                    );
                    content(StatusCode::OK, None, Bytes::new())
                }
                Err(failure) => failed(failure, Code::LogoutRefused),
            },
        }
    }

    fn page(&self, view: View<'_>) -> Option<Page> {
        let path = view.request.uri.path();
        let (folder, callback) = self.provider.core().callback_path();
        match path.strip_prefix(folder)? {
            name if name == callback => Some(Page::Callback),
            "login" => Some(Page::Login),
            "logout" => Some(Page::Logout),
            "userinfo" => Some(Page::Userinfo),
            "backchannel-logout" => Some(Page::BackchannelLogout),
            _ => None,
        }
    }

    async fn begin(&self, view: View<'_>, query: &str) -> Reply {
        let core = self.provider.core();
        let mut wanted = parse(query.as_bytes()).filter(|(name, _)| name == "return");
        let target = match (wanted.next(), wanted.next()) {
            (None, _) => "/".into(),
            (Some((_, target)), None) if is_target(&target) => target,
            _ => {
                let cause = "return is not one path of this host";
                return failed(Failure::new(FailureKind::Bad, cause), Code::LoginFailed);
            }
        };
        core.prepare().await;
        match core.begin_now(&view.request.headers, &target) {
            Some(next) => step(Ok(next), Code::LoginFailed),
            None => {
                let cause = "the provider's addresses are not known";
                failed(
                    Failure::new(FailureKind::Unavailable, cause),
                    Code::LoginFailed,
                )
            }
        }
    }

    async fn claims(&self, view: View<'_>) -> Reply {
        match self.provider.core().claims(&view.request.headers).await {
            Ok(Some(claims)) => {
                let body = Bytes::from(serde_json::Value::Object(claims).to_string());
                content(StatusCode::OK, Some("application/json"), body)
            }
            Ok(None) => {
                let mut reply = Reply::failure(Code::Unauthenticated);
                let challenge = self.provider.core().challenge();
                reply.headers.push((WWW_AUTHENTICATE, challenge));
                reply
            }
            Err(failure) => failed(failure, Code::LoginFailed),
        }
    }
}

/// Once a logout token has been taken it goes on to its end, whether or not the provider waits for that: it is good
/// once.
async fn ended(core: &Arc<Core>, body: Bytes) -> Result<usize, Failure> {
    let core = core.clone();
    let ending = tokio::spawn(async move { core.end(&body).await });
    let broken_off = |_| Failure::new(FailureKind::Unavailable, "the logout was broken off");
    ending.await.map_err(broken_off)?
}

fn content(status: StatusCode, media: Option<&'static str>, body: Bytes) -> Reply {
    let media = media.map(|media| (CONTENT_TYPE, HeaderValue::from_static(media)));
    let headers = [(CACHE_CONTROL, NO_STORE)].into_iter().chain(media);
    Reply::content(status, headers.collect(), body)
}

/// `bad` is what a failure is called whose reason came with the request.
fn step(step: Result<Step, Failure>, bad: Code) -> Reply {
    match step {
        // 303: what was a POST goes on as a GET.
        Ok(step) => {
            let mut reply = content(StatusCode::SEE_OTHER, None, Bytes::new());
            reply.headers.push((LOCATION, step.to));
            set(&mut reply, step.cookies);
            reply
        }
        Err(failure) => failed(failure, bad),
    }
}

/// What the provider has said is in the log at most: whoever made the browser come here may have written it.
fn failed(failure: Failure, bad: Code) -> Reply {
    let code = match failure.kind {
        FailureKind::Bad => bad,
        FailureKind::Refused => Code::LoginRefused,
        FailureKind::Unavailable => Code::AuthenticationUnavailable,
    };
    let mut reply = Reply::failure(code).cause(failure.cause);
    set(&mut reply, failure.cookies);
    reply
}

fn set(reply: &mut Reply, cookies: Vec<HeaderValue>) {
    let cookies = cookies.into_iter().map(|cookie| (SET_COOKIE, cookie));
    reply.headers.extend(cookies);
}
