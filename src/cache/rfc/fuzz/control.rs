//! `Cache-Control`, read by a grammar as well, `CDN-Cache-Control`, read by others as well, and what comes of both.

use std::mem::discriminant;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, StatusCode};
use regex::bytes::Regex;
use sfv::{BareItem, ListEntry};

use super::super::date::{date, parse};
use super::super::{
    Extent, Given, Judgement, Lifetime, RequestDirectives, ResponseDirectives, initial_age,
};
use super::{headers, lines};
use crate::text::fuzz::fuzz;

const WORDS: [&str; 48] = [
    "cache-control: ",
    "cdn-cache-control: ",
    "pragma: ",
    "expires: ",
    "date: ",
    "age: ",
    "last-modified: ",
    "\n",
    ",",
    ", ",
    "=",
    " = ",
    "\"",
    "\\",
    "\\\"",
    ";",
    "\t",
    "no-store",
    "No-Store",
    "no-cache",
    "private",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "only-if-cached",
    "max-age=",
    "s-maxage=",
    "min-fresh=",
    "max-stale",
    "stale-while-revalidate=",
    "stale-if-error=",
    "set-cookie",
    "x-a, x-b",
    "\"x-a\"",
    "60",
    "2147483648",
    "99999999999999999999",
    "-1",
    "1.5",
    "?0",
    "?1",
    "(a b)",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:50:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Thu, 01 Jan 1970 00:00:00 GMT",
];

const MOST_SECONDS: u64 = 1 << 31;
const DAY: Duration = Duration::from_secs(86_400);
/// No date of HTTP is later than the year 9999, or before 1970.
const LONGEST: Duration = Duration::from_secs(253_402_300_800);

/// A directive and its value.
type Directive = (Vec<u8>, Option<Vec<u8>>);

#[test]
fn fuzz_cache_control() {
    let target = [HeaderName::from_static("cdn-cache-control")];
    let received = parse("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    fuzz("cache_control", &WORDS, |input| {
        let headers = headers(input);
        let plain = ResponseDirectives::of(&headers, &[]);
        let request = RequestDirectives::of(&headers);
        let counts = ResponseDirectives::of(&headers, &target);
        check_plain(&headers, &plain, &request);
        check_no_store_stays(&headers);
        check_targeted(&headers, &plain, &counts);
        let ways = [&plain, &counts].map(|directives| {
            check_lifetime(&headers, directives, received);
            check_judgements(&headers, directives, &request, received)
        });
        let age = initial_age(&headers, received, Duration::from_secs(2));
        let flags = [plain.no_store, counts.is_targeted, counts.no_store];
        let wants = [request.max_age, request.min_fresh, request.max_stale];
        let numbers = [plain.max_age, plain.s_maxage, Some(age.as_secs())];
        let seconds = [wants, numbers].map(|all| all.map(|it| it.map(|it| it.min(4))));
        (
            ways.map(|way| way.map(|judgement| discriminant(&judgement))),
            flags,
            seconds,
        )
    });
}

/// What can be read is what the grammar says, and of the rest the strictest that it could be.
fn check_plain(headers: &HeaderMap, response: &ResponseDirectives, request: &RequestDirectives) {
    let lines = lines(headers, CACHE_CONTROL.as_str());
    let read: Option<Vec<_>> = lines.iter().map(|line| by_grammar(line)).collect();
    let Some(read) = read else {
        let pieces = lines
            .iter()
            .flat_map(|line| line.split(|&byte| byte == b','));
        let names = pieces.filter_map(|piece| piece.split(|&byte| byte == b'=').next());
        for name in names {
            let name = name.trim_ascii().to_ascii_lowercase();
            let is_heard = match &name[..] {
                b"no-store" => response.no_store && request.no_store,
                b"private" => response.private != Extent::No,
                b"no-cache" => response.no_cache != Extent::No && request.no_cache,
                b"must-revalidate" => response.must_revalidate,
                b"max-age" => response.max_age.is_some() && request.max_age.is_some(),
                _ => true,
            };
            assert!(is_heard, "{} of {lines:?}", name.escape_ascii());
        }
        return;
    };
    let directives = read.concat();
    assert_eq!(*response, response_of(&directives));
    if !lines.is_empty() {
        assert_eq!(*request, request_of(&directives));
    }
}

/// One line, by RFC 9111 section 5.2, with more than that where it is in no quotes. `None` where quotes are in the wrong
/// places: then it is not clear what is in them.
fn by_grammar(line: &[u8]) -> Option<Vec<Directive>> {
    static ELEMENT: LazyLock<Regex> = LazyLock::new(|| {
        let element = concat!(
            r#"(?s-u)^[ \t]*(?<name>[^",=]*?)[ \t]*"#,
            r#"(?:=[ \t]*(?:"(?<quoted>(?:[^"\\]|\\.)*)"|(?<plain>[^",]*?))[ \t]*)?(?:,|$)"#,
        );
        Regex::new(element).unwrap()
    });
    let (mut rest, mut directives) = (line, Vec::new());
    while !rest.is_empty() {
        let element = ELEMENT.captures(rest)?;
        let [name, quoted, plain] = ["name", "quoted", "plain"].map(|part| element.name(part));
        let quoted = quoted.map(|quoted| {
            static ESCAPED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?s-u)\\(.)").unwrap());
            ESCAPED.replace_all(quoted.as_bytes(), &b"$1"[..]).into()
        });
        let name = name.map_or(&[][..], |name| name.as_bytes());
        let value = quoted.or(plain.map(|plain| plain.as_bytes().to_vec()));
        if !name.is_empty() {
            directives.push((name.to_ascii_lowercase(), value));
        }
        rest = &rest[element[0].len()..];
    }
    Some(directives)
}

/// All values of a directive.
fn values<'d>(
    directives: &'d [Directive],
    name: &str,
) -> impl Iterator<Item = Option<&'d [u8]>> + use<'d> {
    let name = name.as_bytes().to_vec();
    let named = directives.iter().filter(move |it| it.0 == name);
    named.map(|(_, value)| value.as_deref())
}

/// Digits, and of the rest what is the strictest.
fn seconds(value: Option<&[u8]>, strictest: u64) -> u64 {
    let text = value.and_then(|value| std::str::from_utf8(value).ok());
    let digits = text.filter(|text| text.chars().all(|letter| letter.is_ascii_digit()));
    match digits {
        None | Some("") => strictest,
        Some(digits) => digits.parse::<u128>().map_or(MOST_SECONDS, |seconds| {
            seconds.min(MOST_SECONDS.into()) as u64
        }),
    }
}

fn extent(directives: &[Directive], name: &str) -> Extent {
    let mut fields = Vec::new();
    let mut is_there = false;
    for value in values(directives, name) {
        is_there = true;
        let names = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        let names = names.split(',').map(|name| name.trim_matches([' ', '\t']));
        let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
        let parsed = names.iter().map(|name| name.parse::<HeaderName>());
        match parsed.collect::<Result<Vec<_>, _>>() {
            Ok(names) if !names.is_empty() => fields.extend(names),
            _ => return Extent::All,
        }
    }
    match is_there {
        true => Extent::Fields(fields.into()),
        false => Extent::No,
    }
}

fn response_of(directives: &[Directive]) -> ResponseDirectives {
    let has = |name| values(directives, name).next().is_some();
    let least = |name| values(directives, name).map(|it| seconds(it, 0)).min();
    ResponseDirectives {
        no_store: has("no-store"),
        private: extent(directives, "private"),
        no_cache: extent(directives, "no-cache"),
        must_revalidate: has("must-revalidate"),
        proxy_revalidate: has("proxy-revalidate"),
        must_understand: has("must-understand"),
        public: has("public"),
        max_age: least("max-age"),
        s_maxage: least("s-maxage"),
        stale_while_revalidate: least("stale-while-revalidate"),
        stale_if_error: least("stale-if-error"),
        is_targeted: false,
    }
}

fn request_of(directives: &[Directive]) -> RequestDirectives {
    let has = |name| values(directives, name).next().is_some();
    let least = |name| values(directives, name).map(|it| seconds(it, 0)).min();
    let stale = values(directives, "max-stale").map(|it| match it {
        None => MOST_SECONDS,
        value => seconds(value, 0),
    });
    let fresh = values(directives, "min-fresh").map(|it| seconds(it, MOST_SECONDS));
    RequestDirectives {
        no_store: has("no-store"),
        no_cache: has("no-cache"),
        only_if_cached: has("only-if-cached"),
        max_age: least("max-age"),
        max_stale: stale.min(),
        min_fresh: fresh.max(),
        stale_if_error: least("stale-if-error"),
    }
}

/// However it is written, and whatever stands before or behind it.
fn check_no_store_stays(headers: &HeaderMap) {
    let Some(line) = headers.get(CACHE_CONTROL) else {
        return;
    };
    for spelled in [&b"NO-store"[..], b"no-store=\"a, b\"", b"no-store = x"] {
        for parts in [
            [line.as_bytes(), b",", spelled],
            [spelled, b" ,", line.as_bytes()],
        ] {
            let line = super::value(&parts.concat()).expect("of values");
            let mut headers = headers.clone();
            headers.insert(CACHE_CONTROL, line.clone());
            let is_heard = ResponseDirectives::of(&headers, &[]).no_store
                && RequestDirectives::of(&headers).no_store;
            assert!(is_heard, "{line:?}");
        }
    }
}

/// What counts of the field for this cache is what others read there; where it does not count it is as if it were not there.
fn check_targeted(headers: &HeaderMap, plain: &ResponseDirectives, counts: &ResponseDirectives) {
    let text = lines(headers, "cdn-cache-control").join(&b","[..]);
    let theirs = sfv::Parser::parse_dictionary(&text).unwrap_or_default();
    // Younger than theirs, or bounded here.
    let may_differ = text.iter().any(|byte| b"@%:".contains(byte)) || text.len() > 500;
    if !may_differ {
        assert_eq!(counts.is_targeted, !theirs.is_empty());
    }
    if !counts.is_targeted {
        assert_eq!(counts, plain);
        return;
    }
    if may_differ {
        return;
    }
    let value = |name: &str| match theirs.get(name) {
        Some(ListEntry::Item(item)) => Some(Some(&item.bare_item)),
        Some(ListEntry::InnerList(_)) => Some(None),
        None => None,
    };
    let is_on = |name| !matches!(value(name), None | Some(Some(BareItem::Boolean(false))));
    let seconds = |name| {
        value(name).map(|value| match value {
            Some(BareItem::Integer(seconds)) => (*seconds).clamp(0, MOST_SECONDS as i64) as u64,
            _ => 0,
        })
    };
    let flags = [
        (counts.no_store, "no-store"),
        (counts.public, "public"),
        (counts.must_revalidate, "must-revalidate"),
        (counts.proxy_revalidate, "proxy-revalidate"),
        (counts.must_understand, "must-understand"),
        (counts.private != Extent::No, "private"),
        (counts.no_cache != Extent::No, "no-cache"),
    ];
    for (is_set, name) in flags {
        assert_eq!(is_set, is_on(name), "{name}");
    }
    let numbers = [
        (counts.max_age, "max-age"),
        (counts.s_maxage, "s-maxage"),
        (counts.stale_while_revalidate, "stale-while-revalidate"),
        (counts.stale_if_error, "stale-if-error"),
    ];
    for (number, name) in numbers {
        assert_eq!(number, seconds(name), "{name}");
    }
}

fn check_lifetime(headers: &HeaderMap, directives: &ResponseDirectives, received: SystemTime) {
    let given = Given {
        is_heuristic: true,
        ..Given::default()
    };
    let life = Lifetime::of(StatusCode::OK, headers, directives, received, &given);
    let said = directives.s_maxage.or(directives.max_age);
    let expires = headers.contains_key(EXPIRES) && !directives.is_targeted;
    let sent = date(headers, &DATE).unwrap_or(received);
    let after = |time: Option<SystemTime>| time?.duration_since(sent).ok();
    match (said, expires) {
        (Some(seconds), _) => assert_eq!(life.fresh, Duration::from_secs(seconds)),
        (None, true) => {
            let left = after(date(headers, &EXPIRES));
            assert_eq!(life.fresh, left.unwrap_or_default());
            assert!(life.fresh <= LONGEST);
        }
        (None, false) => {
            assert!(life.is_guess && life.fresh <= DAY);
            assert!(life.fresh.is_zero() || headers.contains_key(LAST_MODIFIED));
        }
    }
    assert_eq!(life.is_guess, said.is_none() && !expires);
    let most = Duration::from_secs(MOST_SECONDS);
    assert!(life.while_revalidate <= most && life.if_error <= most);
    assert!(life.is_of_use_for() <= LONGEST + most);
    let delay = Duration::from_millis(1500);
    let age = initial_age(headers, received, delay);
    assert!(delay <= age && age <= LONGEST + most);
    if !headers.contains_key(AGE) && date(headers, &DATE).is_none() {
        assert_eq!(age, delay);
    }
    // A date means the same however it is written.
    for field in [DATE, EXPIRES, LAST_MODIFIED] {
        if let Some(date) = date(headers, &field) {
            assert_eq!(parse(&httpdate::fmt_http_date(date)), Some(date));
        }
    }
}

/// What is judged at some ages.
fn check_judgements(
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    request: &RequestDirectives,
    received: SystemTime,
) -> [Judgement; 5] {
    let given = Given::default();
    let life = Lifetime::of(StatusCode::OK, headers, directives, received, &given);
    let ages = [
        Duration::ZERO,
        life.fresh.saturating_sub(Duration::from_nanos(1)),
        life.fresh,
        life.fresh + Duration::from_secs(60),
        Duration::MAX,
    ];
    let must_ask = directives.no_cache == Extent::All;
    let is_strict = directives.must_revalidate || directives.proxy_revalidate;
    ages.map(|age| {
        let is_fresh = age < life.fresh && !must_ask;
        let judgement = life.judge(age, request);
        match judgement {
            Judgement::Fresh => assert!(is_fresh && !request.no_cache),
            Judgement::AskedForStale => assert!(!is_strict && directives.s_maxage.is_none()),
            Judgement::WhileRevalidating => {
                let most = directives.stale_while_revalidate.unwrap_or(0);
                assert!(age <= life.fresh + Duration::from_secs(most) && !is_strict);
            }
            Judgement::Stale => assert!(!is_fresh),
            Judgement::Unwanted => assert_ne!(*request, RequestDirectives::default()),
        }
        let alone = life.judge(age, &RequestDirectives::default());
        assert_eq!(alone == Judgement::Fresh, is_fresh);
        if must_ask || is_strict {
            assert!(!life.may_spare(age, request));
        }
        let left = life.left(age);
        assert!(age < life.fresh || left <= 0);
        judgement
    })
}
