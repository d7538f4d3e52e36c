//! Sends interim responses and never a real one.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::read_header;
use crate::harness::RawOrigin;

const EARLY_HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";

/// One 103, then the end of the connection.
pub fn then_closed() -> RawOrigin {
    RawOrigin::serving(|mut stream, _| async move {
        if read_header(&mut stream).await {
            // The gateway may be gone; then there is nobody to tell.
            let _ = stream.write_all(EARLY_HINTS).await;
        }
    })
}

/// A 103 every `pause`, for ever.
pub fn again_and_again(pause: Duration) -> RawOrigin {
    RawOrigin::serving(move |mut stream, _| async move {
        if !read_header(&mut stream).await {
            return;
        }
        while stream.write_all(EARLY_HINTS).await.is_ok() {
            tokio::time::sleep(pause).await;
        }
    })
}
