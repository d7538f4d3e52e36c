//! Any bytes as a PROXY header and as frames of HTTP/2.

use super::h2_heads::Heads;
use super::proxy_protocol::{Parsed, parse};
use crate::text::fuzz::fuzz;

const PROXY_WORDS: [&str; 16] = [
    "PROXY ",
    "TCP4 ",
    "TCP6 ",
    "UNKNOWN",
    "192.0.2.1 ",
    "2001:db8::1 ",
    "::ffff:1.2.3.4 ",
    "0",
    "65535",
    "65536",
    "\r\n",
    "\n",
    " ",
    "\r\n\r\n\0\r\nQUIT\n",
    "\x21\x11\0\x0c",
    "\x21\x21\0\x24",
];

#[test]
fn fuzz_proxy_headers() {
    fuzz("proxy_protocol", &PROXY_WORDS, |input| {
        let parsed = parse(input);
        match parsed {
            Parsed::Header { source, length } => {
                assert!(length <= input.len());
                assert_eq!(
                    parse(&input[..length]),
                    parsed,
                    "what follows changes nothing"
                );
                for shorter in [length - 1, length / 2, 1] {
                    assert_eq!(
                        parse(&input[..shorter]),
                        Parsed::Partial,
                        "cut at {shorter}"
                    );
                }
                assert!(source.is_none_or(|source| source.to_string().parse() == Ok(source)));
            }
            Parsed::Partial => assert!(input.len() < 4096),
            Parsed::Absent => assert!(!input.starts_with(b"PROXY ")),
            Parsed::Malformed(_) => {}
        }
        match parsed {
            Parsed::Header { source, length } => {
                format!(
                    "{} {}",
                    source.map_or(0, |source| 1 + usize::from(source.is_ipv6())),
                    length.min(120)
                )
            }
            other => format!("{other:?}"),
        }
    });
}

#[test]
fn fuzz_heads_of_frames() {
    let find = |bytes: &[u8], size: usize| {
        let mut heads = Heads::at_once();
        let mut found = Vec::new();
        for mut piece in bytes.chunks(size.max(1)) {
            while let Some(head) = heads.next(&mut piece) {
                found.push(format!("{head:?}"));
            }
            assert!(piece.is_empty());
        }
        found
    };
    let words = [
        "\0\0\0",
        "\0\0\x01\0",
        "\0\0\0\x03\0\0\0\0\x01",
        "\x7f",
        "\x01",
    ];
    fuzz("h2_frames", &words, |input| {
        let whole = find(input, input.len());
        for size in [1, 8, 10] {
            assert_eq!(find(input, size), whole, "in pieces of {size}");
        }
        assert!(whole.len() <= input.len() / 9);
        whole.into_iter().take(3).collect::<Vec<_>>()
    });
}
