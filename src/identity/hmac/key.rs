//! Keys that signatures of requests are made with, each bound to its one algorithm.

use std::ops::RangeInclusive;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PSS_2048_8192_SHA512, VerificationAlgorithm,
};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// As long as the hash: a shorter one could be found before the hash is broken (RFC 2104 section 3).
const SHORTEST_SECRET: usize = 32;

/// What a signature is verified with. A secret and a public key are different things, and which algorithm it is for
/// is in the key: whatever a request says about that is only ever compared.
#[derive(Debug)]
pub struct Key(Kind);

enum Kind {
    Shared(Box<hmac::Key>),
    Public(&'static str, ParsedPublicKey),
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Shared(_) => HMAC_SHA256,
            Kind::Public(algorithm, _) => algorithm,
        })
    }
}

/// Why something is no key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    #[error("a secret has at least {SHORTEST_SECRET} bytes, and this one has {0}")]
    Short(usize),
    #[error("there is no `-----BEGIN PUBLIC KEY-----` that can be read")]
    NotPem,
    #[error("a public key is of Ed25519, of P-256, of P-384 or of RSA with 2,048 to 8,192 bits")]
    Kind,
}

const HMAC_SHA256: &str = "hmac-sha256";
const RSA: &str = "rsa-pss-sha512";
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// The algorithms of public keys by their registered names (RFC 9421 section 6.2). `rsa-v1_5-sha256` is left out: for
/// RSA there is the better padding.
static PUBLIC: [(&str, &dyn VerificationAlgorithm); 4] = [
    ("ed25519", &ED25519),
    ("ecdsa-p256-sha256", &ECDSA_P256_SHA256_FIXED),
    ("ecdsa-p384-sha384", &ECDSA_P384_SHA384_FIXED),
    (RSA, &RSA_PSS_2048_8192_SHA512),
];

impl Key {
    /// A secret that both sides know.
    pub fn shared(secret: &[u8]) -> Result<Key, KeyError> {
        match secret.len() < SHORTEST_SECRET {
            true => Err(KeyError::Short(secret.len())),
            false => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                Ok(Key(Kind::Shared(Box::new(key))))
            }
        }
    }

    /// A public key in PEM, whose kind says which algorithm it is for.
    pub fn public(pem: &[u8]) -> Result<Key, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyError::NotPem)?;
        let parsed = PUBLIC.iter().find_map(|(name, algorithm)| {
            let key = ParsedPublicKey::new(*algorithm, &*der).ok()?;
            // The library looks at the size only when it verifies.
            let is_sized = *name != RSA || rsa_bits(&der).is_some_and(|it| RSA_BITS.contains(&it));
            is_sized.then(|| Kind::Public(name, key))
        });
        parsed.map(Key).ok_or(KeyError::Kind)
    }

    /// The registered name of its algorithm.
    pub fn algorithm(&self) -> &'static str {
        match &self.0 {
            Kind::Shared(_) => HMAC_SHA256,
            Kind::Public(name, _) => name,
        }
    }

    /// Whether the signature over `base` is good. Takes as long for a bad MAC as for a good one.
    pub fn verifies(&self, base: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Kind::Shared(key) => hmac::verify(key, base, signature).is_ok(),
            Kind::Public(_, key) => key.verify_sig(base, signature).is_ok(),
        }
    }
}

fn rsa_bits(der: &[u8]) -> Option<usize> {
    let (_, key) = SubjectPublicKeyInfo::from_der(der).ok()?;
    match key.parsed().ok()? {
        PublicKey::RSA(key) => Some(key.key_size()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_which_algorithm_they_are_for() {
        let check = |key: Result<Key, KeyError>, expected: Result<&str, KeyError>| {
            assert_eq!(key.map(|key| key.algorithm()), expected);
        };
        check(Key::shared(&[1; 32]), Ok("hmac-sha256"));
        check(Key::shared(&[1; 31]), Err(KeyError::Short(31)));
        check(Key::public(b"x"), Err(KeyError::NotPem));
        let pem = |algorithm| {
            let pair = rcgen::KeyPair::generate_for(algorithm).expect("a key");
            Key::public(pair.public_key_pem().as_bytes())
        };
        check(pem(&rcgen::PKCS_ED25519), Ok("ed25519"));
        check(pem(&rcgen::PKCS_ECDSA_P256_SHA256), Ok("ecdsa-p256-sha256"));
        check(pem(&rcgen::PKCS_ECDSA_P384_SHA384), Ok("ecdsa-p384-sha384"));
        check(pem(&rcgen::PKCS_ECDSA_P521_SHA512), Err(KeyError::Kind));
        check(pem(&rcgen::PKCS_RSA_SHA256), Ok("rsa-pss-sha512"));
        let private = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        check(Key::public(private.as_bytes()), Err(KeyError::NotPem));
    }
}
