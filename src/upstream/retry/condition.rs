//! What a request is sent again for.

use std::str::FromStr;

use http::StatusCode;

use super::Reason;
use crate::text::{ParsedText, parsed_text, quoted};

/// One condition, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Connect,
    Stale,
    RefusedStream,
    Reset,
    Timeout,
    /// Any status from 500 to 599.
    ServerErrors,
    Status(StatusCode),
    Grpc(u8),
}

/// Statuses of gRPC by number, as its specification names them.
pub(super) const GRPC: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

/// Why a condition is no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCondition {
    #[error(
        "must be \"connect\", \"stale\", \"refused_stream\", \"reset\", \"timeout\", \"5xx\", a status such as \"503\", or a \
         status of gRPC such as \"grpc:unavailable\", got {}", quoted(.0)
    )]
    Unknown(Box<str>),
    #[error("must be a status from 400 to 599, as others are no failures, got {0}")]
    NoFailure(u16),
    #[error("must be a status of gRPC other than \"ok\", in lower case, such as \"grpc:unavailable\", got {}", quoted(.0))]
    NoGrpc(Box<str>),
}

impl FromStr for Condition {
    type Err = InvalidCondition;

    fn from_str(text: &str) -> Result<Condition, InvalidCondition> {
        if let Some(name) = text.strip_prefix("grpc:") {
            let number = GRPC.iter().position(|known| *known == name);
            return match number.and_then(|number| u8::try_from(number).ok()) {
                None | Some(0) => Err(InvalidCondition::NoGrpc(text.into())),
                Some(number) => Ok(Condition::Grpc(number)),
            };
        }
        Ok(match text {
            "connect" => Condition::Connect,
            "stale" => Condition::Stale,
            "refused_stream" => Condition::RefusedStream,
            "reset" => Condition::Reset,
            "timeout" => Condition::Timeout,
            "5xx" => Condition::ServerErrors,
            _ => {
                let is_number = text.len() == 3 && text.bytes().all(|it| it.is_ascii_digit());
                let status = text.parse::<StatusCode>().ok().filter(|_| is_number);
                let status = status.ok_or_else(|| InvalidCondition::Unknown(text.into()))?;
                match status.as_u16() {
                    400..600 => Condition::Status(status),
                    other => return Err(InvalidCondition::NoFailure(other)),
                }
            }
        })
    }
}

impl ParsedText for Condition {
    const EXPECTED: &'static str = "a condition such as \"connect\" or \"503\"";
}

parsed_text!(
    Condition,
    "string",
    "^(connect|stale|refused_stream|reset|timeout|5xx|[45][0-9][0-9]|grpc:[a-z_]+)$",
    "What a request is sent again for."
);

/// A set of conditions, to be asked without looking for them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conditions {
    connect: bool,
    stale: bool,
    refused_stream: bool,
    reset: bool,
    timeout: bool,
    /// A bit for each status from 400 on.
    statuses: [u64; 4],
    /// A bit for each status of gRPC.
    grpc: u32,
}

impl Conditions {
    pub(super) fn of(conditions: impl Iterator<Item = Condition>) -> Conditions {
        let mut set = Conditions::default();
        for condition in conditions {
            match condition {
                Condition::Connect => set.connect = true,
                Condition::Stale => set.stale = true,
                Condition::RefusedStream => set.refused_stream = true,
                // A connection that was stale was reset, too.
                Condition::Reset => (set.reset, set.stale) = (true, true),
                Condition::Timeout => set.timeout = true,
                Condition::ServerErrors => (500..600).for_each(|status| set.add(status)),
                Condition::Status(status) => set.add(status.as_u16()),
                Condition::Grpc(number) => set.grpc |= 1 << number,
            }
        }
        set
    }

    pub(super) fn have(&self, reason: Reason) -> bool {
        match reason {
            Reason::Connect => self.connect,
            Reason::Stale => self.stale,
            Reason::RefusedStream => self.refused_stream,
            Reason::Reset => self.reset,
            Reason::Timeout => self.timeout,
            Reason::Status(status) => {
                bit(status.as_u16()).is_some_and(|(word, bit)| self.statuses[word] & bit != 0)
            }
            Reason::Grpc(number) => 1u32
                .checked_shl(number.into())
                .is_some_and(|bit| self.grpc & bit != 0),
        }
    }

    /// Whether there is any that a response can meet.
    pub(super) fn look_at_answers(&self) -> bool {
        self.grpc != 0 || self.statuses != [0; 4]
    }

    fn add(&mut self, status: u16) {
        if let Some((word, bit)) = bit(status) {
            self.statuses[word] |= bit;
        }
    }
}

/// Which word the bit of a status is in, from 400 to 599.
fn bit(status: u16) -> Option<(usize, u64)> {
    let number = status.checked_sub(400).filter(|number| *number < 200)?;
    Some((usize::from(number / 64), 1 << (number % 64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_words_and_failures() {
        let status = |code: u16| Condition::Status(StatusCode::from_u16(code).unwrap());
        for (text, expected) in [
            ("connect", Some(Condition::Connect)),
            ("5xx", Some(Condition::ServerErrors)),
            ("503", Some(status(503))),
            ("400", Some(status(400))),
            ("599", Some(status(599))),
            ("grpc:unavailable", Some(Condition::Grpc(14))),
            ("grpc:cancelled", Some(Condition::Grpc(1))),
            ("grpc:ok", None),
            ("grpc:UNAVAILABLE", None),
            ("grpc:14", None),
            ("200", None),
            ("600", None),
            ("+50", None),
            ("4xx", None),
            ("Connect", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Condition>().ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let set = |texts: &[&str]| Conditions::of(texts.iter().map(|text| text.parse().unwrap()));
        let status = |code: u16| Reason::Status(StatusCode::from_u16(code).unwrap());
        let some = set(&["reset", "5xx", "429", "grpc:unavailable"]);
        for reason in [
            Reason::Reset,
            Reason::Stale,
            status(500),
            status(599),
            status(429),
            Reason::Grpc(14),
        ] {
            assert!(some.have(reason), "{reason:?}");
        }
        for reason in [
            Reason::Connect,
            Reason::RefusedStream,
            Reason::Timeout,
            status(200),
            status(404),
            status(430),
            status(999),
            Reason::Grpc(0),
            Reason::Grpc(13),
            Reason::Grpc(200),
        ] {
            assert!(!some.have(reason), "{reason:?}");
        }
        assert!(some.look_at_answers());
        assert!(
            !set(&["connect", "stale", "refused_stream", "reset", "timeout"]).look_at_answers()
        );
    }
}
