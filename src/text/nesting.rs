//! Depth: every later walk over the tree recurses, and so does freeing it, so it must be shallow.
//!
//! The TOML parser bounds nested arrays and inline tables itself, but not the parts of a dotted key: a line of
//! a hundred thousand dots makes a tree that overflows the stack when it is dropped. Hence two looks: at the
//! dots before parsing, and at the whole depth after it.

use toml::de::{DeTable, DeValue};

/// The parts of one dotted key. The deepest that a real configuration has are six.
const MOST_DOTS: usize = 32;

/// Levels of tables and arrays altogether; far above need, far below what a thread's stack holds.
const DEEPEST: usize = 64;

/// The byte at which a key has too many parts, if there is such a key.
///
/// This reads only what ends a key: strings and comments are skipped as TOML has them.
pub(super) fn overlong_key(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut dots = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'#' => at = end_of_line(bytes, at),
            b'"' | b'\'' => at = end_of_string(bytes, at, byte),
            b'.' => dots += 1,
            b'\n' | b'=' | b',' | b'[' | b']' | b'{' | b'}' => dots = 0,
            _ => {}
        }
        if dots > MOST_DOTS {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The byte before the line break, so that the caller sees the break.
pub(super) fn end_of_line(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.iter()
        .position(|&byte| byte == b'\n')
        .map_or(bytes.len(), |length| (from + length).saturating_sub(1))
}

/// The closing quote, or where an unclosed string ends all the same.
pub(super) fn end_of_string(bytes: &[u8], from: usize, quote: u8) -> usize {
    let is_triple = |at: usize| {
        bytes
            .get(at..at + 3)
            .is_some_and(|three| three.iter().all(|&byte| byte == quote))
    };
    let (is_block, mut at) = if is_triple(from) {
        (true, from + 3)
    } else {
        (false, from + 1)
    };
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if quote == b'"' => at += 1,
            b'\n' if !is_block => return at - 1,
            _ if is_block && is_triple(at) => return at + 2,
            _ if !is_block && byte == quote => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Whether anything lies deeper than the rest of the room can walk. It walks without recursion itself.
pub(super) fn is_too_deep(root: &DeTable<'_>) -> bool {
    let mut open: Vec<(&DeValue<'_>, usize)> =
        root.values().map(|value| (value.get_ref(), 1)).collect();
    while let Some((value, depth)) = open.pop() {
        if depth > DEEPEST {
            return true;
        }
        match value {
            DeValue::Array(elements) => {
                open.extend(elements.iter().map(|one| (one.get_ref(), depth + 1)))
            }
            DeValue::Table(table) => {
                open.extend(table.values().map(|one| (one.get_ref(), depth + 1)))
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: bool) {
        assert_eq!(
            overlong_key(text).is_some(),
            expected,
            "{}",
            text.get(..60).unwrap_or(text)
        );
    }

    #[test]
    fn dots_in_keys_count() {
        let long = "a.".repeat(100_000);
        check(&format!("{long}a = 1"), true);
        check(&format!("[{long}a]"), true);
        check(&format!("x = {{ {long}a = 1 }}"), true);
        check(&"\"a\" . ".repeat(40), true);
        check(&format!("a = \"unclosed\n{long}"), true);
        check(&format!("a = \"\\\\\"\n{long}"), true);
        check(&format!("a = \"\"\"\n\"\"\"\n{long}"), true);
    }

    #[test]
    fn dots_elsewhere_do_not() {
        let dots = ".".repeat(100);
        check(&format!("a = \"{dots}\""), false);
        check(&format!("a = '{dots}' # {dots}"), false);
        check(&format!("a = \"\\\"{dots}\""), false);
        check(&format!("a = \"\"\"x\n\"{dots}\n\"\"\""), false);
        check(&format!("# it's {dots}\na.b.c = 1"), false);
        check(&"a.b = 1.5\n".repeat(100), false);
        check(&format!("a = '''\n{dots}'''"), false);
    }
}
