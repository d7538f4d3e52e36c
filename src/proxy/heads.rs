//! Headers of messages, apart from the exchange that they belong to.

use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;

/// Takes a request's header apart, leaving an empty one.
///
/// The engine keeps the letter case of every HTTP/1.1 header name in a second map, which doubles the work of
/// copying and of every edit. Names are case-insensitive (RFC 9110 section 5.1), and HTTP/2 has only lower case;
/// so the second map is left behind here, and what goes upstream is in lower case whatever came in.
pub(super) fn take_request(header: &mut RequestHeader) -> http::request::Parts {
    let empty = http::Request::new(()).into_parts().0;
    std::mem::replace(header, empty.into()).into()
}

/// Takes a response's header apart, leaving an empty one.
pub(super) fn take_response(header: &mut ResponseHeader) -> http::response::Parts {
    let empty = http::Response::new(()).into_parts().0;
    std::mem::replace(header, empty.into()).into()
}

/// Whether the client has been sent more than interim responses.
pub(super) fn has_begun(session: &ServerSession) -> bool {
    final_status(session).is_some()
}

/// The status of the response that the client was sent, interim ones apart.
pub(super) fn final_status(session: &ServerSession) -> Option<StatusCode> {
    let status = session.response_written()?.status;
    is_final(status).then_some(status)
}

/// Whether it is no interim response, which promises another one.
pub(super) fn is_final(status: StatusCode) -> bool {
    !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
}
