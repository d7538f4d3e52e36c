use super::*;

fn apply(filter: &str, json: &str) -> Option<String> {
    let filter = Filter::compile(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
    filter.apply(json)
}

#[test]
fn filters_make_values() {
    let check = |filter: &str, json: &str, expected: &str| {
        let made = apply(filter, json);
        assert_eq!(made.as_deref(), Some(expected), "{filter} {json}");
    };
    check(
        ".",
        "{\"b\":1.50,\"a\":12345678901234567890123}",
        "{\"b\":1.50,\"a\":12345678901234567890123}",
    );
    check(
        ".items | map({id, cost: .price.amount})",
        r#"{"items":[{"id":1,"price":{"amount":2},"x":3}]}"#,
        r#"[{"id":1,"cost":2}]"#,
    );
    check(
        "[.[] | select(.n > 1) | .n * 2 + 1]",
        r#"[{"n":1},{"n":2},{"n":3}]"#,
        "[5,7]",
    );
    check(
        "group_by(.k) | map({(.[0].k): map(.v) | add}) | add",
        r#"[{"k":"a","v":1},{"k":"b","v":2},{"k":"a","v":3}]"#,
        r#"{"a":4,"b":2}"#,
    );
    check(
        "reduce .[] as $x ({}; .[$x.k] = $x.v)",
        r#"[{"k":"a","v":1},{"k":"b","v":2}]"#,
        r#"{"a":1,"b":2}"#,
    );
    check(
        "with_entries(.value += 1) | to_entries | map(.key) | sort",
        r#"{"b":1,"a":2}"#,
        r#"["a","b"]"#,
    );
    check(
        "walk(if type == \"number\" then . + 1 else . end)",
        "[1,[2,{\"a\":3}]]",
        "[2,[3,{\"a\":4}]]",
    );
    check("[.a[]?, .b // 7, (.c | length)]", r#"{"c":"é"}"#, "[7,1]");
    check(
        "\"\\(.a)-\\(.b | tojson)\" | ascii_upcase",
        r#"{"a":"x","b":[1]}"#,
        "\"X-[1]\"",
    );
    check("def twice(f): f | f; .a | twice(. * 3)", "{\"a\":2}", "18");
    check("[limit(3; repeat(1))], [range(2; 5)] | add", "null", "3");
    check("until(. > 100; . * 2)", "3", "192");
    check(
        "[recurse(if . < 3 then . + 1 else empty end)]",
        "0",
        "[0,1,2,3]",
    );
    check("[paths(type == \"number\")] | length", "[1,[2,3]]", "3");
    // What follows a name that is taken away may come in another order.
    check(
        "del(.c, .b[0]) | .a |= (. + [1] | unique)",
        r#"{"a":[3,1],"b":[1,2],"c":1}"#,
        r#"{"a":[1,3],"b":[2]}"#,
    );
    check(
        "[.[] | ascii_downcase | select(test(\"^a\")) | sub(\"a\"; \"b\")]",
        r#"["Ax","xa"]"#,
        "[\"bx\"]",
    );
    check(
        "{a: 1} * {b: {c: 2}} | .b.c -= 1 | .a *= 5",
        "null",
        r#"{"a":5,"b":{"c":1}}"#,
    );
    check("try error(\"x\") catch .", "null", "\"x\"");
    check("first(.[] | select(. > 1)), 9", "[1,2,3]", "2");
    check(
        "[.[] as [$a, $b] | {a: $a, $b}]",
        "[[1,2]]",
        r#"[{"a":1,"b":2}]"#,
    );
    check(
        "label $out | foreach .[] as $x (0; . + $x; if . > 2 then ., break $out else empty end)",
        "[1,2,3]",
        "3",
    );
    check("@base64 \"\\(.)\" , @uri \"\\(.)\"", "\"a b\"", "\"YSBi\"");
}

#[test]
fn what_makes_nothing_is_nothing() {
    for (filter, json) in [
        ("empty", "1"),
        (".a", "1"),
        ("error(\"x\")", "1"),
        ("nan", "1"),
        ("1 / 0", "1"),
        ("infinite", "1"),
        ("tobytes", "\"x\""),
        (".", &"1".repeat(2000)),
    ] {
        assert_eq!(apply(filter, json), None, "{filter}");
    }
}

#[test]
fn nothing_goes_on_for_ever() {
    let many = format!("[{}]", vec!["1"; 2000].join(","));
    for filter in [
        "[range(1000000000000)]",
        "last(range(1000000000000))",
        "[repeat(1)]",
        "last(repeat(1))",
        "repeat(empty)",
        "until(false; .)",
        "[while(true; . )] | length",
        "[recurse(.)]",
        "last(recurse(.))",
        "[limit(1000000000000; repeat(1))]",
        "isempty(repeat(empty))",
        "reduce repeat(1) as $x (0; . + 1)",
        "[.[] as $a | .[] as $b | .[] as $c | $a]",
        "[.[] + .[] + .[]]",
        "last(.[] as $a | .[] as $b | .[] as $c | [$a, $b, $c])",
        "[(1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2) | (1, 2)]",
        "\"ab\" * 1000000000000",
        "1000000000000 * \"ab\"",
        "reduce range(60) as $i (\"x\"; . + .)",
        "reduce range(60) as $i (\"x\"; . += .)",
        "reduce range(60) as $i ([1]; . + .) | length",
        "reduce range(60) as $i (1; [., .]) | tojson",
        "reduce range(60) as $i (1; [., .])",
        "reduce range(60) as $i (1; {a: ., b: .})",
        "reduce range(60) as $i ({}; .a = . | .b = .)",
        "reduce range(200) as $i ({}; .a |= [.] | .b = .)",
        "reduce range(60) as $i (1; [., .]) | . == .",
        "reduce range(100000) as $i (null; [.])",
        "reduce range(100000) as $i (null; {a: .})",
        "until(false; [.])",
        "[limit(20; repeat(walk([.])))]",
        "reduce range(40) as $i (.; walk([.]))",
        "reduce range(60) as $i (123456789; . * .)",
        "[combinations(50)]",
        "[[.] | combinations(3000)]",
        "try last(repeat(1)) catch 1",
        "last(repeat(1))? // 1",
        "[.[] | try repeat(1) catch empty]",
        "try [range(1000000000000)] catch range(1000000000000)",
        "[paths(repeat(1))]",
        "[path(repeat(.))]",
        "[path(last(recurse(.)))]",
        ".[] |= last(repeat(1))",
        "first(.[] | select(repeat(false)))",
        "[splits(\"1\"; null)] | until(false; .)",
    ] {
        let start = std::time::Instant::now();
        let compiled = Filter::compile(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
        assert!(compiled.run(&many, 50_000).is_none(), "{filter}");
        // In a build that is not optimised, beside other tests.
        assert!(
            start.elapsed().as_secs() < 30,
            "{filter}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn what_is_no_filter_is_found_at_load() {
    let check = |filter: &str, expected: FilterError| {
        assert_eq!(Filter::compile(filter).map(drop), Err(expected), "{filter}");
    };
    let syntax = |rest: &str| FilterError::Syntax(rest.into());
    let undefined = |name: &str| FilterError::Undefined(name.into());
    check(".a |", syntax(""));
    check(".a ] b", syntax("] b"));
    check("", syntax(""));
    check("nothing(1)", undefined("nothing"));
    check("$x", undefined("$x"));
    for name in [
        "input",
        "inputs",
        "env",
        "now",
        "debug",
        "stderr",
        "halt",
        "localtime",
    ] {
        check(name, undefined(name));
    }
    check("$ENV", undefined("$ENV"));
    check("!tick", syntax("!"));
    check("northgate_main", undefined("northgate_main"));
    check("def f: f; f", FilterError::Recursive("f".into()));
    check(
        "def f(g): def h: [f(g)]; h; f(.)",
        FilterError::Recursive("f".into()),
    );
    check("import \"a\" as a; .", FilterError::Other);
    check(&"[".repeat(40), FilterError::TooDeep);
    check(&" ".repeat(5000), FilterError::TooLong(5000));
    assert!(Filter::compile("def f: 1; def g: f; g").is_ok());
}

#[test]
fn no_text_goes_deeper_than_there_is_stack() {
    for piece in [
        "-",
        "try ",
        ". as $x | ",
        "if . then ",
        "def f: ",
        "label $x | ",
        ". | ",
        ". , ",
        "1 + ",
        ". // ",
        ".a",
        ".[0]",
        ". and ",
        "f(",
        "{a: ",
        "\"\\(",
        "?",
        "..",
        "not | ",
        "[",
        ". = ",
        ". |= ",
        "reduce ",
        "@base64 ",
    ] {
        for end in ["", "."] {
            let text = piece.repeat(LONGEST / piece.len() - 1) + end;
            if let Ok(filter) = Filter::compile(&text) {
                let _ = filter.apply("{\"a\":1}");
            }
        }
    }
    // Also where everything is as deep as it may be.
    let deep = format!("{}1{}", "[".repeat(128), "]".repeat(128));
    for name in [
        "map",
        "walk",
        "with_entries",
        "recurse",
        "any",
        "first",
        "path",
        "sort_by",
        "add",
        "limit(1; ",
    ] {
        let open = if name.ends_with(' ') {
            name.to_owned()
        } else {
            format!("{name}(")
        };
        let text = format!("{}.{}", open.repeat(31), ")".repeat(31));
        let filter = Filter::compile(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let _ = filter.apply(&deep);
    }
    for piece in [
        "map(.) | ",
        ".[]? | ",
        "[.] | ",
        "walk(.) | ",
        ". as $x | ",
        ".. |= . | ",
        "tojson | fromjson | ",
    ] {
        let text = format!("{}.", piece.repeat(60));
        let made = Filter::compile(&text).map(|filter| filter.apply(&deep));
        assert!(made.is_ok() || made == Err(FilterError::TooDeep), "{text}");
    }
}

#[test]
fn nothing_goes_deeper_than_its_stack() {
    for filter in [
        "recurse(.) |= 1",
        "repeat(.) |= .",
        "(while(true; .)) |= 1",
        "until(false; .) |= .",
        "(reduce range(10000000) as $i (.; .)) |= 1",
        "(foreach range(10000000) as $i (.; .)) |= 1",
        "del(recurse(.))",
        "null | setpath([range(100000) | \"a\"]; 1)",
        "null | getpath([range(1000000) | \"a\"])",
        "null | delpaths([[range(100000) | \"a\"]])",
    ] {
        assert!(apply(filter, "[1]").is_none(), "{filter}");
    }
}

/// A value is weighed by what it holds, and holds the same text many times: it is written with all of them.
#[test]
fn no_text_is_longer_than_any_answer() {
    let filter = |times: usize| format!("(\"x\" * 1000000) as $x | [range({times}) | $x]");
    assert!(apply(&filter(2), "1").is_some_and(|made| made.len() > 2_000_000));
    assert!(apply(&filter(80), "1").is_none());
}
