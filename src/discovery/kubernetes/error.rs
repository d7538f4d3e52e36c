//! Why a service of Kubernetes cannot be watched.

use std::time::Duration;

use crate::discovery::Failure;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Access(Box<str>),
    #[error("there is no answer after {0:?}")]
    NoAnswer(Duration),
    #[error("the watch has neither said anything for {0:?} nor ended")]
    Silent(Duration),
    #[error("the watch has broken off")]
    Ended,
    /// What happened since is no longer known there.
    #[error("what was known is too old to go on from")]
    Gone,
    #[error("there are more than {0} endpoint slices")]
    TooMany(usize),
    #[error("{}", in_words(.0))]
    Api(kube::Error),
    #[error("the API server ended the watch: {0}")]
    Watch(Box<str>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match &error {
            Error::Api(kube::Error::Api(_)) | Error::Access(_) | Error::Watch(_) | Error::Gone => {
                Failure::refused(error)
            }
            Error::TooMany(_) | Error::Api(kube::Error::SerdeError(_)) => Failure::malformed(error),
            _ => Failure::unreachable(error),
        }
    }
}

/// HTTP's word for what a list or a watch cannot go on from.
pub(super) const GONE: u16 = 410;

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Error {
        match &error {
            kube::Error::Api(status) if status.code == GONE => Error::Gone,
            _ => Error::Api(error),
        }
    }
}

/// The library's own words repeat what is known, and leave out why there is no connection.
fn in_words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return format!("{} {}", status.code, status.message);
    }
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
