//! One HTTP/2 request of any bytes: a client library would refuse or repair what is of interest here.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wait::within;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

const END_STREAM_AND_HEADERS: u8 = 5;

/// How a request over HTTP/2 ended.
#[derive(Debug, PartialEq, Eq)]
pub enum H2Outcome {
    Status(u16),
    /// The stream was reset, or the connection ended.
    Broken,
}

/// Sends one request with these header fields, byte by byte as they are.
pub async fn exchange_h2(address: SocketAddr, fields: &[(&str, &[u8])]) -> H2Outcome {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let mut block = Vec::new();
    for (name, value) in fields {
        // RFC 7541 section 6.2.2: a literal without indexing, its name and value as they are.
        block.push(0);
        for text in [name.as_bytes(), value] {
            push_length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    let mut sent = PREFACE.to_vec();
    push_frame(&mut sent, SETTINGS, 0, 0, &[]);
    push_frame(&mut sent, HEADERS, END_STREAM_AND_HEADERS, 1, &block);
    stream.write_all(&sent).await.expect("the gateway reads");
    within("an answer over HTTP/2", outcome(&mut stream)).await
}

async fn outcome(stream: &mut TcpStream) -> H2Outcome {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return H2Outcome::Broken;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            return H2Outcome::Broken;
        }
        match head[3] {
            HEADERS => return H2Outcome::Status(status(&payload)),
            RST_STREAM | GOAWAY => return H2Outcome::Broken,
            _ => {}
        }
    }
}

/// The status comes first, and those of RFC 7541 appendix A are one byte.
fn status(block: &[u8]) -> u16 {
    match block.first() {
        Some(0x88) => 200,
        Some(0x89) => 204,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        // `:status` with another value, three digits as they are or five bits each.
        Some(0x08 | 0x48) => literal_status(&block[1..]),
        other => panic!("no status: {other:?}"),
    }
}

fn literal_status(value: &[u8]) -> u16 {
    let (length, text) = value.split_first().expect("a value");
    let is_huffman = length & 0x80 != 0;
    let length = usize::from(length & 0x7f);
    let text = &text[..length];
    if !is_huffman {
        let text = std::str::from_utf8(text).expect("digits");
        return text.parse().expect("digits");
    }
    // RFC 7541 appendix B: `0`, `1` and `2` have five bits, the other digits six.
    let bits: String = text.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut number) = (bits.as_str(), 0);
    for _ in 0..3 {
        let five = u16::from_str_radix(&rest[..5], 2).expect("bits");
        let (digit, used) = match five {
            0..=2 => (five, 5),
            _ => (
                u16::from_str_radix(&rest[..6], 2).expect("bits") - 0x19 + 3,
                6,
            ),
        };
        number = number * 10 + digit;
        rest = &rest[used..];
    }
    number
}

/// RFC 7541 section 5.1, of seven bits.
fn push_length(block: &mut Vec<u8>, length: usize) {
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

fn push_frame(sent: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a short frame");
    sent.extend_from_slice(&length.to_be_bytes()[1..]);
    sent.extend_from_slice(&[kind, flags]);
    sent.extend_from_slice(&stream.to_be_bytes());
    sent.extend_from_slice(payload);
}
