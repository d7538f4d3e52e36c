//! Which requests a response is for, of those that ask for the same (RFC 9111 section 4.1).

use http::header::{ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, HeaderName, VARY};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use super::directives::split;

/// A response that varies by more is taken to vary by anything: nobody asks twice in the same way.
const MOST: usize = 16;

/// What tells the variants of a response apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Vary {
    #[default]
    Nothing,
    /// In order, each once.
    By(Box<[HeaderName]>),
    /// No request is known to be for it.
    Anything,
}

impl Vary {
    /// As the response says. A name that is none could be any.
    pub fn of(headers: &HeaderMap) -> Vary {
        let mut names: SmallVec<[HeaderName; 4]> = SmallVec::new();
        let lines = headers.get_all(VARY).iter().map(HeaderValue::as_bytes);
        for name in lines.flat_map(|line| line.split(|&byte| byte == b',')) {
            let name = name.trim_ascii();
            if name.is_empty() {
                continue;
            }
            match HeaderName::from_bytes(name) {
                Ok(name) if name.as_str() != "*" => names.push(name),
                _ => return Vary::Anything,
            }
        }
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        match names.len() {
            0 => Vary::Nothing,
            1..=MOST => Vary::By(names.into_vec().into()),
            _ => Vary::Anything,
        }
    }

    pub fn names(&self) -> &[HeaderName] {
        match self {
            Vary::By(names) => names,
            _ => &[],
        }
    }

    /// Bytes on the heap, about.
    pub fn weight(&self) -> usize {
        let bytes = |name: &HeaderName| size_of::<HeaderName>() + name.as_str().len();
        self.names().iter().map(bytes).sum()
    }
}

/// Gives what a request says in a header that variants are told apart by, in a form in which what means the same is the same.
/// `None` where it says nothing, which is another variant than one that says something empty.
pub fn said(headers: &HeaderMap, name: &HeaderName) -> Option<SmallVec<[u8; 64]>> {
    let mut said = SmallVec::new();
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    let is_list = [ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE].contains(name);
    for (place, line) in lines.enumerate() {
        if place > 0 {
            said.push(b',');
        }
        match is_list {
            // In these case means nothing (RFC 9110 section 12.5).
            true => trim_all(line.as_bytes(), &mut said),
            false => trim(line.as_bytes(), &mut said),
        }
    }
    if *name == ACCEPT_ENCODING {
        return Some(codings(&said));
    }
    Some(said)
}

/// White space about commas means nothing (RFC 9111 section 4.1), where they are in no quotes.
fn trim(mut line: &[u8], said: &mut SmallVec<[u8; 64]>) {
    loop {
        let (element, rest) = split(line);
        said.extend_from_slice(element.trim_ascii());
        if element.len() == line.len() {
            return;
        }
        said.push(b',');
        line = rest;
    }
}

/// In lower case, without white space about commas and semicolons. That within a word stays: an upstream does not take `d e`
/// for German, and what it says to that must not come to those who want German.
fn trim_all(line: &[u8], said: &mut SmallVec<[u8; 64]>) {
    for part in line.split_inclusive(|byte| b",;".contains(byte)) {
        let (word, end) = match part.split_last() {
            Some((end, word)) if b",;".contains(end) => (word, Some(*end)),
            _ => (part, None),
        };
        said.extend(word.trim_ascii().iter().map(u8::to_ascii_lowercase));
        said.extend(end);
    }
}

/// The codings that are wanted, in order of their names: in which order they are preferred is for whoever has a choice, and
/// there are few who use it. Those that are refused stay, and what cannot be read stays as it is.
fn codings(said: &[u8]) -> SmallVec<[u8; 64]> {
    let mut codings: SmallVec<[(&[u8], bool); 8]> = said
        .split(|&byte| byte == b',')
        .filter(|element| !element.is_empty())
        .map(|element| weighed(element).unwrap_or((element, false)))
        .collect();
    codings.sort_unstable();
    codings.dedup();
    let mut normal = SmallVec::new();
    for (name, is_refused) in codings {
        normal.extend_from_slice(name);
        if is_refused {
            normal.extend_from_slice(b";q=0");
        }
        normal.push(b',');
    }
    normal
}

/// A coding with its weight, and whether that is zero. `None` where it has none that is one (RFC 9110 section 12.4.2).
fn weighed(element: &[u8]) -> Option<(&[u8], bool)> {
    let semicolon = element.iter().position(|&byte| byte == b';');
    let (name, weight) = element.split_at_checked(semicolon.filter(|&at| at > 0)?)?;
    let (is_below, parts) = match weight.strip_prefix(b";q=")? {
        [b'0', parts @ ..] => (true, parts),
        [b'1', parts @ ..] => (false, parts),
        _ => return None,
    };
    let digits = match parts {
        [] => parts,
        [b'.', digits @ ..] => digits,
        _ => return None,
    };
    let is_nought = digits.iter().all(|&digit| digit == b'0');
    let are_digits = is_nought || is_below && digits.iter().all(u8::is_ascii_digit);
    (digits.len() <= 3 && are_digits).then_some((name, is_below && is_nought))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_response_varies_by() {
        let check = |lines: &[&str], expected: Option<&[&str]>| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(VARY, HeaderValue::from_str(line).unwrap());
            }
            let vary = Vary::of(&headers);
            match expected {
                None => assert_eq!(vary, Vary::Anything, "{lines:?}"),
                Some(names) => assert_eq!(vary.names(), names, "{lines:?}"),
            }
        };
        check(&[], Some(&[]));
        check(&["", " , "], Some(&[]));
        check(&["Foo, bar", "FOO"], Some(&["bar", "foo"]));
        check(&["*"], None);
        check(&["foo, *"], None);
        check(&["foo", " * "], None);
        check(&["foo bar"], None);
        check(&["(x)"], None);
        let many = (0..17)
            .map(|n| format!("x-{n}"))
            .collect::<Vec<_>>()
            .join(",");
        check(&[&many], None);
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        let said = |name: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            let name: HeaderName = name.parse().unwrap();
            for line in lines {
                headers.append(&name, HeaderValue::from_str(line).unwrap());
            }
            super::said(&headers, &name)
        };
        let same = |name: &str, one: &[&str], other: &[&str], expected: bool| {
            assert_eq!(
                said(name, one) == said(name, other),
                expected,
                "{name} {one:?} {other:?}"
            );
        };
        same("foo", &["1, 2"], &["1,2"], true);
        same("foo", &["1,2"], &["1", "2"], true);
        same("foo", &["1,2"], &["2,1"], false);
        same("foo", &["a"], &["A"], false);
        same("foo", &["\"a, b\""], &["\"a,b\""], false);
        same("foo", &["a,"], &["a"], false);
        same("foo", &["a b"], &["a  b"], false);
        same("foo", &[], &[""], false);
        same(
            "accept-language",
            &["en, de;q=0.5"],
            &["EN,de; q=0.5"],
            true,
        );
        same("accept-language", &["en,de"], &["de,en"], false);
        same("accept-encoding", &["gzip, br"], &["br;q=0.9,GZIP"], true);
        same("accept-encoding", &["gzip, br;q=0"], &["gzip"], false);
        same("accept-encoding", &["gzip;q=0.0"], &["gzip"], false);
        same("accept-encoding", &["identity"], &[], false);
        // What an upstream may read in another way is not the same.
        same("accept-language", &["d e"], &["de"], false);
        same("accept-encoding", &["gz ip"], &["gzip"], false);
        same("accept-encoding", &["gzip;q="], &["gzip;q=0"], false);
        same("accept-encoding", &["gzip;q=x"], &["gzip"], false);
        same("accept-encoding", &["gzip;x;q=0"], &["gzip;q=0"], false);
    }
}
