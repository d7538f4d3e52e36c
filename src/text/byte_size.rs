//! Amounts of bytes: `"32KiB"`, `"10MB"`, `512`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error};

use super::parsed::ParsedText;
use super::{Invalid, parsed_text};

/// An amount of bytes; zero is allowed. Bare numbers are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Powers of 1024 first, so that `Display` prefers them; each group from the largest.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    pub const fn from_bytes(bytes: u64) -> Self {
        ByteSize(bytes)
    }

    pub const fn from_kib(kib: u32) -> Self {
        ByteSize((kib as u64) << 10)
    }

    pub const fn from_mib(mib: u32) -> Self {
        ByteSize((mib as u64) << 20)
    }

    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// For lengths in memory; where addresses are shorter than 64 bits, no buffer can exceed the largest.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::ByteSize { got: text.into() };
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(wrong());
        }
        // SI writes a small k, everybody writes a capital one.
        let factor = match unit {
            "" => 1,
            "kB" => 1_000,
            _ => UNITS
                .iter()
                .find(|&&(name, _)| name == unit)
                .map(|&(_, factor)| factor)
                .ok_or_else(wrong)?,
        };
        let bytes = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor));
        bytes
            .map(ByteSize)
            .ok_or_else(|| Invalid::ByteSizeLarge { got: text.into() })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |&&(_, factor): &&(&str, u64)| self.0 >= factor && self.0.is_multiple_of(factor);
        let (name, factor) = UNITS.iter().find(fits).copied().unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

impl ParsedText for ByteSize {
    const EXPECTED: &'static str = "a size such as \"512B\", \"32KiB\" or \"10MB\"";

    fn from_number(got: i64) -> Option<Result<Self, Invalid>> {
        Some(
            u64::try_from(got)
                .map(ByteSize)
                .map_err(|_| Invalid::ByteSizeNegative { got }),
        )
    }
}

parsed_text!(
    ByteSize,
    ["string", "integer"],
    r"^\d+(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$",
    "An amount of bytes: \"512B\", \"32KiB\" (1024), \"10MB\" (1000 × 1000); a bare number is bytes."
);

/// An amount of at most this many KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeUpTo<const KIB: u32>(ByteSize);

impl<const KIB: u32> SizeUpTo<KIB> {
    /// What is more than the most becomes the most; for constants.
    pub const fn from_kib(kib: u32) -> Self {
        SizeUpTo(ByteSize::from_kib(if kib < KIB { kib } else { KIB }))
    }

    pub fn as_usize(self) -> usize {
        self.0.as_usize()
    }
}

impl<'de, const KIB: u32> Deserialize<'de> for SizeUpTo<KIB> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (got, most) = (
            ByteSize::deserialize(deserializer)?,
            ByteSize::from_kib(KIB),
        );
        if got > most {
            return Err(D::Error::custom(Invalid::ByteSizeOver { most, got }));
        }
        Ok(SizeUpTo(got))
    }
}

impl<const KIB: u32> JsonSchema for SizeUpTo<KIB> {
    fn schema_name() -> Cow<'static, str> {
        ByteSize::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        ByteSize::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        ByteSize::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed::tests::{check, json};
    use super::*;

    #[test]
    fn good() {
        let check = |text, expected| check::<ByteSize>(text, Ok(expected));
        check("512B", "512B");
        check("512", "512B");
        check("0", "0B");
        check("32KiB", "32KiB");
        check("1024KiB", "1MiB");
        check("10MB", "10MB");
        check("5kB", "5KB");
        check("2048B", "2KiB");
        check("18446744073709551615B", "18446744073709551615B");
        assert_eq!(
            "1MiB".parse::<ByteSize>().map(ByteSize::as_usize),
            Ok(1 << 20)
        );
        assert_eq!(ByteSize::from_kib(32), ByteSize::from_bytes(32768));
    }

    #[test]
    fn bad() {
        for text in ["", "KiB", "-1B", "1.5MB", "10 MB", "10mb", "10M", "é"] {
            let wrong =
                format!("must be a size such as \"512B\", \"32KiB\" or \"10MB\", got \"{text}\"");
            check::<ByteSize>(text, Err(&wrong));
        }
        check::<ByteSize>(
            "99999999TiB",
            Err("must be a size below 16384PiB, got \"99999999TiB\""),
        );
    }

    #[test]
    fn more_than_the_most_is_refused() {
        assert_eq!(
            json::<SizeUpTo<63>>("\"63KiB\"").map(SizeUpTo::as_usize),
            Ok(64_512)
        );
        let refused = json::<SizeUpTo<63>>("\"64KiB\"").unwrap_err();
        assert!(
            refused.starts_with("must be a size of at most 63KiB, got 64KiB"),
            "{refused}"
        );
        assert!(json::<SizeUpTo<63>>("64513").is_err());
    }

    #[test]
    fn numbers_are_bytes() {
        assert_eq!(json("4096"), Ok(ByteSize::from_kib(4)));
        assert!(json::<ByteSize>("-1").is_err_and(|error| error.contains("0 bytes or more")));
        assert!(json::<ByteSize>("1.5").is_err());
    }
}
