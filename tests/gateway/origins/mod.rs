//! Origins that misbehave, one misbehaviour per file.

pub mod black_hole;
pub mod conflicting_framing;
pub mod exact;
pub mod garbage;
pub mod half_close;
pub mod interim;
pub mod reset;
pub mod silent;
pub mod slow_header;
pub mod stale;
pub mod unread;
pub mod wrong_length;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

/// Reads the header of a request, and is content with anything that ends like one. False where the peer left.
pub async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// Waits until the peer has closed its side.
async fn wait_for_close(stream: &mut TcpStream) {
    let mut rest = [0; 1024];
    while !matches!(stream.read(&mut rest).await, Ok(0) | Err(_)) {}
}
