//! Headers that nothing may take out of requests before their credentials were read.

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};

use crate::text::plain;

/// What is wrong with a header that says who calls, and so is dropped from all requests, where callers show credentials
/// in it: nobody could show any on any route.
pub const TAKES_CREDENTIALS: &str =
    "would take from every request what callers prove themselves by";

/// What to write instead.
pub const TAKES_NO_CREDENTIALS: &str =
    "write a name that no credential is read from, such as \"x-user-id\"";

/// Whether it is for credentials by its definition (RFC 9110 section 11, RFC 6265), in whatever spelling.
pub fn is_for_credentials(name: &HeaderName) -> bool {
    let all = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];
    all.iter().any(|it| is_twin(it, name))
}

/// Whether there is nothing but credentials in it, by its definition or by what everybody uses it for. In `Cookie` there
/// is more.
pub fn is_credential(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization"
            | "proxy-authorization"
            | "x-api-key"
            | "api-key"
            | "apikey"
            | "x-auth-token"
            | "x-access-token"
    )
}

/// Whether a server may take one for the other.
pub fn is_twin(one: &HeaderName, other: &HeaderName) -> bool {
    let (one, other) = (one.as_str(), other.as_str());
    one.len() == other.len() && plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_do_not_matter() {
        for (name, expected) in [
            ("authorization", true),
            ("Proxy_Authorization", true),
            ("cookie", true),
            ("cookie2", false),
            ("x-authorization", false),
        ] {
            let name = name.parse().unwrap();
            assert_eq!(is_for_credentials(&name), expected, "{name}");
        }
    }
}
