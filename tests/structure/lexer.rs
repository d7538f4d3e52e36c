//! A small lexer of Rust: enough to leave out comments, literals and tests, and to find words.

/// Blanks the item behind every `#[cfg(test)]`.
pub fn blank_tests(code: &str) -> String {
    blank_items(code, |item| item.starts_with("#[cfg(test)]"))
}

/// Whether an item begins here that is `impl TRAIT for TYPE {`.
pub fn is_trait_implementation(item: &str) -> bool {
    item.starts_with("impl")
        && item.split_once('{').is_some_and(|(head, _)| {
            !head.contains(';') && words(head).any(|(_, word)| word == "for")
        })
}

/// Blanks every item that begins so, up to its `;` or the end of its block.
pub fn blank_items(code: &str, begins: impl Fn(&str) -> bool) -> String {
    let mut bytes = code.as_bytes().to_vec();
    let mut at = 0;
    while let Some(first) = code[at..].chars().next() {
        let follows_word = code[..at].chars().next_back().is_some_and(is_word);
        if follows_word || !begins(&code[at..]) {
            at += first.len_utf8();
            continue;
        }
        let end = at + item_length(&code[at..]);
        blank(&mut bytes[at..end]);
        at = end;
    }
    String::from_utf8(bytes).expect("whole items were blanked")
}

fn item_length(item: &str) -> usize {
    let mut depth = 0usize;
    for (index, byte) in item.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (byte == b';' || byte == b'}') {
            return index + 1;
        }
    }
    item.len()
}

/// Keeps the lines where they are.
fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// A small lexer of Rust: comments (nested ones too), strings, raw strings, characters. Quotes stay.
pub fn blank_comments_and_literals(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        let (skipped, quote) = match rest {
            [b'/', b'/', ..] => (line_length(rest), 0),
            [b'/', b'*', ..] => (block_comment_length(rest), 0),
            [b'"', ..] => (string_length(rest), 1),
            [b'r', ..] if !follows_word(text, at) => match raw_string_length(rest) {
                0 => (0, 0),
                length => (length, 1),
            },
            [b'\'', ..] => (character_length(&text[at..]), 1),
            _ => (0, 0),
        };
        if skipped == 0 {
            at += 1;
            continue;
        }
        let (from, to) = (
            at + quote,
            (at + skipped).saturating_sub(quote).max(at + quote),
        );
        blank(&mut bytes[from..to]);
        at += skipped;
    }
    String::from_utf8(bytes).expect("whole characters were blanked")
}

fn line_length(rest: &[u8]) -> usize {
    let newline = rest.iter().position(|&byte| byte == b'\n');
    newline.unwrap_or(rest.len())
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn follows_word(text: &str, at: usize) -> bool {
    // `br"…"` is a raw string, `for r in` is not.
    let before = text[..at].chars().next_back();
    before.is_some_and(|before| is_word(before) && before != 'b')
}

fn raw_string_length(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let body = &rest[2 + hashes..];
    let end = body
        .windows(close.len())
        .position(|window| window == close.as_bytes());
    end.map_or(rest.len(), |end| 2 + hashes + end + close.len())
}

/// Of `'x'` or `'\n'`; 0 for a lifetime.
fn character_length(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => {
            characters.next();
            let end = characters.find(|(_, character)| *character == '\'');
            end.map_or(0, |(at, _)| at + 1)
        }
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// The name that a path begins with, or those of a group `{a::b, c::{d, e}}`.
pub fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![
            path.chars()
                .take_while(|&character| is_word(character))
                .collect(),
        ];
    };
    let mut names = Vec::new();
    let (mut depth, mut name, mut is_first) = (0, String::new(), true);
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                names.push(std::mem::take(&mut name));
                is_first = true;
                if character == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ if depth == 0 && is_word(character) && is_first => name.push(character),
            _ if !name.is_empty() => is_first = false,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

pub fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Every word of the code with its line.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(number, line)| {
        line.split(|character| !is_word(character))
            .filter(|word| !word.is_empty())
            .map(move |word| (number + 1, word))
    })
}

/// Whether the line has the text with no word running into it: `panic!`, not `no_panic!`.
pub fn contains_token(line: &str, token: &str) -> bool {
    line.match_indices(token).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !token.starts_with(is_word) || !before.is_some_and(is_word)
    })
}

pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[test]
fn the_lexer_sees_code_only() {
    fn check(text: &str, expected: &str) {
        assert_eq!(blank_comments_and_literals(text), expected, "{text}");
    }
    check("a // b\nc", "a     \nc");
    check("a /* b /* c */ d */ e", "a                   e");
    check(r#"f("a\"b") + 'c' + '\''"#, "f(\"    \") + ' ' + '  '");
    check("r#\"a\"b\"# + x", "r      # + x");
    check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
    check("for r in s {}", "for r in s {}");
}

#[test]
fn the_lexer_sees_tests() {
    let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}";
    let left = blank_tests(code);
    let rest: Vec<&str> = left
        .split_whitespace()
        .filter(|word| word.ends_with("()"))
        .collect();
    assert_eq!(rest, ["a()", "c()", "e()"]);
}

#[test]
fn the_lexer_sees_implementations_of_traits() {
    assert!(is_trait_implementation(
        "impl<T> Stream for Wrapped<T> { fn get_x() {} }"
    ));
    assert!(!is_trait_implementation(
        "impl Wrapped { fn f() { for x in y {} } }"
    ));
}

#[test]
fn paths_give_their_first_names() {
    assert_eq!(first_names("text::{Span, Name};"), ["text"]);
    assert_eq!(
        first_names("{admin, listener::{A, b}, text};"),
        ["admin", "listener", "text"]
    );
    assert_eq!(first_names("{\n    admin as other,\n};"), ["admin"]);
}
