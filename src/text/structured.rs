//! Structured field values (RFC 9651): dictionaries, read strictly and written in their one canonical form.
//!
//! A signature covers the canonical form of its parameters and of what `sf` and `key` pick, so whoever reads these
//! fields in another way than the signer wrote them could be made to take one request for another. Therefore keys
//! that stand twice, which the RFC lets win the last time, are refused where that is asked for ([`Twice`]), and so is
//! base64 that is not what an encoder writes.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Members of a dictionary, items of an inner list and parameters of either, at most. No honest signer comes near
/// it, and what follows costs time for each.
const MOST: usize = 64;

/// What is wrong with a field, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

pub type Dictionary<'a> = Vec<(&'a str, Member<'a>)>;

/// The value of a key of a dictionary.
#[derive(Clone, Debug, PartialEq)]
pub enum Member<'a> {
    Item(Item<'a>),
    List(InnerList<'a>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct InnerList<'a> {
    pub items: Vec<Item<'a>>,
    pub parameters: Parameters<'a>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Item<'a> {
    pub value: Bare<'a>,
    pub parameters: Parameters<'a>,
}

/// In the order in which they stand, each key once.
pub type Parameters<'a> = Vec<(&'a str, Bare<'a>)>;

/// A value without parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Bare<'a> {
    Integer(i64),
    /// In thousandths.
    Decimal(i64),
    String(Cow<'a, str>),
    Token(&'a str),
    Bytes(Vec<u8>),
    Boolean(bool),
    /// Seconds since 1970.
    Date(i64),
    /// Text that may have any character.
    Display(String),
}

/// What is done about a key that stands twice, in a dictionary or among parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twice {
    /// For what is signed: nobody takes it for something else than the signer did.
    Refused,
    /// As the RFC has it.
    LastCounts,
}

/// Reads a dictionary (section 4.2.2). Several header lines are joined by commas before.
pub fn dictionary(text: &str, twice: Twice) -> Result<Dictionary<'_>, Malformed> {
    let mut reader = Reader(text.trim_matches(' '), twice);
    let mut members = Dictionary::new();
    while !reader.0.is_empty() {
        let key = reader.key()?;
        let member = match reader.eat('=') {
            true => reader.member()?,
            false => Member::Item(Item {
                value: Bare::Boolean(true),
                parameters: reader.parameters()?,
            }),
        };
        if twice == Twice::LastCounts {
            members.retain(|(known, _)| *known != key);
        }
        push(&mut members, key, member)?;
        reader.skip(&[' ', '\t']);
        if reader.0.is_empty() {
            break;
        }
        reader.expect(',', "members of a dictionary are divided by commas")?;
        reader.skip(&[' ', '\t']);
        if reader.0.is_empty() {
            return Err(Malformed("a dictionary ends with a comma"));
        }
    }
    Ok(members)
}

fn push<'a>(
    members: &mut Dictionary<'a>,
    key: &'a str,
    member: Member<'a>,
) -> Result<(), Malformed> {
    if members.iter().any(|(known, _)| *known == key) {
        return Err(Malformed("a dictionary has a key twice"));
    }
    bounded(members.len())?;
    members.push((key, member));
    Ok(())
}

fn bounded(length: usize) -> Result<(), Malformed> {
    match length < MOST {
        true => Ok(()),
        false => Err(Malformed("more than 64 of a kind")),
    }
}

/// What is left to read, and how.
struct Reader<'a>(&'a str, Twice);

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.0.chars().next()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let rest = self.0.strip_prefix(wanted);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, wanted: char, otherwise: &'static str) -> Result<(), Malformed> {
        self.eat(wanted).then_some(()).ok_or(Malformed(otherwise))
    }

    fn skip(&mut self, what: &[char]) {
        self.0 = self.0.trim_start_matches(what);
    }

    /// As much of the beginning as fits, which may be nothing.
    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|one| !fits(one)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn key(&mut self) -> Result<&'a str, Malformed> {
        let begins_well = |one: char| one.is_ascii_lowercase() || one == '*';
        if !self.peek().is_some_and(begins_well) {
            return Err(Malformed("a key begins with a lower-case letter or `*`"));
        }
        Ok(self.take_while(|one| {
            one.is_ascii_lowercase() || one.is_ascii_digit() || matches!(one, '_' | '-' | '.' | '*')
        }))
    }

    fn member(&mut self) -> Result<Member<'a>, Malformed> {
        match self.eat('(') {
            true => self.inner_list().map(Member::List),
            false => self.item().map(Member::Item),
        }
    }

    /// Behind its opening parenthesis (section 4.2.1.2).
    fn inner_list(&mut self) -> Result<InnerList<'a>, Malformed> {
        let mut items = Vec::new();
        loop {
            self.skip(&[' ']);
            if self.eat(')') {
                let parameters = self.parameters()?;
                return Ok(InnerList { items, parameters });
            }
            bounded(items.len())?;
            items.push(self.item()?);
            if !matches!(self.peek(), Some(' ' | ')')) {
                return Err(Malformed("items of an inner list are divided by spaces"));
            }
        }
    }

    fn item(&mut self) -> Result<Item<'a>, Malformed> {
        let value = self.bare()?;
        let parameters = self.parameters()?;
        Ok(Item { value, parameters })
    }

    fn parameters(&mut self) -> Result<Parameters<'a>, Malformed> {
        let mut parameters = Parameters::new();
        while self.eat(';') {
            self.skip(&[' ']);
            let key = self.key()?;
            let value = match self.eat('=') {
                true => self.bare()?,
                false => Bare::Boolean(true),
            };
            match self.1 {
                Twice::LastCounts => parameters.retain(|(known, _)| *known != key),
                Twice::Refused if parameters.iter().any(|(known, _)| *known == key) => {
                    return Err(Malformed("a parameter stands twice"));
                }
                Twice::Refused => {}
            }
            bounded(parameters.len())?;
            parameters.push((key, value));
        }
        Ok(parameters)
    }

    fn bare(&mut self) -> Result<Bare<'a>, Malformed> {
        match self.peek() {
            Some('-' | '0'..='9') => self.number(),
            Some('"') => self.string(),
            Some('*' | 'a'..='z' | 'A'..='Z') => Ok(Bare::Token(self.take_while(is_of_token))),
            Some(':') => self.bytes(),
            Some('?') => self.boolean(),
            Some('@') => self.date(),
            Some('%') => self.display(),
            _ => Err(Malformed("a value is missing")),
        }
    }

    fn number(&mut self) -> Result<Bare<'a>, Malformed> {
        let wrong = Malformed("a number is not what one may be");
        let sign = if self.eat('-') { -1 } else { 1 };
        let whole = self.take_while(|one| one.is_ascii_digit());
        let number = |digits: &str| digits.parse::<i64>().map_err(|_| wrong);
        if !self.eat('.') {
            return match whole.len() {
                1..=15 => Ok(Bare::Integer(sign * number(whole)?)),
                _ => Err(wrong),
            };
        }
        let part = self.take_while(|one| one.is_ascii_digit());
        if !matches!((whole.len(), part.len()), (1..=12, 1..=3)) {
            return Err(wrong);
        }
        let thousandths = number(part)? * [100, 10, 1][part.len() - 1];
        Ok(Bare::Decimal(sign * (number(whole)? * 1000 + thousandths)))
    }

    fn string(&mut self) -> Result<Bare<'a>, Malformed> {
        self.expect('"', "a string begins with a quote")?;
        let plain = self.take_while(|one| matches!(one, ' '..='~') && !matches!(one, '"' | '\\'));
        if self.eat('"') {
            return Ok(Bare::String(Cow::Borrowed(plain)));
        }
        let mut text = plain.to_owned();
        loop {
            match self.next() {
                Some('"') => return Ok(Bare::String(Cow::Owned(text))),
                Some('\\') => match self.next() {
                    Some(escaped @ ('"' | '\\')) => text.push(escaped),
                    _ => return Err(Malformed("a string escapes what needs no escape")),
                },
                Some(one @ ' '..='~') => text.push(one),
                _ => return Err(Malformed("a string does not end, or is not ASCII")),
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        let mut rest = self.0.chars();
        let next = rest.next();
        self.0 = rest.as_str();
        next
    }

    fn bytes(&mut self) -> Result<Bare<'a>, Malformed> {
        self.expect(':', "bytes begin with a colon")?;
        let text = self.take_while(|one| one != ':');
        self.expect(':', "bytes end with a colon")?;
        let bytes = BASE64.decode(text);
        bytes
            .map(Bare::Bytes)
            .map_err(|_| Malformed("bytes are not base64"))
    }

    fn boolean(&mut self) -> Result<Bare<'a>, Malformed> {
        self.expect('?', "a boolean begins with a question mark")?;
        match self.next() {
            Some('1') => Ok(Bare::Boolean(true)),
            Some('0') => Ok(Bare::Boolean(false)),
            _ => Err(Malformed("a boolean is 0 or 1")),
        }
    }

    fn date(&mut self) -> Result<Bare<'a>, Malformed> {
        self.expect('@', "a date begins with an at sign")?;
        match self.peek() {
            Some('-' | '0'..='9') => match self.number()? {
                Bare::Integer(seconds) => Ok(Bare::Date(seconds)),
                _ => Err(Malformed("a date is a whole number")),
            },
            _ => Err(Malformed("a date is a number")),
        }
    }

    fn display(&mut self) -> Result<Bare<'a>, Malformed> {
        let wrong = Malformed("a display string is not what one may be");
        self.expect('%', wrong.0)?;
        self.expect('"', wrong.0)?;
        let mut bytes = Vec::new();
        loop {
            match self.next().ok_or(wrong)? {
                '"' => {
                    let text = String::from_utf8(bytes);
                    return text.map(Bare::Display).map_err(|_| wrong);
                }
                '%' => {
                    let high = self.next().and_then(lower_hex).ok_or(wrong)?;
                    let low = self.next().and_then(lower_hex).ok_or(wrong)?;
                    bytes.push(high << 4 | low);
                }
                one @ ' '..='~' => bytes.push(one as u8),
                _ => return Err(wrong),
            }
        }
    }
}

/// RFC 9651 section 4.2.10: lower case alone.
fn lower_hex(digit: char) -> Option<u8> {
    let value = digit.to_digit(16).filter(|_| !digit.is_ascii_uppercase())?;
    u8::try_from(value).ok()
}

fn is_of_token(one: char) -> bool {
    one.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(one)
}

/// The canonical form of a dictionary (section 4.1.2).
pub fn write_dictionary(text: &mut String, members: &Dictionary<'_>) {
    for (index, (key, member)) in members.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}{key}");
        match member {
            Member::Item(Item {
                value: Bare::Boolean(true),
                parameters,
            }) => {
                let _ = write_parameters(text, parameters);
            }
            member => {
                let _ = write!(text, "={member}");
            }
        }
    }
}

fn write_parameters(to: &mut impl fmt::Write, parameters: &Parameters<'_>) -> fmt::Result {
    for (key, value) in parameters {
        match value {
            Bare::Boolean(true) => write!(to, ";{key}")?,
            value => write!(to, ";{key}={value}")?,
        }
    }
    Ok(())
}

impl fmt::Display for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::Item(item) => item.fmt(f),
            Member::List(list) => list.fmt(f),
        }
    }
}

impl fmt::Display for InnerList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('(')?;
        for (index, item) in self.items.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{item}")?;
        }
        f.write_char(')')?;
        write_parameters(f, &self.parameters)
    }
}

impl fmt::Display for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)?;
        write_parameters(f, &self.parameters)
    }
}

impl fmt::Display for Bare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bare::Integer(number) => number.fmt(f),
            Bare::Decimal(thousandths) => write_decimal(f, *thousandths),
            Bare::String(text) => write_string(f, text),
            Bare::Token(token) => f.write_str(token),
            Bare::Bytes(bytes) => write!(f, ":{}:", BASE64.encode(bytes)),
            Bare::Boolean(flag) => write!(f, "?{}", u8::from(*flag)),
            Bare::Date(seconds) => write!(f, "@{seconds}"),
            Bare::Display(text) => write_display(f, text),
        }
    }
}

fn write_decimal(f: &mut fmt::Formatter<'_>, thousandths: i64) -> fmt::Result {
    let sign = if thousandths < 0 { "-" } else { "" };
    let (whole, part) = (thousandths.abs() / 1000, thousandths.abs() % 1000);
    match (part / 100, part / 10 % 10, part % 10) {
        (a, 0, 0) => write!(f, "{sign}{whole}.{a}"),
        (a, b, 0) => write!(f, "{sign}{whole}.{a}{b}"),
        (a, b, c) => write!(f, "{sign}{whole}.{a}{b}{c}"),
    }
}

fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for one in text.chars() {
        if matches!(one, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(one)?;
    }
    f.write_char('"')
}

fn write_display(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("%\"")?;
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if !matches!(byte, b'%' | b'"') => f.write_char(char::from(byte))?,
            _ => write!(f, "%{byte:02x}")?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests;
