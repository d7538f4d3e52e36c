//! Who calls: consumers, their credentials, and what proves them.
//!
//! In: `[identity]` and `[consumers]` of the configuration, and credentials as they come. Out: an [`Identity`], which
//! the access log, policies and templates read, and nothing else; the [`ClientCertificate`] of a connection,
//! `{client.certificate.…}`. This room must never know how a request is routed, where a credential stood in it, or
//! where it goes: policies find credentials, this room judges them.
//!
//! # Kinds
//! Each way of proving who calls is a [`Kind`]: a module with what users configure below `[identity.KIND.NAME]`, the
//! provider that is compiled from it, and what consumers have of its credentials. The [`Directory`] holds them all.
//! A reload that changes anything about identities compiles all providers anew; what must outlive that is taken over
//! by the new provider from the one before.

mod answers;
pub mod api_key;
pub mod basic;
mod capacity;
mod certificate;
mod challenge;
mod client;
mod consumer;
mod credential_headers;
mod directory;
mod distinguished_name;
pub mod forward_auth;
mod health;
pub mod hmac;
pub mod introspection;
mod issuer;
mod json;
pub mod jwt;
pub mod keys;
mod mapping;
pub mod mtls;
pub mod oidc;
mod url;

#[cfg(test)]
#[allow(dead_code, reason = "the tests of the gateway use the rest of it")]
#[path = "../../tests/gateway/harness/tokens.rs"]
pub(crate) mod tokens;

use std::sync::Arc;

use serde_json::{Map, Value};

pub(crate) use crate::trust::{
    PemError, read_bytes, read_chain, read_key, read_revocation_lists, system_authorities,
    warn_of_readers,
};
pub use capacity::Capacity;
pub use certificate::{CertificateField, ClientCertificate};
pub use client::{Client, ClientConfig, ClientError};
pub use consumer::{Config as ConsumerConfig, Consumer, Consumers, Entry};
pub use credential_headers::{
    TAKES_CREDENTIALS, TAKES_NO_CREDENTIALS, is_credential, is_for_credentials, is_twin,
};
pub use directory::{Build, Config, Definitions, Directory, Kind, Providers};
pub use issuer::Issuer;
pub use mapping::{Mapping, MappingConfig, Proof, Unmapped};
pub use url::{InvalidUrl, Url};

/// A proven caller, whatever proved it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// Whom the proof is about: a token's `sub`, a user's name, or the consumer's name where there is nothing nearer.
    pub subject: Box<str>,
    /// The configured consumer that the caller is, if it is one.
    pub consumer: Option<Arc<Consumer>>,
    /// A name of what was shown that is no secret: the id of a key, a token's `jti`, a certificate's name.
    pub credential: Option<Box<str>>,
    /// The kind of authenticator that proved it, `jwt`.
    pub authenticator: &'static str,
    /// The name that the configuration has for the authenticator, `main`.
    pub provider: Arc<str>,
    pub scopes: Box<[Box<str>]>,
    pub roles: Box<[Box<str>]>,
    pub groups: Box<[Box<str>]>,
    /// What its limits go by.
    pub plan: Option<Box<str>>,
    pub claims: Map<String, Value>,
    /// Unix time in seconds from which on nothing may remember it.
    pub expires: Option<u64>,
}

impl Identity {
    /// A consumer that has proven to be itself, with everything that the configuration says of it.
    pub fn of_consumer(
        consumer: &Arc<Consumer>,
        authenticator: &'static str,
        provider: &Arc<str>,
    ) -> Identity {
        Identity {
            subject: consumer.name.clone(),
            authenticator,
            provider: provider.clone(),
            scopes: consumer.scopes.clone(),
            roles: consumer.roles.clone(),
            groups: consumer.groups.clone(),
            plan: consumer.plan.clone(),
            consumer: Some(consumer.clone()),
            ..Identity::default()
        }
    }

    /// The consumer's name; the access log's `consumer`.
    pub fn consumer(&self) -> Option<&str> {
        self.consumer.as_ref().map(|consumer| &*consumer.name)
    }

    /// What `{identity.NAME}` stands for: one of the fields (`subject`, `consumer`, `credential`, `authenticator`,
    /// `provider`, `plan`; `scopes`, `roles` and `groups` with spaces between them), or else the claim of that name.
    /// `claims.NAME` is always a claim.
    pub fn text(&self, name: &str) -> Option<String> {
        match name {
            "subject" => Some(self.subject.to_string()),
            "consumer" => self.consumer().map(str::to_owned),
            "credential" => self.credential.as_deref().map(str::to_owned),
            "authenticator" => Some(self.authenticator.to_owned()),
            "provider" => Some(self.provider.to_string()),
            "plan" => self.plan.as_deref().map(str::to_owned),
            "scopes" => Some(self.scopes.join(" ")),
            "roles" => Some(self.roles.join(" ")),
            "groups" => Some(self.groups.join(" ")),
            name => text_of(self.claim(name.strip_prefix("claims.").unwrap_or(name))?),
        }
    }

    /// The claim of that name, or else the one that the name leads to, step by step: `realm_access.roles`.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        claim(&self.claims, name)
    }
}

/// The claim of that name, or else the one that the name leads to, step by step.
pub fn claim<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    // Names of claims may have dots in them themselves, as URLs have: the longest that there is comes first.
    name.rmatch_indices('.').find_map(|(at, _)| {
        let inner = claims.get(&name[..at])?.as_object()?;
        claim(inner, &name[at + 1..])
    })
}

/// A string, a number or a boolean, or a list of them with spaces between them. Anything else has no text that a
/// header could carry.
pub fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Array(values) => {
            let is_plain = |value: &Value| !value.is_array();
            let texts = values
                .iter()
                .map(|value| text_of(value).filter(|_| is_plain(value)));
            Some(texts.collect::<Option<Vec<_>>>()?.join(" "))
        }
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_fields_and_claims() {
        let claims = serde_json::json!({
            "sub": "u1",
            "admin": true,
            "https://shop.example/tenant": "acme",
            "realm_access": { "roles": ["a", "b"], "x.y": 7 },
            "plan": "claimed",
            "deep": [["a"]],
            "none": null,
        });
        let Value::Object(claims) = claims else {
            unreachable!("it is written as an object");
        };
        let identity = Identity {
            subject: "someone".into(),
            plan: Some("gold".into()),
            scopes: ["r".into(), "w".into()].into(),
            claims,
            ..Identity::default()
        };
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(identity.text(name).as_deref(), expected, "{name}");
        };
        check("subject", Some("someone"));
        check("sub", Some("u1"));
        check("scopes", Some("r w"));
        check("plan", Some("gold"));
        check("claims.plan", Some("claimed"));
        check("admin", Some("true"));
        check("https://shop.example/tenant", Some("acme"));
        check("realm_access.roles", Some("a b"));
        check("claims.realm_access.roles", Some("a b"));
        check("realm_access.x.y", Some("7"));
        check("realm_access", None);
        check("deep", None);
        check("none", None);
        check("nothing", None);
        check("realm_access.nothing", None);
        check("consumer", None);
        check("", None);
        check(".", None);
    }
}
