//! Why a request is sent again, and why it is not.

use http::StatusCode;

use super::condition::GRPC;

/// Why a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There was no connection.
    Connect,
    /// A connection that had been kept was closed under it.
    Stale,
    /// The upstream says that it has not looked at it.
    RefusedStream,
    /// It broke off, or sent what is no HTTP, before the header of a response.
    Reset,
    /// That header did not come in time.
    Timeout,
    Status(StatusCode),
    Grpc(u8),
}

/// Why there was no other try, of what would have been reason for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It has had as many as it may have.
    Attempts,
    /// The upstream has had as many as it may have.
    Budget,
    /// The end of the exchange comes before.
    Deadline,
    /// There is no endpoint to try.
    Endpoints,
    /// The request may not be sent twice.
    Method,
    /// Its body is not at hand any more, or the client has been sent something.
    Begun,
    /// The upstream wants more time than is given to it.
    RetryAfter,
}

impl Reason {
    /// As the log and the metrics have it.
    pub fn as_str(&self) -> &str {
        match self {
            Reason::Connect => "connect",
            Reason::Stale => "stale",
            Reason::RefusedStream => "refused_stream",
            Reason::Reset => "reset",
            Reason::Timeout => "timeout",
            Reason::Status(status) => status.as_str(),
            Reason::Grpc(number) => GRPC.get(usize::from(*number)).unwrap_or(&"grpc"),
        }
    }

    /// Whether it was no work for the upstream, so that going on at once makes nothing worse.
    pub(in crate::upstream) fn is_light(self) -> bool {
        matches!(
            self,
            Reason::Connect | Reason::Stale | Reason::RefusedStream
        )
    }

    /// Whether it says something against the endpoint, so that another one is the better choice.
    pub(in crate::upstream) fn is_against_endpoint(self) -> bool {
        !matches!(self, Reason::Stale | Reason::RefusedStream)
    }
}

impl Stop {
    /// As the log and the metrics have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stop::Attempts => "attempts",
            Stop::Budget => "budget",
            Stop::Deadline => "deadline",
            Stop::Endpoints => "endpoints",
            Stop::Method => "method",
            Stop::Begun => "begun",
            Stop::RetryAfter => "retry_after",
        }
    }
}
