use std::ops::Range;
use std::sync::Arc;

use pingora::http::RequestHeader;

use super::*;
use crate::facts::{Facts, Scheme};
use crate::identity::Identity;

/// `/shops/{tenant}/orders/{id}` and who asks.
pub(super) const PARAMETERS: [&str; 2] = ["tenant", "id"];
pub(super) const PATH: &str = "/shops/ac%2Dme/orders/4%202?page=2&x=1&x=2&a+b=c%26d&bad=%ff&e";

pub(super) fn identity() -> Identity {
    let claims = serde_json::json!({
        "tenant": "ac-me",
        "level": 3,
        "ratio": 0.5,
        "large": u64::MAX,
        "admin": false,
        "nothing": null,
        "realm": { "roles": ["a", "b"], "deep": { "er": 1 } },
        "https://a.example/x": ["p"],
        "many": vec![0; 2000],
        "long": "x".repeat(70_000),
    });
    let words = |words: &[&str]| words.iter().map(|word| Box::from(*word)).collect();
    Identity {
        scopes: words(&["orders:read", "orders:write"]),
        roles: words(&["partner"]),
        groups: words(&[]),
        authenticator: "jwt",
        provider: "main".into(),
        subject: "u1".into(),
        claims: claims.as_object().unwrap().clone(),
        ..Identity::default()
    }
}

pub(super) fn facts(identity: Option<Identity>) -> Facts {
    let mut facts = Facts::new("192.0.2.7".parse().unwrap(), Scheme::Https);
    let place = |part: &str| {
        let start = PATH.find(part).unwrap();
        (start as u32, (start + part.len()) as u32)
    };
    facts.captures.push(place("ac%2Dme"));
    facts.captures.push(place("4%202"));
    facts.identity = identity.map(Arc::new);
    facts
}

pub(super) fn request() -> RequestHeader {
    let mut request = RequestHeader::build("GET", PATH.as_bytes(), None).unwrap();
    request
        .insert_header("host", "API.Shop.example:8443")
        .unwrap();
    request.append_header("x-tenant", "a").unwrap();
    request.append_header("x-tenant", "b").unwrap();
    request.insert_header("x-odd", b"\xfc".as_slice()).unwrap();
    request
}

pub(super) fn names() -> Vec<Box<str>> {
    PARAMETERS.iter().map(|name| Box::from(*name)).collect()
}

fn ask<T: Answer>(text: &str, identity: Option<Identity>) -> Result<T, String> {
    let names = names();
    let expression = Expression::<T>::compile(text, Variables::Route(&names));
    let expression = expression.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let (facts, request) = (facts(identity), request());
    let view = View {
        facts: &facts,
        request: &request,
    };
    expression.evaluate(view).map_err(|error| error.to_string())
}

#[test]
fn facts_have_names() {
    let check = |text: &str| assert_eq!(ask(text, Some(identity())), Ok(true), "{text}");
    check("identity.claims.tenant == path.tenant");
    check("identity.subject == 'u1' && identity.authenticator + identity.provider == 'jwtmain'");
    check("'orders:read' in identity.scopes && !('x' in identity.scopes)");
    check(
        "identity.claims.level >= 3 && identity.claims.level < 3.5 && identity.claims.ratio == 0.5",
    );
    check("identity.claims.large > 1u && identity.claims.nothing == null");
    check("identity.claims['https://a.example/x'][0] == 'p'");
    check("'b' in identity.claims.realm.roles && identity.claims.realm['roles'].size() == 2");
    check(
        "identity.claims.realm.deep.er == 1 && identity.claims.realm == identity.claims['realm']",
    );
    check("request.method == 'GET' && request.scheme == \"https\" && request.id == ''");
    check("request.host == 'api.shop.example' && request.path.startsWith('/shops/ac%2Dme/')");
    check("request.query.page == '2' && request.query['a b'] == 'c&d' && request.query.e == ''");
    check("request.headers['X-Tenant'] == 'a, b' && path.id == '4 2' && client.ip == '192.0.2.7'");
    check("has(request.query.x) && has(request.query.bad) && !has(request.query.y)");
    check("'x-odd' in request.headers && !('y' in request.query) && 'many' in identity.claims");
    check("has(identity.claims.nothing) && !has(identity.claims.realm.x) && has(identity.claims)");
    check("!has(identity.plan) && !has(identity.consumer) && has(identity.roles) && has(path.id)");
    check("!has(client.certificate) && !has(client.certificate.subject)");
}

#[test]
fn what_has_no_value_is_an_error() {
    let check = |text: &str, name: &str| {
        let expected = Err(format!("`{name}` has no value"));
        assert_eq!(ask::<bool>(text, Some(identity())), expected, "{text}");
    };
    check("identity.claims.absent == 'x'", "identity.claims.absent");
    check("identity.claims.absent != 'x'", "identity.claims.absent");
    check("!(identity.plan == 'gold')", "identity.plan");
    check("request.query.x == '1'", "request.query.x");
    check("request.query.bad == '1'", "request.query.bad");
    check(
        "request.headers['x-odd'] == '1'",
        "request.headers['x-odd']",
    );
    check("identity.claims.many.size() == 0", "identity.claims.many");
    check("identity.claims.long == ''", "identity.claims.long");
    check("identity.claims[path.id] == ''", "identity.claims");
    check(
        "!has(identity.claims.absent.x)",
        "has(identity.claims.absent.x)",
    );
    check(
        "!has(identity.claims.tenant.x)",
        "has(identity.claims.tenant.x)",
    );
    check(
        "client.certificate.subject == ''",
        "client.certificate.subject",
    );
    let nobody = |text: &str| ask::<bool>(text, None);
    let error = |name: &str| Err(format!("`{name}` has no value"));
    assert_eq!(nobody("identity.subject != ''"), error("identity.subject"));
    assert_eq!(nobody("!('a' in identity.roles)"), error("identity.roles"));
    assert_eq!(
        nobody("has(identity.subject) || has(identity.claims)"),
        Ok(false)
    );
    assert_eq!(
        nobody("identity.roles.all(r, r != 'a')"),
        error("identity.roles")
    );
}

/// By the rule of CEL, an error counts only where the other side does not decide.
#[test]
fn one_side_can_decide_alone() {
    let check = |text: &str, expected: Result<bool, ()>| {
        assert_eq!(
            ask::<bool>(text, Some(identity())).map_err(drop),
            expected,
            "{text}"
        );
    };
    check(
        "identity.claims.absent == path.tenant || 'partner' in identity.roles",
        Ok(true),
    );
    check(
        "'partner' in identity.roles || identity.claims.absent == path.tenant",
        Ok(true),
    );
    check(
        "identity.claims.absent == path.tenant || 'x' in identity.roles",
        Err(()),
    );
    check("identity.claims.absent == 'x' && false", Ok(false));
    check("identity.claims.absent == 'x' && true", Err(()));
    check(
        "has(identity.claims.absent) && identity.claims.absent == 'x'",
        Ok(false),
    );
    check(
        "['x', 'partner'].exists(r, r == identity.claims.absent || r == 'partner')",
        Ok(true),
    );
}

#[test]
fn operators_and_functions() {
    let check = |text: &str| assert_eq!(ask(text, Some(identity())), Ok(true), "{text}");
    check("1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && 7 / 2 == 3 && 7 % 2 == 1 && -7 - -7 == 0");
    check("0x10 == 16 && 1.5e3 == 1500.0 && .5 == 0.5 && 2u + 3u == 5u && 1 == 1.0");
    check("-9223372036854775808 < 9223372036854775807 && 1e-3 == 0.001");
    check("'a' + \"b\" == r'ab' && 'a\\n\\x41\\u00e9' != ''");
    check("\"\\\"\" == '\"' && r'\\d' == '\\\\d' && 'é'.size() == 1 && size([1, 2]) == 2");
    check("'abc'.contains('b') && 'abc'.endsWith('c') && 'ABC'.lowerAscii() == 'abc'");
    check(
        "'order-17'.matches('[0-9]+') && !'order'.matches('^[0-9]+$') && 'AB'.matches('(?i)^ab$')",
    );
    check(
        "int('7') == 7 && double('1.5') == 1.5 && string(7) == '7' && uint(7) == 7u && int(1.9) == 1",
    );
    check(
        "identity.roles.all(r, r.startsWith('p')) && identity.scopes.exists_one(s, s == 'orders:read')",
    );
    check("identity.scopes.filter(s, s.endsWith('read')) == ['orders:read']");
    check("{'a': 1, 'b': [2]}.b[0] == 2 && 'a' in {'a': 1} && {'a': 1}['a'] == 1");
    check("true ? 1 == 1 : false // and so on\n && true");
    check("[1, 2].exists(x, [3, 4].exists(y, x + y == 6)) && !!true && [] == []");
    check("identity.claims.admin ? false : true");
}

#[test]
fn answers_have_types() {
    assert_eq!(ask("identity.claims.level * 2", Some(identity())), Ok(6.0));
    assert_eq!(ask("identity.claims.ratio", Some(identity())), Ok(0.5));
    assert_eq!(ask("has(identity.subject) ? 1 : 5u", None), Ok(5.0));
    assert_eq!(
        ask("identity.subject + '!'", Some(identity())),
        Ok("u1!".to_owned())
    );
    let error = ask::<bool>("identity.claims.tenant", Some(identity()));
    assert_eq!(error, Err("the answer is not true or false".into()));
    let error = ask::<f64>("1.0 / 0.0", None);
    assert_eq!(error, Err("the answer is not a number".into()));
    let error = ask::<f64>("identity.claims.tenant + 1", Some(identity()));
    assert!(error.is_err_and(|error| !error.contains("ac-me")));
    let error = ask::<f64>("1 / int(path.id)", None);
    assert_eq!(error, Err("`int` cannot convert the value".into()));
    let error = ask::<f64>("1 / (int(request.query.page) - 2)", None);
    assert_eq!(
        error,
        Err("a number is too large, or divided by zero".into())
    );
    let error = ask::<bool>("identity.claims.tenant < 3", Some(identity()));
    assert_eq!(error, Err("`<` takes no string and int".into()));
    let error = ask::<bool>("identity.claims.realm.roles[7] == ''", Some(identity()));
    assert_eq!(error, Err("an element, a key or a field is absent".into()));
}

#[test]
fn mistakes_are_found_at_load() {
    let names = names();
    let check = |text: &str, at: Range<usize>, said: &str, help: &str| {
        let error = Expression::<bool>::compile(text, Variables::Route(&names));
        let error = error.expect_err(text);
        let found = (
            error.at,
            error.problem.to_string(),
            error.help.unwrap_or_default(),
        );
        assert_eq!(found, (at, said.to_owned(), help.into()), "{text}");
    };
    let roots = "known are `identity`, `request`, `path`, `client`";
    check("", 0..0, "ends where a value is expected", "");
    check("a", 0..1, "unknown name `a`", roots);
    check(
        "idenity.subject == ''",
        0..7,
        "unknown name `idenity`",
        "did you mean `identity`?",
    );
    check(
        "identity.subjct == ''",
        9..15,
        "unknown field `subjct`",
        "did you mean `subject`?",
    );
    check(
        "identity.tenant == ''",
        9..15,
        "unknown field `tenant`",
        "a claim is `identity.claims.tenant`",
    );
    check(
        "request.headers == ''",
        0..15,
        "`request.headers` can only be asked for by a name in quotes",
        "write `request.headers[\"…\"]`",
    );
    check(
        "request.headers[path.id] == ''",
        0..15,
        "`request.headers` can only be asked for by a name in quotes",
        "write `request.headers[\"…\"]`",
    );
    check(
        "request.headers['a b'] == ''",
        16..21,
        "\"a b\" is no header name",
        "",
    );
    check(
        "path.x == ''",
        5..6,
        "the route's path has no parameter `x`",
        "known are `tenant`, `id`",
    );
    check(
        "path == ''",
        0..4,
        "`path` is no value by itself",
        "it has `path.tenant`, `path.id`",
    );
    check(
        "client.certificate == null",
        0..18,
        "`client.certificate` is no value by itself",
        "write `has(client.certificate)`, or a field of it",
    );
    check(
        "client.certificate.der == ''",
        19..22,
        "unknown field `der`",
        "known are `subject`, `issuer`, `serial`, `fingerprint`, `dns`, `uri`, `email`, `ip`, `not_after`",
    );
    check(
        "identity.subject",
        0..16,
        "must be true or false, is string",
        "",
    );
    check(
        "identity.subject == 1",
        0..21,
        "`==` takes no string and int",
        "",
    );
    check(
        "identity.roles == 'a'",
        0..21,
        "`==` takes no list(string) and string",
        "",
    );
    check(
        "identity.subject.x == 1",
        17..18,
        "string has no fields",
        "",
    );
    check(
        "1 + 1.0 == 2.0",
        0..7,
        "`+` takes no int and double",
        "CEL converts no number by itself: write `int(…)` or `double(…)`",
    );
    check("'a' && true", 0..11, "`&&` takes no string and bool", "");
    check("!1", 1..2, "must be bool, is int", "");
    check("1 in 'a'", 0..8, "`in` takes no int and string", "");
    check(
        "'a' in request.path",
        0..19,
        "`in` takes no string and string",
        "",
    );
    check(
        "identity.subject.startWith('a')",
        17..26,
        "unknown function `startWith`",
        "did you mean `startsWith`?",
    );
    check(
        "startsWith('a')",
        0..10,
        "`startsWith` is called on a value, `a.f(b)`",
        "",
    );
    check("'1'.int() == 1", 4..7, "`int` is called as `f(a)`", "");
    check(
        "'a'.startsWith('a', 'b')",
        4..14,
        "`startsWith` takes 1 argument, got 2",
        "",
    );
    check("'a'.startsWith(1)", 15..16, "must be string, is int", "");
    check(
        "'a'.matches(path.id)",
        12..19,
        "the pattern of `matches` is compiled once, so it must be text in quotes",
        "",
    );
    check(
        "'a'.matches('(')",
        12..15,
        "the pattern is no regular expression: unclosed group",
        "",
    );
    check(
        "identity.roles.exists(1, true)",
        22..23,
        "the first argument names what the others are about: `identity.roles.exists(role, …)`",
        "",
    );
    check(
        "identity.roles.exists(r)",
        15..21,
        "`exists` takes 2 arguments, got 1",
        "",
    );
    check(
        "identity.roles.exists(r, r)",
        25..26,
        "must be bool, is string",
        "",
    );
    check(
        "identity.subject.exists(r, true)",
        0..16,
        "must be a list or a map, is string",
        "",
    );
    check(
        "identity.roles.map(r, r) == []",
        15..18,
        "unknown function `map`",
        "",
    );
    check("a = b", 2..3, "`=` is no operator; `==` compares", "");
    check(
        "has(path)",
        4..8,
        "`has` wants a field, `has(identity.claims.tenant)`",
        "",
    );
    check("true true", 5..9, "an operator is expected here", "");
    check("(true", 5..5, "ends where ) is expected", "");
    check("true é", 5..7, "no such character in CEL", "");
    check("'é", 0..3, "text without an end", "");
    check("'a\\q'", 2..4, "no such escape in CEL", "");
    check(
        "9223372036854775808 == 0",
        0..19,
        "is no number that CEL has",
        "",
    );
    check("1x == 1", 0..2, "is no number that CEL has", "");
    check(
        "import == 1",
        0..6,
        "`import` is a word that CEL keeps for itself",
        "",
    );
    check("_f(1, 2)", 0..2, "unknown function `_f`", "");
    check("{1: 2} == {}", 1..2, "must be string, is int", "");
    let nested = "identity.roles.exists(r, identity.groups.exists(g, g == r))";
    let steps = "could take 7346178 steps for one request; there may be 50000";
    check(
        nested,
        0..nested.len(),
        steps,
        "loops over lists of a request cannot be nested",
    );
    let large = vec!["request.path"; 20].join(" + ");
    let error = Expression::<String>::compile(&large, Variables::Shared).unwrap_err();
    assert!(matches!(error.problem, Problem::Size(_)), "{error:?}");
    let long = format!("true{}", " ".repeat(4096));
    check(
        &long,
        0..4100,
        "is 4100 bytes long; an expression has at most 4096",
        "",
    );
    let error = Expression::<bool>::compile("path.id == ''", Variables::Shared).unwrap_err();
    assert_eq!(error.problem, Problem::CaptureOutsideRoute("id".into()));
    let error = Expression::<bool>::compile("path.id == ''", Variables::Route(&[])).unwrap_err();
    assert_eq!(
        error.help.as_deref(),
        Some("its path has no parameters at all")
    );
}
