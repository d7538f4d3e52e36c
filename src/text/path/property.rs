//! The normal form against a slow model of it that works in another way: on a list of segments, with text replaced
//! instead of read.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Backslashes, EncodedSlashes, InvalidUtf8, PathRules, has_dot_segment, normalise_path};

const CLASSES: &str = "-._~!$&'()*+,;=:@";
const ENCODED: &str = "\"<>[]^`{|}";

/// The normal form, or none.
pub(super) fn model(path: &str, rules: &PathRules) -> Option<String> {
    let units = units(path.strip_prefix('/')?, rules)?;
    let mut segments: Vec<String> = vec![String::new()];
    for unit in units {
        if unit == "/" {
            segments.push(String::new());
        } else {
            segments.last_mut()?.push_str(&unit);
        }
    }
    if rules.merge_slashes {
        let last = segments.pop()?;
        segments.retain(|segment| !segment.is_empty());
        segments.push(last);
    }
    let mut kept: Vec<String> = Vec::new();
    let count = segments.len();
    for (index, segment) in segments.into_iter().enumerate() {
        match segment.as_str() {
            "." => {}
            ".." => drop(kept.pop()?),
            other if !is_harmless(other, rules) => return None,
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if index + 1 == count {
            kept.push(String::new());
        }
    }
    Some(format!("/{}", kept.join("/")))
}

/// Each character as it stands in the normal form.
fn units(path: &str, rules: &PathRules) -> Option<Vec<String>> {
    let mut units = Vec::new();
    let mut beyond = Vec::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let mut byte = u8::try_from(first).ok().filter(u8::is_ascii)?;
        let is_encoded = byte == b'%';
        rest = rest.get(1..)?;
        if is_encoded {
            let digits = rest.get(..2)?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            byte = u8::from_str_radix(digits, 16).ok()?;
            rest = rest.get(2..)?;
        }
        if byte < 0x80 {
            check_utf8(&mut beyond, rules)?;
        } else {
            beyond.push(byte);
        }
        let kept = format!("%{byte:02X}");
        let plain = char::from(byte).to_string();
        let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        units.push(match byte {
            0..0x20 | 0x7f => return None,
            b'\\' if rules.backslashes == Backslashes::Refuse => return None,
            b'\\' => kept,
            b'/' if !is_encoded => plain,
            b'/' => match rules.encoded_slashes {
                EncodedSlashes::Refuse => return None,
                EncodedSlashes::Keep => kept,
                EncodedSlashes::Decode => plain,
            },
            _ if is_unreserved => plain,
            _ if is_encoded => kept,
            _ if CLASSES.contains(&plain) => plain,
            _ if ENCODED.contains(&plain) => kept,
            _ => return None,
        });
    }
    check_utf8(&mut beyond, rules)?;
    Some(units)
}

fn check_utf8(beyond: &mut Vec<u8>, rules: &PathRules) -> Option<()> {
    let run = std::mem::take(beyond);
    let is_fit = rules.invalid_utf8 == InvalidUtf8::Keep || String::from_utf8(run).is_ok();
    is_fit.then_some(())
}

fn is_harmless(segment: &str, rules: &PathRules) -> bool {
    if segment.starts_with(';') {
        return false;
    }
    let mut once = segment.to_ascii_lowercase();
    let mut encoded_twice = Vec::new();
    while once.contains("%25") {
        let next = once.replace("%25", "%");
        let dangers = ["%2e", "%2f", "%5c", "%00"];
        for danger in dangers {
            if next.matches(danger).count() > once.matches(danger).count() {
                encoded_twice.push(danger);
            }
        }
        once = next;
    }
    encoded_twice.retain(|danger| match *danger {
        "%2f" => rules.encoded_slashes != EncodedSlashes::Keep,
        "%5c" => rules.backslashes != Backslashes::Keep,
        _ => true,
    });
    let decoded = once
        .replace("%2f", "/")
        .replace("%5c", "/")
        .replace("%3b", ";")
        .replace("%2e", ".");
    let names = decoded.split('/').map(|name| name.split(';').next());
    encoded_twice.is_empty() && names.flatten().all(|name| name != "." && name != "..")
}

fn rules() -> impl Strategy<Value = PathRules> {
    let slashes = select(vec![
        EncodedSlashes::Refuse,
        EncodedSlashes::Keep,
        EncodedSlashes::Decode,
    ]);
    let backslashes = select(vec![Backslashes::Refuse, Backslashes::Keep]);
    let utf8 = select(vec![InvalidUtf8::Refuse, InvalidUtf8::Keep]);
    let any = (slashes, backslashes, any::<bool>(), utf8).prop_map(
        |(encoded_slashes, backslashes, merge_slashes, invalid_utf8)| PathRules {
            encoded_slashes,
            backslashes,
            merge_slashes,
            invalid_utf8,
        },
    );
    prop_oneof![Just(PathRules::default()), any]
}

/// What paths are dodged with, and a little around it.
fn path() -> impl Strategy<Value = String> {
    let pieces = vec![
        "/", "/", "/", "/", "//", ".", "..", "/..", "/.", "/../", "%2e", "%2E", "%2f", "%2F",
        "%5c", "\\", ";", "%3b", "a", "b", "%61", "%7E", "%20", "%C3%A9", "%c3", "%a9", "%c0%ae",
        "%25", "25", "2e", "2f", "5c", "00", "%252e", "%252F", "%255c", "%", "|", "[", "=", "é",
        " ", "#", "%00", "%7f", "\u{1}",
    ];
    let common = vec(select(pieces.clone()), 0..8).prop_map(|pieces| pieces.concat());
    let harmless = pieces[..34].to_vec();
    let likely = vec(select(harmless), 0..8).prop_map(|pieces| pieces.concat());
    prop_oneof![
        common.prop_map(|path| format!("/{path}")),
        likely.prop_map(|path| format!("/{path}")),
        "/[a-z./%0-9;]{0,20}",
        "\\PC{0,10}",
    ]
}

/// A path in its normal form, and the same path written in another way.
fn two_spellings() -> impl Strategy<Value = (String, String)> {
    let names = vec![
        "a", "b.c", "d~_-", "e=1,2", "%C3%A9", "x%20y", "...", ".f", "g;h=i",
    ];
    let noise = vec![
        "",
        "",
        "",
        "./",
        "/",
        ".//",
        "z/../",
        "%2e/",
        "q/%2E%2e/",
        "y/.%2e//",
    ];
    let segment = (select(names), select(noise), any::<u64>());
    (vec(segment, 1..5), any::<bool>()).prop_map(|(segments, slash)| {
        let (mut plain, mut spelled) = (String::new(), String::new());
        for (name, noise, bits) in segments {
            plain.push_str(&format!("/{name}"));
            spelled.push_str(&format!("/{noise}{}", respell(name, bits)));
        }
        if slash {
            plain.push('/');
            spelled.push('/');
        }
        (plain, spelled)
    })
}

/// Encodes characters that need no encoding, and writes escapes in small letters, as the bits say.
fn respell(name: &str, bits: u64) -> String {
    let is_in_escape = |at: usize| {
        name[..at]
            .rfind('%')
            .is_some_and(|percent| at - percent < 3)
    };
    let letters = name.char_indices().map(|(at, letter)| {
        let is_on = bits >> (at % 64) & 1 == 1;
        let is_unreserved = letter.is_ascii_alphanumeric() || "-._~".contains(letter);
        match (is_on, is_in_escape(at)) {
            (true, true) => letter.to_ascii_lowercase().to_string(),
            (true, false) if is_unreserved => format!("%{:02x}", u32::from(letter)),
            _ => letter.to_string(),
        }
    });
    letters.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn it_is_the_models(path in path(), rules in rules()) {
        let normal = normalise_path(&path, &rules).ok();
        let normal = normal.map(|normal| normal.unwrap_or_else(|| path.clone()));
        prop_assert_eq!(normal, model(&path, &rules), "{}", path);
    }

    #[test]
    fn it_is_its_own_normal_form(path in path(), rules in rules()) {
        if let Ok(Some(normal)) = normalise_path(&path, &rules) {
            prop_assert_ne!(&normal, &path);
            prop_assert_eq!(normalise_path(&normal, &rules), Ok(None), "{} of {}", normal, path);
        }
    }

    #[test]
    fn it_never_has_what_it_must_not(path in path(), rules in rules()) {
        let Ok(normal) = normalise_path(&path, &rules) else { return Ok(()) };
        let normal = normal.unwrap_or(path);
        prop_assert!(normal.starts_with('/'));
        prop_assert!(!has_dot_segment(normal.as_bytes()), "{}", normal);
        prop_assert!(!(rules.merge_slashes && normal.contains("//")), "{}", normal);
        prop_assert!(!normal.contains("/;"), "{}", normal);
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || CLASSES.contains(letter);
        prop_assert!(normal.chars().all(|letter| is_plain(letter) || letter == '/' || letter == '%'), "{}", normal);
        for (at, _) in normal.match_indices('%') {
            let digits = &normal[at + 1..at + 3];
            prop_assert!(digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F')), "{}", normal);
            let byte = u8::from_str_radix(digits, 16).expect("digits");
            prop_assert!(!byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte), "{}", normal);
            prop_assert!(!byte.is_ascii_control(), "{}", normal);
            prop_assert!(byte != b'/' || rules.encoded_slashes == EncodedSlashes::Keep, "{}", normal);
            prop_assert!(byte != b'\\' || rules.backslashes == Backslashes::Keep, "{}", normal);
        }
    }

    #[test]
    fn spellings_of_one_path_have_one_form((plain, spelled) in two_spellings()) {
        let rules = PathRules::default();
        prop_assert_eq!(normalise_path(&plain, &rules), Ok(None));
        let normal = normalise_path(&spelled, &rules).map(|normal| normal.unwrap_or(spelled.clone()));
        prop_assert_eq!(normal, Ok(plain), "{}", spelled);
    }
}
