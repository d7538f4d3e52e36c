//! What is known of one request: a small, closed record, and templates over it.
//!
//! In: what the listener knows of the connection and what the strict checks, routing and authentication have
//! found out. Out: [`Facts`] for policies, actions and the access log, and [`Template`]s and [`Expression`]s that name
//! them in configuration. There are no string keys and no `Any` maps here: what policies tell each other is a field.

mod affinity;
mod answers;
mod asked;
mod expression;
mod hole;
mod ids;
mod json_template;
mod key_by;
mod key_part;
mod template;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::identity::{ClientCertificate, Identity};
use crate::limits::{Criticality, Taken};

pub use affinity::Affinity;
pub use answers::{Answers, Gathered, Key, PartField, What};
pub use expression::{Answer, EvaluationError, Expression, ExpressionError, Problem};
pub use hole::{Form, Missing};
pub use ids::{RequestId, TraceContext};
pub use json_template::JsonTemplate;
pub use key_by::{KEY_WORDS, KeyBy, UnknownKey};
pub use key_part::{KeyPart, cookies};
pub use template::{Template, TemplateError, TemplateProblem, Variables, View};

pub(crate) use ids::{draw, draw_span};
pub(crate) use template::{host, host_header};

/// Byte ranges of the path that the route's parameters captured, in the order of the template.
pub type Captures = SmallVec<[(u32, u32); 4]>;

/// How the client speaks to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// What is known of one request.
#[derive(Debug)]
pub struct Facts {
    /// The client: the connection's peer, or what trusted hops say about who is behind them.
    pub client: IpAddr,
    pub scheme: Scheme,
    pub request_id: RequestId,
    pub trace: TraceContext,
    pub captures: Captures,
    /// Whether it is a preflight of CORS that a policy answers, and no request for the route's action.
    pub is_preflight: bool,
    /// The certificate that the client has proven to be its own in the TLS handshake with the gateway.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The whole body, where an authenticator had to see it.
    pub body: Option<Bytes>,
    /// Who was proven to call; `None` is an anonymous caller.
    pub identity: Option<Arc<Identity>>,
    /// How much it matters.
    pub criticality: Criticality,
    /// What it has taken of limits.
    pub taken: Taken,
}

impl Facts {
    /// The facts of a request of which nothing is known yet but where it comes from.
    pub fn new(client: IpAddr, scheme: Scheme) -> Facts {
        Facts {
            client,
            scheme,
            request_id: RequestId::default(),
            trace: TraceContext::default(),
            captures: Captures::new(),
            is_preflight: false,
            certificate: None,
            body: None,
            identity: None,
            criticality: Criticality::default(),
            taken: Taken::default(),
        }
    }

    /// What is known of a request that is made in the course of this one: all of it, but for what this one has taken of limits
    /// and for its body.
    pub fn again(&self) -> Facts {
        Facts {
            request_id: self.request_id.clone(),
            trace: self.trace,
            captures: self.captures.clone(),
            certificate: self.certificate.clone(),
            identity: self.identity.clone(),
            criticality: self.criticality,
            ..Facts::new(self.client, self.scheme)
        }
    }
}
