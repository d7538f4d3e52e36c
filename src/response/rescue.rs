//! The one table from engine errors to codes.

use pingora::{Error, ErrorSource, ErrorType};

use super::Code;

/// The code of an engine error. Errors that the gateway raised itself carry their status as `HTTPStatus`; the
/// proxy room keeps the precise code of those beside the exchange and asks here only for the rest.
pub fn rescue(error: &Error) -> Code {
    use ErrorType::*;
    match (error.esource(), error.etype()) {
        (_, ConnectTimedout | TLSHandshakeTimedout) => Code::UpstreamConnectTimeout,
        (
            _,
            ConnectRefused | ConnectNoRoute | ConnectError | ConnectProxyFailure | BindError
            | SocketError | TLSHandshakeFailure | TLSWantX509Lookup | InvalidCert | HandshakeError
            | H2Downgrade,
        ) => Code::UpstreamConnectFailed,
        (ErrorSource::Upstream, ReadTimedout | WriteTimedout) => Code::UpstreamTimeout,
        (ErrorSource::Upstream, InvalidHTTPHeader | InvalidH2 | H2Error) => Code::UpstreamProtocol,
        (ErrorSource::Upstream, _) => Code::UpstreamReset,
        (ErrorSource::Downstream, ReadTimedout | WriteTimedout) => Code::RequestTimeout,
        (ErrorSource::Downstream, ConnectionClosed | ReadError | WriteError | H2Error) => {
            Code::ClientClosed
        }
        (ErrorSource::Downstream, HTTPStatus(413)) => Code::PayloadTooLarge,
        (ErrorSource::Downstream, _) => Code::BadRequest,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_and_kinds_become_codes() {
        let check = |source: ErrorSource, kind: ErrorType, expected: Code| {
            let mut error = Error::new(kind);
            error.esource = source;
            assert_eq!(rescue(&error), expected, "{error}");
        };
        check(
            ErrorSource::Upstream,
            ErrorType::ConnectRefused,
            Code::UpstreamConnectFailed,
        );
        check(
            ErrorSource::Upstream,
            ErrorType::ConnectTimedout,
            Code::UpstreamConnectTimeout,
        );
        check(
            ErrorSource::Upstream,
            ErrorType::ReadTimedout,
            Code::UpstreamTimeout,
        );
        check(
            ErrorSource::Upstream,
            ErrorType::InvalidHTTPHeader,
            Code::UpstreamProtocol,
        );
        check(
            ErrorSource::Upstream,
            ErrorType::ConnectionClosed,
            Code::UpstreamReset,
        );
        check(
            ErrorSource::Downstream,
            ErrorType::ConnectionClosed,
            Code::ClientClosed,
        );
        check(
            ErrorSource::Downstream,
            ErrorType::InvalidHTTPHeader,
            Code::BadRequest,
        );
        check(
            ErrorSource::Internal,
            ErrorType::InternalError,
            Code::Internal,
        );
    }
}
