//! `[identity.jwt.NAME]`, as written and as checked.

use http::HeaderName as PlainName;
use http::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Deserialize;

use super::rules::{Rules, Types};
use crate::identity::api_key::Places;
use crate::identity::{MappingConfig, keys};
use crate::text::{ByteSize, Duration, HeaderName, Setting, Spanned, Subject};

/// `[identity.jwt.NAME]`: whose tokens prove what.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "JwtConfig")]
pub struct Config {
    /// Who signs the tokens: what `iss` has to be, byte for byte.
    pub issuer: Spanned<String>,
    /// Whom tokens are for: one of these has to be in `aud`. `"off"` takes tokens that were made for anybody, also
    /// those that somebody else has got and hands on.
    pub audiences: Spanned<Setting<Vec<Box<str>>>>,
    /// Where the keys come from. Default: what the issuer publishes by OpenID Connect Discovery.
    #[serde(rename = "jwks")]
    pub keys: Option<Spanned<keys::Config>>,
    /// The algorithms that tokens may be signed by; each key serves those of its own type among them. Default: all,
    /// which are HS256, HS384 and HS512 for a secret and the others for keys that are published.
    pub algorithms: Option<Spanned<Vec<keys::Algorithm>>>,
    /// What `typ` has to be, such as `["at+jwt"]`. Default: `JWT`, `at+jwt` or nothing; tokens that are meant for
    /// something else say so there.
    pub types: Option<Spanned<Vec<Box<str>>>>,
    /// Claims that have to be there, besides `iss`, `exp`, `aud` and the subject. Default: none.
    #[serde(default)]
    pub required_claims: Vec<Box<str>>,
    /// How far the issuer's clock and this one may be apart. Default `"30s"`, at most `"10m"`.
    pub leeway: Option<Spanned<Duration>>,
    /// The longest time from `iat` to `exp`; tokens that do not say when they were issued are refused then. Default: as
    /// long as the issuer says.
    pub max_lifetime: Option<Duration>,
    /// Longer tokens are refused unread. Default `"16KiB"`.
    pub max_token_size: Option<ByteSize>,
    /// How many verified tokens are remembered, so that they cost no check of a signature when they come again; at most
    /// 1000000. Each takes about four times its length. Default 10000, 0 for none.
    pub remembered_tokens: Option<Spanned<u32>>,
    /// Which claims say what of the caller.
    #[serde(default)]
    pub claims: MappingConfig,
    /// The header with the token. In `authorization` it follows the word `Bearer`, in others it stands alone. Default
    /// `"authorization"`, unless `cookie` or `query` is there.
    pub header: Option<HeaderName>,
    /// The cookie with the token. Default: none.
    pub cookie: Option<Box<str>>,
    /// The parameter of the query with the token. URLs are written to logs and histories: only for clients that can do
    /// nothing else. Default: none.
    pub query: Option<Box<str>>,
}

const LEEWAY: Duration = Duration::from_secs(30);
const LONGEST_LEEWAY: Duration = Duration::from_secs(600);
const LONGEST_TOKEN: ByteSize = ByteSize::from_kib(16);
const REMEMBERED: u32 = 10_000;
const MOST_REMEMBERED: u32 = 1_000_000;

impl Config {
    /// `None` after diagnostics.
    pub(super) fn rules(&self, subject: &mut Subject<'_>) -> Option<Rules> {
        let errors = subject.error_count();
        if self.issuer.is_empty() {
            subject.key("issuer").error(self.issuer.span, "is empty");
        }
        let audiences = match &self.audiences.value {
            Setting::Off => None,
            Setting::On(audiences) => {
                if audiences.is_empty() || audiences.iter().any(|one| one.is_empty()) {
                    let mut subject = subject.key("audiences");
                    subject
                        .error(self.audiences.span, "must name who tokens are for")
                        .help("write \"off\" to take tokens that were made for anybody");
                }
                Some(audiences.as_slice().into())
            }
        };
        let types = match &self.types {
            None => Types::Usual,
            Some(types) => {
                if types.is_empty() {
                    subject.key("types").error(types.span, "is empty");
                }
                Types::Only(types.value.as_slice().into())
            }
        };
        let leeway = self.leeway.as_ref();
        if let Some(long) = leeway.filter(|leeway| leeway.value > LONGEST_LEEWAY) {
            let mut subject = subject.key("leeway");
            subject.error(long.span, "must not be longer than 10m");
        }
        let algorithms = self.algorithms(subject);
        (subject.error_count() == errors).then(|| Rules {
            algorithms,
            types,
            issuer: self.issuer.as_str().into(),
            audiences,
            required: self.required_claims.as_slice().into(),
            leeway: leeway
                .map_or(LEEWAY, |leeway| leeway.value)
                .as_std()
                .as_secs(),
            longest_life: self.max_lifetime.map(|life| life.as_std().as_secs()),
        })
    }

    /// Algorithms that no key can serve are mistakes; so is a hope that published keys are secret.
    fn algorithms(&self, subject: &mut Subject<'_>) -> keys::Algorithms {
        let Some(algorithms) = &self.algorithms else {
            return keys::Algorithm::ALL.into_iter().collect();
        };
        let mut subject = subject.key("algorithms");
        if algorithms.is_empty() {
            subject.error(algorithms.span, "is empty");
        }
        let keys = self.keys.as_ref();
        let (is_secret, is_file) = keys.map_or((false, false), |keys| {
            (keys.secret.is_some(), keys.file.is_some())
        });
        for algorithm in algorithms.iter().filter(|_| !is_file) {
            if algorithm.is_symmetric() && !is_secret {
                let what =
                    format!("has {algorithm}, which goes by a secret, and keys that are published");
                subject.error(algorithms.span, what);
            } else if !algorithm.is_symmetric() && is_secret {
                let what = format!("has {algorithm}, and the key is a secret");
                subject.error(algorithms.span, what);
            }
        }
        algorithms.iter().copied().collect()
    }

    pub(super) fn places(&self) -> Places {
        let is_elsewhere = self.cookie.is_some() || self.query.is_some();
        let header: Option<PlainName> = match &self.header {
            Some(name) => Some(name.clone().into_inner()),
            None => (!is_elsewhere).then_some(AUTHORIZATION),
        };
        let is_bearer = header == Some(AUTHORIZATION);
        Places {
            scheme: is_bearer.then(|| "Bearer".into()),
            header,
            cookie: self.cookie.clone(),
            query: self.query.clone(),
        }
    }

    pub(super) fn longest_token(&self) -> usize {
        self.max_token_size.unwrap_or(LONGEST_TOKEN).as_usize()
    }

    /// `None` after diagnostics.
    pub(super) fn remembered(&self, subject: &mut Subject<'_>) -> Option<usize> {
        let Some(number) = &self.remembered_tokens else {
            return Some(REMEMBERED as usize);
        };
        if number.value > MOST_REMEMBERED {
            let mut subject = subject.key("remembered_tokens");
            subject.error(number.span, format!("must be at most {MOST_REMEMBERED}"));
            return None;
        }
        Some(number.value as usize)
    }
}
