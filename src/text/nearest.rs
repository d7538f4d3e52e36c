//! "Did you mean": the known word closest to one that is not.

/// The known word that `word` most likely stands for, or none when all are too far away.
///
/// One slip in three letters is allowed: `upstreem` finds `upstream`, `cat` does not find `dog`. In a word of three
/// letters or fewer none may be another: `pth` finds `path` and `tsl` finds `tls`, but `h3` is no misspelt `h2`.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    /// The distance is quadratic in length, and no key is this long.
    const LONGEST: usize = 64;
    const SHORT: usize = 3;
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    let length = word.chars().count();
    let distances = known.into_iter().map(|known| {
        let plain = known.to_ascii_lowercase().replace('-', "_");
        let distance = strsim::damerau_levenshtein(&word, &plain);
        let is_slip =
            length > SHORT || plain.chars().count() > length || letters(&word) == letters(&plain);
        (distance, is_slip, known)
    });
    let (distance, is_slip, known) = distances.min_by_key(|&(distance, ..)| distance)?;
    // A word that shares nothing with the known one is no slip, however short both are.
    (is_slip && distance <= (length / 3).max(1) && distance < length).then_some(known)
}

fn letters(word: &str) -> Vec<char> {
    let mut letters: Vec<char> = word.chars().collect();
    letters.sort_unstable();
    letters
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
        check("tsl", Some("tls"));
        check("TLS", Some("tls"));
        check("tlx", None);
        check("y", None);
        check("", None);
        check("weight", None);
        check(&"upstream".repeat(99), None);
    }
}
