//! Where keys come from, as written.

use std::path::PathBuf;
use std::time::Duration as StdDuration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::identity::{ClientConfig, Url};
use crate::text::{Duration, Secret, Span, Spanned, Subject};

/// Longer ones would have requests wait for nothing.
const LONGEST_COOLDOWN: StdDuration = StdDuration::from_secs(10);

/// The keys that verify tokens: `url`, `file`, `inline` or `secret`. With none of them, they are what the issuer
/// publishes by OpenID Connect Discovery.
///
/// Published keys are fetched in the background, ahead of their expiry, and kept while the provider is down. A key
/// that the provider has withdrawn is accepted until the next fetch, which begins within `refresh`; while the provider
/// gives no good answer, for at most `max_stale` after the beginning of the last fetch with one.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "KeysConfig")]
pub struct Config {
    /// A JSON Web Key Set at this URL.
    pub url: Option<Spanned<Url>>,
    /// A file with a JSON Web Key Set, one JSON Web Key, or public keys in PEM. It is read again when it changes.
    pub file: Option<Spanned<PathBuf>>,
    /// The same as text; public keys only.
    pub inline: Option<Spanned<String>>,
    /// What the issuer and the gateway share, for HS256, HS384 and HS512: at least as many bytes as the hash has.
    pub secret: Option<Spanned<Secret>>,
    /// The longest time from one fetch to the next. A `Cache-Control: max-age` of the provider shortens it, down to 30
    /// seconds. Default `"5m"`.
    pub refresh: Duration,
    /// How long keys are used after they were last fetched, where the provider gives no good answer any more. Default
    /// `"6h"`.
    pub max_stale: Duration,
    /// The shortest time from a fetch to one for a token whose key is not known, by its name or because no key has
    /// signed it, however many such tokens there are. Such a token waits for that fetch; where its key is not in it
    /// either, the token, or all tokens that say this name, are refused without another for as long. So whoever guesses
    /// the name of a key that is to come, and uses it right before it is published, has good tokens of that name refused
    /// for this time. Default `"5s"`, at most `"10s"`.
    pub cooldown: Duration,
    /// How the provider is asked.
    pub client: ClientConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            url: None,
            file: None,
            inline: None,
            secret: None,
            refresh: Duration::from_secs(5 * 60),
            max_stale: Duration::from_secs(6 * 60 * 60),
            cooldown: Duration::from_secs(5),
            client: ClientConfig::default(),
        }
    }
}

impl Config {
    /// Whether anything of it stands in files.
    pub(super) fn reads_files(&self) -> bool {
        self.file.is_some() || self.secret.is_some() || self.client.ca.is_some()
    }

    /// Reports what contradicts itself; false where anything does.
    pub(super) fn check(&self, span: Span, subject: &mut Subject<'_>) -> bool {
        let errors = subject.error_count();
        let places = [
            ("url", self.url.as_ref().map(|it| it.span)),
            ("file", self.file.as_ref().map(|it| it.span)),
            ("inline", self.inline.as_ref().map(|it| it.span)),
            ("secret", self.secret.as_ref().map(|it| it.span)),
        ];
        let mut places = places
            .into_iter()
            .filter_map(|(key, span)| Some((key, span?)));
        let first = places.next();
        if let (Some((first, before)), Some((key, span))) = (first, places.next()) {
            subject
                .key(key)
                .error(span, format!("the keys come from {first} already"))
                .also(before, format!("{first} is here"))
                .help("leave one of them");
        }
        if self.max_stale < self.refresh {
            let mut subject = subject.key("max_stale");
            subject.error(span, "must not be shorter than refresh");
        }
        if self.cooldown.as_std() > LONGEST_COOLDOWN {
            let mut subject = subject.key("cooldown");
            subject.error(span, "must not be longer than 10s");
        }
        subject.error_count() == errors
    }
}
