//! Any text as an expression, against what the crate makes of it by itself; and deep ones.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel::Env;
use cel::common::types::{
    self, CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::parser::Parser;

use super::tests::{facts, identity, names, request};
use super::*;
use crate::identity::Identity;
use crate::text::fuzz::fuzz;

const WORDS: [&str; 40] = [
    "identity",
    "request",
    "path",
    "client",
    ".",
    "subject",
    "claims",
    "roles",
    "scopes",
    "tenant",
    "level",
    "realm",
    "query",
    "page",
    "headers",
    "id",
    "[",
    "]",
    "(",
    ")",
    "'a'",
    "\"b\"",
    "1",
    "2.5",
    "3u",
    "-",
    "+",
    "==",
    "<",
    " in ",
    "&&",
    "||",
    "!",
    "?",
    ":",
    ".exists(r, ",
    ".size()",
    ".startsWith(",
    "has(",
    ", ",
];

/// On a thread of its own: the crate's parser wants more of the stack than ours.
#[test]
fn fuzz_expressions() {
    let run = || {
        fuzz("expression", &WORDS, |input| {
            let text = String::from_utf8_lossy(input);
            let own = compile_and_ask(&text);
            if let Some(own) = &own {
                let truth = own.as_ref().ok().copied();
                assert_eq!(truth, reference(&text), "{text}: {own:?}");
            }
            own.map(|answer| answer.map_err(|error| std::mem::discriminant(&error)))
        });
    };
    let large = std::thread::Builder::new().stack_size(512 << 20).spawn(run);
    large.unwrap().join().unwrap();
}

/// What the crate answers by itself, over objects in place of slots.
fn reference(text: &str) -> Option<bool> {
    let root = Parser::new().max_recursion_depth(500).parse(text);
    let root = root.unwrap_or_else(|error| panic!("{text}: the crate does not read it: {error}"));
    let mut context = Context::with_env(environment());
    for (name, object) in objects() {
        context.add_variable_as_val(name, object);
    }
    let value = Value::resolve_val(&root, &context).ok()?;
    <bool as Answer>::of(value.as_ref())
}

/// The crate's own, without the functions that it has only with more features.
fn environment() -> Arc<Env> {
    static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
        let mut env = Env::stdlib();
        let text = || types::STRING_TYPE;
        env.add_member_overload("matches", "matches", text(), vec![text()], matches)
            .unwrap();
        env.add_member_overload("lowerAscii", "lower", text(), vec![], functions::lower)
            .unwrap();
        Arc::new(env)
    });
    ENVIRONMENT.clone()
}

fn matches<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, pattern] = [0, 1].map(|index: usize| {
        let text = arguments[index].downcast_ref::<CelString>();
        text.expect("a string").inner().to_owned()
    });
    let pattern = regex::Regex::new(&pattern);
    let pattern = pattern.map_err(|error| ExecutionError::function_error("matches", error))?;
    Ok(CowVal::owned(CelBool::from(pattern.is_match(&text))))
}

fn objects() -> [(&'static str, Box<dyn Val>); 4] {
    let known = small_identity();
    let json = |value: &serde_json::Value| -> Box<dyn Val> { owned(value) };
    let words = |words: &[Box<str>]| -> Box<dyn Val> {
        let words = words.iter().map(|word| text(word));
        Box::new(CelList::from(words.collect::<Vec<_>>()))
    };
    let claims = known.claims.iter();
    let claims = claims.map(|(name, value)| (name.as_str(), json(value)));
    [
        (
            "identity",
            map([
                ("subject", text("u1")),
                ("authenticator", text("jwt")),
                ("provider", text("main")),
                ("scopes", words(&known.scopes)),
                ("roles", words(&known.roles)),
                ("groups", words(&known.groups)),
                ("claims", map(claims)),
            ]),
        ),
        (
            "request",
            map([
                ("method", text("GET")),
                ("scheme", text("https")),
                ("id", text("")),
                ("host", text("api.shop.example")),
                ("path", text("/shops/ac%2Dme/orders/4%202")),
                (
                    "query",
                    map([("page", text("2")), ("a b", text("c&d")), ("e", text(""))]),
                ),
                (
                    "headers",
                    map([
                        ("x-tenant", text("a, b")),
                        ("host", text("API.Shop.example:8443")),
                    ]),
                ),
            ]),
        ),
        (
            "path",
            map([("tenant", text("ac-me")), ("id", text("4 2"))]),
        ),
        ("client", map([("ip", text("192.0.2.7"))])),
    ]
}

/// Without what is too large for a value: the crate has no such bound, and all claims together would be absent for ours.
fn small_identity() -> Identity {
    let mut identity = identity();
    for large in ["many", "long"] {
        identity.claims.remove(large).expect("a large claim");
    }
    identity
}

fn text(text: &str) -> Box<dyn Val> {
    Box::new(CelString::from(text.to_owned()))
}

fn map<'n>(entries: impl IntoIterator<Item = (&'n str, Box<dyn Val>)>) -> Box<dyn Val> {
    let entries = entries.into_iter();
    let entries = entries.map(|(name, value)| (CelMapKey::from(name.to_owned()), value));
    Box::new(CelMap::from(entries.collect::<HashMap<_, _>>()))
}

fn owned(value: &serde_json::Value) -> Box<dyn Val> {
    match value {
        serde_json::Value::Null => Box::new(CelNull),
        serde_json::Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Box::new(CelInt::from(number)),
            (None, Some(number)) => Box::new(CelUInt::from(number)),
            _ => Box::new(CelDouble::from(number.as_f64().unwrap_or_default())),
        },
        serde_json::Value::String(string) => text(string),
        serde_json::Value::Array(elements) => Box::new(CelList::from(
            elements.iter().map(owned).collect::<Vec<_>>(),
        )),
        serde_json::Value::Object(fields) => map(fields
            .iter()
            .map(|(name, value)| (name.as_str(), owned(value)))),
    }
}

/// Nothing is nested deeper than the stack of a thread can bear, neither here nor in the crate, whose functions take
/// far more of it in a build for tests than in one for use.
#[test]
fn nesting_is_bounded() {
    let parts = [
        ("(", "true", ")"),
        ("[", "1", "]"),
        ("!", "true", ""),
        ("- ", "1", ""),
        ("size(", "[]", ")"),
        ("[1].exists(x, ", "true", ")"),
        ("", "1", " + 1"),
        ("", "true", " || true"),
        ("", "true", " && true"),
        ("", "true", " ? true : false"),
        ("true ? ", "true", " : false"),
        ("", "identity.claims.a", ".b"),
        ("", "identity.claims.a", "[0]"),
        ("", "'a'", ".lowerAscii()"),
        ("{'a': ", "1", "}"),
        ("[(!", "true", ")]"),
    ];
    let run = move || {
        for (open, inner, close) in parts {
            for depth in 1..300 {
                let text = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
                for text in [text.clone(), format!("{text} == {text}")] {
                    compile_and_ask(&text);
                }
            }
        }
    };
    let usual = std::thread::Builder::new().stack_size(2 << 20).spawn(run);
    usual.unwrap().join().unwrap();
}

fn compile_and_ask(text: &str) -> Option<Result<bool, EvaluationError>> {
    let names = names();
    let expression = Expression::<bool>::compile(text, Variables::Route(&names)).ok()?;
    let (facts, request) = (facts(Some(small_identity())), request());
    let view = View {
        facts: &facts,
        request: &request,
    };
    Some(expression.evaluate(view))
}
