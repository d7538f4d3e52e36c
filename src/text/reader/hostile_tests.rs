//! Documents that are out to break the reader: too deep, torn, random, large.

use super::tests::{GOOD, read};

#[test]
fn hostile_depth_does_not_overflow() {
    for text in [
        format!("include = {}{}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("include = {}", "[".repeat(10_000)),
        format!("include = {}1{}", "{a=".repeat(10_000), "}".repeat(10_000)),
        format!("{}x = 1", "a.".repeat(10_000)),
        format!("[{}x]", "a.".repeat(10_000)),
        format!(
            "[{0}x.a]\n{0}y = {1}1{2}",
            "a.".repeat(32),
            format!("{{{}z=", "a.".repeat(31)).repeat(79),
            "}".repeat(79)
        ),
        format!(
            "[routes.a.respond]\nstatus = 1\njson = {}{}",
            "[".repeat(60),
            "]".repeat(60)
        ),
        format!(
            "[routes.a.respond]\nstatus = 1\njson = {}{}",
            "[".repeat(70),
            "]".repeat(70)
        ),
    ] {
        assert_ne!(read(&text).1, "");
    }
}

#[test]
fn broken_documents_never_panic() {
    for end in (0..GOOD.len()).filter(|&end| GOOD.is_char_boundary(end)) {
        read(&GOOD[..end]);
        read(&GOOD[end..]);
    }
    // A small generator of our own, so that a failure repeats; xorshift is random enough to break TOML.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).expect("it is below a usize")
    };
    let alphabet: Vec<char> = "[]{}.=,\"'#\\\n\r\t abz019-_:+é\u{0}\u{feff}\u{1b}"
        .chars()
        .collect();
    for _ in 0..3_000 {
        let noise: String = (0..random(80))
            .map(|_| alphabet[random(alphabet.len())])
            .collect();
        read(&noise);
        let mut changed: Vec<char> = GOOD.chars().collect();
        for _ in 0..=random(4) {
            let at = random(changed.len());
            changed[at] = alphabet[random(alphabet.len())];
        }
        let (_, problems) = read(&changed.into_iter().collect::<String>());
        assert!(problems.lines().count() <= 200, "{problems}");
    }
}

#[test]
fn many_objects_are_read_quickly() {
    use std::fmt::Write as _;
    let count = 50_000;
    let mut text = String::new();
    for number in 0..count {
        let _ = write!(
            text,
            "[routes.r{number}]\nmatch = {{ path = \"/r/{number}\" }}\nupstream = \"web\"\ntimeout = \"6s\"\n"
        );
    }
    let begin = std::time::Instant::now();
    let (document, problems) = read(&text);
    println!("{count} objects in {:?}", begin.elapsed());
    assert_eq!((document.routes.len(), problems.as_str()), (count, ""));
}
