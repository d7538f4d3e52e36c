//! The names of objects: routes, upstreams, consumers.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use super::parsed::ParsedText;
use super::{Invalid, Spanned, parsed_text};

/// 1 to 63 of `[a-zA-Z0-9_.-]`, the first a letter or digit. It becomes a metric label, part of a file name and
/// part of a URL of the admin API, so it holds nothing that would have to be escaped in any of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

const LONGEST: usize = 63;

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Spanned<Name> {
    fn borrow(&self) -> &str {
        &self.value.0
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let begins_well = text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric());
        match begins_well && text.len() <= LONGEST && text.bytes().all(is_allowed) {
            true => Ok(Name(text.into())),
            false => Err(Invalid::Name { got: text.into() }),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ParsedText for Name {
    const EXPECTED: &'static str = "a name";
}

parsed_text!(
    Name,
    "string",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$",
    "A name of 1 to 63 letters, digits, \"_\", \"-\" or \".\", beginning with a letter or digit."
);

#[cfg(test)]
mod tests {
    use super::super::parsed::tests::check;
    use super::*;

    #[test]
    fn names() {
        for text in ["a", "get-order", "v1.2_x", "0", &"n".repeat(63)] {
            check::<Name>(text, Ok(text));
        }
        for text in [
            "",
            "-a",
            ".a",
            "_a",
            "a b",
            "a/b",
            "é",
            "a\n",
            &"n".repeat(64),
        ] {
            assert!(text.parse::<Name>().is_err(), "{text:?}");
        }
    }
}
