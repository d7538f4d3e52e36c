//! Answers with what is no HTTP at all.

use tokio::io::AsyncWriteExt;

use super::{read_header, wait_for_close};
use crate::harness::RawOrigin;

pub fn start() -> RawOrigin {
    RawOrigin::serving(|mut stream, _| async move {
        if read_header(&mut stream).await {
            let _ = stream
                .write_all(b"\x16\x03\x01 220 smtp.example ESMTP\r\n\r\n")
                .await;
            wait_for_close(&mut stream).await;
        }
    })
}
