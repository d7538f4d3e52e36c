//! Resets its connection.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::read_header;
use crate::harness::RawOrigin;

/// After ten bytes of a body of a hundred.
pub fn in_body() -> RawOrigin {
    after(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789")
}

/// Instead of a response.
pub fn before_header() -> RawOrigin {
    after(b"")
}

fn after(response: &'static [u8]) -> RawOrigin {
    RawOrigin::serving(move |mut stream, _| async move {
        if read_header(&mut stream).await {
            let _ = stream.write_all(response).await;
            // A reset overtakes what was sent and not yet read. Having it read first is what makes this a reset
            // in the body, and there is no event on this side that tells of it.
            if !response.is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            reset(&stream);
        }
    })
}

pub fn reset(stream: &TcpStream) {
    SockRef::from(stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
}
