//! One provider's tokens, from what is known of them already to what has to be waited for.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;

use super::config::Config;
use super::refused::Refused;
use super::remembered::{Hash, Remembered, Validity};
use super::verifier::{Plausible, Verifier};
use crate::identity::api_key::{Places, Shown};
use crate::identity::directory::Reads;
use crate::identity::keys::{KeySet, Source, Wanted};
use crate::identity::{Build, Entry, Identity, Kind, Mapping};
use crate::text::Subject;

/// Judges the tokens of one issuer.
#[derive(Debug)]
pub struct Provider {
    verifier: Verifier,
    keys: Source,
    remembered: Remembered,
    places: Places,
}

/// What is found out about a token at once.
#[derive(Debug)]
pub enum Judged<'t> {
    Proven(Arc<Identity>),
    Refused(Refused),
    /// No key is known that has signed it; [`Provider::settle`] waits for newer ones.
    Waits(Waiting<'t>),
}

/// A token that everything is right with, as far as it can be seen without its key.
#[derive(Debug)]
pub struct Waiting<'t> {
    text: &'t [u8],
    hash: Hash,
    plausible: Plausible<'t>,
    /// Keys that have not signed it, and why that is known.
    tried: Option<(Arc<KeySet>, Refused)>,
}

/// Why a token proves nothing, after waiting for its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsettled {
    Refused(Refused),
    /// The provider does not say what its keys are.
    Unavailable,
}

impl Provider {
    /// What a request shows.
    pub fn look<'r>(&self, headers: &'r HeaderMap, query: Option<&'r str>) -> Shown<'r> {
        self.places.look(headers, query)
    }

    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Judges a token. One that was verified before costs a look at it; any other a check of its signature.
    pub fn judge<'t>(&self, token: &'t [u8]) -> Judged<'t> {
        self.judge_at(token, now())
    }

    fn judge_at<'t>(&self, token: &'t [u8], now: u64) -> Judged<'t> {
        let hash = self.remembered.hash(token);
        // Before anything is checked: a token is remembered for the keys that it was checked with.
        let keys = self.keys.current();
        if let Some(identity) = self.remembered.find(hash, token, now, &keys) {
            return Judged::Proven(identity);
        }
        if self.remembered.is_stranger(hash) {
            return Judged::Refused(Refused::Issuer);
        }
        drop(keys);
        let plausible = match self.verifier.plausible(token, now) {
            Ok(plausible) => plausible,
            Err(refused) => {
                if refused == Refused::Issuer {
                    self.remembered.keep_out(hash);
                }
                return Judged::Refused(refused);
            }
        };
        let mut waiting = Waiting {
            text: token,
            hash,
            plausible,
            tried: None,
        };
        let Some(keys) = self.keys.keys(waiting.plausible.kid()) else {
            return Judged::Waits(waiting);
        };
        match self.conclude(&mut waiting, &keys, now) {
            Ok(identity) => Judged::Proven(identity),
            // The provider may have begun to sign with another key, and not have said so by a new name.
            Err(why @ (Refused::NoKey | Refused::Signature)) if self.keys.may_change(hash.0) => {
                waiting.tried = Some((keys.clone(), why));
                Judged::Waits(waiting)
            }
            Err(refused) => Judged::Refused(refused),
        }
    }

    /// Waits for newer keys, under a deadline, and judges by them.
    pub async fn settle(&self, mut waiting: Waiting<'_>) -> Result<Arc<Identity>, Unsettled> {
        let wanted = match &waiting.tried {
            Some((than, _)) => Wanted::Other {
                than: than.clone(),
                token: waiting.hash.0,
            },
            None => Wanted::Named(waiting.plausible.kid()),
        };
        let keys = self.keys.renewed(wanted).await;
        let keys = keys.map_err(|_| Unsettled::Unavailable)?;
        match &waiting.tried {
            // There are no newer ones, so that the signature need not be checked once more.
            Some((tried, why)) if Arc::ptr_eq(tried, &keys) => Err(Unsettled::Refused(*why)),
            _ => self
                .conclude(&mut waiting, &keys, now())
                .map_err(Unsettled::Refused),
        }
    }

    fn conclude(
        &self,
        waiting: &mut Waiting<'_>,
        keys: &Arc<KeySet>,
        now: u64,
    ) -> Result<Arc<Identity>, Refused> {
        let until = waiting.plausible.until;
        // It may have waited long.
        if now >= until {
            return Err(Refused::Expired);
        }
        let identity = Arc::new(self.verifier.identity(&mut waiting.plausible, keys)?);
        let validity = Validity {
            until,
            keys: Arc::downgrade(keys),
        };
        let own = identity.clone();
        self.remembered
            .insert(waiting.hash, waiting.text, own, validity, now);
        Ok(identity)
    }
}

/// Seconds since 1970; a clock before that stands for it.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl Kind for Provider {
    const NAME: &'static str = "jwt";
    type Config = Config;
    type Credentials = ();

    /// Tokens are not listed: the issuer says whose they are.
    fn credentials(_: &[Entry<'_>], _: Reads<'_>, _: &mut Subject<'_>) {}

    fn build(config: &Config, context: &mut Build<'_, Provider>) -> Option<Provider> {
        let rules = config.rules(&mut context.subject);
        let remembered = config.remembered(&mut context.subject);
        let before = context.before.map(|before| &before.keys);
        let (keys, issuer) = (config.keys.as_ref(), Some(&config.issuer));
        let keys = Source::build("jwks", keys, issuer, before, context);
        let verifier = Verifier {
            rules: rules?,
            mapping: Mapping::new(&config.claims, context.consumers),
            provider: context.name.clone(),
            longest_token: config.longest_token(),
        };
        Some(Provider {
            verifier,
            keys: keys?,
            // Who is whom may have changed, so tokens of before are verified once more.
            remembered: Remembered::new(remembered?),
            places: config.places(),
        })
    }

    fn start(self: &Arc<Self>) {
        self.keys.start();
    }
}
