//! One key that verifies signatures.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use subtle::ConstantTimeEq as _;

use super::algorithm::{Algorithm, Algorithms, Hash, Kind};
use super::roca;

/// A key and what it may be used for.
#[derive(Debug, PartialEq)]
pub struct Key {
    kid: Option<Box<str>>,
    algorithms: Algorithms,
    material: Material,
}

/// Secrets and public keys are types of their own: what verifies with the one cannot be given the other, so that
/// nobody signs with a public key as if it were a secret.
#[derive(Debug, PartialEq)]
pub(super) enum Material {
    Shared(SharedSecret),
    Public(PublicKey),
}

/// Why something is no key to verify with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("it is no key of a type and curve that is supported")]
    Type,
    #[error("it is not for verifying signatures")]
    Use,
    #[error("its algorithm is not one of its type")]
    Algorithm,
    #[error("it is a private key")]
    Private,
    #[error("it is a shared secret, and these are not published")]
    Shared,
    #[error("the secret is shorter than the hash of the algorithm")]
    ShortSecret,
    #[error("the secret is a key or certificate that others know, in PEM")]
    PublicSecret,
    #[error("RSA keys have from 2048 to 8192 bits")]
    RsaSize,
    #[error("its private half can be computed from it (ROCA, CVE-2017-15361)")]
    Roca,
    #[error("it is malformed")]
    Malformed,
    #[error("the same key stands before it")]
    Twice,
    #[error("its kid is longer than 256 bytes")]
    LongKid,
}

impl Key {
    /// `said` are the algorithms that it is announced for; those that its type does not have count for nothing.
    pub(super) fn new(
        kid: Option<&str>,
        said: Option<Algorithms>,
        material: Material,
    ) -> Result<Key, Unfit> {
        let able = material.algorithms();
        let algorithms = said.map_or(able, |said| said.and(able));
        if algorithms.is_empty() {
            return Err(match material {
                Material::Shared(_) => Unfit::ShortSecret,
                Material::Public(_) => Unfit::Algorithm,
            });
        }
        Ok(Key {
            kid: kid.map(Into::into),
            algorithms,
            material,
        })
    }

    /// The name that tokens call it by. A key without one fits every token.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What it verifies: what its type, its size and its announcement have in common.
    pub fn algorithms(&self) -> Algorithms {
        self.algorithms
    }

    /// Whether it is the same key under the same name.
    pub(super) fn is_twin(&self, other: &Key) -> bool {
        self.kid == other.kid && self.material == other.material
    }

    /// Whether this is its signature of the message, by an algorithm that it is for. The signature is raw, as
    /// RFC 7518 has it.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &Vec<u8>) -> bool {
        if !self.algorithms.contains(algorithm) {
            return false;
        }
        match (&self.material, algorithm.kind()) {
            (Material::Shared(secret), Kind::Shared(hash)) => {
                verifies(hash.algorithm(), &secret.0, message, signature)
            }
            (Material::Public(key), Kind::Public(algorithm)) => {
                verifies(algorithm, &key.decoding, message, signature)
            }
            (Material::Shared(_), Kind::Public(_)) | (Material::Public(_), Kind::Shared(_)) => {
                false
            }
        }
    }
}

fn verifies(
    algorithm: jsonwebtoken::Algorithm,
    key: &DecodingKey,
    message: &[u8],
    signature: &Vec<u8>,
) -> bool {
    // The provider is named, so that it does not depend on which features other crates switch on.
    let verifier = (DEFAULT_PROVIDER.verifier_factory)(&algorithm, key);
    verifier.is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
}

impl Material {
    fn algorithms(&self) -> Algorithms {
        match self {
            Material::Shared(secret) => secret.algorithms(),
            Material::Public(key) => key.algorithms,
        }
    }
}

/// What both sides know. It never prints.
pub(super) struct SharedSecret(DecodingKey);

impl SharedSecret {
    pub(super) fn new(secret: &[u8]) -> Result<SharedSecret, Unfit> {
        // A public key that was put in the place of a secret would let anyone sign.
        if secret.trim_ascii_start().starts_with(b"-----BEGIN ") {
            return Err(Unfit::PublicSecret);
        }
        if secret.len() < Hash::Sha256.bytes() {
            return Err(Unfit::ShortSecret);
        }
        Ok(SharedSecret(DecodingKey::from_secret(secret)))
    }

    fn algorithms(&self) -> Algorithms {
        let length = material_bytes(&self.0).0.len();
        let fits = |one: &Algorithm| match one.kind() {
            Kind::Shared(hash) => length >= hash.bytes(),
            Kind::Public(_) => false,
        };
        Algorithm::ALL.into_iter().filter(fits).collect()
    }
}

impl PartialEq for SharedSecret {
    fn eq(&self, other: &SharedSecret) -> bool {
        let (one, other) = (material_bytes(&self.0).0, material_bytes(&other.0).0);
        one.ct_eq(other).into()
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What everybody may know.
pub(super) struct PublicKey {
    decoding: DecodingKey,
    algorithms: Algorithms,
}

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

impl PublicKey {
    /// Big-endian numbers; leading zeros do not count.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<PublicKey, Unfit> {
        let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
        let bits = modulus.len() * 8
            - modulus
                .first()
                .map_or(0, |first| first.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(Unfit::RsaSize);
        }
        // An exponent of 1 makes every message its own signature.
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        if !is_odd(modulus) || !is_odd(exponent) || exponent == [1] || exponent.len() > 8 {
            return Err(Unfit::Malformed);
        }
        if roca::is_made_so(modulus) {
            return Err(Unfit::Roca);
        }
        Ok(PublicKey {
            decoding: DecodingKey::from_rsa_raw_components(modulus, exponent),
            algorithms: RSA.into_iter().collect(),
        })
    }

    /// An uncompressed point of P-256 or P-384, which the algorithm stands for.
    pub(super) fn elliptic(algorithm: Algorithm, point: &[u8]) -> Result<PublicKey, Unfit> {
        let parsed = match algorithm {
            Algorithm::ES256 if point.len() == 65 => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            }
            Algorithm::ES384 if point.len() == 97 => {
                ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
            }
            _ => return Err(Unfit::Malformed),
        };
        // Points that are not on the curve are refused here, once, and not with each token.
        parsed.map_err(|_| Unfit::Malformed)?;
        Ok(PublicKey {
            decoding: DecodingKey::from_ec_der(point),
            algorithms: algorithm.into(),
        })
    }

    pub(super) fn ed25519(point: &[u8]) -> Result<PublicKey, Unfit> {
        if point.len() != 32 {
            return Err(Unfit::Malformed);
        }
        ParsedPublicKey::new(&ED25519, point).map_err(|_| Unfit::Malformed)?;
        Ok(PublicKey {
            decoding: DecodingKey::from_ed_der(point),
            algorithms: Algorithm::EdDSA.into(),
        })
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &PublicKey) -> bool {
        self.algorithms == other.algorithms
            && material_bytes(&self.decoding) == material_bytes(&other.decoding)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.algorithms)
    }
}

/// The numbers that a key is made of.
fn material_bytes(key: &DecodingKey) -> (&[u8], &[u8]) {
    match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) => (bytes, &[]),
        DecodingKeyKind::RsaModulusExponent { n, e } => (n, e),
    }
}
