//! Tokens that only the server that gave them out can read: it is asked about each (RFC 7662).

mod config;
mod response;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Uri};
use tokio::sync::Semaphore;

use super::answers::{Answer, Answers, Question};
use super::directory::Reads;
use super::health::Health;
use super::mapping::{Mapping, MappingConfig, Proof};
use super::{Build, Client, Entry, Identity, Kind};
use crate::text::{Secret, Spanned, Subject};
use response::{Expected, Said};

pub use super::answers::Unanswered;
pub use config::{ClientAuthentication, Config, OnServerDown};

/// Asks one server about tokens.
#[derive(Debug)]
pub struct Provider {
    name: Arc<str>,
    config: Config,
    client: Client,
    uri: Uri,
    /// For `client_secret_basic`.
    authorization: Option<HeaderValue>,
    /// What every form ends with: the hint, and the client for `client_secret_post`.
    form_end: Box<str>,
    expected: Expected,
    mapping: Mapping,
    /// For tokens that say no subject: those of programs that call for themselves.
    mapping_of_clients: Option<Mapping>,
    rules: Rules,
    /// How many questions may be on their way.
    places: Semaphore,
    answers: Arc<Answers<Verdict>>,
    health: Arc<Health>,
}

/// How long answers hold.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rules {
    remember: Duration,
    remember_refused: Duration,
    /// How long beyond that an answer stands in for a server that is down.
    stand_in: Duration,
    /// How long a question waits for a place.
    patience: Duration,
}

/// What is known of a token.
#[derive(Clone, Debug)]
pub enum Verdict {
    Active(Arc<Identity>),
    Refused(Cow<'static, str>),
}

impl Provider {
    /// What is known of a token without asking, or else the question.
    pub fn known(&self, token: &str) -> Result<Verdict, Question> {
        let question = Question::new([token.as_bytes()]);
        let known = self.answers.fresh(question, Instant::now());
        known.ok_or(question)
    }

    /// Asks the server, or waits for another who does. An error where there is no answer that could be used.
    pub async fn ask(
        self: &Arc<Self>,
        token: &str,
        question: Question,
    ) -> Result<Verdict, Unanswered> {
        let answer = self.answers.ask(question, || {
            let (own, token) = (self.clone(), Box::from(token));
            async move { own.question(&token).await }
        });
        answer.await
    }

    async fn question(&self, token: &str) -> Result<Answer<Verdict>, Unanswered> {
        let place = tokio::time::timeout(self.rules.patience, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            self.health.fails("too many tokens are asked about");
            return Err(Unanswered);
        };
        let answer = self.client.send(self.request(token)).await;
        let now = unix_now();
        let said = answer
            .map_err(|error| error.to_string())
            .and_then(|answer| response::read(&answer, &self.expected, now));
        match said {
            Ok(said) => {
                self.health.answers();
                Ok(self.verdict(said, now))
            }
            Err(cause) => {
                self.health.fails(&cause);
                Err(Unanswered)
            }
        }
    }

    fn request(&self, token: &str) -> Request<Bytes> {
        let mut form = String::with_capacity(token.len() + self.form_end.len() + 64);
        form.push_str("token=");
        encode(&mut form, token.as_bytes());
        form.push_str(&self.form_end);
        let mut request = Request::new(Bytes::from(form));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }

    fn verdict(&self, said: Said, now: u64) -> Answer<Verdict> {
        let rules = self.rules;
        let at = Instant::now();
        let (claims, expires) = match said {
            Said::Active { claims, expires } => (claims, expires),
            Said::Refused(cause) => return refused(cause, at, rules),
        };
        let mapping = match &self.mapping_of_clients {
            Some(mapping) if !claims.contains_key("sub") => mapping,
            _ => &self.mapping,
        };
        let proof = Proof {
            authenticator: Self::NAME,
            provider: &self.name,
            expires,
        };
        match mapping.identity(claims, proof) {
            Err(unmapped) => refused(unmapped.to_string().into(), at, rules),
            Ok(identity) => {
                let left = expires.map(|expires| Duration::from_secs(expires.saturating_sub(now)));
                let until = |time: Duration| at + left.map_or(time, |left| left.min(time));
                Answer {
                    value: Verdict::Active(Arc::new(identity)),
                    fresh: until(rules.remember),
                    usable: until(rules.remember + rules.stand_in),
                    is_refusal: false,
                }
            }
        }
    }
}

fn refused(cause: Cow<'static, str>, at: Instant, rules: Rules) -> Answer<Verdict> {
    let fresh = at + rules.remember_refused;
    Answer {
        value: Verdict::Refused(cause),
        fresh,
        usable: fresh + rules.stand_in,
        is_refusal: true,
    }
}

impl Kind for Provider {
    const NAME: &'static str = "introspection";
    type Config = Config;
    type Credentials = ();

    fn credentials(_: &[Entry<'_>], _: Reads<'_>, _: &mut Subject<'_>) {}

    fn build(config: &Config, context: &mut Build<'_, Provider>) -> Option<Provider> {
        let folder = context.folder();
        let client = Client::build(&config.client, folder, &mut context.subject.key("client"));
        let secret = read(
            &config.client_secret,
            folder,
            &mut context.subject.key("client_secret"),
        );
        let (client, secret) = (client?, secret?);
        if !client.check(&config.url, &mut context.subject.key("url")) {
            return None;
        }
        let mut form_end = String::from("&token_type_hint=access_token");
        let authorization = match config.client_authentication {
            ClientAuthentication::Basic => Some(basic(&config.client_id, &secret)?),
            ClientAuthentication::Post => {
                form_end.push_str("&client_id=");
                encode(&mut form_end, config.client_id.as_bytes());
                form_end.push_str("&client_secret=");
                encode(&mut form_end, &secret);
                None
            }
        };
        let of_clients = MappingConfig {
            subject: Some("client_id".into()),
            ..config.claims.clone()
        };
        let of_clients = Mapping::new(&of_clients, context.consumers);
        Some(Provider {
            name: context.name.clone(),
            uri: config.url.uri().clone(),
            client,
            authorization,
            form_end: form_end.into(),
            expected: Expected {
                issuer: config.issuer.clone(),
                audiences: config.audiences.as_slice().into(),
            },
            mapping: Mapping::new(&config.claims, context.consumers),
            mapping_of_clients: config.claims.subject.is_none().then_some(of_clients),
            rules: Rules::of(config),
            places: Semaphore::new(config.concurrent.get().into()),
            answers: answers(config, context.before),
            health: match context.before {
                Some(before) => before.health.clone(),
                None => Arc::new(Health::new(Self::NAME, context.name)),
            },
            config: config.clone(),
        })
    }
}

impl Rules {
    fn of(config: &Config) -> Rules {
        Rules {
            remember: config.remember.as_std(),
            remember_refused: config.remember_refused.as_std(),
            stand_in: match config.on_server_down {
                OnServerDown::Refuse => Duration::ZERO,
                OnServerDown::AllowCached => config.allow_cached_for.as_std(),
            },
            patience: config.client.timeout.as_std(),
        }
    }
}

/// What is known already, where it would come out the same: what consumers are may have changed.
fn answers(config: &Config, before: Option<&Arc<Provider>>) -> Arc<Answers<Verdict>> {
    let is_same = |before: &&Arc<Provider>| before.config == *config;
    match before.filter(is_same) {
        Some(before) if config.claims.consumer.is_none() => before.answers.clone(),
        _ => Arc::new(Answers::new(config.remembered.get())),
    }
}

fn read(secret: &Spanned<Secret>, folder: &Path, subject: &mut Subject<'_>) -> Option<Vec<u8>> {
    match secret.value.read(folder) {
        Ok(secret) => Some(secret.expose().to_vec()),
        Err(error) => {
            subject.error(secret.span, error);
            None
        }
    }
}

fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// As forms are encoded, but for the space, of which tokens and names have none.
fn encode(to: &mut String, text: &[u8]) {
    for byte in text {
        match *byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                to.push(char::from(*byte));
            }
            _ => {
                let _ = write!(to, "%{byte:02X}");
            }
        }
    }
}

/// RFC 6749 section 2.3.1: both are encoded as in a form before they are joined.
fn basic(id: &str, secret: &[u8]) -> Option<HeaderValue> {
    let mut pair = String::new();
    encode(&mut pair, id.as_bytes());
    pair.push(':');
    encode(&mut pair, secret);
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_encoded_before_they_are_joined() {
        // RFC 6749 appendix B: what is no letter and no digit is encoded, so that a colon divides.
        let value = basic("a:b", b"c d%&").expect("a value");
        let decoded = value.to_str().expect("ASCII").strip_prefix("Basic ");
        let decoded = BASE64.decode(decoded.expect("the scheme")).expect("base64");
        assert_eq!(decoded, b"a%3Ab:c%20d%25%26");
        assert!(value.is_sensitive());
    }
}
