//! The end of sessions: by the person, who comes with a browser, or by the provider, which sends a token.

use std::sync::Arc;

use form_urlencoded::{Serializer, parse};
use http::header::{ORIGIN, REFERER};
use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value};

use super::callback::Failure;
use super::metadata::Metadata;
use super::provider::{Core, Settled, Step, unix_ms, with_query};
use super::session::{BrowserSession, Record};
use crate::identity::Url;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// A logout token counts for so long after it was made, whatever it says itself, in seconds.
const LOGOUT_TOKEN_LIFETIME: u64 = 300;

impl Core {
    /// Ends the session of this browser, here and at the provider (OpenID Connect RP-Initiated Logout section 2).
    pub async fn leave(self: &Arc<Self>, headers: &HeaderMap) -> Result<Step, Failure> {
        if !is_own_wish(headers, &self.callback) {
            return Err(Failure::bad("the wish to log out comes from another site"));
        }
        let mut record = None;
        if let Ok(Some(id)) = self.session_id(headers) {
            record = match self.sessions.memory.find(&id) {
                Some(session) => Some(session.record.clone()),
                None => self.stored(&id).await?,
            };
            if let Some(shared) = &self.shared {
                // Where the store cannot be told, the session goes on elsewhere, and nobody must believe it ended.
                shared.remove(&id).await.map_err(Failure::unavailable)?;
            }
            // Last, so that nobody remembers it again.
            self.sessions.memory.remove(&id);
        }
        let metadata = self.discovery.known();
        let provider =
            metadata.and_then(|metadata| self.provider_logout(&metadata, record.as_ref()));
        let to = match provider {
            Some(url) => http::HeaderValue::try_from(url).ok(),
            None => self.after_logout(),
        };
        Ok(Step {
            to: to.ok_or_else(|| Failure::unavailable("there is no place to go to"))?,
            cookies: self
                .cookies
                .clear(self.cookies.session())
                .into_iter()
                .collect(),
        })
    }

    async fn stored(&self, id: &super::session::SessionId) -> Result<Option<Record>, Failure> {
        match &self.shared {
            Some(shared) => shared.load(id).await.map_err(Failure::unavailable),
            None => Ok(None),
        }
    }

    /// The provider's own logout, where it has one and there was a session.
    fn provider_logout(&self, metadata: &Metadata, record: Option<&Record>) -> Option<String> {
        let endpoint = metadata.end_session_endpoint.as_ref()?;
        let mut query = Serializer::new(String::new());
        query
            .append_pair("id_token_hint", &record?.newest().id)
            .append_pair("client_id", &self.credentials.id);
        let after = self.after_logout()?;
        query.append_pair("post_logout_redirect_uri", after.to_str().ok()?);
        Some(with_query(endpoint, &query.finish()))
    }

    fn after_logout(&self) -> Option<http::HeaderValue> {
        match self.after_logout.starts_with('/') {
            true => self.own(&self.after_logout),
            false => http::HeaderValue::try_from(&*self.after_logout).ok(),
        }
    }

    /// Ends what a logout token names (OpenID Connect Back-Channel Logout section 2.6), and gives how many sessions of
    /// this node there were.
    pub async fn end(&self, body: &[u8]) -> Result<usize, Failure> {
        let mut tokens = parse(body).filter(|(name, _)| name == "logout_token");
        let (Some((_, token)), None) = (tokens.next(), tokens.next()) else {
            return Err(Failure::bad("there is not one logout_token"));
        };
        let claims = self.verifier.logout_token(&token).await?;
        let now = unix_ms() / 1000;
        let end = End::of(&claims, now).map_err(Failure::bad)?;
        let used_before = || Failure::bad("the logout token has been used before");
        let memory = &self.sessions.memory;
        let concerns = |session: &BrowserSession| end.concerns(&session.record);
        let Some(shared) = &self.shared else {
            let used = &self.sessions.tokens;
            return match used.is_new(end.jti, now, now + LOGOUT_TOKEN_LIFETIME) {
                true => Ok(memory.remove_where(concerns)),
                false => Err(used_before()),
            };
        };
        // A session of the provider is named alone: its set has nobody else's.
        let subject = end.subject.filter(|_| end.sid.is_none());
        let token = (end.jti, LOGOUT_TOKEN_LIFETIME);
        let ended = shared.end((subject, end.sid), token).await;
        // Last, so that nobody remembers them again; and also where the store has not answered, which may have done it.
        if !matches!(ended, Ok(None)) {
            memory.remove_where(concerns);
        }
        ended.map_err(Failure::unavailable)?.ok_or_else(used_before)
    }

    /// The claims of this browser's session, for whoever shows them to their owner.
    pub async fn claims(
        self: &Arc<Self>,
        headers: &HeaderMap,
    ) -> Result<Option<Map<String, Value>>, Failure> {
        use super::provider::Looked;
        let settled = match self.look(headers) {
            Looked::Good(session) => Settled::Good(session),
            Looked::Unsettled(id) => self.settle(id).await,
            Looked::Nothing | Looked::Over(_) | Looked::Forged(_) => return Ok(None),
        };
        match settled {
            Settled::Good(session) => Ok(Some(session.record.all_claims())),
            Settled::Over(_) => Ok(None),
            Settled::Unavailable(why) => Err(Failure::unavailable(why)),
        }
    }
}

/// What a logout token asks for.
#[derive(Debug, PartialEq)]
struct End<'c> {
    jti: &'c str,
    subject: Option<&'c str>,
    sid: Option<&'c str>,
}

impl<'c> End<'c> {
    /// From the claims of a token whose signature, issuer, audience and times are good.
    fn of(claims: &'c Map<String, Value>, now: u64) -> Result<End<'c>, &'static str> {
        // With one, it could be an ID token that somebody shows for a logout token.
        if claims.contains_key("nonce") {
            return Err("the logout token has a nonce");
        }
        let event = claims.get("events").and_then(|events| events.get(EVENT));
        if !event.is_some_and(Value::is_object) {
            return Err("the logout token is of another event");
        }
        let text = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.as_str())),
            Some(_) => Err("a claim of the logout token has a wrong type"),
        };
        let end = End {
            jti: text("jti")?.ok_or("the logout token has no jti")?,
            subject: text("sub")?,
            sid: text("sid")?,
        };
        if end.subject.is_none() && end.sid.is_none() {
            return Err("the logout token names nobody");
        }
        // It is remembered no longer than this.
        let issued = claims.get("iat").and_then(Value::as_u64);
        match issued {
            Some(issued) if now <= issued.saturating_add(LOGOUT_TOKEN_LIFETIME) => Ok(end),
            _ => Err("the logout token is old, or does not say when it was made"),
        }
    }

    fn concerns(&self, record: &Record) -> bool {
        let is_of = |wanted: Option<&str>, own: Option<&str>| wanted.is_none() || wanted == own;
        is_of(self.subject, Some(record.subject())) && is_of(self.sid, record.provider_session())
    }
}

/// Whether it is this site, or the person, that wants it, and not a page of another site.
///
/// Browsers say so themselves (`Sec-Fetch-Site`). Those that do not, on connections without TLS, say which page
/// they come from.
fn is_own_wish(headers: &HeaderMap, own: &Url) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin" || site == "none";
    }
    let from = headers.get(ORIGIN).or_else(|| headers.get(REFERER));
    let from = from.and_then(|from| from.to_str().ok()?.parse::<Url>().ok());
    from.is_some_and(|from| from.is_same_origin(own))
}

#[cfg(test)]
mod tests {
    use super::super::session::tests::record;
    use super::*;
    use serde_json::json;

    fn token(change: impl FnOnce(&mut Map<String, Value>)) -> Map<String, Value> {
        let claims =
            json!({ "jti": "j", "sub": "alice", "sid": "s", "iat": 1000, "events": { EVENT: {} } });
        let mut claims = claims.as_object().cloned().expect("claims");
        change(&mut claims);
        claims
    }

    #[test]
    fn logout_tokens() {
        let check = |claims: Map<String, Value>, expected: Result<(), &str>| {
            assert_eq!(End::of(&claims, 1000).map(|_| ()), expected, "{claims:?}");
        };
        let set = |name: &'static str, value: Value| {
            token(|claims| drop(claims.insert(name.into(), value)))
        };
        let without = |name: &'static str| token(|claims| drop(claims.remove(name)));
        check(token(|_| {}), Ok(()));
        check(without("sub"), Ok(()));
        check(without("sid"), Ok(()));
        check(
            set("nonce", json!("n")),
            Err("the logout token has a nonce"),
        );
        check(
            set("nonce", Value::Null),
            Err("the logout token has a nonce"),
        );
        check(
            without("events"),
            Err("the logout token is of another event"),
        );
        check(
            set("events", json!({})),
            Err("the logout token is of another event"),
        );
        check(
            set("events", json!({ EVENT: "x" })),
            Err("the logout token is of another event"),
        );
        check(
            set("events", json!([EVENT])),
            Err("the logout token is of another event"),
        );
        check(without("jti"), Err("the logout token has no jti"));
        check(
            set("jti", json!(1)),
            Err("a claim of the logout token has a wrong type"),
        );
        check(
            set("sub", json!("")),
            Err("a claim of the logout token has a wrong type"),
        );
        let nobody = token(|claims| claims.retain(|name, _| name != "sub" && name != "sid"));
        check(nobody, Err("the logout token names nobody"));
        let old = "the logout token is old, or does not say when it was made";
        check(set("iat", json!(699)), Err(old));
        check(set("iat", json!(700)), Ok(()));
        check(without("iat"), Err(old));
    }

    #[test]
    fn who_is_concerned() {
        let check = |subject, sid, expected: bool| {
            let end = End {
                jti: "j",
                subject,
                sid,
            };
            assert_eq!(end.concerns(&record("alice", "s", 0)), expected, "{end:?}");
        };
        check(Some("alice"), None, true);
        check(Some("bob"), None, false);
        check(None, Some("s"), true);
        check(None, Some("t"), false);
        check(Some("alice"), Some("s"), true);
        check(Some("alice"), Some("t"), false);
        check(Some("bob"), Some("s"), false);
    }

    #[test]
    fn whose_wish_it_is() {
        let check = |lines: &[(&'static str, &str)], expected: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.insert(*name, value.parse().expect("a value"));
            }
            let own = "https://app.test/oauth/callback".parse().expect("a URL");
            assert_eq!(is_own_wish(&headers, &own), expected, "{lines:?}");
        };
        check(&[("sec-fetch-site", "same-origin")], true);
        check(&[("sec-fetch-site", "none")], true);
        check(&[("sec-fetch-site", "cross-site")], false);
        check(&[("sec-fetch-site", "same-site")], false);
        check(
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://app.test"),
            ],
            false,
        );
        check(&[("origin", "https://app.test")], true);
        check(&[("origin", "http://app.test")], false);
        check(&[("origin", "https://app.test.evil.test")], false);
        check(&[("origin", "https://app.test@evil.test")], false);
        check(&[("origin", "null")], false);
        check(&[("referer", "https://app.test/a")], true);
        check(&[("referer", "https://evil.test/app.test")], false);
        check(&[], false);
    }
}
