//! Reading one object to the end although serde stops at the first problem.
//!
//! The object is read again without the value that was bad, until nothing new is wrong. So all bad values and
//! unknown keys of an object come to light at once; of the keys missing from one table serde names the first.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use toml::Spanned as TomlSpanned;
use toml::de::DeValue;

use super::Diagnostics;
use super::de::{Context, Value};
use super::span::Anchor;

/// An object with more problems than this is some other file by mistake.
const MOST_PROBLEMS: usize = 64;

/// None once a problem was recorded. `name` is how messages call the object: `routes.home`.
///
/// Costs one pass when all is well, and one more for each problem.
pub(super) fn object<T: DeserializeOwned>(
    diagnostics: &mut Diagnostics,
    anchor: Anchor,
    name: &str,
    node: &TomlSpanned<DeValue<'_>>,
) -> Option<T> {
    let mut context = Context {
        anchor,
        ignored: HashMap::new(),
    };
    let mut problems = 0;
    while problems < MOST_PROBLEMS {
        let value = Value {
            context: &context,
            node,
        };
        let error = match T::deserialize(value) {
            Ok(read) if problems == 0 => return Some(read),
            Ok(_) => return None,
            Err(error) => error.locate(value),
        };
        let (culprit, meant, is_echo) = (error.culprit(), error.meant(), error.is_echo());
        if !is_echo || problems == 0 {
            diagnostics.push(error.into_diagnostic(name));
            problems += 1;
        }
        // Each round must leave out something new, or there would be no end.
        match culprit {
            Some(culprit) if context.ignored.insert(culprit, meant).is_none() => {}
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;

    use serde::Deserialize;
    use toml::de::DeTable;

    use super::super::{Duration, Name, Secret, Setting, Sources, Spanned};
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, rename_all = "snake_case")]
    struct Route {
        path: Spanned<String>,
        upstream: Option<String>,
        timeouts: Option<Timeouts>,
        balance: Option<Balance>,
        #[serde(default)]
        tags: Vec<Spanned<Name>>,
        #[serde(default)]
        parts: BTreeMap<Spanned<Name>, Spanned<NonZeroU32>>,
        cache: Option<Setting<Spanned<Duration>>>,
        pair: Option<(u8, u8)>,
        key: Option<Secret>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Timeouts {
        connect: Duration,
        idle: Option<Duration>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case", deny_unknown_fields)]
    enum Balance {
        RoundRobin,
        Random,
        Hash(String),
        Sticky { cookie: String, ttl: Duration },
    }

    fn read(text: &str) -> (Option<Route>, Vec<String>) {
        let mut sources = Sources::new();
        let source = sources.add("a.toml", text);
        let (table, errors) = DeTable::parse_recoverable(text);
        assert!(errors.is_empty(), "{errors:?}");
        let node = TomlSpanned::new(0..0, DeValue::Table(table.into_inner()));
        let mut diagnostics = Diagnostics::new();
        let route = object(
            &mut diagnostics,
            Anchor::start_of(source),
            "routes.a",
            &node,
        );
        let lines = diagnostics.iter().map(|one| {
            let at = sources.position(one.span.expect("every problem has a place"));
            let help = one
                .help
                .as_ref()
                .map(|help| format!(" ({help})"))
                .unwrap_or_default();
            format!("{}:{} {}{help}", at.line, at.column, one.message)
        });
        (route, lines.collect())
    }

    fn check(text: &str, expected: &[&str]) {
        let (route, problems) = read(text);
        assert_eq!(problems, expected, "{text}");
        assert_eq!(route.is_some(), expected.is_empty(), "{text}");
    }

    #[test]
    fn everything_at_once() {
        let text = r#"path = "/"
upstreem = "x"
timeouts = { connect = "five", idle = 7, conect = "1s" }
balance = "rondom"
tags = ["ok", "not ok", "-no", "fine"]
parts.a = 0
parts."b c" = 1
cache = "on"
pair = [1, 2, 3]
"#;
        let duration = "must be a duration such as \"1s\" or \"5m\"";
        let name = "must be a name of 1 to 63 letters, digits, \"_\", \"-\" or \".\", beginning with a letter or digit";
        check(
            text,
            &[
                "2:1 routes.a: unknown key \"upstreem\", did you mean \"upstream\"?",
                &format!("3:24 routes.a.timeouts.connect {duration}, got \"five\""),
                "3:39 routes.a.timeouts.idle must be a duration with its unit, such as \"7s\" or \"7ms\", got 7",
                "3:42 routes.a.timeouts: unknown key \"conect\", did you mean \"connect\"?",
                "4:11 routes.a.balance must be \"round_robin\", \"random\", \"hash\" or \"sticky\", got \"rondom\" (did you mean \"random\"?)",
                &format!("5:15 routes.a.tags[1] {name}, got \"not ok\""),
                &format!("5:25 routes.a.tags[2] {name}, got \"-no\""),
                "6:11 routes.a.parts.a must be a whole number from 1 to 4294967295, got 0",
                &format!("7:7 routes.a.parts.\"b c\" {name}, got \"b c\""),
                &format!("8:9 routes.a.cache {duration}, got \"on\""),
                "9:8 routes.a.pair must be an array of 2, got an array of 3",
            ],
        );
    }

    #[test]
    fn good_values_know_their_place() {
        let text = "path = \"/x\"\nparts.one = 1\ntags = [\"t\"]\ncache = \"off\"\nbalance = { hash = \"ip\" }\npair = [1, 2]\n";
        let (route, problems) = read(text);
        assert_eq!(problems, Vec::<String>::new());
        let route = route.expect("there was no problem");
        assert_eq!((route.path.span.start, route.path.span.end), (7, 11));
        let (name, number) = route.parts.first_key_value().expect("one part");
        assert_eq!((name.span.start, number.span.start), (18, 24));
        assert_eq!(route.cache, Some(Setting::Off));
        assert_eq!(route.balance, Some(Balance::Hash("ip".to_owned())));
    }

    #[test]
    fn missing_keys() {
        check("upstream = \"a\"", &["1:1 routes.a: missing key \"path\""]);
        check("path = 3", &["1:8 routes.a.path must be a string, got 3"]);
        check(
            "pth = \"/\"",
            &["1:1 routes.a: unknown key \"pth\", did you mean \"path\"?"],
        );
        check(
            "path = \"/\"\n[timeouts]",
            &["2:1 routes.a.timeouts: missing key \"connect\""],
        );
        check(
            "timeouts = {}",
            &[
                "1:1 routes.a: missing key \"path\"",
                "1:12 routes.a.timeouts: missing key \"connect\"",
            ],
        );
    }

    #[test]
    fn wrong_shapes() {
        check(
            "path = \"/\"\ntimeouts = [\"1s\"]",
            &[
                "2:12 routes.a.timeouts must be a table, got an array (its keys are \"connect\" and \"idle\")",
            ],
        );
        check(
            "path = \"/\"\ntags = 1",
            &["2:8 routes.a.tags must be an array, got 1"],
        );
        check(
            "path = 2001-01-01",
            &["1:8 routes.a.path must be a string, got the date 2001-01-01"],
        );
        check(
            "path = \"/\"\npair = [1, 256]",
            &["2:12 routes.a.pair[1] must be a whole number from 0 to 255, got 256"],
        );
        check(
            "path = \"/\"\npair = [99999999999999999999, 1]",
            &[
                "2:9 routes.a.pair[0] must be a whole number of at most 64 bits, got 99999999999999999999",
            ],
        );
        check(
            "path = \"/\"\ncache = 5",
            &[
                "2:9 routes.a.cache must be a duration with its unit, such as \"5s\" or \"5ms\", got 5",
            ],
        );
        check(
            "path = \"/\"\ncache = []",
            &[
                "2:9 routes.a.cache must be a duration such as \"1s\" or \"5m\" or \"off\", got an array",
            ],
        );
    }

    #[test]
    fn choices() {
        let words = "\"round_robin\", \"random\", \"hash\" or \"sticky\"";
        let check = |balance: &str, expected: &[&str]| {
            check(&format!("path = \"/\"\nbalance = {balance}"), expected)
        };
        check("\"random\"", &[]);
        check("{ sticky = { cookie = \"c\", ttl = \"1h\" } }", &[]);
        check(
            "\"hash\"",
            &["2:11 routes.a.balance must be a table such as { hash = … }, got \"hash\""],
        );
        check(
            "3",
            &[&format!("2:11 routes.a.balance must be {words}, got 3")],
        );
        check(
            "{ hash = 3 }",
            &["2:20 routes.a.balance.hash must be a string, got 3"],
        );
        check(
            "{ hsh = 3 }",
            &["2:13 routes.a.balance: unknown key \"hsh\", did you mean \"hash\"?"],
        );
        check(
            "{ random = {} }",
            &["2:11 routes.a.balance must be the plain word \"random\", got a table"],
        );
        check(
            "{}",
            &[&format!(
                "2:11 routes.a.balance must be a table with one key, {words}, got an empty table"
            )],
        );
        check(
            "{ hash = \"a\", random = 1 }",
            &[&format!(
                "2:11 routes.a.balance must be a table with one key, {words}, got 2 keys"
            )],
        );
        check(
            "{ sticky = { cookie = 1, tll = \"1h\" } }",
            &[
                "2:33 routes.a.balance.sticky.cookie must be a string, got 1",
                "2:36 routes.a.balance.sticky: unknown key \"tll\" (known keys are \"cookie\" and \"ttl\")",
            ],
        );
    }

    #[test]
    fn secrets_are_not_repeated() {
        let (_, problems) = read("path = \"/\"\nkey = \"hunter2\"");
        assert_eq!(
            problems,
            [
                "2:7 routes.a.key must be { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }: secrets are not written in the configuration"
            ]
        );
    }

    #[test]
    fn problems_are_capped() {
        let text = format!("path = \"/\"\ntags = [{}]", "\"?\",".repeat(1000));
        assert_eq!(read(&text).1.len(), MOST_PROBLEMS);
    }
}
