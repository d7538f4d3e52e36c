//! What a provider says of itself (OpenID Connect Discovery section 3).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::Request;
use http::header::ACCEPT;
use serde::Deserialize;

use crate::identity::{Client, ClientError, Url};

/// After so long it is asked again, in the background. Until there is a good answer the last one counts.
pub const REFRESH: Duration = Duration::from_secs(3600);
/// A provider that could not be asked is asked again after so long.
pub const COOL_DOWN: Duration = Duration::from_secs(1);

/// The addresses of a provider, without that of its keys, which [`keys`](crate::identity::keys) finds.
#[derive(Debug)]
pub struct Metadata {
    pub authorization_endpoint: Url,
    pub token_endpoint: Url,
    pub userinfo_endpoint: Option<Url>,
    pub end_session_endpoint: Option<Url>,
    /// Whether every answer to a login says whose it is (RFC 9207 section 3).
    pub says_issuer: bool,
}

/// Why they are not known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MetadataError {
    #[error("the provider cannot be asked: {0}")]
    Client(Arc<ClientError>),
    #[error("the provider answers its discovery with {0}")]
    Status(u16),
    #[error("the provider's discovery is no good: {0}")]
    Malformed(Box<str>),
    #[error("the provider's discovery is of another issuer")]
    Issuer,
    #[error("{0} of the provider's discovery is neither https nor of the issuer itself")]
    Elsewhere(&'static str),
    #[error("the provider could not be asked a moment ago")]
    CoolDown,
    #[error("the question to the provider was broken off")]
    BrokenOff,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// What is known of one provider. It outlives reloads.
#[derive(Debug, Default)]
pub struct Discovery {
    known: ArcSwapOption<Metadata>,
    /// When it may be asked again, and a turn for whoever asks.
    next: Mutex<Option<Instant>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Discovery {
    pub fn known(&self) -> Option<Arc<Metadata>> {
        self.known.load_full()
    }

    pub fn is_known(&self) -> bool {
        self.known.load().is_some()
    }

    /// What is known, or what the provider says now. Many who ask at once cause one request, which goes on to its end
    /// whoever still waits for it.
    pub async fn metadata(
        self: &Arc<Self>,
        client: &Client,
        issuer: &Url,
    ) -> Result<Arc<Metadata>, MetadataError> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let turn = self.turn.clone().lock_owned().await;
        if let Some(known) = self.known() {
            return Ok(known);
        }
        if self.next().is_some_and(|next| Instant::now() < next) {
            return Err(MetadataError::CoolDown);
        }
        let (own, client, issuer) = (self.clone(), client.clone(), issuer.clone());
        let asking = tokio::spawn(async move {
            let _turn = turn;
            own.refresh(&client, &issuer).await
        });
        asking.await.unwrap_or(Err(MetadataError::BrokenOff))
    }

    /// Asks the provider. Where it has no good answer, what is known stays.
    pub async fn refresh(
        &self,
        client: &Client,
        issuer: &Url,
    ) -> Result<Arc<Metadata>, MetadataError> {
        let asked = ask(client, issuer).await.map(Arc::new);
        match &asked {
            Ok(metadata) => self.known.store(Some(metadata.clone())),
            Err(_) => *self.lock() = Some(Instant::now() + COOL_DOWN),
        }
        asked
    }

    fn next(&self) -> Option<Instant> {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(client: &Client, issuer: &Url) -> Result<Metadata, MetadataError> {
    let place = format!(
        "{}/.well-known/openid-configuration",
        issuer.as_str().trim_end_matches('/')
    );
    let request = Request::get(place)
        .header(ACCEPT, "application/json")
        .body(Bytes::new());
    let request = request.map_err(|error| MetadataError::Malformed(error.to_string().into()))?;
    let response = client.send(request).await;
    let response = response.map_err(|error| MetadataError::Client(Arc::new(error)))?;
    match response.status().as_u16() {
        200 => read(response.body(), issuer),
        status => Err(MetadataError::Status(status)),
    }
}

fn read(body: &[u8], issuer: &Url) -> Result<Metadata, MetadataError> {
    let document: Document = serde_json::from_slice(body)
        .map_err(|error| MetadataError::Malformed(error.to_string().into()))?;
    // Section 4.3: it must be what was asked for, or one provider could speak for another.
    if document.issuer != issuer.as_str() {
        return Err(MetadataError::Issuer);
    }
    let url = |what: &'static str, text: &str| {
        let url: Url = text
            .parse()
            .map_err(|_| MetadataError::Malformed(format!("{what} is no URL").into()))?;
        match url.may_be_named_by(issuer) {
            true => Ok(url),
            false => Err(MetadataError::Elsewhere(what)),
        }
    };
    let optional =
        |what, text: &Option<String>| text.as_deref().map(|text| url(what, text)).transpose();
    Ok(Metadata {
        authorization_endpoint: url("authorization_endpoint", &document.authorization_endpoint)?,
        token_endpoint: url("token_endpoint", &document.token_endpoint)?,
        userinfo_endpoint: optional("userinfo_endpoint", &document.userinfo_endpoint)?,
        end_session_endpoint: optional("end_session_endpoint", &document.end_session_endpoint)?,
        says_issuer: document.authorization_response_iss_parameter_supported,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_or_of_the_issuer_itself() {
        let check = |issuer: &str, token_endpoint: &str, expected: bool| {
            let document = serde_json::json!({
                "issuer": issuer,
                "authorization_endpoint": "https://login.test/auth",
                "token_endpoint": token_endpoint,
            });
            let issuer: Url = issuer.parse().expect("a URL");
            let read = read(document.to_string().as_bytes(), &issuer);
            assert_eq!(
                read.is_ok(),
                expected,
                "{issuer} {token_endpoint}: {read:?}"
            );
        };
        let https = "https://id.test";
        check(https, "https://id.test/token", true);
        check(https, "https://other.test/token", true);
        check(https, "http://id.test/token", false);
        // What runs on this machine gets no codes of a provider elsewhere.
        check(https, "http://localhost:8080/token", false);
        check(https, "http://127.0.0.1/token", false);
        let local = "http://127.0.0.1:9000";
        check(local, "http://127.0.0.1:9000/token", true);
        check(local, "http://127.0.0.1:9001/token", false);
        check(local, "https://id.test/token", true);
        check(https, "ftp://id.test/token", false);
    }
}
