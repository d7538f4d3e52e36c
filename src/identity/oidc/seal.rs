//! Sealing: what a browser or a store keeps for us is read and made by nobody else.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

/// The least that a secret must have, so that nobody tries them all.
pub const SHORTEST_SECRET: usize = 32;
/// What sealing adds: which key, the nonce and the tag.
pub const OVERHEAD: usize = KEY_ID + NONCE_LEN + 16;

const KEY_ID: usize = 4;
const KEY: usize = 32;

/// The keys of one provider, of which the first seals and all open.
///
/// What is sealed for one purpose opens for no other, and the keys of one provider open nothing of another: keys are
/// derived for each by HKDF (RFC 5869). The cipher is AES-256-GCM-SIV (RFC 8452), which stays safe where two nodes
/// that share a key should ever draw the same nonce.
pub struct KeyRing(Box<[Prk]>);

impl KeyRing {
    /// From secrets, of which there is at least one; each has [`SHORTEST_SECRET`] bytes or more.
    pub fn new<'s>(provider: &str, secrets: impl IntoIterator<Item = &'s [u8]>) -> KeyRing {
        let label = format!("northgate oidc 1 {provider}");
        let salt = Salt::new(HKDF_SHA256, label.as_bytes());
        KeyRing(
            secrets
                .into_iter()
                .map(|secret| salt.extract(secret))
                .collect(),
        )
    }

    /// For one purpose. `context` is bound to it, as the purpose is.
    pub fn sealer(&self, purpose: &str, context: &[u8]) -> Result<Sealer, Unspecified> {
        let keys = self.0.iter().map(|root| {
            let mut key = [0; KEY_ID + KEY];
            root.expand(&[purpose.as_bytes(), &[0], context], Length(KEY_ID + KEY))?
                .fill(&mut key)?;
            let (id, key) = key.split_at(KEY_ID);
            Ok(Key {
                id: id.try_into().map_err(|_| Unspecified)?,
                cipher: RandomizedNonceKey::new(&AES_256_GCM_SIV, key)?,
            })
        });
        keys.collect::<Result<_, _>>().map(Sealer)
    }

    /// Names by which something is found that must not be told from its name, one per key.
    pub fn names<'a>(
        &'a self,
        purpose: &'a str,
        of: &'a [u8],
    ) -> impl Iterator<Item = [u8; 32]> + 'a {
        self.0.iter().filter_map(move |root| {
            let mut name = [0; 32];
            root.expand(&[purpose.as_bytes(), &[0], of], Length(32))
                .and_then(|derived| derived.fill(&mut name))
                .ok()?;
            Some(name)
        })
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Seals and opens for one purpose.
pub struct Sealer(Box<[Key]>);

struct Key {
    id: [u8; KEY_ID],
    cipher: RandomizedNonceKey,
}

impl Sealer {
    /// Longer than `text` by [`OVERHEAD`].
    pub fn seal(&self, text: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let key = self.0.first().ok_or(Unspecified)?;
        let mut body = Vec::with_capacity(text.len() + OVERHEAD);
        body.extend_from_slice(text);
        let nonce = key
            .cipher
            .seal_in_place_append_tag(Aad::from(key.id), &mut body)?;
        let mut sealed = Vec::with_capacity(text.len() + OVERHEAD);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// What was sealed, in the place of it; `None` where no key here has sealed it.
    pub fn open<'s>(&self, sealed: &'s mut [u8]) -> Option<&'s mut [u8]> {
        let (id, rest) = sealed.split_at_mut_checked(KEY_ID)?;
        let (nonce, body) = rest.split_at_mut_checked(NONCE_LEN)?;
        let key = self.0.iter().find(|key| key.id == *id)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        key.cipher
            .open_in_place(nonce, Aad::from(key.id), body)
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] = b"0123456789abcdef0123456789abcdef";
    const TWO: &[u8] = b"fedcba9876543210fedcba9876543210";

    fn sealer(provider: &str, secrets: &[&[u8]], purpose: &str, context: &[u8]) -> Sealer {
        let ring = KeyRing::new(provider, secrets.iter().copied());
        ring.sealer(purpose, context).expect("keys can be derived")
    }

    fn open(sealer: &Sealer, sealed: &[u8]) -> Option<Vec<u8>> {
        sealer.open(&mut sealed.to_vec()).map(|text| text.to_vec())
    }

    #[test]
    fn every_key_opens_and_the_first_seals() {
        let old = sealer("main", &[ONE], "cookie", b"");
        let both = sealer("main", &[TWO, ONE], "cookie", b"");
        let new = sealer("main", &[TWO], "cookie", b"");
        let by_old = old.seal(b"secret").expect("sealed");
        assert_eq!(by_old.len(), 6 + OVERHEAD);
        assert_eq!(open(&both, &by_old).as_deref(), Some(&b"secret"[..]));
        assert_eq!(open(&new, &by_old), None);
        let by_both = both.seal(b"secret").expect("sealed");
        assert_eq!(open(&new, &by_both).as_deref(), Some(&b"secret"[..]));
        assert_eq!(open(&old, &by_both), None);
    }

    #[test]
    fn it_opens_for_nothing_else() {
        let sealed = sealer("main", &[ONE], "cookie", b"id")
            .seal(b"secret")
            .expect("sealed");
        for (provider, purpose, context) in [
            ("other", "cookie", &b"id"[..]),
            ("main", "login", b"id"),
            ("main", "cookie", b"ie"),
            ("main", "cooki", b"eid"),
        ] {
            let other = sealer(provider, &[ONE], purpose, context);
            assert_eq!(open(&other, &sealed), None, "{provider} {purpose}");
        }
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let sealer = sealer("main", &[ONE], "cookie", b"");
        let sealed = sealer.seal(b"secret").expect("sealed");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&sealer, &changed), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(open(&sealer, &sealed[..length]), None, "{length} bytes");
        }
        assert_ne!(sealer.seal(b"secret").expect("sealed"), sealed);
    }

    #[test]
    fn names_depend_on_key_and_purpose() {
        let names = |secrets: &[&[u8]], purpose: &str| -> Vec<_> {
            KeyRing::new("main", secrets.iter().copied())
                .names(purpose, b"alice")
                .collect()
        };
        assert_eq!(names(&[TWO, ONE], "sub")[1], names(&[ONE], "sub")[0]);
        assert_ne!(names(&[ONE], "sub"), names(&[ONE], "sid"));
        assert_ne!(names(&[ONE], "sub"), names(&[TWO], "sub"));
    }
}
