//! Sends the beginning of a response and then nothing more.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{read_header, wait_for_close};
use crate::harness::RawOrigin;

/// The header and the first bytes of the body.
pub fn in_body() -> RawOrigin {
    RawOrigin::serving(|mut stream, _| async move {
        if read_header(&mut stream).await {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789")
                .await;
            wait_for_close(&mut stream).await;
        }
    })
}

/// A body that comes a byte every `pause`, for ever.
pub fn trickling_body(pause: Duration) -> RawOrigin {
    RawOrigin::serving(move |mut stream, _| async move {
        if !read_header(&mut stream).await {
            return;
        }
        let header = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
        if stream.write_all(header).await.is_err() {
            return;
        }
        while stream.write_all(b"a").await.is_ok() {
            tokio::time::sleep(pause).await;
        }
    })
}
