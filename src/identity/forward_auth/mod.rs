//! A service of the operator's decides about each request.
//!
//! In: a request as it is routed and forwarded, [`Asked`]. Out: a [`Decision`]. Of the service's answer nothing goes on
//! but the headers that are listed by name.

mod config;
mod question;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::answers::{Answer, Answers};
use super::client::ClientError;
use super::directory::Reads;
use super::health::Health;
use super::hmac::Message;
use super::{Build, Client, Consumers, Entry, Identity, Kind};
use super::{TAKES_CREDENTIALS, TAKES_NO_CREDENTIALS, is_credential, is_for_credentials};
use crate::text::{ENGINE_OWNED, HeaderName as Name, Spanned, Subject, is_engine_owned};

pub use config::{Config, Fields, KeyPart, Method, OnServerDown, Remember};

/// A request that the service is asked about.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    pub message: Message<'a>,
    pub client: IpAddr,
    pub request_id: &'a str,
    /// Where the service gets bodies.
    pub body: Option<Bytes>,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It goes on as this caller's.
    Allowed(Arc<Identity>),
    /// It goes on as nobody's: the service cannot be asked, and that is the choice for it.
    Unasked,
    /// The client gets this answer.
    Denied(Denied),
    /// The service takes no such request: it has answered with another 4xx.
    Refused(StatusCode),
    /// The service cannot be asked, or answers what cannot be believed.
    Unavailable,
}

/// An answer of the service for the client.
#[derive(Clone, Debug)]
pub struct Denied {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// Asks one service.
#[derive(Debug)]
pub struct Provider {
    name: Arc<str>,
    config: Config,
    client: Client,
    uri: Uri,
    request_headers: Box<[HeaderName]>,
    response_headers: Box<[HeaderName]>,
    answer_headers: Box<[HeaderName]>,
    consumers: Arc<Consumers>,
    places: Semaphore,
    /// How long a question waits for a place.
    patience: Duration,
    answers: Option<Arc<Answers<Arc<Identity>>>>,
    health: Arc<Health>,
}

/// Why there is no decision.
struct Failure {
    cause: String,
    /// It is the service that is down, and nothing that a client could bring about by what it sends.
    is_down: bool,
}

impl Provider {
    /// The answer that is remembered for such requests, if one is.
    pub fn known(&self, asked: &Asked<'_>) -> Option<Arc<Identity>> {
        let answers = self.answers.as_ref()?;
        answers.fresh(self.key(asked)?, Instant::now())
    }

    /// Asks the service.
    pub async fn ask(&self, asked: Asked<'_>) -> Decision {
        let place = tokio::time::timeout(self.patience, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            // Clients can bring that about, so it never lets anybody in.
            self.health.fails("too many requests wait for it");
            return Decision::Unavailable;
        };
        let answer = self.client.send(self.question(&asked)).await;
        let answer = answer.map_err(Failure::of);
        match answer.and_then(|answer| self.read(answer)) {
            Ok(decision) => {
                self.health.answers();
                if let Decision::Allowed(identity) = &decision {
                    self.remember(&asked, identity);
                }
                decision
            }
            Err(Failure { cause, is_down }) => {
                self.health.fails(&cause);
                match self.config.on_server_down {
                    OnServerDown::Allow if is_down => Decision::Unasked,
                    _ => Decision::Unavailable,
                }
            }
        }
    }

    /// The headers of requests that it gets.
    pub fn request_headers(&self) -> &[HeaderName] {
        &self.request_headers
    }

    /// The headers that an upstream gets of it, and of nobody else.
    pub fn response_headers(&self) -> &[HeaderName] {
        &self.response_headers
    }

    /// Whether it has proven this identity.
    pub fn has_proven(&self, identity: &Identity) -> bool {
        identity.authenticator == Self::NAME && identity.provider == self.name
    }

    /// How long a body it gets, if it gets any.
    pub fn body(&self) -> Option<usize> {
        self.config.body.map(|body| body.value.as_usize())
    }

    fn remember(&self, asked: &Asked<'_>, identity: &Arc<Identity>) {
        let (Some(answers), Some(remember)) = (&self.answers, &self.config.remember) else {
            return;
        };
        if let Some(key) = self.key(asked) {
            let fresh = Instant::now() + remember.r#for.as_std();
            let answer = Answer {
                value: identity.clone(),
                fresh,
                usable: fresh,
                is_refusal: false,
            };
            answers.put(key, answer);
        }
    }

    fn read(&self, answer: Response<Bytes>) -> Result<Decision, Failure> {
        let (head, body) = answer.into_parts();
        let status = head.status;
        if status.is_success() {
            let identity = self.identity(&head.headers);
            let identity = identity.map_err(|cause| Failure {
                cause,
                is_down: false,
            })?;
            return Ok(Decision::Allowed(Arc::new(identity)));
        }
        let is_for_client = status == StatusCode::UNAUTHORIZED
            || status == StatusCode::FORBIDDEN
            || (status.is_redirection() && status != StatusCode::NOT_MODIFIED);
        if !is_for_client {
            return match status.is_client_error() {
                true => Ok(Decision::Refused(status)),
                false => Err(Failure {
                    cause: format!("it answered {status}"),
                    is_down: status.is_server_error(),
                }),
            };
        }
        let mut headers = Vec::new();
        for name in self.answer_headers.iter().chain(&[CONTENT_TYPE]) {
            let values = head.headers.get_all(name);
            headers.extend(values.iter().map(|value| (name.clone(), value.clone())));
        }
        Ok(Decision::Denied(Denied {
            status,
            headers,
            body,
        }))
    }

    fn identity(&self, headers: &HeaderMap) -> Result<Identity, String> {
        let fields = &self.config.identity;
        let consumer = match text(headers, fields.consumer.as_ref())? {
            None => None,
            Some(name) => {
                let consumer = self.consumers.find(&name).cloned();
                Some(consumer.ok_or("it names a consumer that is not configured")?)
            }
        };
        let mut identity = match &consumer {
            Some(consumer) => Identity::of_consumer(consumer, Self::NAME, &self.name),
            None => Identity {
                authenticator: Self::NAME,
                provider: self.name.clone(),
                ..Identity::default()
            },
        };
        if fields.subject.is_some() {
            let subject = text(headers, fields.subject.as_ref())?;
            identity.subject = subject.ok_or("it does not say who calls")?;
        }
        if fields.scopes.is_some() {
            identity.scopes = words(headers, fields.scopes.as_ref())?;
        }
        for (name, to) in [
            (&fields.roles, &mut identity.roles),
            (&fields.groups, &mut identity.groups),
        ] {
            let said = words(headers, name.as_ref())?;
            *to = to.iter().cloned().chain(said).collect();
        }
        identity.plan = text(headers, fields.plan.as_ref())?.or(identity.plan);
        let mut claims = Map::new();
        for name in &self.response_headers {
            if let Some(value) = joined(headers, name)? {
                claims.insert(name.as_str().to_owned(), Value::String(value));
            }
        }
        identity.claims = claims;
        Ok(identity)
    }
}

impl Kind for Provider {
    const NAME: &'static str = "forward_auth";
    type Config = Config;
    type Credentials = ();

    fn credentials(_: &[Entry<'_>], _: Reads<'_>, _: &mut Subject<'_>) {}

    fn build(config: &Config, context: &mut Build<'_, Provider>) -> Option<Provider> {
        let folder = match &config.client.ca {
            Some(_) => context.folder(),
            None => std::path::Path::new(""),
        };
        let subject = &mut context.subject;
        let errors = subject.error_count();
        let client = Client::build(&config.client, folder, &mut subject.key("client"));
        if let Some(client) = &client {
            client.check(&config.url, &mut subject.key("url"));
        }
        let usual = [http::header::AUTHORIZATION, http::header::COOKIE];
        let request_headers = names(&config.request_headers, &usual, "request_headers", subject);
        let mut list = subject.key("response_headers");
        for (index, name) in config.response_headers.iter().enumerate() {
            if is_for_credentials(&name.value) {
                let mut subject = list.index(index);
                let problem = subject.error(name.span, TAKES_CREDENTIALS);
                problem.help(TAKES_NO_CREDENTIALS);
            }
        }
        let response_headers = Some(config.response_headers.clone());
        let response_headers = names(&response_headers, &[], "response_headers", subject);
        let usual = [
            http::header::WWW_AUTHENTICATE,
            http::header::LOCATION,
            http::header::SET_COOKIE,
        ];
        let answer_headers = names(&config.answer_headers, &usual, "answer_headers", subject);
        if let Some(body) = &config.body
            && config.method == Method::Get
        {
            let mut subject = subject.key("body");
            let problem = subject.error(body.span, "needs a method that has one");
            problem.help("write method = \"same\"");
        }
        if let Some(remember) = &config.remember {
            check(remember, &request_headers, &mut subject.key("remember"));
        }
        if subject.error_count() != errors {
            return None;
        }
        Some(Provider {
            name: context.name.clone(),
            client: client?,
            uri: config.url.uri().clone(),
            request_headers,
            response_headers,
            answer_headers,
            consumers: context.consumers.clone(),
            places: Semaphore::new(config.concurrent.get().into()),
            patience: config.client.timeout.as_std(),
            answers: answers(config, context.before),
            health: match context.before {
                Some(before) => before.health.clone(),
                None => Arc::new(Health::new(Self::NAME, context.name)),
            },
            config: config.clone(),
        })
    }
}

impl Failure {
    /// An exchange that breaks off may be one that the request breaks.
    fn of(error: ClientError) -> Failure {
        Failure {
            is_down: matches!(error, ClientError::Deadline(_) | ClientError::Connect(_)),
            cause: error.to_string(),
        }
    }
}

/// Whether answers are remembered for whom they were given.
fn check(remember: &Remember, request_headers: &[HeaderName], subject: &mut Subject<'_>) {
    let (by, mut subject) = (&remember.by, subject.key("by"));
    if by.value.is_empty() {
        let what = "must not be empty, or the first answer is for everybody";
        subject.error(by.span, what);
        return;
    }
    let is_part = |name: &HeaderName| by.value.iter().any(|part| part.is_field(name));
    let shown = request_headers.iter();
    for name in shown.filter(|it| is_credential(it) || **it == COOKIE) {
        if !is_part(name) {
            let what =
                format!("lacks {name}: an answer for one credential there is for all others");
            let warning = subject.warning(by.span, what);
            warning.help("name it here, or in request_headers only what the service decides by");
        }
    }
}

/// What is remembered already, where it would come out the same: what consumers are may have changed.
fn answers(config: &Config, before: Option<&Arc<Provider>>) -> Option<Arc<Answers<Arc<Identity>>>> {
    let remember = config.remember.as_ref()?;
    let before = before.filter(|before| before.config == *config);
    match before.and_then(|before| before.answers.clone()) {
        Some(answers) if config.identity.consumer.is_none() => Some(answers),
        _ => Some(Arc::new(Answers::new(remember.answers.get()))),
    }
}

fn names(
    config: &Option<Vec<Spanned<Name>>>,
    usual: &[HeaderName],
    key: &'static str,
    subject: &mut Subject<'_>,
) -> Box<[HeaderName]> {
    let Some(config) = config else {
        return usual.into();
    };
    let mut subject = subject.key(key);
    for (index, name) in config.iter().enumerate() {
        if is_engine_owned(&name.value) || name.value.as_str().starts_with("x-forwarded-") {
            subject.index(index).error(name.span, ENGINE_OWNED);
        }
    }
    let names = config.iter().map(|name| name.value.clone().into_inner());
    names.collect()
}

/// The lines of a header as one; an error where it is not ASCII.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, String> {
    let mut all: Option<String> = None;
    for value in headers.get_all(name) {
        let value = value
            .to_str()
            .map_err(|_| format!("its {name} is not ASCII"))?;
        match &mut all {
            None => all = Some(value.to_owned()),
            Some(all) => {
                all.push_str(", ");
                all.push_str(value);
            }
        }
    }
    Ok(all)
}

/// What one header says, which stands there once and is not empty.
fn text(headers: &HeaderMap, name: Option<&Name>) -> Result<Option<Box<str>>, String> {
    let Some(name) = name else { return Ok(None) };
    if headers.get_all(&**name).iter().count() > 1 {
        return Err(format!("it has {name} more than once"));
    }
    let text = joined(headers, name)?.filter(|text| !text.trim().is_empty());
    Ok(text.map(|text| text.trim().into()))
}

fn words(headers: &HeaderMap, name: Option<&Name>) -> Result<Box<[Box<str>]>, String> {
    let Some(name) = name else {
        return Ok(Box::default());
    };
    let text = joined(headers, name)?.unwrap_or_default();
    let words = text.split([',', ' ']).filter(|word| !word.is_empty());
    Ok(words.map(Into::into).collect())
}
