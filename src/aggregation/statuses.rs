//! Statuses that are an answer: `"2xx"`, `"404"`.

use std::fmt;
use std::str::FromStr;

use http::StatusCode;

use crate::text::{ParsedText, parsed_text, quoted};

/// One status, or all that begin with a digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses(u16);

/// What is no status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a status from 200 to 599, or some such as \"2xx\", got {}", quoted(.0))]
pub struct NoStatuses(Box<str>);

impl Statuses {
    /// All of the second hundred.
    pub const SUCCESSFUL: Statuses = Statuses(2);

    /// Of those that begin with a digit 206 is none: nobody has asked for a part of anything.
    pub fn has(self, status: StatusCode) -> bool {
        let status = status.as_u16();
        self.0 == status || (self.0 == status / 100 && status != 206)
    }
}

impl FromStr for Statuses {
    type Err = NoStatuses;

    fn from_str(text: &str) -> Result<Statuses, NoStatuses> {
        let digits = text.strip_suffix("xx");
        let number = digits.unwrap_or(text).parse().unwrap_or(0_u16);
        let is_good = match digits {
            Some(_) => (2..=5).contains(&number),
            None => (200..=599).contains(&number),
        };
        match is_good && text.len() == 3 {
            true => Ok(Statuses(number)),
            false => Err(NoStatuses(text.into())),
        }
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            class @ 0..10 => write!(f, "{class}xx"),
            status => write!(f, "{status}"),
        }
    }
}

impl ParsedText for Statuses {
    const EXPECTED: &'static str = "a status, or some such as \"2xx\"";

    fn from_number(number: i64) -> Option<Result<Self, NoStatuses>> {
        Some(number.to_string().parse())
    }
}

parsed_text!(
    Statuses,
    ["string", "integer"],
    "^([2-5]xx|[2-5][0-9][0-9])$",
    "A status such as \"404\", or all that begin with a digit, such as \"2xx\"."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_statuses_are_meant() {
        let check = |text: &str, expected: &[u16]| {
            let all = [200, 204, 206, 299, 304, 404, 500, 503];
            let found = text.parse::<Statuses>().map(|statuses| {
                let code = |status: &u16| StatusCode::from_u16(*status).unwrap();
                let found = all.iter().filter(|status| statuses.has(code(status)));
                found.copied().collect::<Vec<_>>()
            });
            assert_eq!(found.unwrap_or_default(), expected, "{text}");
        };
        check("2xx", &[200, 204, 299]);
        check("206", &[206]);
        check("404", &[404]);
        check("5xx", &[500, 503]);
        for wrong in [
            "", "2", "xx", "1xx", "6xx", "100", "600", "0404", "2XX", "abc", "+2x", "+40",
        ] {
            check(wrong, &[]);
        }
    }
}
