//! One JSON Web Key (RFC 7517, RFC 7518 section 6, RFC 8037).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, Algorithms};
use super::key::{Key, Material, PublicKey, SharedSecret, Unfit};

/// Longer ones name nothing that a person or a program would.
const LONGEST_KID: usize = 256;

/// The members that only private keys have (RFC 7518 sections 6.2.2 and 6.3.2, RFC 8037 section 2).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// Whose the document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Publisher {
    /// It came over the network: what stands in it is known to others.
    Provider,
    /// A file of our own, in which a shared secret may stand.
    Operator,
}

pub(super) type Jwk = Map<String, Value>;

/// The key that a JWK describes, for verifying signatures.
pub(super) fn key(jwk: &Jwk, publisher: Publisher) -> Result<Key, Unfit> {
    let kid = kid(jwk)?;
    let kty = text(jwk, "kty")?.ok_or(Unfit::Type)?;
    check_use(jwk)?;
    // Whoever publishes a private key has lost it, and what it signs proves nothing.
    if kty != "oct" && PRIVATE.iter().any(|name| jwk.contains_key(*name)) {
        return Err(Unfit::Private);
    }
    let material = match kty {
        "RSA" => Material::Public(PublicKey::rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?)?),
        "EC" => Material::Public(elliptic(jwk)?),
        "OKP" if text(jwk, "crv")? == Some("Ed25519") => {
            Material::Public(PublicKey::ed25519(&bytes(jwk, "x")?)?)
        }
        "oct" if publisher == Publisher::Provider => return Err(Unfit::Shared),
        "oct" => Material::Shared(SharedSecret::new(&bytes(jwk, "k")?)?),
        _ => return Err(Unfit::Type),
    };
    Key::new(kid, algorithm(jwk)?, material)
}

/// What a JWK calls itself; for telling it apart from others, whatever else is wrong with it.
pub(super) fn kid(jwk: &Jwk) -> Result<Option<&str>, Unfit> {
    match text(jwk, "kid")? {
        Some(kid) if kid.len() > LONGEST_KID => Err(Unfit::LongKid),
        kid => Ok(kid),
    }
}

fn check_use(jwk: &Jwk) -> Result<(), Unfit> {
    if text(jwk, "use")?.is_some_and(|one| one != "sig") {
        return Err(Unfit::Use);
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) => {
            let verifies = operations.iter().any(|one| one == "verify");
            verifies.then_some(()).ok_or(Unfit::Use)
        }
        Some(_) => Err(Unfit::Malformed),
    }
}

fn algorithm(jwk: &Jwk) -> Result<Option<Algorithms>, Unfit> {
    let named = |name| Algorithm::from_name(name).ok_or(Unfit::Algorithm);
    let algorithm = text(jwk, "alg")?.map(named).transpose()?;
    Ok(algorithm.map(Algorithms::from))
}

/// RFC 7518 section 6.2.1.2: coordinates have the full length of the curve's.
fn elliptic(jwk: &Jwk) -> Result<PublicKey, Unfit> {
    let (algorithm, length) = match text(jwk, "crv")?.ok_or(Unfit::Malformed)? {
        "P-256" => (Algorithm::ES256, 32),
        "P-384" => (Algorithm::ES384, 48),
        _ => return Err(Unfit::Type),
    };
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != length || y.len() != length {
        return Err(Unfit::Malformed);
    }
    PublicKey::elliptic(algorithm, &[&[4], x.as_slice(), y.as_slice()].concat())
}

/// Members are strings where they are there at all.
fn text<'j>(jwk: &'j Jwk, name: &str) -> Result<Option<&'j str>, Unfit> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Unfit::Malformed),
    }
}

fn bytes(jwk: &Jwk, name: &str) -> Result<Vec<u8>, Unfit> {
    let text = text(jwk, name)?.ok_or(Unfit::Malformed)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Unfit::Malformed)
}
