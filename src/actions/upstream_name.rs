//! The name of an upstream, where many would write an address.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::text::{EndpointAddress, Invalid, Name, ParsedText, Spanned, parsed_text, quoted};

struct UpstreamName(Name);

#[derive(Debug, thiserror::Error)]
enum InvalidUpstream {
    #[error("{0}")]
    Name(#[from] Invalid),
    #[error(
        "must be the name of an upstream, got {}\ndefine one, [upstreams.NAME] with endpoints = [{address:?}], and write \
         its name here", quoted(.got)
    )]
    Address { got: Box<str>, address: Box<str> },
}

impl FromStr for UpstreamName {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        let address = text.split_once("://").map_or(text, |(_, address)| address);
        match text.parse::<Name>() {
            Ok(name) => Ok(UpstreamName(name)),
            Err(_) if address.parse::<EndpointAddress>().is_ok() => Err(InvalidUpstream::Address {
                got: text.into(),
                address: address.into(),
            }),
            Err(error) => Err(error.into()),
        }
    }
}

impl ParsedText for UpstreamName {
    const EXPECTED: &'static str = "the name of an upstream";
}

parsed_text!(
    UpstreamName,
    "string",
    ".",
    "Never shown: the schema has a name."
);

/// For `deserialize_with` of a key that must be there.
pub(super) fn upstream<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Spanned<Name>, D::Error> {
    let named = Spanned::<UpstreamName>::deserialize(deserializer)?;
    Ok(named.map(|UpstreamName(name)| name))
}

/// For `deserialize_with` of a key that need not be there.
pub fn some_upstream<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Spanned<Name>>, D::Error> {
    upstream(deserializer).map(Some)
}
