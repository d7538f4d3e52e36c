//! Classes of bytes.

const TOKEN: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;
const HOST: u8 = 8;
const TARGET: u8 = 16;

/// The classes of every byte, so that a check is one look.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let it = byte as u8;
        let alphanumeric = it.is_ascii_alphanumeric();
        // RFC 9110 section 5.6.2.
        if alphanumeric
            || matches!(
                it,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
        {
            classes[byte] |= TOKEN;
        }
        // Wider than RFC 3986, because clients send `|`, `{` and bytes beyond ASCII as they are; the normalisation
        // of paths decides on those. No whitespace, no control, and no `#`: a fragment is the client's own affair.
        let is_wide = it >= 0x80
            || (it.is_ascii_graphic() && !matches!(it, b'#' | b'<' | b'>' | b'`' | b'?' | b'"'));
        if is_wide || it == b'"' {
            classes[byte] |= PATH;
        }
        if is_wide || matches!(it, b'`' | b'?') {
            classes[byte] |= QUERY;
        }
        // What may stand anywhere in a path and a query, and the `?` between them.
        let is_in_both = classes[byte] & PATH != 0 && classes[byte] & QUERY != 0;
        if it.is_ascii() && (is_in_both || it == b'?') {
            classes[byte] |= TARGET;
        }
        // A registered name as DNS has them, and an underscore, which internal names have. Nothing is encoded in
        // them, and no host is called anything else.
        if alphanumeric || matches!(it, b'-' | b'.' | b'_' | b'~') {
            classes[byte] |= HOST;
        }
        byte += 1;
    }
    classes
}

fn is_of(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// Whether a byte may stand in a method or a field name.
pub fn is_token(byte: u8) -> bool {
    is_of(byte, TOKEN)
}

/// The token that these bytes begin with.
pub(super) fn token(bytes: &[u8]) -> &[u8] {
    beginning(bytes, TOKEN)
}

/// The longest path and query that these bytes begin with, as nearly every client writes them: in ASCII, and without
/// what may stand in one of the two only. Empty where there is none.
pub(super) fn plain_target(bytes: &[u8]) -> &[u8] {
    match bytes.first() {
        Some(b'/') => beginning(bytes, TARGET),
        _ => &[],
    }
}

fn beginning(bytes: &[u8], class: u8) -> &[u8] {
    let end = bytes.iter().position(|&byte| !is_of(byte, class));
    &bytes[..end.unwrap_or(bytes.len())]
}

/// Whether these bytes are a path, and after the first `?` a query, that a request line may carry.
pub fn is_path_and_query(bytes: &[u8]) -> bool {
    let mut rest = bytes.iter();
    match rest.by_ref().find(|&&byte| !is_of(byte, PATH)) {
        None => true,
        Some(b'?') => rest.all(|&byte| is_of(byte, QUERY)),
        Some(_) => false,
    }
}

/// Whether these bytes are `host` or `host:port` (RFC 9110 section 7.2): a registered name, or an IP address, IPv6
/// in brackets. Userinfo, an empty host and an empty port are none.
pub fn is_authority(bytes: &[u8]) -> bool {
    let port = match bytes.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|&byte| byte == b']') else {
                return false;
            };
            let (address, port) = rest.split_at(end);
            let is_address = std::str::from_utf8(address)
                .is_ok_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
            if !is_address {
                return false;
            }
            &port[1..]
        }
        None => {
            let name = beginning(bytes, HOST).len();
            if name == 0 {
                return false;
            }
            &bytes[name..]
        }
    };
    match port {
        [] => true,
        [b':', digits @ ..] => {
            (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

/// Spaces and tabs around a value are not part of it (RFC 9110 section 5.5).
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The first control character at or after `from`: a byte below a space, or DEL. It takes eight bytes at a time,
/// because every byte of every head goes through it.
pub fn find_control(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const TOPS: u64 = ONES << 7;
    let mut at = from;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        // In each byte: one more, so that DEL becomes zero and controls are what is at most 0x20, and then up so far
        // that what is more has its top bit set. No byte carries over into the next.
        let next = ((word & !TOPS) + ONES) & !TOPS;
        let found = !(next + ONES * 0x5f) & !word & TOPS;
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    let found = rest.iter().position(u8::is_ascii_control)?;
    Some(at + found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_control_is_found_as_by_a_plain_search(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), 0x1e_u8..0x22, 0x7d_u8..0x82],
                0..40,
            ),
            from in 0_usize..44,
        ) {
            let plain = (from..bytes.len()).find(|&at| bytes[at].is_ascii_control());
            prop_assert_eq!(find_control(&bytes, from), plain);
        }

        #[test]
        fn what_is_taken_for_a_target_is_one_for_the_engine(
            bytes in prop::collection::vec(0x20_u8..0x80, 0..20),
        ) {
            let mut target = b"/".to_vec();
            target.extend(bytes);
            let plain = plain_target(&target);
            prop_assert!(is_path_and_query(plain) && plain.is_ascii());
            if is_path_and_query(&target) {
                prop_assert!(http::uri::PathAndQuery::try_from(target.as_slice()).is_ok());
            }
        }
    }

    #[test]
    fn every_byte_has_the_classes_that_it_should() {
        for byte in 0..=u8::MAX {
            let is_name = http::HeaderName::from_bytes(&[byte]).is_ok();
            assert_eq!(is_token(byte), is_name, "{byte:#x}");
            let is_field_control = byte.is_ascii_control();
            assert_eq!(find_control(&[byte; 9], 0), is_field_control.then_some(0));
            for target in [&[b'/', byte][..], &[b'/', b'?', byte]] {
                if byte < 0x80 && is_path_and_query(target) {
                    assert!(
                        http::uri::PathAndQuery::try_from(target).is_ok(),
                        "{byte:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn authorities_are_a_host_and_perhaps_a_port() {
        for good in [
            "a",
            "api.example.com",
            "a_b.internal:8080",
            "127.0.0.1:1",
            "[::1]",
            "[2001:db8::7]:65535",
            "EXAMPLE.com.",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a:", "a:b", "a:123456", "a b", "u@a", "a/b", "a,b", "[::1", "[::1]a", "[]",
            "[1]", "::1", "a%41", "ä", "a:80:80", "a?b", "a\\b", "[::1]:",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
