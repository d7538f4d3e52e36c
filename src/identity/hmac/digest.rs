//! `Content-Digest` (RFC 9530): whether a body is the one that was signed.

use aws_lc_rs::digest::{Algorithm, Context, SHA256, SHA512};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::component::{Wrong, joined};
use crate::text::structured::{Bare, Member, Twice, dictionary};

pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// The algorithms that are fit for strangers (RFC 9530 section 5). Others are passed over, as it wants.
static ALGORITHMS: [(&str, &Algorithm); 2] = [("sha-256", &SHA256), ("sha-512", &SHA512)];

/// Whether the member of that name is one that is verified.
pub fn is_verified(algorithm: &str) -> bool {
    ALGORITHMS.iter().any(|(name, _)| *name == algorithm)
}

/// Whether the header says that there is a body. HTTP/2 need not say.
pub fn announces_body(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).map(|length| length.as_bytes());
    length.is_some_and(|length| length != b"0") || headers.contains_key(TRANSFER_ENCODING)
}

/// The hash of a body as it comes, and what it has to be.
pub struct Digests {
    /// Each that the header has, so that it does not matter which of them was signed.
    all: SmallVec<[(Context, Vec<u8>); 1]>,
    /// How much of the body is still to come, where its length is known.
    left: Option<u64>,
    is_good: Option<bool>,
}

impl Digests {
    /// What the request's `Content-Digest` says, if it says anything that can be verified.
    pub fn of(headers: &HeaderMap) -> Result<Option<Digests>, Wrong> {
        if !headers.contains_key(CONTENT_DIGEST) {
            return Ok(None);
        }
        let text = joined(headers, &CONTENT_DIGEST)?;
        let members = dictionary(&text, Twice::Refused).map_err(|wrong| wrong.0)?;
        let mut all = SmallVec::new();
        for (name, member) in members {
            let Some((_, algorithm)) = ALGORITHMS.iter().find(|(known, _)| *known == name) else {
                continue;
            };
            match member {
                Member::Item(item) => match item.value {
                    Bare::Bytes(digest) if digest.len() == algorithm.output_len() => {
                        all.push((Context::new(algorithm), digest));
                    }
                    _ => return Err(format!("`{name}` is no digest of that kind")),
                },
                Member::List(_) => return Err(format!("`{name}` is a list")),
            }
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok());
        let is_chunked = headers.contains_key(TRANSFER_ENCODING);
        let digests = Digests {
            all,
            left: length
                .filter(|_| !is_chunked)
                .and_then(|it| it.parse().ok()),
            is_good: None,
        };
        Ok((!digests.all.is_empty()).then_some(digests))
    }

    /// A part of the body; `ends` where it is said to be the last. Whether all is well so far.
    ///
    /// With the last byte of a body whose length is known an origin has all of it, so the digest is compared before
    /// that one goes on and not only when the end is noticed.
    pub fn see(&mut self, part: &[u8], ends: bool) -> bool {
        for (context, _) in &mut self.all {
            context.update(part);
        }
        self.left = self.left.map(|left| left.saturating_sub(part.len() as u64));
        if self.is_good.is_none() && (ends || self.left == Some(0)) {
            // A digest is no secret: whoever sent it knows it.
            let is_equal =
                |(context, expected): (Context, Vec<u8>)| context.finish().as_ref() == expected;
            self.is_good = Some(self.all.drain(..).all(is_equal));
        }
        self.is_good != Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9530 appendix D: `{"hello": "world"}` and a line feed; RFC 9421 appendix B.2: without one.
    const SHA_256: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
    const SHA_512: &str = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";
    const BODY: &[u8] = b"{\"hello\": \"world\"}";

    fn headers(digest: &str, length: Option<usize>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_DIGEST, digest.parse().expect("a value"));
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        headers
    }

    #[test]
    fn bodies_are_compared_before_they_are_whole() {
        let check = |digest: &str, length: Option<usize>, parts: &[&[u8]], expected: &[bool]| {
            let digests = Digests::of(&headers(digest, length)).expect("digests");
            let mut digests = digests.expect("one that is known");
            let mut seen = Vec::new();
            for (index, part) in parts.iter().enumerate() {
                seen.push(digests.see(part, index + 1 == parts.len()));
            }
            assert_eq!(seen, expected, "{digest} {length:?} {parts:?}");
        };
        let line = [BODY, b"\n"].concat();
        check(SHA_512, None, &[BODY], &[true]);
        check(
            SHA_512,
            None,
            &[&BODY[..5], &BODY[5..], b""],
            &[true, true, true],
        );
        check(SHA_256, None, &[&line], &[true]);
        check(SHA_256, None, &[BODY, b""], &[true, false]);
        // Where the length is known, the last byte decides and not the end that follows it.
        check(SHA_256, Some(18), &[BODY, b""], &[false, false]);
        check(SHA_512, Some(18), &[BODY, b""], &[true, true]);
        check(&format!("md5=:AAAA:, {SHA_512}"), None, &[BODY], &[true]);
        // Of two both have to be right.
        check(&format!("{SHA_256}, {SHA_512}"), None, &[BODY], &[false]);
        let empty = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
        check(empty, None, &[b""], &[true]);
        check(empty, Some(0), &[b""], &[true]);
    }

    #[test]
    fn what_is_no_digest_is_refused_and_what_is_unknown_passed_over() {
        let of = |digest: &str| Digests::of(&headers(digest, None)).map(|known| known.is_some());
        assert_eq!(of("md5=:AAAA:"), Ok(false));
        assert_eq!(of("sha=:AAAA:, unixsum=1"), Ok(false));
        for wrong in [
            "sha-256=:AAAA:",
            "sha-256=x",
            "sha-256",
            "sha-256=(:AAAA:)",
            "sha-256=AAAA",
            &format!("{SHA_256}, {SHA_256}"),
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        assert!(Digests::of(&HeaderMap::new()).expect("nothing").is_none());
    }

    #[test]
    fn bodies_are_announced() {
        let check = |name: HeaderName, value: &'static str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_static(value));
            assert_eq!(announces_body(&headers), expected, "{value}");
        };
        check(CONTENT_LENGTH, "0", false);
        check(CONTENT_LENGTH, "1", true);
        check(TRANSFER_ENCODING, "chunked", true);
        check(CONTENT_DIGEST, "x", false);
    }
}
