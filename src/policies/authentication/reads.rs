//! Which headers the providers of a gateway read credentials from.

use http::HeaderName;

use super::{Credential, Scheme};
use crate::identity::{Directory, Providers, is_for_credentials, is_twin};

/// Whether some provider reads credentials from this header, or they stand in it by its definition. Dropped from
/// requests on all routes, as headers are that say who calls, it would leave nobody a way to prove anything.
pub(in crate::policies) fn is_read(name: &HeaderName, identity: &Directory) -> bool {
    let Directory {
        mtls,
        jwt,
        hmac,
        introspection,
        forward_auth,
        api_key,
        basic,
        oidc,
        consumers: _,
        issuer: _,
        written: _,
    } = identity;
    is_for_credentials(name)
        || reads(mtls, name)
        || reads(jwt, name)
        || reads(hmac, name)
        || reads(introspection, name)
        || reads(forward_auth, name)
        || reads(api_key, name)
        || reads(basic, name)
        || reads(oidc, name)
}

fn reads<K: Scheme>(providers: &Providers<K>, name: &HeaderName) -> bool {
    let mut places = providers.each().flat_map(|it| it.credentials());
    places.any(|place| matches!(place, Credential::Header(header) if is_twin(&header, name)))
}
