//! Documents of keys, and what becomes of them.

use serde_json::{Value, json};

use super::*;
use crate::identity::tokens::{Signer, encode, jwks};

const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];

fn parse(document: &Value) -> KeySet {
    KeySet::parse_jwks(document.to_string().as_bytes()).expect("a set")
}

/// What becomes of one published key.
fn check(jwk: &Value, expected: Result<&[&str], Unfit>) {
    let set = parse(&json!({ "keys": [jwk] }));
    let algorithms = |key: &Key| key.algorithms().iter().map(Algorithm::as_str).collect();
    let found: Result<Vec<&str>, Unfit> = match (set.keys(), set.skipped()) {
        ([key], []) => Ok(algorithms(key)),
        ([], [skipped]) => Err(skipped.why),
        other => panic!("one key is used or not: {other:?}"),
    };
    assert_eq!(found, expected.map(<[&str]>::to_vec), "{jwk}");
}

fn with(jwk: &Value, name: &str, value: impl Into<Value>) -> Value {
    let mut jwk = jwk.clone();
    jwk[name] = value.into();
    jwk
}

#[test]
fn each_algorithm_by_each_way_of_giving_its_key() {
    for name in ALGORITHMS {
        let signer = Signer::new(name, "one");
        let algorithm = Algorithm::from_name(name).expect("one of ours");
        let message = b"header.claims";
        let signature = signer.signature(message);
        let plain = match algorithm.is_symmetric() {
            true => KeySet::of_secret(&signer.plain),
            false => KeySet::parse_file(&signer.plain),
        };
        let documents = [
            KeySet::parse_file(jwks([&signer]).as_bytes()),
            KeySet::parse_file(signer.jwk.to_string().as_bytes()),
            plain,
        ];
        for set in documents {
            let set = set.expect("a set");
            assert_eq!(set.keys().len(), 1, "{name}: {set:?}");
            let key = set.find(Some("one"), algorithm).next().expect("the key");
            assert!(key.verifies(algorithm, message, &signature), "{name}");
            assert!(!key.verifies(algorithm, b"another", &signature), "{name}");
            assert!(!key.verifies(algorithm, message, &Vec::new()), "{name}");
            for other in Algorithm::ALL.into_iter().filter(|one| *one != algorithm) {
                assert!(!key.verifies(other, message, &signature), "{name} {other}");
            }
        }
        let published = KeySet::parse_jwks(jwks([&signer]).as_bytes()).expect("a set");
        assert_eq!(published.is_empty(), algorithm.is_symmetric(), "{name}");
    }
}

#[test]
fn what_a_key_is_for() {
    let rsa = Signer::new("RS256", "r").jwk;
    let all: &[&str] = &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    check(&rsa, Ok(all));
    check(&with(&rsa, "alg", "PS384"), Ok(&["PS384"]));
    check(&with(&rsa, "key_ops", json!(["verify"])), Ok(all));
    check(&with(&rsa, "x5c", json!(["AA"])), Ok(all));
    for algorithm in ["ES256", "HS256", "none", "RSA-OAEP", "rs256", ""] {
        check(&with(&rsa, "alg", algorithm), Err(Unfit::Algorithm));
    }
    check(&with(&rsa, "use", "enc"), Err(Unfit::Use));
    check(&with(&rsa, "key_ops", json!(["sign"])), Err(Unfit::Use));
    check(&with(&rsa, "key_ops", json!([])), Err(Unfit::Use));
    check(&with(&rsa, "key_ops", "verify"), Err(Unfit::Malformed));
    check(&with(&rsa, "kid", 7), Err(Unfit::Malformed));
    check(&with(&rsa, "kid", "k".repeat(257)), Err(Unfit::LongKid));
    check(&with(&rsa, "alg", json!(["RS256"])), Err(Unfit::Malformed));
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth"] {
        check(&with(&rsa, private, "AQ"), Err(Unfit::Private));
    }
    check(&json!({ "kty": "LMS", "kid": "k" }), Err(Unfit::Type));
    check(&json!({ "kid": "k" }), Err(Unfit::Type));
}

#[test]
fn weak_and_malformed_keys() {
    let rsa = Signer::new("RS256", "r").jwk;
    let modulus = |bytes: usize| with(&rsa, "n", encode(vec![0xff; bytes]));
    check(&modulus(128), Err(Unfit::RsaSize));
    check(&modulus(255), Err(Unfit::RsaSize));
    check(&modulus(1025), Err(Unfit::RsaSize));
    check(&with(&rsa, "n", ""), Err(Unfit::RsaSize));
    check(
        &with(&rsa, "n", encode([&[0; 200][..], &[0xff; 100]].concat())),
        Err(Unfit::RsaSize),
    );
    check(
        &with(
            &rsa,
            "n",
            encode([[0xff; 255].as_slice(), &[0xfe]].concat()),
        ),
        Err(Unfit::Malformed),
    );
    for exponent in ["AQ", "Ag", "AA", "", "AQAA", "AQAB=", "AQ AB", "AQ+B"] {
        check(&with(&rsa, "e", exponent), Err(Unfit::Malformed));
    }
    check(&with(&rsa, "n", json!(1)), Err(Unfit::Malformed));

    let curve = Signer::new("ES256", "e").jwk;
    check(&curve, Ok(&["ES256"]));
    check(&with(&curve, "alg", "ES384"), Err(Unfit::Algorithm));
    check(&with(&curve, "x", encode([1; 32])), Err(Unfit::Malformed));
    check(&with(&curve, "y", encode([1; 31])), Err(Unfit::Malformed));
    check(&with(&curve, "crv", "P-384"), Err(Unfit::Malformed));
    check(&with(&curve, "crv", "P-521"), Err(Unfit::Type));
    check(&with(&curve, "crv", "secp256k1"), Err(Unfit::Type));

    let edwards = Signer::new("EdDSA", "d").jwk;
    check(&edwards, Ok(&["EdDSA"]));
    check(&with(&edwards, "alg", "Ed25519"), Ok(&["EdDSA"]));
    check(&with(&edwards, "x", encode([1; 31])), Err(Unfit::Malformed));
    check(&with(&edwards, "crv", "X25519"), Err(Unfit::Type));
    check(&with(&edwards, "crv", "Ed448"), Err(Unfit::Type));
    check(&Signer::new("HS512", "h").jwk, Err(Unfit::Shared));
}

#[test]
fn secrets_are_as_long_as_the_hash() {
    let algorithms = |length: usize| {
        let set = KeySet::of_secret(&vec![7; length]);
        let keys = set.map(|set| set.keys()[0].algorithms().iter().count());
        keys.map_err(|error| error.to_string())
    };
    assert!(algorithms(0).is_err() && algorithms(31).is_err());
    assert_eq!(algorithms(32), Ok(1));
    assert_eq!(algorithms(48), Ok(2));
    assert_eq!(algorithms(64), Ok(3));
    let public = Signer::new("EdDSA", "d").plain;
    assert!(
        KeySet::of_secret(&public).is_err(),
        "a public key is no secret"
    );
    let short = with(&Signer::new("HS256", "h").jwk, "alg", "HS512");
    let set = KeySet::parse_file(short.to_string().as_bytes()).expect("a set");
    assert!(set.is_empty() && set.skipped()[0].why == Unfit::ShortSecret);
    assert!(!format!("{:?}", KeySet::of_secret(&[b'q'; 64])).contains("qq"));
}

#[test]
fn documents() {
    for bad in [
        "",
        "[]",
        "{}",
        "null",
        r#"{"keys":{}}"#,
        r#"{"keys":[1]}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[{"kty":"RSA","kty":"EC"}]}"#,
    ] {
        assert!(KeySet::parse_jwks(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(parse(&json!({ "keys": [], "more": 1 })).is_empty());
    let many = |count: usize| json!({ "keys": vec![json!({ "kty": "x" }); count] }).to_string();
    assert!(KeySet::parse_jwks(many(256).as_bytes()).is_ok());
    assert!(KeySet::parse_jwks(many(257).as_bytes()).is_err());
    let large = format!("{{\"keys\":[]{}}}", " ".repeat(LARGEST_DOCUMENT));
    assert!(KeySet::parse_jwks(large.as_bytes()).is_err());
    assert!(KeySet::parse_file(large.as_bytes()).is_err());
    let single = Signer::new("EdDSA", "d").jwk.to_string();
    assert!(
        KeySet::parse_jwks(single.as_bytes()).is_err(),
        "providers publish sets"
    );
    assert!(
        KeySet::parse_file(b"no key at all")
            .expect("no sections")
            .is_empty()
    );
}

#[test]
fn keys_are_found_by_name_and_algorithm() {
    let (one, two) = (Signer::new("EdDSA", "one"), Signer::new("EdDSA", "two"));
    let third = Signer::new("ES256", "two");
    let set = KeySet::parse_jwks(jwks([&one, &two, &third]).as_bytes()).expect("a set");
    let found = |kid, algorithm| set.find(kid, algorithm).count();
    assert_eq!(found(Some("one"), Algorithm::EdDSA), 1);
    assert_eq!(found(Some("one"), Algorithm::ES256), 0);
    assert_eq!(found(Some("two"), Algorithm::ES256), 1);
    assert_eq!(found(Some("three"), Algorithm::EdDSA), 0);
    assert_eq!(found(Some("ONE"), Algorithm::EdDSA), 0);
    assert_eq!(found(None, Algorithm::EdDSA), 2);
    assert!(set.lacks(Some("three")) && !set.lacks(Some("one")) && !set.lacks(None));
    assert!(KeySet::default().lacks(None) && KeySet::default().lacks(Some("one")));
    let nameless = KeySet::parse_file(&one.plain).expect("a set");
    assert!(!nameless.lacks(Some("three")));
}

#[test]
fn keys_without_a_name_come_after_the_one_that_is_named() {
    let signers: Vec<Signer> = (0..6).map(|_| Signer::new("EdDSA", "named")).collect();
    let mut jwks: Vec<Value> = signers.iter().map(|signer| signer.jwk.clone()).collect();
    for jwk in &mut jwks[..5] {
        jwk.as_object_mut().expect("an object").remove("kid");
    }
    let set = parse(&json!({ "keys": jwks }));
    let names = |kid| {
        let found = set.find(kid, Algorithm::EdDSA);
        found.map(Key::kid).collect::<Vec<_>>()
    };
    assert_eq!(names(Some("named")), [Some("named"), None, None, None]);
    assert_eq!(names(Some("other")), [None; 4]);
    assert_eq!(names(None), [None; 4]);
    let signature = signers[5].signature(b"signed");
    let mut found = set.find(Some("named"), Algorithm::EdDSA);
    assert!(found.any(|key| key.verifies(Algorithm::EdDSA, b"signed", &signature)));
}

#[test]
fn a_name_may_stand_for_two_keys_and_no_key_stands_twice() {
    let signers: Vec<Signer> = (0..6).map(|_| Signer::new("EdDSA", "same")).collect();
    let document = jwks(signers.iter().chain(&signers));
    let set = KeySet::parse_jwks(document.as_bytes()).expect("a set");
    assert_eq!(set.keys().len(), 6);
    assert!(
        set.skipped()
            .iter()
            .all(|skipped| skipped.why == Unfit::Twice)
    );
    assert_eq!(
        set.find(Some("same"), Algorithm::EdDSA).count(),
        4,
        "bounded"
    );
    let again = KeySet::parse_jwks(jwks(&signers).as_bytes()).expect("a set");
    assert_eq!(set, again, "what is left out makes no other set");
    let fewer = KeySet::parse_jwks(jwks(&signers[..5]).as_bytes()).expect("a set");
    assert_ne!(set, fewer);
}
