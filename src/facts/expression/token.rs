//! The words of an expression.

use std::ops::Range;

use super::{ExpressionError, Problem};

/// A word, as the grammar of CEL has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'t> {
    Name(&'t str),
    /// Without its sign, which is a word of its own.
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    Sign(&'static str),
    End,
}

impl Token<'_> {
    pub(super) fn is_sign(&self, sign: &str) -> bool {
        matches!(self, Token::Sign(own) if *own == sign)
    }
}

/// Longer ones first, so that `<=` is not `<`.
const SIGNS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", "(", ")",
    "[", "]", "{", "}", ".", ",", "=",
];

/// Takes an expression apart.
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Lexer<'t> {
        Lexer { text, at: 0 }
    }

    /// The next word and its place.
    pub(super) fn next(&mut self) -> Result<(Token<'t>, Range<usize>), ExpressionError> {
        self.skip_space();
        let start = self.at;
        let rest = self.rest();
        let token = match rest.as_bytes() {
            [] => Token::End,
            [b'0'..=b'9', ..] | [b'.', b'0'..=b'9', ..] => self.number()?,
            [b'"' | b'\'', ..] => self.text(false)?,
            [b'r' | b'R', b'"' | b'\'', ..] => {
                self.at += 1;
                self.text(true)?
            }
            [b'a'..=b'z' | b'A'..=b'Z' | b'_', ..] => Token::Name(self.take(is_name_byte)),
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => {
                    self.at += sign.len();
                    Token::Sign(sign)
                }
                None => {
                    let length = rest.chars().next().map_or(0, char::len_utf8);
                    return Err(ExpressionError::new(
                        start..start + length,
                        Problem::Character,
                    ));
                }
            },
        };
        Ok((token, start..self.at))
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// All that follows of some bytes, which are ASCII.
    fn take(&mut self, is_meant: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest
            .bytes()
            .position(|byte| !is_meant(byte))
            .unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// Space, line ends and comments.
    fn skip_space(&mut self) {
        loop {
            self.take(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0c));
            if !self.rest().starts_with("//") {
                return;
            }
            let rest = self.rest();
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }

    fn number(&mut self) -> Result<Token<'t>, ExpressionError> {
        let start = self.at;
        let is_hexadecimal = matches!(self.rest().as_bytes(), [b'0', b'x' | b'X', ..]);
        if is_hexadecimal {
            self.at += 2;
        }
        // Everything that could belong to it, so that `1x` is one wrong number and not two words.
        let mut digits = self.take(|byte| is_name_byte(byte) || byte == b'.');
        let is_exponent = !is_hexadecimal && digits.ends_with(['e', 'E']);
        if is_exponent && self.rest().starts_with(['+', '-']) {
            self.at += 1;
            self.take(|byte| byte.is_ascii_digit());
            digits = self.text.get(start..self.at).unwrap_or_default();
        }
        let unsigned = digits.strip_suffix(['u', 'U']);
        let whole = unsigned.unwrap_or(digits);
        let radix = if is_hexadecimal { 16 } else { 10 };
        // `from_str_radix` takes a sign, which cannot stand here.
        let number = u64::from_str_radix(whole, radix).ok();
        // After a point there is a digit: `3.e5` is a field of 3.
        let fraction = digits.split_once('.').map(|(_, fraction)| fraction);
        let is_fraction = |fraction: &str| fraction.starts_with(|next: char| next.is_ascii_digit());
        let is_decimal = !is_hexadecimal && unsigned.is_none() && fraction.is_none_or(is_fraction);
        let token = match (number, unsigned) {
            (Some(number), Some(_)) => Some(Token::Uint(number)),
            (Some(number), None) => Some(Token::Int(number)),
            (None, _) if is_decimal && digits.contains(['.', 'e', 'E']) => {
                let number = digits
                    .parse()
                    .ok()
                    .filter(|number: &f64| number.is_finite());
                number.map(Token::Double)
            }
            (None, _) => None,
        };
        token.ok_or_else(|| ExpressionError::new(start..self.at, Problem::Number))
    }

    fn text(&mut self, is_raw: bool) -> Result<Token<'t>, ExpressionError> {
        let (start, rest) = (self.at, self.rest());
        let unclosed = || ExpressionError::new(start..start + rest.len(), Problem::UnclosedText);
        let mut chars = rest.char_indices();
        let quote = chars.next().map(|(_, quote)| quote).ok_or_else(unclosed)?;
        let mut text = String::new();
        loop {
            let (index, next) = chars.next().ok_or_else(unclosed)?;
            match next {
                _ if next == quote => {
                    self.at += index + 1;
                    return Ok(Token::Text(text));
                }
                '\n' | '\r' => return Err(unclosed()),
                '\\' if !is_raw => match unescape(&mut chars) {
                    Some(next) => text.push(next),
                    None => {
                        let end = start + chars.offset().max(index + 1);
                        return Err(ExpressionError::new(start + index..end, Problem::Escape));
                    }
                },
                next => text.push(next),
            }
        }
    }
}

/// What follows a backslash. `None` for what means nothing.
fn unescape(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let digits = |chars: &mut std::str::CharIndices<'_>, count: usize| {
        let digits = chars.as_str().get(..count)?;
        chars.nth(count - 1)?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u32::from_str_radix(digits, 16).ok().filter(|_| is_number)?;
        char::from_u32(number)
    };
    Some(match chars.next()?.1 {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        same @ ('\\' | '\'' | '"' | '`' | '?') => same,
        'x' | 'X' => digits(chars, 2)?,
        'u' => digits(chars, 4)?,
        'U' => digits(chars, 8)?,
        _ => return None,
    })
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
