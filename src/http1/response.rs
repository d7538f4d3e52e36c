//! Heads of responses (RFC 9112 sections 4 to 6).

use super::Refusal;
use super::field::{Lines, content_length, field};

/// Names and values of all fields of a response, and its status line. More than any server sends, and little enough
/// to wait for.
const HEAD_BYTES: usize = 64 * 1024;
const FIELDS: usize = 200;

/// What follows the head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    None,
    Length(u64),
    Chunked,
    /// Whatever comes until the connection is closed.
    UntilClose,
    /// Another head: this one was interim (1xx).
    Response,
    /// Another protocol (101).
    Protocol,
}

/// A complete head that keeps every rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Its bytes, with the empty line that ends it.
    pub length: usize,
    pub body: ResponseBody,
}

/// Reads the head of one response, as it comes. The caller gives it whole each time, as with
/// [`RequestScanner`](super::RequestScanner).
#[derive(Clone, Debug, Default)]
pub struct ResponseScanner {
    lines: Lines,
    /// Zero before the status line.
    status: u16,
    is_http_1_0: bool,
    fields: usize,
    length: Option<u64>,
    is_chunked: bool,
}

impl ResponseScanner {
    /// Looks at what is new of `bytes`, which answer a request by HEAD where it `is_head`. `None` where the head is
    /// not complete yet.
    ///
    /// # Errors
    /// The first rule that it breaks. The scanner must not be used any further then.
    pub fn advance(
        &mut self,
        bytes: &[u8],
        is_head: bool,
    ) -> Result<Option<ResponseHead>, Refusal> {
        // The reason phrase may have tabs (RFC 9112 section 4).
        while let Some(line) = self.lines.next(bytes, true)? {
            if self.status == 0 {
                self.status_line(&bytes[line])?;
            } else if line.is_empty() {
                return self.finish(is_head).map(Some);
            } else {
                self.field(&bytes[line])?;
            }
            if self.lines.start() > HEAD_BYTES {
                break;
            }
        }
        if bytes.len() > HEAD_BYTES {
            return Err(Refusal::malformed("too large a head"));
        }
        Ok(None)
    }

    fn status_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let (version, rest) = line.split_first_chunk::<9>().unwrap_or((b"         ", &[]));
        self.is_http_1_0 = match version {
            b"HTTP/1.1 " => false,
            b"HTTP/1.0 " => true,
            _ => return Err(Refusal::malformed("a status line without a version")),
        };
        // A server that has no reason phrase may leave out the space before it as well, as many do.
        let [status @ .., _] = &match rest {
            [a, b, c] | [a, b, c, b' ', ..] => [*a, *b, *c, b' '],
            _ => return Err(Refusal::malformed("a status line without a status")),
        };
        let is_status = matches!(status, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']);
        if !is_status {
            return Err(Refusal::malformed("a status that is no number"));
        }
        self.status = status
            .iter()
            .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let (name, value) = field(line)?;
        self.fields += 1;
        if self.fields > FIELDS {
            return Err(Refusal::malformed("too many fields"));
        }
        // The length of a name tells nearly every field apart from the two that matter here.
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(Refusal::malformed("Content-Length more than once"));
                }
                self.length = Some(content_length(value)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.is_chunked {
                    return Err(Refusal::malformed("Transfer-Encoding more than once"));
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::malformed("a Transfer-Encoding other than chunked"));
                }
                self.is_chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// The rules that bind the fields together (RFC 9112 sections 6.1 and 6.3).
    fn finish(&self, is_head: bool) -> Result<ResponseHead, Refusal> {
        if self.is_chunked && self.is_http_1_0 {
            return Err(Refusal::malformed("Transfer-Encoding in HTTP/1.0"));
        }
        if self.is_chunked && self.length.is_some() {
            return Err(Refusal::malformed(
                "Content-Length beside Transfer-Encoding",
            ));
        }
        let has_no_body = matches!(self.status, 100..=199 | 204);
        if has_no_body && (self.is_chunked || self.length.is_some_and(|length| length > 0)) {
            return Err(Refusal::malformed("a body where there is none"));
        }
        let body = match (self.status, self.length) {
            (101, _) => ResponseBody::Protocol,
            (100..=199, _) => ResponseBody::Response,
            (204 | 304, _) | (_, Some(0)) => ResponseBody::None,
            _ if is_head => ResponseBody::None,
            (_, Some(length)) => ResponseBody::Length(length),
            (_, None) if self.is_chunked => ResponseBody::Chunked,
            (_, None) => ResponseBody::UntilClose,
        };
        Ok(ResponseHead {
            length: self.lines.start(),
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of `piece` bytes, as a connection would bring them.
    fn scan(bytes: &[u8], piece: usize, is_head: bool) -> Result<Option<ResponseHead>, Refusal> {
        let mut scanner = ResponseScanner::default();
        let mut end = 0;
        loop {
            end = bytes.len().min(end + piece);
            let head = scanner.advance(&bytes[..end], is_head)?;
            if head.is_some() || end == bytes.len() {
                return Ok(head);
            }
        }
    }

    #[test]
    fn the_body_is_what_the_head_says() {
        use ResponseBody::*;
        for (head, body, to_head) in [
            ("HTTP/1.1 200 OK\r\n", UntilClose, None),
            ("HTTP/1.0 200 OK\r\n", UntilClose, None),
            ("HTTP/1.1 200\r\n", UntilClose, None),
            ("HTTP/1.1 200 \r\n", UntilClose, None),
            ("HTTP/1.1 200 very\tgood \u{fc}\r\n", UntilClose, None),
            ("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n", Length(7), None),
            (
                "HTTP/1.0 200 OK\r\nCONTENT-LENGTH:\t07 \r\n",
                Length(7),
                None,
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n", None, None),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n",
                Chunked,
                None,
            ),
            ("HTTP/1.1 204 No Content\r\n", None, None),
            (
                "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n",
                None,
                None,
            ),
            (
                "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n",
                None,
                None,
            ),
            ("HTTP/1.1 100 Continue\r\n", Response, Response),
            (
                "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n",
                Response,
                Response,
            ),
            ("HTTP/1.1 101 Switching Protocols\r\n", Protocol, Protocol),
            (
                "HTTP/1.1 999 Odd\r\nx:\r\ncontent-length: 1\r\n",
                Length(1),
                None,
            ),
        ] {
            let bytes = format!("{head}\r\nrest");
            let length = bytes.len() - 4;
            for (is_head, body) in [(false, body), (true, to_head)] {
                for piece in [1, 2, 7, bytes.len()] {
                    let found = scan(bytes.as_bytes(), piece, is_head);
                    assert_eq!(found, Ok(Some(ResponseHead { length, body })), "{head:?}");
                }
            }
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(70_000));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(201));
        let unending = format!("HTTP/1.1 200 {}", "x".repeat(70_000));
        for bytes in [
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.2 200 OK\r\n\r\n",
            "http/1.1 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/1.1\t200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 +20 OK\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 200\tOK\r\n\r\n",
            "HTTP/1.1 200 O\0K\r\n\r\n",
            "HTTP/1.1 200 OK\n\n",
            "HTTP/1.1 200 OK\r\nx: y\n\r\n",
            "HTTP/1.1 200 OK\r\nx: y\rz: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n x: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx : a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx\u{fc}: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\x01\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\x7f\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding:\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 204 No Content\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\ntransfer-encoding: chunked\r\n\r\n",
            &large,
            &many,
            &unending,
        ] {
            for piece in [1_000, bytes.len()] {
                assert!(scan(bytes.as_bytes(), piece, false).is_err(), "{bytes:?}");
            }
            if bytes.len() < 1_000 {
                assert!(scan(bytes.as_bytes(), 1, true).is_err(), "{bytes:?} by one");
            }
        }
    }
}
