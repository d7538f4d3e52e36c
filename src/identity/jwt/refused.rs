//! Why a token proves nothing. For the log: whoever sent it learns only that it was not good.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    #[error("the token is longer than max_token_size")]
    TooLong,
    #[error("the token has not three parts")]
    Parts,
    #[error("the token's header is longer than 8 KiB")]
    HeaderTooLong,
    #[error("a part of the token is not base64url without padding")]
    Base64,
    #[error("the token's header is no good JSON object, or a member of it has a wrong type")]
    Header,
    #[error("the token's claims are no good JSON object")]
    Claims,
    #[error("the token brings its own key (jwk, jku, x5u or x5c)")]
    EmbeddedKey,
    #[error("the token's header asks for an extension (crit, b64, enc or zip)")]
    Critical,
    #[error("the token's alg is not supported")]
    Algorithm,
    #[error("the token's alg is not among the provider's algorithms")]
    AlgorithmNotAllowed,
    #[error("the token's typ is not one that is accepted")]
    Type,
    #[error("the token is of another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token has no exp, or one that is no time")]
    NoExpiry,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token was issued in the future")]
    IssuedLater,
    #[error("the token lives longer than max_lifetime, or does not say when it was issued")]
    Lifetime,
    #[error("the token lacks a claim that is required")]
    ClaimMissing,
    #[error("a registered claim of the token has a wrong type")]
    ClaimType,
    #[error("the token's claims do not make an identity: {0}")]
    Mapping(#[from] crate::identity::Unmapped),
    #[error("no key of the provider goes by the token's kid")]
    UnknownKey,
    #[error("no key of the provider is for the token's alg")]
    NoKey,
    #[error("the token's signature is wrong")]
    Signature,
}
