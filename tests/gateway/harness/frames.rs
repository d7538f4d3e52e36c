//! Frames of HTTP/2 on a socket, one by one, for what no client of HTTP/2 would do.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::client::Io;
use super::wait::within;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 section 6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
}

/// Error codes (RFC 9113 section 7).
pub mod code {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// A frame as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Frame {
        Frame {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = (self.payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The code in the last four bytes of what is all of `RST_STREAM` and the beginning of `GOAWAY`.
    pub fn code(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

/// A whole request without a body.
pub fn ask(stream: u32, path: &str) -> Frame {
    headers(stream, flag::END_STREAM, &pseudo_headers("GET", path))
}

/// A header block in one frame, with these flags beside `END_HEADERS`.
pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Frame {
    Frame::new(
        kind::HEADERS,
        flag::END_HEADERS | flags,
        stream,
        block(fields),
    )
}

/// The pseudo-headers of a request to `a.example`.
pub fn pseudo_headers<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a.example"),
        (":path", path),
    ]
}

pub fn data(stream: u32, flags: u8, payload: impl Into<Vec<u8>>) -> Frame {
    Frame::new(kind::DATA, flags, stream, payload)
}

pub fn reset(stream: u32, code: u32) -> Frame {
    Frame::new(kind::RST_STREAM, 0, stream, code.to_be_bytes())
}

pub fn settings(values: &[(u16, u32)]) -> Frame {
    let mut payload = Vec::new();
    for (name, value) in values {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    Frame::new(kind::SETTINGS, 0, 0, payload)
}

pub fn ping() -> Frame {
    Frame::new(kind::PING, 0, 0, [7; 8])
}

/// The answer to a ping.
pub fn pong(ping: &Frame) -> Frame {
    Frame::new(kind::PING, flag::ACK, 0, &*ping.payload)
}

pub fn window_update(stream: u32, increment: u32) -> Frame {
    Frame::new(kind::WINDOW_UPDATE, 0, stream, increment.to_be_bytes())
}

/// Depends on `parent`.
pub fn priority(stream: u32, parent: u32) -> Frame {
    let mut payload = parent.to_be_bytes().to_vec();
    payload.push(15);
    Frame::new(kind::PRIORITY, 0, stream, payload)
}

/// Fields in HPACK's plainest form: literal, never indexed, no Huffman (RFC 7541 section 6.2.3).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            hpack_length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn hpack_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The status in a response's block of fields. It comes first, and as the gateway is asked for few of them, as an
/// index of the static table or as a literal with its name indexed.
fn status(block: &[u8]) -> u16 {
    match *block {
        [index @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
        // Literal with an indexed name (`:status` is 8 to 14), three characters in Huffman's code or plain.
        [0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e, 3, a, b, c, ..] => {
            let digits = [a, b, c].map(|digit| u16::from(digit - b'0'));
            digits[0] * 100 + digits[1] * 10 + digits[2]
        }
        [
            0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e,
            length,
            ref rest @ ..,
        ] if length > 0x80 => huffman_digits(&rest[..usize::from(length - 0x80)]),
        _ => panic!("no status in {block:x?}"),
    }
}

/// Digits in Huffman's code (RFC 7541 appendix B): `0` to `2` have five bits, `3` to `9` six.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let mut bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut number = 0;
    for _ in 0..3 {
        let five = (0..5).fold(0u8, |code, _| code << 1 | bits.next().expect("a bit"));
        let digit = match five {
            0..=2 => five,
            _ => (five << 1 | bits.next().expect("a bit")) - 0x19 + 3,
        };
        number = number * 10 + u16::from(digit);
    }
    number
}

/// A connection on which frames are sent and read as they are.
pub struct FrameClient {
    writing: WriteHalf<Box<dyn Io>>,
    reading: ReadHalf<Box<dyn Io>>,
}

impl FrameClient {
    /// Connects and sends the preface with these settings.
    pub async fn connect(address: SocketAddr, values: &[(u16, u32)]) -> FrameClient {
        let mut client = FrameClient::bare(address).await;
        client.send(PREFACE).await;
        client.send(settings(values).bytes()).await;
        client
    }

    /// As [`FrameClient::connect`], over TLS.
    pub async fn connect_tls(
        address: SocketAddr,
        name: &'static str,
        mut config: ClientConfig,
    ) -> FrameClient {
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address).await.expect("a connection");
        let name = ServerName::try_from(name).expect("a name");
        let tls = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let tls = within("a TLS handshake", tls).await.expect("a handshake");
        let mut client = FrameClient::of(Box::new(tls));
        client.send(PREFACE).await;
        client.send(settings(&[]).bytes()).await;
        client
    }

    /// Connects and says nothing.
    pub async fn bare(address: SocketAddr) -> FrameClient {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        FrameClient::of(Box::new(stream))
    }

    fn of(stream: Box<dyn Io>) -> FrameClient {
        let (reading, writing) = tokio::io::split(stream);
        FrameClient { writing, reading }
    }

    /// Sends bytes. The gateway may be gone already; what it said before that can still be read.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = self.writing.write_all(bytes.as_ref());
        let _ = within("the gateway reads or closes", sending).await;
    }

    pub async fn send_frame(&mut self, frame: Frame) {
        self.send(frame.bytes()).await;
    }

    /// The next frame; `None` where the connection is closed.
    pub async fn read(&mut self) -> Option<Frame> {
        within("a frame", self.read_now()).await
    }

    async fn read_now(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.reading.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.reading.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame::new(head[3], head[4], stream, payload))
    }

    /// The next frame that is as wanted, or `None` where the connection is closed before. Those in between are lost.
    pub async fn read_until(&mut self, is_wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.read().await?;
            if is_wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// What became of a stream, or of the connection before that.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            let Some(frame) = self.read().await else {
                return Outcome::Closed;
            };
            match frame.kind {
                kind::GOAWAY => return Outcome::GoAway(frame.code()),
                kind::RST_STREAM if frame.stream == stream => return Outcome::Reset(frame.code()),
                kind::HEADERS if frame.stream == stream => {
                    return Outcome::Status(status(&frame.payload));
                }
                _ => {}
            }
        }
    }

    /// Reads until the gateway closes.
    pub async fn read_to_end(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.read().await {
            frames.push(frame);
        }
        frames
    }
}

/// What the gateway made of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response.
    Status(u16),
    /// The stream was reset with this code.
    Reset(u32),
    /// The connection was given up with this code.
    GoAway(u32),
    /// The connection was closed without a word.
    Closed,
}
