//! From the slices of a service to its endpoints.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use super::config::Port;
use crate::discovery::Labels;
use crate::discovery::listed::Listed;
use crate::text::{EndpointAddress, Host};

/// How fit an endpoint is for requests, the fittest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    /// It is about to end, and answers still.
    Ending,
    Ready,
}

/// An endpoint as one slice has it.
struct Seen {
    listed: Listed,
    fitness: Fitness,
    /// Of the pod behind it.
    pod: Option<Box<str>>,
    is_v4: bool,
}

/// The endpoints that requests are for, in the order of their addresses; `problems` gets what was left out for reasons that
/// somebody should know.
///
/// Those that are ready are taken. Where there is none, those that are about to end and serve still are, as kube-proxy
/// does (KEP-1669), since a request to one of them is better than none. An endpoint that stands in several slices is one, and
/// ready where any slice says so. A pod with addresses of both families, as services of two stacks have them, is one
/// endpoint too: that of IPv4.
pub(super) fn endpoints<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    port: Option<&Port>,
    problems: &mut Vec<String>,
) -> Vec<Listed> {
    let mut by_address: BTreeMap<String, Seen> = BTreeMap::new();
    for slice in slices {
        let Some(number) = number_in(slice, port, problems) else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(seen) = look(endpoint, number, problems) else {
                continue;
            };
            let key = seen.listed.address.to_string();
            match by_address.get(&key) {
                Some(known) if known.fitness >= seen.fitness => {}
                _ => {
                    by_address.insert(key, seen);
                }
            }
        }
    }
    let mut seen: Vec<Seen> = by_address.into_values().collect();
    let fittest = seen.iter().map(|it| it.fitness).max();
    seen.retain(|it| Some(it.fitness) == fittest);
    let of_v4 = seen.iter().filter(|it| it.is_v4);
    let of_v4: HashSet<Box<str>> = of_v4.filter_map(|it| it.pod.clone()).collect();
    let has_v4 = |pod: &Option<Box<str>>| pod.as_ref().is_some_and(|pod| of_v4.contains(pod));
    seen.retain(|it| it.is_v4 || !has_v4(&it.pod));
    seen.into_iter().map(|it| it.listed).collect()
}

/// The number that the port has in this slice. Slices of one service can differ, where its pods do.
fn number_in(
    slice: &EndpointSlice,
    port: Option<&Port>,
    problems: &mut Vec<String>,
) -> Option<u16> {
    let is_tcp = |it: &&EndpointPort| it.protocol.as_deref().is_none_or(|it| it == "TCP");
    let ports = slice.ports.as_deref().unwrap_or_default();
    let mut tcp = ports.iter().filter(is_tcp);
    let number = |it: &EndpointPort| it.port.and_then(|it| u16::try_from(it).ok());
    let found = match port {
        Some(Port::Name(name)) => tcp.find(|it| it.name.as_deref() == Some(name)).map(number),
        // A port without a number stands for all of them.
        Some(Port::Number(wanted)) => tcp
            .find(|it| it.port.is_none() || number(it) == Some(*wanted))
            .map(|_| Some(*wanted)),
        None => match (tcp.next(), tcp.next()) {
            (Some(only), None) => Some(number(only)),
            (Some(_), Some(_)) => {
                problems.push("it has several ports, and none is chosen by `port`".into());
                return None;
            }
            (None, _) => None,
        },
    };
    let found = found.flatten().filter(|&number| number > 0);
    if found.is_none() && slice.endpoints.iter().flatten().next().is_some() {
        let name = slice.metadata.name.as_deref().unwrap_or("?");
        let port = port.map_or_else(|| "of TCP".to_owned(), Port::to_string);
        problems.push(format!("slice {name} has no port {port}"));
    }
    found
}

/// `None` where no request is for it.
fn look(endpoint: &Endpoint, port: u16, problems: &mut Vec<String>) -> Option<Seen> {
    let conditions = endpoint.conditions.as_ref();
    // What is not said is taken for true, and for false of ending, as the API has it.
    let is_ready = conditions.and_then(|it| it.ready).unwrap_or(true);
    let is_serving = conditions.and_then(|it| it.serving).unwrap_or(is_ready);
    let is_ending = conditions.and_then(|it| it.terminating).unwrap_or(false);
    let fitness = match (is_ready, is_serving && is_ending) {
        (true, _) => Fitness::Ready,
        (false, true) => Fitness::Ending,
        (false, false) => return None,
    };
    // The others lead to the same, and consumers use the first, as the API has it.
    let text = endpoint.addresses.first()?;
    let address = match (text.parse::<IpAddr>(), text.parse::<Host>()) {
        (Ok(ip), _) => EndpointAddress::Socket(SocketAddr::new(ip, port)),
        (Err(_), Ok(host)) => EndpointAddress::Name {
            host: host.into_inner(),
            port,
        },
        (Err(_), Err(_)) => {
            problems.push(format!("{text:?} is no address"));
            return None;
        }
    };
    let node = endpoint.node_name.as_deref().into_iter();
    let pod = endpoint
        .target_ref
        .as_ref()
        .and_then(|it| it.uid.as_deref());
    Some(Seen {
        is_v4: matches!(&address, EndpointAddress::Socket(it) if it.is_ipv4()),
        listed: Listed {
            address,
            weight: 1,
            priority: 0,
            zone: endpoint.zone.as_deref().map(Into::into),
            labels: node
                .map(|node| (Box::from("node"), Box::from(node)))
                .collect::<Labels>(),
        },
        fitness,
        pod: pod.map(Into::into),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Slices as the API has them; the endpoints as `address weight zone labels`.
    fn check(slices: &[Value], port: Option<Port>, expected: &[&str]) -> Vec<String> {
        let slices = slices.iter();
        let slices: Vec<EndpointSlice> = slices
            .map(|slice| serde_json::from_value(slice.clone()).expect("a slice"))
            .collect();
        let mut problems = Vec::new();
        let found = endpoints(slices.iter(), port.as_ref(), &mut problems);
        let found: Vec<String> = found.iter().map(|it| it.address.to_string()).collect();
        assert_eq!(found, expected);
        problems
    }

    fn slice(kind: &str, ports: Value, endpoints: Value) -> Value {
        json!({
            "metadata": {"name": "s"}, "addressType": kind, "ports": ports, "endpoints": endpoints,
        })
    }

    fn http() -> Value {
        json!([{"name": "http", "port": 80, "protocol": "TCP"}])
    }

    fn at(address: &str, ready: Value, serving: Value, terminating: Value) -> Value {
        let conditions = json!({"ready": ready, "serving": serving, "terminating": terminating});
        json!({"addresses": [address], "conditions": conditions})
    }

    #[test]
    fn conditions() {
        let (yes, no, unsaid) = (json!(true), json!(false), Value::Null);
        let of = |ready: &Value, serving: &Value, terminating: &Value| {
            at(
                "10.0.0.1",
                ready.clone(),
                serving.clone(),
                terminating.clone(),
            )
        };
        let one = |endpoint: Value, expected: &[&str]| {
            let problems = check(&[slice("IPv4", http(), json!([endpoint]))], None, expected);
            assert!(problems.is_empty(), "{problems:?}");
        };
        one(of(&yes, &yes, &no), &["10.0.0.1:80"]);
        one(of(&unsaid, &unsaid, &unsaid), &["10.0.0.1:80"]);
        one(json!({"addresses": ["10.0.0.1"]}), &["10.0.0.1:80"]);
        one(of(&no, &no, &no), &[]);
        one(of(&no, &unsaid, &yes), &[]);
        one(of(&no, &no, &yes), &[]);
        one(of(&no, &yes, &yes), &["10.0.0.1:80"]);
        // It serves and is not ready yet: nobody has said that it may be asked.
        one(of(&no, &yes, &no), &[]);
        let both = json!([
            at("10.0.0.1", no, yes.clone(), yes.clone()),
            at("10.0.0.2", yes, unsaid.clone(), unsaid),
        ]);
        check(&[slice("IPv4", http(), both)], None, &["10.0.0.2:80"]);
    }

    #[test]
    fn ports() {
        let here = || json!([{"addresses": ["10.0.0.1"]}]);
        let of = |ports: Value| [slice("IPv4", ports, here())];
        let name = |name: &str| Some(Port::Name(name.into()));
        let two = json!([{"name": "http", "port": 80}, {"name": "admin", "port": 81}]);
        check(&of(two.clone()), name("admin"), &["10.0.0.1:81"]);
        check(&of(two.clone()), Some(Port::Number(80)), &["10.0.0.1:80"]);
        let problems = check(&of(two.clone()), None, &[]);
        assert_eq!(
            problems,
            ["it has several ports, and none is chosen by `port`"]
        );
        let problems = check(&of(two), name("grpc"), &[]);
        assert_eq!(problems, ["slice s has no port grpc"]);
        let udp = json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "", "port": 80}]);
        check(&of(udp), None, &["10.0.0.1:80"]);
        check(
            &of(json!([{"name": "any"}])),
            Some(Port::Number(90)),
            &["10.0.0.1:90"],
        );
        check(
            &of(json!([{"name": "far", "port": 70_000}])),
            name("far"),
            &[],
        );
        assert!(check(&[slice("IPv4", Value::Null, Value::Null)], None, &[]).is_empty());
    }

    #[test]
    fn addresses() {
        let pod = |address: &str, uid: &str| json!({"addresses": [address, "10.9.9.9"], "targetRef": {"uid": uid}});
        // In two slices, of two families, and by a name.
        let slices = [
            slice(
                "IPv4",
                http(),
                json!([pod("10.0.0.1", "1"), pod("10.0.0.2", "2")]),
            ),
            slice("IPv4", http(), json!([pod("10.0.0.1", "1")])),
            slice(
                "IPv6",
                http(),
                json!([pod("fd00::1", "1"), pod("fd00::3", "3")]),
            ),
            slice(
                "FQDN",
                http(),
                json!([{"addresses": ["orders.example.com"]}]),
            ),
        ];
        let expected = [
            "10.0.0.1:80",
            "10.0.0.2:80",
            "[fd00::3]:80",
            "orders.example.com:80",
        ];
        check(&slices, None, &expected);
        let problems = check(
            &[slice("FQDN", http(), json!([{"addresses": ["a b"]}]))],
            None,
            &[],
        );
        assert_eq!(problems, ["\"a b\" is no address"]);
    }
}
