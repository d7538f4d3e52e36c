//! Where files are cut, and that the pieces say what the whole says. The reader's own tests compare the two as well.

use super::super::{Named, Sources};
use super::*;

const OBJECTS: [&str; 2] = ["routes", "upstreams"];

#[derive(Debug, Default)]
struct Read {
    include: Option<Vec<String>>,
    routes: Vec<Named<toml::Table>>,
    gateway: Option<toml::Table>,
}

impl Read {
    fn take(&mut self, mut table: Table<'_, '_>) {
        self.include = self.include.take().or(table.take("include"));
        self.gateway = self.gateway.take().or(table.take("gateway"));
        self.routes.extend(table.objects("routes"));
        table.finish();
    }
}

fn problems(diagnostics: &Diagnostics, sources: &Sources) -> Vec<String> {
    let reports = diagnostics.reports(sources).into_iter();
    reports
        .map(|one| {
            let at = |line: Option<usize>| line.unwrap_or(0);
            format!("{}:{} {}", at(one.line), at(one.column), one.message)
        })
        .collect()
}

/// What the whole says, after it was compared with what the pieces say.
fn read(text: &str, has_pieces: bool) -> (Read, Vec<String>) {
    let mut sources = Sources::new();
    let source = sources.add("a.toml", text);
    let mut diagnostics = Diagnostics::new();
    let mut whole = Read::default();
    if let Some(table) = Table::parse(&mut diagnostics, source, text) {
        whole.take(table);
    }
    let said = problems(&diagnostics, &sources);
    let pieces = in_pieces(source, text, &OBJECTS, 1, &mut Read::take);
    assert_eq!(pieces.is_some(), has_pieces, "{text}");
    if let Some((read, found)) = pieces {
        assert_eq!(format!("{read:?}"), format!("{whole:?}"), "{text}");
        assert_eq!(problems(&found, &sources), said, "{text}");
        let spans = |read: &Read| {
            read.routes
                .iter()
                .map(|route| (route.name.span, route.config.span))
                .collect::<Vec<_>>()
        };
        assert_eq!(spans(&read), spans(&whole), "{text}");
    }
    (whole, said)
}

fn check_cuts(pieces: &[&str]) {
    let text = pieces.concat();
    let found = cut(&text, &OBJECTS, 1).expect("it can be cut");
    let found: Vec<_> = found.into_iter().map(|at| &text[at]).collect();
    assert_eq!(found, pieces);
}

#[test]
fn objects_are_not_cut_through() {
    check_cuts(&["a = 1\n"]);
    check_cuts(&["", "[routes.a]\n"]);
    check_cuts(&[
        "\u{feff}a = 1\r\n",
        "[gateway]\nb = 1\n[gateway.c]\n",
        "[routes.a]\n[routes.a.policies]\n[[routes.a.b]]\n[[routes.a.b]]\n[gateway.d]\n[routes.a.c]\n",
        "  [routes.\"b.c\"] # one\nd = [\n[1],\n]\n[routes.\"b.c\".e]\n",
        "[routes.\"b.d\"]\n",
        "[upstreams.a]",
    ]);
}

#[test]
fn pieces_are_as_large_as_asked() {
    let text = "[routes.a]\nb = 1\n[routes.b]\nb = 1\n[routes.c]\n";
    let count = |least| cut(text, &OBJECTS, least).map(|pieces| pieces.len());
    let counts = [1, 17, 18, 1000].map(count);
    assert_eq!(counts, [Some(4), Some(4), Some(3), Some(2)]);
}

#[test]
fn pieces_say_what_the_whole_says() {
    let (whole, said) = read(
        "\u{feff}include = [\"x\"]\r\n[gateway]\r\na = 1\r\n[routes.a]\r\nb = 1\r\n[routes.a.c]\r\n[gateway.b]\r\n\
         [routes.é]\r\nb = '''\r\n[routes.d]\r\n'''\r\n[[routes.e.f]]\r\n[[routes.e.f]]\r\n",
        false,
    );
    assert_eq!(
        (whole.routes.len(), said.len()),
        (0, 1),
        "é needs quotes: {said:?}"
    );
    let (whole, said) = read(
        "\u{feff}include = [\"x\"]\r\n[gateway]\r\na = 1\r\n[routes.a]\r\nb = 1\r\n[routes.a.c]\r\n[routes.\"é\"]\r\n\
         [routes.d]\r\nb = \"é\"\r\n[[routes.e.f]]\r\n[[routes.e.f]]\r\n[rutes.g]\r\n[routes.h]\r\n",
        true,
    );
    assert_eq!(whole.routes.len(), 4);
    let name = "must be a name of 1 to 63 letters, digits, \"_\", \"-\" or \".\", beginning with a letter or digit";
    let expected = [
        format!("7:9 the key in routes {name}, got \"é\""),
        "12:2 unknown key \"rutes\", did you mean \"routes\"?".to_owned(),
    ];
    assert_eq!(said, expected);
}

#[test]
fn what_looks_like_a_header_does_no_harm() {
    // A cut into a string or an array leaves a piece that is no TOML, so that the file is read as a whole.
    for value in [
        "'''\n[routes.x]\n'''",
        "\"\"\"\n  [routes.x]\n\"\"\"",
        "[\n[routes.x]\n]",
    ] {
        let (whole, said) = read(&format!("[routes.a]\nb = {value}\n[routes.c]\n"), false);
        let is_string = said.is_empty();
        assert_eq!(
            whole.routes.len(),
            if is_string { 2 } else { 0 },
            "{said:?}"
        );
    }
    read("[routes.a]\nb = [\n[1],\n[2],\n]\n[routes.c]\n", true);
    read("[routes.a]\nb = [\n[\"c\"],\n]\n[routes.c]\n", false);
    read("[routes.a]\nb = 1 # [routes.x]\n[routes.c]\n", true);
}

#[test]
fn what_is_defined_twice_is_an_error_of_the_whole() {
    let first = "[routes.a]\nb = 1\n[routes.c]\n";
    for (again, problem) in [
        ("[routes.a]\n", "4:9 the table [routes.a] is defined twice"),
        (
            "[routes.\"a\"]\n",
            "4:9 the table [routes.a] is defined twice",
        ),
        (
            "[routes.\"\\u0061\"]\n",
            "4:9 the table [routes.a] is defined twice",
        ),
        (
            "[[routes.a]]\n",
            "4:10 the table [routes.a] is defined twice",
        ),
        (
            "[gateway]\n[routes.d]\n[gateway]\n",
            "6:2 the table [gateway] is defined twice",
        ),
    ] {
        let (_, said) = read(&format!("{first}{again}"), false);
        assert_eq!(said, [problem], "{again}");
    }
}

#[test]
fn what_stands_apart_is_read_as_a_whole() {
    for (text, routes) in [
        ("[routes.a]\n[routes.b]\n[routes.a.c]\n", 2),
        ("[routes]\n[routes.a]\n[routes.b]\n", 2),
        ("[ routes.a ]\n[routes.b]\n", 2),
        ("[\"routes\".a]\n[routes.b]\n", 2),
        ("[routes .a]\n[routes.b]\n", 2),
        ("routes.a.b = 1\n[routes.b]\n", 2),
        ("gateway.a = 1\n[gateway.b]\n[routes.b]\n", 1),
        (
            "[gateway.a]\n[routes.a]\n[routes.b]\n[gateway.b]\n[routes.c]\n",
            3,
        ),
    ] {
        let (whole, said) = read(text, false);
        assert_eq!((whole.routes.len(), said), (routes, vec![]), "{text}");
    }
    for broken in [
        "\u{feff}[routes.b]",
        "[",
        "[]",
        "[routes.]",
        "a = ",
        "[routes.b",
        "b = 'x",
    ] {
        let (_, said) = read(&format!("[routes.a]\n{broken}\n[routes.c]\n"), false);
        assert_ne!(said, [""; 0], "{broken}");
    }
}
