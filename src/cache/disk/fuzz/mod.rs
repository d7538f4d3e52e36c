//! What is written, damaged in any way and read again: it is what was written, or nothing.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod mark_logs;
#[cfg(test)]
mod records;
#[cfg(test)]
mod regions;

const WORDS: [&str; 24] = [
    "put 1 10 100\n",
    "put 2 0 0\n",
    "put 3 5000 65536\n",
    "put 4 1 65537\n",
    "put 5 7 200000\n",
    "remove 1\n",
    "seal\n",
    "flip ",
    "zero ",
    "cut ",
    "copy ",
    "graft ",
    "log x\n",
    "\n",
    " ",
    "0",
    "7",
    "48",
    "64",
    "112",
    "400",
    "4096",
    "65536",
    "put ",
];

/// A line of what is done: a word and numbers.
struct Step<'t> {
    word: &'t str,
    rest: &'t str,
    numbers: [u64; 3],
}

fn steps(text: &str) -> Vec<Step<'_>> {
    let step = |line| {
        let (word, rest): (&str, &str) = str::split_once(line, ' ').unwrap_or((line, ""));
        let words = rest.split(' ').map(|word| word.parse().unwrap_or(0));
        let mut numbers = [0; 3];
        numbers.iter_mut().zip(words).for_each(|(to, it)| *to = it);
        Step {
            word,
            rest,
            numbers,
        }
    };
    text.lines().take(24).map(step).collect()
}

/// Does to bytes what a disk might.
fn damage(bytes: &mut Vec<u8>, other: &[u8], step: &Step<'_>) {
    let length = bytes.len();
    let [first, second, third] = step.numbers.map(|number| number as usize % length.max(1));
    match step.word {
        "flip" if length > 0 => {
            let bit = step.numbers[0] as usize % (8 * length);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        "zero" => bytes[first..]
            .iter_mut()
            .take(second)
            .for_each(|it| *it = 0),
        "cut" => bytes.truncate(first),
        "copy" => {
            let copied = bytes[first..].iter().copied().take(third);
            let copied: Vec<u8> = copied.collect();
            bytes[second..]
                .iter_mut()
                .zip(copied)
                .for_each(|(to, it)| *to = it);
        }
        // From there on it is what another file has there.
        "graft" => {
            let grafted = other.get(first..).unwrap_or_default();
            bytes.truncate(first);
            bytes.extend_from_slice(grafted);
        }
        _ => {}
    }
}
