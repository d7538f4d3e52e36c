//! Media types as `compression.types` names them.

use std::fmt;
use std::str::FromStr;

use crate::text::{ParsedText, parsed_text, quoted};

/// One media type, all of one kind, or all with a suffix of RFC 6839; in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaPattern {
    /// `application/json`
    Exact(Box<str>),
    /// `text/*`, without its star.
    Kind(Box<str>),
    /// `+json`
    Suffix(Box<str>),
}

/// What is compressed where nothing else is said: text in any of its forms. Pictures, films, archives and woff
/// fonts are compressed already.
pub(super) const DEFAULTS: [&str; 20] = [
    "text/*",
    "application/json",
    "+json",
    "application/xml",
    "+xml",
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "application/wasm",
    "application/x-ndjson",
    "application/yaml",
    "application/toml",
    "application/graphql",
    "application/rtf",
    "application/sql",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
    "image/bmp",
    "image/x-icon",
];

impl MediaPattern {
    /// `media` is a media type without parameters, in any case.
    pub(super) fn matches(&self, media: &str) -> bool {
        let is_same = |at: Option<&str>, wanted: &str| {
            at.is_some_and(|found| found.eq_ignore_ascii_case(wanted))
        };
        match self {
            MediaPattern::Exact(exact) => media.eq_ignore_ascii_case(exact),
            MediaPattern::Kind(kind) => is_same(media.get(..kind.len()), kind),
            MediaPattern::Suffix(suffix) => {
                let begin = media.len().checked_sub(suffix.len());
                begin.is_some_and(|begin| is_same(media.get(begin..), suffix))
            }
        }
    }
}

/// The media type of a `Content-Type`, without its parameters.
pub(super) fn essence(content_type: &str) -> &str {
    let end = content_type.find(';').unwrap_or(content_type.len());
    content_type.get(..end).unwrap_or_default().trim_ascii()
}

/// Not a media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidMedia(Box<str>);

impl fmt::Display for InvalidMedia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let got = quoted(&self.0);
        write!(f, "must be {}, got {got}", MediaPattern::EXPECTED)
    }
}

impl FromStr for MediaPattern {
    type Err = InvalidMedia;

    fn from_str(text: &str) -> Result<MediaPattern, InvalidMedia> {
        // The characters of RFC 6838 section 4.2.
        let is_name = |name: &str| {
            let is_allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
            !name.is_empty() && name.bytes().all(is_allowed)
        };
        let lower = text.to_ascii_lowercase();
        if lower.strip_prefix('+').is_some_and(is_name) {
            return Ok(MediaPattern::Suffix(lower.into()));
        }
        match lower.split_once('/') {
            Some((kind, "*")) if is_name(kind) => {
                Ok(MediaPattern::Kind(lower.trim_end_matches('*').into()))
            }
            Some((kind, subtype)) if is_name(kind) && is_name(subtype) => {
                Ok(MediaPattern::Exact(lower.into()))
            }
            _ => Err(InvalidMedia(text.into())),
        }
    }
}

impl ParsedText for MediaPattern {
    const EXPECTED: &'static str =
        "a media type such as \"application/json\", \"text/*\" or \"+json\"";
}

parsed_text!(
    MediaPattern,
    "string",
    r"^([^/\s]+/[^/\s]+|\+[^/\s]+)$",
    "A media type without parameters, such as \"application/json\"; \"text/*\" is every type of that kind, \"+json\" every type with that suffix."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_matched_in_any_case() {
        let check = |pattern: &str, content_type: &str, expected: bool| {
            let pattern: MediaPattern = pattern.parse().unwrap();
            let matches = pattern.matches(essence(content_type));
            assert_eq!(matches, expected, "{pattern:?} {content_type:?}");
        };
        check("application/json", "application/json", true);
        check("Application/JSON", "APPLICATION/json; charset=utf-8", true);
        check("application/json", "application/json-seq", false);
        check("application/json", "application/jso", false);
        check("text/*", "text/html ;charset=utf-8", true);
        check("text/*", "Text/Plain", true);
        check("text/*", "context/html", false);
        check("text/*", "tex", false);
        check("+json", "application/problem+json", true);
        check("+json", "application/vnd.a+JSON; v=1", true);
        check("+json", "application/json", false);
        check("+json", "json", false);
        check("text/*", "text\u{e9}/html", false);
        check("text/*", "texté", false);
        check("+json", "é+json", true);
        check("+json", "+jsoné", false);
    }

    #[test]
    fn what_is_no_type_is_refused() {
        for text in [
            "",
            "json",
            "*/*",
            "*",
            "text/",
            "/json",
            "text/*+json",
            "a/b/c",
            "+",
            "a/b; c",
            "te xt/a",
        ] {
            let error = text.parse::<MediaPattern>().unwrap_err().to_string();
            assert!(error.starts_with("must be a media type"), "{text}: {error}");
        }
    }

    #[test]
    fn the_defaults_are_types() {
        let is_default = |media: &str| {
            let mut patterns = DEFAULTS.iter().map(|text| text.parse().unwrap());
            patterns.any(|pattern: MediaPattern| pattern.matches(media))
        };
        for media in [
            "text/html",
            "application/problem+json",
            "image/svg+xml",
            "application/wasm",
        ] {
            assert!(is_default(media), "{media}");
        }
        for media in [
            "image/png",
            "video/mp4",
            "application/zip",
            "font/woff2",
            "application/octet-stream",
        ] {
            assert!(!is_default(media), "{media}");
        }
    }
}
