//! Public keys in PEM (`-----BEGIN PUBLIC KEY-----`), as openssl writes them.

use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo};
use x509_parser::public_key;

use super::algorithm::Algorithm;
use super::key::{Key, Material, PublicKey, Unfit};

/// The keys of a file, in order; each goes by no name.
pub(super) fn keys(text: &[u8]) -> impl Iterator<Item = Result<Key, Unfit>> {
    SubjectPublicKeyInfoDer::pem_slice_iter(text).map(|section| {
        let section = section.map_err(|_| Unfit::Malformed)?;
        Key::new(None, None, Material::Public(public(&section)?))
    })
}

fn public(der: &[u8]) -> Result<PublicKey, Unfit> {
    let (rest, parsed) = SubjectPublicKeyInfo::from_der(der).map_err(|_| Unfit::Malformed)?;
    if !rest.is_empty() {
        return Err(Unfit::Malformed);
    }
    let kind = &parsed.algorithm.algorithm;
    let bits = &*parsed.subject_public_key.data;
    if *kind == OID_PKCS1_RSAENCRYPTION {
        return match parsed.parsed() {
            Ok(public_key::PublicKey::RSA(key)) => PublicKey::rsa(key.modulus, key.exponent),
            _ => Err(Unfit::Malformed),
        };
    }
    if *kind == OID_SIG_ED25519 {
        return PublicKey::ed25519(bits);
    }
    if *kind != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return Err(Unfit::Type);
    }
    let parameters = parsed.algorithm.parameters.as_ref();
    match parameters.and_then(|parameters| parameters.as_oid().ok()) {
        Some(curve) if curve == OID_EC_P256 => PublicKey::elliptic(Algorithm::ES256, bits),
        Some(curve) if curve == OID_NIST_EC_P384 => PublicKey::elliptic(Algorithm::ES384, bits),
        _ => Err(Unfit::Type),
    }
}
