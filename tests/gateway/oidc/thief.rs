//! Somebody who has read everything but what browsers keep.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::shared::change_of;
use super::*;

/// Seals and opens as a gateway of the configuration does, with its key, for one purpose.
struct Sealing {
    id: [u8; 4],
    cipher: RandomizedNonceKey,
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Sealing {
    fn of(purpose: &str, context: &[u8]) -> Sealing {
        let root = Salt::new(HKDF_SHA256, b"northgate oidc 1 main").extract(KEY.as_bytes());
        let purpose: [&[u8]; 3] = [purpose.as_bytes(), &[0], context];
        let derived = root.expand(&purpose, Length(36)).expect("a key");
        let mut key = [0; 36];
        derived.fill(&mut key).expect("a key");
        let (id, key) = key.split_at(4);
        Sealing {
            id: id.try_into().expect("four bytes"),
            cipher: RandomizedNonceKey::new(&AES_256_GCM_SIV, key).expect("a key"),
        }
    }

    /// As the value of a cookie.
    fn seal(&self, text: &[u8]) -> String {
        let mut body = text.to_vec();
        let nonce = self
            .cipher
            .seal_in_place_append_tag(Aad::from(self.id), &mut body)
            .expect("it is sealed");
        BASE64.encode([&self.id[..], nonce.as_ref(), &body].concat())
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut rest = sealed.strip_prefix(&self.id)?.to_vec();
        let (nonce, body) = rest.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.cipher.open_in_place(nonce, Aad::from(self.id), body);
        Some(opened.ok()?.to_vec())
    }
}

/// The strings in answers of Redis, one after the other.
fn strings(mut dump: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(end) = dump.windows(2).position(|two| two == b"\r\n") {
        let line = String::from_utf8_lossy(&dump[..end]).into_owned();
        dump = &dump[end + 2..];
        let length = line
            .strip_prefix('$')
            .and_then(|it| it.parse::<usize>().ok());
        if let Some(length) = length {
            all.push(dump[..length].to_vec());
            dump = &dump[length + 2..];
        }
    }
    all
}

async fn status(gateway: &Gateway, cookie: &str) -> u16 {
    let ask = get("/account/x")
        .host(HOST)
        .header("cookie", &format!("{SESSION}={cookie}"));
    gateway.http1().send(ask).await.status
}

#[tokio::test]
async fn a_copy_of_everything_but_the_browser_is_no_session() {
    let redis = Redis::start().await;
    let (session, sections) = change_of(&redis.url(), "refuse");
    let change = || Change {
        session: Some(&session),
        sections: &sections,
        ..Change::default()
    };
    let shop = Shop::with(change()).await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    // All that a thief may have read: the store, the configuration with its secrets, the log.
    let dump = redis.dump().await;
    let text = String::from_utf8_lossy(&dump).into_owned();
    assert!(text.contains("northgate:{oidc:main}:session:"), "{text}");
    for secret in ["alice", "acme", "eyJ", "refresh", "access", "web-secret"] {
        assert!(!text.contains(secret), "{secret} stands in the store");
    }
    let cookie = browser.cookie(SESSION).expect("a session").to_owned();
    assert!(!text.contains(&cookie));
    for line in shop.gateway.log() {
        assert!(!line.to_string().contains(&cookie), "{line}");
    }
    let found = strings(&dump);
    let names: Vec<Vec<u8>> = found
        .iter()
        .filter_map(|it| {
            let last = it.rsplit(|&byte| byte == b':').next()?;
            BASE64.decode(last).ok().filter(|name| name.len() == 32)
        })
        .collect();
    assert!(names.len() >= 3, "{text}");
    let values: Vec<&Vec<u8>> = found.iter().filter(|it| it.len() > 200).collect();
    assert_eq!(values.len(), 1, "one session");

    // He knows how it is done: what the browser keeps, and he has not, would open all of it.
    let another = shop.again(change()).await;
    let cookies = Sealing::of("session cookie", b"");
    let id = BASE64.decode(&cookie).expect("base64");
    let id = cookies.open(&id).expect("it was sealed with the key");
    assert_eq!(status(&another, &cookies.seal(&id)).await, 200);
    let of_id = Sealing::of("session in a store", &id);
    let record = of_id.open(values[0]).expect("it was sealed for the id");
    assert!(String::from_utf8_lossy(&record).contains("alice"));

    // But nothing that he has does, at the gateway that remembers the session, at one that has just been started with
    // the same store, and at one without a store.
    let fresh = shop.again(change()).await;
    let alone = shop.again(Change::default()).await;
    let secrets = [KEY.as_bytes()[..32].to_vec(), vec![0; 32]];
    let mut tried = 0;
    for own in names.iter().chain(&secrets).chain(values.iter().copied()) {
        assert_ne!(*own, id);
        assert_eq!(Sealing::of("session in a store", own).open(values[0]), None);
        for shown in [cookies.seal(own), of_id.seal(own), BASE64.encode(own)] {
            for gateway in [&shop.gateway, &another, &fresh, &alone] {
                assert_eq!(status(gateway, &shown).await, 401, "{shown}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 60, "{tried}");
    assert_eq!(Sealing::of("session in a store", b"").open(values[0]), None);
    assert_eq!(browser.fetch(&alone, "/account/x").await.status, 401);
    assert_eq!(browser.fetch(&fresh, "/account/x").await.status, 200);
}
