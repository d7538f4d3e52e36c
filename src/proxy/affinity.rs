//! Which endpoint a request says that it is for, and what its client is told of the one that it got.

use http::HeaderMap;
use http::header::SET_COOKIE;
use pingora::http::RequestHeader;

use super::exchange::Exchange;
use crate::actions::Action;
use crate::facts::{Scheme, cookies};
use crate::upstream::Attempt;

impl Exchange {
    /// Tells the attempt what its choice of an endpoint depends on. Of a part of an aggregation that is what the client has sent,
    /// whose session it is, and else what the part says itself.
    pub(super) fn direct(&self, request: &RequestHeader, attempt: &mut Attempt) {
        let of_client = self.of_client.as_ref().map(|it| &it.request);
        let views = || {
            of_client
                .into_iter()
                .chain([request])
                .map(|it| self.view(it))
        };
        if attempt.upstream().hash_by().is_some()
            && let Action::Proxy(proxy) = &*self.route.action
        {
            let key = views().find_map(|view| proxy.affinities.key(attempt.upstream(), view));
            attempt.go_by(key);
        }
        if let Some(sticky) = attempt.upstream().sticky().cloned() {
            for view in views() {
                cookies(view, sticky.name()).for_each(|cookie| attempt.show(cookie));
            }
        }
    }

    /// Marks a session that is to stay with the endpoint that has answered.
    pub(super) fn mark_session(&self, headers: &mut HeaderMap) {
        let over_tls = self.facts.scheme == Scheme::Https;
        let attempt = self.attempt.as_ref();
        if let Some(cookie) = attempt.and_then(|attempt| attempt.session_cookie(over_tls)) {
            headers.append(SET_COOKIE, cookie.clone());
        }
    }
}
