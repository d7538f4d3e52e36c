//! Any header to what reads it, and each reading against another one that is slow and simple.

#[cfg(test)]
mod conditions;
#[cfg(test)]
mod control;
#[cfg(test)]
mod ranges;
#[cfg(test)]
mod variants;

use http::{HeaderMap, HeaderName, HeaderValue};

/// A field a line; what is none is passed over.
fn headers(lines: &[u8]) -> HeaderMap {
    let fields = lines.split(|&byte| byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let name = HeaderName::from_bytes(line[..colon].trim_ascii()).ok()?;
        Some((name, value(line[colon + 1..].trim_ascii())?))
    });
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name, value);
    }
    headers
}

fn value(bytes: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_bytes(bytes).ok()
}

/// The lines of a field.
fn lines<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h [u8]> {
    let values = headers.get_all(name).iter();
    values.map(HeaderValue::as_bytes).collect()
}

/// What stands before an empty line, and what behind it.
fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    let empty = input.windows(2).position(|pair| pair == b"\n\n");
    empty.map_or((input, &[]), |at| (&input[..at], &input[at + 2..]))
}
