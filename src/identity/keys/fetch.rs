//! Getting the keys that a provider publishes.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AGE, CACHE_CONTROL, HeaderMap, HeaderValue};
use http::{Request, StatusCode};
use tokio::time::Instant;

use super::discovery::{self, DiscoveryError};
use super::{KeySet, KeySetError};
use crate::identity::{Client, ClientError, Url};

/// Where the keys are is asked of the issuer anew after this time, and after each failure.
const REDISCOVER: Duration = Duration::from_secs(60 * 60);

/// Who publishes them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Publisher {
    Url(Url),
    Issuer(Url),
}

/// What was published.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) set: KeySet,
    /// How long it is good for, where the provider says so.
    pub(super) lifetime: Option<Duration>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error("{url}: {cause}")]
    Client { url: Url, cause: ClientError },
    #[error("{url}: the answer has the status {status}")]
    Status { url: Url, status: StatusCode },
    #[error("{url}: {cause}")]
    KeySet { url: Url, cause: KeySetError },
}

/// Fetches, and remembers where an issuer has its keys.
#[derive(Debug)]
pub(super) struct Fetcher {
    publisher: Publisher,
    discovered: Option<(Url, Instant)>,
}

impl Fetcher {
    pub(super) fn new(publisher: Publisher) -> Fetcher {
        Fetcher {
            publisher,
            discovered: None,
        }
    }

    pub(super) async fn fetch(&mut self, client: &Client) -> Result<Published, FetchError> {
        let fetched = match self.place(client).await {
            Ok(url) => key_set(client, url).await,
            Err(error) => Err(error),
        };
        if fetched.is_err() {
            self.discovered = None;
        }
        fetched
    }

    async fn place(&mut self, client: &Client) -> Result<Url, FetchError> {
        let issuer = match &self.publisher {
            Publisher::Url(url) => return Ok(url.clone()),
            Publisher::Issuer(issuer) => issuer,
        };
        if let Some((url, at)) = &self.discovered
            && at.elapsed() < REDISCOVER
        {
            return Ok(url.clone());
        }
        let url = discovery::jwks_uri(client, issuer).await?;
        self.discovered = Some((url.clone(), Instant::now()));
        Ok(url)
    }
}

async fn key_set(client: &Client, url: Url) -> Result<Published, FetchError> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.uri().clone();
    let json = HeaderValue::from_static("application/jwk-set+json, application/json");
    request.headers_mut().insert(ACCEPT, json);
    let answer = match client.send(request).await {
        Ok(answer) => answer,
        Err(cause) => return Err(FetchError::Client { url, cause }),
    };
    if answer.status() != StatusCode::OK {
        let status = answer.status();
        return Err(FetchError::Status { url, status });
    }
    match KeySet::parse_jwks(answer.body()) {
        Ok(set) => Ok(Published {
            set,
            lifetime: lifetime(answer.headers()),
        }),
        Err(cause) => Err(FetchError::KeySet { url, cause }),
    }
}

/// RFC 9111 section 4.2.1: `max-age`, less what `Age` says has passed of it. Zero where it must not be kept.
fn lifetime(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let mut directives = lines.flat_map(|line| line.split(',')).map(str::trim);
    let seconds = directives.find_map(|directive| {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.to_ascii_lowercase().as_str() {
            "no-cache" | "no-store" => Some(0),
            "max-age" => value.trim_matches('"').parse::<u64>().ok(),
            _ => None,
        }
    })?;
    let age = headers
        .get(AGE)
        .and_then(|age| age.to_str().ok()?.parse().ok());
    Some(Duration::from_secs(
        seconds.saturating_sub(age.unwrap_or(0)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_an_answer_is_good() {
        let check = |headers: &[(&'static str, &str)], expected: Option<u64>| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            let expected = expected.map(Duration::from_secs);
            assert_eq!(lifetime(&map), expected, "{headers:?}");
        };
        check(&[], None);
        check(
            &[("cache-control", "public, max-age=300, must-revalidate")],
            Some(300),
        );
        check(
            &[
                ("cache-control", "public"),
                ("cache-control", "Max-Age=\"7\""),
            ],
            Some(7),
        );
        check(
            &[("cache-control", "max-age=300"), ("age", "100")],
            Some(200),
        );
        check(&[("cache-control", "max-age=300"), ("age", "400")], Some(0));
        check(&[("cache-control", "max-age=300"), ("age", "x")], Some(300));
        check(&[("cache-control", "no-store")], Some(0));
        check(&[("cache-control", "s-maxage=9, private")], None);
        check(&[("cache-control", "max-age=-1")], None);
        check(
            &[("cache-control", "max-age=99999999999999999999999")],
            None,
        );
        check(
            &[("cache-control", "max-age=18446744073709551615")],
            Some(u64::MAX),
        );
    }
}
