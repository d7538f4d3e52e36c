//! `aggregate`: one answer made of what several upstreams say. See the room [`aggregation`](crate::aggregation).

use std::sync::Arc;

use http::HeaderName;

use super::{Action, Proxy};
use crate::aggregation::{Contract, Kept, Plan};
use crate::cache::{Cache, Freshness, Query, Rules, VaryBy};
use crate::facts::KeyPart;
use crate::upstream::Upstream;

/// The largest answer of a part that is kept, as bodies of routes.
const LARGEST_KEPT: u64 = 16 << 20;

/// Puts parts together. What is asked for each of them is an action of its own.
#[derive(Debug)]
pub struct Aggregate {
    plan: Arc<Plan>,
    /// One for each part, in their order.
    parts: Box<[Arc<Action>]>,
    is_directed: bool,
}

impl Aggregate {
    /// `parts` forward to the upstreams of the plan's parts, in their order.
    pub fn new(plan: Plan, parts: impl IntoIterator<Item = Proxy>) -> Aggregate {
        let parts: Vec<Proxy> = parts.into_iter().collect();
        let chooses = |it: &Arc<Upstream>| it.hash_by().is_some() || it.sticky().is_some();
        let is_directed = parts.iter().flat_map(Proxy::upstreams).any(chooses);
        let parts = parts.into_iter();
        Aggregate {
            plan: plan.into(),
            parts: parts.map(|proxy| Arc::new(Action::Proxy(proxy))).collect(),
            is_directed,
        }
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub fn parts(&self) -> &[Arc<Action>] {
        &self.parts
    }

    /// Whether what the client has sent may choose the endpoint of a part.
    pub fn is_directed(&self) -> bool {
        self.is_directed
    }

    /// Where each of them is forwarded to.
    pub fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.parts.iter().filter_map(|part| match &**part {
            Action::Proxy(proxy) => Some(proxy),
            _ => None,
        })
    }

    /// How the answer of a part is kept, where it is. It is for whoever asks for the same with the same headers; of what policies
    /// write into the request whoever asks the cache has to see to.
    pub fn rules(&self, part: usize, cache: &Arc<Cache>) -> Option<Rules> {
        let Kept {
            ttl,
            while_revalidate,
            if_error,
            collapse,
            vary_by,
        } = self.plan.parts().get(part)?.cache.as_ref()?;
        let headers = vary_by.iter().cloned().map(KeyPart::Header);
        let names: Vec<&str> = vary_by.iter().map(HeaderName::as_str).collect();
        Some(Rules {
            cache: cache.clone(),
            freshness: Freshness {
                ttl: *ttl,
                default_ttl: None,
                statuses: Box::default(),
                is_heuristic: true,
                while_revalidate: *while_revalidate,
                if_error: *if_error,
            },
            query: Query::Whole,
            vary_by: Some(VaryBy::new(headers, &names.join(" "))),
            bypass: None,
            min_uses: 1,
            max_object: LARGEST_KEPT.min(self.plan.limits.part_bytes as u64),
            collapse: *collapse,
            refresh_ahead: None,
            hears_clients: false,
            shares_cookies: false,
            tags: Box::default(),
            tag_fields: Box::default(),
            targets: Box::default(),
            purge: None,
            purge_on_write: Box::default(),
        })
    }

    pub(super) fn describe(&self) -> String {
        let names = self.plan.parts().iter().map(|part| part.name());
        format!("aggregate {}", names.collect::<Vec<_>>().join(", "))
    }

    /// The graph, line by line: what each part asks for, what it waits for, and what its failure means.
    pub(super) fn details(&self) -> Vec<String> {
        let plan = &self.plan;
        let parts = plan.parts().iter().enumerate();
        let lines = parts.map(|(index, part)| {
            let needs = plan.graph().needs(index).iter();
            let needs: Vec<&str> = needs
                .filter_map(|need| Some(plan.parts().get(*need)?.name()))
                .collect();
            let after = match needs.as_slice() {
                [] => "at once".to_owned(),
                needs => format!("after {}", needs.join(", ")),
            };
            let contract = match part.contract() {
                Contract::Required => "required",
                Contract::Optional => "optional",
                Contract::Default(_) => "default",
            };
            let method = part.request.method();
            format!(
                "  {}: {method} of upstream {}, {after}, {contract}",
                part.name(),
                part.upstream()
            )
        });
        let within = format!("within {} ms:", plan.timeout.as_millis());
        std::iter::once(within).chain(lines).collect()
    }
}
