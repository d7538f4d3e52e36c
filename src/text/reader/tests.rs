//! Whole documents, good ones and ones with many problems at once.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::super::pieces::in_pieces;
use super::super::{ByteSize, Cidr, Duration, HeaderPattern, Secret, Setting, Sources};
use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their being read is tested")]
pub(super) struct Route {
    r#match: Match,
    upstream: Option<Spanned<Name>>,
    timeout: Option<Duration>,
    respond: Option<Respond>,
    #[serde(default)]
    headers: BTreeMap<Spanned<String>, Vec<HeaderPattern>>,
    cache: Option<Setting<Cache>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their being read is tested")]
struct Match {
    path: String,
    #[serde(default)]
    from: Vec<Cidr>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their being read is tested")]
struct Respond {
    status: u16,
    json: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their being read is tested")]
struct Cache {
    ttl: Duration,
    size: Option<ByteSize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their being read is tested")]
struct Jwt {
    issuer: String,
    key: Option<Secret>,
}

#[derive(Debug, Default)]
pub(super) struct Document {
    include: Vec<Spanned<String>>,
    pub(super) routes: Vec<Named<Route>>,
    jwt: Vec<Named<Jwt>>,
}

pub(super) fn read(text: &str) -> (Document, String) {
    let mut sources = Sources::new();
    let source = sources.add("shop.toml", text);
    let mut diagnostics = Diagnostics::new();
    let document = document(&mut diagnostics, source, text).unwrap_or_default();
    let problems = problems(&diagnostics, &sources);
    let in_pieces = in_pieces(source, text, &["routes"], 1, &mut Document::take);
    if let Some((pieces, found)) = in_pieces {
        assert_eq!(pieces.to_string(), document.to_string(), "{text}");
        assert_eq!(self::problems(&found, &sources), problems, "{text}");
    }
    (document, problems)
}

fn problems(diagnostics: &Diagnostics, sources: &Sources) -> String {
    let lines = diagnostics.reports(sources).into_iter().map(|one| {
        let help = one
            .help
            .map(|help| format!(" ({help})"))
            .unwrap_or_default();
        format!(
            "{}:{}: {}{help}\n",
            one.line.unwrap_or(0),
            one.column.unwrap_or(0),
            one.message
        )
    });
    lines.collect()
}

fn document(diagnostics: &mut Diagnostics, source: SourceId, text: &str) -> Option<Document> {
    let mut document = Document::default();
    document.take(Table::parse(diagnostics, source, text)?);
    Some(document)
}

impl Document {
    fn take(&mut self, mut table: Table<'_, '_>) {
        self.include
            .extend(table.take::<Vec<_>>("include").unwrap_or_default());
        self.routes.extend(table.objects("routes"));
        if let Some(mut identity) = table.table("identity") {
            self.jwt.extend(identity.objects("jwt"));
            identity.finish();
        }
        table.finish();
    }
}

/// With the places of the objects.
impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Named { name, config, .. } in &self.routes {
            writeln!(f, "{:?} {:?}", name.span, config.span)?;
        }
        write!(f, "{self:?}")
    }
}

fn check(text: &str, expected: &str) {
    assert_eq!(read(text).1, expected, "{text}");
}

pub(super) const GOOD: &str = r#"include = ["routes.d/*.toml"]

[routes.home]
match = { path = "/", from = ["10.0.0.0/8", "::1"] }
upstream = "web"
timeout = "6s"
headers.remove = ["server", "x-internal-*"]

[routes.ping]
match.path = "/ping"
respond = { status = 200, json = { ok = true, list = [1, 2.5, "é", 1979-05-27] } }
cache = "off"

[routes.page.cache]
ttl = "1m30s"
size = "32KiB"
[routes.page.match]
path = '''/page'''

[identity.jwt.main]
issuer = """https://id.example.com/"""
key = { env = "KEY" }
"#;

#[test]
fn good() {
    let (document, problems) = read(GOOD);
    assert_eq!(problems, "");
    let names: Vec<_> = document
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(names, ["home", "ping", "page"]);
    assert_eq!((document.include.len(), document.jwt.len()), (1, 1));
}

#[test]
fn six_problems_in_one_run() {
    check(
        r#"[routes.a]
match = { path = "/", from = ["10.1.0.0/8"] }
timeout = "five"
[routes.b]
upstream = "web"
[routes.c]
match.path = "/c"
upstreem = "web"
cache = { ttl = "1s", size = "big" }
[rutes.d]
match.path = "/d"
"#,
        r#"2:31: routes.a.match.from[0] must be a network without host bits, such as "10.0.0.0/8" (or "10.1.0.0" for the one address), got "10.1.0.0/8"
3:11: routes.a.timeout must be a duration such as "1s" or "5m", got "five"
4:1: routes.b: missing key "match"
8:1: routes.c: unknown key "upstreem", did you mean "upstream"?
9:30: routes.c.cache.size must be a size such as "512B", "32KiB" or "10MB", got "big"
10:2: unknown key "rutes", did you mean "routes"?
"#,
    );
}

#[test]
fn the_top_is_checked_too() {
    check(
        "include = \"x\"",
        "1:11: include must be an array, got \"x\" (write [\"x\"])\n",
    );
    check(
        "include = [\"x\", 2]",
        "1:17: include[1] must be a string, got 2\n",
    );
    check("routes = 3", "1:10: routes must be a table, got 3\n");
    check(
        "[[routes]]",
        "1:1: routes must be a table, got an array (objects have names: write [routes.NAME])\n",
    );
    check(
        "routes.a = 3",
        "1:12: routes.a must be a table, got 3 (its keys are \"match\", \"upstream\", \"timeout\", \"respond\", \"headers\" and \"cache\")\n",
    );
    check(
        "[identity.jwt]\nmain = {}",
        "2:8: identity.jwt.main: missing key \"issuer\"\n",
    );
    check(
        "[identity.saml]",
        "1:11: identity: unknown key \"saml\" (known keys are \"jwt\")\n",
    );
    check(
        "zebra = 1",
        "1:1: unknown key \"zebra\" (known keys are \"include\", \"routes\" and \"identity\")\n",
    );
    check(
        "[routes.a]\nmatch.path = \"/\"\ncache = 1",
        "3:9: routes.a.cache must be a table or \"off\", got 1 (its keys are \"ttl\" and \"size\")\n",
    );
    let name = "must be a name of 1 to 63 letters, digits, \"_\", \"-\" or \".\", beginning with a letter or digit";
    check(
        "[routes.\"a b\"]\nmatch = 1",
        &format!(
            "1:9: the key in routes {name}, got \"a b\"\n2:9: routes.match must be a table, got 1 (its keys are \"path\" and \"from\")\n"
        ),
    );
}

#[test]
fn all_errors_of_syntax_are_reported_and_nothing_else() {
    let problems = read("a = \nroutes = 3\nb = 'x\n[routes.a]\n[routes.a]\n").1;
    let places: Vec<_> = problems
        .lines()
        .map(|line| line.split(": ").next().unwrap_or(""))
        .collect();
    assert_eq!(places.first(), Some(&"1:5"), "{problems}");
    assert!(
        places.contains(&"3:7") || places.contains(&"3:5"),
        "{problems}"
    );
    check(
        "[routes.a]\n[routes.a]",
        "2:9: the table [routes.a] is defined twice\n",
    );
}

#[test]
fn secrets_stay_out_of_the_output() {
    let text = "[identity.jwt.a]\nissuer = \"i\"\nkey = \"hunter2\"\n[identity.jwt.b]\nissuer = \"i\"\nkey = { value = \"hunter2\" }\n";
    let mut sources = Sources::new();
    let source = sources.add("a.toml", text);
    let mut diagnostics = Diagnostics::new();
    document(&mut diagnostics, source, text);
    let shown = diagnostics.render(&sources, false);
    assert!(
        shown.contains("a.toml:3:7: error: identity.jwt.a.key must be { file"),
        "{shown}"
    );
    assert!(
        shown.contains("a.toml:6:9: error: identity.jwt.b.key: unknown key"),
        "{shown}"
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}
