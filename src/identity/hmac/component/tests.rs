use super::*;

/// The value of one component of a request, or why there is none.
fn value(request: &[(&str, &str)], identifier: &str) -> Result<String, Wrong> {
    let text = format!("x=({identifier})");
    let members = dictionary(&text, Twice::Refused).expect("an identifier");
    let Some((_, Member::List(input))) = members.first() else {
        panic!("no list");
    };
    let mut headers = HeaderMap::new();
    let (mut target, mut scheme, mut authority) = ("/path", "https", "www.example.com");
    for (name, value) in request {
        match *name {
            "target" => target = value,
            "scheme" => scheme = value,
            "authority" => authority = value,
            name => {
                let name: HeaderName = name.parse().expect("a name");
                let value = http::HeaderValue::from_bytes(value.as_bytes()).expect("a value");
                headers.append(name, value);
            }
        }
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let message = Message {
        method: &Method::POST,
        scheme,
        authority,
        path,
        query,
        headers: &headers,
    };
    let (base, _) = signature_base(&message, input)?;
    let line = base.lines().next().expect("a line");
    let first = input.items.first().expect("an item").to_string();
    let line = line.strip_prefix(&first).expect("the identifier");
    Ok(line.strip_prefix(": ").expect("a value").to_owned())
}

/// The examples of sections 2.1 and 2.2, and what stands beside them.
#[test]
fn components_have_one_value() {
    let check = |request: &[(&str, &str)], identifier: &str, expected: &str| {
        let value = value(request, identifier);
        assert_eq!(value.as_deref(), Ok(expected), "{request:?} {identifier}");
    };
    check(&[], r#""@method""#, "POST");
    check(
        &[("target", "/path?param=value")],
        r#""@target-uri""#,
        "https://www.example.com/path?param=value",
    );
    check(
        &[("authority", "WWW.Example.com:443")],
        r#""@authority""#,
        "www.example.com",
    );
    check(
        &[("authority", "example.com:80")],
        r#""@authority""#,
        "example.com:80",
    );
    check(
        &[("authority", "example.com:80"), ("scheme", "http")],
        r#""@authority""#,
        "example.com",
    );
    check(
        &[("authority", "[::1]:8443")],
        r#""@authority""#,
        "[::1]:8443",
    );
    check(&[("scheme", "http")], r#""@scheme""#, "http");
    check(
        &[("target", "/path?param=value")],
        r#""@request-target""#,
        "/path?param=value",
    );
    check(&[("target", "/path?param=value")], r#""@path""#, "/path");
    check(
        &[("target", "/path?param=value&foo=bar&baz=bat%2Dman")],
        r#""@query""#,
        "?param=value&foo=bar&baz=bat%2Dman",
    );
    check(&[("target", "/path?")], r#""@query""#, "?");
    check(&[("target", "/path")], r#""@query""#, "?");
    let query = &[("target", "/path?param=value&foo=bar&baz=batman&qux=")];
    check(query, r#""@query-param";name="baz""#, "batman");
    check(query, r#""@query-param";name="qux""#, "");
    check(query, r#""@query-param";name="param""#, "value");
    let query = &[(
        "target",
        "/parameters?var=this%20is%20a%20big%0Amultiline%20value&bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=something",
    )];
    check(
        query,
        r#""@query-param";name="var""#,
        "this%20is%20a%20big%0Amultiline%20value",
    );
    check(
        query,
        r#""@query-param";name="bar""#,
        "with%20plus%20whitespace",
    );
    check(
        query,
        r#""@query-param";name="fa%C3%A7ade%22%3A%20""#,
        "something",
    );
    let fields = &[
        ("x-ows-header", "Leading and trailing whitespace.  "),
        ("cache-control", "max-age=60"),
        ("cache-control", "   must-revalidate"),
        ("x-empty-header", ""),
        ("example-dict", "a=1,    b=2;x=1;y=2,   c=(a   b   c), d"),
        ("priority", " u=1,   i "),
        ("example-header", "value, with, lots"),
        ("example-header", "of, commas"),
    ];
    check(
        fields,
        r#""x-ows-header""#,
        "Leading and trailing whitespace.",
    );
    check(fields, r#""cache-control""#, "max-age=60, must-revalidate");
    check(fields, r#""x-empty-header""#, "");
    check(
        fields,
        r#""example-dict""#,
        "a=1,    b=2;x=1;y=2,   c=(a   b   c), d",
    );
    check(fields, r#""example-dict";key="a""#, "1");
    check(fields, r#""example-dict";key="d""#, "?1");
    check(fields, r#""example-dict";key="b""#, "2;x=1;y=2");
    check(fields, r#""example-dict";key="c""#, "(a b c)");
    check(fields, r#""priority";sf"#, "u=1, i");
    check(
        fields,
        r#""example-header";bs"#,
        ":dmFsdWUsIHdpdGgsIGxvdHM=:, :b2YsIGNvbW1hcw==:",
    );
}

#[test]
fn what_is_not_the_same_for_everybody_is_refused() {
    let request = &[
        ("target", "/?a=1&a=2&b=%ff&c=1"),
        ("x", "caf\u{e9}"),
        ("d", "a=1, a=2"),
        ("list", "a, b"),
    ];
    for identifier in [
        r#""@status""#,
        r#""@signature-params""#,
        r#""@unknown""#,
        r#""@method";req"#,
        r#""@path";sf"#,
        r#""@query-param""#,
        r#""@query-param";name=a"#,
        r#""@query-param";name="a""#,
        r#""@query-param";name="b""#,
        r#""@query-param";name="z""#,
        r#""@query-param";name="c";req"#,
        r#""absent""#,
        r#""List""#,
        r#""li st""#,
        r#""""#,
        r#""x""#,
        r#""x";key="a""#,
        r#""d";key="a""#,
        r#""d";key="z""#,
        r#""list";sf"#,
        r#""list";sf=?0"#,
        r#""list";tr"#,
        r#""list";req"#,
        r#""list";bs;sf"#,
        r#""list";bs;key="a""#,
        r#"list"#,
        r#"1"#,
        r#""list" "list""#,
        r#""list";bs "list";bs"#,
    ] {
        assert!(value(request, identifier).is_err(), "{identifier}");
    }
    assert_eq!(value(request, r#""list" "list";bs"#).as_deref(), Ok("a, b"));
    assert_eq!(value(request, r#""x";bs"#).as_deref(), Ok(":Y2Fmw6k=:"));
}

#[test]
fn some_components_say_what_others_would() {
    let check = |covered: &str, required: &str, expected: bool| {
        let text = format!("x=({covered})");
        let members = dictionary(&text, Twice::Refused).expect("an identifier");
        let Some((_, Member::List(input))) = members.first() else {
            panic!("no list");
        };
        let covered = Component::of(&input.items[0]).expect("a component");
        let required = Component::named(required).expect("a name");
        assert_eq!(covered.covers(&required), expected, "{text} {required:?}");
    };
    check(r#""@target-uri""#, "@path", true);
    check(r#""@target-uri""#, "@authority", true);
    check(r#""@target-uri""#, "@method", false);
    check(r#""@request-target""#, "@query", true);
    check(r#""@request-target""#, "@authority", false);
    check(r#""@path""#, "@query", false);
    check(r#""@query-param";name="a""#, "@query", false);
    check(r#""date""#, "date", true);
    check(r#""content-digest";sf"#, "content-digest", true);
    check(r#""date";bs"#, "date", true);
    check(r#""priority";key="u""#, "priority", false);
}
