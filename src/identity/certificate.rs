//! A client's certificate, as the TLS handshake has verified it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::time::ASN1Time;

use super::distinguished_name;

/// A client's certificate, put into words once for all requests of its connection.
///
/// All of its text is visible ASCII, so that it is safe in a header whatever a certificate holds: names of a
/// subject or issuer are escaped as RFC 4514 has it, alternative names percent-encoded.
#[derive(Debug, PartialEq)]
pub struct ClientCertificate {
    subject: Box<str>,
    issuer: Box<str>,
    serial: Box<str>,
    fingerprint: Box<str>,
    dns: Box<str>,
    uri: Box<str>,
    email: Box<str>,
    ip: Box<str>,
    not_after: Box<str>,
    expires: i64,
    der: Box<[u8]>,
}

/// What of a certificate a template can name, as `{client.certificate.NAME}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateField {
    /// RFC 4514: the most specific part first, `CN=billing,O=Acme,C=DE`. What is not visible ASCII is `\XX`.
    Subject,
    /// Like the subject.
    Issuer,
    /// Hexadecimal, in lower case.
    Serial,
    /// SHA-256 of the whole certificate, in lower-case hexadecimal.
    Fingerprint,
    /// Alternative names that are DNS names, with commas between them. What is not visible ASCII, and a comma
    /// itself, is percent-encoded here and in the next two, so that no name can pass for several.
    Dns,
    /// Alternative names that are URIs, such as SPIFFE ids.
    Uri,
    /// Alternative names that are mail addresses.
    Email,
    /// Alternative names that are IP addresses.
    Ip,
    /// When it expires, `2026-11-22T00:00:00Z`.
    NotAfter,
    /// All of it: DER in base64. RFC 9440's header is `client-cert = ":{client.certificate.der}:"`.
    Der,
}

impl CertificateField {
    pub const ALL: [(&'static str, CertificateField); 10] = [
        ("subject", CertificateField::Subject),
        ("issuer", CertificateField::Issuer),
        ("serial", CertificateField::Serial),
        ("fingerprint", CertificateField::Fingerprint),
        ("dns", CertificateField::Dns),
        ("uri", CertificateField::Uri),
        ("email", CertificateField::Email),
        ("ip", CertificateField::Ip),
        ("not_after", CertificateField::NotAfter),
        ("der", CertificateField::Der),
    ];
}

impl ClientCertificate {
    /// `sha256` is the digest of `der`. `None` where the certificate cannot be put into words.
    pub fn parse(der: &[u8], sha256: &[u8]) -> Option<ClientCertificate> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut names = AlternativeNames::default();
        if let Some(extension) = certificate.subject_alternative_name().ok()? {
            for name in &extension.value.general_names {
                names.add(name)?;
            }
        }
        let not_after = certificate.validity().not_after;
        Some(ClientCertificate {
            subject: distinguished_name::text(certificate.subject()).into(),
            issuer: distinguished_name::text(certificate.issuer()).into(),
            serial: serial(certificate.raw_serial()).into(),
            fingerprint: hexadecimal(sha256).into(),
            dns: names.dns.into(),
            uri: names.uri.into(),
            email: names.email.into(),
            ip: names.ip.into(),
            not_after: rfc3339(not_after).into(),
            expires: not_after.timestamp(),
            der: der.into(),
        })
    }

    /// Appends the field; `None` where the certificate has none, such as a name of that kind.
    pub fn write(&self, field: CertificateField, out: &mut Vec<u8>) -> Option<()> {
        let text = match field {
            CertificateField::Subject => &self.subject,
            CertificateField::Issuer => &self.issuer,
            CertificateField::Serial => &self.serial,
            CertificateField::Fingerprint => &self.fingerprint,
            CertificateField::Dns => &self.dns,
            CertificateField::Uri => &self.uri,
            CertificateField::Email => &self.email,
            CertificateField::Ip => &self.ip,
            CertificateField::NotAfter => &self.not_after,
            CertificateField::Der => {
                out.extend_from_slice(STANDARD.encode(&self.der).as_bytes());
                return Some(());
            }
        };
        if text.is_empty() {
            return None;
        }
        out.extend_from_slice(text.as_bytes());
        Some(())
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The names of that kind, one by one, as [`ClientCertificate::write`] has them.
    pub(super) fn names(&self, field: CertificateField) -> impl Iterator<Item = &str> {
        let (text, is_list): (&str, bool) = match field {
            CertificateField::Subject => (&self.subject, false),
            CertificateField::Issuer => (&self.issuer, false),
            CertificateField::Serial => (&self.serial, false),
            CertificateField::Fingerprint => (&self.fingerprint, false),
            CertificateField::Dns => (&self.dns, true),
            CertificateField::Uri => (&self.uri, true),
            CertificateField::Email => (&self.email, true),
            CertificateField::Ip => (&self.ip, true),
            // Neither is a name.
            CertificateField::NotAfter | CertificateField::Der => ("", false),
        };
        let names = text.split(move |one| is_list && one == ',');
        names.filter(|name| !name.is_empty())
    }

    /// Unix time in seconds.
    pub fn expires(&self) -> i64 {
        self.expires
    }
}

/// Names of each kind, with commas between them.
#[derive(Default)]
struct AlternativeNames {
    dns: String,
    uri: String,
    email: String,
    ip: String,
}

impl AlternativeNames {
    /// `None` for an address that is none, and for what the parser does not understand.
    fn add(&mut self, name: &GeneralName<'_>) -> Option<()> {
        match name {
            GeneralName::DNSName(name) => append(&mut self.dns, name),
            GeneralName::URI(uri) => append(&mut self.uri, uri),
            GeneralName::RFC822Name(address) => append(&mut self.email, address),
            GeneralName::IPAddress(octets) => {
                let address = match <[u8; 4]>::try_from(*octets) {
                    Ok(octets) => Ipv4Addr::from(octets).to_string(),
                    Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(*octets).ok()?).to_string(),
                };
                append(&mut self.ip, &address);
            }
            _ => {}
        }
        Some(())
    }
}

fn append(list: &mut String, name: &str) {
    if !list.is_empty() {
        list.push(',');
    }
    for byte in name.bytes() {
        match byte {
            b',' => list.push_str("%2C"),
            b'!'..=b'~' => list.push(char::from(byte)),
            // Writing to a String cannot fail.
            other => drop(write!(list, "%{other:02X}")),
        }
    }
}

/// Without the zero byte that only says that the number is positive.
fn serial(raw: &[u8]) -> String {
    match raw {
        [0, rest @ ..] if !rest.is_empty() => hexadecimal(rest),
        raw => hexadecimal(raw),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn rfc3339(time: ASN1Time) -> String {
    let time = time.to_datetime();
    let (hour, minute, second) = time.to_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", time.date())
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType, SerialNumber};

    use super::*;

    fn parsed(change: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        ClientCertificate::parse(certificate.der(), &[0xab; 32]).unwrap()
    }

    fn text(certificate: &ClientCertificate, field: CertificateField) -> Option<String> {
        let mut out = Vec::new();
        certificate.write(field, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_field_has_its_text() {
        let certificate = parsed(|params| {
            params.distinguished_name.push(DnType::CountryName, "DE");
            params
                .distinguished_name
                .push(DnType::CommonName, "billing");
            params.serial_number = Some(SerialNumber::from(vec![0x8f, 1]));
            params.not_after = rcgen::date_time_ymd(2031, 2, 3);
            let ia5 = |text: &str| Ia5String::try_from(text).unwrap();
            params.subject_alt_names = vec![
                SanType::DnsName(ia5("a.test")),
                SanType::DnsName(ia5("b.test")),
                SanType::URI(ia5("spiffe://shop/billing")),
                SanType::Rfc822Name(ia5("b@a.test")),
                SanType::IpAddress("192.0.2.7".parse().unwrap()),
                SanType::IpAddress("2001:db8::7".parse().unwrap()),
            ];
        });
        let check = |field, expected: &str| {
            assert_eq!(
                text(&certificate, field).as_deref(),
                Some(expected),
                "{field:?}"
            );
        };
        check(CertificateField::Subject, "CN=billing,C=DE");
        check(CertificateField::Issuer, "CN=billing,C=DE");
        check(CertificateField::Serial, "8f01");
        check(CertificateField::Fingerprint, &"ab".repeat(32));
        check(CertificateField::Dns, "a.test,b.test");
        check(CertificateField::Uri, "spiffe://shop/billing");
        check(CertificateField::Email, "b@a.test");
        check(CertificateField::Ip, "192.0.2.7,2001:db8::7");
        check(CertificateField::NotAfter, "2031-02-03T00:00:00Z");
        let der = STANDARD.encode(&certificate.der);
        check(CertificateField::Der, &der);
    }

    #[test]
    fn what_is_not_there_has_no_text() {
        let certificate = parsed(|_| {});
        for field in [
            CertificateField::Subject,
            CertificateField::Dns,
            CertificateField::Uri,
            CertificateField::Email,
            CertificateField::Ip,
        ] {
            assert_eq!(text(&certificate, field), None, "{field:?}");
        }
    }

    #[test]
    fn a_name_cannot_pass_for_several_or_leave_its_line() {
        let certificate = parsed(|params| {
            params.subject_alt_names = vec![SanType::DnsName(
                Ia5String::try_from("a.test,admin.test\r\nx: y\0").unwrap(),
            )];
        });
        let dns = text(&certificate, CertificateField::Dns);
        assert_eq!(dns.as_deref(), Some("a.test%2Cadmin.test%0D%0Ax:%20y%00"));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let mut der = params.self_signed(&key).unwrap().der().to_vec();
        assert!(ClientCertificate::parse(&der, &[]).is_some());
        for length in [0, 1, der.len() / 2, der.len() - 1] {
            assert!(ClientCertificate::parse(&der[..length], &[]).is_none());
        }
        der.push(0);
        assert!(ClientCertificate::parse(&der, &[]).is_none());
    }
}
