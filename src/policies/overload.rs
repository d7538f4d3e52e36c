//! Refusing requests while the gateway has too much to do; see [`Shedder`]. First by what their route says of them, and
//! once it is known who calls, by what the caller's plan says.

use std::ops::ControlFlow;
use std::sync::Arc;

use http::HeaderValue;
use http::header::RETRY_AFTER;

use super::{Flow, Gate, OnIdentified, OnRequest};
use crate::facts::View;
use crate::limits::{Criticality, Shedder};
use crate::response::{Code, Reply};

/// What the requests of one route have to come past.
pub(super) struct Guard {
    shedder: Arc<Shedder>,
    class: Criticality,
}

impl Guard {
    pub(super) fn new(shedder: &Arc<Shedder>, class: Criticality) -> Arc<Guard> {
        Arc::new(Guard {
            shedder: shedder.clone(),
            class,
        })
    }
}

impl OnRequest for Guard {
    fn on_request(&self, _: View<'_>) -> Flow {
        match self.shedder.refuses(self.class) {
            true => ControlFlow::Break(refuse()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Those who are less than their route.
impl OnIdentified for Guard {
    fn on_identified(&self, view: View<'_>, _: &Gate) -> Flow {
        let class = view.facts.criticality;
        match class < self.class && self.shedder.refuses(class) {
            true => ControlFlow::Break(refuse()),
            false => ControlFlow::Continue(()),
        }
    }
}

#[cold]
fn refuse() -> Reply {
    let mut reply = Reply::failure(Code::Overloaded);
    // Drawn, so that clients do not come back all at once.
    let later = HeaderValue::from_static(["1", "2", "3", "4"][rand::random_range(0..4)]);
    reply.headers.push((RETRY_AFTER, later));
    reply
}
