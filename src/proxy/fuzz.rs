//! Any text as what hops say of a client.

use http::{HeaderMap, HeaderValue};

use super::client_address::{
    elements_from_the_right, from_the_right, parse_address, parse_element,
};
use super::forwarding::X_FORWARDED_FOR;
use crate::text::fuzz::fuzz;

const WORDS: [&str; 24] = [
    ",",
    ", ",
    "\n",
    "10.0.0.1",
    "192.0.2.7",
    "::1",
    "[2001:db8::1]",
    "[::ffff:10.0.0.1]",
    ":80",
    "unknown",
    "\"",
    "0300.1",
    "1",
    "%eth0",
    " ",
    "\t",
    "for=",
    "proto=https",
    ";",
    "\\",
    "\\\"",
    "=",
    "by=_a",
    "For=\"[::1]:80\"",
];

/// What the nearest hop has added, and everything is read from.
const HONEST: &str = "for=192.0.2.7;proto=https";

/// Each line of the input is one line of the header.
#[test]
fn fuzz_forwarded_headers() {
    fuzz("forwarded", &WORDS, |input| {
        let lines: Vec<&str> = input
            .split(|&byte| byte == b'\n')
            .filter_map(|line| std::str::from_utf8(line).ok())
            .collect();
        let mut headers = HeaderMap::new();
        for value in lines
            .iter()
            .filter_map(|line| HeaderValue::from_str(line).ok())
        {
            headers.append(X_FORWARDED_FOR, value);
        }
        let hops: Vec<_> =
            from_the_right(&headers, X_FORWARDED_FOR, |line| line.rsplit(',')).collect();
        assert!(hops.len() <= 32);
        let addresses: Vec<_> = hops.iter().map(|hop| parse_address((*hop)?)).collect();
        for (hop, address) in hops.iter().zip(&addresses) {
            let (Some(hop), Some(address)) = (hop, address) else {
                continue;
            };
            assert_eq!(*address, address.to_canonical(), "{hop}");
            assert_eq!(parse_address(&address.to_string()), Some(*address), "{hop}");
            assert!(hop.contains(['.', ':']), "{hop} is taken for a number");
        }
        let elements = lines.iter().map(|line| {
            // Whatever a stranger has written on the left, what the hop wrote stands by itself.
            let line_of_hop = format!("{line},{HONEST}");
            let mut elements = elements_from_the_right(&line_of_hop);
            assert_eq!(elements.next(), Some(HONEST), "{line}");
            let whole: Vec<&str> = elements.collect();
            assert_eq!(whole.join(",").len(), line.len(), "{line}");
            elements_from_the_right(line)
                .map(parse_element)
                .take(4)
                .collect::<Vec<_>>()
        });
        let elements = elements
            .flatten()
            .map(|element| element.map(|origin| origin.scheme.is_some()));
        let addresses = addresses
            .into_iter()
            .map(|address| address.map(|address| address.is_ipv6()));
        (
            addresses.take(4).collect::<Vec<_>>(),
            elements.take(4).collect::<Vec<_>>(),
        )
    });
}
