//! `api_key`: who calls is proven by a key.
//!
//! ```toml
//! [consumers.acme]
//! plan = "gold"
//! scopes = ["orders:read", "orders:write"]
//! api_keys = [
//!   "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
//!   { hash = "sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752", id = "nightly", expires = 2027-01-31, scopes = ["orders:read"] },
//! ]
//!
//! [routes.orders]
//! match = { path = "/orders/{*rest}" }
//! respond = { status = 200 }
//! policies.api_key = {}
//! ```
//!
//! A key comes in the header `x-api-key`, unless `[identity.api_key.NAME]` says otherwise: another header, with a word
//! before the key (`Authorization: ApiKey …`) or without, a cookie, or a parameter of the query.
//!
//! # Making keys
//! `northgate key new` prints a key, `ng_ID_SECRET` and a checksum, and below it the line for the configuration. The key
//! is shown that once: what is kept is its SHA-256, which proves nothing. The id is no secret; it is what the access log
//! and `{identity.credential}` call the key. The checksum tells the gateway, and scanners for secrets, what was mistyped
//! or cut off. Keys that another gateway has given out go on as they are: `northgate key hash` reads one from standard
//! input and prints its hash. They must be long and random, since nothing else keeps them from being found by their
//! hashes.
//!
//! # Changing keys
//! A consumer may have two keys that are good at a time: give out the second, wait until the first is used no more, and
//! take that out; it is refused from the reload on. A key with `expires` ends by itself. A key with `scopes` has those of
//! its consumer's scopes and no others. A hash that stands in the configuration twice is an error.
//!
//! # What is refused
//! Unknown, expired and mistyped keys, and requests that show more than one key, get 401 `credential_refused`; the log's
//! `cause` says why. Keys are compared in constant time, and a look-up takes as long with a hundred thousand consumers
//! as with one.

use std::sync::Arc;

use super::authentication::{
    Authentication, Challenge, Credential, Flaw, Outcome, Refusal, Scheme, Step,
};
use crate::facts::View;
use crate::identity::api_key::Provider;
use crate::identity::{Directory, Providers};

pub type Policy = Authentication<Provider>;

impl Scheme for Provider {
    fn providers(directory: &Directory) -> &Providers<Provider> {
        &directory.api_key
    }

    fn authenticate<'a>(self: &'a Arc<Self>, view: View<'a>) -> Step<'a> {
        let found = self.identify(&view.request.headers, view.request.uri.query());
        Step::Now(match found {
            Ok(Some(identity)) => Outcome::Proven(identity),
            Ok(None) => Outcome::Absent,
            Err(refused) => Outcome::Refused(Refusal::bad(refused.as_str())),
        })
    }

    fn credentials(&self) -> Vec<Credential> {
        let places = self.places();
        let header = places.header.clone().map(Credential::Header);
        let query = places.query.clone().map(Credential::Query);
        let cookie = places.cookie.clone().map(Credential::Cookie);
        header.into_iter().chain(query).chain(cookie).collect()
    }

    fn challenge(&self, _: View<'_>, _: Option<Flaw>) -> Challenge {
        Challenge::Header(Provider::challenge(self).clone())
    }
}
