//! `northgate key`

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::demo_keys;
use crate::identity::api_key::{self, KeyHash, LONGEST_KEY, Prefix};
use crate::identity::basic::{LONGEST_LOGIN, PasswordHash};
use crate::text::{Duration, Name, Timestamp};

/// A key of fewer bytes can be found by whoever has its hash.
const SHORTEST_KEY: usize = 16;
/// Shorter passwords are in every list of guesses.
const SHORTEST_PASSWORD: usize = 8;

/// Make API keys, and hashes of keys and passwords.
///
/// The configuration holds hashes alone: a key is shown once, where it is made, and can be had again from nowhere.
/// Keys and passwords are read from standard input, since the arguments of a program are no secret.
#[derive(Debug, Args)]
pub(super) struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    New(New),
    Hash(Hash),
    Password(Password),
    Demo(Demo),
}

/// Make a key: the first line is the key, the second what goes into `api_keys` of its consumer.
#[derive(Debug, Args)]
struct New {
    /// What the key begins with; the same as in `identity.api_key`.
    #[arg(long, default_value = "ng")]
    prefix: Prefix,
    #[command(flatten)]
    terms: Terms,
}

/// Read a key from standard input and print what goes into `api_keys` of its consumer.
///
/// That is for keys of another gateway, which go on to be good as they are.
#[derive(Debug, Args)]
struct Hash {
    /// What logs are to call the key. Default: the beginning of its hash.
    #[arg(long)]
    id: Option<Name>,
    #[command(flatten)]
    terms: Terms,
}

/// Read a password from standard input and print what goes into `passwords` of its consumer.
#[derive(Debug, Args)]
struct Password {}

/// Print the API key of the demo, and nothing else. It was made on this machine, and is good in this machine's demo.
#[derive(Debug, Args)]
struct Demo {}

/// What a key is good for.
#[derive(Debug, Args)]
struct Terms {
    /// When the key ends: 2027-01-31, 2027-01-31T12:00:00Z, or 90d from now. Default: never.
    #[arg(long, value_name = "TIME", value_parser = parse_expiry)]
    expires: Option<Timestamp>,
    /// A scope of the consumer that the key has; may be given again. Default: all of them.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        let made = match self.action {
            Action::New(new) => new.make(),
            Action::Hash(hash) => hash.make(),
            Action::Password(Password {}) => password(),
            Action::Demo(Demo {}) => demo_keys::api_key()
                .map(|key| Zeroizing::new(format!("{}\n", *key)))
                .map_err(|error| error.to_string()),
        };
        match made {
            Ok(text) => super::print(&text),
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

impl New {
    fn make(self) -> Result<Zeroizing<String>, String> {
        let key = api_key::make(&self.prefix).map_err(|error| error.to_string())?;
        let entry = self
            .terms
            .entry(&KeyHash::of(key.text.as_bytes()), Some(&key.id));
        eprintln!(
            "The key is shown this once. The second line goes into api_keys of its consumer."
        );
        Ok(Zeroizing::new(format!("{}\n{entry}\n", *key.text)))
    }
}

impl Hash {
    fn make(self) -> Result<Zeroizing<String>, String> {
        let key = read_line("key", LONGEST_KEY)?;
        if key.len() < SHORTEST_KEY {
            return Err(format!(
                "a key of fewer than {SHORTEST_KEY} bytes could be found by whoever sees its hash; make one with `northgate key new`"
            ));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a key has visible ASCII alone, so that a header can hold it".to_owned());
        }
        let hash = KeyHash::of(key.as_bytes());
        let entry = self.terms.entry(&hash, self.id.as_deref());
        Ok(Zeroizing::new(format!("{entry}\n")))
    }
}

fn password() -> Result<Zeroizing<String>, String> {
    // The name and the colon are sent with it.
    let password = read_line("password", LONGEST_LOGIN - 64)?;
    if password.chars().count() < SHORTEST_PASSWORD {
        return Err(format!(
            "a password has at least {SHORTEST_PASSWORD} characters"
        ));
    }
    if password.chars().any(char::is_control) {
        return Err("a password has no control characters (RFC 7617)".to_owned());
    }
    let hash = PasswordHash::of(password.as_bytes()).map_err(|error| error.to_string())?;
    Ok(Zeroizing::new(format!("\"{}\"\n", hash.as_str())))
}

impl Terms {
    /// What stands in the configuration for the key: its hash, or a table where there is more to say.
    fn entry(&self, hash: &KeyHash, id: Option<&str>) -> String {
        if id.is_none() && self.expires.is_none() && self.scopes.is_empty() {
            return format!("\"{hash}\"");
        }
        let mut entry = format!("{{ hash = \"{hash}\"");
        if let Some(id) = id {
            entry += &format!(", id = \"{id}\"");
        }
        if let Some(expires) = self.expires {
            entry += &format!(", expires = {expires}");
        }
        if !self.scopes.is_empty() {
            // Strings of JSON are strings of TOML.
            let scopes = serde_json::json!(self.scopes);
            entry += &format!(", scopes = {scopes}");
        }
        entry + " }"
    }
}

/// A point in time, or how long from now.
pub(super) fn parse_expiry(text: &str) -> Result<Timestamp, String> {
    match text.parse::<Duration>() {
        Ok(duration) => {
            let end = Timestamp::now().unix() + duration.as_std().as_secs();
            Timestamp::from_unix(end).ok_or_else(|| "is too late".to_owned())
        }
        Err(_) => text
            .parse()
            .map_err(|error: crate::text::Invalid| error.to_string()),
    }
}

/// One line of standard input, without its end.
fn read_line(what: &str, longest: usize) -> Result<Zeroizing<String>, String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        eprintln!("Type or paste the {what}, then Enter and Ctrl-D. It is shown as you type.");
    }
    let mut text = Zeroizing::new(String::with_capacity(longest + 3));
    let limit = longest as u64 + 3;
    let read = input.lock().take(limit).read_to_string(&mut text);
    read.map_err(|error| format!("the {what} cannot be read: {error}"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    match text.as_str() {
        "" => Err(format!("there is no {what} on standard input")),
        text if text.contains('\n') => Err(format!("the {what} has more than one line")),
        text if text.len() > longest => Err(format!("the {what} is longer than {longest} bytes")),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_toml() {
        let hash = KeyHash::of(b"abc");
        let check = |id: Option<&str>, expires: Option<&str>, scopes: &[&str], expected: &str| {
            let terms = Terms {
                expires: expires.map(|it| it.parse().expect("a time")),
                scopes: scopes.iter().map(|&it| it.to_owned()).collect(),
            };
            let entry = terms.entry(&hash, id);
            assert_eq!(entry, expected.replace("HASH", &hash.to_string()));
            let text = format!("api_keys = [{entry}]");
            assert!(toml::de::DeTable::parse(&text).is_ok(), "{text}");
        };
        check(None, None, &[], "\"HASH\"");
        check(Some("a"), None, &[], "{ hash = \"HASH\", id = \"a\" }");
        check(
            None,
            Some("2027-01-31"),
            &["orders:read", "say \"hi\""],
            r#"{ hash = "HASH", expires = 2027-01-31T00:00:00Z, scopes = ["orders:read","say \"hi\""] }"#,
        );
    }

    #[test]
    fn ends_are_times_or_lengths() {
        assert_eq!(
            parse_expiry("2027-01-31").map(|it| it.to_string()),
            Ok("2027-01-31T00:00:00Z".to_owned())
        );
        let now = Timestamp::now().unix();
        let end = parse_expiry("90d").expect("a length").unix();
        assert!((now + 7_776_000..now + 7_776_060).contains(&end));
        assert!(parse_expiry("soon").is_err_and(|why| why.contains("must be a date")));
    }
}
