//! The one client for servers that decide or know who calls: key sets, introspection, OpenID providers, forward_auth.
//!
//! What it is asked for comes from the configuration, or from a document of a server that stands there, and never
//! from a request of a client. It speaks HTTP/2 where the server does, else HTTP/1.1, and keeps connections. It
//! follows no redirect: the answer is handed over as it is.

mod connect;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration as StdDuration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderValue, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body as _;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use schemars::JsonSchema;
use serde::Deserialize;

use super::url::{Url, is_https, is_local};
use super::{PemError, read_chain, system_authorities};
use crate::text::{Duration, Spanned, Subject};
use connect::Connector;

/// A larger answer is refused.
const LARGEST_BODY: usize = 1 << 20;
const LARGEST_HEADER: usize = 64 << 10;
const MAX_HEADERS: usize = 100;
/// For one server. More connections can be in use; this many are kept for later.
const KEPT_CONNECTIONS: usize = 64;
const KEEPALIVE: StdDuration = StdDuration::from_secs(30);
/// After so long without a word on a connection of HTTP/2 that is in use, the server is asked whether it lives.
const PING: StdDuration = StdDuration::from_secs(5);

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("northgate/", env!("CARGO_PKG_VERSION")));

/// How other servers are asked.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    /// PEM file with the authorities to trust instead of the system's, relative to the configuration file.
    pub ca: Option<Spanned<PathBuf>>,
    /// For a whole exchange: name, connection, TLS, request and answer. Default `"5s"`.
    pub timeout: Duration,
    /// Also speaks http to servers on other machines, where everybody on the way can read and change everything.
    /// Without it http is for `localhost` and addresses such as 127.0.0.1 alone.
    pub allow_http: bool,
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            ca: None,
            timeout: Duration::from_secs(5),
            allow_http: false,
        }
    }
}

/// Sends requests. A clone shares its connections; they end with the last one.
#[derive(Clone)]
pub struct Client {
    inner: legacy::Client<Connector, Full<Bytes>>,
    timeout: StdDuration,
    allows_http: bool,
}

/// Why there is no answer that could be used. It names no address: whoever logs it knows whom it asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the URL is not https")]
    Clear,
    #[error("there is no answer after {0:?}")]
    Deadline(StdDuration),
    /// No connection, or none that can be trusted. The request was not sent.
    #[error("cannot connect: {0}")]
    Connect(Box<str>),
    #[error("the exchange broke off: {0}")]
    Broken(Box<str>),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer is encoded, which was not asked for")]
    Encoded,
}

impl Client {
    /// `base` is the folder that file paths are relative to. `None` after diagnostics. Blocks on the file system.
    pub fn build(config: &ClientConfig, base: &Path, subject: &mut Subject<'_>) -> Option<Client> {
        let roots = match &config.ca {
            None => system_authorities().map_err(|error| {
                log::error!("the system's authorities cannot be read: {error}");
            }),
            Some(path) => read_authorities(&base.join(&path.value)).map_err(|error| {
                subject.key("ca").error(path.span, error);
            }),
        };
        // Where the system has no authorities, nobody is believed.
        let roots = match (roots, &config.ca) {
            (Ok(roots), _) => roots,
            (Err(()), Some(_)) => return None,
            (Err(()), None) => Arc::new(RootCertStore::empty()),
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the usual versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(KEEPALIVE)
            .pool_max_idle_per_host(KEPT_CONNECTIONS)
            .http1_max_buf_size(LARGEST_HEADER)
            .http1_max_headers(MAX_HEADERS)
            .http2_max_header_list_size(LARGEST_HEADER as u32)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING)
            .build(Connector::new(tls, config.allow_http));
        Some(Client {
            inner,
            timeout: config.timeout.as_std(),
            allows_http: config.allow_http,
        })
    }

    /// Says where a URL of the configuration is one that is never asked. `subject` is the value that holds it.
    pub fn check(&self, url: &Spanned<Url>, subject: &mut Subject<'_>) -> bool {
        let is_good = self.may_ask(url.uri());
        if !is_good {
            subject
                .error(url.span, format!("must be https, got {}", url.as_str()))
                .help(
                    "with allow_http = true everybody on the way could read and change everything",
                );
        }
        is_good
    }

    /// Whether what is asked of this URL stays between the two.
    pub fn may_ask(&self, uri: &Uri) -> bool {
        let host = uri.host().unwrap_or_default();
        is_https(uri) || self.allows_http || is_local(host)
    }

    /// How long an exchange may take.
    pub fn timeout(&self) -> StdDuration {
        self.timeout
    }

    /// Sends a request whose URI is a whole URL, and waits for the whole answer, whatever its status is.
    ///
    /// A request that was sent may have been acted upon, also where there is no answer; it is sent again only where
    /// a kept connection turns out to be closed before anything was sent.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ClientError> {
        self.send_within(self.timeout, LARGEST_BODY, request).await
    }

    /// As [`Client::send`], where the server is asked to take its time, or where its answer may be so large, in bytes.
    pub async fn send_within(
        &self,
        time: StdDuration,
        largest: usize,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, ClientError> {
        let exchange = tokio::time::timeout(time, self.exchange(largest, request));
        let answer = exchange.await;
        answer.unwrap_or(Err(ClientError::Deadline(time)))
    }

    async fn exchange(
        &self,
        largest: usize,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, ClientError> {
        if !self.may_ask(request.uri()) {
            return Err(ClientError::Clear);
        }
        let mut request = request.map(Full::new);
        request.headers_mut().entry(USER_AGENT).or_insert(AGENT);
        let sent = self.inner.request(request).await;
        let (head, body) = sent.map_err(|error| failure(&error))?.into_parts();
        let mut encodings = head.headers.get_all(CONTENT_ENCODING).iter();
        if encodings.any(|it| !it.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(ClientError::Encoded);
        }
        if body.size_hint().lower() > largest as u64 {
            return Err(ClientError::TooLarge(largest));
        }
        let body = Limited::new(body, largest).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => ClientError::TooLarge(largest),
            false => ClientError::Broken(error.to_string().into()),
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// What went wrong is at the bottom.
fn failure(error: &legacy::Error) -> ClientError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let cause = cause.to_string().into();
    match error.is_connect() {
        true => ClientError::Connect(cause),
        false => ClientError::Broken(cause),
    }
}

fn read_authorities(path: &Path) -> Result<Arc<RootCertStore>, String> {
    let chain = read_chain(path.to_owned()).map_err(|error: PemError| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for authority in chain {
        roots.add(authority).map_err(|error| error.to_string())?;
    }
    Ok(Arc::new(roots))
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("timeout", &self.timeout)
            .finish()
    }
}
