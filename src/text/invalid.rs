//! Why a small value is no good. Every text is a predicate: the reader puts the path of the value before it.

use std::fmt;
use std::net::IpAddr;

use super::ByteSize;

/// The errors of all parsed values of this room. A second line is the help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("must be a duration such as \"1s\" or \"5m\", got {}", quoted(.got))]
    Duration { got: Box<str> },
    #[error("must be a duration with its unit, such as \"{got}s\" or \"{got}ms\", got {got}")]
    DurationUnit { got: u64 },
    #[error("must be a duration with its largest unit first and each unit once, such as \"1m30s\", got {}", quoted(.got))]
    DurationOrder { got: Box<str> },
    #[error("must be a duration longer than zero, got {}", quoted(.got))]
    DurationZero { got: Box<str> },
    #[error("must be a duration of at most 3650d, got {}", quoted(.got))]
    DurationLong { got: Box<str> },
    #[error("must be a rate such as \"100/s\", \"60/min\" or \"500/10s\", got {}", quoted(.got))]
    Rate { got: Box<str> },
    #[error("must be a size such as \"512B\", \"32KiB\" or \"10MB\", got {}", quoted(.got))]
    ByteSize { got: Box<str> },
    #[error("must be a size below 16384PiB, got {}", quoted(.got))]
    ByteSizeLarge { got: Box<str> },
    #[error("must be a size of at most {most}, got {got}")]
    ByteSizeOver { most: ByteSize, got: ByteSize },
    #[error("must be a size of 0 bytes or more, got {got}")]
    ByteSizeNegative { got: i64 },
    #[error("must be an address such as \"10.0.0.5:8002\", \"orders.internal:8002\" or \"unix:/run/orders.sock\", got {}{}", quoted(.got), second_line(.help))]
    EndpointAddress {
        got: Box<str>,
        help: Option<Box<str>>,
    },
    #[error("must be an address and a port such as \"0.0.0.0:8443\" or \"unix:/run/northgate.sock\", got {}{}", quoted(.got), second_line(.help))]
    BindAddress {
        got: Box<str>,
        help: Option<Box<str>>,
    },
    #[error(
        "must be an address and a port such as \"0.0.0.0:8443\", got {got}\nwrite \"0.0.0.0:{got}\""
    )]
    BindPort { got: i64 },
    #[error("must be an address with a port from 1 to 65535, got {}", quoted(.got))]
    Port { got: Box<str> },
    #[error("must be \"unix:\" and an absolute path of at most 107 bytes, got {}", quoted(.got))]
    SocketPath { got: Box<str> },
    #[error("must be a header name such as \"x-request-id\", got {}", quoted(.got))]
    HeaderName { got: Box<str> },
    #[error("must be a header name such as \"server\" or the beginning of some, such as \"x-internal-*\", got {}", quoted(.got))]
    HeaderPattern { got: Box<str> },
    #[error("must be an address or network such as \"10.0.0.0/8\" or \"2001:db8::/32\", got {}", quoted(.got))]
    Cidr { got: Box<str> },
    #[error("must be a network with a prefix of 0 to {longest}, got {}", quoted(.got))]
    CidrPrefix { longest: u8, got: Box<str> },
    #[error(
        "must be a network without host bits, such as \"{network}/{prefix}\" (or \"{address}\" for the one address), got \"{address}/{prefix}\""
    )]
    CidrHostBits {
        address: IpAddr,
        network: IpAddr,
        prefix: u8,
    },
    #[error("must be a host such as \"api.example.com\" or \"*.example.com\", got {}", quoted(.got))]
    Host { got: Box<str> },
    #[error("must be one host, not a pattern of many, got {}", quoted(.got))]
    HostOfMany { got: Box<str> },
    #[error("must be a host without a scheme or path, such as \"api.example.com\", got {}", quoted(.got))]
    HostScheme { got: Box<str> },
    #[error("must be a host without a port, such as \"{host}\", got \"{host}:{port}\"")]
    HostPort { host: Box<str>, port: u16 },
    #[error("must be a host of at most 253 characters, each part of at most 63, got {}", quoted(.got))]
    HostLong { got: Box<str> },
    #[error("must be a host whose only \"*\" is its whole first part, such as \"*.example.com\", got {}", quoted(.got))]
    HostWildcard { got: Box<str> },
    #[error("must be a host in ASCII (\"xn--…\" for other letters), got {}", quoted(.got))]
    HostLetters { got: Box<str> },
    #[error("must be a host; all numbers, it would have to be an address such as \"10.0.0.1\", got {}", quoted(.got))]
    HostNumbers { got: Box<str> },
    #[error(
        "must be a name of 1 to 63 letters, digits, \"_\", \"-\" or \".\", beginning with a letter or digit, got {}",
        quoted(.got)
    )]
    Name { got: Box<str> },
    #[error("must be a date such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z, got {}", quoted(.got))]
    Timestamp { got: Box<str> },
    #[error("must be a time with its offset from UTC, such as {got}Z, got {got}")]
    TimestampOffset { got: Box<str> },
    #[error("must be a time from 1970 to 9998, got {}", quoted(.got))]
    TimestampRange { got: Box<str> },
    #[error("must be 1 to 64 letters, digits, \"_\", \".\", \"~\" or \"-\", got {}", quoted(.got))]
    Word { got: Box<str> },
    #[error("must be 1 to 64 visible characters of ASCII and spaces, without quotes and backslashes, got {}", quoted(.got))]
    Realm { got: Box<str> },
    #[error("must be a percentage such as \"20%\" or \"0.5%\", got {}", quoted(.got))]
    Percent { got: Box<str> },
    #[error("must be a percentage with its sign, such as \"{got}%\", got {got}")]
    PercentSign { got: u64 },
    #[error("must be a percentage from \"0%\" to \"100%\", got {}", quoted(.got))]
    PercentRange { got: Box<str> },
}

fn second_line(help: &Option<Box<str>>) -> String {
    help.as_ref()
        .map(|help| format!("\n{help}"))
        .unwrap_or_default()
}

/// User text in a message: in quotes, control characters escaped so that it cannot drive a terminal or forge a
/// log line, and cut where it would drown the message.
pub fn quoted(text: &str) -> impl fmt::Display {
    const LONGEST: usize = 60;
    let cut = text.char_indices().nth(LONGEST).map(|(at, _)| at);
    let shown = cut.and_then(|at| text.get(..at)).unwrap_or(text);
    format!("{shown:?}{}", if cut.is_some() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(quoted(text).to_string(), expected);
    }

    #[test]
    fn quoting() {
        check("five", "\"five\"");
        check("a\u{1b}[31m\n\"", "\"a\\u{1b}[31m\\n\\\"\"");
        check(&"é".repeat(61), &format!("\"{}\"…", "é".repeat(60)));
        check(&"é".repeat(60), &format!("\"{}\"", "é".repeat(60)));
    }
}
