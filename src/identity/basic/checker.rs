//! Checks in turns, with what is remembered and what is counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::accounts::{Accounts, NoSeal, Sealed};
use super::attempts::Attempts;
use super::hash::PasswordHash;
use super::login::Login;
use super::turns::{Busy, Turns};
use crate::identity::Identity;

/// Checks names and passwords.
pub struct Checker {
    accounts: Accounts,
    attempts: Arc<Attempts>,
    turns: Arc<Turns>,
    bounds: Bounds,
}

/// A login that has to be checked, and is by [`Checker::check`].
pub struct Unknown {
    login: Login,
    sealed: Sealed,
}

/// What came of a check.
pub enum Verdict {
    Proven(Arc<Identity>),
    /// The name has no such password, or there is no such name; nobody outside can tell which.
    Wrong,
    /// The client, or all together, guessed for the name too often; how long until it may be tried again.
    TooMany(Duration),
    /// There is more to check than there are turns for.
    Busy,
}

/// How much is checked, and how long it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Checks that run at a time.
    pub at_a_time: usize,
    /// Checks that may wait for their turn.
    pub waiting: usize,
    /// How long a request waits for its check to be done.
    pub patience: Duration,
    /// Failures in a row that a client may have with a name, and how many are forgotten in each minute.
    pub failures: u16,
    /// How long a login that was good is good without another check.
    pub remember: Duration,
}

/// A consumer with its passwords.
pub struct Owner {
    pub name: Box<str>,
    pub identity: Arc<Identity>,
    pub passwords: Vec<PasswordHash>,
}

impl Checker {
    /// Takes over from `before` what was proven lately and how often names were guessed for.
    pub fn new(
        bounds: Bounds,
        owners: impl Iterator<Item = Owner>,
        before: Option<&Checker>,
    ) -> Result<Checker, NoSeal> {
        let same = before.filter(|before| before.bounds == bounds);
        let turns = || {
            Arc::new(Turns::new(
                bounds.at_a_time,
                bounds.waiting,
                bounds.patience,
            ))
        };
        let attempts = || Arc::new(Attempts::new(bounds.failures));
        Ok(Checker {
            accounts: Accounts::new(owners, before.map(|before| &before.accounts))?,
            attempts: same.map_or_else(attempts, |same| same.attempts.clone()),
            turns: same.map_or_else(turns, |same| same.turns.clone()),
            bounds,
        })
    }

    /// Who it is, where this very login was good lately. That costs about a microsecond.
    pub fn known(&self, login: Login) -> Result<Arc<Identity>, Box<Unknown>> {
        let sealed = self.accounts.seal(&login);
        match self.accounts.account(login.name()) {
            Some(account) if account.remembers(&sealed) => Ok(account.identity.clone()),
            _ => Err(Box::new(Unknown { login, sealed })),
        }
    }

    /// Checks a login in its turn, off this thread. It takes the same time whether or not the name is known.
    pub async fn check(&self, unknown: Box<Unknown>, client: IpAddr) -> Verdict {
        let Unknown { login, sealed } = *unknown;
        let known = self.accounts.account(login.name());
        let Some(account) = known.or_else(|| self.accounts.stranger(login.name())) else {
            return Verdict::Wrong;
        };
        let attempt = match self.attempts.begin(login.name(), client) {
            Ok(attempt) => attempt,
            Err(wait) => return Verdict::TooMany(wait),
        };
        let (account, is_known, time) = (account.clone(), known.is_some(), self.bounds.remember);
        // It is settled in there, since a check that has begun goes on to its end, whether or not anybody waits for it;
        // one that never begins is no attempt.
        let check = move || {
            // While it waited for its turn, another request may have shown the same.
            if account.remembers(&sealed) {
                return Some(account.identity.clone());
            }
            let password = account.verify(login.password());
            let Some(password) = password.filter(|_| is_known) else {
                attempt.fail();
                return None;
            };
            account.remember(sealed, password, time);
            Some(account.identity.clone())
        };
        match self.turns.run(check).await {
            Ok(Some(identity)) => Verdict::Proven(identity),
            Ok(None) => Verdict::Wrong,
            Err(Busy) => Verdict::Busy,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Instant;

    use futures_util::FutureExt as _;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        at_a_time: 2,
        waiting: 16,
        patience: Duration::from_secs(60),
        failures: 5,
        remember: Duration::from_secs(60),
    };

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn owner(name: &str, passwords: &[&PasswordHash]) -> Owner {
        Owner {
            name: name.into(),
            identity: Arc::new(Identity {
                subject: name.into(),
                ..Identity::default()
            }),
            passwords: passwords.iter().map(|&it| it.clone()).collect(),
        }
    }

    fn login(login: &str) -> Login {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(login);
        let read = Login::read(format!("Basic {text}").as_bytes());
        read.expect("it is ours")
            .unwrap_or_else(|why| panic!("{login}: {why}"))
    }

    async fn ask(checker: &Checker, text: &str) -> String {
        let unknown = match checker.known(login(text)) {
            Ok(identity) => return format!("known {}", identity.text("subject").expect("one")),
            Err(unknown) => unknown,
        };
        match checker.check(unknown, HERE).await {
            Verdict::Proven(identity) => identity.text("subject").expect("one"),
            Verdict::Wrong => "wrong".to_owned(),
            Verdict::TooMany(_) => "too many".to_owned(),
            Verdict::Busy => "busy".to_owned(),
        }
    }

    fn hash(password: &str) -> PasswordHash {
        PasswordHash::of(password.as_bytes()).expect("a hash")
    }

    fn checker(bounds: Bounds, owners: Vec<Owner>, before: Option<&Checker>) -> Checker {
        Checker::new(bounds, owners.into_iter(), before).unwrap_or_else(|_| panic!("randomness"))
    }

    #[tokio::test]
    async fn what_was_good_is_remembered_and_nothing_else() {
        let (old, new, other) = (hash("old"), hash("new"), hash("other"));
        let owners = vec![owner("ann", &[&old, &new]), owner("ben", &[&other])];
        let first = checker(BOUNDS, owners, None);
        for (text, expected) in [
            ("ann:old", "ann"),
            ("ann:old", "known ann"),
            ("ann:new", "ann"),
            ("ann:new", "known ann"),
            ("ann:old", "known ann"),
            ("ann:older", "wrong"),
            ("ann:other", "wrong"),
            ("ben:other", "ben"),
            ("ben:old", "wrong"),
            // A stranger is checked against somebody's password, and is nobody even where that is his.
            ("cid:old", "wrong"),
            ("cid:other", "wrong"),
            ("Ann:old", "wrong"),
        ] {
            assert_eq!(ask(&first, text).await, expected, "{text}");
        }
        // A hash that is gone takes along what was remembered, one that stays does not; ben has ann's hash now.
        let owners = vec![owner("ann", &[&new]), owner("ben", &[&old])];
        let second = checker(BOUNDS, owners, Some(&first));
        for (text, expected) in [
            ("ann:new", "known ann"),
            ("ann:old", "wrong"),
            ("ben:other", "wrong"),
            ("ben:old", "ben"),
        ] {
            assert_eq!(ask(&second, text).await, expected, "{text}");
        }
        let brief = Bounds {
            remember: Duration::ZERO,
            ..BOUNDS
        };
        let third = checker(brief, vec![owner("ann", &[&old])], None);
        assert_eq!(ask(&third, "ann:old").await, "ann");
        assert_eq!(ask(&third, "ann:old").await, "ann", "it is forgotten");
    }

    #[tokio::test]
    async fn guesses_are_bounded_for_who_is_known_and_who_is_not() {
        let old = hash("old");
        let first = checker(BOUNDS, vec![owner("ann", &[&old])], None);
        assert_eq!(ask(&first, "ann:old").await, "ann");
        for name in ["ann", "nobody"] {
            for _ in 0..BOUNDS.failures {
                assert_eq!(ask(&first, &format!("{name}:guess")).await, "wrong");
            }
            assert_eq!(ask(&first, &format!("{name}:guess")).await, "too many");
        }
        assert_eq!(ask(&first, "ann:old").await, "known ann", "ann goes on");
        let second = checker(BOUNDS, vec![owner("ann", &[&hash("old")])], Some(&first));
        assert_eq!(
            ask(&second, "ann:old").await,
            "too many",
            "a reload forgets no failures"
        );
    }

    /// Asks again for as long as the answer is this one.
    async fn ask_past(checker: &Checker, text: &str, answer: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let said = ask(checker, text).await;
            if said != answer {
                return said;
            }
            assert!(Instant::now() < deadline, "always {answer}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn guesses_count_that_outlast_the_patience() {
        let bounds = Bounds {
            at_a_time: 1,
            patience: Duration::ZERO,
            failures: 2,
            ..BOUNDS
        };
        let ann = checker(bounds, vec![owner("ann", &[&hash("old")])], None);
        assert_eq!(ask(&ann, "ann:guess").await, "busy");
        assert_eq!(ask_past(&ann, "ann:guess", "busy").await, "too many");
        // Two were checked to their end, and the rest never began.
        let now = checker(bounds, vec![owner("ann", &[&hash("old")])], Some(&ann));
        assert_eq!(ask_past(&now, "ann:old", "busy").await, "too many");
    }

    #[tokio::test]
    async fn who_hangs_up_with_a_good_password_has_not_failed() {
        let bounds = Bounds {
            failures: 1,
            remember: Duration::ZERO,
            ..BOUNDS
        };
        let ann = checker(bounds, vec![owner("ann", &[&hash("old")])], None);
        assert!(ask(&ann, "ann:old").now_or_never().is_none(), "it begins");
        assert_eq!(ask_past(&ann, "ann:old", "too many").await, "ann");
    }

    #[tokio::test]
    async fn one_check_is_enough_for_many_at_a_time() {
        let bounds = Bounds {
            at_a_time: 1,
            failures: 1,
            waiting: 64,
            ..BOUNDS
        };
        let ann = checker(bounds, vec![owner("ann", &[&hash("old")])], None);
        // The failures allow one check at a time; what is charged for the rest shows that all are counted.
        let asked = (0..8).map(|_| ask(&ann, "ann:old"));
        let answers = futures_util::future::join_all(asked).await;
        let good = answers.iter().filter(|it| it.contains("ann")).count();
        assert!(
            good >= 1
                && answers
                    .iter()
                    .all(|it| it.contains("ann") || it == "too many")
        );
        assert_eq!(ask(&ann, "ann:old").await, "known ann");
    }

    #[tokio::test]
    async fn nobody_is_proven_where_nobody_has_a_password() {
        let none = checker(BOUNDS, Vec::new(), None);
        assert_eq!(ask(&none, "ann:old").await, "wrong");
    }
}
