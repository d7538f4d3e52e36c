//! Raw requests of HTTP/1.1, each with its verdict and what the origin saw of it; over plain sockets and over TLS.

use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::*;

const SHOP: &str = r#"
    [listeners.main]
    bind = "127.0.0.1:0"
    limits = { uri_bytes = 1000, header_bytes = 2000, headers = 20 }
    timeouts = { request_body_idle = "3s" }

    [listeners.secure]
    bind = "127.0.0.1:0"
    limits = { uri_bytes = 1000, header_bytes = 2000, headers = 20 }
    timeouts = { request_body_idle = "3s" }
    tls = { certificates = [{ cert = "$cert", key = { file = "$key" } }] }

    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.here]
    match = { path = "/here" }
    respond = { body = "here" }

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"

    [routes.options]
    match = { path = "/", methods = ["OPTIONS"] }
    respond = { body = "options" }
"#;

/// What becomes of a request.
enum Verdict {
    /// These responses, and these requests at the origin: method, target, host and body.
    Served(&'static [u16], &'static [&'static str]),
    /// One reply of the gateway with this status and code, and nothing at the origin; the connection is closed.
    Refused(u16, &'static str),
}

use Verdict::{Refused, Served};

const BAD: Verdict = Refused(400, "bad_request");

/// A GET with these fields, each ended by CR LF.
fn fields(fields: &str) -> String {
    format!("GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n")
}

/// A request with this target.
fn target(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
}

/// A request line, and a good rest.
fn line(line: &str) -> String {
    format!("{line}\r\nhost: a\r\nconnection: close\r\n\r\n")
}

/// This `Host`.
fn host(host: &str) -> String {
    format!("GET /x HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

/// A POST with these fields and this body.
fn post(fields: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n{body}")
}

/// A POST with this body in chunks.
fn chunked(body: &str) -> String {
    post("transfer-encoding: chunked\r\n", body)
}

const GET_X: Verdict = Served(&[200], &["GET /x a "]);

#[rustfmt::skip]
fn good_requests() -> Vec<(String, Verdict)> {
    vec![
        // Request lines.
        (line("GET /x HTTP/1.1"), GET_X),
        (line("\r\nGET /x HTTP/1.1"), GET_X),
        (line("HEAD /x HTTP/1.1"), Served(&[200], &["HEAD /x a "])),
        (line("DELETE /x HTTP/1.1"), Served(&[200], &["DELETE /x a "])),
        (line("PROPFIND /x HTTP/1.1"), Served(&[200], &["PROPFIND /x a "])),
        (line("M-SEARCH /x HTTP/1.1"), Served(&[200], &["M-SEARCH /x a "])),
        (line("get /x HTTP/1.1"), Served(&[200], &["get /x a "])),
        (line("GET /x HTTP/1.0"), GET_X),
        ("GET /here HTTP/1.0\r\n\r\n".to_owned(), Served(&[200], &[])),
        // Targets.
        (target("/"), Served(&[200], &["GET / a "])),
        (target("/x?"), Served(&[200], &["GET /x? a "])),
        (target("/x?a=b&c=%20d"), Served(&[200], &["GET /x?a=b&c=%20d a "])),
        (target("/x?a?b/c:@!$'()*+,;="), Served(&[200], &["GET /x?a?b/c:@!$'()*+,;= a "])),
        (target("/a-b.c_d~e"), Served(&[200], &["GET /a-b.c_d~e a "])),
        (target("/:@!$&'()*+,="), Served(&[200], &["GET /:@!$&'()*+,= a "])),
        (target("http://a/x"), GET_X),
        (target("HTTP://a/x"), GET_X),
        (target("https://a/x"), GET_X),
        (target("http://a"), Served(&[200], &["GET / a "])),
        (target("http://a?q"), Served(&[200], &["GET /?q a "])),
        // Hosts.
        (host("a"), GET_X),
        (host("a:80"), Served(&[200], &["GET /x a:80 "])),
        (host("api.shop_1.example"), Served(&[200], &["GET /x api.shop_1.example "])),
        (host("127.0.0.1:8080"), Served(&[200], &["GET /x 127.0.0.1:8080 "])),
        (host("[::1]"), Served(&[200], &["GET /x [::1] "])),
        (host("[2001:db8::1]:443"), Served(&[200], &["GET /x [2001:db8::1]:443 "])),
        (host(" \t a \t"), GET_X),
        // Fields.
        (fields("x:y\r\n"), GET_X),
        (fields("x:\r\n"), GET_X),
        (fields("x: \t y \t \r\n"), GET_X),
        (fields("x: a\tb\r\n"), GET_X),
        (fields("x: \u{e4}\u{20ac}\r\n"), GET_X),
        (fields("!#$%&'*+-.^_`|~09: token\r\n"), GET_X),
        (fields(&"x: y\r\n".repeat(18)), GET_X),
        (fields("accept: a\r\naccept: b\r\n"), GET_X),
        (fields("content-length: 0\r\n"), GET_X),
        (fields("te: trailers\r\n"), GET_X),
        (fields("expect: 100-continue\r\n"), GET_X),
        // Bodies by length.
        (post("content-length: 3\r\n", "abc"), Served(&[200], &["POST /x a abc"])),
        (post("Content-Length:3\r\n", "abc"), Served(&[200], &["POST /x a abc"])),
        (post("CONTENT-LENGTH: \t 3 \r\n", "abc"), Served(&[200], &["POST /x a abc"])),
        (post("content-length: 0003\r\n", "abc"), Served(&[200], &["POST /x a abc"])),
        (post("content-length: 0\r\n", ""), Served(&[200], &["POST /x a "])),
        (post("", ""), Served(&[200], &["POST /x a "])),
        (post("content-length: 3\r\n", "\r\n\0"), Served(&[200], &["POST /x a \r\n\0"])),
        (post("content-length: 3\r\n", "abcGET /evil HTTP/1.1\r\nhost: a\r\n\r\n"), Served(&[200], &["POST /x a abc"])),
        (fields("content-length: 3\r\n") + "abc", Served(&[200], &["GET /x a abc"])),
        ("POST /x HTTP/1.0\r\nhost: a\r\ncontent-length: 2\r\n\r\nab".to_owned(), Served(&[200], &["POST /x a ab"])),
        // Bodies in chunks.
        (chunked("3\r\nabc\r\n0\r\n\r\n"), Served(&[200], &["POST /x a abc"])),
        (chunked("0\r\n\r\n"), Served(&[200], &["POST /x a "])),
        (chunked("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), Served(&[200], &["POST /x a abc"])),
        (chunked("003\r\nabc\r\n000\r\n\r\n"), Served(&[200], &["POST /x a abc"])),
        (chunked("A\r\n0123456789\r\n0\r\n\r\n"), Served(&[200], &["POST /x a 0123456789"])),
        (chunked("3;a=b\r\nabc\r\n0;c\r\n\r\n"), Served(&[200], &["POST /x a abc"])),
        (chunked("3;a=\"b;c\"\r\nabc\r\n0\r\n\r\n"), Served(&[200], &["POST /x a abc"])),
        (chunked("3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"), Served(&[200], &["POST /x a abc"])),
        (chunked("3\r\nabc\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nhost: a\r\n\r\n"), Served(&[200], &["POST /x a abc"])),
        (post("Transfer-Encoding: CHUNKED\r\n", "3\r\nabc\r\n0\r\n\r\n"), Served(&[200], &["POST /x a abc"])),
        (post("transfer-encoding:\tchunked \r\n", "3\r\nabc\r\n0\r\n\r\n"), Served(&[200], &["POST /x a abc"])),
        // Pipelines: in order, each as long as it is.
        (
            "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned(),
            Served(&[200, 200], &["GET /1 a ", "GET /2 a "]),
        ),
        (
            "GET /here HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n".to_owned(),
            Served(&[200, 200], &["GET /2 b "]),
        ),
        (
            "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned(),
            Served(&[200, 200], &["POST /1 a ab", "GET /2 a "]),
        ),
        (
            "POST /1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\ncGET /3 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned(),
            Served(&[200, 200, 200], &["POST /1 a ab", "POST /2 a c", "GET /3 a "]),
        ),
        (
            format!("{}{}", "GET /1 HTTP/1.1\r\nhost: a\r\n\r\n".repeat(3), line("GET /2 HTTP/1.1")),
            Served(&[200, 200, 200, 200], &["GET /1 a ", "GET /1 a ", "GET /1 a ", "GET /2 a "]),
        ),
        (
            "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost : a\r\n\r\n".to_owned(),
            Served(&[200, 400], &["GET /1 a "]),
        ),
    ]
}

#[rustfmt::skip]
fn refused_requests() -> Vec<(String, Verdict)> {
    vec![
        // Request lines.
        (line("GET  /x HTTP/1.1"), BAD),
        (line("GET /x  HTTP/1.1"), BAD),
        (line("GET /x HTTP/1.1 "), BAD),
        (line(" GET /x HTTP/1.1"), BAD),
        (line("GET\t/x HTTP/1.1"), BAD),
        (line("GET /x\tHTTP/1.1"), BAD),
        (line("GET /x"), BAD),
        (line("GET"), BAD),
        (line("GET /x y HTTP/1.1"), BAD),
        (line("GET /x HTTP/1.1 HTTP/1.1"), BAD),
        (line("GET /x HTTP/1"), BAD),
        (line("GET /x HTTP/11"), BAD),
        (line("GET /x HTTP/1.10"), BAD),
        (line("GET /x HTTP/ 1.1"), BAD),
        (line("GET /x http/1.1"), BAD),
        (line("GET /x HTTPS/1.1"), BAD),
        (line("GET /x XTTP/1.1"), BAD),
        (line("G@T /x HTTP/1.1"), BAD),
        (line("G\u{e4}T /x HTTP/1.1"), BAD),
        (line("GET\0 /x HTTP/1.1"), BAD),
        (line("\"GET\" /x HTTP/1.1"), BAD),
        (line("/x HTTP/1.1"), BAD),
        (line("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG /x HTTP/1.1"), BAD),
        (line("\r\n\r\nGET /x HTTP/1.1"), BAD),
        ("GET /x HTTP/1.1\nhost: a\r\n\r\n".to_owned(), BAD),
        ("\nGET /x HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), BAD),
        ("GET /x HTTP/1.1\rhost: a\r\n\r\n".to_owned(), BAD),
        ("\x16\x03\x01\x02\0\x01\0\x01\r\n".to_owned(), BAD),
        (line("GET /x HTTP/0.9"), Refused(505, "version_not_supported")),
        (line("GET /x HTTP/1.2"), Refused(505, "version_not_supported")),
        (line("GET /x HTTP/2.0"), Refused(505, "version_not_supported")),
        (line("GET /x HTTP/3.0"), Refused(505, "version_not_supported")),
        (line("GET /x HTTP/9.9"), Refused(505, "version_not_supported")),
        (line("TRACE /x HTTP/1.1"), Refused(501, "method_not_implemented")),
        (line("CONNECT a:443 HTTP/1.1"), Refused(501, "method_not_implemented")),
        (line("CONNECT / HTTP/1.1"), Refused(501, "method_not_implemented")),
        // Targets.
        (target("x"), BAD),
        (target("*"), BAD),
        (target("a:443"), BAD),
        (target("//a\\b c"), BAD),
        (target("/x#fragment"), BAD),
        (target("/x?a#b"), BAD),
        (target("/<x>"), BAD),
        (target("/x?\"a\""), BAD),
        (target("/x\x01"), BAD),
        (target("/x\x7f"), BAD),
        (target("/x\0"), BAD),
        (target("http://b/x"), BAD),
        (target("http://a:80/x"), BAD),
        (target("http://A/x"), BAD),
        (target("http://a@a/x"), BAD),
        (target("http://u:p@a/x"), BAD),
        ("GET http://a/x HTTP/1.0\r\n\r\n".to_owned(), BAD),
        (target("http:///x"), BAD),
        (target("http:/a/x"), BAD),
        (target("http:a/x"), BAD),
        (target("http:\\\\a\\x"), BAD),
        (target("://a/x"), BAD),
        (target("ftp://a/x"), BAD),
        (target("file:///etc/passwd"), BAD),
        (target("ws://a/x"), BAD),
        (target(&format!("/{}", "x".repeat(1000))), Refused(414, "uri_too_long")),
        (format!("GET /{}", "x".repeat(1100)), Refused(414, "uri_too_long")),
        // Hosts.
        ("GET /x HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(), BAD),
        (host(""), BAD),
        (host("a b"), BAD),
        (host("a,b"), BAD),
        (host("a/b"), BAD),
        (host("a?b"), BAD),
        (host("a#b"), BAD),
        (host("a\\b"), BAD),
        (host("u@a"), BAD),
        (host("a:"), BAD),
        (host("a:b"), BAD),
        (host("a:80:80"), BAD),
        (host("a:123456"), BAD),
        (host(":80"), BAD),
        (host("[::1"), BAD),
        (host("::1"), BAD),
        (host("[a]"), BAD),
        (host("[::1]a"), BAD),
        (host("%61"), BAD),
        (host("\u{e4}"), BAD),
        (host("\"a\""), BAD),
        (fields("host: a\r\n"), BAD),
        (fields("Host: b\r\n"), BAD),
        (fields("HOST: a\r\n"), BAD),
        ("GET /x HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(), BAD),
        // Fields.
        (fields("x\r\n"), BAD),
        (fields(": y\r\n"), BAD),
        (fields(" x: y\r\n"), BAD),
        (fields("\tx: y\r\n"), BAD),
        (fields("x : y\r\n"), BAD),
        (fields("x\t: y\r\n"), BAD),
        (fields("x y: z\r\n"), BAD),
        (fields("x: a\r\n b\r\n"), BAD),
        (fields("x: a\r\n\tb\r\n"), BAD),
        (fields("x: a\nb: c\r\n"), BAD),
        (fields("x: a\r\rb\r\n"), BAD),
        (fields("x: a\rb\r\n"), BAD),
        (fields("x: a\0b\r\n"), BAD),
        (fields("x: a\x01b\r\n"), BAD),
        (fields("x: a\x08b\r\n"), BAD),
        (fields("x: a\x0bb\r\n"), BAD),
        (fields("x: a\x1bb\r\n"), BAD),
        (fields("x: a\x7fb\r\n"), BAD),
        (fields("x\0: y\r\n"), BAD),
        (fields("x\x01: y\r\n"), BAD),
        (fields("x\u{e4}: y\r\n"), BAD),
        (fields("x(y): z\r\n"), BAD),
        (fields("\"x\": y\r\n"), BAD),
        (fields("x;y: z\r\n"), BAD),
        (fields("[x]: z\r\n"), BAD),
        (fields("x/y: z\r\n"), BAD),
        (fields("x@y: z\r\n"), BAD),
        ("GET /x HTTP/1.1\r\nhost: a\n\n".to_owned(), BAD),
        ("GET /x HTTP/1.1\r\nhost: a\r\n\nGET /evil HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), BAD),
        (fields(&"x: y\r\n".repeat(19)), Refused(431, "headers_too_large")),
        (fields(&format!("x: {}\r\n", "y".repeat(2000))), Refused(431, "headers_too_large")),
        (fields(&format!("{}: y\r\n", "x".repeat(2000))), Refused(431, "headers_too_large")),
        (fields(&format!("x: {0}\r\ny: {0}\r\n", "z".repeat(1000))), Refused(431, "headers_too_large")),
        (fields(&format!("x:{}y\r\n", " ".repeat(2000))), Refused(431, "headers_too_large")),
        (fields(&format!("x:y{0}\r\nz:{0}\r\n", "\t".repeat(1000))), Refused(431, "headers_too_large")),
        (format!("GET /x HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(2100)), Refused(431, "headers_too_large")),
        // Lengths.
        (post("content-length: 3\r\ncontent-length: 3\r\n", "abc"), BAD),
        (post("content-length: 3\r\ncontent-length: 4\r\n", "abcd"), BAD),
        (post("content-length: 3\r\nContent-Length: 0\r\n", "abc"), BAD),
        (post("content-length: 3, 3\r\n", "abc"), BAD),
        (post("content-length: 3,4\r\n", "abc"), BAD),
        (post("content-length: 3;\r\n", "abc"), BAD),
        (post("content-length: +3\r\n", "abc"), BAD),
        (post("content-length: -3\r\n", "abc"), BAD),
        (post("content-length: 3.0\r\n", "abc"), BAD),
        (post("content-length: 0x3\r\n", "abc"), BAD),
        (post("content-length: 3 3\r\n", "abc"), BAD),
        (post("content-length: three\r\n", "abc"), BAD),
        (post("content-length: \"3\"\r\n", "abc"), BAD),
        (post("content-length:\r\n", "abc"), BAD),
        (post("content-length: \u{663}\r\n", "abc"), BAD),
        (post("content-length: 18446744073709551616\r\n", "abc"), BAD),
        (post("content-length : 3\r\n", "abc"), BAD),
        (post("content-length: 1\r\n 0\r\n", "abc"), BAD),
        // Transfer codings.
        (post("content-length: 5\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: chunked\r\ncontent-length: 0\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: identity\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: chunked, chunked\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: chunked,\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: ,chunked\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: chunked;q=1\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: \"chunked\"\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: chunked\x0b\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding: chun\u{212a}ed\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding:\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding : chunked\r\n", "0\r\n\r\n"), BAD),
        (post("transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n"), BAD),
        (post(" transfer-encoding: chunked\r\n", "0\r\n\r\n"), BAD),
        (post("x: y\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), BAD),
        ("POST /x HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), BAD),
        // Chunks.
        (chunked("\r\nabc\r\n0\r\n\r\n"), BAD),
        (chunked("3\nabc\n0\n\n"), BAD),
        (chunked("3\r\nabc\n0\r\n\r\n"), BAD),
        (chunked("3\r\nabcd\r\n0\r\n\r\n"), BAD),
        (chunked("3\r\nab\r\n0\r\n\r\n"), BAD),
        (chunked("3 \r\nabc\r\n0\r\n\r\n"), BAD),
        (chunked(" 3\r\nabc\r\n0\r\n\r\n"), BAD),
        (chunked("+3\r\nabc\r\n0\r\n\r\n"), BAD),
        (chunked("-3\r\nabc\r\n0\r\n\r\n"), BAD),
        (chunked("0x3\r\nabc\r\n0\r\n\r\n"), BAD),
        (chunked("3;\nabc\r\n0\r\n\r\n"), BAD),
        (chunked("3;a\0\r\nabc\r\n0\r\n\r\n"), BAD),
        (chunked("ffffffffffffffff\r\nabc\r\n0\r\n\r\n"), BAD),
        (chunked("100000000000000003\r\nabc\r\n0\r\n\r\n"), BAD),
        (chunked("g\r\n\r\n"), BAD),
        (chunked("3\r\nabc\r\n0\r\nx : y\r\n\r\n"), BAD),
        (chunked("3\r\nabc\r\n0\r\n x: y\r\n\r\n"), BAD),
        (chunked("3\r\nabc\r\n0\r\nx: y\n\r\n"), BAD),
        (chunked("3\r\nabc\r\n0\r\n\n"), BAD),
        (chunked("3\r\nabc\r\n0\r\n\rGET /evil HTTP/1.1\r\nhost: a\r\n\r\n"), BAD),
        (chunked(&format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(9000))), BAD),
        (chunked(&format!("0\r\nx: {}\r\n\r\n", "y".repeat(9000))), BAD),
    ]
}

struct Edge {
    shop: Origin,
    gateway: Gateway,
    authority: Authority,
}

impl Edge {
    async fn start() -> Edge {
        let shop = Origin::http1(|seen| text(seen.body));
        let authority = Authority::new();
        let certificate = authority.issue(&["a"]);
        let gateway = Gateway::draft(SHOP)
            .with("shop", &shop)
            .with("cert", certificate.cert_path.display())
            .with("key", certificate.key_path.display())
            .start()
            .await;
        Edge {
            shop,
            gateway,
            authority,
        }
    }

    /// Sends and reads until the gateway closes.
    async fn exchange(&self, bytes: &[u8], is_over_tls: bool) -> String {
        let listener = if is_over_tls { "secure" } else { "main" };
        let address = self.gateway.address_of(listener);
        let stream = TcpStream::connect(address).await.expect("a connection");
        if !is_over_tls {
            return exchange(stream, bytes).await;
        }
        let connector = TlsConnector::from(Arc::new(self.authority.client_config()));
        let name = ServerName::try_from("a").expect("a name");
        let stream = connector.connect(name, stream).await.expect("a handshake");
        exchange(stream, bytes).await
    }

    async fn check(&self, request: &str, verdict: &Verdict, is_over_tls: bool) {
        let before = self.shop.seen().len();
        let answers = self.exchange(request.as_bytes(), is_over_tls).await;
        let context = || format!("TLS {is_over_tls}: {request:?} was answered {answers:?}");
        let all = self.shop.seen();
        let seen: Vec<String> = all[before..].iter().map(told).collect();
        match verdict {
            Served(statuses, requests) => {
                assert_eq!(&statuses_of(&answers), statuses, "{}", context());
                assert_eq!(&seen, requests, "{}", context());
            }
            Refused(status, code) => {
                assert_eq!(statuses_of(&answers), [*status], "{}", context());
                assert_eq!(seen, Vec::<String>::new(), "{}", context());
                for part in [
                    &format!("\"code\":\"{code}\""),
                    "content-type: application/problem+json\r\n",
                    "x-request-id: ",
                    "x-trace-id: ",
                    "connection: close\r\n",
                ] {
                    assert!(
                        answers.to_ascii_lowercase().contains(part),
                        "{part}: {}",
                        context()
                    );
                }
                assert!(
                    !answers.to_ascii_lowercase().contains("pingora"),
                    "{}",
                    context()
                );
            }
        }
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    // The gateway may have said its last word before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut read = Vec::new();
    let _ = within("the end of the connection", stream.read_to_end(&mut read)).await;
    String::from_utf8_lossy(&read).into_owned()
}

fn told(seen: &Seen) -> String {
    let body = String::from_utf8_lossy(&seen.body);
    format!("{} {} {} {body}", seen.method, seen.target, seen.host)
}

fn statuses_of(answers: &str) -> Vec<u16> {
    let statuses = answers.split("HTTP/1.1 ").skip(1);
    let statuses = statuses.map(|rest| rest[..3].parse().expect("a status"));
    statuses.filter(|&status| status != 100).collect()
}

#[tokio::test]
async fn the_table_is_long_enough() {
    assert!(good_requests().len() >= 60 && refused_requests().len() >= 150);
}

#[tokio::test]
async fn good_requests_are_served_as_they_are() {
    let edge = Edge::start().await;
    for (request, verdict) in good_requests() {
        edge.check(&request, &verdict, false).await;
        edge.check(&request, &verdict, true).await;
    }
}

#[tokio::test]
async fn bad_requests_are_refused_and_never_seen() {
    let edge = Edge::start().await;
    for (request, verdict) in refused_requests() {
        edge.check(&request, &verdict, false).await;
        edge.check(&request, &verdict, true).await;
    }
    // Nobody was harmed.
    edge.check(&line("GET /x HTTP/1.1"), &GET_X, true).await;
}

#[tokio::test]
async fn no_byte_gets_the_engines_own_page() {
    let edge = Edge::start().await;
    for byte in 0..=u8::MAX {
        for (before, after) in [
            ("GET /", " HTTP/1.1\r\nhost: a\r\n"),
            ("GET /?", " HTTP/1.1\r\nhost: a\r\n"),
            ("G", "T / HTTP/1.1\r\nhost: a\r\n"),
            ("GET / HTTP/1.", "\r\nhost: a\r\n"),
            ("GET http://a/", " HTTP/1.1\r\nhost: a\r\n"),
            ("GET / HTTP/1.1\r\nhost: a", "\r\n"),
            ("GET / HTTP/1.1\r\nhost: a\r\nx", ": y\r\n"),
            ("GET / HTTP/1.1\r\nhost: a\r\nx: ", "\r\n"),
        ] {
            let mut request = before.as_bytes().to_vec();
            request.push(byte);
            request.extend(after.as_bytes());
            request.extend(b"connection: close\r\n\r\n");
            let answer = edge.exchange(&request, false).await.to_ascii_lowercase();
            let context = || format!("{:?} got {answer:?}", request.escape_ascii().to_string());
            assert!(answer.contains("x-request-id: "), "{}", context());
            assert!(!answer.contains("pingora"), "{}", context());
        }
    }
}

#[tokio::test]
async fn an_upstream_always_hears_a_host() {
    let edge = Edge::start().await;
    let answer = edge.exchange(b"GET /x HTTP/1.0\r\n\r\n", false).await;
    assert_eq!(statuses_of(&answer), [200], "{answer}");
    let seen = edge.shop.only();
    assert_eq!(seen.host, edge.shop.to_string());
}

#[tokio::test]
async fn an_empty_line_after_a_request_asks_for_nothing() {
    let shop = Origin::http1(|_| text("ok"));
    let toml = r#"
        [listeners.main]
        bind = "127.0.0.1:0"
        timeouts = { request_header = "300ms", keepalive = "300ms" }

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "shop"
    "#;
    let gateway = Gateway::draft(toml).with("shop", &shop).start().await;
    let request = "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\na\r\n";
    let answers = RawClient::exchange(gateway.address_of("main"), request).await;
    assert_eq!(statuses_of(&answers), [200], "{answers}");
}

#[tokio::test]
async fn how_a_request_is_cut_into_packets_decides_nothing() {
    let edge = Edge::start().await;
    let requests = "POST /1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
                    POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nc\
                    GET /3 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    for piece in [1, 2, 3, 5, 17, 50] {
        let before = edge.shop.seen().len();
        let mut client = RawClient::connect(edge.gateway.address_of("main")).await;
        for piece in requests.as_bytes().chunks(piece) {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        let answers = client.read_to_end().await;
        assert_eq!(statuses_of(&answers), [200, 200, 200], "{answers}");
        let seen: Vec<String> = edge.shop.seen()[before..].iter().map(told).collect();
        assert_eq!(seen, ["POST /1 a ab", "POST /2 a c", "GET /3 a "]);
    }
}

#[tokio::test]
async fn the_log_says_which_rule_was_broken() {
    let edge = Edge::start().await;
    let request = post("content-length: 1\r\ncontent-length: 2\r\n", "ab");
    edge.exchange(request.as_bytes(), false).await;
    let line = edge
        .gateway
        .log_where("a refusal", |line| line["status"] == 400)
        .await;
    assert_eq!(line["cause"], "Content-Length more than once");
    assert_eq!(line["code"], "bad_request");
    assert_eq!(
        (&line["method"], &line["path"]),
        (&"POST".into(), &"/x".into())
    );
    assert_eq!(line["host"], "a");
    let request = "GET http://a/x HTTP/1.1\r\nno colon\r\n\r\n";
    edge.exchange(request.as_bytes(), false).await;
    let line = edge
        .gateway
        .log_where("another", |line| {
            line["cause"] == "a field without a proper name and a colon"
        })
        .await;
    assert_eq!(
        (&line["status"], &line["path"]),
        (&400.into(), &"/x".into())
    );
    assert!(line.get("host").is_none(), "{line}");
}

#[tokio::test]
async fn a_client_hears_why_although_it_goes_on_sending() {
    let edge = Edge::start().await;
    // Without the lingering close, the kernel would answer the rest with a reset, and the reply be lost.
    let body = "x".repeat(3_000_000);
    let field = post("content-length: 3000000\r\nx : y\r\n", &body);
    edge.check(&field, &BAD, false).await;
    let target = target(&format!("/{body}"));
    edge.check(&target, &Refused(414, "uri_too_long"), false)
        .await;
}

#[tokio::test]
async fn a_body_that_breaks_a_rule_ends_its_request() {
    let edge = Edge::start().await;
    let mut client = RawClient::connect(edge.gateway.address_of("main")).await;
    client.send(chunked("3\r\nabc\r\n")).await;
    eventually("the request is on its way", async || {
        (edge.shop.connections() == 1).then_some(())
    })
    .await;
    client.send("zz\r\n").await;
    let answer = client.read_to_end().await;
    assert_eq!(statuses_of(&answer), [400], "{answer}");
    assert!(answer.contains("bad_request"), "{answer}");
    let line = edge
        .gateway
        .log_where("the refusal", |line| line["status"] == 400)
        .await;
    assert_eq!(line["cause"], "a chunk without a proper size");
    assert_eq!(line["fault"], "client");
    assert!(edge.shop.seen().is_empty(), "the origin never saw it whole");
    let metrics = edge.gateway.metrics().await;
    let failures = metrics
        .lines()
        .filter(|line| line.starts_with("northgate_upstream_failures_total{"));
    assert!(
        failures.clone().all(|line| line.ends_with(" 0")),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_head_that_never_ends_is_told_so() {
    let shop = Origin::http1(|_| text("ok"));
    let toml = r#"
        [listeners.main]
        bind = "127.0.0.1:0"
        timeouts = { request_header = "300ms" }

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "shop"
    "#;
    let gateway = Gateway::draft(toml).with("shop", &shop).start().await;
    let address = gateway.address_of("main");
    let answer = RawClient::exchange(address, "GET / HTTP/1.1\r\nhost: a\r\nx").await;
    assert_eq!(statuses_of(&answer), [408], "{answer}");
    assert!(answer.contains("request_timeout"), "{answer}");
    // Whoever has not begun a request is owed no answer.
    assert_eq!(RawClient::exchange(address, "").await, "");
    assert!(shop.seen().is_empty());
}
