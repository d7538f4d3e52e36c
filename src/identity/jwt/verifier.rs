//! One token against one set of keys: everything that does not depend on what came before.

use std::sync::Arc;

use super::refused::Refused;
use super::rules::Rules;
use super::token::Token;
use crate::identity::keys::KeySet;
use crate::identity::{Identity, Mapping, Proof};

/// The checks of one provider.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) rules: Rules,
    pub(super) mapping: Mapping,
    pub(super) provider: Arc<str>,
    /// In bytes.
    pub(super) longest_token: usize,
}

/// What is known of a token once everything but its signature is.
#[derive(Debug)]
pub(in crate::identity) struct Plausible<'t> {
    token: Token<'t>,
    /// The second from which it does not count any more.
    pub(super) until: u64,
}

impl Verifier {
    /// Everything that costs less than a signature, so that what is forged carelessly costs little, and nobody has keys
    /// fetched with a token that would not count anyway.
    pub(super) fn plausible<'t>(
        &self,
        token: &'t [u8],
        now: u64,
    ) -> Result<Plausible<'t>, Refused> {
        Plausible::check(token, &self.rules, self.longest_token, now)
    }

    /// Who the token proves, if one of these keys has signed it; then its claims are the identity's.
    pub(super) fn identity(
        &self,
        plausible: &mut Plausible<'_>,
        keys: &KeySet,
    ) -> Result<Identity, Refused> {
        plausible.check_signature(keys)?;
        let proof = Proof {
            authenticator: "jwt",
            provider: &self.provider,
            expires: Some(plausible.until),
        };
        let claims = std::mem::take(&mut plausible.token.claims);
        Ok(self.mapping.identity(claims, proof)?)
    }
}

impl<'t> Plausible<'t> {
    /// As [`Verifier::plausible`], for tokens that prove no caller: those of logins.
    pub(in crate::identity) fn check(
        token: &'t [u8],
        rules: &Rules,
        longest: usize,
        now: u64,
    ) -> Result<Plausible<'t>, Refused> {
        if token.len() > longest {
            return Err(Refused::TooLong);
        }
        let token = Token::parse(token)?;
        let until = rules.check(&token.header, &token.claims, now)?;
        Ok(Plausible { token, until })
    }

    /// What the token says, which counts only if [`Plausible::check_signature`] has nothing against it.
    pub(in crate::identity) fn into_claims(self) -> serde_json::Map<String, serde_json::Value> {
        self.token.claims
    }

    pub(in crate::identity) fn kid(&self) -> Option<&str> {
        self.token.header.kid.as_deref()
    }

    pub(in crate::identity) fn check_signature(&self, keys: &KeySet) -> Result<(), Refused> {
        let algorithm = self.token.header.algorithm;
        if keys.lacks(self.kid()) {
            return Err(Refused::UnknownKey);
        }
        let mut candidates = keys.find(self.kid(), algorithm).peekable();
        if candidates.peek().is_none() {
            return Err(Refused::NoKey);
        }
        let (message, signature) = (self.token.message, &self.token.signature);
        match candidates.any(|key| key.verifies(algorithm, message, signature)) {
            true => Ok(()),
            false => Err(Refused::Signature),
        }
    }
}
