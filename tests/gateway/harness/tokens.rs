//! Keys that sign, and the tokens that they sign. The signatures are made by the cryptographic library itself, so that
//! nothing of what is tested makes what it is tested with.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A key of one algorithm, and the name that it goes by.
pub struct Signer {
    pub algorithm: &'static str,
    pub kid: String,
    key: SigningKey,
    /// As a provider publishes it.
    pub jwk: Value,
    /// The public key in PEM, or the secret.
    pub plain: Vec<u8>,
}

enum SigningKey {
    Mac(Box<hmac::Key>),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Elliptic(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
}

impl Signer {
    /// A key that nobody else has.
    pub fn new(algorithm: &'static str, kid: &str) -> Signer {
        let (key, mut jwk, plain) = match algorithm {
            "HS256" => secret(hmac::HMAC_SHA256, 32),
            "HS384" => secret(hmac::HMAC_SHA384, 48),
            "HS512" => secret(hmac::HMAC_SHA512, 64),
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "RS384" => rsa(&RSA_PKCS1_SHA384),
            "RS512" => rsa(&RSA_PKCS1_SHA512),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "PS384" => rsa(&RSA_PSS_SHA384),
            "PS512" => rsa(&RSA_PSS_SHA512),
            "ES256" | "ES384" => elliptic(algorithm),
            "EdDSA" => edwards(),
            other => panic!("no algorithm of ours: {other}"),
        };
        jwk["kid"] = kid.into();
        Signer {
            algorithm,
            kid: kid.to_owned(),
            key,
            jwk,
            plain,
        }
    }

    /// One whose secret is this, whatever else that is.
    pub fn of_secret(secret: &[u8]) -> Signer {
        Signer {
            key: SigningKey::Mac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret))),
            plain: secret.to_vec(),
            ..Signer::new("HS256", "secret")
        }
    }

    /// A token as a provider makes it.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({ "alg": self.algorithm, "kid": self.kid }), claims)
    }

    /// A token with this header, whatever it says.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.token_of(&header.to_string(), &claims.to_string())
    }

    /// A token of these two texts, whatever they are.
    pub fn token_of(&self, header: &str, claims: &str) -> String {
        self.signed(&format!("{}.{}", encode(header), encode(claims)))
    }

    /// A message and its signature.
    pub fn signed(&self, message: &str) -> String {
        format!("{message}.{}", encode(self.signature(message.as_bytes())))
    }

    pub fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            SigningKey::Mac(key) => hmac::sign(key, message).as_ref().to_vec(),
            SigningKey::Rsa(key, padding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let signed = key.sign(*padding, &random, message, &mut signature);
                signed.expect("a key that signs");
                signature
            }
            SigningKey::Elliptic(key) => {
                let signature = key.sign(&random, message).expect("a key that signs");
                signature.as_ref().to_vec()
            }
            SigningKey::Edwards(key) => key.sign(message).as_ref().to_vec(),
        }
    }
}

/// A key set as a provider publishes it.
pub fn jwks<'s>(signers: impl IntoIterator<Item = &'s Signer>) -> String {
    let keys: Vec<&Value> = signers.into_iter().map(|signer| &signer.jwk).collect();
    json!({ "keys": keys }).to_string()
}

/// Base64 as tokens have it (RFC 7515 section 2).
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970, this many from now.
pub fn from_now(seconds: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_secs()).expect("before the end of time") + seconds
}

type Made = (SigningKey, Value, Vec<u8>);

fn secret(algorithm: hmac::Algorithm, length: usize) -> Made {
    let mut bytes = vec![0; length];
    rand::fill(&mut bytes).expect("random bytes");
    // As people write it into a file: nothing in it that an editor would change.
    let text = encode(bytes).into_bytes();
    let jwk = json!({ "kty": "oct", "k": encode(&text) });
    (
        SigningKey::Mac(Box::new(hmac::Key::new(algorithm, &text))),
        jwk,
        text,
    )
}

fn rsa(padding: &'static dyn RsaEncoding) -> Made {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key of RSA");
    let public = key.public_key();
    let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(public);
    let jwk = json!({ "kty": "RSA", "n": encode(n), "e": encode(e), "use": "sig" });
    let der = public.as_der().expect("a public key has a form");
    let plain = pem(der.as_ref());
    (SigningKey::Rsa(key, padding), jwk, plain)
}

fn elliptic(algorithm: &str) -> Made {
    let (algorithm, curve) = match algorithm {
        "ES256" => (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
        _ => (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
    };
    let key = EcdsaKeyPair::generate(algorithm).expect("a key of this curve");
    let point = &key.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) });
    let plain = pem(key.public_key().as_der().expect("it has a form").as_ref());
    (SigningKey::Elliptic(key), jwk, plain)
}

fn edwards() -> Made {
    let key = Ed25519KeyPair::generate().expect("a key of Ed25519");
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref()) });
    let plain = pem(key.public_key().as_der().expect("it has a form").as_ref());
    (SigningKey::Edwards(key), jwk, plain)
}

fn pem(der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n").into_bytes()
}
