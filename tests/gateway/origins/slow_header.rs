//! Sends the header of its response a byte at a time.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{read_header, wait_for_close};
use crate::harness::RawOrigin;

/// One byte every `pause`: no single wait is long, the whole is endless.
pub fn start(pause: Duration) -> RawOrigin {
    RawOrigin::serving(move |mut stream, _| async move {
        if !read_header(&mut stream).await {
            return;
        }
        let header = b"HTTP/1.1 200 OK\r\nx-slow: ".iter();
        for byte in header.chain(std::iter::repeat_n(&b'a', 10_000)) {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
        wait_for_close(&mut stream).await;
    })
}
