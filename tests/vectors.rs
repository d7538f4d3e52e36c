//! Vectors that others have published for the signatures of tokens, run whole: every signature of project Wycheproof
//! by every algorithm of RSA, ECDSA, EdDSA and HMAC, whether tokens can be signed by it or not; and the examples of the
//! RFCs themselves, from the tests of jwcrypto, which the package index of Python has.
//!
//! The vectors of project Wycheproof for whole tokens and for sets of keys are run in `src/identity/jwt/token_vectors.rs`,
//! where tokens are judged. Looked into as well, in the indexes of Rust, Python and Node: joserfc, Authlib, PyJWT, python-jose,
//! python-jwt, josepy, cryptojwt, pyjwkest, jwskate, jose, node-jose, jsonwebtoken, jws, jwa and jsrsasign. What they carry is
//! the examples of the same RFCs, or tokens that their own tests have made, most of them with secrets of a few characters.
//!
//! Signatures by what no token is signed with must be refused by all that the key is otherwise good for. Valid ones
//! that are refused are refused for a reason that stands here.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use northgate::identity::keys::{Algorithm, Key, KeySet};
use serde_json::Value;
use wycheproof::{TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify, rsa_pss_verify};

/// A message, and what may be a signature of it.
#[derive(Clone, Copy)]
struct Vector<'a> {
    message: &'a [u8],
    signature: &'a [u8],
    result: TestResult,
    /// It is a good signature by another algorithm than the one that it is given out for.
    is_by_another: bool,
}

/// The vector that a test of any kind is.
macro_rules! vector {
    ($test:ident, $signature:ident) => {
        Vector {
            message: &$test.msg,
            signature: &$test.$signature,
            result: $test.result,
            is_by_another: {
                let flags = format!("{:?}", $test.flags);
                flags.contains("WrongHash")
                    || flags.contains("WrongPrimitive")
                    || $test.comment.starts_with("s_len changed to")
            },
        }
    };
}

/// What the vectors of a run came to.
#[derive(Debug, Default)]
struct Tally {
    accepted: usize,
    refused: usize,
    /// Signatures that are good and are refused, because their keys are.
    with_weak_keys: usize,
    /// Signatures of algorithms that no token has, tried with those that the key is for.
    foreign: usize,
    /// Groups whose key is of no type that tokens are signed with.
    foreign_keys: usize,
}

impl Tally {
    /// One vector: with the algorithm that it is for, and with every other.
    fn take(&mut self, key: &Key, algorithm: Option<Algorithm>, vector: Vector<'_>, name: &str) {
        let Vector {
            message,
            signature,
            result,
            is_by_another,
        } = vector;
        let signature = signature.to_vec();
        for other in Algorithm::ALL
            .into_iter()
            .filter(|one| Some(*one) != algorithm)
        {
            let accepted = key.verifies(other, message, &signature);
            assert!(
                !accepted || is_by_another,
                "{name}: taken for a signature by {other}"
            );
        }
        let Some(algorithm) = algorithm else {
            self.foreign += 1;
            return;
        };
        let accepted = key.verifies(algorithm, message, &signature);
        match result {
            TestResult::Valid => assert!(accepted, "{name}: it is valid"),
            TestResult::Invalid => assert!(!accepted, "{name}: it is invalid"),
            TestResult::Acceptable => {}
        }
        match accepted {
            true => self.accepted += 1,
            false => self.refused += 1,
        }
    }
}

impl Tally {
    /// Holds that all vectors of the version that `Cargo.lock` names were run, in the order of the fields.
    fn assert(&self, expected: [usize; 5]) {
        let found = [
            self.accepted,
            self.refused,
            self.with_weak_keys,
            self.foreign,
            self.foreign_keys,
        ];
        assert_eq!(found, expected, "{self:?}");
    }
}

/// The key of a group, if tokens can be signed with it.
fn of_file(content: &[u8]) -> Option<KeySet> {
    let set = KeySet::parse_file(content).expect("a document");
    (!set.is_empty()).then_some(set)
}

#[test]
fn rsa_with_pkcs1_padding() {
    use rsa_pkcs1_verify::{TestName, TestSet};
    let mut tally = Tally::default();
    for set in TestName::all() {
        let name = format!("{set:?}");
        let algorithm = match name.split_once("Sha").map(|(_, hash)| hash) {
            Some("256") => Some(Algorithm::RS256),
            Some("384") => Some(Algorithm::RS384),
            Some("512") => Some(Algorithm::RS512),
            _ => None,
        };
        for group in TestSet::load(set).expect("vectors").test_groups {
            let Some(keys) = of_file(group.pem.as_bytes()) else {
                panic!("{name}: a key of {} bits is refused", group.key_size);
            };
            for test in &group.tests {
                let vector = vector!(test, sig);
                let name = format!("{name} {}", test.tc_id);
                tally.take(&keys.keys()[0], algorithm, vector, &name);
            }
        }
    }
    tally.assert([89, 3017, 0, 3096, 0]);
}

#[test]
fn rsa_with_pss_padding() {
    use rsa_pss_verify::{TestName, TestSet};
    let mut tally = Tally::default();
    for set in TestName::all() {
        for group in TestSet::load(set).expect("vectors").test_groups {
            // RFC 7518 section 3.5: one hash for all, and as much salt as it has output.
            let is_one = group.mgf_hash.as_ref() == Some(&group.hash);
            let algorithm = match (format!("{:?}", group.hash).as_str(), group.salt_size) {
                ("Sha2_256", 32) if is_one => Some(Algorithm::PS256),
                ("Sha2_384", 48) if is_one => Some(Algorithm::PS384),
                ("Sha2_512", 64) if is_one => Some(Algorithm::PS512),
                _ => None,
            };
            let Some(keys) = of_file(group.pem.as_bytes()) else {
                // Keys that may be used in one way only say so in a form that no token's key has.
                let is_bound = format!("{set:?}").ends_with("WithParams");
                assert!(is_bound || group.key_size < 2048, "{set:?}");
                tally.foreign_keys += 1;
                continue;
            };
            for test in &group.tests {
                let vector = vector!(test, sig);
                let name = format!("{set:?} {}", test.tc_id);
                tally.take(&keys.keys()[0], algorithm, vector, &name);
            }
        }
    }
    tally.assert([514, 274, 0, 1618, 157]);
}

#[test]
fn ecdsa_over_each_curve() {
    use ecdsa::{TestName, TestSet};
    let mut tally = Tally::default();
    for set in TestName::all() {
        let algorithm = match set {
            TestName::EcdsaSecp256r1Sha256P1363 => Some(Algorithm::ES256),
            TestName::EcdsaSecp384r1Sha384P1363 => Some(Algorithm::ES384),
            _ => None,
        };
        for group in TestSet::load(set).expect("vectors").test_groups {
            let Some(keys) = of_file(group.pem.as_bytes()) else {
                assert_eq!(algorithm, None, "{set:?}: the key is refused");
                tally.foreign_keys += 1;
                continue;
            };
            for test in &group.tests {
                let vector = vector!(test, sig);
                let name = format!("{set:?} {}", test.tc_id);
                tally.take(&keys.keys()[0], algorithm, vector, &name);
            }
        }
    }
    tally.assert([366, 176, 0, 6866, 5611]);
}

#[test]
fn edwards_curves() {
    use eddsa::{TestName, TestSet};
    let mut tally = Tally::default();
    for set in TestName::all() {
        for group in TestSet::load(set).expect("vectors").test_groups {
            let Some(keys) = of_file(group.pem.as_bytes()) else {
                assert_eq!(set, TestName::Ed448);
                tally.foreign_keys += 1;
                continue;
            };
            for test in &group.tests {
                let vector = vector!(test, sig);
                let name = format!("{set:?} {}", test.tc_id);
                tally.take(&keys.keys()[0], Some(Algorithm::EdDSA), vector, &name);
            }
        }
    }
    tally.assert([88, 63, 0, 0, 15]);
}

#[test]
fn macs() {
    use mac::{TestName, TestSet};
    let mut tally = Tally::default();
    for set in TestName::all() {
        // RFC 7518 section 3.2: the whole output of the hash, and a key that is as long at least.
        let (algorithm, bits) = match set {
            TestName::HmacSha256 => (Some(Algorithm::HS256), 256),
            TestName::HmacSha384 => (Some(Algorithm::HS384), 384),
            TestName::HmacSha512 => (Some(Algorithm::HS512), 512),
            _ => (None, 0),
        };
        let Ok(vectors) = TestSet::load(set) else {
            panic!("{set:?} cannot be read");
        };
        for group in vectors.test_groups {
            let algorithm = algorithm.filter(|_| group.tag_size == bits);
            for test in &group.tests {
                let vector = vector!(test, tag);
                let Ok(keys) = KeySet::of_secret(&test.key) else {
                    assert!(test.key.len() < 32, "{set:?} {}", test.tc_id);
                    tally.with_weak_keys += 1;
                    continue;
                };
                let key = &keys.keys()[0];
                if algorithm.is_some_and(|one| !key.algorithms().contains(one)) {
                    assert!(test.key.len() * 8 < bits, "{set:?} {}", test.tc_id);
                    tally.with_weak_keys += 1;
                    tally.take(key, None, vector, &format!("{set:?} {}", test.tc_id));
                } else {
                    tally.take(key, algorithm, vector, &format!("{set:?} {}", test.tc_id));
                }
            }
        }
    }
    tally.assert([90, 162, 1525, 1874, 0]);
}

/// What becomes of an example.
#[derive(Debug, PartialEq)]
enum Fate {
    Verified,
    /// No key of ours is of this type.
    NoKey,
    /// No algorithm of ours has this name.
    NoAlgorithm,
    /// The header asks for what is not understood.
    Critical,
}

/// The examples of the RFCs, in order, with the reasons for what is refused: there is no algorithm for keys of P-521
/// in the library, `none` is no algorithm, and no extension is understood.
const EXAMPLES: [(&str, Fate); 14] = [
    ("RFC 7515 A.1", Fate::Verified),
    ("RFC 7515 A.2", Fate::Verified),
    ("RFC 7515 A.3", Fate::Verified),
    ("RFC 7515 A.4", Fate::NoKey),
    ("RFC 7515 A.5", Fate::NoAlgorithm),
    ("RFC 7515 E", Fate::Critical),
    ("RFC 7520 4.1", Fate::Verified),
    ("RFC 7520 4.2", Fate::Verified),
    ("RFC 7520 4.3", Fate::NoKey),
    ("RFC 7520 4.4", Fate::Verified),
    ("RFC 7520 4.6", Fate::Verified),
    ("RFC 7520 4.8", Fate::Verified),
    ("RFC 7797 4.2", Fate::Critical),
    ("RFC 8037 A.4", Fate::Verified),
];

#[test]
fn the_examples_of_the_standards() {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/jose_vectors.py");
    let printed = run(Command::new("python3").arg(SCRIPT).arg(package()));
    let vectors: Vec<Value> = serde_json::from_slice(&printed).expect("JSON");
    let found: Vec<(&str, Fate)> = vectors
        .iter()
        .map(|vector| (vector["name"].as_str().expect("a name"), fate(vector)))
        .collect();
    assert_eq!(found, EXAMPLES);
}

fn fate(vector: &Value) -> Fate {
    let token = vector["token"].as_str().expect("a token");
    let (message, signature) = token.rsplit_once('.').expect("parts");
    let (header, _) = message.split_once('.').expect("parts");
    let header = URL_SAFE_NO_PAD.decode(header).expect("base64");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    if header.get("crit").is_some() {
        return Fate::Critical;
    }
    let set = KeySet::parse_file(vector["key"].to_string().as_bytes()).expect("a key");
    let name = header["alg"].as_str().expect("an algorithm");
    match (Algorithm::from_name(name), set.keys()) {
        (None, []) if name != "none" => Fate::NoKey,
        (None, _) => Fate::NoAlgorithm,
        (Some(algorithm), keys) => {
            let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
            let key = keys.first().expect("a key of the algorithm");
            assert!(key.verifies(algorithm, message.as_bytes(), &signature));
            let mut other = message.to_owned();
            other.push('A');
            assert!(!key.verifies(algorithm, other.as_bytes(), &signature));
            Fate::Verified
        }
    }
}

/// Where the package is; only its text is wanted, so nothing that it needs comes with it. It stays beside the other
/// tools of `make test`.
fn package() -> String {
    const VERSION: &str = "1.6.1";
    let tools = concat!(env!("CARGO_TARGET_TMPDIR"), "/../tools");
    let folder = format!("{tools}/jwcrypto-{VERSION}");
    if !Path::new(&folder).exists() {
        std::fs::create_dir_all(tools).expect("a folder for tools");
        let part = tempfile::tempdir_in(tools).expect("a folder");
        run(Command::new("pip3")
            .args([
                "install",
                "--quiet",
                "--no-deps",
                "--root-user-action=ignore",
            ])
            .arg("--target")
            .arg(part.path())
            .arg(format!("jwcrypto=={VERSION}")));
        std::fs::rename(part.keep(), &folder).expect("the package in its place");
    }
    format!("{folder}/jwcrypto")
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output.stdout
}
