//! Names of subjects and issuers as text, by RFC 4514.

use std::fmt::Write as _;

use x509_parser::der_parser::asn1_rs::{Any, Tag};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The short names of RFC 4514 section 3, and others that are registered for LDAP and are common in certificates.
const SHORT: [(&str, &str); 14] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "givenName"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// The name with its most specific part first. It is visible ASCII and spaces inside values: every other byte of
/// UTF-8 is written `\XX`, which the RFC allows for any character.
pub(super) fn text(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for part in parts.into_iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        // Any order will do for the RFC. Openssl has the last one first here, too, and its words are those that people copy.
        let attributes: Vec<_> = part.iter().collect();
        for (index, attribute) in attributes.into_iter().rev().enumerate() {
            if index > 0 {
                text.push('+');
            }
            write_attribute(&mut text, attribute);
        }
    }
    text
}

fn write_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let kind = attribute.attr_type().to_id_string();
    let short = SHORT.iter().find(|(known, _)| *known == kind);
    let value = attribute.attr_value();
    match (short, string(value)) {
        (Some((_, short)), Some(value)) => {
            text.push_str(short);
            text.push('=');
            write_escaped(text, &value);
        }
        // Section 2.4: a type without a short name, or a value that is no string, is written as its encoding.
        (short, _) => {
            text.push_str(short.map_or(kind.as_str(), |(_, short)| short));
            text.push_str("=#");
            let _ = write!(text, "{:02x}", value.header.tag().0);
            write_length(text, value.data.len());
            for byte in value.data {
                let _ = write!(text, "{byte:02x}");
            }
        }
    }
}

/// The length of a DER encoding.
fn write_length(text: &mut String, length: usize) {
    if length < 0x80 {
        let _ = write!(text, "{length:02x}");
        return;
    }
    let octets = length.to_be_bytes();
    let first = octets.iter().position(|&octet| octet != 0).unwrap_or(0);
    let _ = write!(text, "{:02x}", 0x80 + octets.len() - first);
    for octet in octets.iter().skip(first) {
        let _ = write!(text, "{octet:02x}");
    }
}

/// The characters of a value, if it is of a type of string whose encoding is known.
fn string(value: &Any<'_>) -> Option<String> {
    let bytes = value.data;
    match value.header.tag() {
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::Ia5String
        | Tag::NumericString
        | Tag::VisibleString => std::str::from_utf8(bytes).ok().map(str::to_owned),
        // In practice it is Latin-1.
        Tag::T61String => Some(bytes.iter().copied().map(char::from).collect()),
        Tag::BmpString if bytes.len().is_multiple_of(2) => {
            let units = bytes.as_chunks::<2>().0.iter();
            char::decode_utf16(units.map(|pair| u16::from_be_bytes(*pair)))
                .collect::<Result<String, _>>()
                .ok()
        }
        _ => None,
    }
}

fn write_escaped(text: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (index, byte) in value.bytes().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b'#' if index == 0 => text.push_str("\\#"),
            b' ' if index == 0 || index == last => text.push_str("\\ "),
            b' '..=b'~' => text.push(char::from(byte)),
            other => {
                let _ = write!(text, "\\{other:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::string::BmpString;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    fn check(attributes: &[(DnType, DnValue)], expected: &str) {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in attributes {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (_, parsed) = X509Certificate::from_der(certificate.der()).unwrap();
        assert_eq!(text(parsed.subject()), expected);
    }

    #[test]
    fn the_most_specific_part_comes_first() {
        let value = |text: &str| DnValue::Utf8String(text.to_owned());
        check(&[], "");
        check(
            &[
                (DnType::CountryName, value("DE")),
                (DnType::OrganizationName, value("Acme")),
                (DnType::CommonName, value("billing")),
            ],
            "CN=billing,O=Acme,C=DE",
        );
    }

    #[test]
    fn nothing_leaves_its_value() {
        let named = |text: &str, expected: &str| {
            let value = DnValue::Utf8String(text.to_owned());
            check(&[(DnType::CommonName, value)], expected);
        };
        named("a,O=Root", "CN=a\\,O=Root");
        named("a+b\"\\<>;", "CN=a\\+b\\\"\\\\\\<\\>\\;");
        named(" a b ", "CN=\\ a b\\ ");
        named("#a#", "CN=\\#a#");
        named("Müller", "CN=M\\C3\\BCller");
        named("a\r\nx: y\0\u{7f}", "CN=a\\0D\\0Ax: y\\00\\7F");
    }

    #[test]
    fn other_types_and_encodings() {
        let bmp = BmpString::try_from("ü").unwrap();
        check(
            &[(DnType::CommonName, DnValue::BmpString(bmp))],
            "CN=\\C3\\BC",
        );
        let kind = DnType::CustomDnType(vec![1, 2, 3, 4]);
        let value = DnValue::Utf8String("ab".to_owned());
        check(&[(kind.clone(), value)], "1.2.3.4=#0c026162");
        let long = DnValue::Utf8String("a".repeat(200));
        check(
            &[(kind, long)],
            &format!("1.2.3.4=#0c81c8{}", "61".repeat(200)),
        );
    }
}
