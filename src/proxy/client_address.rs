//! Who the client is, where trusted hops stand between it and the gateway.
//!
//! Each hop vouches for the address that it wrote down, so the headers are walked from the right: the first address
//! that is not itself a trusted hop is the client. What stands further left could be anything, since a client may
//! send such headers as well. Something that is no address ends the walk at the hop before it.

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};

use super::forwarding::{X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::facts::Scheme;
use crate::listener::{Connection, TrustedHeader};
use crate::response::{Code, Reply};

/// How many hops are looked at, of one header.
const MAX_HOPS: usize = 32;

/// What trusted hops say of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub client: IpAddr,
    /// How the client spoke to the first of them.
    pub scheme: Option<Scheme>,
}

/// Reads what the hop says that a connection comes from.
///
/// Of `X-Forwarded-For` and `Forwarded` one is believed: the listener's `trusted_header`, or else the one that is
/// there; of two that [`check`] lets pass it makes no difference which.
pub(super) fn of(connection: &Connection, headers: &HeaderMap) -> Origin {
    let by_x_forwarded = || Origin {
        client: by_x_forwarded_for(connection, headers),
        scheme: by_x_forwarded_proto(headers),
    };
    match connection.listener.trusted_header {
        Some(TrustedHeader::XForwardedFor) => by_x_forwarded(),
        Some(TrustedHeader::Forwarded) => by_forwarded(connection, headers),
        None if !headers.contains_key(FORWARDED) => by_x_forwarded(),
        None if headers.contains_key(X_FORWARDED_FOR) => by_x_forwarded(),
        None => {
            let origin = by_forwarded(connection, headers);
            let scheme = origin.scheme.or_else(|| by_x_forwarded_proto(headers));
            Origin { scheme, ..origin }
        }
    }
}

/// A hop that writes only one of the two headers may well pass on what a client put into the other, and nobody has
/// said which it is. So where they contradict each other, no answer is safe: to believe either lets a client pass for
/// anybody, to believe neither lets it pass for the hop.
pub(super) fn check(connection: &Connection, headers: &HeaderMap) -> Result<(), Reply> {
    let is_unsure = connection.is_from_hop && connection.listener.trusted_header.is_none();
    if is_unsure && contradict(connection, headers) {
        let detail = "X-Forwarded-For and Forwarded name different clients";
        return Err(Reply::failure(Code::BadRequest).detail(detail));
    }
    Ok(())
}

/// Drops of two headers that contradict each other the one that is not believed.
pub(super) fn drop_contradictions(connection: &Connection, headers: &mut HeaderMap) {
    let other = match connection.listener.trusted_header {
        Some(TrustedHeader::XForwardedFor) => FORWARDED,
        Some(TrustedHeader::Forwarded) => X_FORWARDED_FOR,
        // What contradicts itself then was refused.
        None => return,
    };
    if contradict(connection, headers) {
        headers.remove(other);
    }
}

/// Whether both headers are there and name different clients.
fn contradict(connection: &Connection, headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
        && headers.contains_key(X_FORWARDED_FOR)
        && by_forwarded(connection, headers).client != by_x_forwarded_for(connection, headers)
}

fn by_x_forwarded_for(connection: &Connection, headers: &HeaderMap) -> IpAddr {
    let hops = from_the_right(headers, X_FORWARDED_FOR, |line| line.rsplit(','));
    let hops = hops.map(|entry| {
        let client = parse_address(entry?)?;
        let scheme = None;
        Some(Origin { client, scheme })
    });
    walk(connection, hops).client
}

fn by_forwarded(connection: &Connection, headers: &HeaderMap) -> Origin {
    let hops = from_the_right(headers, FORWARDED, elements_from_the_right);
    walk(connection, hops.map(|element| parse_element(element?)))
}

/// Of a list what the nearest hop has added: on the left of it a client may have written anything.
fn by_x_forwarded_proto(headers: &HeaderMap) -> Option<Scheme> {
    let mut members = from_the_right(headers, X_FORWARDED_PROTO, |line| line.rsplit(','));
    parse_scheme(members.next()??)
}

/// The elements of a header that is a list, the last of its last line first; `None` for a line that is no text.
/// Empty elements say nothing (RFC 9110 section 5.6.1).
pub(super) fn from_the_right<'h, E: Iterator<Item = &'h str>>(
    headers: &'h HeaderMap,
    name: HeaderName,
    split: impl Fn(&'h str) -> E + Copy,
) -> impl Iterator<Item = Option<&'h str>> {
    let lines = headers.get_all(name).iter().rev();
    lines
        .flat_map(move |line| {
            let line = line.to_str().ok();
            let is_no_text = line.is_none().then_some(None);
            let elements = line.into_iter().flat_map(split);
            let elements = elements
                .map(str::trim)
                .filter(|element| !element.is_empty());
            is_no_text.into_iter().chain(elements.map(Some))
        })
        .take(MAX_HOPS)
}

fn walk(connection: &Connection, hops: impl Iterator<Item = Option<Origin>>) -> Origin {
    let mut origin = Origin {
        client: connection.peer_ip(),
        scheme: None,
    };
    for hop in hops {
        let Some(hop) = hop else {
            return origin;
        };
        origin = hop;
        if !connection.listener.trusts(origin.client) {
            return origin;
        }
    }
    origin
}

/// An address as hops write it: bare, or with a port, or an IPv6 address in brackets.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| {
        text.parse::<std::net::SocketAddr>()
            .ok()
            .map(|socket| socket.ip())
    });
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address
        .or_else(bracketed)
        .map(|address: IpAddr| address.to_canonical())
}

fn parse_scheme(text: &str) -> Option<Scheme> {
    let is = |scheme: &str| text.eq_ignore_ascii_case(scheme);
    match text {
        _ if is("https") => Some(Scheme::Https),
        _ if is("http") => Some(Scheme::Http),
        _ => None,
    }
}

/// The elements of `Forwarded`, from the right. They are told apart from there because what the nearest hop added is
/// well-formed, and a client may have opened a quotation on the left of it that it never closes.
pub(super) fn elements_from_the_right(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let bytes = line.as_bytes();
        let mut is_quoted = false;
        let comma = (0..bytes.len()).rev().find(|&at| {
            if bytes[at] == b'"' {
                let before = bytes[..at].iter().rev();
                let escapes = before.take_while(|&&byte| byte == b'\\').count();
                is_quoted ^= escapes % 2 == 0;
            }
            bytes[at] == b',' && !is_quoted
        });
        let (left, element) = match comma {
            Some(at) => (Some(&line[..at]), &line[at + 1..]),
            None => (None, line),
        };
        rest = left;
        Some(element)
    })
}

/// `for=192.0.2.43;proto=https;by=203.0.113.60`, the pairs in any order and none of them twice (RFC 7239 section
/// 4). `None` where it is malformed, or where the hop does not tell whom it forwards for (section 6: `unknown`, or
/// an obfuscated name such as `_hidden`).
pub(super) fn parse_element(element: &str) -> Option<Origin> {
    let mut client = None;
    let mut scheme = None;
    let mut rest = element;
    loop {
        let (name, value, after) = parse_pair(rest)?;
        if name.eq_ignore_ascii_case("for") && client.replace(parse_address(&value)?).is_some() {
            return None;
        }
        if name.eq_ignore_ascii_case("proto") && scheme.replace(parse_scheme(&value)).is_some() {
            return None;
        }
        match after.trim_start().strip_prefix(';') {
            Some(more) => rest = more,
            None if after.trim().is_empty() => break,
            None => return None,
        }
    }
    Some(Origin {
        client: client?,
        scheme: scheme.flatten(),
    })
}

/// `name=value`, the value a token or a quoted string; gives them and what follows. Of tokens more is allowed than
/// the grammar does, colons and brackets, since many hops write addresses without the quotes that these need.
fn parse_pair(text: &str) -> Option<(&str, std::borrow::Cow<'_, str>, &str)> {
    let (name, rest) = text.split_once('=')?;
    let name = name.trim_start();
    if name.is_empty() || !name.bytes().all(is_token) {
        return None;
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest
            .bytes()
            .position(|byte| !is_token(byte) && !b":[]".contains(&byte))
            .unwrap_or(rest.len());
        let (value, after) = rest.split_at(end);
        return (!value.is_empty()).then_some((name, value.into(), after));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((name, value.into(), &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hops_write_addresses_in_many_ways() {
        let check = |text: &str, expected: Option<&str>| {
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(parse_address(text), expected, "{text}");
        };
        check("192.0.2.1", Some("192.0.2.1"));
        check("192.0.2.1:4711", Some("192.0.2.1"));
        check("2001:db8::1", Some("2001:db8::1"));
        check("[2001:db8::1]", Some("2001:db8::1"));
        check("[2001:db8::1]:4711", Some("2001:db8::1"));
        check("::ffff:192.0.2.1", Some("192.0.2.1"));
        check("[::ffff:192.0.2.1]:80", Some("192.0.2.1"));
        check("unknown", None);
        check("0300.0.2.1", None);
        check("3221225985", None);
        check("192.0.2.1:", None);
        check("192.0.2.1:99999", None);
        check("fe80::1%eth0", None);
        check("", None);
    }

    #[test]
    fn elements_of_forwarded() {
        let check = |element: &str, expected: Option<(&str, Option<Scheme>)>| {
            let expected = expected.map(|(client, scheme)| Origin {
                client: client.parse().unwrap(),
                scheme,
            });
            assert_eq!(parse_element(element), expected, "{element}");
        };
        let https = Some(Scheme::Https);
        check("for=192.0.2.1", Some(("192.0.2.1", None)));
        check("For=192.0.2.1;Proto=HTTPS", Some(("192.0.2.1", https)));
        check("proto=https;for=192.0.2.1", Some(("192.0.2.1", https)));
        check("by=10.0.0.1 ; for=192.0.2.1", Some(("192.0.2.1", None)));
        check(r#"for="192.0.2.1:4711""#, Some(("192.0.2.1", None)));
        check(r#"for="[2001:db8::1]:80""#, Some(("2001:db8::1", None)));
        check(r#"for="[2001:db8::\1]""#, Some(("2001:db8::1", None)));
        check("for=[2001:db8::1]:80", Some(("2001:db8::1", None)));
        check("for=192.0.2.1;proto=gopher", Some(("192.0.2.1", None)));
        check(
            r#"for=192.0.2.1;host="a;b,c=\"d""#,
            Some(("192.0.2.1", None)),
        );
        for none in [
            "",
            ";",
            "for",
            "for=",
            "for=;",
            "=192.0.2.1",
            "192.0.2.1",
            "for=unknown",
            "for=_hidden",
            "for=\"_gazonk\"",
            "proto=https",
            "for=192.0.2.1;",
            "for=192.0.2.1;;by=x",
            "for=192.0.2.1 by=x",
            "for=192.0.2.1;for=192.0.2.2",
            "for=192.0.2.1;proto=http;proto=https",
            "for =192.0.2.1",
            "for= 192.0.2.1",
            r#"for="192.0.2.1"#,
            r#"for="192.0.2.1\"#,
            r#"for="192.0.2.1"x"#,
            "for='192.0.2.1'",
        ] {
            check(none, None);
        }
    }

    #[test]
    fn quotations_are_told_apart_from_the_right() {
        let check = |line: &str, expected: &[&str]| {
            assert_eq!(
                elements_from_the_right(line).collect::<Vec<_>>(),
                expected,
                "{line}"
            );
        };
        check("a, b,c", &["c", " b", "a"]);
        check(r#"for="a,b", for=c"#, &[" for=c", r#"for="a,b""#]);
        check(r#"for="a\",b", for=c"#, &[" for=c", r#"for="a\",b""#]);
        // A client's open quotation does not swallow what a hop has added.
        check(r#"for="x, for=c"#, &[" for=c", r#"for="x"#]);
        check(r#"for="x, for="[::1]""#, &[r#" for="[::1]""#, r#"for="x"#]);
        check("", &[""]);
        check(",", &["", ""]);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(line in r#"[ -~]{0,60}|([a-z=;,"\\ ]|for=){0,40}"#) {
            let elements: Vec<_> = elements_from_the_right(&line).collect();
            // Nothing is lost and nothing is made up.
            let mut joined: Vec<&str> = elements.clone();
            joined.reverse();
            prop_assert_eq!(joined.join(","), line.clone());
            for element in elements {
                let _ = parse_element(element.trim());
            }
        }

        #[test]
        fn what_a_client_wrote_never_hides_what_a_hop_added(claim in r#"[ -~]{0,40}"#) {
            let line = format!(r#"{claim}, for="[2001:db8::7]:4711";proto=https"#);
            let last = elements_from_the_right(&line).next().and_then(|it| parse_element(it.trim()));
            let expected = Origin { client: "2001:db8::7".parse().unwrap(), scheme: Some(Scheme::Https) };
            prop_assert_eq!(last, Some(expected));
        }
    }
}
