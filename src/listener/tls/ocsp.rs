//! OCSP responses (RFC 6960), as far as stapling them needs to understand them.

use x509_parser::der_parser::asn1_rs::{Class, Tag};
use x509_parser::der_parser::ber::BerObjectContent;
use x509_parser::der_parser::der::{DerObject, parse_der};

/// `id-pkix-ocsp-basic`, the one type of response that there is.
const BASIC: &str = "1.3.6.1.5.5.7.48.1.1";

/// A response that can be stapled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Staple {
    pub(super) der: Vec<u8>,
    /// Unix time from which on clients take it for too old.
    next_update: Option<i64>,
}

/// Why a file cannot be stapled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OcspError {
    #[error("is no OCSP response in DER")]
    Malformed,
    #[error("is an OCSP responder's refusal, not an answer")]
    Refusal,
    #[error("is an OCSP response for another certificate than the one in cert")]
    Other,
}

impl Staple {
    /// `serial` is the leaf's, as it is encoded. The signature is for clients to verify.
    pub(super) fn parse(der: Vec<u8>, serial: &[u8]) -> Result<Staple, OcspError> {
        let next_update = next_update(&der, serial)?;
        Ok(Staple { der, next_update })
    }

    pub(super) fn is_fresh(&self, now: i64) -> bool {
        self.next_update.is_none_or(|at| now < at)
    }
}

fn next_update(der: &[u8], serial: &[u8]) -> Result<Option<i64>, OcspError> {
    let basic = basic_response(der)?;
    let answers = answers(basic).ok_or(OcspError::Malformed)?;
    let mut others = answers.iter().filter_map(|answer| sequence(answer));
    let answer = others.find(|answer| is_for(answer, serial));
    let answer = answer.ok_or(OcspError::Other)?;
    // `certID`, `certStatus` and `thisUpdate` come before.
    let next = answer.get(3).filter(|next| is_tagged(next, 0));
    match next {
        None => Ok(None),
        Some(next) => time(next).map(Some).ok_or(OcspError::Malformed),
    }
}

/// The encoded `BasicOCSPResponse` in an `OCSPResponse`.
fn basic_response(der: &[u8]) -> Result<&[u8], OcspError> {
    let response = whole(der).ok_or(OcspError::Malformed)?;
    let fields = sequence(&response).ok_or(OcspError::Malformed)?;
    match fields {
        [status, ..] if !matches!(status.content, BerObjectContent::Enum(_)) => {
            Err(OcspError::Malformed)
        }
        [status, ..] if !matches!(status.content, BerObjectContent::Enum(0)) => {
            Err(OcspError::Refusal)
        }
        [_, bytes] => basic_bytes(bytes).ok_or(OcspError::Malformed),
        _ => Err(OcspError::Malformed),
    }
}

fn basic_bytes<'a>(bytes: &DerObject<'a>) -> Option<&'a [u8]> {
    let BerObjectContent::Unknown(tagged) = &bytes.content else {
        return None;
    };
    let inner = whole(tagged.data)?;
    match sequence(&inner)? {
        [kind, octets] if kind.as_oid().ok()?.to_id_string() == BASIC => match octets.content {
            BerObjectContent::OctetString(octets) => Some(octets),
            _ => None,
        },
        _ => None,
    }
}

/// The `responses` of a `BasicOCSPResponse`: the first field of its data that is neither tagged nor a time.
fn answers(basic: &[u8]) -> Option<Vec<DerObject<'_>>> {
    let basic = whole(basic)?;
    let data = sequence(sequence(&basic)?.first()?)?;
    data.iter().find_map(sequence).map(<[_]>::to_vec)
}

/// Whether a `SingleResponse` is for the certificate with this serial number.
fn is_for(answer: &[DerObject<'_>], serial: &[u8]) -> bool {
    let id = answer.first().and_then(|id| sequence(id));
    let number = id.and_then(|id| id.get(3));
    number.is_some_and(
        |number| matches!(number.content, BerObjectContent::Integer(found) if found == serial),
    )
}

/// The Unix time in a tagged `GeneralizedTime`.
fn time(tagged: &DerObject<'_>) -> Option<i64> {
    let BerObjectContent::Unknown(tagged) = &tagged.content else {
        return None;
    };
    match whole(tagged.data)?.content {
        BerObjectContent::GeneralizedTime(time) => Some(time.to_datetime().ok()?.unix_timestamp()),
        _ => None,
    }
}

/// One object and nothing behind it.
fn whole(der: &[u8]) -> Option<DerObject<'_>> {
    match parse_der(der) {
        Ok(([], object)) => Some(object),
        _ => None,
    }
}

fn sequence<'o, 'a>(object: &'o DerObject<'a>) -> Option<&'o [DerObject<'a>]> {
    object.as_sequence().ok().map(Vec::as_slice)
}

fn is_tagged(object: &DerObject<'_>, tag: u32) -> bool {
    object.header.class() == Class::ContextSpecific && object.header.tag() == Tag(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut der = vec![tag, 0x82];
        der.extend_from_slice(&u16::try_from(content.len()).unwrap().to_be_bytes());
        // The shortest form, as DER wants it.
        if content.len() < 0x80 {
            der.truncate(1);
            der.push(u8::try_from(content.len()).unwrap());
        } else if content.len() < 0x100 {
            der.truncate(1);
            der.extend_from_slice(&[0x81, u8::try_from(content.len()).unwrap()]);
        }
        der.extend_from_slice(&content);
        der
    }

    /// A response for the certificate 0x0102, with this `nextUpdate`.
    fn response(next_update: Option<&[u8]>) -> Vec<u8> {
        let time = |at: &[u8]| wrap(0x18, &[at]);
        let algorithm = wrap(0x30, &[&[6, 3, 0x2a, 3, 4], &[5, 0]]);
        let hash = wrap(4, &[&[7; 20]]);
        let id = wrap(0x30, &[&algorithm, &hash, &hash, &[2, 2, 1, 2]]);
        let this = time(b"20260101000000Z");
        let next = next_update.map_or(Vec::new(), |at| wrap(0xa0, &[&time(at)]));
        let single = wrap(0x30, &[&id, &[0x80, 0], &this, &next]);
        let responder = wrap(0xa2, &[&hash]);
        let data = wrap(0x30, &[&responder, &this, &wrap(0x30, &[&single])]);
        let basic = wrap(0x30, &[&data, &algorithm, &[3, 2, 0, 1]]);
        let oid = [6, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
        let bytes = wrap(0x30, &[&oid, &wrap(4, &[&basic])]);
        wrap(0x30, &[&[10, 1, 0], &wrap(0xa0, &[&bytes])])
    }

    #[test]
    fn an_answer_is_fresh_until_its_next_update() {
        let staple = Staple::parse(response(Some(b"20260202000000Z")), &[1, 2]).unwrap();
        assert_eq!(staple.next_update, Some(1_769_990_400));
        assert!(staple.is_fresh(1_769_990_399) && !staple.is_fresh(1_769_990_400));
        let endless = Staple::parse(response(None), &[1, 2]).unwrap();
        assert!(endless.is_fresh(i64::MAX));
    }

    #[test]
    fn what_cannot_be_stapled_is_told_apart() {
        let check = |der: &[u8], serial: &[u8], expected: OcspError| {
            assert_eq!(
                Staple::parse(der.to_vec(), serial),
                Err(expected),
                "{der:?}"
            );
        };
        let good = response(None);
        check(&good, &[1, 3], OcspError::Other);
        check(b"", &[1, 2], OcspError::Malformed);
        check(b"-----BEGIN", &[1, 2], OcspError::Malformed);
        check(&wrap(0x30, &[&[10, 1, 6]]), &[1, 2], OcspError::Refusal);
        check(&wrap(0x30, &[&[10, 1, 0]]), &[1, 2], OcspError::Malformed);
        for length in 0..good.len() {
            check(&good[..length], &[1, 2], OcspError::Malformed);
        }
        check(&[good, vec![0]].concat(), &[1, 2], OcspError::Malformed);
        check(&response(Some(b"2026")), &[1, 2], OcspError::Malformed);
    }
}
