//! Sends a body that is not as long as it said.

use tokio::io::AsyncWriteExt;

use super::{read_header, wait_for_close};
use crate::harness::RawOrigin;

/// Says ten, sends four, closes.
pub fn too_short() -> RawOrigin {
    RawOrigin::serving(|mut stream, _| async move {
        if read_header(&mut stream).await {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfour")
                .await;
        }
    })
}

/// Says four and sends more, which would be the beginning of the next response if anybody believed it.
pub fn too_long() -> RawOrigin {
    RawOrigin::serving(|mut stream, _| async move {
        while read_header(&mut stream).await {
            let response = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfourHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";
            if stream.write_all(response).await.is_err() {
                return;
            }
        }
        wait_for_close(&mut stream).await;
    })
}
