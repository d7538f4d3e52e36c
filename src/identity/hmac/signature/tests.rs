//! The RFC's own messages, and what must not pass for one.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderValue, Method};

use super::*;

struct Known(Key);

impl AsRef<Key> for Known {
    fn as_ref(&self) -> &Key {
        &self.0
    }
}

/// RFC 9421 appendix B.1.2 to B.1.5.
const RSA_PSS: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2
+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+
oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq
gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W
Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4
aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI
2wIDAQAB
-----END PUBLIC KEY-----";
const ECC_P256: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END PUBLIC KEY-----";
const ED25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----";
const SHARED: &str =
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";

fn keys() -> HashMap<&'static str, Known> {
    let public = |pem: &str| Known(Key::public(pem.as_bytes()).expect("a key"));
    let secret = BASE64.decode(SHARED).expect("base64");
    HashMap::from([
        ("test-key-rsa-pss", public(RSA_PSS)),
        ("test-key-ecc-p256", public(ECC_P256)),
        ("test-key-ed25519", public(ED25519)),
        (
            "test-shared-secret",
            Known(Key::shared(&secret).expect("a key")),
        ),
    ])
}

/// When every message of the RFC was signed.
const CREATED: i64 = 1_618_884_473;

/// No requirements of our own, as the RFC has none.
fn lenient() -> Rules {
    Rules {
        required: Box::default(),
        is_digest_required: false,
        tag: None,
        max_age: 60,
        skew: 5,
    }
}

struct Request {
    method: Method,
    authority: &'static str,
    target: String,
    headers: HeaderMap,
}

impl Request {
    fn new(
        method: Method,
        authority: &'static str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let mut request = Request {
            method,
            authority,
            target: target.to_owned(),
            headers: HeaderMap::new(),
        };
        for (name, value) in headers {
            request.add(name, value);
        }
        request
    }

    fn add(&mut self, name: &str, value: &str) {
        let name: HeaderName = name.parse().expect("a name");
        self.headers.append(name, value.parse().expect("a value"));
    }

    fn signed(mut self, label: &str, input: &str, signature: &str) -> Self {
        self.add("signature-input", &format!("{label}={input}"));
        self.add("signature", &format!("{label}=:{signature}:"));
        self
    }

    fn verify(&self, rules: &Rules, now: i64) -> Result<Option<Mark>, Wrong> {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*self.target, None),
        };
        let message = Message {
            method: &self.method,
            scheme: "https",
            authority: self.authority,
            path,
            query,
            headers: &self.headers,
        };
        let keys = keys();
        let verified = verify(&message, rules, now, |id| keys.get(id))?;
        Ok(verified.map(|verified| verified.mark))
    }
}

/// Appendix B.2, `test-request`.
fn test_request() -> Request {
    Request::new(
        Method::POST,
        "example.com",
        "/foo?param=Value&Pet=dog",
        &[
            ("host", "example.com"),
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("content-type", "application/json"),
            (
                "content-digest",
                "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
            ),
            ("content-length", "18"),
        ],
    )
}

#[track_caller]
fn assert_good(request: &Request) {
    let verified = request.verify(&lenient(), CREATED + 1);
    assert!(matches!(verified, Ok(Some(_))), "{verified:?}");
}

#[track_caller]
fn assert_bad(request: &Request) {
    let verified = request.verify(&lenient(), CREATED + 1);
    assert_eq!(
        verified,
        Err("the signature is not that of this request".into())
    );
}

/// Appendices B.2.1, B.2.2, B.2.3, B.2.5 and B.2.6.
#[test]
fn the_signed_requests_of_the_rfc() {
    for (label, input, signature) in [
        (
            "sig-b21",
            r#"();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd""#,
            "d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q==",
        ),
        (
            "sig-b22",
            r#"("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss";tag="header-example""#,
            "LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw==",
        ),
        (
            "sig-b23",
            r#"("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-rsa-pss""#,
            "bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5fTIztsDZKEgM4cUA==",
        ),
        (
            "sig-b25",
            r#"("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#,
            "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
        ),
        (
            "sig-b26",
            r#"("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
        ),
    ] {
        assert_good(&test_request().signed(label, input, signature));
        let mut changed = test_request();
        changed.method = Method::PUT;
        changed.authority = "example.org";
        let date = HeaderValue::from_static("Tue, 20 Apr 2021 02:07:56 GMT");
        changed.headers.insert("date", date);
        let changed = changed.signed(label, input, signature);
        match label {
            // It covers nothing, and says so.
            "sig-b21" => assert_good(&changed),
            _ => assert_bad(&changed),
        }
    }
}

/// Appendix B.2.4 signs a response, whose base no request has: only the key and the algorithm are of use here.
#[test]
fn the_signed_response_of_the_rfc() {
    let base = r#""@status": 200
"content-type": application/json
"content-digest": sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:
"content-length": 23
"@signature-params": ("@status" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-ecc-p256""#;
    let signature = BASE64
        .decode("wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==")
        .expect("base64");
    let key = Key::public(ECC_P256.as_bytes()).expect("a key");
    assert!(key.verifies(base.as_bytes(), &signature));
    assert!(!key.verifies(base.replace("200", "201").as_bytes(), &signature));
}

/// Appendix B.3: what a proxy that terminates TLS signs.
#[test]
fn the_proxied_request_of_the_rfc() {
    let certificate = ":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnXXfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwADAfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk=:";
    let request = Request::new(
        Method::POST,
        "service.internal.example",
        "/foo?param=Value&Pet=dog",
        &[("client-cert", certificate)],
    );
    assert_good(&request.signed(
        "ttrp",
        r#"("@path" "@query" "@method" "@authority" "client-cert");created=1618884473;keyid="test-key-ecc-p256""#,
        "xVMHVpawaAC/0SbHrKRs9i8I3eOs5RtTMGCWXm/9nvZzoHsIg6Mce9315T6xoklyy0yzhD9ah4JHRwMLOgmizw==",
    ));
}

/// Appendix B.4: which changes on the way a signature outlives.
#[test]
fn the_transformed_requests_of_the_rfc() {
    let sign = |method: Method, authority, target: &str, headers: &[(&str, &str)]| {
        Request::new(method, authority, target, headers).signed(
            "transform",
            r#"("@method" "@path" "@authority" "accept");created=1618884473;keyid="test-key-ed25519""#,
            "ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/LXlh5QMFFQ6cpLt2m0pmj3NDA==",
        )
    };
    let target = "/demo?name1=Value1&Name2=value2";
    let accept = [("accept", "application/json"), ("accept", "*/*")];
    assert_good(&sign(Method::GET, "example.org", target, &accept));
    let added = format!("{target}&param=added");
    let more = [accept[0], accept[1], ("accept-language", "en-US,en;q=0.5")];
    assert_good(&sign(Method::GET, "example.org", &added, &more));
    let one_line = [
        ("referer", "https://developer.example.org/demo"),
        ("accept", "application/json, */*"),
    ];
    assert_good(&sign(Method::GET, "example.org", target, &one_line));
    assert_bad(&sign(Method::POST, "example.com", target, &accept));
    assert_bad(&sign(
        Method::GET,
        "example.org",
        target,
        &[accept[1], accept[0]],
    ));
}

/// A request that is signed here and now with the shared secret.
fn signed_with(request: Request, input: &str) -> Request {
    let (path, query) = request.target.split_once('?').expect("a query");
    let message = Message {
        method: &request.method,
        scheme: "https",
        authority: request.authority,
        path,
        query: Some(query),
        headers: &request.headers,
    };
    let text = format!("x={input}");
    let members = dictionary(&text, Twice::Refused).expect("an input");
    let Some((_, Member::List(list))) = members.first() else {
        panic!("no list");
    };
    let (base, _) = signature_base(&message, list).expect("a base");
    let key = aws_lc_rs::hmac::Key::new(
        aws_lc_rs::hmac::HMAC_SHA256,
        &BASE64.decode(SHARED).expect("base64"),
    );
    let signature = BASE64.encode(aws_lc_rs::hmac::sign(&key, base.as_bytes()));
    request.signed("x", input, &signature)
}

fn strict() -> Rules {
    let required = ["@method", "@authority", "@path", "@query"];
    let required = required.iter().filter_map(|name| Component::named(name));
    Rules {
        required: required.collect(),
        is_digest_required: true,
        ..lenient()
    }
}

const FULL: &str = r#"("@method" "@authority" "@path" "@query" "content-digest")"#;
const KEYED: &str = r#";keyid="test-shared-secret""#;

#[test]
fn what_is_not_all_that_is_asked_for_is_refused() {
    let verify = |input: &str, now: i64| {
        signed_with(test_request(), input)
            .verify(&strict(), now)
            .map(|mark| mark.is_some())
    };
    let check = |input: String, now: i64, expected: Result<bool, &str>| {
        assert_eq!(
            verify(&input, now),
            expected.map_err(str::to_owned),
            "{input}"
        );
    };
    let created = format!(";created={CREATED}{KEYED}");
    check(format!("{FULL}{created}"), CREATED, Ok(true));
    check(
        format!(r#"("@target-uri" "@method" "content-digest";key="sha-512"){created}"#),
        CREATED,
        Ok(true),
    );
    check(
        format!("{FULL}{created};alg=\"hmac-sha256\""),
        CREATED,
        Ok(true),
    );
    let refused = |input: String, now, why| check(input, now, Err(why));
    refused(
        format!("{FULL}{created};alg=\"ed25519\""),
        CREATED,
        "the key is not one of \"ed25519\"",
    );
    refused(
        format!("{FULL}{KEYED}"),
        CREATED,
        "it does not say when it was created",
    );
    // Up to the age and the difference of clocks, in both directions, and not a second longer.
    check(format!("{FULL}{created}"), CREATED + 65, Ok(true));
    refused(
        format!("{FULL}{created}"),
        CREATED + 66,
        "it has expired; it was created 66 s ago",
    );
    check(format!("{FULL}{created}"), CREATED - 5, Ok(true));
    refused(
        format!("{FULL}{created}"),
        CREATED - 6,
        "it was created 6 s from now",
    );
    let expires = format!("{FULL}{created};expires={}", CREATED + 10);
    check(expires.clone(), CREATED + 15, Ok(true));
    refused(
        expires,
        CREATED + 16,
        "it has expired; it was created 16 s ago",
    );
    refused(
        format!("{FULL}{created};expires=1;x=1"),
        CREATED,
        "the parameter `x` is not known, or malformed",
    );
    let digest = "it does not cover the digest of the body";
    refused(
        format!(r#"("@method" "@authority" "@path" "@query"){created}"#),
        CREATED,
        digest,
    );
    refused(
        format!(r#"("@method" "@path" "@query" "content-digest"){created}"#),
        CREATED,
        "it does not cover @authority",
    );
    let unknown = "no signature is with a key that is known, and the right tag";
    refused(
        format!("{FULL};created={CREATED};keyid=\"other\""),
        CREATED,
        unknown,
    );
    refused(format!("{FULL};created={CREATED}"), CREATED, unknown);
}

#[test]
fn a_digest_of_no_known_kind_covers_no_body() {
    let mut request = test_request();
    request
        .headers
        .insert("content-digest", HeaderValue::from_static("md5=:AAAA:"));
    let request = signed_with(request, &format!("{FULL};created={CREATED}{KEYED}"));
    let refused = request.verify(&strict(), CREATED);
    assert_eq!(
        refused,
        Err("the digest of the body is of no kind that is verified".into())
    );
}

#[test]
fn one_signature_is_meant_for_the_gateway() {
    let good = || {
        signed_with(
            test_request(),
            &format!("{FULL};created={CREATED}{KEYED};tag=\"a\""),
        )
    };
    let tagged = |tag: &str| Rules {
        tag: Some(tag.into()),
        ..strict()
    };
    assert!(good().verify(&tagged("a"), CREATED).is_ok());
    assert!(good().verify(&tagged("b"), CREATED).is_err());
    // Another's signature stays out of it.
    let mut beside = good();
    beside.add("signature-input", r#"y=();created=1;keyid="other""#);
    beside.add("signature", "y=:AAAA:");
    assert!(beside.verify(&strict(), CREATED).is_ok());
    let check = |input: &str, signature: &str| {
        let mut request = good();
        request.add("signature-input", input);
        request.add("signature", signature);
        assert!(
            request.verify(&strict(), CREATED).is_err(),
            "{input} {signature}"
        );
    };
    // Two of ours, one label twice, and labels that have no other half.
    check(&format!("y={FULL};created={CREATED}{KEYED}"), "y=:AAAA:");
    check(&format!("x={FULL};created={CREATED}{KEYED}"), "x=:AAAA:");
    check("y=()", "z=:AAAA:");
    check("y=1", "y=:AAAA:");
    check("y=()", "y=1");
    check("y=()", "y=:AAAA:;a");
    check("y=(", "y=:AAAA:");
    for missing in [SIGNATURE, SIGNATURE_INPUT] {
        let mut request = good();
        request.headers.remove(missing);
        assert!(request.verify(&strict(), CREATED).is_err());
    }
    assert_eq!(test_request().verify(&strict(), CREATED), Ok(None));
}

#[test]
fn what_is_shown_again_has_the_mark_of_the_first() {
    let mark = |input: String| {
        let request = signed_with(test_request(), &input);
        request
            .verify(&strict(), CREATED)
            .expect("it is good")
            .expect("it is signed")
    };
    let with = |more: &str| mark(format!("{FULL};created={CREATED}{KEYED}{more}"));
    assert_eq!(with(""), with(""));
    assert_ne!(with(""), with(";tag=\"a\""));
    assert_eq!(with(";nonce=\"n\""), with(";tag=\"a\";nonce=\"n\""));
    assert_ne!(with(";nonce=\"n\""), with(";nonce=\"m\""));
}
