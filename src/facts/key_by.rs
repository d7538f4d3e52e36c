//! What tells requests apart, as written: `"consumer"`, `"header:x-tenant"`. Limits count by it, upstreams hash it, and
//! splits keep requests together by it.

use std::fmt;
use std::str::FromStr;

use http::HeaderName;

use super::KeyPart;
use crate::identity::is_credential;
use crate::text::{ParsedText, parsed_text, quoted};

/// One thing that tells requests apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyBy {
    /// The consumer; a caller that is none, by its provider and subject; a stranger, by its address.
    Consumer,
    /// What was shown to prove who calls; without a name for it as [`KeyBy::Consumer`].
    Credential,
    /// The client's address, of IPv6 the first 64 bits.
    Client,
    /// The plan of who calls.
    Plan,
    Claim(Box<str>),
    Header(HeaderName),
    Cookie(Box<str>),
    /// A parameter of the route's path.
    Path(Box<str>),
}

/// The words for it, for messages.
pub const KEY_WORDS: &str =
    "consumer, credential, client, plan, claim:NAME, header:NAME, cookie:NAME or path:NAME";

/// What tells no requests apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {}, got {}", KEY_WORDS, quoted(.0))]
pub struct UnknownKey(Box<str>);

impl FromStr for KeyBy {
    type Err = UnknownKey;

    fn from_str(text: &str) -> Result<KeyBy, UnknownKey> {
        let wrong = || UnknownKey(text.into());
        let named = text.split_once(':').filter(|(_, name)| !name.is_empty());
        match (text, named) {
            // Who thinks of callers that are no consumers may say it so.
            ("consumer" | "identity", _) => Ok(KeyBy::Consumer),
            ("credential", _) => Ok(KeyBy::Credential),
            ("client", _) => Ok(KeyBy::Client),
            ("plan", _) => Ok(KeyBy::Plan),
            (_, Some(("claim", name))) => Ok(KeyBy::Claim(name.into())),
            (_, Some(("header", name))) => name.parse().map(KeyBy::Header).map_err(|_| wrong()),
            (_, Some(("cookie", name))) => Ok(KeyBy::Cookie(name.into())),
            (_, Some(("path", name))) => Ok(KeyBy::Path(name.into())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for KeyBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyBy::Consumer => f.write_str("consumer"),
            KeyBy::Credential => f.write_str("credential"),
            KeyBy::Client => f.write_str("client"),
            KeyBy::Plan => f.write_str("plan"),
            KeyBy::Claim(name) => write!(f, "claim:{name}"),
            KeyBy::Header(name) => write!(f, "header:{name}"),
            KeyBy::Cookie(name) => write!(f, "cookie:{name}"),
            KeyBy::Path(name) => write!(f, "path:{name}"),
        }
    }
}

impl ParsedText for KeyBy {
    const EXPECTED: &'static str = "what tells requests apart, such as \"consumer\"";
}

parsed_text!(
    KeyBy,
    "string",
    r"^(consumer|identity|credential|client|plan|(claim|header|cookie|path):.+)$",
    "What tells requests apart: \"consumer\" or \"identity\", which is the same (a caller that is none by its subject, a stranger by its address), \"credential\", \"client\" (the address, of IPv6 the first 64 bits), \"plan\" (of who calls), \"claim:NAME\" (of who calls), \"header:NAME\", \"cookie:NAME\" or \"path:NAME\" (a parameter of the route's path)."
);

impl KeyBy {
    /// The header, where it is one that has nothing but credentials: authenticators take it out before anybody is told
    /// apart, so it would tell nobody.
    pub fn credential(&self) -> Option<&HeaderName> {
        match self {
            KeyBy::Header(name) if is_credential(name) => Some(name),
            _ => None,
        }
    }

    /// For requests of a route whose path has these parameters; `None` where it lacks the one that is named.
    pub fn part(&self, parameters: &[Box<str>]) -> Option<KeyPart> {
        Some(match self {
            KeyBy::Consumer => KeyPart::Caller,
            KeyBy::Credential => KeyPart::Credential,
            KeyBy::Client => KeyPart::Client,
            KeyBy::Plan => KeyPart::Plan,
            KeyBy::Claim(name) => KeyPart::Claim(name.clone()),
            KeyBy::Header(name) => KeyPart::Header(name.clone()),
            KeyBy::Cookie(name) => KeyPart::Cookie(name.clone()),
            KeyBy::Path(name) => KeyPart::Path(parameters.iter().position(|it| it == name)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_printed() {
        for text in [
            "consumer",
            "credential",
            "client",
            "plan",
            "claim:tenant",
            "header:x-tenant",
            "cookie:sid",
            "path:id",
        ] {
            assert_eq!(text.parse::<KeyBy>().unwrap().to_string(), text);
        }
        assert_eq!("identity".parse(), Ok(KeyBy::Consumer));
        for text in [
            "",
            "header",
            "header:",
            "header:a b",
            "ip",
            "address",
            "path:",
            "client:x",
            "all",
        ] {
            let error = text.parse::<KeyBy>().unwrap_err().to_string();
            assert!(
                error.starts_with("must be consumer, credential, client, plan, "),
                "{error}"
            );
        }
    }
}
