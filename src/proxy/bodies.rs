//! The bodies of one exchange on their way through the hooks of its policies.

use std::time::Duration;

use bytes::Bytes;

use crate::policies::{RequestBody, ResponseBody, Seen};
use crate::response::Code;

/// As much of a reply's body as goes through the hooks before other requests have their turn.
const REPLY_PART: usize = 64 * 1024;

/// What the policies remember of the two bodies. Both are empty, and cost nothing, where none has a hook.
#[derive(Default)]
pub(super) struct Bodies {
    pub(super) request: Vec<Box<dyn RequestBody>>,
    pub(super) response: Vec<Box<dyn ResponseBody>>,
    /// Whether the response was given a coding, and it is not known yet that there is anything to encode.
    pub(super) may_be_bodiless: bool,
}

/// A part of a body that does not go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) code: Code,
    /// When it is worth to come again, where that is known.
    pub(super) again: Option<Duration>,
}

impl Bodies {
    /// Shows the policies a part of the request's body. How long it has to wait.
    pub(super) async fn see_request(
        &mut self,
        part: Option<&Bytes>,
        ends: bool,
    ) -> Result<Duration, Refused> {
        let mut pause = Duration::ZERO;
        for body in &mut self.request {
            let mut part = part.cloned().unwrap_or_default();
            loop {
                match body.see(&part, ends) {
                    Ok(Seen::All) => break,
                    Ok(Seen::Part) => {}
                    Err(code) => return Err(Refused::of(code, body.pause())),
                }
                part = Bytes::new();
                tokio::task::yield_now().await;
            }
            pause = pause.max(body.pause());
        }
        Ok(pause)
    }

    /// Takes a part of the response's body through the policies and leaves what goes on to the client. How long that has
    /// to wait.
    pub(super) fn pass_response(
        &mut self,
        part: &mut Option<Bytes>,
        ends: bool,
    ) -> Result<Duration, Refused> {
        let mut pause = Duration::ZERO;
        for body in &mut self.response {
            let passed = body.pass(part.take(), ends);
            *part = passed.map_err(|code| Refused::of(code, body.pause()))?;
            pause = pause.max(body.pause());
        }
        Ok(pause)
    }
}

impl Refused {
    fn of(code: Code, again: Duration) -> Refused {
        Refused {
            code,
            again: (!again.is_zero()).then_some(again),
        }
    }
}

/// Takes the whole body of a reply through `bodies`.
pub(super) async fn pass_reply(
    bodies: Vec<Box<dyn ResponseBody>>,
    mut body: Bytes,
) -> Result<Bytes, Code> {
    let mut bodies = Bodies {
        response: bodies,
        ..Bodies::default()
    };
    let mut passed = Vec::new();
    loop {
        let mut part = Some(body.split_to(body.len().min(REPLY_PART)));
        let whole = bodies.pass_response(&mut part, body.is_empty());
        whole.map_err(|refused| refused.code)?;
        passed.extend_from_slice(&part.unwrap_or_default());
        if body.is_empty() {
            return Ok(passed.into());
        }
        tokio::task::yield_now().await;
    }
}
