//! Which coding a client gets: `Accept-Encoding` by RFC 9110 section 12.5.3.

use http::HeaderValue;
use schemars::JsonSchema;
use serde::Deserialize;

/// A content coding that responses can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// RFC 8878; the fastest.
    Zstd,
    /// Brotli, RFC 7932.
    Br,
    /// RFC 1952; what everybody can decode.
    Gzip,
}

impl Encoding {
    pub(super) const ALL: [Encoding; 3] = [Encoding::Zstd, Encoding::Br, Encoding::Gzip];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Encoding::Zstd => "zstd",
            Encoding::Br => "br",
            Encoding::Gzip => "gzip",
        }
    }

    fn named(name: &[u8]) -> Option<Encoding> {
        // RFC 9110 section 8.4.1.3: "x-gzip" is "gzip".
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Encoding::Gzip);
        }
        let is_meant =
            |encoding: &Encoding| name.eq_ignore_ascii_case(encoding.as_str().as_bytes());
        Encoding::ALL.into_iter().find(is_meant)
    }
}

/// The best of what is offered, the preferred first, for a client with these lines of `Accept-Encoding`. `None`
/// is the response as it is: for a client that says nothing, that asks for no coding, or that likes none better
/// than `identity`. Where not even that is acceptable to it, it gets it all the same, as the RFC allows: a
/// response that it may be able to use is better than a 406.
pub(super) fn choose<'v>(
    lines: impl Iterator<Item = &'v HeaderValue>,
    offered: &[Encoding],
) -> Option<Encoding> {
    let mut weights = Weights::default();
    for line in lines {
        for member in line.as_bytes().split(|&byte| byte == b',') {
            if let Some((name, weight)) = parse_member(member) {
                weights.note(name, weight);
            }
        }
    }
    let identity = weights.identity.or(weights.any).unwrap_or(0);
    let mut best = None;
    for &encoding in offered {
        let listed = weights.listed[encoding as usize];
        let weight = listed.or(weights.any).unwrap_or(0);
        // Only a greater weight wins, so that ties go to what stands first.
        if weight > 0 && best.is_none_or(|(_, best)| weight > best) {
            best = Some((encoding, weight));
        }
    }
    best.filter(|&(_, weight)| weight >= identity)
        .map(|(encoding, _)| encoding)
}

/// In thousandths. `None` is what the client has not named.
#[derive(Default)]
struct Weights {
    listed: [Option<u16>; Encoding::ALL.len()],
    identity: Option<u16>,
    any: Option<u16>,
}

impl Weights {
    fn note(&mut self, name: &[u8], weight: u16) {
        let slot = if name == b"*" {
            &mut self.any
        } else if name.eq_ignore_ascii_case(b"identity") {
            &mut self.identity
        } else if let Some(encoding) = Encoding::named(name) {
            &mut self.listed[encoding as usize]
        } else {
            return;
        };
        // Of two weights for one coding the lesser counts: a client that refuses it anywhere means it.
        *slot = Some(slot.map_or(weight, |before| before.min(weight)));
    }
}

/// `name` or `name;q=0.5`. What is written otherwise is as if it were not there.
fn parse_member(member: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = member.splitn(2, |&byte| byte == b';');
    let name = parts.next()?.trim_ascii();
    let weight = match parts.next() {
        None => 1000,
        Some(parameter) => {
            let parameter = parameter.trim_ascii();
            let value = parameter
                .strip_prefix(b"q=")
                .or(parameter.strip_prefix(b"Q="))?;
            parse_weight(value)?
        }
    };
    (!name.is_empty()).then_some((name, weight))
}

/// `0`, `1`, and at most three decimals in between, in thousandths.
fn parse_weight(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut weight = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    let mut unit = 100;
    for digit in decimals {
        if !digit.is_ascii_digit() {
            return None;
        }
        weight += u16::from(digit - b'0') * unit;
        unit /= 10;
    }
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choose_of(lines: &[&str], offered: &[Encoding]) -> Option<&'static str> {
        let lines: Vec<HeaderValue> = lines
            .iter()
            .map(|line| HeaderValue::from_bytes(line.as_bytes()).unwrap())
            .collect();
        choose(lines.iter(), offered).map(Encoding::as_str)
    }

    #[test]
    fn the_best_of_what_both_sides_know() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(choose_of(&[line], &Encoding::ALL), expected, "{line:?}");
        };
        check("", None);
        check(" , ,", None);
        check("gzip", Some("gzip"));
        check("GZip", Some("gzip"));
        check("x-gzip", Some("gzip"));
        check("compress, deflate", None);
        // Ties go to the server's order, whatever the client's is.
        check("gzip, br, zstd", Some("zstd"));
        check("gzip, deflate, br", Some("br"));
        check("gzip;q=0.5, br;q=0.5", Some("br"));
        check("gzip;q=1.0, br;q=0.999", Some("gzip"));
        check("br;q=0.1,gzip;q=0.2,zstd;q=0", Some("gzip"));
        check("gzip ; q=0.8 , br ;Q=0.9", Some("br"));
        check("\tgzip\t;\tq=0.8\t", Some("gzip"));
        // Zero is a refusal.
        check("gzip;q=0", None);
        check("gzip;q=0.000", None);
        check("zstd;q=0, br;q=0, gzip;q=0.001", Some("gzip"));
        check("gzip, gzip;q=0", None);
        check("gzip;q=0, *", Some("zstd"));
        check("*;q=0", None);
        check("*;q=0, gzip", Some("gzip"));
        check("*", Some("zstd"));
        check("*;q=0.5, br;q=0.6", Some("br"));
        check("zstd;q=0, *;q=0.1", Some("br"));
        // What is liked better than a coding is no coding.
        check("identity", None);
        check("identity, gzip", Some("gzip"));
        check("identity;q=1, gzip;q=0.5", None);
        check("identity;q=0.5, gzip;q=1", Some("gzip"));
        check("identity;q=0, gzip;q=0.1", Some("gzip"));
        check("identity;q=0", None);
        check("identity;q=0, *;q=0", None);
        check("gzip;q=0.5, zstd;q=0, br;q=0, *;q=0.9", None);
        // What is no weight makes the member as if it were not there.
        check("gzip;q=2, br;q=0.5", Some("br"));
        check("gzip;q=1.001", None);
        check("gzip;q=0.5555", None);
        check("gzip;q=-1", None);
        check("gzip;q=", None);
        check("gzip;q=a", None);
        check("gzip;q=.5", None);
        check("gzip;level=9", None);
        check("gzip;q=0.5;x=1", None);
        check("gzip;q=1.", Some("gzip"));
        check("gzip gzip", None);
        check("gzip=1", None);
    }

    #[test]
    fn lines_are_one_list_and_only_what_is_offered_counts() {
        let (gzip, br) = (Encoding::Gzip, Encoding::Br);
        assert_eq!(choose_of(&[], &Encoding::ALL), None);
        assert_eq!(
            choose_of(&["br;q=0.1", "gzip"], &Encoding::ALL),
            Some("gzip")
        );
        assert_eq!(choose_of(&["gzip", "gzip;q=0"], &Encoding::ALL), None);
        assert_eq!(choose_of(&["zstd, br, gzip"], &[gzip, br]), Some("gzip"));
        assert_eq!(choose_of(&["zstd, br;q=0.1"], &[gzip, br]), Some("br"));
        assert_eq!(choose_of(&["zstd"], &[gzip, br]), None);
        assert_eq!(choose_of(&["*, gzip;q=0.5"], &[gzip]), None);
        assert_eq!(choose_of(&["gzip"], &[]), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_no_reason_to_fail() {
        let line = HeaderValue::from_bytes(b"\xff\xfe, br;q=0.5\xff, gzip").unwrap();
        assert_eq!(choose([line].iter(), &Encoding::ALL), Some(Encoding::Gzip));
    }

    /// What a client may write, each coding once, in thousandths.
    fn preferences() -> impl Strategy<Value = Vec<(&'static str, u16)>> {
        let names = ["gzip", "br", "zstd", "identity", "*", "deflate", "snappy"];
        let weight = prop_oneof![Just(0u16), Just(1000), 0..=1000u16];
        proptest::collection::vec(proptest::option::of(weight), names.len()).prop_map(
            move |weights| {
                let named = names.into_iter().zip(weights);
                named.filter_map(|(name, w)| Some((name, w?))).collect()
            },
        )
    }

    /// The rule as the RFC says it, over preferences that need no parsing.
    fn by_the_rule(preferences: &[(&str, u16)]) -> Option<Encoding> {
        let weight_of = |name: &str| {
            let find = |name: &str| preferences.iter().find(|(n, _)| *n == name);
            find(name).or(find("*")).map_or(0, |(_, weight)| *weight)
        };
        let best = Encoding::ALL.iter().map(|e| weight_of(e.as_str())).max()?;
        let first = Encoding::ALL
            .into_iter()
            .find(|e| weight_of(e.as_str()) == best);
        first.filter(|_| best > 0 && best >= weight_of("identity"))
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let line = HeaderValue::from_bytes(&bytes);
            if let Ok(line) = line {
                choose([line].iter(), &Encoding::ALL);
            }
        }

        #[test]
        fn what_is_chosen_is_what_the_rule_says(
            (preferences, order) in preferences().prop_flat_map(|p| (Just(p.clone()), Just(p).prop_shuffle())),
            space in "[ \t]{0,2}",
            upper: bool,
            cut in 0..7usize,
        ) {
            let mut members: Vec<String> = order
                .iter()
                .map(|(name, weight)| {
                    let name = if upper { name.to_uppercase() } else { (*name).to_owned() };
                    let weight = format!("{}.{:03}", weight / 1000, weight % 1000);
                    format!("{space}{name}{space};{space}q={weight}{space}")
                })
                .collect();
            let rest = members.split_off(cut.min(members.len()));
            let lines = [members.join(","), rest.join(",")];
            let chosen = choose_of(&[&lines[0], &lines[1]], &Encoding::ALL);
            prop_assert_eq!(chosen, by_the_rule(&preferences).map(Encoding::as_str));
        }
    }
}
