//! What is kept is brought up to date by what the upstream says of it later (RFC 9111 section 3.2).

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderName};

/// About the content that is kept, which stays what it is.
const KEPT: [HeaderName; 3] = [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE];

/// Takes over the headers of a 304: each that is there in the place of all of its name.
pub fn update(stored: &mut HeaderMap, fresh: &HeaderMap) {
    for name in fresh.keys().filter(|name| !KEPT.contains(name)) {
        stored.remove(name);
        for value in fresh.get_all(name) {
            stored.append(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn each_header_is_replaced_whole() {
        let headers = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            headers
        };
        let mut stored = headers(&[
            ("a", "1"),
            ("a", "2"),
            ("b", "3"),
            ("content-length", "5"),
            ("content-type", "text/plain"),
        ]);
        let fresh = headers(&[
            ("a", "9"),
            ("c", "8"),
            ("content-length", "0"),
            ("content-type", "x/y"),
        ]);
        update(&mut stored, &fresh);
        let expected = headers(&[
            ("a", "9"),
            ("b", "3"),
            ("c", "8"),
            ("content-length", "5"),
            ("content-type", "x/y"),
        ]);
        assert_eq!(stored, expected);
    }
}
