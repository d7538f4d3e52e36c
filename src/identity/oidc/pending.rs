//! A login that has begun and has not come back yet. All that is known of it is in a cookie of the browser, sealed,
//! so that logins that never come back cost nothing and any node can finish what another one has begun.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use subtle::ConstantTimeEq as _;

use super::cookie::{self, Cookies, Shown};
use super::seal::Sealer;

/// How long a person may take at the provider, in seconds.
pub const LIFETIME: u64 = 600;
/// How far the clock of the gateway that a login began at may be ahead of this one's, in seconds.
const AHEAD: u64 = 60;
/// How many logins a browser may have begun: so many tabs.
const MOST: usize = 5;
/// A longer target is cut back, since browsers take no larger cookies than 4 KiB.
const LONGEST_TARGET: usize = 1500;

const SEED: usize = 32;

/// A login that has begun.
#[derive(Debug, PartialEq)]
pub struct Pending {
    /// What everything else is drawn from.
    seed: [u8; SEED],
    /// Unix seconds.
    began: u64,
    /// The path and query to go to afterwards.
    target: Box<str>,
}

impl Pending {
    pub fn begin(seed: [u8; SEED], now: u64, target: &str) -> Pending {
        let target = match target {
            target if target.len() <= LONGEST_TARGET => target,
            target => target
                .split('?')
                .next()
                .filter(|path| path.len() <= LONGEST_TARGET)
                .unwrap_or("/"),
        };
        Pending {
            seed,
            began: now,
            target: target.into(),
        }
    }

    /// What comes back with the browser, and so says which login it is (RFC 6749 section 4.1.1).
    pub fn state(&self) -> String {
        self.drawn("state")
    }

    /// What the ID token must say (OpenID Connect Core section 3.1.2.1).
    pub fn nonce(&self) -> String {
        self.drawn("nonce")
    }

    /// Who redeems the code must know it (RFC 7636 section 4.1).
    pub fn verifier(&self) -> String {
        self.drawn("verifier")
    }

    /// What is told of the verifier beforehand, by the method `S256`.
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier().as_bytes()))
    }

    pub fn target(&self) -> &str {
        &self.target
    }

    fn drawn(&self, what: &str) -> String {
        let text = [what.as_bytes(), &self.seed].concat();
        URL_SAFE_NO_PAD.encode(digest(&SHA256, &text))
    }

    /// The cookie that keeps it.
    pub fn cookie(&self, cookies: &Cookies, sealer: &Sealer) -> Option<HeaderValue> {
        let text = [
            &self.seed[..],
            &self.began.to_be_bytes(),
            self.target.as_bytes(),
        ]
        .concat();
        let sealed = URL_SAFE_NO_PAD.encode(sealer.seal(&text).ok()?);
        cookies.set(&cookies.login(&self.state()), &sealed, LIFETIME)
    }

    /// The login that this `state` is of, where this very browser has begun it, and not too long ago.
    pub fn find(
        headers: &HeaderMap,
        state: &str,
        now: u64,
        (cookies, sealer): (&Cookies, &Sealer),
    ) -> Option<Pending> {
        let Shown::One(value) = cookie::find(headers, &cookies.login(state)) else {
            return None;
        };
        let pending = open(value, sealer)?;
        let is_this = pending.state().as_bytes().ct_eq(state.as_bytes());
        let is_in_time = pending.began <= now.saturating_add(AHEAD)
            && now.saturating_sub(pending.began) <= LIFETIME;
        (bool::from(is_this) && is_in_time).then_some(pending)
    }

    /// Which cookies have to go so that one more login has room: those that open no more, then the oldest.
    pub fn surplus(headers: &HeaderMap, cookies: &Cookies, sealer: &Sealer) -> Vec<HeaderValue> {
        let prefix = cookies.logins().as_bytes();
        let begun = cookie::all(headers).filter(|(name, _)| name.starts_with(prefix));
        let mut begun: Vec<_> = begun.take(4 * MOST).collect();
        if begun.len() < MOST {
            return Vec::new();
        }
        begun.sort_by_cached_key(|(_, value)| open(value, sealer).map_or(0, |login| login.began));
        begun.truncate(begun.len() + 1 - MOST);
        let names = begun
            .iter()
            .filter_map(|(name, _)| std::str::from_utf8(name).ok());
        names.filter_map(|name| cookies.clear(name)).collect()
    }
}

fn open(value: &[u8], sealer: &Sealer) -> Option<Pending> {
    let mut sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
    let text = sealer.open(&mut sealed)?;
    let (seed, rest) = text.split_first_chunk::<SEED>()?;
    let (began, target) = rest.split_first_chunk::<8>()?;
    Some(Pending {
        seed: *seed,
        began: u64::from_be_bytes(*began),
        target: std::str::from_utf8(target).ok()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::seal::KeyRing;
    use super::*;

    fn sealer() -> Sealer {
        let ring = KeyRing::new("main", [&[7u8; 32][..]]);
        ring.sealer("login", b"").expect("a key")
    }

    fn headers(set: &[HeaderValue]) -> HeaderMap {
        let pairs = set
            .iter()
            .map(|it| it.to_str().expect("ASCII").split(';').next().unwrap_or(""));
        let line = pairs.collect::<Vec<_>>().join("; ");
        let mut headers = HeaderMap::new();
        headers.insert("cookie", line.parse().expect("a value"));
        headers
    }

    #[test]
    fn it_comes_back_to_who_began_it_and_in_time() {
        let (cookies, sealer) = (Cookies::new("main", true), sealer());
        let login = Pending::begin([1; 32], 1000, "/a?b=c");
        let other = Pending::begin([2; 32], 1000, "/");
        let browser = headers(&[login.cookie(&cookies, &sealer).expect("sealed")]);
        let find = |headers: &HeaderMap, state: &str, now| {
            Pending::find(headers, state, now, (&cookies, &sealer))
        };
        let state = login.state();
        assert_eq!(find(&browser, &state, 1000).as_ref(), Some(&login));
        assert_eq!(find(&browser, &state, 1600).as_ref(), Some(&login));
        assert_eq!(find(&browser, &state, 1601), None, "too late");
        // The clock of another gateway may be ahead.
        assert_eq!(find(&browser, &state, 940).as_ref(), Some(&login));
        assert_eq!(find(&browser, &state, 939), None, "from the future");
        assert_eq!(find(&browser, &other.state(), 1000), None, "another login");
        assert_eq!(
            find(&HeaderMap::new(), &state, 1000),
            None,
            "another browser"
        );
        // The cookie of one login under the name of another's.
        let value = login.cookie(&cookies, &sealer).expect("sealed");
        let value = value
            .to_str()
            .expect("ASCII")
            .replace(&state[..8], &other.state()[..8]);
        let swapped = headers(&[value.parse().expect("a value")]);
        assert_eq!(find(&swapped, &other.state(), 1000), None, "swapped");
        let similar = format!("{}{}", &state[..8], &other.state()[8..]);
        assert_eq!(find(&browser, &similar, 1000), None, "the same beginning");
    }

    #[test]
    fn what_is_drawn_differs_and_fits_the_rules() {
        let login = Pending::begin([1; 32], 0, "/");
        let drawn = [
            login.state(),
            login.nonce(),
            login.verifier(),
            login.challenge(),
        ];
        for (index, one) in drawn.iter().enumerate() {
            // RFC 7636 section 4.1: 43 to 128 unreserved characters.
            assert_eq!(one.len(), 43);
            assert!(!drawn[..index].contains(one));
        }
        assert_ne!(login.state(), Pending::begin([2; 32], 0, "/").state());
    }

    #[test]
    fn targets_fit_into_a_cookie() {
        let target = |text: &str| Pending::begin([1; 32], 0, text).target().to_owned();
        assert_eq!(target("/a?b"), "/a?b");
        assert_eq!(target(&format!("/a?{}", "b".repeat(1500))), "/a");
        assert_eq!(target(&format!("/{}", "a".repeat(1500))), "/");
        let (cookies, sealer) = (Cookies::new(&"n".repeat(63), true), sealer());
        let longest = Pending::begin([1; 32], 0, &format!("/{}", "a".repeat(1499)));
        assert!(longest.cookie(&cookies, &sealer).expect("sealed").len() < 4096);
    }

    #[test]
    fn a_browser_has_so_many_and_loses_the_oldest() {
        let (cookies, sealer) = (Cookies::new("main", true), sealer());
        let logins: Vec<_> = (0..5)
            .map(|n| Pending::begin([n; 32], 100 - u64::from(n), "/"))
            .collect();
        let set: Vec<_> = logins
            .iter()
            .map(|it| it.cookie(&cookies, &sealer).expect("sealed"))
            .collect();
        assert_eq!(
            Pending::surplus(&headers(&set[..4]), &cookies, &sealer).len(),
            0
        );
        let cleared = Pending::surplus(&headers(&set), &cookies, &sealer);
        let oldest = cookies
            .clear(&cookies.login(&logins[4].state()))
            .expect("a value");
        assert_eq!(cleared, [oldest]);
        let foreign = "__Host-northgate-login-main~xxxxxxxx=junk"
            .parse()
            .expect("a value");
        let with_junk = headers(&[&set[..4], &[foreign]].concat());
        let cleared = Pending::surplus(&with_junk, &cookies, &sealer);
        assert!(cleared[0].to_str().expect("ASCII").contains("xxxxxxxx"));
    }
}
