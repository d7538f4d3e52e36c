//! What of a route's requests chooses endpoints, for each of its upstreams that hashes.

use std::sync::Arc;

use crate::facts::{Affinity, View};
use crate::text::{Span, Subject};
use crate::upstream::Upstream;

/// Empty where no upstream of the route hashes.
#[derive(Debug, Default)]
pub struct Affinities(Box<[(Arc<Upstream>, Affinity)]>);

impl Affinities {
    /// `parameters` are those of the route's path, which is at `span`. Warns of an upstream that hashes one that is not
    /// among them.
    pub fn build<'u>(
        upstreams: impl Iterator<Item = &'u Arc<Upstream>>,
        (parameters, span): (&[Box<str>], Span),
        subject: &mut Subject<'_>,
    ) -> Affinities {
        let mut affinities: Vec<(Arc<Upstream>, Affinity)> = Vec::new();
        for upstream in upstreams {
            let Some(by) = upstream.hash_by() else {
                continue;
            };
            match Affinity::of(by, parameters) {
                Some(affinity) => affinities.push((upstream.clone(), affinity)),
                None => {
                    let name = upstream.name();
                    let what = format!(
                        "does not have the parameter that the upstream {name} hashes: requests go to any of its endpoints"
                    );
                    subject.key("path").warning(span, what);
                }
            }
        }
        Affinities(affinities.into())
    }

    /// The key of a request on its way to this upstream; `None` where it has none.
    pub fn key(&self, upstream: &Arc<Upstream>, view: View<'_>) -> Option<u64> {
        let mut all = self.0.iter();
        let (_, affinity) = all.find(|(other, _)| Arc::ptr_eq(other, upstream))?;
        affinity.key(view)
    }
}
