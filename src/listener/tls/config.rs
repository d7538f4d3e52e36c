//! `[listeners.NAME.tls]` as written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{HostPattern, Secret, Spanned};

/// TLS termination: TLS 1.2 and 1.3, with forward secrecy and authenticated encryption only, and key exchange
/// that a quantum computer cannot undo with every client that can do it.
///
/// The files are looked at every second. Those that have changed are read again and serve new connections; those
/// that are open stay as they are. Of a certificate, its key and its OCSP response, and of `client_auth`'s files,
/// either all are taken or none: where the new ones are bad the old ones serve on, and the log and the metric
/// `northgate_certificate_reloads_total` say so. Files that cannot be read are tried again every second, and told of
/// once.
///
/// Session tickets are encrypted with keys that only this listener has, in memory alone. A new key is made every
/// 6 hours, and a ticket is good for 12 hours at most. There is no early data (0-RTT), which could be replayed.
///
/// A request for a host that another certificate is for than the one that its connection was shown gets 421
/// (RFC 9110 section 15.5.20), so that nobody reaches a host through the TLS of another. This goes for
/// connections without a name (SNI) as well, which are shown the first certificate; with a single certificate
/// nothing is refused.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Chosen by the name that the client asks for (SNI): an exact name before `*.` of one label. A client that
    /// asks for no name, or one that none is for, gets the first.
    pub certificates: Spanned<Vec<Spanned<CertificateConfig>>>,
    /// `"1.2"` or `"1.3"`. Default `"1.2"`.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Cipher suites by their IANA names, such as `"TLS_AES_128_GCM_SHA256"`, the best first: the first that the
    /// client has as well is taken. Default: all that are supported, each of which is good.
    #[serde(default)]
    pub suites: Vec<Spanned<String>>,
    /// Certificates of clients. Default: none is asked for.
    #[serde(default)]
    pub client_auth: Option<Spanned<ClientAuthConfig>>,
}

/// A certificate: `cert` and `key`, or `self_signed`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateConfig {
    /// PEM file of the chain, the leaf first. The names that it is for are read from it.
    pub cert: Option<Spanned<PathBuf>>,
    pub key: Option<Spanned<Secret>>,
    /// DER file of an OCSP response for the leaf, which is stapled to handshakes until its `nextUpdate`. The
    /// gateway asks no responder: `openssl ocsp -respout` in a timer keeps the file fresh. Default: none.
    pub ocsp: Option<Spanned<PathBuf>>,
    /// For trying things out: a certificate for these names and addresses is made at load, good for a year. No
    /// client trusts it.
    pub self_signed: Vec<HostPattern>,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

/// Certificates of clients (mutual TLS). What a verified one says is `{client.certificate.…}` in templates.
///
/// A certificate is good where it leads to a certificate of `ca`, is not expired, is not revoked, and is for
/// clients (its extended key usage has `clientAuth`, or it has none). A client that shows another fails in the
/// handshake, in every mode but `"off"`. A resumed session is refused once its certificate has expired or a list
/// that covers it is past its `nextUpdate`, and none is resumed after `ca` or `crl` have changed.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAuthConfig {
    /// `"off"`, `"optional"` (a client without a certificate is served) or `"required"`.
    pub mode: ClientAuthMode,
    /// PEM file of the authorities that sign certificates of clients. Needed unless the mode is `"off"`.
    pub ca: Option<Spanned<PathBuf>>,
    /// Files of revocation lists, PEM or DER. Default: none, and no certificate is taken for revoked. With any,
    /// each certificate between the client's and one of `ca` must be covered by a list of its issuer, and a
    /// list that is past its `nextUpdate` lets nobody in.
    #[serde(default)]
    pub crl: Vec<Spanned<PathBuf>>,
}

/// Who must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    Off,
    Optional,
    Required,
}
