//! Closes its sending side in the middle of a response and goes on reading.

use tokio::io::AsyncWriteExt;

use super::{read_header, wait_for_close};
use crate::harness::RawOrigin;

/// Before the end of the header.
pub fn in_header() -> RawOrigin {
    after(b"HTTP/1.1 200 OK\r\ncontent-len")
}

/// In the middle of a chunked body.
pub fn in_chunks() -> RawOrigin {
    after(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
}

/// Without a word.
pub fn at_once() -> RawOrigin {
    after(b"")
}

fn after(response: &'static [u8]) -> RawOrigin {
    RawOrigin::serving(move |mut stream, _| async move {
        if read_header(&mut stream).await {
            let _ = stream.write_all(response).await;
            let _ = stream.shutdown().await;
            wait_for_close(&mut stream).await;
        }
    })
}
