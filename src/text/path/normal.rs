//! Finding the normal form.

use smallvec::SmallVec;

use super::rules::{Backslashes, EncodedSlashes, InvalidUtf8, PathRefusal, PathRules};

/// The normal form of a path; `None` where it is in it already, which a plain path tells in one pass over its bytes.
///
/// # Errors
/// Why it has no safe form under these rules.
pub fn normalise_path(path: &str, rules: &PathRules) -> Result<Option<String>, PathRefusal> {
    if is_plain(path.as_bytes()) {
        return Ok(None);
    }
    let normal = resolve(path.as_bytes(), rules)?;
    Ok((normal != path).then_some(normal))
}

/// Refuses what no query may have (RFC 3986 section 3.4). Else queries are passed on as they are: some clients send
/// brackets, braces and bars in them without encoding them, and nobody takes those for something else.
///
/// # Errors
/// Which kind of character it has.
pub fn refuse_query(query: &str) -> Result<(), PathRefusal> {
    let is_fit = |fit, byte| fit & matches!(byte, b'!'..=b'~') & (byte != b'#');
    // Without a way out in the middle the compiler looks at many bytes at a time.
    match query.bytes().fold(true, is_fit) {
        true => Ok(()),
        false if query.is_ascii() => Err(PathRefusal::Control),
        false => Err(PathRefusal::NotAscii),
    }
}

/// Whether any reader of this path could find a `.` or `..` segment in it: also one that decodes it, even more than
/// once, that takes `\` for `/`, or that drops parameters.
pub fn has_dot_segment(path: &[u8]) -> bool {
    // Most paths have nothing that could be a dot.
    if !path.iter().any(|byte| matches!(byte, b'.' | b'%')) {
        return false;
    }
    // The dots that the present segment has so far; `None` where it has anything else.
    let mut dots = Some(0);
    for byte in decoded(path).chain([b'/']) {
        dots = match (byte, dots) {
            (b'/' | b'\\' | b';', Some(1 | 2)) => return true,
            (b'/' | b'\\', _) => Some(0),
            (b'.', Some(count)) => Some(count + 1),
            _ => None,
        };
    }
    false
}

/// Not to be left as it is.
const STOP: u8 = 0x80;
const SLASH: u8 = 0x02;
/// Not to be left as it is right behind a slash.
const AFTER_SLASH: u8 = 0x01;

/// What each byte means to a path in its normal form.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [STOP; 256];
    let mut byte = 0;
    while byte < 256 {
        // RFC 3986 section 3.3: unreserved characters, sub-delimiters, `:` and `@`.
        classes[byte] = match byte as u8 {
            b'/' => SLASH | AFTER_SLASH,
            b'.' | b';' => AFTER_SLASH,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => 0,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' => 0,
            b':' | b'@' => 0,
            _ => STOP,
        };
        byte += 1;
    }
    classes
}

fn class(byte: u8) -> u8 {
    CLASSES[usize::from(byte)]
}

/// Whether nothing in it needs a closer look.
fn is_plain(path: &[u8]) -> bool {
    let (mut before, mut stop) = (0, 0);
    for &byte in path {
        let class = class(byte);
        stop |= (class & STOP) | (before >> 1) & (class & AFTER_SLASH);
        before = class;
    }
    stop == 0 && path.first() == Some(&b'/')
}

fn resolve(path: &[u8], rules: &PathRules) -> Result<String, PathRefusal> {
    let mut rest = path.strip_prefix(b"/").ok_or(PathRefusal::Form)?;
    let mut form = Form {
        text: String::with_capacity(path.len() + 16),
        segment: 1,
        rules,
    };
    form.text.push('/');
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'/' => form.slash()?,
            b'%' => rest = form.escaped(rest)?,
            b'\\' if rules.backslashes == Backslashes::Keep => form.escape(byte),
            b'\\' => return Err(PathRefusal::Backslash),
            // No path may have these (RFC 3986 section 3.3). Some clients send them, and they mean nothing else.
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                form.escape(byte)
            }
            byte if class(byte) & STOP == 0 => form.text.push(char::from(byte)),
            0x80.. => return Err(PathRefusal::NotAscii),
            _ => return Err(PathRefusal::Control),
        }
    }
    form.end_segment()?;
    Ok(form.text)
}

/// The normal form as far as it has been written.
struct Form<'r> {
    /// Begins with a slash; has ASCII only.
    text: String,
    /// Where its last segment begins, right behind a slash.
    segment: usize,
    rules: &'r PathRules,
}

impl Form<'_> {
    fn slash(&mut self) -> Result<(), PathRefusal> {
        let is_repeated = self.rules.merge_slashes && self.segment == self.text.len();
        // A dot segment goes together with the slash behind it.
        if !self.end_segment()? && !is_repeated {
            self.text.push('/');
        }
        self.segment = self.text.len();
        Ok(())
    }

    /// Resolves the last segment if it is one of dots; whether it was (RFC 3986 section 5.2.4).
    fn end_segment(&mut self) -> Result<bool, PathRefusal> {
        let (parents, segment) = self.text.split_at(self.segment);
        match segment {
            "." => self.text.truncate(self.segment),
            ".." => {
                let parents = parents.strip_suffix('/').unwrap_or_default();
                let parent = parents.rfind('/').ok_or(PathRefusal::AboveRoot)?;
                self.text.truncate(parent + 1);
            }
            _ if segment.starts_with(';') => return Err(PathRefusal::Nameless),
            _ => {
                refuse_encoded_twice(segment.as_bytes(), self.rules)?;
                let is_disguised = has_dot_segment(segment.as_bytes());
                return if is_disguised {
                    Err(PathRefusal::DisguisedDots)
                } else {
                    Ok(false)
                };
            }
        }
        Ok(true)
    }

    /// Takes in what stands behind a `%`; gives back what is left.
    fn escaped<'p>(&mut self, rest: &'p [u8]) -> Result<&'p [u8], PathRefusal> {
        let (byte, rest) = escape(rest).ok_or(PathRefusal::Escape)?;
        match byte {
            b'/' => match self.rules.encoded_slashes {
                EncodedSlashes::Refuse => return Err(PathRefusal::EncodedSlash),
                EncodedSlashes::Keep => self.escape(byte),
                EncodedSlashes::Decode => self.slash()?,
            },
            b'\\' if self.rules.backslashes == Backslashes::Refuse => {
                return Err(PathRefusal::Backslash);
            }
            0x00..0x20 | 0x7f => return Err(PathRefusal::Control),
            b'-' | b'.' | b'_' | b'~' => self.text.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => self.text.push(char::from(byte)),
            0x80.. => return self.beyond_ascii(byte, rest),
            _ => self.escape(byte),
        }
        Ok(rest)
    }

    /// Takes in a run of encoded bytes beyond ASCII.
    fn beyond_ascii<'p>(&mut self, first: u8, mut rest: &'p [u8]) -> Result<&'p [u8], PathRefusal> {
        let mut run: SmallVec<[u8; 64]> = SmallVec::from_slice(&[first]);
        while let Some((byte @ 0x80.., after)) = rest.strip_prefix(b"%").and_then(escape) {
            run.push(byte);
            rest = after;
        }
        if self.rules.invalid_utf8 == InvalidUtf8::Refuse && std::str::from_utf8(&run).is_err() {
            return Err(PathRefusal::Utf8);
        }
        run.into_iter().for_each(|byte| self.escape(byte));
        Ok(rest)
    }

    fn escape(&mut self, byte: u8) {
        let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value & 15)]);
        self.text.extend(['%', digit(byte >> 4), digit(byte)]);
    }
}

/// A second decoding would make something of it that the first was not allowed to.
fn refuse_encoded_twice(normal: &[u8], rules: &PathRules) -> Result<(), PathRefusal> {
    for (at, _) in normal.iter().enumerate().filter(|(_, byte)| **byte == b'%') {
        let digits = normal.get(at + 1..).unwrap_or_default();
        let is_kept = match escape_of_escape(digits) {
            Some((b'/', _)) => rules.encoded_slashes == EncodedSlashes::Keep,
            Some((b'\\', _)) => rules.backslashes == Backslashes::Keep,
            Some((b'.' | 0, _)) => false,
            _ => true,
        };
        if !is_kept {
            return Err(PathRefusal::EncodedTwice);
        }
    }
    Ok(())
}

/// The byte that two hexadecimal digits stand for, and what follows them.
fn escape(digits: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], rest) = digits.split_first_chunk()?;
    let value = |digit: u8| char::from(digit).to_digit(16);
    let byte = u8::try_from(value(high)? << 4 | value(low)?).ok()?;
    Some((byte, rest))
}

/// The byte that an encoded `%` and what follows it stand for, however many times it was encoded.
fn escape_of_escape(digits: &[u8]) -> Option<(u8, &[u8])> {
    let mut inner = digits.strip_prefix(b"25")?;
    while let Some(after) = inner.strip_prefix(b"25") {
        inner = after;
    }
    escape(inner)
}

/// The path decoded until nothing is left to decode; a malformed escape stands for itself.
fn decoded(path: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = path;
    std::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        let escaped = match byte {
            b'%' => escape_of_escape(after).or_else(|| escape(after)),
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((byte, after));
        rest = after;
        Some(byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: PathRules = PathRules {
        encoded_slashes: EncodedSlashes::Refuse,
        backslashes: Backslashes::Refuse,
        merge_slashes: true,
        invalid_utf8: InvalidUtf8::Refuse,
    };
    const KEEPING: PathRules = PathRules {
        encoded_slashes: EncodedSlashes::Keep,
        backslashes: Backslashes::Keep,
        merge_slashes: false,
        invalid_utf8: InvalidUtf8::Keep,
    };
    const DECODING: PathRules = PathRules {
        encoded_slashes: EncodedSlashes::Decode,
        ..STRICT
    };

    #[track_caller]
    fn check(rules: &PathRules, path: &str, expected: Result<&str, PathRefusal>) {
        let normal = normalise_path(path, rules);
        let unchanged = normal == Ok(None);
        let normal = normal.map(|normal| normal.unwrap_or_else(|| path.to_owned()));
        assert_eq!(normal.as_deref(), expected.as_ref().copied(), "{path}");
        assert_eq!(unchanged, expected == Ok(path), "{path}");
    }

    #[test]
    fn the_defaults_are_strict() {
        assert_eq!(PathRules::default(), STRICT);
    }

    #[test]
    fn paths_have_one_form() {
        let check = |path, expected| check(&STRICT, path, Ok(expected));
        for plain in [
            "/",
            "/a",
            "/a/",
            "/a.b/c~d",
            "/a;b=c/d:@!$&'()*+,=-_",
            "/...",
        ] {
            check(plain, plain);
        }
        check("/.well-known/x", "/.well-known/x");
        check("/..a/.b", "/..a/.b");
        check("//a", "/a");
        check("///", "/");
        check("/a//b///", "/a/b/");
        check("/.", "/");
        check("/./", "/");
        check("/a/.", "/a/");
        check("/a/./b", "/a/b");
        check("/a/..", "/");
        check("/a/../", "/");
        check("/a/b/..", "/a/");
        check("/a/b/../../c", "/c");
        check("/a//../b", "/b");
        check("/a/b//..//c", "/a/c");
        check("/%2e", "/");
        check("/a/%2E%2e/b", "/b");
        check("/a/.%2e", "/");
        check("/%61%5A%30%7e%2d%5f", "/aZ0~-_");
        check("/a%20b%3b%3F%23%26", "/a%20b%3B%3F%23%26");
        check("/%25", "/%25");
        check("/100%2561", "/100%2561");
        check("/caf%c3%a9/%F0%9f%98%80", "/caf%C3%A9/%F0%9F%98%80");
        check("/a|b[c]{d}\"^`<>", "/a%7Cb%5Bc%5D%7Bd%7D%22%5E%60%3C%3E");
        check("/a;x/../b", "/b");
    }

    #[test]
    fn what_has_no_safe_form_is_refused() {
        let check = |path, expected| check(&STRICT, path, Err(expected));
        for path in ["", "*", "a", "http://x/", "?a"] {
            check(path, PathRefusal::Form);
        }
        for path in ["/..", "/../a", "/a/../..", "/%2e%2e", "/./..", "//.."] {
            check(path, PathRefusal::AboveRoot);
        }
        check("/a%2fb", PathRefusal::EncodedSlash);
        check("/..%2Fa", PathRefusal::EncodedSlash);
        check("/a\\b", PathRefusal::Backslash);
        check("/a%5cb", PathRefusal::Backslash);
        for path in ["/%", "/%a", "/%zz", "/%2", "/%u002e", "/% 41", "/%+1"] {
            check(path, PathRefusal::Escape);
        }
        for path in [
            "/%c0%ae",
            "/%C0%AF",
            "/%e0%80%af",
            "/%ed%a0%80",
            "/%ff",
            "/%c3",
            "/%c3a%a9",
            "/%f4%90%80%80",
        ] {
            check(path, PathRefusal::Utf8);
        }
        for path in [
            "/%00", "/a%0a", "/%1f", "/%7F", "/a b", "/a\tb", "/a#b", "/a\0", "/\x7f",
        ] {
            check(path, PathRefusal::Control);
        }
        check("/café", PathRefusal::NotAscii);
        for path in [
            "/..;/a",
            "/a/..;x/b",
            "/.;x",
            "/a/..%3b/b",
            "/%2e%2e;/a",
            "/a/.%3B",
        ] {
            check(path, PathRefusal::DisguisedDots);
        }
        check("/;x", PathRefusal::Nameless);
        check("/a/;/b", PathRefusal::Nameless);
        for path in [
            "/%252e",
            "/%252E%252e/a",
            "/a%252fb",
            "/%255c",
            "/%2500",
            "/%25252e",
            "/%25%32%65",
            "/%%32e",
        ] {
            let expected = match path {
                "/%%32e" => PathRefusal::Escape,
                _ => PathRefusal::EncodedTwice,
            };
            check(path, expected);
        }
    }

    #[test]
    fn what_is_kept_stays_as_it_is() {
        let check = |path, expected| check(&KEEPING, path, expected);
        check("/a%2fb", Ok("/a%2Fb"));
        check("/a%252Fb%255c", Ok("/a%252Fb%255c"));
        check("/a\\b%5cc", Ok("/a%5Cb%5Cc"));
        check("//a//", Ok("//a//"));
        check("/a//../b", Ok("/a/b"));
        check("/a/.//b", Ok("/a//b"));
        check("//..", Ok("/"));
        check("/%ff%c0%ae", Ok("/%FF%C0%AE"));
        for path in [
            "/..%2fa",
            "/a%2F..",
            "/a%2F.%2Fb",
            "/..\\a",
            "/a%5c..",
            "/a/%2e%2e%2fb",
            "/a%2f..;x",
            "/..%252fa",
            "/a%25255c..",
        ] {
            check(path, Err(PathRefusal::DisguisedDots));
        }
        check("/%252e", Err(PathRefusal::EncodedTwice));
        check("/..", Err(PathRefusal::AboveRoot));
        check("/%00", Err(PathRefusal::Control));
    }

    #[test]
    fn decoded_slashes_are_slashes() {
        let check = |path, expected| check(&DECODING, path, expected);
        check("/a%2fb", Ok("/a/b"));
        check("/a/..%2Fb", Ok("/b"));
        check("/a%2f%2f/b", Ok("/a/b"));
        check("/..%2fb", Err(PathRefusal::AboveRoot));
        check("/a%252fb", Err(PathRefusal::EncodedTwice));
        check("/a%2f..;/b", Err(PathRefusal::DisguisedDots));
    }

    #[test]
    fn queries_are_visible_ascii() {
        for fit in ["", "a=b&c", "a=[]{}|\\\"<>^`%zz../;x"] {
            assert_eq!(refuse_query(fit), Ok(()), "{fit}");
        }
        for unfit in ["a b", "a\0", "a#b", "\x7f", "\t"] {
            assert_eq!(refuse_query(unfit), Err(PathRefusal::Control), "{unfit}");
        }
        assert_eq!(refuse_query("a=é"), Err(PathRefusal::NotAscii));
    }

    #[test]
    fn dot_segments_are_found_in_every_spelling() {
        let check = |path: &str, expected: bool| {
            assert_eq!(has_dot_segment(path.as_bytes()), expected, "{path}");
        };
        for path in [
            "/..",
            "/.",
            "/a/../b",
            "/%2e%2E",
            "/a%2f..",
            "/..\\a",
            "/a%5C.",
            "/..;x",
            "/.%3b",
            ".",
            "..",
            "/%252e",
            "/..%25252f",
        ] {
            check(path, true);
        }
        for path in [
            "", "/", "/...", "/.a", "/a.", "/a/..b/c", "/%25", "/;..", "/a;./b", "/%2",
        ] {
            check(path, false);
        }
    }
}
