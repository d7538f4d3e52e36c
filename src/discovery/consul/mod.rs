//! Consul: the healthy instances of a service, by blocking queries of its health API.
//!
//! Each answer has an index, and the next question names it: Consul answers that once something has changed, or when
//! the time to wait is over. An index that goes backwards (a server that was restored) begins anew, and one below 1
//! would not block, as the API's documents say.

mod config;
mod instance;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use rand::Rng;
use tokio::time::{Instant, sleep_until};

use self::instance::instances;
use super::lists::Lists;
use super::{Build, Failure, OnEmpty, Sink, Source};
use crate::identity::{Client, ClientError, Url};
use crate::text::{Secret, Spanned};

pub use self::config::{Config, Health};

const ADDRESS: &str = "http://127.0.0.1:8500";
/// Consul waits no longer, whatever it is asked.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Consul itself waits up to this much longer, so that not all clients come back at once.
const JITTER: u32 = 16;
/// From one question to the next at least, on average: an index that moves all the time costs no more than that.
const SHORTEST: Duration = Duration::from_millis(15);
/// Ten thousand instances with everything that Consul says of each.
const LARGEST: usize = 64 << 20;
/// Of what it says when it refuses, so much is shown.
const SHOWN: usize = 200;
const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");

#[derive(Debug)]
struct Consul {
    client: Client,
    url: Url,
    /// Path and query, but for the index.
    question: String,
    described: String,
    token: Option<(Secret, PathBuf)>,
    health: Health,
    wait: Duration,
    lists: Lists,
}

/// Compiles it. `None` after diagnostics.
pub(super) fn build(config: &Spanned<Config>, context: &mut Build<'_>) -> Option<Arc<dyn Source>> {
    let base = context.base;
    let mut subject = context.subject.key("consul");
    let client = Client::build(&config.value.client, base, &mut subject.key("client"))?;
    let errors = subject.error_count();
    let url = match &config.value.address {
        None => ADDRESS.parse().expect("the default is a URL"),
        Some(address) => {
            client.check(address, &mut subject.key("address"));
            let path = address.value.uri().path();
            if path != "/" || address.value.uri().query().is_some() {
                let what = "must be without a path, which the API has of its own";
                subject.key("address").error(address.span, what);
            }
            address.value.clone()
        }
    };
    if config.value.service.is_empty() {
        let what = "is empty; it must be the name of a service";
        subject
            .key("service")
            .error(config.value.service.span, what);
    }
    let wait = config.value.wait.as_std();
    if wait > LONGEST_WAIT || wait < Duration::from_secs(1) {
        let what = "must be from \"1s\" to \"10m\", as long as Consul waits";
        subject.key("wait").error(config.span, what);
    }
    if let Some(token) = &config.value.token
        && let Err(error) = header(&token.value, base)
    {
        subject.key("token").error(token.span, error);
    }
    if subject.error_count() > errors {
        return None;
    }
    let token = config.value.token.as_ref();
    Some(Arc::new(Consul {
        question: question(&config.value),
        described: describe(&config.value, &url),
        client,
        url,
        token: token.map(|token| (token.value.clone(), base.to_owned())),
        health: config.value.health,
        wait,
        lists: Lists::default(),
    }))
}

fn question(config: &Config) -> String {
    let service: String = byte_serialize(config.service.as_bytes()).collect();
    // A form has plus signs for spaces, a path does not.
    let service = service.replace('+', "%20");
    let mut query = Serializer::new(format!("/v1/health/service/{service}?"));
    for tag in &config.tags {
        query.append_pair("tag", tag);
    }
    if let Some(filter) = &config.filter {
        query.append_pair("filter", filter);
    }
    if let Some(datacenter) = &config.datacenter {
        query.append_pair("dc", datacenter);
    }
    if config.health == Health::Passing {
        query.append_pair("passing", "1");
    }
    query.append_pair("wait", &format!("{}s", config.wait.as_std().as_secs()));
    query.finish()
}

fn describe(config: &Config, url: &Url) -> String {
    let mut text = format!("consul service {}", &**config.service);
    for tag in &config.tags {
        text += &format!(" tag {}", &**tag);
    }
    if let Some(filter) = &config.filter {
        text += &format!(" where {}", &**filter);
    }
    if let Some(datacenter) = &config.datacenter {
        text += &format!(" in {}", &**datacenter);
    }
    if config.health != Health::Passing {
        text += &format!(" health {:?}", config.health).to_lowercase();
    }
    text + &format!(" at {url}")
}

/// The token as it is sent, marked so that nobody prints it.
fn header(token: &Secret, base: &std::path::Path) -> Result<HeaderValue, String> {
    let token = token.read(base).map_err(|error| error.to_string())?;
    let header = HeaderValue::from_bytes(token.expose());
    let mut header = header.map_err(|_| "has bytes that no header may have".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

#[async_trait]
impl Source for Consul {
    fn kind(&self) -> &'static str {
        "consul"
    }

    fn describe(&self) -> String {
        self.described.clone()
    }

    /// That all instances fail at once is more often a fault of what checks them.
    fn on_empty(&self) -> OnEmpty {
        OnEmpty::Keep
    }

    async fn follow(&self, sink: &Sink) -> Result<Infallible, Failure> {
        self.watch(sink).await
    }

    async fn publish(&self, sink: &Sink) -> Infallible {
        self.lists.publish(sink).await
    }
}

impl Consul {
    async fn watch(&self, sink: &Sink) -> Result<Infallible, Failure> {
        let token = self.token().await?;
        let (mut index, mut known) = (None, BTreeSet::new());
        loop {
            let earliest = Instant::now() + SHORTEST.mul_f64(rand::rng().random_range(0.5..1.5));
            let answer = self.ask(token.as_ref(), index).await?;
            let next = index_of(&answer)?;
            match index == Some(next) {
                true => self.lists.alive(sink),
                false => {
                    let mut problems = BTreeSet::new();
                    let listed = instances(answer.body(), self.health, &mut problems)?;
                    for problem in problems.difference(&known) {
                        log::warn!("{}: {problem}", self.described);
                    }
                    // There are instances, and none that can be used: that is no word of there being none.
                    match problems.first().filter(|_| listed.is_empty()) {
                        Some(problem) => self.lists.unusable(problem, sink),
                        None => self.lists.tell(listed, sink),
                    }
                    known = problems;
                }
            }
            index = match index {
                Some(before) if next < before => None,
                _ => Some(next),
            };
            sleep_until(earliest).await;
        }
    }

    async fn token(&self) -> Result<Option<HeaderValue>, Failure> {
        let Some((token, base)) = self.token.clone() else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || header(&token, &base)).await;
        let read = read.map_err(Failure::unreachable)?;
        let read = read.map_err(|error| Failure::refused(format!("the token: {error}")));
        read.map(Some)
    }

    async fn ask(
        &self,
        token: Option<&HeaderValue>,
        index: Option<u64>,
    ) -> Result<Response<Bytes>, Failure> {
        let mut target = format!(
            "{}{}",
            self.url.as_str().trim_end_matches('/'),
            self.question
        );
        let mut time = self.client.timeout();
        if let Some(index) = index {
            target += &format!("&index={index}");
            time += self.wait + self.wait / JITTER;
        }
        let uri: Uri = target.parse().map_err(Failure::malformed)?;
        let mut request = Request::get(uri);
        if let Some(token) = token {
            request = request.header(TOKEN, token);
        }
        let request = request.body(Bytes::new()).map_err(Failure::malformed)?;
        let answer = self.client.send_within(time, LARGEST, request).await;
        let answer = answer.map_err(|error| match error {
            ClientError::TooLarge(_) | ClientError::Encoded => Failure::malformed(error),
            error => Failure::unreachable(error),
        })?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(Failure::refused(format!(
                "{status}, {}",
                shown(answer.body())
            ))),
        }
    }
}

/// At least 1, with which a question waits.
fn index_of(answer: &Response<Bytes>) -> Result<u64, Failure> {
    let index = answer.headers().get(INDEX).and_then(|it| it.to_str().ok());
    let index: Option<u64> = index.and_then(|it| it.parse().ok());
    let index = index.ok_or_else(|| Failure::malformed("the answer has no X-Consul-Index"))?;
    Ok(index.max(1))
}

/// The beginning of what it says, without what could confuse a log.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.chars().filter(|it| !it.is_control()).take(SHOWN);
    text.collect()
}
