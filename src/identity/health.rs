//! Whether a server answers that is asked about callers, for the log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// There are no two lines about one server within this time. Whoever can make it fail must not fill the log.
const QUIET: Duration = Duration::from_secs(10);

/// How a server does, which is said when it changes.
#[derive(Debug)]
pub struct Health {
    /// `introspection.main`
    name: Box<str>,
    is_failing: AtomicBool,
    said: Mutex<Option<Instant>>,
}

impl Health {
    pub fn new(kind: &str, name: &str) -> Health {
        Health {
            name: format!("{kind}.{name}").into(),
            is_failing: AtomicBool::new(false),
            said: Mutex::default(),
        }
    }

    /// It has answered.
    pub fn answers(&self) {
        if self.is_news(false, Instant::now()) {
            log::info!("identity.{}: the server answers again", self.name);
        }
    }

    /// It has given no answer that could be used.
    pub fn fails(&self, cause: &str) {
        if self.is_news(true, Instant::now()) {
            log::warn!(
                "identity.{}: the server cannot be asked: {cause}",
                self.name
            );
        }
    }

    fn is_news(&self, is_failing: bool, now: Instant) -> bool {
        if self.is_failing.load(Ordering::Relaxed) == is_failing {
            return false;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_some_and(|said| now < said + QUIET) {
            return false;
        }
        let is_news = self.is_failing.swap(is_failing, Ordering::Relaxed) != is_failing;
        if is_news {
            *said = Some(now);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_said_and_not_too_often() {
        let (health, start) = (Health::new("jwt", "main"), Instant::now());
        for (second, is_failing, expected) in [
            (0, false, false),
            (1, true, true),
            (2, true, false),
            (3, false, false),
            (4, true, false),
            (12, true, false),
            (12, false, true),
            (13, true, false),
            (40, false, false),
            (41, true, true),
        ] {
            let now = start + Duration::from_secs(second);
            assert_eq!(health.is_news(is_failing, now), expected, "{second}");
        }
    }
}
