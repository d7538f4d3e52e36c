//! `hmac`: who calls is proven by a signature of the request (RFC 9421, HTTP Message Signatures).
//!
//! ```toml
//! [consumers.billing]
//! signing_keys = [{ id = "billing-2026", secret = { credential = "billing.key" } }]
//!
//! [consumers.partner]
//! signing_keys = [{ id = "partner-1", public_key = { pem = """
//! -----BEGIN PUBLIC KEY-----
//! MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
//! -----END PUBLIC KEY-----""" } }]
//!
//! [identity.hmac.payments]
//! components = ["@method", "@authority", "@path", "@query", "idempotency-key"]
//! max_age = "30s"
//!
//! [routes.payments]
//! match = { path = "/payments" }
//! respond = { status = 200 }
//! policies.hmac = {}
//! ```
//!
//! A signed request is proof against whoever sees it on the way: nothing of what is signed can be changed, and it
//! cannot be sent again. `[identity.hmac.NAME]` says what has to be signed; a policy that names none, where there is
//! none, has the defaults of that.
//!
//! # Signatures
//! A request has `Signature-Input: sig=("@method" "@authority" "@path" "@query" "content-digest");created=1618884473;`
//! `keyid="billing-2026";nonce="b3k2pp5k7z"` and `Signature: sig=:…:`. `created` and `keyid` are needed; `expires`,
//! `nonce`, `alg` and `tag` are understood, and any other parameter is refused. The algorithm is the key's own:
//! `hmac-sha256` of a secret; `ed25519`, `ecdsa-p256-sha256`, `ecdsa-p384-sha384` or `rsa-pss-sha512` of a public key.
//! What `alg` says is only compared with that.
//!
//! There may be several signatures, up to 8, for others too; exactly one of them must be with a key of a consumer,
//! and have the `tag` that is configured.
//!
//! # What is signed
//! The derived components of requests, with `@query-param`, and headers, also with `sf`, `key` and `bs`. `sf` is for
//! fields that are known to be dictionaries, such as `content-digest`; `req` and `tr` are refused. The request that is
//! verified is the one that is routed and forwarded: its path is in the gateway's normal form, so a client that writes
//! `/a/../b` has to sign `/b`. What a route's `rewrite` and its other policies make of it comes later.
//!
//! A body is covered by its `Content-Digest` (RFC 9530), `sha-256` or `sha-512`, and that by the signature. The body
//! is hashed as it passes. Where it has another digest the request is refused with 400 `digest_mismatch`, and broken
//! off before its last byte goes to the upstream, which so never has it whole; one whose body is gone goes to no
//! upstream at all. With `content_digest = "optional"` a body may come without.
//!
//! # Replay
//! A signature is good for `max_age` from `created`, with `skew` for the difference of clocks, and it is good once: its
//! `nonce` is remembered for that time, and where it has none, what it signs. Without a nonce two requests that are
//! equal and of the same second are one to the gateway. `remembered` bounds the memory; when it is full, requests get
//! 503 `authentication_unavailable`, since to forget would let somebody in twice. All providers remember together, so
//! that what one has let in no other lets in again, also on another route. Each gateway remembers for itself: a
//! request can be shown once to each of several that serve the same host, and again after a restart, within
//! `max_age`. Reloads forget nothing, whatever providers are called after them; but a longer `max_age` makes
//! signatures good again that were too old before.
//!
//! A caller that is refused is told what to sign in `Accept-Signature`, beside `WWW-Authenticate: Signature`.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::authentication::{
    self, Authentication, Challenge, Credential, Flaw, Outcome, Refusal, Scheme, Step,
};
use super::{BuildScope, Hooks, OnRequestBody, RequestBody, Seen};
use crate::facts::{View, host};
use crate::identity::hmac::{Digests, Message, Proof, Provider, SIGNATURE, SIGNATURE_INPUT};
use crate::identity::{Directory, Kind, Providers};
use crate::response::Code;

const ACCEPT_SIGNATURE: HeaderName = HeaderName::from_static("accept-signature");

/// RFC 9421 has no authentication scheme, and a 401 must name one; what is wanted stands in `Accept-Signature`.
const SCHEME: HeaderValue = HeaderValue::from_static("Signature realm=\"northgate\"");

impl Scheme for Provider {
    fn providers(directory: &Directory) -> &Providers<Provider> {
        &directory.hmac
    }

    fn authenticate<'a>(self: &'a Arc<Self>, view: View<'a>) -> Step<'a> {
        let request = view.request;
        let message = Message {
            method: &request.method,
            scheme: view.facts.scheme.as_str(),
            authority: host(request).unwrap_or_default(),
            path: request.uri.path(),
            query: request.uri.query(),
            headers: &request.headers,
        };
        Step::Now(match self.prove(&message) {
            Proof::None => Outcome::Absent,
            Proof::Good(identity) => Outcome::Proven(identity),
            Proof::Bad(cause) => Outcome::Refused(Refusal::bad(cause)),
            Proof::Full => Outcome::Refused(Refusal::unjudged(
                Code::AuthenticationUnavailable,
                "as many signatures are remembered as can be",
            )),
        })
    }

    fn credentials(&self) -> Vec<Credential> {
        [SIGNATURE, SIGNATURE_INPUT].map(Credential::Header).into()
    }

    fn challenge(&self, _: View<'_>, _: Option<Flaw>) -> Challenge {
        match HeaderValue::from_str(self.wanted()) {
            Ok(wanted) => Challenge::Also(SCHEME, (ACCEPT_SIGNATURE, wanted)),
            Err(_) => Challenge::Header(SCHEME),
        }
    }
}

/// Verifies signatures, and that bodies are the ones that were signed.
pub struct Policy(Arc<Authentication<Provider>>);

impl super::Policy for Policy {
    const NAME: &'static str = Provider::NAME;
    type Config = authentication::Config;

    fn build(config: &authentication::Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        Authentication::build(config, scope).map(|it| Policy(Arc::new(it)))
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        self.0.hooks(hooks);
        hooks.on_request_body(self.clone());
    }
}

impl OnRequestBody for Policy {
    fn on_request_body(&self, view: View<'_>) -> Option<Box<dyn RequestBody>> {
        let identity = view.facts.identity.as_ref()?;
        if identity.authenticator != Provider::NAME {
            return None;
        }
        match Digests::of(&view.request.headers) {
            Ok(Some(digests)) => Some(Box::new(Signed(digests))),
            Err(_) => Some(Box::new(Unknown)),
            Ok(None) => {
                let mut providers = self.0.providers().iter();
                let is_unsigned = providers.any(|it| it.wants_digest(identity));
                is_unsigned.then(|| Box::new(Unsigned) as Box<dyn RequestBody>)
            }
        }
    }
}

/// A body that has to have its digest.
struct Signed(Digests);

impl RequestBody for Signed {
    fn see(&mut self, chunk: &Bytes, ends: bool) -> Result<Seen, Code> {
        match self.0.see(chunk, ends) {
            true => Ok(Seen::All),
            false => Err(Code::DigestMismatch),
        }
    }
}

/// A body of which nothing can be said.
struct Unknown;

impl RequestBody for Unknown {
    fn see(&mut self, _: &Bytes, _: bool) -> Result<Seen, Code> {
        Err(Code::DigestMismatch)
    }
}

/// The body of a request that was not said to have one, as HTTP/2 lets it: whoever signed it meant none.
struct Unsigned;

impl RequestBody for Unsigned {
    fn see(&mut self, chunk: &Bytes, _: bool) -> Result<Seen, Code> {
        match chunk.is_empty() {
            true => Ok(Seen::All),
            false => Err(Code::CredentialRefused),
        }
    }
}
