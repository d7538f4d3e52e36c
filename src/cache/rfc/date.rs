//! Dates of HTTP in their three forms (RFC 9110 section 5.6.7).

use std::time::SystemTime;

use http::HeaderMap;
use http::header::HeaderName;

/// The date in a field; `None` where there is none, more than one that are not the same, or none that can be read.
pub fn date(headers: &HeaderMap, field: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(field).iter();
    let value = values.next()?;
    match values.all(|other| other == value) {
        true => parse(value.to_str().ok()?),
        false => None,
    }
}

/// A date; `None` where it is none.
pub fn parse(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_three_forms() {
        let at = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(at)),
            (" Sun, 06 Nov 1994 08:49:37 GMT ", Some(at)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(at)),
            ("Sun Nov  6 08:49:37 1994", Some(at)),
            ("0", None),
            ("", None),
            ("-1", None),
            ("1994-11-06T08:49:37Z", None),
            ("Sun, 06 Nov 1994 08:49:37 PST", None),
            ("Sun, 06 Nov 1994 25:49:37 GMT", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn two_dates_are_none() {
        let mut headers = HeaderMap::new();
        let field = http::header::DATE;
        assert_eq!(date(&headers, &field), None);
        let first = "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap();
        headers.append(&field, first);
        headers.append(&field, headers[&field].clone());
        assert!(date(&headers, &field).is_some());
        headers.append(&field, "Sun, 06 Nov 1994 08:49:38 GMT".parse().unwrap());
        assert_eq!(date(&headers, &field), None);
    }
}
