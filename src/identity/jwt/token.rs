//! The parts of a token (RFC 7515 section 7.1, RFC 7519 section 7.2), read strictly and not yet believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::refused::Refused;
use crate::identity::json::parse_object;
use crate::identity::keys::Algorithm;

/// In characters of base64. Real headers have 30 to 200, some with chains of certificates 6,000.
const LONGEST_HEADER: usize = 8 * 1024;

/// What a token says of itself.
#[derive(Debug)]
pub(super) struct Token<'t> {
    pub(super) header: Header,
    pub(super) claims: Map<String, Value>,
    /// What was signed: the first two parts with the dot between them.
    pub(super) message: &'t [u8],
    pub(super) signature: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<Box<str>>,
    pub(super) typ: Option<Box<str>>,
}

/// A signed message in compact form (RFC 7515 section 7.1), whatever its payload is.
#[derive(Debug)]
pub(super) struct Signed<'t> {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
    pub(super) message: &'t [u8],
    pub(super) signature: Vec<u8>,
}

impl<'t> Token<'t> {
    pub(super) fn parse(token: &'t [u8]) -> Result<Token<'t>, Refused> {
        let signed = Signed::parse(token)?;
        Ok(Token {
            header: signed.header,
            claims: parse_object(&signed.payload).map_err(|_| Refused::Claims)?,
            message: signed.message,
            signature: signed.signature,
        })
    }
}

impl<'t> Signed<'t> {
    pub(super) fn parse(text: &'t [u8]) -> Result<Signed<'t>, Refused> {
        let mut parts = text.split(|&byte| byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refused::Parts);
        };
        if header.len() > LONGEST_HEADER {
            return Err(Refused::HeaderTooLong);
        }
        let members = parse_object(&decode(header)?).map_err(|_| Refused::Header)?;
        Ok(Signed {
            header: Header::read(&members)?,
            payload: decode(payload)?,
            message: text
                .get(..header.len() + 1 + payload.len())
                .unwrap_or_default(),
            signature: decode(signature)?,
        })
    }
}

/// Base64url without padding, without white space, and with the bits beyond the last byte zero: any other spelling
/// would let two texts be one token.
fn decode(part: &[u8]) -> Result<Vec<u8>, Refused> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Base64)
}

/// Members by which a token would bring its own key. One that does is an attack or a mistake, and both are worth
/// knowing. Thumbprints (`x5t`) are none: they only name a key, and are passed over.
const EMBEDDED_KEYS: [&str; 4] = ["jwk", "jku", "x5u", "x5c"];

/// Members that change how the token is to be read: `crit` asks for what is not understood here (RFC 7515 section
/// 4.1.11), `b64` for another message (RFC 7797), `enc` and `zip` for another format (RFC 7516).
const CHANGES_MEANING: [&str; 4] = ["crit", "b64", "enc", "zip"];

impl Header {
    fn read(members: &Map<String, Value>) -> Result<Header, Refused> {
        let has = |name: &&str| members.contains_key(*name);
        if EMBEDDED_KEYS.iter().any(has) {
            return Err(Refused::EmbeddedKey);
        }
        if CHANGES_MEANING.iter().any(has) {
            return Err(Refused::Critical);
        }
        let algorithm = text(members, "alg")?.ok_or(Refused::Header)?;
        Ok(Header {
            algorithm: Algorithm::from_name(algorithm).ok_or(Refused::Algorithm)?,
            kid: text(members, "kid")?.map(Into::into),
            typ: text(members, "typ")?.map(Into::into),
        })
    }
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Result<Option<&'m str>, Refused> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refused::Header),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tokens::encode;
    use crate::text::fuzz::fuzz;

    fn check(header: &str, claims: &str, expected: Result<(), Refused>) {
        let token = format!("{}.{}.AQID", encode(header), encode(claims));
        let parsed = Token::parse(token.as_bytes());
        if let Ok(token) = &parsed {
            assert_eq!(token.signature, [1, 2, 3]);
        }
        assert_eq!(parsed.map(drop), expected, "{header} {claims}");
    }

    #[test]
    fn headers() {
        check(r#"{"alg":"RS256"}"#, "{}", Ok(()));
        check(
            r#"{"alg":"Ed25519","kid":"k","typ":"JWT","x5t":"AA","more":[1]}"#,
            "{}",
            Ok(()),
        );
        check(r#"{"kid":"k"}"#, "{}", Err(Refused::Header));
        check(r#"{"alg":null}"#, "{}", Err(Refused::Header));
        check(r#"{"alg":["RS256"]}"#, "{}", Err(Refused::Header));
        check(r#"{"alg":"RS256","kid":1}"#, "{}", Err(Refused::Header));
        check(r#"{"alg":"RS256","typ":{}}"#, "{}", Err(Refused::Header));
        check(
            r#"{"alg":"RS256","alg":"none"}"#,
            "{}",
            Err(Refused::Header),
        );
        check("[]", "{}", Err(Refused::Header));
        check("", "{}", Err(Refused::Header));
        for name in ["none", "None", "", "rs256", "dir", "HS1"] {
            check(
                &format!(r#"{{"alg":"{name}"}}"#),
                "{}",
                Err(Refused::Algorithm),
            );
        }
        for name in EMBEDDED_KEYS {
            check(
                &format!(r#"{{"alg":"RS256","{name}":null}}"#),
                "{}",
                Err(Refused::EmbeddedKey),
            );
        }
        for name in CHANGES_MEANING {
            check(
                &format!(r#"{{"alg":"RS256","{name}":[]}}"#),
                "{}",
                Err(Refused::Critical),
            );
        }
        let long = format!(r#"{{"alg":"RS256","x":"{}"}}"#, "x".repeat(LONGEST_HEADER));
        check(&long, "{}", Err(Refused::HeaderTooLong));
    }

    #[test]
    fn claims() {
        let header = r#"{"alg":"RS256"}"#;
        check(header, r#"{"a":{"a":1}}"#, Ok(()));
        for bad in [
            "",
            "[]",
            "\"x\"",
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            "{}{}",
        ] {
            check(header, bad, Err(Refused::Claims));
        }
    }

    #[test]
    fn parts() {
        let check = |token: &str, expected| {
            assert_eq!(
                Token::parse(token.as_bytes()).map(drop),
                expected,
                "{token}"
            );
        };
        let (header, claims) = (encode(r#"{"alg":"RS256"}"#), encode("{}"));
        check("", Err(Refused::Parts));
        check(&format!("{header}.{claims}"), Err(Refused::Parts));
        check(&format!("{header}.{claims}.AQ.AQ"), Err(Refused::Parts));
        check(&format!("{header}.{claims}.AQ.AQ.AQ"), Err(Refused::Parts));
        check(&format!("{header}.{claims}."), Ok(()));
        for odd in [
            "AQ==", "AR", "A", "A+/A", "AQ\n", " AQ", "AQ ", "A%51", "\u{e4}",
        ] {
            check(&format!("{header}.{claims}.{odd}"), Err(Refused::Base64));
        }
        check(&format!("{header}=.{claims}.AQ"), Err(Refused::Base64));
        check(&format!(".{claims}.AQ"), Err(Refused::Header));
        check(&format!("{header}..AQ"), Err(Refused::Claims));
    }

    #[test]
    fn fuzz_tokens() {
        let words = [
            ".",
            "eyJhbGciOi",
            "e30",
            "fQ",
            "=",
            "JSUzI1NiJ9",
            "\"alg\"",
            "AQID",
        ];
        fuzz("jwt", &words, |input| {
            let parsed = Token::parse(input);
            if let Ok(token) = &parsed {
                // What was read is spelled in one way only.
                let signature = encode(&token.signature);
                let whole = [token.message, b".", signature.as_bytes()].concat();
                assert_eq!(whole, input);
            }
            parsed.map(|token| token.header.algorithm)
        });
    }
}
