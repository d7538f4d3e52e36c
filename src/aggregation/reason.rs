//! Why a part has no answer.

use http::StatusCode;

use super::Plan;
use crate::facts::Missing;
use crate::response::Code;

/// Why a part has no answer, or none that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The engine could not get one.
    Failure(Code),
    /// It took longer than the part may.
    Timeout,
    /// The time of the whole was over.
    Budget,
    /// A status that is no answer.
    Status(StatusCode),
    NotJson,
    /// It is taken for text, and is none.
    NotText,
    /// It has a content encoding.
    Encoded,
    TooDeep,
    /// The body is larger than that of a part may be, or does not fit into the answer.
    TooLarge,
    /// The body has not come to its end.
    CutOff,
    /// It has other types than what is to be made of it, or by its filter there is nothing.
    Shape,
    /// It needs another part, which has failed.
    Needs(usize),
    /// Something that its request names is absent.
    Missing,
    /// Something that its request names is not fit for where it stands there.
    Unfit,
    /// Whether it is wanted cannot be told.
    Condition,
    /// It has an answer, an old one: the upstream has failed, and the cache had that.
    Stale,
}

impl Reason {
    /// For clients and logs: `timeout`, `status_503`, `needs_profile`, a slug of the error index. It says nothing of
    /// where the upstream is or what it has said.
    pub fn slug(self, plan: &Plan) -> String {
        match self {
            Reason::Status(status) => format!("status_{}", status.as_u16()),
            Reason::Needs(part) => {
                let name = plan.parts().get(part).map(|part| part.name());
                format!("needs_{}", name.unwrap_or_default())
            }
            reason => reason.label().to_owned(),
        }
    }

    /// For labels of metrics: as [`slug`](Reason::slug), of few words. Statuses are told by their class (`status_5xx`), and
    /// that it needs another by `needs`.
    pub fn label(self) -> &'static str {
        match self {
            Reason::Failure(code) => code.slug(),
            Reason::Status(status) => match status.as_u16() / 100 {
                1 => "status_1xx",
                2 => "status_2xx",
                3 => "status_3xx",
                4 => "status_4xx",
                5 => "status_5xx",
                _ => "status_other",
            },
            Reason::Needs(_) => "needs",
            Reason::Timeout => "timeout",
            Reason::Budget => "budget",
            Reason::NotJson => "not_json",
            Reason::NotText => "not_text",
            Reason::Encoded => "encoded",
            Reason::TooDeep => "too_deep",
            Reason::TooLarge => "too_large",
            Reason::CutOff => "cut_off",
            Reason::Shape => "shape",
            Reason::Missing => "missing_value",
            Reason::Unfit => "unfit_value",
            Reason::Condition => "condition",
            Reason::Stale => "stale",
        }
    }

    /// Whether nobody has answered in time. Of a part that needs another, the other's reason says so.
    pub fn is_timeout(self) -> bool {
        match self {
            Reason::Timeout | Reason::Budget => true,
            Reason::Failure(code) => code.status() == StatusCode::GATEWAY_TIMEOUT,
            _ => false,
        }
    }
}

impl From<Missing> for Reason {
    fn from(missing: Missing) -> Reason {
        match missing {
            Missing::Unsent | Missing::Absent => Reason::Missing,
            Missing::NoText => Reason::Unfit,
        }
    }
}
