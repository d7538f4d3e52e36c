//! Attacks on tokens: what is forged, altered, borrowed or written in two ways proves nothing.
//!
//! Each has its name in the table below. It is refused over both protocols with the same few words, and no upstream
//! hears of it. What is attacked are tokens that are good otherwise: the same request without the attack is let in.

use serde_json::{Value, json};

use crate::harness::tokens::{Signer, encode, from_now, jwks};
use crate::harness::*;

const ISSUER: &str = "https://id.test/";

const GATEWAY: &str = r#"
    [identity.jwt.main]
    issuer = "https://id.test/"
    audiences = ["shop", "till"]
    jwks = { inline = '$jwks' }
    required_claims = ["tenant"]
    max_lifetime = "1h"
    max_token_size = "12KiB"

    [identity.jwt.elsewhere]
    issuer = "https://id.test/"
    audiences = ["shop"]
    jwks = { inline = '$jwks' }
    header = "x-token"
    cookie = "token"
    query = "token"

    [identity.jwt.secret]
    issuer = "https://id.test/"
    audiences = ["shop"]
    jwks = { secret = { file = "$secret" } }
    algorithms = ["HS256"]

    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.main]
    match = { path = "/main" }
    upstream = "shop"
    policies.jwt = { providers = ["main"] }

    [routes.elsewhere]
    match = { path = "/elsewhere" }
    upstream = "shop"
    policies.jwt = { providers = ["elsewhere"] }

    [routes.secret]
    match = { path = "/secret" }
    upstream = "shop"
    policies.jwt = { providers = ["secret"] }

    [routes.public]
    match = { path = "/public" }
    upstream = "shop"
    policies.jwt = { providers = ["main"], anonymous = "allow" }
"#;

/// Everything that an attacker has: all that is published, one good token of his own, and keys of his own.
struct Field {
    rsa: Signer,
    curve: Signer,
    edwards: Signer,
    secret: Signer,
    /// Published, but for encryption.
    encryption: Signer,
    /// Of the attacker; they go by the names of the real ones.
    own_rsa: Signer,
    own_curve: Signer,
    /// Where the attacker would have keys fetched.
    trap: Origin,
}

impl Field {
    fn new() -> Field {
        let mut encryption = Signer::new("ES256", "enc");
        encryption.jwk["use"] = json!("enc");
        Field {
            rsa: Signer::new("RS256", "rs"),
            curve: Signer::new("ES256", "es"),
            edwards: Signer::new("EdDSA", "ed"),
            secret: Signer::new("HS256", "hs"),
            encryption,
            own_rsa: Signer::new("RS256", "rs"),
            own_curve: Signer::new("ES256", "es"),
            trap: Origin::http1(|_| text("{\"keys\":[]}")),
        }
    }

    fn published(&self) -> String {
        jwks([&self.rsa, &self.curve, &self.edwards, &self.encryption])
    }

    /// A good token of the real provider.
    fn good(&self) -> String {
        self.rsa.token(&claims())
    }

    /// A token with claims that the real provider has really signed.
    fn signed(&self, name: &str, value: Value) -> String {
        self.rsa.token(&with(claims(), name, value))
    }

    /// A token with a header that the real provider has really signed.
    fn headed(&self, name: &str, value: Value) -> String {
        let header = with(json!({ "alg": "RS256", "kid": "rs" }), name, value);
        self.rsa.token_with(&header, &claims())
    }

    /// A token that the attacker has signed, with what is to make his key count.
    fn own(&self, name: &str, value: Value) -> String {
        let header = with(json!({ "alg": "RS256", "kid": "mine" }), name, value);
        self.own_rsa.token_with(&header, &claims())
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "shop", "sub": "me", "tenant": "acme",
        "iat": from_now(-10), "exp": from_now(300),
    })
}

/// With a member that is another; `null` takes it out.
fn with(mut object: Value, name: &str, value: Value) -> Value {
    match value {
        Value::Null => drop(object.as_object_mut().unwrap().remove(name)),
        value => object[name] = value,
    }
    object
}

fn bearer(path: &str, token: &str) -> Ask {
    get(path).header("authorization", &format!("Bearer {token}"))
}

/// Whoever signs with this secret, and calls it so.
fn forger(secret: &[u8], kid: &str) -> Signer {
    let mut signer = Signer::of_secret(secret);
    signer.kid = kid.to_owned();
    signer
}

/// The three parts of a token.
fn parts(token: &str) -> [String; 3] {
    let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}

/// A good token with another header on it, and the signature of the old.
fn reheaded(token: &str, header: &Value) -> String {
    let [_, claims, signature] = parts(token);
    format!("{}.{claims}.{signature}", encode(header.to_string()))
}

/// ECDSA as X.509 writes it, in ASN.1.
fn in_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let integer = |number: &[u8]| {
        let mut number = number.to_vec();
        if number[0] >= 0x80 {
            number.insert(0, 0);
        }
        [&[2, number.len() as u8], number.as_slice()].concat()
    };
    let body = [integer(r), integer(s)].concat();
    [&[0x30, body.len() as u8], body.as_slice()].concat()
}

/// The order of P-256, which r and s are below.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

type Attack = (&'static str, fn(&Field) -> Ask);

/// On the algorithm and the key.
const ON_THE_KEY: &[Attack] = &[
    ("alg none without a signature", |field| {
        let [_, claims, _] = parts(&field.good());
        bearer(
            "/main",
            &format!("{}.{claims}.", encode(r#"{"alg":"none"}"#)),
        )
    }),
    ("alg none with the signature of before", |field| {
        bearer("/main", &reheaded(&field.good(), &json!({ "alg": "none" })))
    }),
    ("alg None", |field| {
        bearer("/main", &reheaded(&field.good(), &json!({ "alg": "None" })))
    }),
    ("alg NONE", |field| {
        bearer("/main", &reheaded(&field.good(), &json!({ "alg": "NONE" })))
    }),
    ("alg nOnE", |field| {
        bearer("/main", &reheaded(&field.good(), &json!({ "alg": "nOnE" })))
    }),
    ("alg none in two parts", |field| {
        let [_, claims, _] = parts(&field.good());
        bearer(
            "/main",
            &format!("{}.{claims}", encode(r#"{"alg":"none"}"#)),
        )
    }),
    ("no alg", |field| {
        bearer("/main", &field.headed("alg", Value::Null))
    }),
    ("alg empty", |field| {
        bearer("/main", &field.headed("alg", json!("")))
    }),
    ("alg a list", |field| {
        bearer("/main", &field.headed("alg", json!(["RS256", "none"])))
    }),
    ("alg in small letters", |field| {
        bearer("/main", &field.headed("alg", json!("rs256")))
    }),
    ("alg with a space", |field| {
        bearer("/main", &field.headed("alg", json!("RS256 ")))
    }),
    ("alg of key agreement", |field| {
        bearer("/main", &field.headed("alg", json!("A128KW")))
    }),
    ("the public key in PEM as a secret", |field| {
        let forged = forger(&field.rsa.plain, "rs");
        bearer("/main", &forged.token(&claims()))
    }),
    (
        "the public key in PEM without its last newline as a secret",
        |field| {
            let forged = forger(field.rsa.plain.trim_ascii_end(), "rs");
            bearer("/main", &forged.token(&claims()))
        },
    ),
    ("the modulus as a secret", |field| {
        let modulus = field.rsa.jwk["n"].as_str().unwrap();
        bearer("/main", &forger(modulus.as_bytes(), "rs").token(&claims()))
    }),
    ("the published set as a secret", |field| {
        let forged = forger(field.published().as_bytes(), "rs");
        bearer("/main", &forged.token(&claims()))
    }),
    ("the point of Ed25519 as a secret", |field| {
        let point = field.edwards.jwk["x"].as_str().unwrap();
        bearer("/main", &forger(point.as_bytes(), "ed").token(&claims()))
    }),
    ("an empty secret", |_| {
        bearer("/secret", &forger(b"", "hs").token(&claims()))
    }),
    ("a secret that is guessed", |_| {
        bearer("/secret", &forger(b"secret", "hs").token(&claims()))
    }),
    ("a secret with a newline that the file has", |field| {
        let secret = [field.secret.plain.as_slice(), b"\n"].concat();
        bearer("/secret", &forger(&secret, "hs").token(&claims()))
    }),
    ("an algorithm that is not configured", |field| {
        let header = json!({ "alg": "HS512", "kid": "hs" });
        bearer("/secret", &field.secret.token_with(&header, &claims()))
    }),
    ("RSA where a secret is configured", |field| {
        bearer("/secret", &field.good())
    }),
    ("the secret where RSA is published", |field| {
        bearer("/main", &field.secret.token(&claims()))
    }),
    ("another padding for the same key", |field| {
        bearer("/main", &field.headed("alg", json!("PS256")))
    }),
    ("another hash for the same key", |field| {
        bearer("/main", &field.headed("alg", json!("RS512")))
    }),
    ("a curve's algorithm for a key of RSA", |field| {
        bearer("/main", &field.headed("alg", json!("ES256")))
    }),
    ("a key of RSA's algorithm for a curve", |field| {
        let header = json!({ "alg": "RS256", "kid": "es" });
        bearer("/main", &field.curve.token_with(&header, &claims()))
    }),
    ("another key of the same name", |field| {
        bearer("/main", &field.own_rsa.token(&claims()))
    }),
    ("another curve's key of the same name", |field| {
        bearer("/main", &field.own_curve.token(&claims()))
    }),
    ("a key that is published for encryption", |field| {
        bearer("/main", &field.encryption.token(&claims()))
    }),
    ("a name that no key has", |field| {
        bearer("/main", &field.headed("kid", json!("none")))
    }),
    ("a name in other letters", |field| {
        bearer("/main", &field.headed("kid", json!("RS")))
    }),
    ("a name that is a path", |_| {
        let forged = forger(b"", "../../../../dev/null");
        bearer("/main", &forged.token(&claims()))
    }),
    ("a name that is SQL", |_| {
        let forged = forger(b"key", "' UNION SELECT 'key' --");
        bearer("/main", &forged.token(&claims()))
    }),
    ("a name that is a command", |field| {
        bearer("/main", &field.own("kid", json!("rs|touch /tmp/x")))
    }),
    ("a name that is a URL", |field| {
        bearer(
            "/main",
            &field.own("kid", json!(format!("http://{}/jwks", field.trap))),
        )
    }),
    ("a name with a NUL behind it", |field| {
        bearer("/main", &field.headed("kid", json!("rs\u{0}")))
    }),
    ("a name that is a list", |field| {
        bearer("/main", &field.headed("kid", json!(["rs"])))
    }),
    ("a name that is a number", |field| {
        bearer("/main", &field.headed("kid", json!(0)))
    }),
    ("no name, signed by a stranger", |field| {
        bearer("/main", &field.own("kid", Value::Null))
    }),
];

/// On the signature and its spelling.
const ON_THE_SIGNATURE: &[Attack] = &[
    ("no signature", |field| {
        let [header, claims, _] = parts(&field.good());
        bearer("/main", &format!("{header}.{claims}."))
    }),
    ("a signature that is cut off", |field| {
        let [header, claims, _] = parts(&field.good());
        let message = format!("{header}.{claims}");
        let mut signature = field.rsa.signature(message.as_bytes());
        signature.pop();
        bearer("/main", &format!("{message}.{}", encode(signature)))
    }),
    ("a signature with a byte too much", |field| {
        let [header, claims, _] = parts(&field.good());
        let message = format!("{header}.{claims}");
        let signature = [field.rsa.signature(message.as_bytes()), vec![0]].concat();
        bearer("/main", &format!("{message}.{}", encode(signature)))
    }),
    ("a signature with a zero before it", |field| {
        let [header, claims, _] = parts(&field.good());
        let message = format!("{header}.{claims}");
        let signature = [vec![0], field.rsa.signature(message.as_bytes())].concat();
        bearer("/main", &format!("{message}.{}", encode(signature)))
    }),
    ("the signature of another token", |field| {
        let [header, claims, _] = parts(&field.good());
        let [.., signature] = parts(&field.signed("sub", json!("else")));
        bearer("/main", &format!("{header}.{claims}.{signature}"))
    }),
    ("claims that are altered", |field| {
        let [header, _, signature] = parts(&field.good());
        let altered = with(claims(), "sub", json!("root"));
        bearer(
            "/main",
            &format!("{header}.{}.{signature}", encode(altered.to_string())),
        )
    }),
    ("a header that is altered", |field| {
        bearer(
            "/main",
            &reheaded(&field.good(), &json!({ "alg": "RS256" })),
        )
    }),
    (
        "claims of a remembered token under another signature",
        |field| {
            let [header, claims, mut signature] = parts(&field.good());
            let last = signature.remove(0);
            signature.insert(0, if last == 'A' { 'B' } else { 'A' });
            bearer("/main", &format!("{header}.{claims}.{signature}"))
        },
    ),
    ("zeros for ECDSA", |field| {
        let header = encode(json!({ "alg": "ES256", "kid": "es" }).to_string());
        let message = format!("{header}.{}", encode(claims().to_string()));
        let _ = field;
        bearer("/main", &format!("{message}.{}", encode([0; 64])))
    }),
    ("the order of the curve for ECDSA", |_| {
        let header = encode(json!({ "alg": "ES256", "kid": "es" }).to_string());
        let message = format!("{header}.{}", encode(claims().to_string()));
        bearer(
            "/main",
            &format!("{message}.{}", encode([ORDER, ORDER].concat())),
        )
    }),
    ("ECDSA in ASN.1", |field| {
        let header = encode(json!({ "alg": "ES256", "kid": "es" }).to_string());
        let message = format!("{header}.{}", encode(claims().to_string()));
        let signature = in_der(&field.curve.signature(message.as_bytes()));
        bearer("/main", &format!("{message}.{}", encode(signature)))
    }),
    ("zeros for EdDSA", |_| {
        let header = encode(json!({ "alg": "EdDSA", "kid": "ed" }).to_string());
        let message = format!("{header}.{}", encode(claims().to_string()));
        bearer("/main", &format!("{message}.{}", encode([0; 64])))
    }),
    ("padding", |field| {
        let [header, claims, _] = parts(&field.good());
        let message = format!("{header}.{claims}");
        let signature = encode(field.rsa.signature(message.as_bytes()));
        bearer("/main", &format!("{message}.{signature}=="))
    }),
    ("bits beyond the last byte", |field| {
        // 256 bytes end with a character of which only the first two bits count.
        let token = field.good();
        let (rest, last) = token.split_at(token.len() - 1);
        let last = match last {
            "A" => "B",
            "Q" => "R",
            "g" => "h",
            _ => "x",
        };
        bearer("/main", &format!("{rest}{last}"))
    }),
    ("the other alphabet of base64", |field| {
        let token = (0..)
            .map(|number| field.signed("jti", json!(number)))
            .find(|token| token.contains(['-', '_']));
        let token = token.unwrap().replace('-', "+").replace('_', "/");
        bearer("/main", &token)
    }),
    ("a space within", |field| {
        let token = field.good();
        bearer("/main", &format!("{} {}", &token[..9], &token[9..]))
    }),
    ("a tab behind it", |field| {
        bearer("/main", &format!("{}\t.", field.good()))
    }),
    ("a fourth part", |field| {
        bearer("/main", &format!("{}.AQID", field.good()))
    }),
    ("an empty part before it", |field| {
        bearer("/main", &format!(".{}", field.good()))
    }),
    ("two tokens in one", |field| {
        bearer("/main", &format!("{},{}", field.good(), field.good()))
    }),
    ("five parts, as of an encrypted token", |field| {
        let [header, claims, signature] = parts(&field.good());
        bearer("/main", &format!("{header}.AA.{claims}.{signature}.AA"))
    }),
    ("the JSON serialization", |field| {
        let [header, claims, signature] = parts(&field.good());
        let json = json!({ "protected": header, "payload": claims, "signature": signature });
        bearer("/main", &json.to_string())
    }),
];

/// On the header: keys that come along, extensions, and what can be read in two ways.
const ON_THE_HEADER: &[Attack] = &[
    ("its own key", |field| {
        bearer("/main", &field.own("jwk", field.own_rsa.jwk.clone()))
    }),
    ("its own key under a real name", |field| {
        let header = json!({ "alg": "RS256", "kid": "rs", "jwk": field.own_rsa.jwk });
        bearer("/main", &field.own_rsa.token_with(&header, &claims()))
    }),
    ("its own secret", |_| {
        let forged = forger(&[7; 64], "mine");
        let header = json!({ "alg": "HS256", "jwk": forged.jwk });
        bearer("/main", &forged.token_with(&header, &claims()))
    }),
    ("the address of its own keys", |field| {
        bearer(
            "/main",
            &field.own("jku", json!(format!("http://{}/jwks", field.trap))),
        )
    }),
    ("the issuer's address with a way out of it", |field| {
        let url = format!("https://id.test@{}/jwks", field.trap);
        bearer("/main", &field.own("jku", json!(url)))
    }),
    ("the address of its own certificate", |field| {
        bearer(
            "/main",
            &field.own("x5u", json!(format!("http://{}/x", field.trap))),
        )
    }),
    ("its own certificate", |field| {
        bearer("/main", &field.own("x5c", json!(["AAAA"])))
    }),
    ("a real token with an address in it", |field| {
        bearer("/main", &field.headed("jku", json!("https://id.test/jwks")))
    }),
    ("an extension that must be understood", |field| {
        let header = json!({ "alg": "RS256", "kid": "rs", "crit": ["x"], "x": 1 });
        bearer("/main", &field.rsa.token_with(&header, &claims()))
    }),
    ("a claim as an extension", |field| {
        bearer("/main", &field.headed("crit", json!(["exp"])))
    }),
    ("an empty list of extensions", |field| {
        bearer("/main", &field.headed("crit", json!([])))
    }),
    ("a payload that is not encoded", |field| {
        let header = json!({ "alg": "RS256", "kid": "rs", "b64": false, "crit": ["b64"] });
        bearer("/main", &field.rsa.token_with(&header, &claims()))
    }),
    ("compression", |field| {
        bearer("/main", &field.headed("zip", json!("DEF")))
    }),
    ("encryption", |field| {
        bearer("/main", &field.headed("enc", json!("A128GCM")))
    }),
    ("alg twice, none last", |field| {
        let header = r#"{"alg":"RS256","kid":"rs","alg":"none"}"#;
        bearer("/main", &field.rsa.token_of(header, &claims().to_string()))
    }),
    ("alg twice, none first", |field| {
        let header = r#"{"alg":"none","kid":"rs","alg":"RS256"}"#;
        bearer("/main", &field.rsa.token_of(header, &claims().to_string()))
    }),
    ("kid twice, once in escapes", |field| {
        let header = r#"{"alg":"RS256","kid":"x","\u006bid":"rs"}"#;
        bearer("/main", &field.rsa.token_of(header, &claims().to_string()))
    }),
    ("a byte order mark", |field| {
        let header = "\u{feff}{\"alg\":\"RS256\",\"kid\":\"rs\"}";
        bearer("/main", &field.rsa.token_of(header, &claims().to_string()))
    }),
    ("something behind the header", |field| {
        let header = r#"{"alg":"RS256","kid":"rs"}{"alg":"none"}"#;
        bearer("/main", &field.rsa.token_of(header, &claims().to_string()))
    }),
    ("a header that is a list", |field| {
        let header = r#"[{"alg":"RS256","kid":"rs"}]"#;
        bearer("/main", &field.rsa.token_of(header, &claims().to_string()))
    }),
    ("a header that is long", |field| {
        bearer("/main", &field.headed("x", json!("x".repeat(6200))))
    }),
    ("a header that is deep", |field| {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        let header = format!(r#"{{"alg":"RS256","kid":"rs","x":{deep}}}"#);
        bearer("/main", &field.rsa.token_of(&header, &claims().to_string()))
    }),
    ("a token for logging out", |field| {
        bearer("/main", &field.headed("typ", json!("logout+jwt")))
    }),
    ("a token about an event", |field| {
        bearer("/main", &field.headed("typ", json!("secevent+jwt")))
    }),
    ("a proof of possession", |field| {
        bearer("/main", &field.headed("typ", json!("dpop+jwt")))
    }),
    ("a type that is a list", |field| {
        bearer("/main", &field.headed("typ", json!(["JWT"])))
    }),
];

/// On the claims; the provider has really signed these.
const ON_THE_CLAIMS: &[Attack] = &[
    ("no end", |field| {
        bearer("/main", &field.signed("exp", Value::Null))
    }),
    ("over", |field| {
        bearer("/main", &field.signed("exp", json!(from_now(-31))))
    }),
    ("over since 1970", |field| {
        bearer("/main", &field.signed("exp", json!(0)))
    }),
    ("over before 1970", |field| {
        bearer("/main", &field.signed("exp", json!(-1)))
    }),
    ("an end in text", |field| {
        bearer(
            "/main",
            &field.signed("exp", json!(from_now(300).to_string())),
        )
    }),
    ("an end that is true", |field| {
        bearer("/main", &field.signed("exp", json!(true)))
    }),
    ("an end that is null", |field| {
        let text = claims().to_string();
        let exp = format!("\"exp\":{}", claims()["exp"]);
        assert!(text.contains(&exp));
        let text = text.replace(&exp, "\"exp\":null");
        bearer("/main", &field.rsa.token_of(r#"{"alg":"RS256"}"#, &text))
    }),
    ("an end beyond all numbers", |field| {
        let text = claims()
            .to_string()
            .replacen("\"exp\":", "\"exp\":1e999,\"x\":", 1);
        bearer("/main", &field.rsa.token_of(r#"{"alg":"RS256"}"#, &text))
    }),
    ("two ends", |field| {
        let text = claims().to_string().replacen('{', "{\"exp\":1,", 1);
        bearer("/main", &field.rsa.token_of(r#"{"alg":"RS256"}"#, &text))
    }),
    ("two subjects, one in escapes", |field| {
        let text = claims()
            .to_string()
            .replacen('{', "{\"\\u0073ub\":\"root\",", 1);
        bearer("/main", &field.rsa.token_of(r#"{"alg":"RS256"}"#, &text))
    }),
    ("not valid yet", |field| {
        bearer("/main", &field.signed("nbf", json!(from_now(60))))
    }),
    ("a beginning in text", |field| {
        bearer("/main", &field.signed("nbf", json!("0")))
    }),
    ("issued tomorrow", |field| {
        bearer("/main", &field.signed("iat", json!(from_now(86_400))))
    }),
    ("lives too long", |field| {
        bearer("/main", &field.signed("exp", json!(from_now(86_400))))
    }),
    ("lives for ever", |field| {
        bearer("/main", &field.signed("exp", json!(u64::MAX)))
    }),
    ("does not say since when", |field| {
        bearer("/main", &field.signed("iat", Value::Null))
    }),
    ("no issuer", |field| {
        bearer("/main", &field.signed("iss", Value::Null))
    }),
    ("another issuer", |field| {
        bearer("/main", &field.signed("iss", json!("https://evil.test/")))
    }),
    ("the issuer without its slash", |field| {
        bearer("/main", &field.signed("iss", json!("https://id.test")))
    }),
    ("the issuer and more", |field| {
        bearer(
            "/main",
            &field.signed("iss", json!("https://id.test/realm")),
        )
    }),
    ("a list of issuers", |field| {
        bearer("/main", &field.signed("iss", json!([ISSUER])))
    }),
    ("nobody's", |field| {
        bearer("/main", &field.signed("aud", Value::Null))
    }),
    ("for somebody else", |field| {
        bearer("/main", &field.signed("aud", json!("bank")))
    }),
    ("for somebody of a longer name", |field| {
        bearer("/main", &field.signed("aud", json!("shop-admin")))
    }),
    ("for two in one text", |field| {
        bearer("/main", &field.signed("aud", json!("bank shop")))
    }),
    ("for an empty list", |field| {
        bearer("/main", &field.signed("aud", json!([])))
    }),
    ("for a table", |field| {
        bearer("/main", &field.signed("aud", json!({ "shop": true })))
    }),
    ("for a list of more than texts", |field| {
        bearer("/main", &field.signed("aud", json!(["shop", 1])))
    }),
    ("no subject", |field| {
        bearer("/main", &field.signed("sub", Value::Null))
    }),
    ("an empty subject", |field| {
        bearer("/main", &field.signed("sub", json!("")))
    }),
    ("a list of subjects", |field| {
        bearer("/main", &field.signed("sub", json!(["me"])))
    }),
    ("without a claim that is required", |field| {
        bearer("/main", &field.signed("tenant", Value::Null))
    }),
    ("roles that are a number", |field| {
        bearer("/main", &field.signed("roles", json!(1)))
    }),
    ("claims that are a list", |field| {
        let text = format!("[{}]", claims());
        bearer("/main", &field.rsa.token_of(r#"{"alg":"RS256"}"#, &text))
    }),
    ("claims that are deep", |field| {
        let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
        let text = claims()
            .to_string()
            .replacen('{', &format!("{{\"x\":{deep},"), 1);
        bearer("/main", &field.rsa.token_of(r#"{"alg":"RS256"}"#, &text))
    }),
    ("claims that are another token", |field| {
        let [_, claims, _] = parts(&field.good());
        bearer(
            "/main",
            &field
                .rsa
                .token_of(r#"{"alg":"RS256","cty":"JWT"}"#, &claims),
        )
    }),
    ("too long", |field| {
        bearer("/main", &field.signed("x", json!("x".repeat(9000))))
    }),
];

/// On the number of tokens: nobody could say which of them counts.
const SEVERAL: &[Attack] = &[
    ("two headers, the good one first", |field| {
        bearer("/main", &field.good()).header("authorization", "Bearer x")
    }),
    ("two headers, the good one last", |field| {
        get("/main")
            .header("authorization", "Basic eDp5")
            .header("authorization", &format!("Bearer {}", field.good()))
    }),
    ("the same twice", |field| {
        let token = field.good();
        bearer("/main", &token).header("authorization", &format!("Bearer {token}"))
    }),
    ("in two places", |field| {
        let token = field.good();
        get(&format!("/elsewhere?token={token}")).header("x-token", &token)
    }),
    ("two cookies", |field| {
        let cookies = format!("token=x; token={}", field.good());
        get("/elsewhere").header("cookie", &cookies)
    }),
    ("two parameters", |field| {
        get(&format!("/elsewhere?token=x&token={}", field.good()))
    }),
];

/// On the place of the token.
const ON_THE_PLACE: &[Attack] = &[
    ("a word too much", |field| {
        bearer("/main", &format!("Bearer {}", field.good()))
    }),
    ("nothing behind the word", |_| {
        get("/main").header("authorization", "Bearer")
    }),
    ("a parameter in escapes", |field| {
        get(&format!(
            "/elsewhere?token={}",
            field.good().replace('.', "%2E")
        ))
    }),
    ("a bad one where none is needed", |field| {
        bearer("/public", &field.own_rsa.token(&claims()))
    }),
];

/// Where the gateway sees no token, so that nothing is refused but everything wanted.
const OUT_OF_PLACE: &[Attack] = &[
    ("of another scheme", |field| {
        get("/main").header("authorization", &format!("Basic {}", field.good()))
    }),
    ("without a scheme", |field| {
        get("/main").header("authorization", &field.good())
    }),
    ("for a proxy", |field| {
        get("/main").header("proxy-authorization", &format!("Bearer {}", field.good()))
    }),
    ("in the query unasked", |field| {
        get(&format!("/main?access_token={}", field.good()))
    }),
    ("in a cookie unasked", |field| {
        get("/main").header("cookie", &format!("token={}", field.good()))
    }),
    ("in a header that is not configured", |field| {
        get("/main").header("x-token", &field.good())
    }),
    (
        "in authorization where another place is configured",
        |field| bearer("/elsewhere", &field.good()),
    ),
];

#[tokio::test]
async fn every_attack_is_refused() {
    let field = Field::new();
    let origin = Origin::http1(|_| text("served"));
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, [field.secret.plain.as_slice(), b"\n"].concat()).unwrap();
    let gateway = Gateway::draft(GATEWAY)
        .with("jwks", field.published())
        .with("secret", secret.display())
        .with("shop", &origin)
        .start()
        .await;
    let clients = [gateway.http1(), gateway.http2()];
    let control: [fn(&Field) -> Ask; 8] = [
        |field| bearer("/main", &field.good()),
        |field| bearer("/main", &field.curve.token(&claims())),
        |field| bearer("/main", &field.edwards.token(&claims())),
        |field| bearer("/secret", &field.secret.token(&claims())),
        |field| get("/elsewhere").header("x-token", &field.good()),
        |field| get("/elsewhere").header("cookie", &format!("a=b; token={}", field.good())),
        |field| get(&format!("/elsewhere?a=b&token={}", field.good())),
        |_| get("/public"),
    ];
    let attacks = [
        ON_THE_KEY,
        ON_THE_SIGNATURE,
        ON_THE_HEADER,
        ON_THE_CLAIMS,
        ON_THE_PLACE,
    ];
    let refused = "Bearer realm=\"northgate\", error=\"invalid_token\"";
    let malformed = "Bearer realm=\"northgate\", error=\"invalid_request\"";
    let mut served = 0;
    let tables = attacks.into_iter().chain([SEVERAL, OUT_OF_PLACE]);
    assert_named(tables.flatten().map(|(name, _)| *name), 130);
    for client in &clients {
        for good in control {
            let answer = client.send(good(&field)).await;
            assert_eq!(answer.status, 200, "a good token: {}", answer.text());
            served += 1;
        }
        let bad = attacks.into_iter().flatten();
        let bad = bad.map(|(name, ask)| (name, ask, "credential_refused", refused));
        let several = SEVERAL.iter();
        let several = several.map(|(name, ask)| (name, ask, "credential_refused", malformed));
        let wanted = OUT_OF_PLACE.iter().map(|(name, ask)| {
            let wanted = "Bearer realm=\"northgate\"";
            (name, ask, "unauthenticated", wanted)
        });
        for (name, ask, code, challenge) in bad.chain(several).chain(wanted) {
            let answer = client.send(ask(&field)).await;
            assert_eq!(answer.status, 401, "{name}: {}", answer.text());
            answer.assert_problem(401, code);
            assert_eq!(answer.header("www-authenticate"), Some(challenge), "{name}");
            assert_eq!(
                origin.seen().len(),
                served,
                "{name}: an upstream heard of it"
            );
        }
    }
    assert!(
        field.trap.connections() == 0,
        "keys were fetched where a token said"
    );
}
