//! Heads of requests (RFC 9112 sections 2 to 6).

use std::ops::Range;

use super::field::{Lines, content_length, field};
use super::grammar::{is_authority, is_path_and_query, plain_target, token};
use super::{Body, Refusal};
use crate::response::Code;

/// Longer than any method that is registered (`UPDATEREDIRECTREF`), and no room for anything else.
const METHOD_BYTES: usize = 32;
/// ` HTTP/1.1`, and the space before the target.
const REST_OF_REQUEST_LINE: usize = 10;

/// How much a client may say before its request's body.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// The longest request target.
    pub target_bytes: usize,
    /// Names and values of all fields together, with the spaces between them.
    pub field_bytes: usize,
    pub fields: usize,
}

/// A complete head that keeps every rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Its bytes, with the empty line that ends it.
    pub length: usize,
    pub body: Body,
}

/// Reads the head of one request, as it comes.
///
/// The caller keeps the bytes and gives them whole each time, from the head's first byte on; the scanner goes on
/// where it stopped, so that a client that sends byte by byte costs no more than one that sends at once. It keeps
/// ranges and no copies.
#[derive(Clone, Debug, Default)]
pub struct RequestScanner {
    lines: Lines,
    has_request_line: bool,
    is_http_1_0: bool,
    method: Range<usize>,
    target: Range<usize>,
    /// Of an absolute-form target.
    authority: Option<Range<usize>>,
    fields: usize,
    field_bytes: usize,
    host: Option<Range<usize>>,
    length: Option<u64>,
    is_chunked: bool,
}

impl RequestScanner {
    /// Looks at what is new of `bytes`. `None` where the head is not complete yet.
    ///
    /// # Errors
    /// The first rule that it breaks. The scanner must not be used any further then, but for
    /// [`request_line`](Self::request_line).
    pub fn advance(
        &mut self,
        bytes: &[u8],
        limits: &RequestLimits,
    ) -> Result<Option<RequestHead>, Refusal> {
        while let Some(Range { start: line, end }) =
            self.lines.next(bytes, self.has_request_line)?
        {
            if line == end {
                if self.has_request_line {
                    return self.finish(bytes).map(Some);
                }
                // RFC 9112 section 2.2: old clients send an empty line after a body; one is overlooked.
                if line > 0 {
                    return Err(Refusal::malformed("empty lines before the request"));
                }
            } else if self.has_request_line {
                self.field(bytes, line..end, limits)?;
            } else {
                self.request_line_of(bytes, line..end, limits)?;
                self.has_request_line = true;
            }
        }
        self.bound_unfinished(bytes.len() - self.lines.start(), limits)?;
        Ok(None)
    }

    /// The method and the path, where the request line was in order: for whoever has to say what was refused. The
    /// path may be empty.
    pub fn request_line(&self) -> Option<(Range<usize>, Range<usize>)> {
        let path = match &self.authority {
            Some(authority) => authority.end..self.target.end,
            None => self.target.clone(),
        };
        self.has_request_line.then(|| (self.method.clone(), path))
    }

    /// The first `Host`, where it has come and was in order.
    pub fn host(&self) -> Option<Range<usize>> {
        self.host.clone()
    }

    /// Refuses what is too long before the end of its line has come.
    fn bound_unfinished(&self, bytes: usize, limits: &RequestLimits) -> Result<(), Refusal> {
        if self.has_request_line {
            // The colon and the line's end are not counted.
            if self.field_bytes + bytes > limits.field_bytes + 2 {
                return Err(TOO_MANY_FIELD_BYTES);
            }
        } else if bytes > METHOD_BYTES + limits.target_bytes + REST_OF_REQUEST_LINE {
            return Err(TARGET_TOO_LONG);
        }
        Ok(())
    }

    fn request_line_of(
        &mut self,
        bytes: &[u8],
        line: Range<usize>,
        limits: &RequestLimits,
    ) -> Result<(), Refusal> {
        let start = line.start;
        let line = &bytes[line];
        let method = token(line).len();
        if !(1..=METHOD_BYTES).contains(&method) || line.get(method) != Some(&b' ') {
            return Err(Refusal::malformed("no method that HTTP could have"));
        }
        let rest = &line[method + 1..];
        let plain = plain_target(rest).len();
        let is_plain = plain > 0 && rest.get(plain) == Some(&b' ');
        let end = match is_plain {
            true => Some(plain),
            false => rest.iter().position(|&byte| byte == b' '),
        };
        let Some(end) = end else {
            return Err(Refusal::malformed("a request line without a version"));
        };
        let (target, version) = (&rest[..end], &rest[end + 1..]);
        self.is_http_1_0 = is_http_1_0(version)?;
        if target.len() > limits.target_bytes {
            return Err(TARGET_TOO_LONG);
        }
        let target_start = start + method + 1;
        self.method = start..start + method;
        self.target = target_start..target_start + target.len();
        match (target, &line[..method]) {
            (_, b"CONNECT") => Err(Refusal::new(Code::MethodNotImplemented, "CONNECT")),
            _ if is_plain => Ok(()),
            // The engine takes what is not UTF-8 for no target at all, and has a page of its own for it.
            _ if std::str::from_utf8(target).is_err() => {
                Err(Refusal::malformed("a target that is not text"))
            }
            ([b'/', ..], _) if is_path_and_query(target) => Ok(()),
            (b"*", b"OPTIONS") => Ok(()),
            ([b'/' | b'*', ..] | [], _) => Err(Refusal::malformed(
                "a target with characters that no target has",
            )),
            _ => {
                let (authority, path) = absolute(target)?;
                if !is_authority(&target[authority.clone()]) || !is_path_and_query(&target[path]) {
                    return Err(Refusal::malformed("an absolute target that is no URL"));
                }
                self.authority = Some(target_start + authority.start..target_start + authority.end);
                Ok(())
            }
        }
    }

    fn field(
        &mut self,
        bytes: &[u8],
        line: Range<usize>,
        limits: &RequestLimits,
    ) -> Result<(), Refusal> {
        let start = line.start;
        let line = &bytes[line];
        let (name, value) = field(line)?;
        self.fields += 1;
        // With the spaces around the value, which would otherwise be room without end; the colon is free.
        self.field_bytes += line.len() - 1;
        if self.fields > limits.fields {
            return Err(Refusal::new(Code::HeadersTooLarge, "too many fields"));
        }
        if self.field_bytes > limits.field_bytes {
            return Err(TOO_MANY_FIELD_BYTES);
        }
        // The length of a name tells nearly every field apart from the three that matter here.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host.is_some() {
                    return Err(Refusal::malformed("Host more than once"));
                }
                if !is_authority(value) {
                    return Err(Refusal::malformed("a Host that is none"));
                }
                let before = line.len() - line[name.len() + 1..].trim_ascii_start().len();
                self.host = Some(start + before..start + before + value.len());
            }
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

    /// The rules that bind the fields together.
    fn finish(&self, bytes: &[u8]) -> Result<RequestHead, Refusal> {
        match (&self.host, &self.authority) {
            (None, _) if !self.is_http_1_0 => return Err(Refusal::malformed("no Host")),
            // The engine throws the authority away, and routes and policies would see no host.
            (None, Some(_)) => return Err(Refusal::malformed("an absolute target without Host")),
            (Some(host), Some(authority)) if bytes[host.clone()] != bytes[authority.clone()] => {
                return Err(Refusal::malformed("a target for another host than Host"));
            }
            _ => {}
        }
        if self.is_chunked && self.is_http_1_0 {
            return Err(Refusal::malformed("Transfer-Encoding in HTTP/1.0"));
        }
        let body = match (self.length, self.is_chunked) {
            (Some(_), true) => {
                return Err(Refusal::malformed(
                    "Content-Length beside Transfer-Encoding",
                ));
            }
            (None | Some(0), false) => Body::None,
            (Some(length), false) => Body::Length(length),
            (None, true) => Body::Chunked,
        };
        Ok(RequestHead {
            length: self.lines.start(),
            body,
        })
    }
}

const TARGET_TOO_LONG: Refusal = Refusal::new(Code::UriTooLong, "too long a target");
const TOO_MANY_FIELD_BYTES: Refusal = Refusal::new(Code::HeadersTooLarge, "fields too large");

fn is_http_1_0(version: &[u8]) -> Result<bool, Refusal> {
    match version {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Refusal::new(
                Code::VersionNotSupported,
                "a version of HTTP that is not spoken",
            ))
        }
        _ => Err(Refusal::malformed("a request line that ends in no version")),
    }
}

/// The authority of an absolute-form target, and the path and query after it.
fn absolute(target: &[u8]) -> Result<(Range<usize>, Range<usize>), Refusal> {
    let schemes: [&[u8]; 2] = [b"http://", b"https://"];
    let scheme = schemes.iter().find(|scheme| {
        let start = target.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let Some(scheme) = scheme else {
        return Err(Refusal::malformed(
            "a target that is neither a path nor a URL",
        ));
    };
    let rest = &target[scheme.len()..];
    let authority = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let end = scheme.len() + authority;
    Ok((scheme.len()..end, end..target.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: RequestLimits = RequestLimits {
        target_bytes: 100,
        field_bytes: 200,
        fields: 5,
    };

    /// Feeds `bytes` in pieces of `piece` bytes, as a connection would bring them.
    fn scan(bytes: &[u8], piece: usize) -> Result<Option<RequestHead>, Refusal> {
        let mut scanner = RequestScanner::default();
        let mut end = 0;
        loop {
            end = bytes.len().min(end + piece);
            let head = scanner.advance(&bytes[..end], &LIMITS)?;
            if head.is_some() || end == bytes.len() {
                return Ok(head);
            }
        }
    }

    fn check(bytes: &str, expected: Result<Option<Body>, Code>) {
        for piece in [1, 2, 7, bytes.len().max(1)] {
            let scanned = scan(bytes.as_bytes(), piece);
            let body = scanned.map(|head| head.map(|head| head.body));
            let body = body.map_err(|refusal| refusal.code);
            assert_eq!(body, expected, "{bytes:?} by {piece}");
        }
    }

    #[test]
    fn heads_that_keep_every_rule() {
        for (bytes, body) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", Body::None),
            ("GET / HTTP/1.0\r\n\r\n", Body::None),
            ("\r\nGET / HTTP/1.1\r\nHOST:a:80\r\n\r\n", Body::None),
            ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", Body::None),
            ("GET http://a/x?y HTTP/1.1\r\nhost: a\r\n\r\n", Body::None),
            ("GET HTTP://a HTTP/1.1\r\nhost: \t a \t\r\n\r\n", Body::None),
            ("GET https://a?q HTTP/1.0\r\nhost: a\r\n\r\n", Body::None),
            (
                "M-SEARCH /\u{e4} HTTP/1.1\r\nhost: [::1]:8\r\n\r\n",
                Body::None,
            ),
            (
                "GET / HTTP/1.1\r\nhost: a\r\nx:\r\ny: a\tb\u{ff}\r\n\r\n",
                Body::None,
            ),
            (
                "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
                Body::None,
            ),
            (
                "PUT / HTTP/1.1\r\nhost: a\r\nContent-Length:007\r\n\r\n",
                Body::Length(7),
            ),
            (
                "PUT / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
                Body::Chunked,
            ),
        ] {
            check(bytes, Ok(Some(body)));
            for cut in 0..bytes.len() {
                if bytes.is_char_boundary(cut) {
                    check(&bytes[..cut], Ok(None));
                }
            }
        }
    }

    #[test]
    fn the_head_ends_at_its_empty_line() {
        let head = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let both = format!("{head}GET /2 HTTP/1.1\r\n");
        let scanned = scan(both.as_bytes(), both.len()).unwrap().unwrap();
        assert_eq!(scanned.length, head.len());
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        use Code::{
            BadRequest, HeadersTooLarge, MethodNotImplemented, UriTooLong, VersionNotSupported,
        };
        let long = |bytes: usize| "x".repeat(bytes);
        for (bytes, code) in [
            ("GET / HTTP/1.1\nhost: a\r\n\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.1\r\nhost: a\n\r\n".to_owned(), BadRequest),
            ("\n".to_owned(), BadRequest),
            ("\r\n\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.1\rX".to_owned(), BadRequest),
            (" GET / HTTP/1.1\r\n".to_owned(), BadRequest),
            ("GET  / HTTP/1.1\r\n".to_owned(), BadRequest),
            ("GET / a HTTP/1.1\r\n".to_owned(), BadRequest),
            ("GET /\tHTTP/1.1\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.1 \r\n".to_owned(), BadRequest),
            ("GET /\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.12\r\n".to_owned(), BadRequest),
            ("GET / http/1.1\r\n".to_owned(), BadRequest),
            ("GET x HTTP/1.1\r\n".to_owned(), BadRequest),
            ("GET * HTTP/1.1\r\n".to_owned(), BadRequest),
            ("GET /#f HTTP/1.1\r\n".to_owned(), BadRequest),
            ("GET ftp://a/ HTTP/1.1\r\n".to_owned(), BadRequest),
            ("GET http://a/ HTTP/1.0\r\n\r\n".to_owned(), BadRequest),
            ("GET http:///x HTTP/1.1\r\n".to_owned(), BadRequest),
            ("GET http://u@a/ HTTP/1.1\r\n".to_owned(), BadRequest),
            ("GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n".to_owned(), BadRequest),
            ("G(T / HTTP/1.1\r\n".to_owned(), BadRequest),
            (format!("{} / HTTP/1.1\r\n", long(33)), BadRequest),
            ("CONNECT a:1 HTTP/1.1\r\n".to_owned(), MethodNotImplemented),
            ("GET / HTTP/2.0\r\n".to_owned(), VersionNotSupported),
            ("PRI * HTTP/2.0\r\n".to_owned(), VersionNotSupported),
            (format!("GET /{} HTTP/1.1\r\n", long(100)), UriTooLong),
            (format!("GET /{}", long(200)), UriTooLong),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.1\r\nhost:\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.1\r\nhost: a,b\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.1\r\nhost: a\r\n b: c\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.1\r\nhost : a\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.1\r\n: a\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.1\r\nx\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.1\r\nx: a\0b\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.1\r\nx: a\x7fb\r\n".to_owned(), BadRequest),
            ("GET / HTTP/1.1\r\nx: a\rb\r\n".to_owned(), BadRequest),
            ("PUT / HTTP/1.1\r\ncontent-length: +1\r\n".to_owned(), BadRequest),
            ("PUT / HTTP/1.1\r\ncontent-length: 1, 1\r\n".to_owned(), BadRequest),
            ("PUT / HTTP/1.1\r\ncontent-length:\r\n".to_owned(), BadRequest),
            ("PUT / HTTP/1.1\r\ncontent-length: 1\r\nContent-length: 1\r\n".to_owned(), BadRequest),
            ("PUT / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n".to_owned(), BadRequest),
            ("PUT / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n".to_owned(), BadRequest),
            ("PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n".to_owned(), BadRequest),
            ("PUT / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), BadRequest),
            (
                "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
                BadRequest,
            ),
            (format!("GET / HTTP/1.1\r\nx: {}\r\n", long(200)), HeadersTooLarge),
            (format!("GET / HTTP/1.1\r\nx: {}", long(210)), HeadersTooLarge),
            (format!("GET / HTTP/1.1\r\n{}", "x: y\r\n".repeat(6)), HeadersTooLarge),
        ] {
            check(&bytes, Err(code));
        }
    }

    proptest! {
        #[test]
        fn how_it_is_cut_decides_nothing(
            lines in prop::collection::vec(
                prop::sample::select(vec![
                    "GET / HTTP/1.1\r\n", "PUT /x HTTP/1.0\r\n", "host: a\r\n", "content-length: 3\r\n",
                    "transfer-encoding: chunked\r\n", "x: \ty\r\n", "\r\n", "\n", "\r", " ", ":", "z",
                ]),
                0..8,
            ),
            piece in 1_usize..30,
        ) {
            let bytes = lines.concat().into_bytes();
            let whole = scan(&bytes, bytes.len().max(1)).map_err(|refusal| refusal.code);
            let pieces = scan(&bytes, piece).map_err(|refusal| refusal.code);
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn what_passes_reads_the_same_to_another_parser(
            lines in prop::collection::vec(
                prop::sample::select(vec![
                    "host: a\r\n", "content-length: 3\r\n", "transfer-encoding: chunked\r\n", "x: \ty\r\n", "y:z\r\n",
                    "x:  \r\n", "~!#: a\r\n",
                ]),
                0..6,
            ),
        ) {
            let bytes = format!("GET /a?b HTTP/1.1\r\n{}\r\n", lines.concat()).into_bytes();
            if let Ok(Some(head)) = scan(&bytes, bytes.len()) {
                let mut fields = [httparse::EMPTY_HEADER; 16];
                let mut request = httparse::Request::new(&mut fields);
                let parsed = request.parse(&bytes);
                prop_assert_eq!(parsed, Ok(httparse::Status::Complete(head.length)));
                let count = |name: &str| {
                    request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count()
                };
                prop_assert_eq!(count("host"), 1);
                prop_assert_eq!(count("content-length"), usize::from(matches!(head.body, Body::Length(_))));
            }
        }
    }
}
