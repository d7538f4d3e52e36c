//! What a request says in its header fields and its query, by name.

use std::borrow::Cow;

use http::HeaderName;

use super::View;

/// Lines of one name are one list (RFC 9110 section 5.3). `None` where there are none, or one is not visible ASCII.
pub(super) fn header<'v>(view: View<'v>, name: &HeaderName) -> Option<Cow<'v, str>> {
    let mut lines = view.request.headers.get_all(name).iter();
    let first = lines.next()?.to_str().ok()?;
    let mut all = Cow::Borrowed(first);
    for line in lines {
        let all = all.to_mut();
        all.push_str(", ");
        all.push_str(line.to_str().ok()?);
    }
    Some(all)
}

/// The values of a parameter, not decoded yet.
pub(super) fn query<'v>(view: View<'v>, name: &str) -> impl Iterator<Item = &'v str> {
    let query = view.request.uri.query().unwrap_or_default();
    let pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let named = pairs.filter(move |(own, _)| decode(own, true).is_some_and(|own| own == name));
    named.map(|(_, value)| value)
}

/// The value of a parameter. `None` where it is not there, is not UTF-8, or stands there twice, since nobody knows which one
/// an upstream takes.
pub(super) fn parameter<'v>(view: View<'v>, name: &str) -> Option<Cow<'v, str>> {
    let mut values = query(view, name);
    let value = values.next()?;
    match values.next() {
        None => decode(value, true),
        Some(_) => None,
    }
}

/// Percent-decodes; in a query a plus is a space, as forms have it. `None` for what is not UTF-8.
pub(super) fn decode(text: &str, is_query: bool) -> Option<Cow<'_, str>> {
    if !text
        .bytes()
        .any(|byte| byte == b'%' || (is_query && byte == b'+'))
    {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        let digits = rest
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        (bytes, _) = match (first, byte) {
            (b'%', Some(byte)) => (rest.get(2..).unwrap_or_default(), decoded.push(byte)),
            (b'+', _) if is_query => (rest, decoded.push(b' ')),
            _ => (rest, decoded.push(*first)),
        };
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}
