//! For how long, and for whom, an answer is good that is made of others: the strictest of what each says of itself.

use std::time::{Duration, UNIX_EPOCH};

use http::header::{CACHE_CONTROL, DATE, EXPIRES};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::cache::rfc::{Extent, Given, Lifetime, ResponseDirectives, Vary, initial_age};
use crate::text::mix;

/// What all parts together allow. It starts with everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Strictest {
    /// How many have said something of themselves.
    parts: usize,
    /// How many of these have said for how long they are good.
    timed: usize,
    public: usize,
    /// How many have said how long caches of many may keep them.
    shared: usize,
    no_store: bool,
    private: bool,
    no_cache: bool,
    must_revalidate: bool,
    proxy_revalidate: bool,
    no_transform: bool,
    /// In seconds, as all that follow, from now on.
    max_age: Least,
    shared_age: Least,
    while_revalidate: Least,
    if_error: Least,
    vary: Vec<HeaderName>,
    varies_by_anything: bool,
}

/// The least of what was said, and how many have said it.
#[derive(Clone, Copy, Debug, Default)]
struct Least {
    seconds: Option<u64>,
    said: usize,
}

impl Least {
    fn add(&mut self, seconds: Option<u64>) {
        if let Some(seconds) = seconds {
            self.said += 1;
            self.seconds = Some(self.seconds.map_or(seconds, |least| least.min(seconds)));
        }
    }

    /// Where all have said something.
    fn of_all(self, parts: usize) -> Option<u64> {
        self.seconds.filter(|_| self.said == parts)
    }
}

impl Strictest {
    /// What does not depend on any answer: headers of the client that are passed on.
    pub(super) fn varies_by(&mut self, names: &[HeaderName]) {
        self.vary.extend(names.iter().cloned());
    }

    /// Adds that what there is depends on who calls.
    pub(super) fn is_for_caller(&mut self) {
        self.private = true;
    }

    /// Adds what a part says of its answer. `is_of_caller` where that was asked for in somebody's name: then the whole is for nobody
    /// else, whatever the part says. It may be for all who ask for the part by its URL; by that of the whole they get others.
    pub(super) fn add(&mut self, status: StatusCode, headers: &HeaderMap, is_of_caller: bool) {
        let said = ResponseDirectives::of(headers, &[]);
        self.parts += 1;
        self.no_store |= said.no_store;
        self.private |= said.private != Extent::No;
        self.no_cache |= said.no_cache != Extent::No;
        self.must_revalidate |= said.must_revalidate;
        self.proxy_revalidate |= said.proxy_revalidate;
        self.no_transform |= has_no_transform(headers);
        self.public += usize::from(said.public);
        self.private |= is_of_caller;
        self.shared += usize::from(said.s_maxage.is_some());
        // What it has been on its way for is over; a clock is not needed, since whoever has kept it says so.
        let age = initial_age(headers, UNIX_EPOCH, Duration::ZERO).as_secs();
        let left = |seconds: Option<u64>| seconds.map(|seconds| seconds.saturating_sub(age));
        let max_age = said.max_age.or_else(|| by_date(status, headers, &said));
        self.timed += usize::from(max_age.is_some());
        self.max_age.add(left(max_age));
        self.shared_age.add(left(said.s_maxage.or(max_age)));
        self.while_revalidate.add(said.stale_while_revalidate);
        self.if_error.add(said.stale_if_error);
        match Vary::of(headers) {
            Vary::Anything => self.varies_by_anything = true,
            vary => self.vary.extend(vary.names().iter().cloned()),
        }
    }

    /// `Cache-Control`; `None` where nobody has said anything.
    pub(super) fn cache_control(&self) -> Option<HeaderValue> {
        if self.no_store {
            return Some(HeaderValue::from_static("no-store"));
        }
        let mut words: Vec<String> = Vec::new();
        let mut say = |is_so: bool, word: &str| {
            if is_so {
                words.push(word.to_owned());
            }
        };
        say(self.private, "private");
        let is_public = self.public > 0 && self.public == self.parts && !self.private;
        say(is_public, "public");
        // Of a part that says nothing nobody knows that it may be used again.
        let is_unsure = self.timed > 0 && self.timed < self.parts;
        let no_cache = self.no_cache || is_unsure;
        say(no_cache, "no-cache");
        if !no_cache {
            let max_age = self.max_age.of_all(self.parts);
            let shared = self.shared_age.of_all(self.parts);
            let shared = shared.filter(|_| !self.private && shared != max_age);
            // Said of the whole it lets caches keep what was asked for with credentials (RFC 9111 section 3.5), which not every
            // part has allowed.
            let may_say = is_public || self.shared == self.parts;
            let (max_age, shared) = match shared {
                Some(shared) if !may_say => (max_age.map(|it| it.min(shared)), None),
                shared => (max_age, shared),
            };
            let while_revalidate = self.while_revalidate.of_all(self.parts);
            let times = [
                ("max-age", max_age),
                ("s-maxage", shared),
                ("stale-while-revalidate", while_revalidate),
                ("stale-if-error", self.if_error.of_all(self.parts)),
            ];
            for (name, seconds) in times {
                words.extend(seconds.map(|seconds| format!("{name}={seconds}")));
            }
        }
        let mut say = |is_so: bool, word: &str| {
            if is_so {
                words.push(word.to_owned());
            }
        };
        say(self.must_revalidate, "must-revalidate");
        say(self.proxy_revalidate && !self.private, "proxy-revalidate");
        say(self.no_transform, "no-transform");
        let text = words.join(", ");
        let is_said = !text.is_empty();
        is_said.then(|| HeaderValue::try_from(text).ok())?
    }

    /// `Vary`; `None` where there is nothing that it varies by.
    pub(super) fn vary(mut self) -> Option<HeaderValue> {
        if self.varies_by_anything {
            return Some(HeaderValue::from_static("*"));
        }
        self.vary
            .sort_by(|one, other| one.as_str().cmp(other.as_str()));
        self.vary.dedup();
        let names: Vec<&str> = self.vary.iter().map(HeaderName::as_str).collect();
        let is_said = !names.is_empty();
        is_said.then(|| HeaderValue::try_from(names.join(", ")).ok())?
    }
}

/// By `Expires`, which counts from `Date` (RFC 9111 section 4.2.1). `None` where it does not say.
fn by_date(status: StatusCode, headers: &HeaderMap, said: &ResponseDirectives) -> Option<u64> {
    if !headers.contains_key(EXPIRES) || said.s_maxage.is_some() {
        return None;
    }
    if !headers.contains_key(DATE) {
        return Some(0);
    }
    let life = Lifetime::of(status, headers, said, UNIX_EPOCH, &Given::default());
    Some(life.fresh.as_secs())
}

fn has_no_transform(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let mut words = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// A strong entity tag (RFC 9110 section 8.8.3): the same bytes have the same tag on every gateway. Whoever chooses what
/// upstreams say can make two answers have the same tag, and deceives nobody but the caches of who asks for them.
pub(super) fn entity_tag(body: &[u8]) -> Option<HeaderValue> {
    let (words, rest) = body.as_chunks::<8>();
    let mut hash = words.iter().fold(0x9e37_79b9_7f4a_7c15, |hash, word| {
        mix(hash ^ u64::from_le_bytes(*word))
    });
    for byte in rest {
        hash = mix(hash ^ u64::from(*byte));
    }
    HeaderValue::try_from(format!("\"{:016x}-{:x}\"", mix(hash), body.len())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn strictest(parts: &[&[&str]], is_of_caller: bool) -> Strictest {
        let mut strictest = Strictest::default();
        for lines in parts {
            strictest.add(StatusCode::OK, &headers(lines), is_of_caller);
        }
        strictest
    }

    #[test]
    fn the_strictest_counts() {
        let check = |parts: &[&[&str]], is_of_caller: bool, expected: &str| {
            let check_order = |parts: &[&[&str]]| {
                let value = strictest(parts, is_of_caller).cache_control();
                let value = value.as_ref().map_or("", |value| value.to_str().unwrap());
                assert_eq!(value, expected, "{parts:?}");
            };
            check_order(parts);
            check_order(&parts.iter().rev().copied().collect::<Vec<_>>());
        };
        check(&[], false, "");
        check(&[&[], &[]], false, "");
        check(&[&["cache-control: max-age=60"]], false, "max-age=60");
        check(
            &[
                &["cache-control: max-age=60"],
                &["cache-control: max-age=5, must-revalidate"],
            ],
            false,
            "max-age=5, must-revalidate",
        );
        check(&[&["cache-control: max-age=60"], &[]], false, "no-cache");
        check(
            &[&["cache-control: max-age=60"], &["cache-control: no-store"]],
            false,
            "no-store",
        );
        check(
            &[
                &["cache-control: public, max-age=60"],
                &["cache-control: private, max-age=9"],
            ],
            false,
            "private, max-age=9",
        );
        check(
            &[
                &["cache-control: public, max-age=60"],
                &["cache-control: public, s-maxage=5, max-age=90"],
            ],
            false,
            "public, max-age=60, s-maxage=5",
        );
        check(
            &[&["cache-control: max-age=60", "age: 50"]],
            false,
            "max-age=10",
        );
        check(
            &[&["cache-control: max-age=60", "age: 70"]],
            false,
            "max-age=0",
        );
        check(
            &[&["cache-control: no-cache=\"x\", max-age=1"]],
            false,
            "no-cache",
        );
        check(
            &[&["cache-control: private=\"set-cookie\", max-age=1"]],
            false,
            "private, max-age=1",
        );
        check(
            &[
                &["cache-control: max-age=1, stale-while-revalidate=9, stale-if-error=8"],
                &["cache-control: max-age=1, stale-while-revalidate=7, No-Transform"],
            ],
            false,
            "max-age=1, stale-while-revalidate=7, no-transform",
        );
        let date = "date: Sun, 06 Nov 1994 08:49:37 GMT";
        let later = "expires: Sun, 06 Nov 1994 08:50:37 GMT";
        check(&[&[date, later]], false, "max-age=60");
        check(&[&[later]], false, "max-age=0");
        check(&[&["expires: 0", date]], false, "max-age=0");
        // What was asked for in somebody's name is theirs.
        check(
            &[&["cache-control: max-age=60"]],
            true,
            "private, max-age=60",
        );
        check(&[&[]], true, "private");
        check(
            &[&["cache-control: public, max-age=60"]],
            true,
            "private, max-age=60",
        );
        // Caches of many may have it only for as long as one says, and not for what was asked for with credentials.
        check(
            &[
                &["cache-control: max-age=60"],
                &["cache-control: s-maxage=5, max-age=90"],
            ],
            false,
            "max-age=5",
        );
    }

    #[test]
    fn what_it_varies_by() {
        let check = |parts: &[&[&str]], expected: &str| {
            let mut strictest = strictest(parts, false);
            strictest.varies_by(&[HeaderName::from_static("x-own")]);
            let value = strictest.vary().unwrap();
            assert_eq!(value, expected, "{parts:?}");
        };
        check(&[], "x-own");
        check(
            &[&["vary: Accept, x-own"], &["vary: accept-language"], &[]],
            "accept, accept-language, x-own",
        );
        check(&[&["vary: a"], &["vary: *"]], "*");
        assert_eq!(strictest(&[&[]], false).vary(), None);
    }

    #[test]
    fn other_bytes_have_another_tag() {
        let bodies: Vec<Vec<u8>> = (0..40)
            .flat_map(|length| [vec![0; length], vec![b'a'; length]])
            .collect();
        let tags: std::collections::HashSet<_> = bodies
            .iter()
            .map(|body| entity_tag(body).unwrap())
            .collect();
        assert_eq!(tags.len(), bodies.len() - 1);
        // Worked out by another program: gateways of other versions say the same.
        assert_eq!(
            entity_tag(b"{\"a\":1,\"b\":2}").unwrap(),
            "\"b1cc150898bd8c9d-d\""
        );
    }
}
