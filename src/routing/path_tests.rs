use super::*;

#[test]
fn templates_say_what_is_wrong_and_where() {
    use PathProblem::*;
    let check = |text: &str, at: usize, problem: PathProblem| {
        assert_eq!(
            PathTemplate::parse(text),
            Err(PathError { at, problem }),
            "{text}"
        );
    };
    check("", 0, NoLeadingSlash);
    check("v1", 0, NoLeadingSlash);
    check("//", 1, EmptySegment);
    check("/a//b", 3, EmptySegment);
    check("/a/../b", 3, DotSegment);
    check("/.", 1, DotSegment);
    check("/a/%2E%2e", 3, DotSegment);
    check("/a?b=c", 2, QueryOrFragment);
    check("/a/b#c", 4, QueryOrFragment);
    check("/a/{id", 3, UnclosedBrace);
    check("/{a/b}", 1, UnclosedBrace);
    check("/id}", 3, UnopenedBrace);
    check("/a-{id}", 3, PartialSegment);
    check("/{id}.json", 1, PartialSegment);
    check("/{a}{b}", 1, PartialSegment);
    check("/{}", 1, EmptyName);
    check("/a/{*}", 3, EmptyName);
    check("/{a-b}", 1, InvalidName("a-b".into()));
    check("/{1}", 1, InvalidName("1".into()));
    check("/{**a}", 1, InvalidName("*a".into()));
    check("/{id}/x/{id}", 8, DuplicateName("id".into()));
    check("/{id}/{*id}", 6, DuplicateName("id".into()));
    check("/{*rest}/a", 1, RestNotLast);
    check("/{*rest}/", 1, RestNotLast);
    check(
        &"/a".repeat(MAX_SEGMENTS + 1),
        2 * MAX_SEGMENTS + 1,
        TooManySegments,
    );
    assert!(PathTemplate::parse(&"/a".repeat(MAX_SEGMENTS)).is_ok());
}

#[test]
fn captures_are_named_in_order() {
    let check = |text: &str, expected: &[&str]| {
        let template = PathTemplate::parse(text).expect(text);
        let names: Vec<&str> = template.captures().iter().map(|name| &**name).collect();
        assert_eq!(names, expected, "{text}");
        assert_eq!(template.to_string(), text);
    };
    check("/", &[]);
    check("/v1/orders", &[]);
    check("/v1/orders/", &[]);
    check(
        "/{tenant}/orders/{order_id}/{*rest}",
        &["tenant", "order_id", "rest"],
    );
}

#[test]
fn templates_match_paths() {
    let check = |text: &str, path: &str, expected: Option<&[&str]>| {
        let template = if text == "any" {
            PathTemplate::any()
        } else {
            PathTemplate::parse(text).expect(text)
        };
        let captures = template.capture(path);
        let values = captures
            .as_ref()
            .map(|captures| captures.values(path).collect::<Vec<_>>());
        assert_eq!(values.as_deref(), expected, "{text} {path}");
    };
    check("/", "/", Some(&[]));
    check("/", "/a", None);
    check("/", "", None);
    check("/a/b", "/a/b", Some(&[]));
    check("/a/b", "/a/b/", None);
    check("/a/b/", "/a/b/", Some(&[]));
    check("/a/b/", "/a/b", None);
    check("/a", "/A", None);
    check("/{id}", "/a", Some(&["a"]));
    check("/{id}", "/", None);
    check("/{id}", "/a/", None);
    check("/{id}", "/a/b", None);
    check("/{a}/x/{b}", "/ü/x/2", Some(&["ü", "2"]));
    check("/{a}/x/{b}", "/1//2", None);
    check("/s/{*rest}", "/s", Some(&[""]));
    check("/s/{*rest}", "/s/", Some(&[""]));
    check("/s/{*rest}", "/s/a/b", Some(&["a/b"]));
    check("/s/{*rest}", "/s//", Some(&["/"]));
    check("/s/{*rest}", "/st", None);
    check(
        "/{a}/{b}/{c}/{d}/{*e}",
        "/1/2/3/4/5/6",
        Some(&["1", "2", "3", "4", "5/6"]),
    );
    check("/{*rest}", "/", Some(&[""]));
    check("/{*rest}", "*", Some(&[""]));
    check("any", "/a/b", Some(&[]));
    check("any", "*", Some(&[]));
    check("any", "", Some(&[]));
}

#[test]
fn captures_of_another_path_are_absent_rather_than_a_panic() {
    let template = PathTemplate::parse("/{a}").expect("a template");
    let captures = template.capture("/abcdef").expect("a match");
    assert_eq!(captures.value("/ü", 0), None);
    assert_eq!(captures.value("/abcdef", 1), None);
}
