//! Reading a query string as `application/x-www-form-urlencoded`, without building a map.

/// The raw values of the parameters named `name`, in order. A parameter without `=` has an empty value.
pub(super) fn values<'q>(query: Option<&'q str>, name: &str) -> impl Iterator<Item = &'q str> {
    let pairs = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(move |(raw, _)| decoded(raw).eq(name.bytes()))
        .map(|(_, value)| value)
}

/// Whether decoding would change anything.
pub(super) fn is_escaped(raw: &str) -> bool {
    raw.bytes().any(|byte| byte == b'%' || byte == b'+')
}

/// The bytes that `raw` stands for. A malformed escape stands for itself, as in the URL standard.
pub(super) fn decoded(raw: &str) -> impl Iterator<Item = u8> + '_ {
    let mut bytes = raw.bytes();
    std::iter::from_fn(move || match bytes.next()? {
        b'+' => Some(b' '),
        b'%' => {
            let mut ahead = bytes.clone();
            let escaped = hex(ahead.next()).zip(hex(ahead.next()));
            Some(escaped.map_or(b'%', |(high, low)| {
                bytes = ahead;
                high << 4 | low
            }))
        }
        byte => Some(byte),
    })
}

fn hex(digit: Option<u8>) -> Option<u8> {
    let value = char::from(digit?).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        let check = |raw: &str, expected: &[u8]| {
            assert_eq!(decoded(raw).collect::<Vec<_>>(), expected, "{raw}");
            assert_eq!(is_escaped(raw), raw.contains(['%', '+']));
        };
        check("", b"");
        check("a+b%20c", b"a b c");
        check("%C3%bc%00", b"\xc3\xbc\0");
        check("100%", b"100%");
        check("%4", b"%4");
        check("%zz%+1%%41", b"%zz% 1%A");
    }

    #[test]
    fn finds_values() {
        let check = |query: Option<&str>, expected: &[&str]| {
            assert_eq!(
                values(query, "a b").collect::<Vec<_>>(),
                expected,
                "{query:?}"
            );
        };
        check(None, &[]);
        check(Some(""), &[]);
        check(Some("a+b"), &[""]);
        check(Some("a+b=1&&a=2&a%20b=%33=4&a+bc=5"), &["1", "%33=4"]);
    }
}
