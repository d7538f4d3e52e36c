//! Host names in lists, resolved by the system's resolver, off every request's path.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;

use super::listed::Listed;
use super::{Failure, Member};
use crate::text::EndpointAddress;

/// How often names are looked up: the system's resolver does not tell how long an answer is good for.
pub(super) const REFRESH: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(5);

/// What names were last.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<(Box<str>, u16), Vec<SocketAddr>>,
}

impl Names {
    /// The endpoints of a list, all names looked up at the same time; each address of a name is one. A name that
    /// cannot be resolved now has the addresses that it had, and is the failure.
    pub(super) async fn resolve(&mut self, list: &[Listed]) -> (Vec<Member>, Option<Failure>) {
        let mut failure = None;
        let names = list.iter().filter_map(name);
        let found = join_all(names.map(|(host, port)| look_up(host, port))).await;
        let mut now = HashMap::new();
        for ((host, port), found) in list.iter().filter_map(name).zip(found) {
            let place = (Box::from(host), port);
            match found {
                Ok(sockets) => {
                    now.insert(place, sockets);
                }
                Err(error) => {
                    failure = Some(error);
                    // One that was never known stays unknown: it is not one without addresses.
                    if let Some(sockets) = self.known.get(&place) {
                        now.insert(place, sockets.clone());
                    }
                }
            }
        }
        self.known = now;
        let members = list.iter().flat_map(|listed| self.members(listed));
        (members.collect(), failure)
    }

    /// The endpoints of a list as far as its names are known already; `None` where one was never looked up.
    pub(super) fn known(&self, list: &[Listed]) -> Option<Vec<Member>> {
        let is_known = |(host, port): (&str, u16)| self.known.contains_key(&(host.into(), port));
        let are_known = list.iter().filter_map(name).all(is_known);
        are_known.then(|| list.iter().flat_map(|it| self.members(it)).collect())
    }

    fn members(&self, listed: &Listed) -> Vec<Member> {
        let Some((host, port)) = name(listed) else {
            return listed.member(None).into_iter().collect();
        };
        let sockets = self.known.get(&(host.into(), port)).into_iter().flatten();
        sockets.filter_map(|&at| listed.member(Some(at))).collect()
    }
}

pub(super) fn name(listed: &Listed) -> Option<(&str, u16)> {
    match &listed.address {
        EndpointAddress::Name { host, port } => Some((host, *port)),
        _ => None,
    }
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let looking = tokio::net::lookup_host((host, port));
    match tokio::time::timeout(DEADLINE, looking).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(Failure::unreachable(format!("{host}: {error}"))),
        Err(_) => Err(Failure::unreachable(format!(
            "{host}: not resolved within {DEADLINE:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::listed::of_toml;
    use super::*;

    #[tokio::test]
    async fn a_name_that_fails_keeps_its_addresses() {
        let list = "endpoints = ['10.0.0.1:1', { address = 'a.invalid:2', weight = 5 }]";
        let list = of_toml("a list", list).unwrap();
        let mut names = Names::default();
        let (members, failure) = names.resolve(&list).await;
        assert_eq!(members.len(), 1);
        assert!(failure.is_some());
        let known: SocketAddr = "10.0.0.2:2".parse().unwrap();
        names.known.insert(("a.invalid".into(), 2), vec![known]);
        let (members, failure) = names.resolve(&list).await;
        assert!(failure.is_some());
        let name = Member::new(super::super::Socket::Inet(known), "a.invalid".into(), 5);
        assert_eq!(members.get(1), Some(&name));
        assert_eq!(names.known(&list), Some(members));
        let other = of_toml("a list", "endpoints = ['b.invalid:2']").unwrap();
        assert_eq!(names.known(&other), None);
    }
}
