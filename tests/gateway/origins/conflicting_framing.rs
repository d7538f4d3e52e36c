//! Frames its response in two ways that contradict each other.

use tokio::io::AsyncWriteExt;

use super::{read_header, wait_for_close};
use crate::harness::RawOrigin;

/// Two lengths, with bytes of what a splitter would take for a second response behind the shorter.
pub fn two_lengths() -> RawOrigin {
    answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 40\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
}

/// A length together with chunked coding, which overrides it (RFC 9112 section 6.3).
pub fn length_and_chunks() -> RawOrigin {
    answering(b"HTTP/1.1 200 OK\r\ncontent-length: 400\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
}

fn answering(response: &'static [u8]) -> RawOrigin {
    RawOrigin::serving(move |mut stream, _| async move {
        while read_header(&mut stream).await {
            if stream.write_all(response).await.is_err() {
                return;
            }
        }
        wait_for_close(&mut stream).await;
    })
}
