//! What `Authorization: Basic` holds: a name and a password (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The most bytes that name, colon and password may have together. What is longer was not typed or made to be one.
pub const LONGEST_LOGIN: usize = 512;

/// Bytes that may be decoded into: base64 says three for every four, whatever its padding is.
const ROOM: usize = LONGEST_LOGIN + 3;

/// A name and a password, decoded.
pub struct Login {
    bytes: Zeroizing<[u8; ROOM]>,
    end: usize,
    colon: usize,
}

/// Why a header is no login. For the log alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLogin {
    #[error("what follows \"Basic\" is not base64 as RFC 4648 has it")]
    Base64,
    #[error("name and password are longer than {LONGEST_LOGIN} bytes")]
    Long,
    #[error("name and password are not UTF-8")]
    Utf8,
    #[error("there is no colon between name and password")]
    Colon,
    #[error("name or password has control characters")]
    Control,
    #[error("the name or the password is empty")]
    Empty,
}

impl Login {
    /// Reads the value of `Authorization`. `None` where it is of another scheme.
    pub fn read(value: &[u8]) -> Option<Result<Login, InvalidLogin>> {
        const SCHEME: &[u8] = b"Basic";
        let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) || !matches!(rest, [] | [b' ', ..]) {
            return None;
        }
        Some(Login::decode(rest.trim_ascii_start()))
    }

    fn decode(encoded: &[u8]) -> Result<Login, InvalidLogin> {
        if encoded.len() > LONGEST_LOGIN.div_ceil(3) * 4 {
            return Err(InvalidLogin::Long);
        }
        let mut bytes = Zeroizing::new([0; ROOM]);
        // The padding is required and the bits to spare are zero, so that there is one way to write a login.
        let end = STANDARD
            .decode_slice(encoded, &mut *bytes)
            .map_err(|_| InvalidLogin::Base64)?;
        let decoded = bytes.get(..end).unwrap_or_default();
        if end > LONGEST_LOGIN {
            return Err(InvalidLogin::Long);
        }
        let text = std::str::from_utf8(decoded).map_err(|_| InvalidLogin::Utf8)?;
        // Section 2: neither may have them. U+0080 to U+009F are controls, too.
        if text.chars().any(char::is_control) {
            return Err(InvalidLogin::Control);
        }
        // A name has no colon, a password may.
        let colon = text.find(':').ok_or(InvalidLogin::Colon)?;
        if colon == 0 || colon + 1 == end {
            return Err(InvalidLogin::Empty);
        }
        Ok(Login { bytes, end, colon })
    }

    pub fn name(&self) -> &str {
        let name = self.bytes.get(..self.colon).unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }

    pub fn password(&self) -> &[u8] {
        self.bytes.get(self.colon + 1..self.end).unwrap_or_default()
    }

    /// Name, colon and password.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: Option<Result<(&str, &str), InvalidLogin>>) {
        let read = Login::read(value.as_bytes());
        let shown = read.as_ref().map(|read| match read {
            Ok(login) => {
                let password = std::str::from_utf8(login.password()).expect("it is text");
                assert_eq!(
                    login.as_bytes(),
                    format!("{}:{password}", login.name()).as_bytes()
                );
                Ok((login.name(), password))
            }
            Err(problem) => Err(*problem),
        });
        assert_eq!(shown, expected, "{value}");
    }

    fn encoded(login: &str) -> String {
        format!("Basic {}", STANDARD.encode(login))
    }

    #[test]
    fn logins() {
        // The examples of RFC 7617.
        check(
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            Some(Ok(("Aladdin", "open sesame"))),
        );
        check("Basic dGVzdDoxMjPCow==", Some(Ok(("test", "123£"))));
        check("basic dGVzdDoxMjPCow==", Some(Ok(("test", "123£"))));
        check("BASIC   dGVzdDoxMjPCow==", Some(Ok(("test", "123£"))));
        check(&encoded("a:b:c"), Some(Ok(("a", "b:c"))));
        check(&encoded("a: b "), Some(Ok(("a", " b "))));
        let longest = format!("a:{}", "p".repeat(LONGEST_LOGIN - 2));
        check(&encoded(&longest), Some(Ok(("a", &longest[2..]))));
    }

    #[test]
    fn other_schemes_are_none_of_ours() {
        for value in [
            "",
            "Bearer dGVzdDoxMjPCow==",
            "Basi",
            "Basicd",
            "Basic,",
            "dGVzdDoxMjPCow==",
        ] {
            check(value, None);
        }
    }

    #[test]
    fn what_is_no_login() {
        for (value, problem) in [
            ("Basic", InvalidLogin::Colon),
            ("Basic ", InvalidLogin::Colon),
            ("Basic dGVzdDoxMjPCow", InvalidLogin::Base64),
            ("Basic dGVzdDoxMjPCow=", InvalidLogin::Base64),
            ("Basic dGVzdDoxMjPCox==", InvalidLogin::Base64),
            ("Basic dGVzdDoxMjPCow== ", InvalidLogin::Base64),
            ("Basic dGVz dDoxMjPCow==", InvalidLogin::Base64),
            ("Basic dGVzdDo_Pz8-", InvalidLogin::Base64),
            ("Basic test:123", InvalidLogin::Base64),
            ("Basic dGVzdDoxMjPCow==, Basic x", InvalidLogin::Base64),
            // ISO 8859-1.
            ("Basic dGVzdDoxMjOj", InvalidLogin::Utf8),
        ] {
            check(value, Some(Err(problem)));
        }
        for (login, problem) in [
            ("nobody", InvalidLogin::Colon),
            (":", InvalidLogin::Empty),
            ("a:", InvalidLogin::Empty),
            (":b", InvalidLogin::Empty),
            ("a:b\0", InvalidLogin::Control),
            ("a\n:b", InvalidLogin::Control),
            ("a:\u{85}", InvalidLogin::Control),
        ] {
            check(&encoded(login), Some(Err(problem)));
        }
        for length in [LONGEST_LOGIN + 1, LONGEST_LOGIN + 2, 100_000] {
            let long = format!("a:{}", "p".repeat(length - 2));
            check(&encoded(&long), Some(Err(InvalidLogin::Long)));
        }
    }
}
