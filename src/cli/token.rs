//! `northgate token`

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::demo_keys::{AUDIENCE, ISSUER, Signer};
use super::key::parse_expiry;
use crate::text::Timestamp;

/// Print a token for the demo's routes, and nothing else.
///
/// It is a JWT, signed by the key of the demo's shop. That key is made on this machine, and only this machine's demo
/// takes what it has signed.
#[derive(Debug, Args)]
pub(super) struct Command {
    /// Who calls, the claim `sub`.
    #[arg(long, default_value = "7", value_name = "NAME")]
    subject: String,
    /// What may be done with it, the claim `scope`; may be given again.
    #[arg(long = "scope", value_name = "SCOPE", default_value = "orders:read")]
    scopes: Vec<String>,
    /// What the caller is, the claim `roles`; may be given again. The demo's /support wants `support`.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// When it ends: 5m from now, or 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_expiry)]
    expires: Timestamp,
    /// Whom it is for, the claim `aud`.
    #[arg(long, value_name = "NAME", default_value = AUDIENCE)]
    audience: String,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        let signer = match Signer::open() {
            Ok(signer) => signer,
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        };
        let token = signer.sign(&json!({
            "iss": ISSUER,
            "aud": self.audience,
            "sub": self.subject,
            "scope": self.scopes.join(" "),
            "roles": self.roles,
            "iat": Timestamp::now().unix(),
            "exp": self.expires.unix(),
            "jti": format!("{:032x}", rand::random::<u128>()),
        }));
        super::print(&format!("{token}\n"))
    }
}
