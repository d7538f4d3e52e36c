//! Sets of request methods.

use std::fmt;

use http::Method;

/// A set of methods: a bit for each standard one, a short list for the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MethodSet {
    standard: u16,
    /// Sorted by name, so that equal sets are equal values.
    extensions: Vec<Method>,
}

/// In the order in which `Allow` lists them; the position is the bit.
static STANDARD: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::CONNECT,
    Method::TRACE,
];

/// Zero for an extension method.
fn bit(method: &Method) -> u16 {
    match *method {
        Method::GET => 1,
        Method::HEAD => 1 << 1,
        Method::POST => 1 << 2,
        Method::PUT => 1 << 3,
        Method::PATCH => 1 << 4,
        Method::DELETE => 1 << 5,
        Method::OPTIONS => 1 << 6,
        Method::CONNECT => 1 << 7,
        Method::TRACE => 1 << 8,
        _ => 0,
    }
}

impl MethodSet {
    /// The set of no method.
    pub const EMPTY: Self = Self {
        standard: 0,
        extensions: Vec::new(),
    };

    /// Adds a method.
    pub fn insert(&mut self, method: Method) {
        match bit(&method) {
            0 => {
                let found = self
                    .extensions
                    .binary_search_by(|other| other.as_str().cmp(method.as_str()));
                if let Err(at) = found {
                    self.extensions.insert(at, method);
                }
            }
            bit => self.standard |= bit,
        }
    }

    /// Adds all methods of `other`.
    pub fn insert_all(&mut self, other: &Self) {
        self.standard |= other.standard;
        for method in &other.extensions {
            self.insert(method.clone());
        }
    }

    /// Adds `HEAD` if `GET` is there, because a route that lists `GET` answers both.
    pub fn insert_implied(&mut self) {
        if self.contains(&Method::GET) {
            self.insert(Method::HEAD);
        }
    }

    /// Whether the method itself is in the set; that `GET` implies `HEAD` is the matcher's rule.
    #[must_use]
    pub fn contains(&self, method: &Method) -> bool {
        match bit(method) {
            0 => self.extensions.contains(method),
            bit => self.standard & bit != 0,
        }
    }

    /// Whether every method of `other` is in this set.
    #[must_use]
    pub fn is_superset(&self, other: &Self) -> bool {
        other.standard & !self.standard == 0
            && other
                .extensions
                .iter()
                .all(|method| self.extensions.contains(method))
    }

    /// Whether no method is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.standard == 0 && self.extensions.is_empty()
    }

    /// The standard methods in the order of RFC 9110, then the others by name.
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        STANDARD
            .iter()
            .filter(|method| self.standard & bit(method) != 0)
            .chain(&self.extensions)
    }

    /// The value of an `Allow` header (RFC 9110, section 10.2.1), such as `GET, HEAD, POST`.
    #[must_use]
    pub fn allow(&self) -> String {
        self.to_string()
    }
}

impl FromIterator<Method> for MethodSet {
    fn from_iter<I: IntoIterator<Item = Method>>(methods: I) -> Self {
        let mut set = Self::EMPTY;
        for method in methods {
            set.insert(method);
        }
        set
    }
}

impl fmt::Display for MethodSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, method) in self.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            f.write_str(method.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &str) -> MethodSet {
        names
            .split_whitespace()
            .map(|name| Method::from_bytes(name.as_bytes()).expect("a token"))
            .collect()
    }

    #[test]
    fn bits_are_positions() {
        for (position, method) in STANDARD.iter().enumerate() {
            assert_eq!(bit(method), 1 << position, "{method}");
        }
    }

    #[test]
    fn allow_lists_in_a_fixed_order() {
        let check = |input: &str, expected: &str| assert_eq!(set(input).allow(), expected);
        check("", "");
        check("POST GET", "GET, POST");
        check(
            "PURGE TRACE HEAD BAN GET PURGE",
            "GET, HEAD, TRACE, BAN, PURGE",
        );
    }

    #[test]
    fn supersets() {
        let check = |a: &str, b: &str, expected: bool| {
            assert_eq!(set(a).is_superset(&set(b)), expected, "{a} / {b}");
        };
        check("GET", "", true);
        check("GET POST", "POST", true);
        check("GET", "GET POST", false);
        check("GET PURGE", "PURGE", true);
        check("GET", "PURGE", false);
        check("GET", "HEAD", false);
    }

    #[test]
    fn get_implies_head() {
        let check = |input: &str, expected: &str| {
            let mut set = set(input);
            set.insert_implied();
            assert_eq!(set.allow(), expected);
        };
        check("GET PUT", "GET, HEAD, PUT");
        check("PUT", "PUT");
    }
}
