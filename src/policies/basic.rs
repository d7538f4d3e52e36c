//! `basic`: who calls is proven by a name and a password (RFC 7617).
//!
//! ```toml
//! [consumers.reports]
//! passwords = ["$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b4dWRWJTmaaJObGAe2hBQVkV5I"]
//!
//! [routes.reports]
//! match = { path = "/reports/{*rest}" }
//! respond = { status = 200 }
//! policies.basic = {}
//! ```
//!
//! The name is that of the consumer. `northgate key password` reads a password from standard input and prints the hash,
//! of argon2id; hashes of bcrypt that are there already are taken as well, with the rule that a password has at most 72
//! bytes then. A hash that is too weak, or that would take too much memory or time to check, is refused when the
//! configuration is read. A consumer may have two passwords, for changing from one to the other.
//!
//! # What it costs
//! A check takes some hundredths of a second, and it is the caller who decides how many there are. So checks run beside
//! the threads that serve, at most `checks` at a time, with at most `waiting` more that wait; beyond that callers get 503
//! `authentication_unavailable` with `Retry-After`. A login that was found good is good for the time of `remember` without
//! another check: then it costs a microsecond. What is remembered is a tag by a key that was drawn at the start, never
//! the password, and it ends with the hash that it belongs to.
//!
//! # Guessing
//! A name that nobody has takes as long as one that somebody has, and is answered alike. After `failures` wrong passwords
//! in a row for a name from one address (IPv6: from one /64) there is 429 `too_many_attempts` until some of them are
//! forgotten; from all addresses together a name has 50 times as many. Nobody is locked out by that who is remembered, and
//! to lock out somebody elsewhere takes 50 addresses. Where `any_of` has other authenticators these are asked all the
//! same.
//!
//! # What is refused
//! Name and password are UTF-8 without control characters, in base64 with its padding, in one `Authorization` header, of
//! at most 512 bytes. They are compared byte by byte: what looks alike and is written with other code points is another
//! password. Over connections that are not encrypted anybody on the way can read both.

use std::sync::Arc;

use http::header::AUTHORIZATION;

use super::authentication::{
    Authentication, Challenge, Credential, Flaw, Outcome, Refusal, Scheme, Step,
};
use crate::facts::View;
use crate::identity::basic::{Provider, Shown, Verdict};
use crate::identity::{Directory, Providers};
use crate::response::Code;

pub type Policy = Authentication<Provider>;

impl Scheme for Provider {
    fn providers(directory: &Directory) -> &Providers<Provider> {
        &directory.basic
    }

    fn authenticate<'a>(self: &'a Arc<Self>, view: View<'a>) -> Step<'a> {
        match self.look(&view.request.headers) {
            Shown::Nothing => Step::Now(Outcome::Absent),
            Shown::Known(identity) => Step::Now(Outcome::Proven(identity)),
            Shown::Refused(why) => Step::Now(Outcome::Refused(Refusal::bad(why.to_string()))),
            Shown::Unknown(login) => Step::Later(Box::pin(async move {
                match self.check(login, view.facts.client).await {
                    Verdict::Proven(identity) => Outcome::Proven(identity),
                    Verdict::Wrong => {
                        Outcome::Refused(Refusal::bad("there is no such name with this password"))
                    }
                    Verdict::TooMany(wait) => {
                        let cause = "there were too many wrong passwords";
                        let refusal = Refusal::unjudged(Code::TooManyAttempts, cause);
                        Outcome::Refused(refusal.after(wait.as_secs() + 1))
                    }
                    Verdict::Busy => {
                        let cause = "more passwords are to be checked than can be";
                        let refusal = Refusal::unjudged(Code::AuthenticationUnavailable, cause);
                        Outcome::Refused(refusal.after(1))
                    }
                }
            })),
        }
    }

    fn credentials(&self) -> Vec<Credential> {
        vec![Credential::Header(AUTHORIZATION)]
    }

    fn challenge(&self, _: View<'_>, _: Option<Flaw>) -> Challenge {
        Challenge::Header(Provider::challenge(self).clone())
    }
}
