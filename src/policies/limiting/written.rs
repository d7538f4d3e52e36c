//! Keys as operators write them: `consumer=acme`, `header:x-tenant=shop`.
//!
//! What a key is made of has to be what [`Counted`](super::Counted) makes it of.

use std::net::IpAddr;

use super::{By, ByConfig};
use crate::facts::KeyBy;
use crate::limits::{KeyPart, KeyReader, KeyWords};
use crate::text::Spanned;

/// Reads the keys of what is counted `by` this.
pub struct Written {
    by: Box<[By]>,
    text: Box<str>,
}

impl Written {
    pub fn new(by: &Spanned<ByConfig>) -> Written {
        let by: Box<[By]> = by
            .value
            .list(by.span)
            .into_iter()
            .map(|it| it.value)
            .collect();
        let text: Vec<String> = by.iter().map(By::to_string).collect();
        Written {
            by,
            text: text.join(", ").into(),
        }
    }
}

impl KeyReader for Written {
    fn by(&self) -> &str {
        &self.text
    }

    fn read(&self, words: &mut KeyWords) -> Result<Vec<KeyPart>, String> {
        let mut parts = Vec::new();
        for by in &self.by {
            match by {
                By::All => {}
                By::Of(KeyBy::Consumer) => parts.extend(caller(words, "")?),
                By::Of(KeyBy::Credential) => parts.extend(match words.find("credential") {
                    Some(text) => of_provider("credential", text)?,
                    None => caller(words, "credential=PROVIDER/ID, ")?,
                }),
                By::Of(KeyBy::Client) => parts.extend(client(words.need("client")?)?),
                By::Route => parts.push(part(words.need("route")?)),
                By::Of(named) => {
                    let name = named.to_string();
                    parts.push(match words.is_without(&name) {
                        true => None,
                        false => part(words.need(&name)?),
                    });
                }
            }
        }
        Ok(parts)
    }
}

fn part(bytes: impl AsRef<[u8]>) -> KeyPart {
    Some(bytes.as_ref().into())
}

/// A consumer; a caller that is none; a stranger.
fn caller(words: &mut KeyWords, others: &str) -> Result<Vec<KeyPart>, String> {
    if let Some(name) = words.find("consumer") {
        return Ok(vec![part("consumer"), part(name)]);
    }
    if let Some(subject) = words.find("subject") {
        return of_provider("subject", subject);
    }
    match words.find("client") {
        Some(address) => client(address),
        None => Err(format!(
            "who is meant is missing: {others}consumer=NAME, subject=PROVIDER/SUBJECT or client=ADDRESS"
        )),
    }
}

/// Providers have names without a slash.
fn of_provider(what: &str, text: &str) -> Result<Vec<KeyPart>, String> {
    let Some((provider, name)) = text.split_once('/') else {
        return Err(format!("{what} must be PROVIDER/NAME, got {text:?}"));
    };
    Ok(vec![part(what), part(provider), part(name)])
}

fn client(text: &str) -> Result<Vec<KeyPart>, String> {
    Ok(vec![
        part("client"),
        match address(text)? {
            IpAddr::V4(address) => part(address.octets()),
            IpAddr::V6(address) => part(&address.octets()[..8]),
        },
    ])
}

/// The address that a client is known by.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    let address: Result<IpAddr, _> = text.parse();
    let address = address.map_err(|_| format!("client must be an address, got {text:?}"))?;
    Ok(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(by: &[&str], words: &[&str]) -> Result<Vec<KeyPart>, String> {
        let by = Written {
            by: by.iter().map(|it| it.parse().unwrap()).collect(),
            text: "".into(),
        };
        let words = words.iter().map(|it| it.split_once('=').unwrap());
        let words = words.map(|(name, value)| (name.to_owned(), value.to_owned()));
        by.read(&mut KeyWords::new(words.collect()))
    }

    fn parts(parts: &[&[u8]]) -> Result<Vec<KeyPart>, String> {
        Ok(parts.iter().map(part).collect())
    }

    #[test]
    fn each_part_is_what_requests_are_counted_by() {
        let v4: &[u8] = &[192, 0, 2, 1];
        assert_eq!(read(&["all"], &[]), parts(&[]));
        let acme = parts(&[b"consumer", b"acme"]);
        assert_eq!(read(&["consumer"], &["consumer=acme"]), acme);
        assert_eq!(read(&["credential"], &["consumer=acme"]), acme);
        assert_eq!(
            read(&["consumer"], &["subject=main/a/b"]),
            parts(&[b"subject", b"main", b"a/b"])
        );
        assert_eq!(
            read(&["credential"], &["credential=main/k1"]),
            parts(&[b"credential", b"main", b"k1"])
        );
        let stranger = parts(&[b"client", v4]);
        assert_eq!(read(&["consumer"], &["client=192.0.2.1"]), stranger);
        assert_eq!(read(&["client"], &["client=::ffff:192.0.2.1"]), stranger);
        assert_eq!(
            read(&["client"], &["client=2001:db8::1"]),
            parts(&[b"client", &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0]])
        );
        assert_eq!(
            read(
                &["header:x-tenant", "route", "cookie:c"],
                &["cookie:c=", "route=r", "without=header:x-tenant"]
            ),
            Ok(vec![None, part("r"), part("")])
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        for (by, words, problem) in [
            (
                "consumer",
                &[][..],
                "who is meant is missing: consumer=NAME, subject=PROVIDER/SUBJECT or client=ADDRESS",
            ),
            ("client", &["consumer=acme"], "client=… is missing"),
            ("claim:org", &[], "claim:org=… is missing"),
            (
                "consumer",
                &["subject=x"],
                "subject must be PROVIDER/NAME, got \"x\"",
            ),
            (
                "client",
                &["client=there"],
                "client must be an address, got \"there\"",
            ),
        ] {
            assert_eq!(read(&[by], words), Err(problem.to_owned()));
        }
    }
}
