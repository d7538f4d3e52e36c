//! Who calls: what has been proven about the caller of a request.
//!
//! In: what an authenticator or the TLS handshake has verified. Out: an [`Identity`], which policies read and
//! templates name as `{identity.…}`, and the [`ClientCertificate`] of a connection, `{client.certificate.…}`.
//! This room must never know how the request is routed or where it goes.
//!
//! Authenticators arrive with the policies that prove identities; until one has run, a request has none.

mod authorities;
mod certificate;
mod client;
mod distinguished_name;
pub mod hmac;
mod json;
pub mod keys;
mod pem;

#[cfg(test)]
#[path = "../../tests/gateway/harness/tokens.rs"]
pub(crate) mod tokens;
mod url;

pub(crate) use authorities::system_authorities;
pub use certificate::{CertificateField, ClientCertificate};
pub use client::{Client, ClientConfig, ClientError};
pub(crate) use pem::{
    PemError, read_bytes, read_chain, read_key, read_revocation_lists, warn_of_readers,
};
pub use url::{InvalidUrl, Url};

use serde_json::{Map, Value};

/// A proven caller.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    subject: Box<str>,
    consumer: Option<Box<str>>,
    claims: Map<String, Value>,
}

impl Identity {
    pub fn new(subject: impl Into<Box<str>>, claims: Map<String, Value>) -> Identity {
        Identity {
            subject: subject.into(),
            consumer: None,
            claims,
        }
    }

    /// The configured consumer that the caller is, if it is one; the access log's `consumer`.
    pub fn consumer(&self) -> Option<&str> {
        self.consumer.as_deref()
    }

    /// What `{identity.NAME}` stands for: `subject`, or the claim of that name where it is a string, a number
    /// or a boolean. Anything else has no text that a header could carry.
    pub fn text(&self, name: &str) -> Option<String> {
        if name == "subject" {
            return Some(self.subject.to_string());
        }
        match self.claims.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}
