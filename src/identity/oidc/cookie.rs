//! Cookies (RFC 6265): finding them in a request and writing them into a response.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// What a request shows under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown<'h> {
    Nothing,
    One(&'h [u8]),
    /// Nobody can say which of them is meant: another host of the same domain may have set one of them.
    Several,
}

/// Every cookie of a request, as name and value.
pub fn all(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs.filter_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        let (name, value) = pair.split_at_checked(equals)?;
        Some((name, value.get(1..)?))
    })
}

pub fn find<'h>(headers: &'h HeaderMap, name: &str) -> Shown<'h> {
    let mut values = all(headers).filter(|(other, _)| *other == name.as_bytes());
    match (values.next(), values.next()) {
        (None, _) => Shown::Nothing,
        (Some((_, value)), None) => Shown::One(value),
        (Some(_), Some(_)) => Shown::Several,
    }
}

/// How the cookies of one provider are called and guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookies {
    session: Box<str>,
    login: Box<str>,
    is_secure: bool,
}

/// How much of a login's `state` is in the name of its cookie, so that several logins at once have one each.
const MARK: usize = 8;

impl Cookies {
    /// Names of providers have no `~`, so that no cookie of one of them is taken for one of another.
    ///
    /// Where browsers come by https, names begin with `__Host-`: browsers take such a cookie only over TLS, of this
    /// very host and for all its paths, so that no other host of the domain can put one in its place.
    pub fn new(provider: &str, is_secure: bool) -> Cookies {
        let prefix = if is_secure { "__Host-" } else { "" };
        Cookies {
            session: format!("{prefix}northgate-{provider}").into(),
            login: format!("{prefix}northgate-login-{provider}~").into(),
            is_secure,
        }
    }

    /// The name of the session's cookie.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// What the names of cookies of logins that have begun start with.
    pub fn logins(&self) -> &str {
        &self.login
    }

    /// The name of the cookie of a login with this `state`.
    pub fn login(&self, state: &str) -> String {
        let mark = state.get(..MARK).unwrap_or(state);
        format!("{}{mark}", self.login)
    }

    /// `lifetime` in seconds. `Lax`, since a login comes back by a link of another site; a request that another site
    /// has a browser make beneath a page goes without it.
    pub fn set(&self, name: &str, value: &str, lifetime: u64) -> Option<HeaderValue> {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let text =
            format!("{name}={value}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).ok()
    }

    /// Has the browser forget it.
    pub fn clear(&self, name: &str) -> Option<HeaderValue> {
        self.set(name, "", 0)
    }
}

/// The cookies of all providers. They are between browsers and the gateway: an upstream that had one could come in as
/// the person whose it is, so none gets any, whichever route a browser has sent it to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnCookies(Vec<Cookies>);

impl OwnCookies {
    /// Adds those of a provider.
    pub fn add(&mut self, cookies: &Cookies) {
        if !self.0.contains(cookies) {
            self.0.push(cookies.clone());
        }
    }

    /// Adds those that were there before.
    pub fn extend(&mut self, before: &OwnCookies) {
        before.0.iter().for_each(|cookies| self.add(cookies));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a cookie of this name is one of them.
    pub fn has(&self, name: &[u8]) -> bool {
        let is_of =
            |it: &Cookies| *it.session.as_bytes() == *name || name.starts_with(it.login.as_bytes());
        self.0.iter().any(is_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: Shown<'static>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, line.parse().expect("a header value"));
        }
        assert_eq!(find(&headers, "a"), expected, "{lines:?}");
    }

    #[test]
    fn one_or_nothing() {
        check(&[], Shown::Nothing);
        check(&[""], Shown::Nothing);
        check(&["a"], Shown::Nothing);
        check(&["b=1; ab=2; A=3"], Shown::Nothing);
        check(&["a=1"], Shown::One(b"1"));
        check(&["b=2;a=1 ;c=3"], Shown::One(b"1"));
        check(&["b=2", "a=x=y"], Shown::One(b"x=y"));
        check(&["a="], Shown::One(b""));
        check(&["a=1; a=1"], Shown::Several);
        check(&["a=1", "a=2"], Shown::Several);
        check(&["b=\"; a=1"], Shown::One(b"1"));
    }

    #[test]
    fn they_are_guarded() {
        let secure = Cookies::new("main", true);
        assert_eq!(
            secure.set(secure.session(), "x", 60).expect("a value"),
            "__Host-northgate-main=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            secure.login("0123456789"),
            "__Host-northgate-login-main~01234567"
        );
        // Whatever two providers are called.
        let names = [
            "main",
            "main-x",
            "login-main",
            "login-main-01234567",
            "login-main.01234567",
        ];
        for (one, other) in names
            .iter()
            .flat_map(|one| names.map(|other| (*one, other)))
        {
            let (one, other) = (Cookies::new(one, true), Cookies::new(other, true));
            let login = other.login("0123456789");
            assert_eq!(login.starts_with(one.logins()), one == other, "{login}");
            assert!(!other.session().starts_with(one.logins()), "{other:?}");
            assert_ne!(login, one.session());
        }
        let open = Cookies::new("main", false);
        assert_eq!(
            open.clear(open.session()).expect("a value"),
            "northgate-main=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn own_ones_are_known_by_their_names() {
        let mut own = OwnCookies::default();
        assert!(own.is_empty() && !own.has(b"") && !own.has(b"northgate-main"));
        own.add(&Cookies::new("main", true));
        let mut later = OwnCookies::default();
        later.add(&Cookies::new("staff", false));
        later.extend(&own);
        later.extend(&own);
        assert_eq!(later.0.len(), 2);
        for (name, expected) in [
            ("__Host-northgate-main", true),
            ("__Host-northgate-login-main~0123abcd", true),
            ("northgate-staff", true),
            ("northgate-login-staff~", true),
            ("__Host-northgate-staff", false),
            ("__host-northgate-main", false),
            ("__Host-northgate-mainly", false),
            ("__Host-northgate-login-main", false),
            ("northgate-main", false),
            ("theme", false),
        ] {
            assert_eq!(later.has(name.as_bytes()), expected, "{name}");
        }
    }
}
