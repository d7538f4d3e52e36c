//! Closes a kept connection at the moment that a second request comes in on it.

use tokio::io::AsyncWriteExt;

use super::read_header;
use crate::harness::RawOrigin;

/// The first request of each connection is answered. The second is read and met by the end of the connection,
/// as when an origin's idle timeout and a request cross on the way.
pub fn start() -> RawOrigin {
    RawOrigin::serving(|mut stream, _| async move {
        if read_header(&mut stream).await {
            let response = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            if stream.write_all(response).await.is_ok() {
                read_header(&mut stream).await;
            }
        }
    })
}

/// Says that it keeps the connection and closes it right after the response.
pub fn closing_after_response() -> RawOrigin {
    RawOrigin::serving(|mut stream, _| async move {
        if read_header(&mut stream).await {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await;
        }
    })
}
