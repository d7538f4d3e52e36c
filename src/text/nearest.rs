//! "Did you mean": the known word closest to one that is not.

/// The known word that `word` most likely stands for, or none when all are too far away.
///
/// One slip in three letters is allowed: `upstreem` finds `upstream`, `cat` does not find `dog`.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    /// The distance is quadratic in length, and no key is this long.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    let allowed = (word.chars().count() / 3).max(1);
    let distances = known.into_iter().map(|known| {
        let plain = known.to_ascii_lowercase().replace('-', "_");
        (strsim::damerau_levenshtein(&word, &plain), known)
    });
    let (distance, known) = distances.min_by_key(|&(distance, _)| distance)?;
    // A word that shares nothing with the known one is no slip, however short both are.
    (distance <= allowed && distance < word.chars().count()).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expected: Option<&str>) {
        let known = ["upstream", "timeout", "match", "by", "tls"];
        assert_eq!(nearest(word, known), expected, "{word}");
    }

    #[test]
    fn words() {
        check("upstreem", Some("upstream"));
        check("Upstream", Some("upstream"));
        check("upstrema", Some("upstream"));
        check("time-out", Some("timeout"));
        check("ttls", Some("tls"));
        check("y", None);
        check("", None);
        check("weight", None);
        check(&"upstream".repeat(99), None);
    }
}
