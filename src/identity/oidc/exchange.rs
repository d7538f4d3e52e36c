//! Asking a provider for tokens (RFC 6749 sections 4.1.3 and 6) and for claims (OpenID Connect Core section 5.3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::config::ClientAuth;
use super::session::Tokens;
use crate::identity::{Client, ClientError, Url};
use crate::text::SecretValue;

/// The gateway as the provider knows it.
#[derive(Debug)]
pub struct Credentials {
    pub id: Box<str>,
    pub secret: Option<SecretValue>,
    pub shown: ClientAuth,
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// What was shown is no good, or no more: the code, or the refresh token.
    #[error("the provider refuses it")]
    Refused,
    /// It may be good later.
    #[error("{0}")]
    Unavailable(Box<str>),
    #[error("the provider's answer is no good: {0}")]
    Malformed(&'static str),
}

impl From<ClientError> for ExchangeError {
    fn from(error: ClientError) -> ExchangeError {
        ExchangeError::Unavailable(format!("the provider cannot be asked: {error}").into())
    }
}

/// The answer of a token endpoint.
#[derive(Deserialize)]
pub struct Granted {
    pub id_token: Option<Box<str>>,
    access_token: Option<Box<str>>,
    refresh_token: Option<Box<str>>,
    expires_in: Option<Value>,
    token_type: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Granted {
    /// What a session keeps. What is not given anew stays: the ID token, and a refresh token that does not rotate.
    pub fn tokens(self, before: Option<&Tokens>, now: u64) -> Result<Tokens, ExchangeError> {
        let id = self
            .id_token
            .or_else(|| before.map(|before| before.id.clone()));
        let refresh = self
            .refresh_token
            .or_else(|| before.and_then(|before| before.refresh.clone()));
        let is_bearer = self
            .token_type
            .is_some_and(|it| it.eq_ignore_ascii_case("bearer"));
        // Some write the number as a string.
        let lives = self
            .expires_in
            .and_then(|it| it.as_u64().or_else(|| it.as_str()?.parse().ok()));
        Ok(Tokens {
            id: id.ok_or(ExchangeError::Malformed("there is no ID token"))?,
            access: self.access_token.filter(|_| is_bearer),
            refresh,
            expires: lives.map(|lives| now.saturating_add(lives)),
            renew: lives.map(|lives| now.saturating_add(lives - (lives / 4).min(AHEAD))),
        })
    }
}

/// Tokens are renewed so many seconds before they end, or after three quarters of a shorter life.
const AHEAD: u64 = 30;

/// Redeems a code or a refresh token.
pub async fn redeem(
    client: &Client,
    endpoint: &Url,
    credentials: &Credentials,
    parameters: &[(&str, &str)],
) -> Result<Granted, ExchangeError> {
    let request = request(endpoint, credentials, parameters)?;
    let response = client.send(request).await?;
    match response.status().as_u16() {
        200 => serde_json::from_slice(response.body())
            .map_err(|_| ExchangeError::Malformed("no tokens")),
        400 => Err(refusal(response.body())),
        status => Err(unavailable(status)),
    }
}

fn request(
    endpoint: &Url,
    credentials: &Credentials,
    parameters: &[(&str, &str)],
) -> Result<Request<Bytes>, ExchangeError> {
    let mut form = Serializer::new(String::new());
    form.extend_pairs(parameters);
    let mut request = Request::post(endpoint.as_str())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json");
    let secret = credentials.secret.as_ref().map(SecretValue::expose);
    match (secret, credentials.shown) {
        (Some(secret), ClientAuth::Basic) => {
            request = request.header(AUTHORIZATION, basic(&credentials.id, secret)?);
        }
        (Some(secret), ClientAuth::Post) => {
            let secret = std::str::from_utf8(secret)
                .map_err(|_| ExchangeError::Unavailable("the client secret is not UTF-8".into()))?;
            form.append_pair("client_id", &credentials.id)
                .append_pair("client_secret", secret);
        }
        (None, _) => {
            form.append_pair("client_id", &credentials.id);
        }
    }
    let request = request.body(Bytes::from(form.finish()));
    request.map_err(|_| ExchangeError::Malformed("its token endpoint"))
}

/// What is a matter between the two of us.
const OURS: [&str; 7] = [
    "invalid_request",
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "temporarily_unavailable",
    "server_error",
];

/// The grant is no good any more (RFC 6749 section 5.2), or the person has to come again: `login_required` and others
/// like it (OpenID Connect Core section 3.1.2.6). Nothing else ends a session, since a provider that has trouble says all
/// kinds of things.
fn refusal(body: &[u8]) -> ExchangeError {
    let Ok(Refusal { error }) = serde_json::from_slice(body) else {
        return unavailable(400);
    };
    if error == "invalid_grant" || error.ends_with("_required") {
        return ExchangeError::Refused;
    }
    // What else it says stays out of the log.
    match OURS.into_iter().find(|it| *it == error) {
        Some(error) => ExchangeError::Unavailable(format!("the provider says {error}").into()),
        None => unavailable(400),
    }
}

fn unavailable(status: u16) -> ExchangeError {
    ExchangeError::Unavailable(format!("the provider answers {status}").into())
}

/// RFC 6749 section 2.3.1: both are encoded as in a form first.
fn basic(id: &str, secret: &[u8]) -> Result<HeaderValue, ExchangeError> {
    let mut text = String::new();
    text.extend(byte_serialize(id.as_bytes()));
    text.push(':');
    text.extend(byte_serialize(secret));
    let text = format!("Basic {}", STANDARD.encode(text));
    let mut value =
        HeaderValue::try_from(text).map_err(|_| ExchangeError::Malformed("a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The claims of the userinfo endpoint, which must be of this person.
pub async fn userinfo(
    client: &Client,
    endpoint: &Url,
    access: &str,
    subject: &str,
) -> Result<Map<String, Value>, ExchangeError> {
    let request = Request::get(endpoint.as_str())
        .header(ACCEPT, "application/json")
        .header(AUTHORIZATION, format!("Bearer {access}"))
        .body(Bytes::new());
    let request = request.map_err(|_| ExchangeError::Malformed("its userinfo endpoint"))?;
    let response = client.send(request).await?;
    if response.status().as_u16() != 200 {
        return Err(unavailable(response.status().as_u16()));
    }
    let claims: Map<String, Value> = serde_json::from_slice(response.body()).map_err(|_| {
        ExchangeError::Unavailable("the provider's userinfo endpoint gives no claims".into())
    })?;
    // Section 5.3.2: without this, the claims could be anybody's.
    match claims.get("sub").and_then(Value::as_str) {
        Some(sub) if sub == subject => Ok(claims),
        _ => Err(ExchangeError::Malformed("the claims are of somebody else")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(json: serde_json::Value) -> Granted {
        serde_json::from_value(json).expect("an answer")
    }

    #[test]
    fn what_is_not_given_anew_stays() {
        let first = granted(serde_json::json!({
            "id_token": "i1", "access_token": "a1", "refresh_token": "r1", "expires_in": 300, "token_type": "Bearer"
        }));
        let first = first.tokens(None, 1000).expect("tokens");
        assert_eq!((first.expires, first.renew), (Some(1300), Some(1270)));
        let next = granted(serde_json::json!({
            "access_token": "a2", "expires_in": "8", "token_type": "bearer"
        }));
        let next = next.tokens(Some(&first), 2000).expect("tokens");
        assert_eq!((&*next.id, next.access.as_deref()), ("i1", Some("a2")));
        assert_eq!(next.refresh.as_deref(), Some("r1"));
        assert_eq!((next.expires, next.renew), (Some(2008), Some(2006)));
        assert!(granted(serde_json::json!({})).tokens(None, 0).is_err());
    }

    #[test]
    fn refusals() {
        let is_refused = |body: &[u8]| matches!(refusal(body), ExchangeError::Refused);
        for body in [
            r#"{"error":"invalid_grant"}"#,
            r#"{"error":"login_required"}"#,
            r#"{"error":"interaction_required"}"#,
        ] {
            assert!(is_refused(body.as_bytes()), "{body}");
        }
        for body in [
            r#"{"error":"invalid_client"}"#,
            r#"{"error":"temporarily_unavailable"}"#,
            r#"{"error":"<script>"}"#,
            "<html>",
        ] {
            assert!(!is_refused(body.as_bytes()), "{body}");
        }
        assert!(
            !refusal(br#"{"error":"<script>"}"#)
                .to_string()
                .contains("script")
        );
    }

    #[test]
    fn the_secret_is_encoded_twice() {
        let value = basic("a b", b"p:w+%").expect("a header");
        let text = value
            .to_str()
            .expect("ASCII")
            .strip_prefix("Basic ")
            .expect("basic");
        assert_eq!(STANDARD.decode(text).expect("base64"), b"a+b:p%3Aw%2B%25");
    }
}
