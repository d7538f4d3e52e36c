//! Any bytes as the head and as the chunks of a request.

use super::{Body, Chunks, RequestHead, RequestLimits, RequestScanner};
use crate::text::fuzz::fuzz;

const LIMITS: RequestLimits = RequestLimits {
    target_bytes: 200,
    field_bytes: 400,
    fields: 8,
};

const WORDS: [&str; 24] = [
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    ":",
    ": ",
    " ",
    "\t",
    "\0",
    "GET ",
    "POST ",
    " HTTP/1.1",
    " HTTP/1.0",
    "host: a",
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "http://a/",
    "/",
    "0",
    "5",
    ";",
    "x: y",
    "\x7f",
    "é",
];

/// How a head ends when its bytes come in pieces of this size.
fn scan(bytes: &[u8], piece: usize) -> Result<Option<RequestHead>, &'static str> {
    let mut scanner = RequestScanner::default();
    let mut come = 0;
    while come < bytes.len() {
        come = (come + piece).min(bytes.len());
        let head = scanner.advance(&bytes[..come], &LIMITS);
        if let Some(head) = head.map_err(|refusal| refusal.reason)? {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

#[test]
fn fuzz_heads() {
    fuzz("http1_head", &WORDS, |input| {
        let whole = scan(input, usize::MAX / 2);
        if let Ok(Some(head)) = whole {
            // What was taken for a head is one however it comes, and to everybody else.
            for piece in [1, 7] {
                assert_eq!(scan(input, piece), whole, "in pieces of {piece}");
            }
            let bytes = &input[..head.length];
            assert!(bytes.ends_with(b"\r\n\r\n"));
            assert_eq!(scan(bytes, usize::MAX / 2), whole);
            let text = String::from_utf8_lossy(bytes);
            let lines: Vec<&str> = text
                .trim_start_matches("\r\n")
                .trim_end_matches("\r\n")
                .split("\r\n")
                .collect();
            assert!(
                !lines
                    .iter()
                    .any(|line| line.is_empty() || line.contains(['\r', '\n', '\0']))
            );
            let (request, fields) = lines.split_first().expect("a request line");
            assert_eq!(request.split(' ').count(), 3, "{request}");
            let named = |wanted: &str| {
                let names = fields
                    .iter()
                    .map(|field| field.split_once(':').expect("a colon").0);
                names
                    .filter(|name| name.eq_ignore_ascii_case(wanted))
                    .count()
            };
            assert!(
                named("host") <= 1
                    && named("content-length") <= 1
                    && named("transfer-encoding") <= 1
            );
            assert_eq!(head.body == Body::Chunked, named("transfer-encoding") == 1);
            assert!(named("host") == 1 || request.ends_with("HTTP/1.0"));
        }
        whole.map(|head| head.map(|head| head.body == Body::None))
    });
}

#[test]
fn fuzz_chunks() {
    let scan = |bytes: &[u8], piece: usize| -> Result<Option<usize>, &'static str> {
        let mut chunks = Chunks::default();
        let mut taken = 0;
        for piece in bytes.chunks(piece.max(1)) {
            let here = chunks.advance(piece).map_err(|refusal| refusal.reason)?;
            assert!(here == piece.len() || chunks.is_done());
            taken += here;
            if chunks.is_done() {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    };
    fuzz("http1_chunks", &WORDS, |input| {
        let whole = scan(input, input.len());
        for piece in [1, 5] {
            assert_eq!(scan(input, piece), whole, "in pieces of {piece}");
        }
        if let Ok(Some(length)) = whole {
            assert!(input[..length].ends_with(b"\r\n"));
            assert_eq!(scan(&input[..length - 1], length), Ok(None));
        }
        whole.map(|length| length.map(|length| length.min(40)))
    });
}
