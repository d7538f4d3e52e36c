//! What a response varies by, and which requests are of one variant: those and only those that say the same.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use http::header::{ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, HeaderName, VARY};
use http::{HeaderMap, HeaderValue};
use regex::bytes::Regex;

use super::super::{Vary, said};
use super::{halves, headers, lines, value};
use crate::text::fuzz::fuzz;

const WORDS: [&str; 32] = [
    "vary: ",
    "\n",
    "\n\n",
    "accept-encoding",
    "accept-language",
    "Accept",
    "x-a",
    "*",
    ",",
    ", ",
    " ,",
    " ",
    "\t",
    ";",
    "; ",
    "q=",
    ";q=0",
    ";q=0.0",
    ";q=0.5",
    ";Q=1",
    ";q=1.001",
    "gzip",
    "GZIP",
    "br",
    "identity",
    "en",
    "en-US",
    "\"",
    "\"a, b\"",
    "\"a,b\"",
    "\\\"",
    "\\",
];

const MOST_NAMES: usize = 16;
/// How many bytes are left out of a line, one at a time.
const MOST_NEIGHBOURS: usize = 24;

/// A header with `Vary`, an empty line, and lines that requests say.
#[test]
fn fuzz_variants() {
    fuzz("variants", &WORDS, |input| {
        let (response, said) = halves(input);
        let named = check_vary(&headers(response));
        let lines: Vec<&[u8]> = said.split(|&byte| byte == b'\n').take(4).collect();
        let own = HeaderName::from_static("x-a");
        let names = [&own, &ACCEPT_CHARSET, &ACCEPT_LANGUAGE, &ACCEPT_ENCODING];
        (named, names.map(|name| check_lines(name, &lines)))
    });
}

fn check_vary(headers: &HeaderMap) -> Option<usize> {
    let vary = Vary::of(headers);
    let text = lines(headers, VARY.as_str()).join(&b","[..]);
    let text = String::from_utf8_lossy(&text).to_lowercase();
    let words = text.split(',').map(|word| word.trim_matches([' ', '\t']));
    let words: BTreeSet<&str> = words.filter(|word| !word.is_empty()).collect();
    let are_names = words.iter().all(|word| word.parse::<HeaderName>().is_ok());
    let expected: Vec<&str> = words.iter().copied().collect();
    if !are_names || words.contains("*") || words.len() > MOST_NAMES {
        assert_eq!(vary, Vary::Anything, "{text}");
        return None;
    }
    assert_eq!(vary.names(), expected, "{text}");
    assert_eq!(vary == Vary::Nothing, words.is_empty(), "{text}");
    Some(words.len())
}

/// Each with each, with what is left where something is missing of it, and in lines that say the same.
fn check_lines(name: &HeaderName, lines: &[&[u8]]) -> Vec<usize> {
    let requests: Vec<Vec<Vec<u8>>> = lines
        .iter()
        .map(|line| vec![line.to_vec()])
        .chain([vec![], lines.iter().map(|line| line.to_vec()).collect()])
        .collect();
    for (place, one) in requests.iter().enumerate() {
        for other in &requests[place..] {
            check_two(name, one, other);
        }
        if let [line] = &one[..] {
            for at in 0..line.len().min(MOST_NEIGHBOURS) {
                let mut shorter = line.clone();
                shorter.remove(at);
                check_two(name, one, &[shorter]);
                let mut longer = line.clone();
                longer.insert(at, b' ');
                check_two(name, one, &[longer]);
            }
        }
    }
    let normal = requests.iter().filter_map(|it| normal(name, it));
    normal.map(|normal| normal.len().min(8)).collect()
}

fn check_two(name: &HeaderName, one: &[Vec<u8>], other: &[Vec<u8>]) {
    let [Some(first), Some(second)] = [one, other].map(|lines| request(name, lines)) else {
        return;
    };
    let is_same = said(&first, name) == said(&second, name);
    let expected = normal(name, one) == normal(name, other);
    assert_eq!(is_same, expected, "{name}: {first:?} {second:?}");
}

fn request(name: &HeaderName, lines: &[Vec<u8>]) -> Option<HeaderMap> {
    let values = lines.iter().map(|line| Some((name.clone(), value(line)?)));
    let values = values.collect::<Option<Vec<(HeaderName, HeaderValue)>>>()?;
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        headers.append(name, value);
    }
    Some(headers)
}

/// What is said, without what means nothing.
fn normal(name: &HeaderName, lines: &[Vec<u8>]) -> Option<Vec<u8>> {
    if lines.is_empty() {
        return None;
    }
    if *name == ACCEPT_ENCODING {
        return Some(codings(lines));
    }
    if [ACCEPT_CHARSET, ACCEPT_LANGUAGE].contains(name) {
        return Some(plainly(lines));
    }
    static ELEMENT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"(?s-u)^(?:[^",]|"(?:[^"\\]|\\.)*(?:"|\\?$))*"#).unwrap());
    let lines = lines.iter().map(|line| {
        let (mut rest, mut elements) = (&line[..], Vec::new());
        loop {
            let element = ELEMENT.find(rest).expect("it may be empty").as_bytes();
            elements.push(element.trim_ascii());
            match rest.get(element.len() + 1..) {
                Some(more) => rest = more,
                None => return elements.join(&b","[..]),
            }
        }
    });
    Some(lines.collect::<Vec<_>>().join(&b","[..]))
}

/// In lower case, without white space about commas and semicolons (RFC 9110 sections 5.6.1 and 5.6.6), and nowhere else.
fn plainly(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut text = lines.join(&b","[..]).to_ascii_lowercase();
    for end in *b",;" {
        let words = text.split(|&byte| byte == end).map(<[u8]>::trim_ascii);
        text = words.collect::<Vec<_>>().join(&[end][..]);
    }
    text
}

/// Each once, whatever their order, and of their weights only whether they are zero; what cannot be read stays as it is.
fn codings(lines: &[Vec<u8>]) -> Vec<u8> {
    static WEIGHED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?s-u)^([^;]+);q=(?:(0(?:\.0{0,3})?)|0\.[0-9]{1,3}|1(?:\.0{0,3})?)$").unwrap()
    });
    let text = plainly(lines);
    let elements = text.split(|&byte| byte == b',').filter(|it| !it.is_empty());
    let elements = elements.map(|element| match WEIGHED.captures(element) {
        None => element.to_vec(),
        Some(parts) if parts.get(2).is_some() => [&parts[1], b";q=0"].concat(),
        Some(parts) => parts[1].to_vec(),
    });
    let elements: BTreeSet<Vec<u8>> = elements.collect();
    elements.into_iter().collect::<Vec<_>>().join(&b","[..])
}
