//! What finds out whose key it is.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ahash::RandomState;
use http::{HeaderMap, HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;

use super::index::{Index, Proof};
use super::key::{Shape, shape};
use super::place::{Places, Shown};
use super::{ApiKey, KeyHash, LONGEST_KEY, MOST_LIVE_KEYS, Prefix, Refused};
use crate::identity::challenge::{Realm, Word};
use crate::identity::directory::Reads;
use crate::identity::{Build, Consumer, Entry, Identity, Kind};
use crate::text::{HeaderName, Setting, Span, Spanned, Subject, Timestamp, give_way, quoted};

/// `[identity.api_key.NAME]`: where keys are looked for. A request that shows more than one, in whichever of these
/// places, is refused.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ApiKeyConfig")]
pub struct Config {
    /// The header that has the key. Default `"x-api-key"`; `"off"`: none.
    pub header: Setting<HeaderName>,
    /// The word before the key in that header: with `header = "authorization"` and `scheme = "ApiKey"` it is
    /// `Authorization: ApiKey KEY`. A value that begins with another word is not looked at. Default: `"ApiKey"` in
    /// `authorization`, none in any other header.
    pub scheme: Option<Spanned<Word>>,
    /// The parameter of the query that has the key. Addresses are kept in logs, histories and bookmarks, so a key in
    /// there is known to many. Default: none.
    pub query: Option<Word>,
    /// The cookie that has the key. Default: none.
    pub cookie: Option<Word>,
    /// What keys begin with that `northgate key new` makes: what begins with it and a `_` and is mistyped or cut off is
    /// refused without a look-up. Keys that begin otherwise are taken as they are. Default `"ng"`.
    pub prefix: Prefix,
    /// The realm that callers without a key are told, in `WWW-Authenticate`. Default `"api"`.
    pub realm: Realm,
}

impl Default for Config {
    fn default() -> Config {
        let header = http::HeaderName::from_static("x-api-key");
        Config {
            header: Setting::On(header.into()),
            scheme: None,
            query: None,
            cookie: None,
            prefix: Prefix::default(),
            realm: Realm::default(),
        }
    }
}

/// The keys of all consumers.
#[derive(Debug, Default)]
pub struct Known(Vec<KnownKey>);

#[derive(Debug)]
struct KnownKey {
    hash: KeyHash,
    id: Box<str>,
    expires: Option<Timestamp>,
    /// `None` for those of the consumer.
    scopes: Option<Box<[Box<str>]>>,
    consumer: Arc<Consumer>,
}

/// Finds keys in requests, and whose they are.
pub struct Provider {
    places: Places,
    prefix: Prefix,
    index: Index,
    challenge: HeaderValue,
}

impl Provider {
    /// Who calls, by the key that the request shows; `None` where it shows none. Nothing is allocated but for a key in
    /// the query that has escapes.
    pub fn identify(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Option<Arc<Identity>>, Refused> {
        match self.places.look(headers, query) {
            Shown::Nothing => Ok(None),
            Shown::One(key) => self.verify(&key).cloned().map(Some),
            Shown::Several => Err(Refused::Several),
        }
    }

    /// Whose key it is. That costs less than a microsecond however many keys there are.
    fn verify(&self, key: &[u8]) -> Result<&Arc<Identity>, Refused> {
        match key.len() {
            0 => return Err(Refused::Empty),
            1..=LONGEST_KEY => {}
            _ => return Err(Refused::Long),
        }
        if shape(&self.prefix, key) == Shape::Mistyped {
            return Err(Refused::Mistyped);
        }
        let found = self.index.find(&KeyHash::of(key));
        let found = found.ok_or(Refused::Unknown)?;
        if found.expires.is_some_and(|end| Timestamp::now() >= end) {
            return Err(Refused::Expired);
        }
        Ok(&found.identity)
    }

    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The value of `WWW-Authenticate`. No scheme of the IANA's registry is for keys; `ApiKey` is what others say.
    pub fn challenge(&self) -> &HeaderValue {
        &self.challenge
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.places.fmt(f)
    }
}

impl Kind for Provider {
    const NAME: &'static str = "api_key";
    type Config = Config;
    type Credentials = Known;

    fn credentials(entries: &[Entry<'_>], _: Reads<'_>, subject: &mut Subject<'_>) -> Known {
        let mut known = Known::default();
        let mut places: HashMap<KeyHash, Span, RandomState> = HashMap::default();
        let now = Timestamp::now();
        for (step, entry) in entries.iter().enumerate() {
            give_way(step);
            if entry.config.api_keys.is_empty() {
                continue;
            }
            let mut subject = subject.key(&entry.consumer.name);
            let mut subject = subject.key("api_keys");
            let mut live = 0;
            for (index, key) in entry.config.api_keys.iter().enumerate() {
                let mut subject = subject.index(index);
                if let Some(first) = places.insert(key.hash, key.span) {
                    let problem =
                        subject.error(key.span, "is a key that stands in the configuration twice");
                    problem.also(first, "first here");
                    continue;
                }
                if key.expires.is_some_and(|end| now >= end) {
                    let problem = subject.warning(key.span, "has expired");
                    problem.help("take it out");
                } else {
                    live += 1;
                }
                if live > MOST_LIVE_KEYS {
                    let what = "is one too many: a consumer has at most two keys that are good";
                    let problem = subject.error(key.span, what);
                    problem
                        .help("two are for changing from one to the other; take one out, or let one expire");
                }
                known.0.push(key.known(&entry.consumer, &mut subject));
            }
        }
        known
    }

    fn build(config: &Config, context: &mut Build<'_, Provider>) -> Option<Provider> {
        let errors = context.subject.error_count();
        let places = config.places(&mut context.subject, context.span);
        if context.subject.error_count() > errors {
            return None;
        }
        let proofs = context.credentials.0.iter().enumerate();
        let proofs = proofs.map(|(step, key)| {
            give_way(step);
            key.proof(context.name)
        });
        let scheme = places.scheme.as_deref().unwrap_or(SCHEME);
        Some(Provider {
            challenge: config.realm.challenge(scheme, ""),
            prefix: config.prefix.clone(),
            index: Index::new(proofs.collect()),
            places,
        })
    }

    fn usual() -> Option<Config> {
        Some(Config::default())
    }
}

/// Before a key in `Authorization`.
const SCHEME: &str = "ApiKey";

impl Config {
    fn places(&self, subject: &mut Subject<'_>, span: Span) -> Places {
        let header = self.header.as_ref().on().map(|name| (**name).clone());
        let is_authorization = header == Some(header::AUTHORIZATION);
        if header == Some(header::COOKIE) {
            let problem = subject.error(span, "has header = \"cookie\", which holds many things");
            problem.help("write cookie = \"NAME\"");
        }
        if let Some(scheme) = self.scheme.as_ref().filter(|_| header.is_none()) {
            let mut subject = subject.key("scheme");
            subject.error(scheme.span, "is of a header, and header is \"off\"");
        }
        if header.is_none() && self.query.is_none() && self.cookie.is_none() {
            let problem = subject.error(span, "has nowhere to look for keys");
            problem.help("leave header out, or name a cookie or a parameter of the query");
        }
        let scheme = self.scheme.as_ref().map(|scheme| &***scheme);
        let text = |word: &Option<Word>| word.as_ref().map(|word| (**word).into());
        Places {
            scheme: scheme
                .or(is_authorization.then_some(SCHEME))
                .map(Into::into),
            query: text(&self.query),
            cookie: text(&self.cookie),
            header,
        }
    }
}

impl ApiKey {
    fn known(&self, consumer: &Arc<Consumer>, subject: &mut Subject<'_>) -> KnownKey {
        let mut subject = subject.key("scopes");
        for (index, scope) in self.scopes.iter().flatten().enumerate() {
            if !consumer.scopes.contains(&scope.value) {
                let what = format!("is no scope of the consumer: {}", quoted(scope));
                let mut subject = subject.index(index);
                let problem = subject.error(scope.span, what);
                problem.help("a key has some of its consumer's scopes, never others");
            }
        }
        let scopes = self.scopes.as_deref();
        KnownKey {
            hash: self.hash,
            id: self
                .id
                .as_deref()
                .map_or_else(|| self.hash.name().into(), Into::into),
            expires: self.expires,
            scopes: scopes.map(|all| all.iter().map(|scope| scope.value.clone()).collect()),
            consumer: consumer.clone(),
        }
    }
}

impl KnownKey {
    fn proof(&self, provider: &Arc<str>) -> Proof {
        let mut identity = Identity::of_consumer(&self.consumer, Provider::NAME, provider);
        identity.credential = Some(self.id.clone());
        identity.expires = self.expires.map(Timestamp::unix);
        if let Some(scopes) = &self.scopes {
            identity.scopes = scopes.clone();
        }
        Proof {
            hash: self.hash,
            expires: self.expires,
            identity: Arc::new(identity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NewKey, make};
    use super::*;

    #[test]
    fn only_keys_that_are_known_and_good_prove_anybody() {
        let made: Vec<NewKey> = (0..4)
            .map(|_| make(&Prefix::default()).expect("randomness"))
            .collect();
        let foreign = "another-gateway/k+ey==";
        let proof = |key: &str, expires: Option<&str>, subject: &str| Proof {
            hash: KeyHash::of(key.as_bytes()),
            expires: expires.map(|it| it.parse().expect("a time")),
            identity: Arc::new(Identity {
                subject: subject.into(),
                ..Identity::default()
            }),
        };
        let provider = Provider {
            places: Places::default(),
            prefix: Prefix::default(),
            index: Index::new(vec![
                proof(&made[0].text, None, "ann"),
                proof(&made[1].text, Some("2999-01-01"), "ben"),
                proof(&made[2].text, Some("2001-01-01"), "cid"),
                proof(foreign, None, "dan"),
            ]),
            challenge: HeaderValue::from_static(""),
        };
        let check = |key: &str, expected: Result<&str, Refused>| {
            let proven = provider.verify(key.as_bytes());
            assert_eq!(proven.map(|identity| &*identity.subject), expected, "{key}");
        };
        check(&made[0].text, Ok("ann"));
        check(&made[1].text, Ok("ben"));
        check(&made[2].text, Err(Refused::Expired));
        check(&made[3].text, Err(Refused::Unknown));
        check(foreign, Ok("dan"));
        check("", Err(Refused::Empty));
        let hash = KeyHash::of(made[0].text.as_bytes()).to_string();
        check(&hash, Err(Refused::Unknown));
        check(&made[0].text[..51], Err(Refused::Mistyped));
        check(&"k".repeat(LONGEST_KEY), Err(Refused::Unknown));
        check(&"k".repeat(LONGEST_KEY + 1), Err(Refused::Long));
    }
}
