//! `consumers.NAME.signing_keys`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahash::RandomState;
use schemars::JsonSchema;
use serde::Deserialize;

use super::key::Key;
use super::replay::Window;
use crate::identity::directory::Reads;
use crate::identity::{Consumer, Entry, read_bytes};
use crate::text::{Secret, Span, Spanned, Subject};

/// A key that a consumer signs its requests with: `secret` or `public_key`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SigningKey {
    /// What signatures call it by, their `keyid`; no two consumers have the same. It is logged.
    pub id: Box<str>,
    /// What both sides know, of 32 bytes or more, for `hmac-sha256`.
    pub secret: Option<Spanned<Secret>>,
    /// A public key in PEM, for `ed25519`, `ecdsa-p256-sha256`, `ecdsa-p384-sha384` or `rsa-pss-sha512`, as the key is.
    pub public_key: Option<Spanned<PublicKey>>,
}

/// Where a public key is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SigningPublicKey")]
pub enum PublicKey {
    /// In a file, relative to the folder of the configuration file.
    File(PathBuf),
    /// Here: `"-----BEGIN PUBLIC KEY-----\n…"`.
    Pem(Box<str>),
}

/// A key and whose it is.
type Owned = (Arc<Key>, Arc<Consumer>);

/// The keys of all consumers, by id, and what was shown that is signed with them.
#[derive(Debug, Default)]
pub struct Keys {
    by_id: HashMap<Box<str>, Owned, RandomState>,
    /// One for all providers, so that none lets in again what another has let in.
    pub(super) window: Window,
}

impl Keys {
    pub(super) fn of(entries: &[Entry<'_>], reads: Reads<'_>, subject: &mut Subject<'_>) -> Keys {
        let mut keys = Keys::default();
        let mut places: HashMap<&str, Span> = HashMap::new();
        for entry in entries {
            let signing_keys = &entry.config.signing_keys;
            if signing_keys.is_empty() {
                continue;
            }
            let mut subject = subject.key(&entry.consumer.name);
            let mut subject = subject.key("signing_keys");
            for (index, config) in signing_keys.iter().enumerate() {
                let mut subject = subject.index(index);
                if config.id.is_empty() {
                    subject.error(config.span, "needs an id, which signatures call it by");
                    continue;
                }
                if let Some(first) = places.insert(&config.id, config.span) {
                    let what = format!("has the id {:?}, as another key", config.id);
                    subject.error(config.span, what).also(first, "first here");
                    continue;
                }
                reads.files();
                if let Some(key) = read(config, entry.folder, &mut subject) {
                    let owned = (Arc::new(key), entry.consumer.clone());
                    keys.by_id.insert(config.id.clone(), owned);
                }
            }
        }
        keys
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Key>, &Arc<Consumer>)> {
        let keys = self.by_id.iter();
        keys.map(|(id, (key, consumer))| (&**id, key, consumer))
    }
}

fn read(config: &Spanned<SigningKey>, folder: &Path, subject: &mut Subject<'_>) -> Option<Key> {
    let (key, name, span) = match (&config.secret, &config.public_key) {
        (Some(secret), None) => {
            let key = secret.read(folder).map_err(|error| error.to_string());
            let key =
                key.and_then(|it| Key::shared(it.expose()).map_err(|error| error.to_string()));
            (key, "secret", secret.span)
        }
        (None, Some(public)) => {
            let key = match &public.value {
                PublicKey::Pem(text) => Ok(text.as_bytes().to_vec()),
                PublicKey::File(path) => {
                    read_bytes(&folder.join(path)).map_err(|error| error.to_string())
                }
            };
            let key = key.and_then(|pem| Key::public(&pem).map_err(|error| error.to_string()));
            (key, "public_key", public.span)
        }
        _ => {
            subject.error(config.span, "must have either secret or public_key");
            return None;
        }
    };
    key.map_err(|error| {
        subject.key(name).error(span, error);
    })
    .ok()
}
