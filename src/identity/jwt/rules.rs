//! What a token must say to count (RFC 7519 section 4.1, RFC 8725 section 3).

use serde_json::{Map, Value};

use super::refused::Refused;
use super::token::Header;
use crate::identity::keys::Algorithms;

/// What is asked of every token, whoever signed it.
#[derive(Debug)]
pub(in crate::identity) struct Rules {
    pub(in crate::identity) algorithms: Algorithms,
    pub(in crate::identity) types: Types,
    pub(in crate::identity) issuer: Box<str>,
    /// One of them must be among the token's; `None` where tokens for anybody are taken.
    pub(in crate::identity) audiences: Option<Box<[Box<str>]>>,
    pub(in crate::identity) required: Box<[Box<str>]>,
    /// How far the clocks of two machines may be apart, in seconds.
    pub(in crate::identity) leeway: u64,
    /// From `iat` to `exp`, in seconds.
    pub(in crate::identity) longest_life: Option<u64>,
}

/// Which `typ` a token may have. They are compared as media types: in any case, with or without `application/`.
#[derive(Debug, PartialEq)]
pub(in crate::identity) enum Types {
    /// None, `JWT` or `at+jwt` (RFC 9068): what access tokens have. Tokens for something else say so, `logout+jwt`.
    Usual,
    /// One of these, and not none.
    Only(Box<[Box<str>]>),
    /// One of these, or none.
    NoneOr(&'static [&'static str]),
}

impl Rules {
    /// Whether a token with these claims counts now, if its signature is right. Gives the second from which it does
    /// not any more.
    pub(super) fn check(
        &self,
        header: &Header,
        claims: &Map<String, Value>,
        now: u64,
    ) -> Result<u64, Refused> {
        // First, so that where there are several providers the others see at once that it is not theirs.
        match claims.get("iss") {
            Some(Value::String(issuer)) if **issuer == *self.issuer => {}
            _ => return Err(Refused::Issuer),
        }
        if !self.algorithms.contains(header.algorithm) {
            return Err(Refused::AlgorithmNotAllowed);
        }
        if !self.types.accept(header.typ.as_deref()) {
            return Err(Refused::Type);
        }
        self.check_audience(claims.get("aud"))?;
        let mut required = self.required.iter();
        let is_missing = |name: &str| matches!(claims.get(name), None | Some(Value::Null));
        if required.any(|name| is_missing(name)) {
            return Err(Refused::ClaimMissing);
        }
        self.check_times(claims, now)
    }

    fn check_audience(&self, audience: Option<&Value>) -> Result<(), Refused> {
        let Some(accepted) = &self.audiences else {
            return Ok(());
        };
        let is_accepted = |one: &Value| {
            let mut accepted = accepted.iter();
            one.as_str()
                .is_some_and(|one| accepted.any(|own| **own == *one))
        };
        let is_ours = match audience {
            Some(Value::Array(several)) => {
                if !several.iter().all(Value::is_string) {
                    return Err(Refused::ClaimType);
                }
                several.iter().any(is_accepted)
            }
            Some(one) => is_accepted(one),
            None => false,
        };
        is_ours.then_some(()).ok_or(Refused::Audience)
    }

    fn check_times(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, Refused> {
        let expires = time(claims, "exp")?.ok_or(Refused::NoExpiry)?;
        let until = expires.saturating_add(self.leeway);
        if now >= until {
            return Err(Refused::Expired);
        }
        let latest = now.saturating_add(self.leeway);
        if time(claims, "nbf")?.is_some_and(|from| from > latest) {
            return Err(Refused::NotYet);
        }
        let issued = time(claims, "iat")?;
        if issued.is_some_and(|issued| issued > latest) {
            return Err(Refused::IssuedLater);
        }
        if let Some(longest) = self.longest_life {
            let life = issued.map(|issued| expires.saturating_sub(issued));
            if life.is_none_or(|life| life > longest) {
                return Err(Refused::Lifetime);
            }
        }
        Ok(until)
    }
}

impl Types {
    fn accept(&self, typ: Option<&str>) -> bool {
        match (self, typ) {
            (Types::Usual, None) => true,
            (Types::Usual, Some(typ)) => is_type("JWT", typ) || is_type("at+jwt", typ),
            (Types::NoneOr(_), None) => true,
            (Types::NoneOr(several), Some(typ)) => several.iter().any(|one| is_type(one, typ)),
            (Types::Only(_), None) => false,
            (Types::Only(several), Some(typ)) => several.iter().any(|one| is_type(one, typ)),
        }
    }
}

/// RFC 7515 section 4.1.9: `application/` is left out where no other slash is in the name.
fn is_type(accepted: &str, typ: &str) -> bool {
    bare(accepted).eq_ignore_ascii_case(bare(typ))
}

fn bare(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) && !rest.contains('/') => rest,
        _ => typ,
    }
}

/// A `NumericDate`: seconds since 1970, perhaps with a fraction, which is cut off. Text that looks like a number is
/// none, for others would take the claim for absent.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Refused> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let Value::Number(number) = value else {
        return Err(Refused::ClaimType);
    };
    if let Some(seconds) = number.as_u64() {
        return Ok(Some(seconds));
    }
    // Conversion to a whole number saturates: what is before 1970 counts as 1970.
    let seconds = number.as_f64().filter(|seconds| seconds.is_finite());
    seconds
        .map(|seconds| Some(seconds as u64))
        .ok_or(Refused::ClaimType)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::keys::Algorithm;

    const NOW: u64 = 1_000_000;

    fn rules() -> Rules {
        Rules {
            algorithms: Algorithm::RS256.into(),
            types: Types::Usual,
            issuer: "https://id".into(),
            audiences: Some(["shop".into(), "till".into()].into()),
            required: ["sub".into()].into(),
            leeway: 30,
            longest_life: None,
        }
    }

    fn header() -> Header {
        Header {
            algorithm: Algorithm::RS256,
            kid: None,
            typ: None,
        }
    }

    fn claims() -> Value {
        json!({ "iss": "https://id", "aud": "shop", "sub": "me", "exp": NOW + 60 })
    }

    fn outcome(rules: &Rules, header: &Header, claims: &Value) -> Result<u64, Refused> {
        rules.check(header, claims.as_object().expect("an object"), NOW)
    }

    /// What becomes of a good token in which one claim is another; `null` leaves it out.
    fn check(name: &str, value: Value, expected: Result<(), Refused>) {
        let mut claims = claims();
        match value.clone() {
            Value::Null => drop(claims.as_object_mut().map(|claims| claims.remove(name))),
            value => claims[name] = value,
        }
        let found = outcome(&rules(), &header(), &claims).map(drop);
        assert_eq!(found, expected, "{name} {value}");
    }

    #[test]
    fn issuers() {
        check("iss", json!("https://id"), Ok(()));
        for other in [
            json!("https://id/"),
            json!("https://ID"),
            json!(" https://id"),
            json!(""),
            json!(1),
            json!(["https://id"]),
            json!({}),
            Value::Null,
        ] {
            check("iss", other, Err(Refused::Issuer));
        }
    }

    #[test]
    fn audiences() {
        check("aud", json!("till"), Ok(()));
        check("aud", json!(["else", "shop"]), Ok(()));
        for other in [
            json!("shops"),
            json!("SHOP"),
            json!("shop till"),
            json!([]),
            json!(["x"]),
            json!(1),
            json!({ "shop": 1 }),
            json!([["shop"]])
                .as_array()
                .map_or(Value::Null, |_| json!("[shop]")),
            Value::Null,
        ] {
            check("aud", other, Err(Refused::Audience));
        }
        check("aud", json!([1, "shop"]), Err(Refused::ClaimType));
        check("aud", json!([["shop"]]), Err(Refused::ClaimType));
        let anybody = Rules {
            audiences: None,
            ..rules()
        };
        let mut claims = claims();
        claims["aud"] = json!("else");
        assert!(outcome(&anybody, &header(), &claims).is_ok());
    }

    #[test]
    fn times() {
        check("exp", json!(NOW - 29), Ok(()));
        check("exp", json!(NOW - 30), Err(Refused::Expired));
        check("exp", json!(0), Err(Refused::Expired));
        check("exp", json!(-1), Err(Refused::Expired));
        check("exp", json!(-1e300), Err(Refused::Expired));
        check("exp", json!(NOW as f64 + 0.5), Ok(()));
        check("exp", json!(u64::MAX), Ok(()));
        check("exp", json!(1e300), Ok(()));
        check("exp", Value::Null, Err(Refused::NoExpiry));
        for (name, late) in [("nbf", Refused::NotYet), ("iat", Refused::IssuedLater)] {
            check(name, json!(NOW + 30), Ok(()));
            check(name, json!(0), Ok(()));
            check(name, json!(NOW + 31), Err(late));
            check(name, json!(u64::MAX), Err(late));
        }
        for name in ["exp", "nbf", "iat"] {
            for other in [json!("9999999999"), json!(true), json!([NOW]), json!({})] {
                check(name, other, Err(Refused::ClaimType));
            }
        }
        let mut null = claims();
        null["exp"] = Value::Null;
        assert_eq!(outcome(&rules(), &header(), &null), Err(Refused::ClaimType));
        assert_eq!(outcome(&rules(), &header(), &claims()), Ok(NOW + 90));
    }

    #[test]
    fn lifetimes() {
        let rules = Rules {
            longest_life: Some(100),
            ..rules()
        };
        let check = |issued: Value, expected| {
            let mut claims = claims();
            claims["iat"] = issued;
            assert_eq!(outcome(&rules, &header(), &claims).map(drop), expected);
        };
        check(json!(NOW - 40), Ok(()));
        check(json!(NOW - 41), Err(Refused::Lifetime));
        check(json!(-5), Err(Refused::Lifetime));
        assert_eq!(
            outcome(&rules, &header(), &claims()),
            Err(Refused::Lifetime)
        );
    }

    #[test]
    fn required_claims() {
        check("sub", Value::Null, Err(Refused::ClaimMissing));
        let mut null = claims();
        null["sub"] = Value::Null;
        assert_eq!(
            outcome(&rules(), &header(), &null),
            Err(Refused::ClaimMissing)
        );
    }

    #[test]
    fn types() {
        let check = |types: &Types, typ: Option<&str>, expected: bool| {
            assert_eq!(types.accept(typ), expected, "{types:?} {typ:?}");
        };
        for typ in [
            "JWT",
            "jwt",
            "at+jwt",
            "AT+JWT",
            "application/at+jwt",
            "Application/JWT",
        ] {
            check(&Types::Usual, Some(typ), true);
        }
        check(&Types::Usual, None, true);
        for typ in [
            "logout+jwt",
            "dpop+jwt",
            "JOSE",
            "",
            "JWT ",
            "application/",
            "x/application/jwt",
        ] {
            check(&Types::Usual, Some(typ), false);
        }
        let only = Types::Only(["application/at+jwt".into()].into());
        check(&only, Some("at+jwt"), true);
        check(&only, Some("JWT"), false);
        check(&only, None, false);
    }

    #[test]
    fn algorithms() {
        let header = Header {
            algorithm: Algorithm::PS256,
            ..header()
        };
        let refused = outcome(&rules(), &header, &claims());
        assert_eq!(refused, Err(Refused::AlgorithmNotAllowed));
    }
}
