//! Lists in pages: `?page=2&per_page=10`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::trouble::Trouble;

/// What a caller may say about the page. Both are counted from one.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Paging {
    page: Option<u32>,
    per_page: Option<u32>,
}

#[derive(Serialize)]
struct Page<T> {
    items: Vec<T>,
    page: u32,
    per_page: u32,
    pages: u32,
    total: u32,
}

impl Paging {
    const PER_PAGE: u32 = 20;
    const MOST_PER_PAGE: u32 = 100;

    pub(super) fn new(page: Option<u32>, per_page: Option<u32>) -> Self {
        Self { page, per_page }
    }

    /// The page of `all` that was asked for. A page past the end is empty, not an error.
    pub(super) fn page<T: Serialize>(self, all: Vec<T>) -> Response {
        let page = self.page.unwrap_or(1);
        let per_page = self.per_page.unwrap_or(Self::PER_PAGE);
        if page == 0 || !(1..=Self::MOST_PER_PAGE).contains(&per_page) {
            let message = format!(
                "page starts at 1 and per_page lies between 1 and {}",
                Self::MOST_PER_PAGE
            );
            return Trouble::new(StatusCode::BAD_REQUEST, "bad_page", message).into_response();
        }
        let total = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let before = usize::try_from((page - 1).saturating_mul(per_page)).unwrap_or(usize::MAX);
        let items = all
            .into_iter()
            .skip(before)
            .take(per_page as usize)
            .collect();
        Json(Page {
            items,
            page,
            per_page,
            pages: total.div_ceil(per_page),
            total,
        })
        .into_response()
    }
}
