//! What stands in a key: one endpoint.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::discovery::Labels;
use crate::discovery::listed::Listed;
use crate::text::{Bounded, EndpointAddress};

/// A longer value is none of an endpoint.
const LONGEST: usize = 16 << 10;

type Weight = Bounded<1, 1000>;

/// Why a value is no endpoint.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadValue {
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it is JSON that cannot be used: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its address {0}")]
    Address(#[from] crate::text::Invalid),
    #[error("its address must be that of a machine, not a Unix socket")]
    Unix,
}

/// As the documentation of the option has it.
#[derive(Deserialize)]
struct Own {
    address: String,
    weight: Option<Weight>,
    #[serde(default)]
    priority: u8,
    zone: Option<Box<str>>,
    #[serde(default)]
    labels: BTreeMap<Box<str>, Box<str>>,
}

/// As `go.etcd.io/etcd/client/v3/naming` writes it.
#[derive(Deserialize)]
struct OfGrpc {
    #[serde(rename = "Addr")]
    address: String,
    /// Whatever who registered it likes.
    #[serde(rename = "Metadata", default)]
    metadata: Value,
}

/// Reads a value. Names that it does not know are passed over: others may read the same keys.
pub(super) fn parse(value: &[u8]) -> Result<Listed, BadValue> {
    if value.len() > LONGEST {
        return Err(BadValue::TooLong);
    }
    let text = std::str::from_utf8(value).map_err(|_| BadValue::NotUtf8)?;
    let text = text.trim();
    let own = match text.starts_with('{') {
        false => Own::at(text.to_owned()),
        true => {
            let value: Value = serde_json::from_str(text)?;
            match value.get("Addr").is_some() {
                true => OfGrpc::deserialize(value)?.into(),
                false => Own::deserialize(value)?,
            }
        }
    };
    let address: EndpointAddress = own.address.parse()?;
    if matches!(address, EndpointAddress::Unix(_)) {
        return Err(BadValue::Unix);
    }
    let zone = own.zone.filter(|zone| !zone.is_empty());
    Ok(Listed {
        address,
        weight: own.weight.map_or(1, |weight| weight.get().into()),
        priority: own.priority,
        zone: zone.map(Into::into),
        labels: own.labels.into_iter().collect::<Labels>(),
    })
}

impl Own {
    fn at(address: String) -> Own {
        Own {
            address,
            weight: None,
            priority: 0,
            zone: None,
            labels: BTreeMap::new(),
        }
    }
}

impl From<OfGrpc> for Own {
    /// The metadata that is text becomes labels.
    fn from(of_grpc: OfGrpc) -> Own {
        let metadata = of_grpc.metadata.as_object();
        let texts = metadata.into_iter().flatten().filter_map(|(name, value)| {
            let value = value.as_str()?;
            Some((name.as_str().into(), value.into()))
        });
        Own {
            labels: texts.collect(),
            ..Own::at(of_grpc.address)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In short: address, weight, priority, zone and labels.
    fn check(value: &str, expected: Result<&str, &str>) {
        let seen = match parse(value.as_bytes()) {
            Err(error) => Err(error.to_string()),
            Ok(it) => Ok(format!(
                "{} {} {} {:?} {:?}",
                it.address, it.weight, it.priority, it.zone, it.labels
            )),
        };
        let seen = seen.as_deref();
        match expected {
            Ok(expected) => assert_eq!(seen.expect(value), expected),
            Err(expected) => {
                let error = seen.expect_err(value);
                assert!(error.starts_with(expected), "{value}: {error}");
            }
        }
    }

    #[test]
    fn values() {
        check("10.0.0.5:8002", Ok("10.0.0.5:8002 1 0 None []"));
        check(" [::1]:80\n", Ok("[::1]:80 1 0 None []"));
        check("orders.internal:80", Ok("orders.internal:80 1 0 None []"));
        check(
            r#"{"address": "10.0.0.5:8002", "weight": 2, "priority": 1, "zone": "a", "labels": {"v": "1"}, "else": []}"#,
            Ok("10.0.0.5:8002 2 1 Some(\"a\") [(\"v\", \"1\")]"),
        );
        check(
            r#"{"Op":0,"Addr":"10.0.0.5:8002","Metadata":{"version":"v1","n":3}}"#,
            Ok("10.0.0.5:8002 1 0 None [(\"version\", \"v1\")]"),
        );
        check(
            r#"{"Op":0,"Addr":"10.0.0.5:8002","Metadata":null}"#,
            Ok("10.0.0.5:8002 1 0 None []"),
        );
    }

    #[test]
    fn bad_values() {
        check("", Err("its address must be"));
        check("10.0.0.5", Err("its address must be"));
        check("10.0.0.5:0", Err("its address"));
        check("unix:/run/a", Err("its address must be that of a machine"));
        check("{", Err("it is JSON that cannot be used: EOF"));
        check(
            "{}",
            Err("it is JSON that cannot be used: missing field `address`"),
        );
        check(
            r#"{"address": "10.0.0.5:80", "weight": 0}"#,
            Err("it is JSON that cannot be used: invalid value: integer `0`"),
        );
        check(
            r#"{"address": "10.0.0.5:80", "priority": 256}"#,
            Err("it is JSON that cannot be used: invalid value: integer `256`"),
        );
        check(&"x".repeat(LONGEST + 1), Err("it is longer than"));
        assert!(matches!(parse(&[0xff]), Err(BadValue::NotUtf8)));
        let deep = format!("{{\"a\": {}", "[".repeat(10_000));
        check(
            &deep,
            Err("it is JSON that cannot be used: recursion limit"),
        );
    }
}
