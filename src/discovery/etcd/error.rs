//! Why etcd, or a prefix of it, cannot be watched.

use std::error::Error as _;
use std::time::Duration;

use etcd_client::Error as EtcdError;

use super::listing::MOST_KEYS;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Access(Box<str>),
    #[error("there is no answer after {0:?}")]
    NoAnswer(Duration),
    #[error("there was no sign of life for {0:?}")]
    Silent(Duration),
    #[error("the server has ended the watch")]
    Ended,
    #[error("the server has refused a watch: {0}")]
    Refused(Box<str>),
    #[error("another cluster answers at its address")]
    OtherCluster,
    #[error("it was put back to an earlier copy of itself")]
    Restored,
    #[error("there are more than {MOST_KEYS} keys below the prefix")]
    TooMany,
    #[error("{}", in_words(.0))]
    Etcd(#[from] EtcdError),
}

/// Codes of gRPC: INVALID_ARGUMENT, PERMISSION_DENIED, RESOURCE_EXHAUSTED, OUT_OF_RANGE.
const OF_THE_PREFIX: [i32; 4] = [3, 7, 8, 11];

/// Codes of gRPC: INVALID_ARGUMENT and FAILED_PRECONDITION, which etcd has for a bad password and for users where it has
/// none; PERMISSION_DENIED, UNAUTHENTICATED.
const REFUSALS: [i32; 4] = [3, 7, 9, 16];

impl Error {
    /// Whether it concerns one prefix alone, and others can go on over the same connection.
    pub(super) fn is_of_the_prefix(&self) -> bool {
        matches!(self, Error::TooMany)
            || (self.is_one_of(&OF_THE_PREFIX) && !self.is_of_an_old_token())
    }

    /// Rights have changed since the token of the connection was given: it helps to log in again (etcd's
    /// `ErrGRPCAuthOldRevision`, which has the code of a bad argument).
    fn is_of_an_old_token(&self) -> bool {
        matches!(self, Error::Etcd(EtcdError::GRpcStatus(status))
            if status.message().contains("revision of auth store is old"))
    }

    pub(super) fn is_refusal(&self) -> bool {
        self.is_one_of(&REFUSALS)
    }

    fn is_one_of(&self, codes: &[i32]) -> bool {
        match self {
            Error::Etcd(EtcdError::GRpcStatus(status)) => codes.contains(&(status.code() as i32)),
            _ => false,
        }
    }
}

/// The library's own words repeat what is known, and leave out why there is no connection.
fn in_words(error: &EtcdError) -> String {
    match error {
        EtcdError::GRpcStatus(status) => {
            let cause = status.source().map(innermost);
            match cause.filter(|cause| !status.message().contains(cause.as_str())) {
                Some(cause) => format!("{}: {cause}", status.message()),
                None => status.message().to_owned(),
            }
        }
        EtcdError::TransportError(error) => innermost(error),
        error => error.to_string(),
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
