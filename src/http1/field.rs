//! Lines and fields, as requests and responses have them alike (RFC 9112 sections 2.2 and 5).

use std::ops::Range;

use super::Refusal;
use super::grammar::{find_control, token, trim};

/// Finds the lines of a head, as it comes.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    /// The beginning of the line that is not complete yet.
    line: usize,
    /// Up to here that line has been searched for its end.
    searched: usize,
}

impl Lines {
    /// Where the first line begins that is not complete yet.
    pub(super) fn start(&self) -> usize {
        self.line
    }

    /// The next complete line, without its CR LF; `None` where that has not come. There is no control character in
    /// a line but tabs, where it `may_have_tabs`.
    pub(super) fn next(
        &mut self,
        bytes: &[u8],
        may_have_tabs: bool,
    ) -> Result<Option<Range<usize>>, Refusal> {
        while let Some(control) = find_control(bytes, self.searched) {
            match &bytes[control..] {
                [b'\r', b'\n', ..] => {
                    let line = self.line..control;
                    (self.line, self.searched) = (control + 2, control + 2);
                    return Ok(Some(line));
                }
                [b'\r'] => {
                    self.searched = control;
                    return Ok(None);
                }
                [b'\t', ..] if may_have_tabs => self.searched = control + 1,
                [b'\n', ..] => return Err(Refusal::malformed("a line that ends without CR")),
                [b'\r', ..] => return Err(Refusal::malformed("CR without LF")),
                _ => return Err(Refusal::malformed("a control character in the head")),
            }
        }
        self.searched = bytes.len();
        Ok(None)
    }
}

/// The name and the value of a field line.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let name = token(line).len();
    if name == 0 || line.get(name) != Some(&b':') {
        return Err(match line.first() {
            Some(b' ' | b'\t') => Refusal::malformed("a field on two lines"),
            _ => Refusal::malformed("a field without a proper name and a colon"),
        });
    }
    Ok((&line[..name], trim(&line[name + 1..])))
}

/// `1*DIGIT` and nothing else (RFC 9110 section 8.6): no sign, no list, no empty value.
pub(super) fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    let more = |length: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    };
    let length = value.iter().try_fold(0, more);
    length
        .filter(|_| !value.is_empty())
        .ok_or(Refusal::malformed("a Content-Length that is no number"))
}
