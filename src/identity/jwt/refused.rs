//! Why a token proves nothing. For the log: whoever sent it learns only that it was not good.

use crate::identity::Unmapped;

/// The first thing that was wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    TooLong,
    Parts,
    HeaderTooLong,
    Base64,
    Header,
    Claims,
    EmbeddedKey,
    Critical,
    Algorithm,
    AlgorithmNotAllowed,
    Type,
    Issuer,
    Audience,
    NoExpiry,
    Expired,
    NotYet,
    IssuedLater,
    Lifetime,
    ClaimMissing,
    ClaimType,
    Mapping(Unmapped),
    UnknownKey,
    NoKey,
    Signature,
}

impl Refused {
    pub fn as_str(self) -> &'static str {
        match self {
            Refused::TooLong => "the token is longer than max_token_size",
            Refused::Parts => "the token has not three parts",
            Refused::HeaderTooLong => "the token's header is longer than 8 KiB",
            Refused::Base64 => "a part of the token is not base64url without padding",
            Refused::Header => {
                "the token's header is no good JSON object, or a member of it has a wrong type"
            }
            Refused::Claims => "the token's claims are no good JSON object",
            Refused::EmbeddedKey => "the token brings its own key (jwk, jku, x5u or x5c)",
            Refused::Critical => "the token's header asks for an extension (crit, b64, enc or zip)",
            Refused::Algorithm => "the token's alg is not supported",
            Refused::AlgorithmNotAllowed => {
                "the token's alg is not among the provider's algorithms"
            }
            Refused::Type => "the token's typ is not one that is accepted",
            Refused::Issuer => "the token is of another issuer",
            Refused::Audience => "the token is for another audience",
            Refused::NoExpiry => "the token has no exp, or one that is no time",
            Refused::Expired => "the token has expired",
            Refused::NotYet => "the token is not valid yet",
            Refused::IssuedLater => "the token was issued in the future",
            Refused::Lifetime => {
                "the token lives longer than max_lifetime, or does not say when it was issued"
            }
            Refused::ClaimMissing => "the token lacks a claim that is required",
            Refused::ClaimType => "a registered claim of the token has a wrong type",
            Refused::Mapping(why) => why.as_str(),
            Refused::UnknownKey => "no key of the provider goes by the token's kid",
            Refused::NoKey => "no key of the provider is for the token's alg",
            Refused::Signature => "the token's signature is wrong",
        }
    }
}

impl From<Unmapped> for Refused {
    fn from(why: Unmapped) -> Refused {
        Refused::Mapping(why)
    }
}
