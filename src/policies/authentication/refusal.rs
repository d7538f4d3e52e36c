//! Why a credential proves nothing, and who says so.

use std::borrow::Cow;

use http::StatusCode;

use crate::response::Code;

/// In bytes. Callers that are refused must not fill the log.
const LONGEST_CAUSE: usize = 256;

/// Why a credential proves nothing.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub code: Code,
    /// For the log alone: a caller that is told why guesses better.
    pub cause: Cow<'static, str>,
    /// In how many seconds it may be judged, where that is known: `Retry-After`.
    pub retry_after: Option<u64>,
    flaw: Flaw,
    /// The authenticators that refuse, and what is wrong with what each of them was shown.
    by: Vec<(&'static str, Flaw)>,
}

/// What is wrong with a credential, as far as its owner is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is not shown as it has to be: twice, or in two places.
    Malformed,
    /// It proves nothing.
    Bad,
}

impl Refusal {
    /// The credential is bad. A cause that repeats what the caller has sent is cut to a bearable length.
    pub fn bad(cause: impl Into<Cow<'static, str>>) -> Refusal {
        let mut cause = cause.into();
        if cause.len() > LONGEST_CAUSE {
            let end = cause.floor_char_boundary(LONGEST_CAUSE);
            cause = format!("{}…", cause.get(..end).unwrap_or_default()).into();
        }
        Refusal {
            code: Code::CredentialRefused,
            cause,
            retry_after: None,
            flaw: Flaw::Bad,
            by: Vec::new(),
        }
    }

    /// It cannot even be said which credential was to be judged.
    pub fn malformed(cause: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal {
            flaw: Flaw::Malformed,
            ..Refusal::bad(cause)
        }
    }

    /// Whether the credential is good is not known.
    pub fn unjudged(code: Code, cause: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal {
            code,
            ..Refusal::bad(cause)
        }
    }

    /// Whether it was judged, and is no good.
    pub fn is_about_credential(&self) -> bool {
        self.code == Code::CredentialRefused
    }

    /// Ask again after so many seconds.
    pub fn after(self, seconds: u64) -> Refusal {
        Refusal {
            retry_after: Some(seconds),
            ..self
        }
    }

    /// Says which authenticator refuses.
    pub(super) fn by(mut self, authenticator: &'static str) -> Refusal {
        self.by.push((authenticator, self.flaw));
        self
    }

    /// As this, where another refuses, too.
    pub(super) fn beside(mut self, other: Refusal) -> Refusal {
        self.by.extend(other.by);
        self
    }

    /// What is wrong with what this authenticator was shown, where it is among those that refuse.
    pub(super) fn flaw_of(&self, authenticator: &str) -> Option<Flaw> {
        let mut by = self.by.iter();
        by.find(|(name, _)| *name == authenticator)
            .map(|(_, flaw)| *flaw)
    }

    /// A credential that was not judged may be good, so it counts for more than a bad one; and most where nothing but
    /// the gateway's side is to blame.
    pub(super) fn weight(&self) -> u8 {
        match self.code.status() {
            StatusCode::UNAUTHORIZED => 0,
            status if status.is_server_error() => 2,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_bounded() {
        let of = |cause: &str| Refusal::bad(cause.to_owned()).cause.into_owned();
        assert_eq!(of("short"), "short");
        let whole = "x".repeat(LONGEST_CAUSE);
        assert_eq!(of(&whole), whole);
        let long = of(&format!("x{}", "\u{e9}".repeat(40_000)));
        assert!(long.len() <= LONGEST_CAUSE + 4, "{}", long.len());
        assert!(long.starts_with("x\u{e9}") && long.ends_with('…'), "{long}");
    }
}
