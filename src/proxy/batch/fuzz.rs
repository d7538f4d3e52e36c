//! Any bytes as a client's list of calls.

use std::collections::HashSet;

use super::list;
use crate::actions::{Batch, BatchConfig, refusal};
use crate::http1::is_path_and_query;
use crate::proxy::names::is_claim;
use crate::text::fuzz::fuzz;
use crate::text::{Diagnostics, Subject, plain};

const WORDS: [&str; 24] = [
    "{\"requests\": [",
    "{\"id\": \"",
    "\"path\": \"/",
    "\"headers\": {",
    "\"method\": \"GET\"",
    "\"x-a\": \"1\"",
    "\"host\": \"a\"",
    "\"x-forwarded-for\": \"1\"",
    "\"transfer_encoding\": \"chunked\"",
    "]}",
    "}, {",
    "},",
    "\",",
    "\\r\\n",
    "\\u0000",
    "\\u00e4",
    "%2f",
    "//",
    "../",
    "?",
    "#",
    " ",
    "@",
    "\\\\",
];

/// What is taken for a list has calls that a client could have sent by themselves, and no others.
#[test]
fn fuzz_batch_list() {
    let config: BatchConfig = toml::from_str("most = 3").unwrap();
    let mut diagnostics = Diagnostics::default();
    let batch = Batch::build(&config, &mut Subject::new(&mut diagnostics, "batch")).unwrap();
    fuzz("batch_list", &WORDS, |input| {
        let calls = match list::read(input, &batch) {
            Ok(calls) => calls,
            Err(reason) => {
                assert!(reason.len() < 310, "{reason}");
                // Without what the client has sent, and where.
                let kind = reason.rsplit(['"', '`', ':']).next().unwrap_or_default();
                return (
                    kind.chars().filter(|one| !one.is_ascii_digit()).collect(),
                    0,
                );
            }
        };
        assert!((1..=3).contains(&calls.len()));
        let ids: HashSet<&str> = calls.iter().map(|call| &*call.id).collect();
        assert_eq!(ids.len(), calls.len());
        for call in &calls {
            let target = call.target.as_str();
            assert!(target.starts_with('/'), "{target}");
            assert!(is_path_and_query(target.as_bytes()), "{target}");
            for (name, value) in &call.headers {
                let plain = plain(name.as_str());
                assert!(refusal(name).is_none() && !is_claim(&plain), "{name}");
                let is_odd = |byte: &u8| *byte < b' ' && *byte != b'\t';
                assert!(!value.as_bytes().iter().any(is_odd), "{value:?}");
            }
        }
        let headers: usize = calls.iter().map(|call| call.headers.len()).sum();
        (String::new(), calls.len() * 8 + headers.min(7))
    });
}
