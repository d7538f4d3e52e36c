//! An origin that costs next to nothing, for `loadtest/`: it answers each request with the same kibibyte of JSON.
//!
//! `origin LISTEN [THREADS]`. Only framing is understood (Content-Length, keep-alive, pipelining); the method, the
//! path and the other headers are not looked at, and chunked request bodies end the connection. It is a weight on
//! the scales, not a server.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BODY_BYTES: usize = 1024;
const LARGEST_HEAD: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(listen) = arguments.next() else {
        eprintln!("usage: origin LISTEN [THREADS]");
        std::process::exit(2);
    };
    let threads = arguments
        .next()
        .map_or(1, |threads| threads.parse().expect("THREADS is a number"));
    let answer: &'static [u8] = answer().leak();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A connection that breaks off is the client's business; there is nobody here to tell.
            tokio::spawn(async move { serve(stream, answer).await.ok() });
        }
    })
}

/// The whole answer: head and a JSON body of exactly [`BODY_BYTES`].
fn answer() -> Vec<u8> {
    let start =
        r#"{"id":42,"name":"Fjord Kettle","price_cents":4999,"currency":"EUR","description":""#;
    let filler = "x".repeat(BODY_BYTES - start.len() - r#""}"#.len());
    let head = format!(
        "HTTP/1.1 200 OK\r\nserver: origin\r\nx-powered-by: tokio\r\nx-internal-shard: 7\r\n\
         content-type: application/json\r\ncontent-length: {BODY_BYTES}\r\n\r\n"
    );
    format!("{head}{start}{filler}\"}}").into_bytes()
}

/// Answers every request that has arrived with one write, then reads on.
async fn serve(mut stream: TcpStream, answer: &'static [u8]) -> io::Result<()> {
    let mut received = Vec::with_capacity(16 * 1024);
    let mut answers = Vec::new();
    loop {
        let mut consumed = 0;
        let mut complete = 0;
        while let Some(length) = request_length(&received[consumed..])? {
            if received.len() - consumed < length {
                break;
            }
            consumed += length;
            complete += 1;
        }
        received.drain(..consumed);
        match complete {
            0 => {}
            1 => stream.write_all(answer).await?,
            _ => {
                answers.clear();
                (0..complete).for_each(|_| answers.extend_from_slice(answer));
                stream.write_all(&answers).await?;
            }
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

/// The length of the request at the start of `bytes`, body included, once its head is complete.
fn request_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() > LARGEST_HEAD {
            Err(io::ErrorKind::InvalidData.into())
        } else {
            Ok(None)
        };
    };
    let mut body = 0;
    for line in bytes[..head].split(|&byte| byte == b'\n') {
        if starts_with_ignoring_case(line, b"transfer-encoding:") {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if starts_with_ignoring_case(line, b"content-length:") {
            let value = std::str::from_utf8(&line[b"content-length:".len()..]).map(str::trim);
            body = value
                .ok()
                .and_then(|value| value.parse().ok())
                .ok_or(io::ErrorKind::InvalidData)?;
        }
    }
    Ok(Some(head + 4 + body))
}

fn starts_with_ignoring_case(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(name))
}
