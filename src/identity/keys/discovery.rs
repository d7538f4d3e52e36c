//! Where an issuer has its keys (OpenID Connect Discovery 1.0 section 4).

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Request, StatusCode};
use serde_json::Value;

use crate::identity::json::parse_object;
use crate::identity::{Client, ClientError, Url};

const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// Why it is not known where the keys are.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiscoveryError {
    #[error("{url}: {cause}")]
    Client { url: Box<str>, cause: ClientError },
    #[error("{url}: the answer has the status {status}")]
    Status { url: Box<str>, status: StatusCode },
    #[error("{url}: {cause}")]
    Json {
        url: Box<str>,
        cause: serde_json::Error,
    },
    #[error("{url} is of another issuer")]
    Issuer { url: Box<str> },
    #[error("{url} has no URL for jwks_uri")]
    Missing { url: Box<str> },
    #[error("{url} has for jwks_uri a URL that is neither https nor of the issuer itself")]
    Elsewhere { url: Box<str> },
}

/// Asks the issuer. What it answers is https, or of the same server where the issuer is not https itself.
pub(super) async fn jwks_uri(client: &Client, issuer: &Url) -> Result<Url, DiscoveryError> {
    let text = format!("{}{WELL_KNOWN}", issuer.as_str().trim_end_matches('/'));
    let url = || text.as_str().into();
    let answer = fetch(client, &text).await?;
    let metadata =
        parse_object(&answer).map_err(|cause| DiscoveryError::Json { url: url(), cause })?;
    // Section 4.3: exactly the same, or whoever can publish a document there could speak for others.
    if metadata.get("issuer").and_then(Value::as_str) != Some(issuer.as_str()) {
        return Err(DiscoveryError::Issuer { url: url() });
    }
    let place = metadata.get("jwks_uri").and_then(Value::as_str);
    let place: Option<Url> = place.and_then(|place| place.parse().ok());
    let place = place.ok_or_else(|| DiscoveryError::Missing { url: url() })?;
    match place.may_be_named_by(issuer) {
        true => Ok(place),
        false => Err(DiscoveryError::Elsewhere { url: url() }),
    }
}

async fn fetch(client: &Client, url: &str) -> Result<Bytes, DiscoveryError> {
    let failed = |cause| DiscoveryError::Client {
        url: url.into(),
        cause,
    };
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.parse().map_err(|_| failed(ClientError::Clear))?;
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(ACCEPT, json);
    let answer = client.send(request).await.map_err(failed)?;
    match answer.status() {
        StatusCode::OK => Ok(answer.into_body()),
        status => Err(DiscoveryError::Status {
            url: url.into(),
            status,
        }),
    }
}
