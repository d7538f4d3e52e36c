//! Request methods.

use std::fmt;
use std::str::FromStr;

use http::Method;

use super::parsed::ParsedText;
use super::{parsed_text, quoted};

/// A method in capitals, as HTTP has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodName(pub Method);

/// Why a method is no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMethod {
    #[error("must be a method such as \"GET\", got {}", quoted(.0))]
    Malformed(Box<str>),
    #[error("must be a method such as \"GET\", got \"*\"\nfor every method, leave methods out")]
    Star,
    #[error("must be in capitals, as methods are case-sensitive: write \"{0}\"")]
    Lowercase(Box<str>),
    #[error("must be a method that the gateway forwards; {0} is refused on every route")]
    NeverForwarded(Box<str>),
}

impl FromStr for MethodName {
    type Err = InvalidMethod;

    fn from_str(text: &str) -> Result<MethodName, InvalidMethod> {
        let capitals = text.to_ascii_uppercase();
        match Method::from_bytes(text.as_bytes()) {
            // The grammar of methods allows it, and no client sends it.
            _ if text == "*" => Err(InvalidMethod::Star),
            Ok(Method::CONNECT | Method::TRACE) => Err(InvalidMethod::NeverForwarded(text.into())),
            Ok(_) if capitals != text => Err(InvalidMethod::Lowercase(capitals.into())),
            Ok(method) => Ok(MethodName(method)),
            Err(_) => Err(InvalidMethod::Malformed(text.into())),
        }
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl ParsedText for MethodName {
    const EXPECTED: &'static str = "a method such as \"GET\"";
}

parsed_text!(
    MethodName,
    "string",
    "^[A-Z0-9!#$%&'*+.^_`|~-]+$",
    "An HTTP method."
);
