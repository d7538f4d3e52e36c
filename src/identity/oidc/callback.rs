//! The end of a login: the browser comes back from the provider.

use std::borrow::Cow;
use std::sync::Arc;

use form_urlencoded::parse;
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::exchange::{ExchangeError, redeem, userinfo};
use super::pending::{self, Pending};
use super::provider::{Core, Settled, Step, unix_ms};
use super::session::{Record, SessionId};
use super::token::TokenError;

/// Why a step of a login or a logout did not happen.
#[derive(Debug)]
pub struct Failure {
    pub kind: FailureKind,
    /// For the log alone.
    pub cause: Cow<'static, str>,
    /// What the browser is to forget.
    pub cookies: Vec<HeaderValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// What came is no good. A login can be begun again.
    Bad,
    /// The provider has not let the person in, or nobody here knows who it is.
    Refused,
    /// The provider or the store cannot be asked.
    Unavailable,
}

impl Failure {
    pub fn new(kind: FailureKind, cause: impl Into<Cow<'static, str>>) -> Failure {
        Failure {
            kind,
            cause: cause.into(),
            cookies: Vec::new(),
        }
    }

    pub(super) fn bad(cause: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(FailureKind::Bad, cause)
    }

    pub(super) fn unavailable(cause: impl std::fmt::Display) -> Failure {
        Failure::new(FailureKind::Unavailable, cause.to_string())
    }
}

impl From<ExchangeError> for Failure {
    fn from(error: ExchangeError) -> Failure {
        match error {
            ExchangeError::Refused => Failure::bad("the provider refuses the code"),
            ExchangeError::Unavailable(cause) => {
                Failure::new(FailureKind::Unavailable, cause.into_string())
            }
            ExchangeError::Malformed(_) => Failure::bad(error.to_string()),
        }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Failure {
        match error {
            TokenError::Keys => Failure::unavailable(error),
            error => Failure::bad(error.to_string()),
        }
    }
}

/// What the browser brings back (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Debug, Default, PartialEq)]
struct Answer<'q> {
    state: Option<Cow<'q, str>>,
    code: Option<Cow<'q, str>>,
    error: Option<Cow<'q, str>>,
    iss: Option<Cow<'q, str>>,
}

impl<'q> Answer<'q> {
    /// `None` where something is said twice: who knows which of the two others would go by.
    fn read(query: &'q str) -> Option<Answer<'q>> {
        let mut answer = Answer::default();
        for (name, value) in parse(query.as_bytes()) {
            let place = match &*name {
                "state" => &mut answer.state,
                "code" => &mut answer.code,
                "error" => &mut answer.error,
                "iss" => &mut answer.iss,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(answer)
    }
}

impl Core {
    /// Redeems what the browser brings back and begins a session, under an id that nobody has seen before.
    pub async fn finish(
        self: &Arc<Self>,
        headers: &HeaderMap,
        query: &str,
    ) -> Result<Step, Failure> {
        let answer = Answer::read(query).ok_or_else(|| Failure::bad("a parameter comes twice"))?;
        let state = answer
            .state
            .as_deref()
            .ok_or_else(|| Failure::bad("there is no state"))?;
        let now = unix_ms() / 1000;
        let login = Pending::find(headers, state, now, (&self.cookies, &self.seals.login));
        let login = login
            .ok_or_else(|| Failure::bad("this browser has begun no such login, or long ago"))?;
        // From here on it is used up, whatever becomes of it, also where the browser keeps its cookie.
        let used = self.cookies.clear(&self.cookies.login(state));
        let finished = match self
            .sessions
            .logins
            .is_new(state, now, now + pending::LIFETIME)
        {
            true => self.finish_once(headers, &answer, &login).await,
            false => Err(Failure::bad("the login has come back before")),
        };
        match finished {
            Ok(mut step) => {
                step.cookies.extend(used);
                Ok(step)
            }
            Err(mut failure) => {
                failure.cookies.extend(used);
                Err(failure)
            }
        }
    }

    async fn finish_once(
        self: &Arc<Self>,
        headers: &HeaderMap,
        answer: &Answer<'_>,
        login: &Pending,
    ) -> Result<Step, Failure> {
        let place = tokio::time::timeout(self.client.timeout(), self.logins.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(Failure::unavailable("too many logins end at once"));
        };
        let record = self.redeem_code(answer, login).await?;
        self.open(headers, record, login.target()).await
    }

    async fn redeem_code(&self, answer: &Answer<'_>, login: &Pending) -> Result<Record, Failure> {
        let metadata = self.discovery.metadata(&self.client, &self.issuer).await;
        let metadata = metadata.map_err(Failure::unavailable)?;
        // RFC 9207 section 2.4: the answer of another provider must not reach this one's token endpoint.
        match answer.iss.as_deref() {
            Some(iss) if iss != self.issuer.as_str() => {
                return Err(Failure::bad("iss is of another provider"));
            }
            None if metadata.says_issuer => return Err(Failure::bad("there is no iss")),
            _ => {}
        }
        if answer.error.is_some() {
            return Err(Failure::new(
                FailureKind::Refused,
                "the provider answers with an error",
            ));
        }
        let code = answer
            .code
            .as_deref()
            .ok_or_else(|| Failure::bad("there is no code"))?;
        let parameters = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.callback.as_str()),
            ("code_verifier", &login.verifier()),
        ];
        let now = unix_ms() / 1000;
        let granted = redeem(
            &self.client,
            &metadata.token_endpoint,
            &self.credentials,
            &parameters,
        )
        .await?;
        let tokens = granted.tokens(None, now)?;
        let claims = self.verifier.id_token(&tokens.id).await?;
        if !is_nonce(&claims, &login.nonce()) {
            return Err(Failure::bad("the ID token is for another login"));
        }
        let mut record = Record {
            claims,
            userinfo: Map::new(),
            tokens,
            next: None,
            ends: now.saturating_add(self.lifetime),
            version: 0,
        };
        let access = record.tokens.access.as_deref();
        record.userinfo = self.userinfo(access, record.subject()).await?;
        Ok(record)
    }

    /// What the userinfo endpoint says of this person; nothing where it is not to be asked.
    pub(super) async fn userinfo(
        &self,
        access: Option<&str>,
        subject: &str,
    ) -> Result<Map<String, Value>, ExchangeError> {
        if !self.asks_userinfo {
            return Ok(Map::new());
        }
        let unavailable = |why: &str| ExchangeError::Unavailable(why.into());
        let metadata = self.discovery.metadata(&self.client, &self.issuer).await;
        let metadata = metadata.map_err(|error| unavailable(&error.to_string()))?;
        let endpoint = metadata.userinfo_endpoint.as_ref();
        let endpoint =
            endpoint.ok_or_else(|| unavailable("the provider has no userinfo endpoint"))?;
        let access = access.ok_or(ExchangeError::Malformed(
            "there is no access token for the userinfo endpoint",
        ))?;
        userinfo(&self.client, endpoint, access, subject).await
    }

    /// Begins the session. One that the browser had before ends: whoever may know its cookie is not let in by this login.
    async fn open(
        self: &Arc<Self>,
        headers: &HeaderMap,
        record: Record,
        target: &str,
    ) -> Result<Step, Failure> {
        if let Ok(Some(old)) = self.session_id(headers) {
            self.forget(&old).await;
        }
        let id = SessionId::draw().ok_or_else(|| Failure::unavailable("there is no randomness"))?;
        let now_ms = unix_ms();
        // First of all here: a person that nobody knows leaves nothing behind.
        let since = self.sessions.memory.moment(&id);
        let session = match self.adopt(&id, record, now_ms, since) {
            Settled::Good(session) => session,
            _ => {
                return Err(Failure::new(
                    FailureKind::Refused,
                    "the claims make no identity",
                ));
            }
        };
        if let Some(shared) = &self.shared
            && let Err(error) = shared.insert(&id, &session.record, now_ms).await
        {
            self.sessions.memory.remove(&id);
            return Err(Failure::unavailable(error));
        }
        let internal = || Failure::unavailable("the session's cookie cannot be made");
        let cookie = self.cookie(&id).ok_or_else(internal)?;
        let to = self.own(target).ok_or_else(internal)?;
        Ok(Step {
            to,
            cookies: vec![cookie],
        })
    }

    fn cookie(&self, id: &SessionId) -> Option<HeaderValue> {
        use base64::Engine as _;
        let sealed = self.seals.session.seal(id.as_bytes()).ok()?;
        let value = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sealed);
        self.cookies
            .set(self.cookies.session(), &value, self.lifetime)
    }
}

fn is_nonce(claims: &Map<String, Value>, nonce: &str) -> bool {
    let said = claims
        .get("nonce")
        .and_then(Value::as_str)
        .unwrap_or_default();
    said.as_bytes().ct_eq(nonce.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let check = |query: &str, expected: Option<[Option<&str>; 4]>| {
            let answer = Answer::read(query);
            let seen = answer
                .as_ref()
                .map(|it| [&it.state, &it.code, &it.error, &it.iss].map(|value| value.as_deref()));
            assert_eq!(seen, expected, "{query}");
        };
        check("", Some([None; 4]));
        check(
            "state=a%20b&code=c+d&iss=https%3A%2F%2Fid&x=1&x=2",
            Some([Some("a b"), Some("c d"), None, Some("https://id")]),
        );
        check(
            "error=access_denied&state=s",
            Some([Some("s"), None, Some("access_denied"), None]),
        );
        for twice in [
            "state=a&state=a",
            "code=a&code=b",
            "iss=a&iss=b",
            "error=a&error=b",
            "state=a&%73tate=b",
        ] {
            check(twice, None);
        }
    }

    #[test]
    fn nonces() {
        let check = |claims: Value, expected: bool| {
            assert_eq!(
                is_nonce(claims.as_object().expect("claims"), "n"),
                expected,
                "{claims}"
            );
        };
        check(serde_json::json!({ "nonce": "n" }), true);
        check(serde_json::json!({ "nonce": "m" }), false);
        check(serde_json::json!({ "nonce": ["n"] }), false);
        check(serde_json::json!({ "nonce": "" }), false);
        check(serde_json::json!({}), false);
    }
}
