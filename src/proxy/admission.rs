//! What is checked and set of every request before its route is known.

use http::Version;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::heads::take_request;
use super::names::Names;
use super::{client_address, h2_request, strict, target};
use crate::facts::host;
use crate::listener::Connection;
use crate::policies::Reserved;
use crate::response::{Code, Reply};

/// Tells the engine how long the client may be silent within its request, and may take none of its response.
pub(super) fn set_limits(session: &mut Session, connection: &Connection) {
    let idle = connection.listener.timeouts.request_body_idle.as_std();
    session.set_read_timeout(Some(idle));
    if connection.is_h2() {
        // For one stream among others. What a whole connection takes is measured where the bytes leave.
        session.set_write_timeout(Some(idle));
    }
    session.set_total_drain_timeout(Some(super::DRAIN_DEADLINE));
}

/// Brings the request into the form that the engine has for others of the same meaning.
pub(super) fn tidy(session: &mut Session, connection: &Connection) {
    if session.req_header().has_case() && session.req_header().raw_path_is_utf8() {
        let request = session.req_header_mut();
        *request = take_request(request).into();
    }
    if connection.is_h2() {
        h2_request::join_cookies(session.req_header_mut());
    } else if session.req_header().version == Version::HTTP_10 {
        // RFC 9110 section 15.2: to such a client an interim response would be the response.
        session.downstream_session.set_ignore_info_resp(true);
    }
}

/// Drops what would tell an upstream who calls, before anything can look at it: no route is found by it, no condition
/// holds by it, and no upstream gets it.
pub(super) fn strip_reserved(session: &mut Session, names: Names, reserved: &Reserved) {
    if names.has_suspect && !reserved.is_empty() {
        let request = session.req_header_mut();
        let mut parts = take_request(request);
        reserved.strip(&mut parts.headers);
        *request = parts.into();
    }
}

/// Checks what holds for every request, whatever its route, and puts its path into the normal form.
pub(super) fn check(
    session: &mut Session,
    names: Names,
    connection: &Connection,
) -> Result<(), Reply> {
    let is_call = session.downstream_session.is_custom();
    if let Some(refusal) = connection.refusal().filter(|_| !is_call) {
        return Err(Reply::failure(refusal.code).closing());
    }
    let request = session.req_header();
    if is_call {
        // No connection has brought its head, to be checked there.
        strict::check_size(request, &connection.listener.limits).map_err(Reply::failure)?;
    }
    strict::check(request, names, &connection.listener.limits)
        .and_then(|()| h2_request::check(request, connection))
        .map_err(Reply::failure)
        .and_then(|()| client_address::check(connection, &request.headers))
        .and_then(|()| target::normalise(session.req_header_mut(), &connection.listener.paths))
        .map_err(Reply::closing)?;
    match is_misdirected(session.req_header(), connection) {
        // The connection is good for the hosts that it was made for.
        true => Err(Reply::failure(Code::Misdirected)),
        false => Ok(()),
    }
}

/// Whether the request came by the TLS connection of a host with another certificate (RFC 9110 section 15.5.20).
fn is_misdirected(request: &RequestHeader, connection: &Connection) -> bool {
    let handshake = connection.handshake();
    handshake.is_some_and(|handshake| handshake.is_misdirected(host(request).unwrap_or_default()))
}
