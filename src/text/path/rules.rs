//! How clients may spell paths, and why a path is refused.

use schemars::JsonSchema;
use serde::Deserialize;
use thiserror::Error;

/// How the clients of a listener may spell paths. A path is put into one normal form before it is routed, and the
/// upstream gets that form: `.` and `..` segments are resolved, characters that need no encoding are decoded (once),
/// the rest is encoded in capitals. What could mean different things to different programs is refused with 400; the
/// options let in what an upstream of yours cannot do without.
///
/// Always refused: a `%` without two hexadecimal digits, controls (also encoded), characters beyond ASCII that are
/// not encoded, a `#`, `..` above the root, dots with parameters (`/..;x/`), segments of parameters alone (`/;x/`),
/// and what would become a dot, a slash, a backslash or NUL if it were decoded a second time (`%252e`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PathRules {
    /// `%2F`. Default `"refuse"`.
    pub encoded_slashes: EncodedSlashes,
    /// `\` and `%5C`. Default `"refuse"`.
    pub backslashes: Backslashes,
    /// Whether several slashes in a row are one. Default true. When false, `//admin` is another path than `/admin`
    /// to the routes: only for upstreams that see it in the same way.
    pub merge_slashes: bool,
    /// Encoded bytes that are no UTF-8. Default `"refuse"`.
    pub invalid_utf8: InvalidUtf8,
}

impl Default for PathRules {
    fn default() -> PathRules {
        PathRules {
            encoded_slashes: EncodedSlashes::Refuse,
            backslashes: Backslashes::Refuse,
            merge_slashes: true,
            invalid_utf8: InvalidUtf8::Refuse,
        }
    }
}

/// What becomes of `%2F` in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlashes {
    /// 400.
    Refuse,
    /// It stays, as a part of its segment: for upstreams with slashes in their identifiers, as registries and
    /// source forges have them. Dot segments beside it are refused, since nobody knows whether the upstream takes
    /// it for a slash. `%252F` stays as well.
    Keep,
    /// It is a slash like any other, and so the upstream gets one.
    Decode,
}

/// What becomes of `\` and `%5C` in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backslashes {
    /// 400.
    Refuse,
    /// It is a part of its segment and goes on as `%5C`. Dot segments beside it are refused. `%255C` stays as well.
    Keep,
}

/// What becomes of encoded bytes in a path that are no UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvalidUtf8 {
    /// 400. Overlong forms, such as `%C0%AE` for a dot, are no UTF-8 either.
    Refuse,
    /// They stay, for upstreams that read paths in an older encoding. An upstream that reads UTF-8 and puts up
    /// with overlong forms must not be behind this.
    Keep,
}

/// Why a request's target is refused, for the client to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathRefusal {
    #[error("the target is no path")]
    Form,
    #[error("the path has an encoded slash")]
    EncodedSlash,
    #[error("the path has a backslash")]
    Backslash,
    #[error("the path has a % without two hexadecimal digits behind it")]
    Escape,
    #[error("the path has encoded bytes that are not UTF-8")]
    Utf8,
    #[error("the target has a control character, a space or a #")]
    Control,
    #[error("the target has a character beyond ASCII that is not percent-encoded")]
    NotAscii,
    #[error("the path climbs above its root")]
    AboveRoot,
    #[error("the path has a dot segment in disguise")]
    DisguisedDots,
    #[error("the path has a segment of parameters alone")]
    Nameless,
    #[error("the path is encoded twice")]
    EncodedTwice,
    #[error("the path is too long in its normal form")]
    TooLong,
}
