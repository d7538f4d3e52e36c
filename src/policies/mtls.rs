//! `mtls`: who calls is proven by the certificate of the TLS handshake.
//!
//! ```toml
//! [consumers.billing]
//! certificates = [{ uri = "spiffe://shop/billing" }, { dns = "billing.example" }]
//! roles = ["partner"]
//!
//! [routes.invoices]
//! match = { path = "/invoices/{*rest}" }
//! respond = { status = 200 }
//! policies.mtls = {}
//! ```
//!
//! The listener asks for certificates and verifies them (`tls.client_auth`); this policy tells whose they are. A
//! consumer's certificate is told by its `fingerprint`, an alternative name (`uri`, `dns`, `email`) or its whole
//! `subject`, looked for in this order. A certificate of nobody is refused, unless `[identity.mtls.NAME]` says
//! `strangers = "allow"`: then the subject of the certificate is who calls.
//!
//! A certificate in a header proves nothing, whoever sends it.

use std::sync::Arc;

use http::HeaderValue;

use super::authentication::{
    Authentication, Challenge, Credential, Flaw, Outcome, Refusal, Scheme, Step,
};
use crate::facts::View;
use crate::identity::mtls::Provider;
use crate::identity::{Directory, Providers};

pub type Policy = Authentication<Provider>;

const SCHEME: HeaderValue = HeaderValue::from_static("ClientCertificate realm=\"northgate\"");

impl Scheme for Provider {
    fn providers(directory: &Directory) -> &Providers<Provider> {
        &directory.mtls
    }

    fn authenticate<'a>(self: &'a Arc<Self>, view: View<'a>) -> Step<'a> {
        Step::Now(match &view.facts.certificate {
            None => Outcome::Absent,
            Some(certificate) => match self.identify(certificate) {
                Some(identity) => Outcome::Proven(identity),
                None => Outcome::Refused(Refusal::bad("the certificate is no consumer's")),
            },
        })
    }

    fn credentials(&self) -> Vec<Credential> {
        Vec::new()
    }

    /// No scheme of the IANA's registry is for it: whether a certificate is asked for is a matter of the handshake.
    fn challenge(&self, _: View<'_>, _: Option<Flaw>) -> Challenge {
        Challenge::Header(SCHEME)
    }
}
