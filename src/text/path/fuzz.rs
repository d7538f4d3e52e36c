//! Any path against the model.

use super::super::fuzz::fuzz;
use super::property::model;
use super::{
    Backslashes, EncodedSlashes, InvalidUtf8, PathRules, has_dot_segment, normalise_path,
    refuse_query,
};

const RULES: [PathRules; 3] = [
    PathRules {
        encoded_slashes: EncodedSlashes::Refuse,
        backslashes: Backslashes::Refuse,
        merge_slashes: true,
        invalid_utf8: InvalidUtf8::Refuse,
    },
    PathRules {
        encoded_slashes: EncodedSlashes::Keep,
        backslashes: Backslashes::Keep,
        merge_slashes: true,
        invalid_utf8: InvalidUtf8::Keep,
    },
    PathRules {
        encoded_slashes: EncodedSlashes::Decode,
        backslashes: Backslashes::Refuse,
        merge_slashes: false,
        invalid_utf8: InvalidUtf8::Keep,
    },
];

const WORDS: [&str; 18] = [
    "/", "//", "/..", "/.", ".", "%2e", "%2F", "%5c", "\\", ";", "%3B", "%25", "%252e", "%c0%ae",
    "%C3%A9", "%", "%00", "a",
];

#[test]
fn fuzz_paths() {
    fuzz("path", &WORDS, |input| {
        let path = String::from_utf8_lossy(input);
        RULES.map(|rules| {
            let normal = normalise_path(&path, &rules);
            let now = normal
                .as_ref()
                .map(|normal| normal.as_deref().unwrap_or(&path));
            assert_eq!(
                now.ok().map(str::to_owned),
                model(&path, &rules),
                "{rules:?}"
            );
            if let Ok(now) = now {
                assert_eq!(normalise_path(now, &rules), Ok(None), "{now}");
                assert!(!has_dot_segment(now.as_bytes()), "{now}");
                assert_eq!(refuse_query(now), Ok(()), "{now}");
            }
            let lengths = |normal: &str| {
                (
                    normal.len() < path.len(),
                    normal.matches('/').count().min(8),
                )
            };
            now.map(lengths).map_err(|refusal| refusal.to_string())
        })
    });
}
