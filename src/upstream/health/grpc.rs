//! `grpc.health.v1.Health/Check`: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderName;
use http::header::{CONTENT_TYPE, TE};
use prost::Message;

pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";
pub(super) const HEADERS: [(HeaderName, &str); 2] =
    [(CONTENT_TYPE, "application/grpc"), (TE, "trailers")];

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

/// What a server says of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

/// The message that asks for a service, framed.
pub(super) fn question(service: &str) -> Bytes {
    let message = Request {
        service: service.to_owned(),
    };
    let message = message.encode_to_vec();
    let mut framed = BytesMut::with_capacity(5 + message.len());
    // Not compressed.
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

/// What the one message of an answer says. `None` where it is no such message.
pub(super) fn answer(body: &[u8]) -> Option<ServingStatus> {
    let (flag, rest) = body.split_first()?;
    let (length, message) = rest.split_first_chunk::<4>()?;
    if *flag != 0 || u32::from_be_bytes(*length) as usize != message.len() {
        return None;
    }
    let response = Response::decode(message).ok()?;
    ServingStatus::try_from(response.status).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed() {
        assert_eq!(&question("shop")[..], b"\0\0\0\0\x06\x0a\x04shop");
        assert_eq!(&question("")[..], b"\0\0\0\0\0");
        let check = |body: &[u8], expected: Option<ServingStatus>| {
            assert_eq!(answer(body), expected, "{body:?}");
        };
        check(b"\0\0\0\0\x02\x08\x01", Some(ServingStatus::Serving));
        check(b"\0\0\0\0\x02\x08\x02", Some(ServingStatus::NotServing));
        // Proto3 leaves out what is zero.
        check(b"\0\0\0\0\0", Some(ServingStatus::Unknown));
        check(b"\0\0\0\0\x02\x08\x09", None);
        check(b"\0\0\0\0\x03\x08\x01", None);
        check(b"\x01\0\0\0\x02\x08\x01", None);
        check(b"\0\0\0\0\x02\xff\xff", None);
        check(b"", None);
    }
}
