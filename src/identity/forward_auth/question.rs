//! What the service is asked, and what tells one question from another.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Request};

use super::{Asked, KeyPart, Method, Provider};
use crate::identity::answers::Question;
use crate::identity::hmac::Component;

/// As Traefik names them, and others after it.
const METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl Provider {
    /// The request that the service gets: of the client's headers only those that are listed, and what the gateway
    /// itself knows of the request.
    pub(super) fn question(&self, asked: &Asked<'_>) -> Request<Bytes> {
        let message = &asked.message;
        let mut request = Request::new(asked.body.clone().unwrap_or_default());
        if self.config.method == Method::Same {
            *request.method_mut() = message.method.clone();
        }
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        let of_body = asked.body.is_some().then_some(CONTENT_TYPE);
        for name in self.request_headers.iter().chain(&of_body) {
            for value in message.headers.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let mut target = message.path.to_owned();
        if let Some(query) = message.query {
            target.push('?');
            target.push_str(query);
        }
        for (name, value) in [
            (METHOD, message.method.as_str()),
            (URI, &target),
            (HOST, message.authority),
            (PROTO, message.scheme),
            (FOR, &asked.client.to_string()),
            (REQUEST_ID, asked.request_id),
        ] {
            // They were in a request before, or are ASCII.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        request
    }

    /// What such requests have in common; `None` where answers are not remembered. A body tells them apart where the
    /// service gets it, and so does a value that cannot be had from one that is empty.
    pub(super) fn key(&self, asked: &Asked<'_>) -> Option<Question> {
        let by = &self.config.remember.as_ref()?.by.value;
        let mut parts: Vec<Vec<u8>> = Vec::with_capacity(by.len() + 1);
        for part in by {
            match part {
                KeyPart::ClientIp => parts.push(asked.client.to_string().into_bytes()),
                KeyPart::Of(Component::Field(name, _)) => {
                    let values = asked.message.headers.get_all(name);
                    let count = values.iter().count() as u64;
                    parts.push(count.to_be_bytes().into());
                    parts.extend(values.iter().map(|value| value.as_bytes().to_vec()));
                }
                KeyPart::Of(component) => {
                    let mut value = String::new();
                    component.write(&mut value, &asked.message).ok()?;
                    parts.push(value.into_bytes());
                }
            }
        }
        parts.extend(asked.body.as_ref().map(|body| body.to_vec()));
        Some(Question::new(parts.iter().map(Vec::as_slice)))
    }
}
