//! Requests that are signed (RFC 9421), so that nobody on the way can change them or send them again.
//!
//! In: a [`Message`], which is a request as it is routed and forwarded, and the keys of consumers. Out: whose key has
//! signed it. What was shown once is remembered in a `Window` for as long as it could be shown
//! again, by all providers together and over reloads too.

mod component;
mod digest;
mod key;
mod replay;
mod signature;
mod signing_key;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ahash::RandomState;
use schemars::JsonSchema;
use serde::Deserialize;

use super::directory::Reads;
use super::{Build, Capacity, Entry, Identity, Kind};
use crate::text::structured::Bare;
use crate::text::{Duration, Subject};
use key::Key;
use replay::Shown;
use signature::{Rules, Verified, verify};

pub use component::{Component, Message, Required};
pub use digest::Digests;
pub use signature::{SIGNATURE, SIGNATURE_INPUT};
pub use signing_key::{Keys, PublicKey, SigningKey};

/// `[identity.hmac.NAME]`: what a signature has to be like.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "HmacConfig")]
pub struct Config {
    /// What every signature covers, at least: `@method`, `@authority`, `@path`, `@query`, `@scheme`, `@target-uri`,
    /// `@request-target`, and names of headers. `@target-uri` stands for all of them but the method. Default
    /// `["@method", "@authority", "@path", "@query"]`.
    pub components: Vec<Required>,
    /// Whether a signature covers the `Content-Digest` of a body: `"required"`, where there is a body, or
    /// `"optional"`. A digest that is there is compared with the body either way. Default `"required"`.
    pub content_digest: ContentDigest,
    /// The `tag` that a signature has. Signatures without it are passed over. Default: any or none.
    pub tag: Option<Box<str>>,
    /// For how long after `created` a signature is good, and with it how long nonces are remembered. Default `"1m"`.
    pub max_age: Duration,
    /// By how much the clocks of signers and of the gateway may differ. Default `"30s"`.
    pub skew: Duration,
    /// How many signatures can be remembered, so that none is shown twice, from 1,000 to 100,000,000. Each takes
    /// about 40 bytes for up to twice `max_age` and `skew`. A request that there is no room for gets 503. Providers
    /// remember together; the largest number, and the longest time, are for all of them. Default 1,000,000.
    pub remembered: Capacity,
}

/// Whether bodies have to be covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContentDigest {
    #[default]
    Required,
    Optional,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            components: Required::usual().into(),
            content_digest: ContentDigest::Required,
            tag: None,
            max_age: Duration::from_secs(60),
            skew: Duration::from_secs(30),
            remembered: Capacity::new(1_000_000),
        }
    }
}

/// Proves consumers by their signatures.
#[derive(Debug)]
pub struct Provider {
    name: Arc<str>,
    rules: Rules,
    signers: HashMap<Box<str>, Signer, RandomState>,
    /// Which has the window of what was shown.
    keys: Arc<Keys>,
    /// What a signature should be like, for `Accept-Signature`.
    wanted: Box<str>,
}

/// One key and whom it proves.
#[derive(Debug)]
struct Signer {
    key: Arc<Key>,
    identity: Arc<Identity>,
}

impl AsRef<Key> for Signer {
    fn as_ref(&self) -> &Key {
        &self.key
    }
}

/// What a request's signature proves.
#[derive(Debug)]
pub enum Proof {
    /// It is not signed.
    None,
    Good(Arc<Identity>),
    /// Why not, for the log.
    Bad(String),
    /// It is good, and it cannot be told whether it is shown for the first time.
    Full,
}

impl Provider {
    /// Verifies the signature of a request, which is good only once.
    pub fn prove(&self, message: &Message<'_>) -> Proof {
        match verify(message, &self.rules, unix_now(), |id| self.signers.get(id)) {
            Ok(None) => Proof::None,
            Ok(Some(Verified { key, mark })) => match self.keys.window.show(mark, Instant::now()) {
                Shown::First => Proof::Good(key.identity.clone()),
                Shown::Again => Proof::Bad("it was shown before".into()),
                Shown::Full => Proof::Full,
            },
            Err(cause) => Proof::Bad(cause),
        }
    }

    /// A value of `Accept-Signature` (RFC 9421 section 5.1).
    pub fn wanted(&self) -> &str {
        &self.wanted
    }

    /// Whether it has proven this identity, and the body has to be covered for it.
    pub fn wants_digest(&self, identity: &Identity) -> bool {
        self.rules.is_digest_required && self.name == identity.provider
    }
}

impl Kind for Provider {
    const NAME: &'static str = "hmac";
    type Config = Config;
    type Credentials = Keys;

    fn credentials(entries: &[Entry<'_>], reads: Reads<'_>, subject: &mut Subject<'_>) -> Keys {
        Keys::of(entries, reads, subject)
    }

    fn resume(credentials: &mut Keys, before: &Keys) {
        credentials.window = before.window.resumed();
    }

    fn build(config: &Config, context: &mut Build<'_, Provider>) -> Option<Provider> {
        let rules = rules(config);
        let wanted = wanted(&rules);
        let identity = |id: &str, consumer| {
            let mut identity = Identity::of_consumer(consumer, Self::NAME, context.name);
            identity.credential = Some(id.into());
            Arc::new(identity)
        };
        let keys = context.credentials.iter();
        let signers = keys.map(|(id, key, consumer)| {
            let identity = identity(id, consumer);
            let key = key.clone();
            (id.into(), Signer { key, identity })
        });
        let window = &context.credentials.window;
        window.fit(rules.longest(), config.remembered.get());
        Some(Provider {
            name: context.name.clone(),
            rules,
            signers: signers.collect(),
            keys: context.credentials.clone(),
            wanted: wanted.into(),
        })
    }

    fn usual() -> Option<Config> {
        Some(Config::default())
    }
}

fn rules(config: &Config) -> Rules {
    let seconds = |duration: Duration| {
        // Durations end at ten years.
        i64::try_from(duration.as_std().as_secs().max(1)).unwrap_or(i64::MAX)
    };
    Rules {
        required: config.components.iter().map(|it| it.0.clone()).collect(),
        is_digest_required: config.content_digest == ContentDigest::Required,
        tag: config.tag.clone(),
        max_age: seconds(config.max_age),
        skew: seconds(config.skew),
    }
}

fn wanted(rules: &Rules) -> String {
    let mut names: Vec<_> = rules.required.iter().map(Component::name).collect();
    if rules.is_digest_required {
        names.push("content-digest");
    }
    let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    let mut text = format!("sig=({});created;nonce;keyid", names.join(" "));
    if let Some(tag) = &rules.tag {
        text.push_str(&format!(";tag={}", Bare::String((&**tag).into())));
    }
    text
}

/// Before 1970 nothing is good.
fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}
