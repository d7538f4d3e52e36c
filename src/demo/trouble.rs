//! How the shop says no: its errors, in its own JSON form and not the gateway's.

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An answer that is an error: `{"error": …, "message": …}`.
#[derive(Debug)]
pub(super) struct Trouble {
    status: StatusCode,
    error: &'static str,
    message: String,
}

/// A query string as a handler takes it, so that `?` turns one that does not parse into the shop's own error.
pub(super) type MaybeQuery<T> = Result<Query<T>, QueryRejection>;

impl Trouble {
    pub(super) fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            error,
            message: message.into(),
        }
    }

    /// There is no `what` of that id. The id is what the caller wrote, so it is not repeated.
    pub(super) fn unknown(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no such {what}; try an id from 1 to 100"),
        )
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        (
            self.status,
            Json(json!({ "error": self.error, "message": self.message })),
        )
            .into_response()
    }
}

impl From<JsonRejection> for Trouble {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "bad_body", rejection.body_text())
    }
}

impl From<QueryRejection> for Trouble {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), "bad_query", rejection.body_text())
    }
}
