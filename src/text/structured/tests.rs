use sfv::SerializeValue as _;

use super::*;
use crate::text::fuzz::fuzz;

fn canonical(text: &str) -> Result<String, Malformed> {
    let members = dictionary(text, Twice::Refused)?;
    let mut written = String::new();
    write_dictionary(&mut written, &members);
    assert_eq!(
        dictionary(&written, Twice::Refused),
        Ok(members),
        "{text:?} → {written:?}"
    );
    Ok(written)
}

#[test]
fn dictionaries_have_one_form() {
    let check = |text: &str, expected: &str| {
        assert_eq!(canonical(text).as_deref(), Ok(expected), "{text:?}");
    };
    check("", "");
    check("  ", "");
    check("a=1,b=2 ,\tc=3", "a=1, b=2, c=3");
    check("a", "a");
    check("a=?1;x", "a;x");
    check("a=?0; x=?1;  y=?0", "a=?0;x;y=?0");
    check("a=(  \"b\"   c;d  );e", "a=(\"b\" c;d);e");
    check("a=()", "a=()");
    check("a=-0012", "a=-12");
    check("a=999999999999999", "a=999999999999999");
    check(
        "a=1.50, b=-2.075, c=3.0, d=0.001",
        "a=1.5, b=-2.075, c=3.0, d=0.001",
    );
    check(r#"a="x\"y\\z""#, r#"a="x\"y\\z""#);
    check("a=:aGVsbG8=:, b=::", "a=:aGVsbG8=:, b=::");
    check("a=*tok/en:1", "a=*tok/en:1");
    check("a=@1659578233", "a=@1659578233");
    check("a=%\"f%c3%bc %25\"", "a=%\"f%c3%bc %25\"");
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for text in [
        "a=1, a=2",
        "a;x;x",
        "a=1,",
        "a=1, ,b",
        ",",
        "a=1 b=2",
        "\ta=1",
        "A=1",
        "1=1",
        "a= 1",
        "a=",
        "a=(",
        "a=(1",
        "a=(1\t2)",
        "a=(1)(2)",
        "a=(1(2))",
        "a=((1))",
        "a=1.",
        "a=.1",
        "a=1.2345",
        "a=1234567890123.1",
        "a=1234567890123456",
        "a=--1",
        "a=-",
        "a=\"x",
        "a=\"x\\y\"",
        "a=\"\u{e9}\"",
        "a=\"\n\"",
        "a=:aGVsbG8:",
        "a=:aGVsbG9=:",
        "a=:aGVs bG8=:",
        "a=:aGVsbG8=",
        "a=:-_8=:",
        "a=?2",
        "a=?",
        "a=@1.5",
        "a=@x",
        "a=%\"%C3%BC\"",
        "a=%\"%ff\"",
        "a=%\"x",
        "a=\u{e9}",
        "a=1;B=2",
        "a;",
    ] {
        assert!(canonical(text).is_err(), "{text:?}");
    }
}

#[test]
fn there_is_an_end_to_what_is_read() {
    let many = |count: usize| (0..count).map(|n| format!("k{n}")).collect::<Vec<_>>();
    assert!(dictionary(&many(64).join(","), Twice::Refused).is_ok());
    assert!(dictionary(&many(65).join(","), Twice::Refused).is_err());
    assert!(dictionary(&format!("a;{}", many(64).join(";")), Twice::Refused).is_ok());
    assert!(dictionary(&format!("a;{}", many(65).join(";")), Twice::Refused).is_err());
    assert!(dictionary(&format!("a=({})", many(64).join(" ")), Twice::Refused).is_ok());
    assert!(dictionary(&format!("a=({})", many(65).join(" ")), Twice::Refused).is_err());
}

/// What this reads, others read too, and take it for the same.
#[test]
fn fuzz_structured_fields() {
    let words = [
        "a=",
        "b",
        "sig1=(",
        ")",
        ";",
        ", ",
        " ",
        "\t",
        "-2.5",
        "0.125",
        "\"x\"",
        "\\\"",
        "tok",
        ":AQI=:",
        "?1",
        "?0",
        "@5",
        "\"@method\"",
        ";created=",
        ";keyid",
        "%\"f%c3%bc\"",
        "*",
    ];
    fuzz("structured_fields", &words, |input| {
        let text = String::from_utf8_lossy(input);
        let ours = canonical(&text);
        // Dates and display strings are younger than the other implementation.
        if let Ok(ours) = &ours
            && !ours.is_empty()
            && !text.contains(['@', '%'])
        {
            let theirs = sfv::Parser::parse_dictionary(input).expect("others read it");
            let theirs = theirs.serialize_value().expect("they can write it");
            // They leave noughts at the end of a decimal, which section 4.1.5 of RFC 9651 does not, and a sign before 0.
            let theirs = canonical(&theirs).expect("and it is read here");
            assert_eq!(ours.as_str(), theirs);
        }
        ours.map(|text| text.len()).map_err(|Malformed(why)| why)
    });
}
