//! The signature algorithms of JSON Web Algorithms (RFC 7518 section 3, RFC 8037).

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// How a token is signed. There is no `none`, and no algorithm whose key is of two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    /// With keys of Ed25519; in tokens it may also be called `Ed25519` (RFC 9864).
    EdDSA,
}

/// What kind of key an algorithm takes: the two have no value in common, so that a public key is never a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Shared(Hash),
    Public(jsonwebtoken::Algorithm),
}

/// What a MAC hashes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    pub const ALL: [Algorithm; 12] = [
        Algorithm::HS256,
        Algorithm::HS384,
        Algorithm::HS512,
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];

    /// By its name in `alg`, which is case-sensitive.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        match name {
            "Ed25519" => Some(Algorithm::EdDSA),
            _ => Algorithm::ALL.into_iter().find(|one| one.as_str() == name),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::HS256 => "HS256",
            Algorithm::HS384 => "HS384",
            Algorithm::HS512 => "HS512",
            Algorithm::RS256 => "RS256",
            Algorithm::RS384 => "RS384",
            Algorithm::RS512 => "RS512",
            Algorithm::PS256 => "PS256",
            Algorithm::PS384 => "PS384",
            Algorithm::PS512 => "PS512",
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            Algorithm::EdDSA => "EdDSA",
        }
    }

    /// Whether who can verify can sign, too.
    pub fn is_symmetric(self) -> bool {
        matches!(self.kind(), Kind::Shared(_))
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Algorithm::HS256 => Kind::Shared(Hash::Sha256),
            Algorithm::HS384 => Kind::Shared(Hash::Sha384),
            Algorithm::HS512 => Kind::Shared(Hash::Sha512),
            Algorithm::RS256 => Kind::Public(jsonwebtoken::Algorithm::RS256),
            Algorithm::RS384 => Kind::Public(jsonwebtoken::Algorithm::RS384),
            Algorithm::RS512 => Kind::Public(jsonwebtoken::Algorithm::RS512),
            Algorithm::PS256 => Kind::Public(jsonwebtoken::Algorithm::PS256),
            Algorithm::PS384 => Kind::Public(jsonwebtoken::Algorithm::PS384),
            Algorithm::PS512 => Kind::Public(jsonwebtoken::Algorithm::PS512),
            Algorithm::ES256 => Kind::Public(jsonwebtoken::Algorithm::ES256),
            Algorithm::ES384 => Kind::Public(jsonwebtoken::Algorithm::ES384),
            Algorithm::EdDSA => Kind::Public(jsonwebtoken::Algorithm::EdDSA),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Hash {
    /// How long its output is, and so the least that a secret must have (RFC 7518 section 3.2).
    pub(super) fn bytes(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }

    pub(super) fn algorithm(self) -> jsonwebtoken::Algorithm {
        match self {
            Hash::Sha256 => jsonwebtoken::Algorithm::HS256,
            Hash::Sha384 => jsonwebtoken::Algorithm::HS384,
            Hash::Sha512 => jsonwebtoken::Algorithm::HS512,
        }
    }
}

/// A set of algorithms.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Algorithms(u16);

impl Algorithms {
    pub fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & Algorithms::from(algorithm).0 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are in both.
    pub fn and(self, other: Algorithms) -> Algorithms {
        Algorithms(self.0 & other.0)
    }

    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL
            .into_iter()
            .filter(move |&one| self.contains(one))
    }
}

impl From<Algorithm> for Algorithms {
    fn from(algorithm: Algorithm) -> Algorithms {
        Algorithms(1 << algorithm as u16)
    }
}

impl FromIterator<Algorithm> for Algorithms {
    fn from_iter<I: IntoIterator<Item = Algorithm>>(algorithms: I) -> Algorithms {
        let bits = algorithms.into_iter().map(|one| Algorithms::from(one).0);
        Algorithms(bits.fold(0, |all, bit| all | bit))
    }
}

impl fmt::Debug for Algorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_registry() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.as_str()), Some(algorithm));
            let configured: Algorithm =
                serde_json::from_str(&format!("\"{algorithm}\"")).expect("one name everywhere");
            assert_eq!(configured, algorithm);
        }
        assert_eq!(Algorithm::from_name("Ed25519"), Some(Algorithm::EdDSA));
        for name in [
            "none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "ES512", "ES256K", "Ed448",
            "A128KW",
        ] {
            assert_eq!(Algorithm::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn sets() {
        let set: Algorithms = [Algorithm::HS256, Algorithm::EdDSA].into_iter().collect();
        for algorithm in Algorithm::ALL {
            let is_in = matches!(algorithm, Algorithm::HS256 | Algorithm::EdDSA);
            assert_eq!(set.contains(algorithm), is_in, "{algorithm}");
        }
        assert_eq!(set.iter().count(), 2);
        assert!(set.and(Algorithm::RS256.into()).is_empty());
        assert!(!set.and(Algorithm::HS256.into()).is_empty());
    }
}
