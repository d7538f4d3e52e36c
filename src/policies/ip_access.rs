//! `ip_access`: who may come in, by address.
//!
//! ```toml
//! [listeners.inside.policies]
//! ip_access = { allow = ["10.0.0.0/8", "2001:db8::/32"], deny = ["10.66.0.0/16"] }
//! ```
//!
//! `deny` wins over `allow`, whichever network is the smaller. With `allow` everybody else is refused; without it
//! only those in `deny` are. Who is refused gets 403 `address_denied`, with the headers that the other policies add
//! to every response. On a listener it also decides over requests that no route matches.
//!
//! The address is that of the client: of the connection's peer or, behind the listener's `trusted_proxies`, the one
//! that those vouch for. It is the address in the access log. What anybody else writes into `X-Forwarded-For` opens
//! nothing. Clients of a Unix socket have no address and count as `127.0.0.1`: a list that allows or denies that
//! allows or denies all of them, and who may open the socket is said by the permissions of its file.
//!
//! # Long lists
//! A list may name files beside networks, `deny = [{ file = "lists/scanners.txt" }]`, with a network or an address on
//! each line; `#` and `;` begin a comment. They are read once, when the configuration is. All lists together become
//! one sorted list of ranges, so that a hundred thousand networks cost a request what twenty comparisons cost.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::networks::Networks;
use super::{BuildScope, Flow, Hooks, OnRequest};
use crate::facts::View;
use crate::response::{Code, Reply};
use crate::text::{
    Cidr, Invalid, Shorthand, Spanned, Subject, open_file, shorthand, shorthand_schema,
};

/// A file that is longer was not made for this.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// How many bad lines of one file are told.
const MAX_PROBLEMS: usize = 5;

/// Who may come in, by address.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Nobody but these. Default: everybody that `deny` does not hold.
    pub allow: Option<Spanned<Vec<Spanned<List>>>>,
    /// None of these, even where `allow` holds them. Default: nobody.
    #[serde(default)]
    pub deny: Vec<Spanned<List>>,
}

/// A network, or a file of them.
#[derive(Clone, Debug, PartialEq)]
pub enum List {
    Network(Cidr),
    File(PathBuf),
}

/// A file of networks.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NetworkFile")]
pub struct NetworkFile {
    /// A network or an address on each line; `#` and `;` begin a comment. Relative to the folder of the
    /// configuration file. At most 64 MiB.
    file: PathBuf,
}

impl From<NetworkFile> for List {
    fn from(NetworkFile { file }: NetworkFile) -> List {
        List::File(file)
    }
}

impl FromStr for List {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<List, Invalid> {
        text.parse().map(List::Network)
    }
}

impl Shorthand for List {
    type Long = NetworkFile;
    const EXPECTED: &'static str =
        "a network such as \"10.0.0.0/8\", or a table such as { file = \"networks.txt\" }";
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        shorthand(deserializer)
    }
}

impl JsonSchema for List {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NetworkList".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        shorthand_schema::<Self>(generator)
    }
}

/// Refuses addresses.
#[derive(Debug)]
pub struct Policy {
    refused: Networks,
}

impl super::Policy for Policy {
    const NAME: &'static str = "ip_access";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let before = scope.subject.error_count();
        if config.allow.is_none() && config.deny.is_empty() {
            let problem = scope
                .subject
                .error(scope.span, "has neither allow nor deny");
            problem.help("write ip_access = { allow = [\"10.0.0.0/8\"] }, or ip_access = \"off\" for no rule");
        }
        let denied: Networks = read("deny", &config.deny, scope).into_iter().collect();
        let refused = match &config.allow {
            None => denied,
            Some(allow) => {
                let allowed = read("allow", allow, scope);
                let is_good = scope.subject.error_count() == before;
                if allowed.is_empty() && is_good {
                    let mut subject = scope.subject.key("allow");
                    subject
                        .error(allow.span, "is empty, which would refuse everybody")
                        .help("leave it out to let everybody in whom deny does not hold");
                }
                let allowed: Networks = allowed.into_iter().collect();
                denied.union(&allowed.complement())
            }
        };
        (scope.subject.error_count() == before).then_some(Policy { refused })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_request(self.clone());
    }
}

impl OnRequest for Policy {
    fn on_request(&self, view: View<'_>) -> Flow {
        if self.refused.contains(view.facts.client) {
            return ControlFlow::Break(Reply::failure(Code::AddressDenied));
        }
        ControlFlow::Continue(())
    }
}

/// The networks of the lists below `key`, as far as they can be read.
pub(super) fn read(key: &str, lists: &[Spanned<List>], scope: &mut BuildScope<'_>) -> Vec<Cidr> {
    let reads_files = lists.iter().any(|list| matches!(list.value, List::File(_)));
    let folder = reads_files.then(|| scope.folder());
    let mut subject = scope.subject.key(key);
    let mut networks = Vec::with_capacity(lists.len());
    for (index, list) in lists.iter().enumerate() {
        match &list.value {
            List::Network(network) => networks.push(*network),
            List::File(path) => {
                let path = folder.map_or_else(|| path.clone(), |folder| folder.join(path));
                let mut subject = subject.index(index);
                match text_of(&path) {
                    Ok(text) => {
                        let bad = parse(&text, &mut networks);
                        tell(&path, &bad, list, &mut subject);
                    }
                    Err(error) => {
                        let what = format!("cannot read {}: {error}", path.display());
                        subject.error(list.span, what);
                    }
                }
            }
        }
    }
    networks
}

fn text_of(path: &Path) -> std::io::Result<String> {
    let file = open_file(path)?;
    if file.metadata()?.len() > MAX_FILE_BYTES {
        return Err(std::io::Error::other("it is larger than 64 MiB"));
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Adds the networks of a file; the lines, from 1, that hold none are returned with the reason.
fn parse(text: &str, networks: &mut Vec<Cidr>) -> Vec<(usize, Invalid)> {
    let mut bad = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let entry = line.split(['#', ';']).next().unwrap_or_default().trim();
        match entry.parse() {
            _ if entry.is_empty() => {}
            Ok(network) => networks.push(network),
            Err(problem) => bad.push((index + 1, problem)),
        }
    }
    bad
}

fn tell(path: &Path, bad: &[(usize, Invalid)], list: &Spanned<List>, subject: &mut Subject<'_>) {
    let path = path.display();
    for (line, problem) in bad.iter().take(MAX_PROBLEMS) {
        subject.error(list.span, format!("{path}:{line}: {problem}"));
    }
    if let Some(more) = bad.len().checked_sub(MAX_PROBLEMS).filter(|&more| more > 0) {
        subject.error(list.span, format!("{path} has {more} more bad lines"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_a_network_on_a_line() {
        let check = |text: &str, expected: &[&str], bad: &[usize]| {
            let mut networks = Vec::new();
            let lines: Vec<usize> = parse(text, &mut networks)
                .into_iter()
                .map(|(line, _)| line)
                .collect();
            let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
            assert_eq!(networks, expected, "{text:?}");
            assert_eq!(lines, bad, "{text:?}");
        };
        check("", &[], &[]);
        check("# nothing\n\n  \n;", &[], &[]);
        check("10.0.0.0/8", &["10.0.0.0/8"], &[]);
        check(
            "10.0.0.0/8 # inside\r\n192.0.2.1;SBL1\n\t2001:db8::/32\n",
            &["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"],
            &[],
        );
        check(
            "10.0.0.1/8\n::1\n10.0.0.0/8 10.1.0.0/16\nx",
            &["::1/128"],
            &[1, 3, 4],
        );
    }

    #[test]
    fn a_device_or_a_pipe_is_no_list() {
        let error = text_of(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.to_string(), "it is not a file");
    }
}
