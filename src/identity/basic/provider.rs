//! What finds out whose name and password it is.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Bounds, Checker, InvalidLogin, Login, MOST_PASSWORDS, Owner, PasswordHash, Unknown, Verdict,
};
use crate::identity::challenge::Realm;
use crate::identity::directory::Reads;
use crate::identity::{Build, Consumer, Entry, Identity, Kind};
use crate::text::{Bounded, Duration, Subject, give_way};

/// `[identity.basic.NAME]`: how passwords are checked.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "BasicConfig")]
pub struct Config {
    /// The realm that callers without a password are told, in `WWW-Authenticate`; browsers show it. Default `"api"`.
    pub realm: Realm,
    /// How long a login that was found good is good without another check. A password that is taken out of the
    /// configuration ends at once all the same. At most `"1h"`. Default `"5m"`.
    pub remember: Duration,
    /// How many passwords are checked at a time. Each check takes the memory that its hash says, 19 MiB for those of
    /// `northgate key password` and never more than 64 MiB, and a processor. Default: half of the processors, at least
    /// one.
    pub checks: Option<Bounded<1, 256>>,
    /// How many more checks may wait for their turn; beyond that callers get 503. Default 64.
    pub waiting: Bounded<0, 10000>,
    /// How long a request waits for its check to be done; then it gets 503. Default `"5s"`.
    pub timeout: Duration,
    /// How many wrong passwords in a row a name may be tried with from one address (IPv6: one /64), and how many are
    /// forgotten in each minute; from all addresses together it is 50 times as many. Who is over that gets 429, whether
    /// or not the name is anybody's; a login that is remembered goes on. Default 10.
    pub failures: Bounded<1, 1000>,
}

/// What is remembered too long is good for too long.
const LONGEST_MEMORY: std::time::Duration = std::time::Duration::from_secs(3600);

impl Default for Config {
    fn default() -> Config {
        Config {
            realm: Realm::default(),
            remember: Duration::from_secs(300),
            checks: None,
            waiting: Bounded::new(64).expect("it is in the range"),
            timeout: Duration::from_secs(5),
            failures: Bounded::new(10).expect("it is in the range"),
        }
    }
}

impl Config {
    fn bounds(&self) -> Bounds {
        let half = || std::thread::available_parallelism().map_or(1, NonZero::get) / 2;
        let checks = self.checks.map(|checks| usize::from(checks.get()));
        Bounds {
            at_a_time: checks.unwrap_or_else(half).max(1),
            waiting: usize::from(self.waiting.get()),
            patience: self.timeout.as_std(),
            failures: self.failures.get(),
            remember: self.remember.as_std(),
        }
    }
}

/// The passwords of all consumers.
#[derive(Debug, Default)]
pub struct Known(Vec<(Arc<Consumer>, Vec<PasswordHash>)>);

/// Finds names and passwords in requests, and whose they are.
pub struct Provider {
    checker: Checker,
    challenge: HeaderValue,
}

/// What a request shows.
pub enum Shown {
    Nothing,
    /// This very login was good a moment ago.
    Known(Arc<Identity>),
    /// It has to be checked, by [`Provider::check`].
    Unknown(Box<Unknown>),
    Refused(Refused),
}

/// Why a request has no login. For the log: the client learns only that it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is more than one Authorization header")]
    Several,
    #[error(transparent)]
    Invalid(#[from] InvalidLogin),
}

impl Provider {
    /// Looks for a login. Where this very login was good a moment ago, that is all, and nothing is allocated.
    pub fn look(&self, headers: &HeaderMap) -> Shown {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let login = values.find_map(|value| Login::read(value.as_bytes()));
        match login {
            None => Shown::Nothing,
            // Servers differ on which of several counts.
            Some(_)
                if headers
                    .get_all(header::AUTHORIZATION)
                    .iter()
                    .nth(1)
                    .is_some() =>
            {
                Shown::Refused(Refused::Several)
            }
            Some(Err(invalid)) => Shown::Refused(invalid.into()),
            Some(Ok(login)) => match self.checker.known(login) {
                Ok(identity) => Shown::Known(identity),
                Err(unknown) => Shown::Unknown(unknown),
            },
        }
    }

    /// Checks a login of a client in its turn, off this thread. It ends within the provider's `timeout`.
    pub async fn check(&self, unknown: Box<Unknown>, client: IpAddr) -> Verdict {
        self.checker.check(unknown, client).await
    }

    /// The value of `WWW-Authenticate` (RFC 7617 section 2.1: names and passwords are UTF-8).
    pub fn challenge(&self) -> &HeaderValue {
        &self.challenge
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.challenge.fmt(f)
    }
}

impl Kind for Provider {
    const NAME: &'static str = "basic";
    type Config = Config;
    type Credentials = Known;

    fn credentials(entries: &[Entry<'_>], _: Reads<'_>, subject: &mut Subject<'_>) -> Known {
        let mut known = Known::default();
        for (step, entry) in entries.iter().enumerate() {
            give_way(step);
            let passwords = &entry.config.passwords;
            if let Some(extra) = passwords.get(MOST_PASSWORDS) {
                let mut subject = subject.key(&entry.consumer.name);
                let mut subject = subject.key("passwords");
                let mut subject = subject.index(MOST_PASSWORDS);
                let what = "is one too many: a consumer has at most two passwords";
                let problem = subject.error(extra.span, what);
                problem
                    .help("two are for changing from one to the other")
                    .is_private = true;
            }
            if !passwords.is_empty() {
                let hashes = passwords.iter().map(|password| password.value.clone());
                known.0.push((entry.consumer.clone(), hashes.collect()));
            }
        }
        known
    }

    fn build(config: &Config, context: &mut Build<'_, Provider>) -> Option<Provider> {
        if config.remember.as_std() > LONGEST_MEMORY {
            let mut subject = context.subject.key("remember");
            let what = format!("must be a duration of at most 1h, got {}", config.remember);
            subject.error(context.span, what);
            return None;
        }
        let owners = context
            .credentials
            .0
            .iter()
            .map(|(consumer, hashes)| Owner {
                name: consumer.name.clone(),
                identity: Arc::new(Identity::of_consumer(consumer, Self::NAME, context.name)),
                passwords: hashes.clone(),
            });
        let before = context.before.map(|before| &before.checker);
        match Checker::new(config.bounds(), owners, before) {
            Ok(checker) => Some(Provider {
                checker,
                challenge: config.realm.challenge("Basic", ", charset=\"UTF-8\""),
            }),
            Err(error) => {
                context.subject.error(context.span, error);
                None
            }
        }
    }

    fn usual() -> Option<Config> {
        Some(Config::default())
    }
}
