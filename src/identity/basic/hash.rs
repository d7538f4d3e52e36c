//! What is kept of a password: a hash that is slow to compute, argon2id or bcrypt.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use argon2::password_hash::{self, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier};
use rand::TryRngCore;
use rand::rngs::OsRng;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::text::ParsedText;
use crate::text::parsed::deserialize_private;

/// The hash of a password, in the form that its makers print: `$argon2id$…` or `$2b$…`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    text: Box<str>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Argon2id,
    Bcrypt,
}

/// The most that argon2id may take of memory, in KiB: each check that runs takes it.
const MOST_MEMORY: u32 = 64 * 1024;
/// The weakest that OWASP names, 7 MiB five times over, in KiB times passes. So are its others, of more memory.
const LEAST_WORK: u32 = 7168 * 5;
const LEAST_MEMORY: u32 = 7168;
const MOST_PASSES: u32 = 10;
const MOST_LANES: u32 = 16;
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 10..=15;
/// bcrypt does not look at what follows.
const BCRYPT_LONGEST: usize = 72;

/// Why a text is no hash to go by. It does not tell the text, which may be the password itself.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPassword {
    #[error(
        "must be the hash of a password, \"$argon2id$…\" or \"$2b$…\"\n`northgate key password` makes one"
    )]
    Form,
    #[error("must be of argon2id: the other kinds of argon2 are open to other attacks")]
    Variant,
    #[error("must be of version 19 of argon2, the one of RFC 9106")]
    Version,
    #[error("has parameters that argon2id does not have")]
    Parameters,
    #[error(
        "is too weak: argon2id needs at least 7168 KiB of memory, and memory times passes of 35840 KiB\n`northgate key password` makes one with 19456 KiB and 2 passes"
    )]
    Weak,
    #[error(
        "is too costly to check: argon2id may have at most {MOST_MEMORY} KiB of memory, {MOST_PASSES} passes and {MOST_LANES} lanes"
    )]
    Costly,
    #[error("must have a salt of at least 8 bytes and a hash of 16 to 64")]
    Short,
    #[error("must be of bcrypt with a cost from 10 to 15")]
    BcryptCost,
}

impl PasswordHash {
    /// Makes the hash of a password, by argon2id with 19 MiB and two passes, OWASP's first choice. It takes some
    /// hundredths of a second.
    pub fn of(password: &[u8]) -> Result<PasswordHash, CannotHash> {
        let mut salt = [0; 16];
        OsRng.try_fill_bytes(&mut salt)?;
        let salt = SaltString::encode_b64(&salt)?;
        let hash = Argon2::default().hash_password(password, &salt)?;
        Ok(PasswordHash {
            text: hash.to_string().into(),
            kind: Kind::Argon2id,
        })
    }

    /// Whether it is the hash of this password. It takes its time, and its memory, as the hash says.
    pub fn verify(&self, password: &[u8]) -> bool {
        match self.kind {
            Kind::Argon2id => match password_hash::PasswordHash::new(&self.text) {
                Ok(hash) => Argon2::default().verify_password(password, &hash).is_ok(),
                Err(_) => false,
            },
            // What is too long is checked all the same: it must take the time that others take.
            Kind::Bcrypt => {
                let is_equal = bcrypt::verify(password, &self.text).unwrap_or(false);
                is_equal & (password.len() <= BCRYPT_LONGEST)
            }
        }
    }

    /// As it is written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A hash could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CannotHash {
    #[error("the operating system gives no random numbers: {0}")]
    Randomness(#[from] rand::rand_core::OsError),
    #[error("the password cannot be hashed: {0}")]
    Hash(#[from] password_hash::Error),
}

impl FromStr for PasswordHash {
    type Err = InvalidPassword;

    fn from_str(text: &str) -> Result<PasswordHash, InvalidPassword> {
        let kind = match text {
            _ if text.starts_with("$argon2") => check_argon2(text).map(|()| Kind::Argon2id),
            _ if text.starts_with("$2") => check_bcrypt(text).map(|()| Kind::Bcrypt),
            _ => Err(InvalidPassword::Form),
        }?;
        Ok(PasswordHash {
            text: text.into(),
            kind,
        })
    }
}

fn check_argon2(text: &str) -> Result<(), InvalidPassword> {
    let hash = password_hash::PasswordHash::new(text).map_err(|_| InvalidPassword::Form)?;
    match Algorithm::try_from(hash.algorithm) {
        Ok(Algorithm::Argon2id) => {}
        Ok(_) => return Err(InvalidPassword::Variant),
        Err(_) => return Err(InvalidPassword::Form),
    }
    if hash.version != Some(0x13) {
        return Err(InvalidPassword::Version);
    }
    // `keyid` and `data` mean that a secret belongs to it which is not here.
    let are_known = hash
        .params
        .iter()
        .all(|(name, _)| ["m", "t", "p"].contains(&name.as_str()));
    let params = Params::try_from(&hash).map_err(|_| InvalidPassword::Parameters)?;
    if !are_known {
        return Err(InvalidPassword::Parameters);
    }
    let (memory, passes) = (params.m_cost(), params.t_cost());
    if memory > MOST_MEMORY || passes > MOST_PASSES || params.p_cost() > MOST_LANES {
        return Err(InvalidPassword::Costly);
    }
    if memory < LEAST_MEMORY || memory * passes < LEAST_WORK {
        return Err(InvalidPassword::Weak);
    }
    let mut salt = [0; 64];
    let salt = hash
        .salt
        .and_then(|it| Some(it.decode_b64(&mut salt).ok()?.len()));
    match (salt, hash.hash) {
        (Some(8..), Some(hash)) if (16..=64).contains(&hash.len()) => Ok(()),
        _ => Err(InvalidPassword::Short),
    }
}

/// `$2b$12$`, 22 digits of salt and 31 of hash. `$2x$` marks hashes of a broken implementation.
fn check_bcrypt(text: &str) -> Result<(), InvalidPassword> {
    let rest = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|version| text.strip_prefix(version));
    let (cost, digits) = rest
        .and_then(|rest| rest.split_once('$'))
        .ok_or(InvalidPassword::Form)?;
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    let is_number = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || digits.len() != 53 || !digits.bytes().all(is_digit) {
        return Err(InvalidPassword::Form);
    }
    match cost.parse() {
        Ok(cost) if BCRYPT_COSTS.contains(&cost) => {}
        Ok(_) => return Err(InvalidPassword::BcryptCost),
        Err(_) => return Err(InvalidPassword::Form),
    }
    // The last digits of salt and hash have bits to spare, and those that are set make a hash that nothing matches.
    let (salt, hash) = digits.split_at(22);
    let is_base64 = |digits: &str| {
        use base64::Engine as _;
        bcrypt::BASE_64.decode(digits).is_ok()
    };
    match is_base64(salt) && is_base64(hash) {
        true => Ok(()),
        false => Err(InvalidPassword::Form),
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl ParsedText for PasswordHash {
    const EXPECTED: &'static str = "the hash of a password, \"$argon2id$…\" or \"$2b$…\"";
}

// Somebody may write the password itself here, and then no message must show it.
impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_private(deserializer)
    }
}

impl JsonSchema for PasswordHash {
    fn schema_name() -> Cow<'static, str> {
        "PasswordHash".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\$(argon2id\$|2[aby]\$)",
            "description": "The hash of a password: argon2id as a PHC string, of at least 7168 KiB and at most 65536, or bcrypt of a cost from 10 to 15. `northgate key password` makes one.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &str = "c29tZXNhbHRzb21lc2FsdA";
    const HASH: &str = "RdescudvJCsgt3ub+b4dWRWJTmaaJObGAe2hBQVkV5I";
    /// Of "correct horse", by the crate itself with another program's salt.
    const BCRYPT: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

    fn argon2(middle: &str) -> String {
        format!("{middle}${SALT}${HASH}")
    }

    #[test]
    fn what_is_made_is_good() {
        let hash = PasswordHash::of("pässword".as_bytes()).expect("a hash");
        let read: PasswordHash = hash.as_str().parse().expect("it is good");
        assert!(read == hash && hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hash.verify("pässword".as_bytes()));
        for other in [
            "password",
            "pässwor",
            "pässword ",
            "PÄSSWORD",
            "pa\u{308}ssword",
            "",
        ] {
            assert!(!hash.verify(other.as_bytes()), "{other}");
        }
        let again = PasswordHash::of("pässword".as_bytes()).expect("a hash");
        assert_ne!(hash.as_str(), again.as_str(), "salts are drawn");
        assert_eq!(format!("{hash:?}"), "***");
    }

    #[test]
    fn hashes_of_bcrypt_are_checked_and_nothing_is_cut_off() {
        let long = "p".repeat(72);
        for version in ["2a", "2b", "2y"] {
            let made = bcrypt::hash_with_result(&long, 10).expect("a hash");
            let text = made.to_string().replace("$2b$", &format!("${version}$"));
            let hash: PasswordHash = text.parse().expect("it is good");
            assert!(hash.verify(long.as_bytes()));
            assert!(
                !hash.verify(format!("{long}p").as_bytes()),
                "bcrypt sees no difference"
            );
            assert!(!hash.verify(&long.as_bytes()[1..]));
        }
        let _: PasswordHash = BCRYPT.parse().expect("it is good");
    }

    #[test]
    fn only_good_parameters_are_taken() {
        let check = |text: &str, expected: Result<(), InvalidPassword>| {
            let read = text.parse::<PasswordHash>().map(|_| ());
            assert_eq!(read, expected, "{text}");
        };
        for good in [
            "m=19456,t=2,p=1",
            "m=7168,t=5,p=1",
            "m=47104,t=1,p=1",
            "m=65536,t=3,p=4",
            "m=65536,t=10,p=16",
        ] {
            check(&argon2(&format!("$argon2id$v=19${good}")), Ok(()));
        }
        for (middle, problem) in [
            ("$argon2i$v=19$m=19456,t=2,p=1", InvalidPassword::Variant),
            ("$argon2d$v=19$m=19456,t=2,p=1", InvalidPassword::Variant),
            ("$argon2$v=19$m=19456,t=2,p=1", InvalidPassword::Form),
            ("$argon2id$v=16$m=19456,t=2,p=1", InvalidPassword::Version),
            ("$argon2id$m=19456,t=2,p=1", InvalidPassword::Version),
            ("$argon2id$v=19$m=8,t=1,p=1", InvalidPassword::Weak),
            ("$argon2id$v=19$m=19456,t=1,p=1", InvalidPassword::Weak),
            ("$argon2id$v=19$m=4096,t=10,p=1", InvalidPassword::Weak),
            ("$argon2id$v=19$m=4194304,t=2,p=1", InvalidPassword::Costly),
            (
                "$argon2id$v=19$m=4294967295,t=4294967295,p=1",
                InvalidPassword::Costly,
            ),
            ("$argon2id$v=19$m=19456,t=4000,p=1", InvalidPassword::Costly),
            ("$argon2id$v=19$m=19456,t=2,p=255", InvalidPassword::Costly),
            (
                "$argon2id$v=19$m=19456,t=2,p=1,keyid=aGk",
                InvalidPassword::Parameters,
            ),
            (
                "$argon2id$v=19$m=19456,t=2,p=1,x=1",
                InvalidPassword::Parameters,
            ),
            ("$argon2id$v=19$m=0,t=0,p=0", InvalidPassword::Parameters),
        ] {
            check(&argon2(middle), Err(problem));
        }
        let short = format!("$argon2id$v=19$m=19456,t=2,p=1${SALT}$RdescudvJCsgt3s");
        check(&short, Err(InvalidPassword::Short));
        check(
            "$argon2id$v=19$m=19456,t=2,p=1",
            Err(InvalidPassword::Short),
        );
        for (from, to, problem) in [
            ("$2b$10$", "$2b$09$", InvalidPassword::BcryptCost),
            ("$2b$10$", "$2b$04$", InvalidPassword::BcryptCost),
            ("$2b$10$", "$2b$31$", InvalidPassword::BcryptCost),
            ("$2b$10$", "$2x$10$", InvalidPassword::Form),
            ("$2b$10$", "$2b$1$", InvalidPassword::Form),
            ("$2b$10$", "$2b$+9$", InvalidPassword::Form),
            ("$2b$10$", "$2b$10$$", InvalidPassword::Form),
            ("N9qo", "N9q", InvalidPassword::Form),
            ("N9qo", "N9q!", InvalidPassword::Form),
            ("hWy", "hWz", InvalidPassword::Form),
        ] {
            check(&BCRYPT.replacen(from, to, 1), Err(problem));
        }
        for text in [
            "",
            "hunter2",
            "$",
            "$1$abc$def",
            "$apr1$x$y",
            "{SHA}abc",
            "$argon2",
            "$2",
        ] {
            check(text, Err(InvalidPassword::Form));
        }
    }
}
