//! Requests and responses in few words.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response};

use super::body::{Body, empty, full};

/// A request that a [`Client`](super::Client) sends.
pub struct Ask {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) host: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Body,
}

pub fn request(method: &str, target: &str) -> Ask {
    Ask {
        method: method.parse().expect("a method"),
        target: target.to_owned(),
        host: "shop.test".to_owned(),
        headers: Vec::new(),
        body: empty(),
    }
}

pub fn get(target: &str) -> Ask {
    request("GET", target)
}

pub fn head(target: &str) -> Ask {
    request("HEAD", target)
}

pub fn delete(target: &str) -> Ask {
    request("DELETE", target)
}

pub fn post(target: &str, body: impl Into<Bytes>) -> Ask {
    request("POST", target).body(full(body))
}

impl Ask {
    pub fn header(mut self, name: &str, value: &str) -> Ask {
        let name = name.parse().expect("a header name");
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.push((name, value));
        self
    }

    pub fn host(mut self, host: &str) -> Ask {
        host.clone_into(&mut self.host);
        self
    }

    pub fn body(mut self, body: Body) -> Ask {
        self.body = body;
        self
    }
}

/// 200 with this text.
pub fn text(body: impl Into<Bytes>) -> Response<Body> {
    Response::new(full(body))
}

/// No body.
pub fn status(status: u16) -> Response<Body> {
    reply(status, &[], empty())
}

pub fn reply(status: u16, headers: &[(&str, &str)], body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status.try_into().expect("a status");
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a header name");
        let value = HeaderValue::from_str(value).expect("a header value");
        response.headers_mut().append(name, value);
    }
    response
}
