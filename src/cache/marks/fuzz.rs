//! Any header to what reads tags, and any bytes to what reads what the disk keeps and other gateways tell.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::tags::MOST_TAGS;
use super::{Mark, Purge, Sign, Standing, TagField, Tags};
use crate::text::fuzz::fuzz;

const WORDS: [&str; 20] = [
    "surrogate-key: ",
    "cache-tag: ",
    "x-tags: ",
    "xkey: ",
    "\n",
    " ",
    "  ",
    ",",
    ", ",
    "\t",
    "a",
    "A",
    "b c",
    "product-17",
    "a,b",
    "\u{e9}",
    "\"",
    "*",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
];

/// What stands before the tags of a standing.
const HEAD: usize = 28;

/// A field a line.
#[test]
fn fuzz_tags() {
    let [surrogate, cache] = TagField::usual();
    let own = ["x-tags", "xkey"].map(|name| TagField::named(HeaderName::from_static(name)));
    let fields = [&[surrogate, cache][..], &own].concat();
    fuzz("cache_tags", &WORDS, |input| {
        let mut headers = HeaderMap::new();
        let mut expected = BTreeSet::new();
        for line in input.split(|&byte| byte == b'\n') {
            let Some((name, value)) = field(line) else {
                continue;
            };
            let is_between: fn(&u8) -> bool = match name.as_str() {
                "surrogate-key" | "xkey" => |byte| b" \t".contains(byte),
                "cache-tag" | "x-tags" => |byte| *byte == b',',
                _ => continue,
            };
            let tags = value.as_bytes().split(is_between);
            let tags = tags.map(|tag| tag.trim_ascii().to_ascii_lowercase());
            expected.extend(tags.filter(|tag| !tag.is_empty()));
            headers.append(name, value);
        }
        let tags = Tags::of(&headers, &fields);
        assert_eq!(tags.are_too_many(), expected.len() > MOST_TAGS);
        if !tags.are_too_many() {
            let mut signs: Vec<Sign> = expected.iter().map(|tag| Sign::tag(tag)).collect();
            signs.sort_unstable();
            assert_eq!(tags.signs(), signs);
        }
        check_again(&Standing::new(7, (b"a.example", input), tags.clone()));
        // With one more tag, whatever there was, that one finds it.
        if let Some(line) = headers.get("cache-tag") {
            let line = [line.as_bytes(), b",Mine"].concat();
            let line = HeaderValue::from_bytes(&line).expect("of values");
            headers.insert("cache-tag", line);
            let tags = Tags::of(&headers, &fields);
            assert!(tags.are_too_many() || tags.signs().contains(&Sign::tag(b"mine")));
        }
        (headers.len(), expected.len())
    });
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((name, value))
}

fn check_again(standing: &Standing) {
    let mut written = Vec::new();
    standing.write(&mut written);
    let read = Standing::read(&written).expect("it is whole");
    assert_eq!(read.tags(), standing.tags());
    let signs = |it: &Standing| (it.start(), it.url(), it.host());
    assert_eq!(signs(&read), signs(standing));
}

/// What is read is written again as it was.
#[test]
fn fuzz_kept_marks() {
    let words = [
        "\0",
        "\u{1}",
        "\u{2}",
        "\0\0\0\0\0\0\0\0",
        "\u{7}",
        "\u{3}\u{7f}",
    ];
    fuzz("cache_marks", &words, |input| {
        let purge = Purge::from_bytes(input);
        if let Some(purge) = purge {
            assert_eq!(purge.to_bytes(), input);
            assert!(purge.soft().is_soft());
        }
        let mark = Mark::from_bytes(input);
        if let Some(mark) = mark {
            assert_eq!(mark.to_bytes(), input);
        }
        let standing = Standing::read(input);
        if let Some(standing) = &standing {
            check_again(standing);
            let mut written = Vec::new();
            standing.write(&mut written);
            let (tags, _) = input[HEAD..].as_chunks::<8>();
            let count = u16::from_be_bytes([input[2], input[3]]);
            assert_eq!(
                (usize::from(count), 8 * tags.len()),
                (tags.len(), input.len() - HEAD)
            );
            // Tags that are not as they are written are put in order, and each once.
            if tags.is_sorted_by(|one, other| one < other)
                && tags.len() <= MOST_TAGS
                && input[1] == 0
            {
                assert_eq!(written, input);
            }
        }
        (
            purge.map(|purge| (purge.kind(), purge.is_soft())).map(name),
            mark.map(|mark| (mark.purge().kind(), mark.purge().is_soft()))
                .map(name),
            standing.map(|it| (it.tags().are_too_many(), it.tags().signs().len())),
        )
    });
}

fn name((kind, is_soft): (super::Kind, bool)) -> (&'static str, bool) {
    (kind.as_str(), is_soft)
}
