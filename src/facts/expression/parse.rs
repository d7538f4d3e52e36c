//! The grammar of expressions: that of CEL, without what no expression of a gateway needs (bytes, messages, optional
//! values).
//!
//! The crate that evaluates has a parser of its own. It is not used: brackets that are nested sixteen deep overflow the
//! stack of a thread in it, which would take a running gateway down with a configuration that is to be reloaded, it
//! takes three milliseconds for any expression, and it does not say which bytes are to blame. Both read the same
//! language; the fuzz test compares what comes out.

use std::ops::Range;

use cel::common::ast::{LiteralValue, operators};

use super::token::{Lexer, Token};
use super::{ExpressionError, Problem};

/// How deep brackets, signs and conditions may be nested.
const NESTING: usize = 16;
/// How deep what was read may be: `a.b.c` is three deep, whatever brackets there are.
const DEPTH: usize = 32;

/// A part of an expression, as it was written.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) at: Range<usize>,
    depth: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    Literal(LiteralValue),
    Name(Box<str>),
    /// A field, and where it was written.
    Select(Box<Node>, Box<str>, Range<usize>),
    /// `has(a.b)`.
    Has(Box<Node>, Box<str>, Range<usize>),
    Call(Call),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Loop(Box<Loop>),
}

/// A function or an operator, which goes by the crate's name for it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: Box<str>,
    pub(super) name_at: Range<usize>,
    /// What it was called on: `a` in `a.f()`.
    pub(super) target: Option<Box<Node>>,
    pub(super) arguments: Vec<Node>,
}

/// `range.exists(variable, body)` and its like. There is no `map`: what it makes could grow with each one behind another.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) kind: LoopKind,
    pub(super) range: Node,
    pub(super) variable: Box<str>,
    pub(super) body: Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Filter,
}

pub(super) const LOOPS: [(&str, LoopKind); 4] = [
    ("all", LoopKind::All),
    ("exists", LoopKind::Exists),
    ("exists_one", LoopKind::ExistsOne),
    ("filter", LoopKind::Filter),
];

/// Binary operators by how tightly they bind, the loosest first. `||` and `&&` come before all of them.
const LEVELS: [&[(&str, &str)]; 3] = [
    &[
        ("==", operators::EQUALS),
        ("!=", operators::NOT_EQUALS),
        ("<", operators::LESS),
        ("<=", operators::LESS_EQUALS),
        (">", operators::GREATER),
        (">=", operators::GREATER_EQUALS),
        ("in", operators::IN),
    ],
    &[("+", operators::ADD), ("-", operators::SUBSTRACT)],
    &[
        ("*", operators::MULTIPLY),
        ("/", operators::DIVIDE),
        ("%", operators::MODULO),
    ],
];

/// Names that CEL keeps for itself.
const RESERVED: [&str; 20] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "package",
    "return",
    "var",
    "void",
    "while",
    "__proto__",
    "prototype",
];

pub(super) fn parse(text: &str) -> Result<Node, ExpressionError> {
    let mut lexer = Lexer::new(text);
    let (token, at) = lexer.next()?;
    let mut parser = Parser {
        lexer,
        token,
        at,
        nesting: 0,
    };
    let node = parser.expression()?;
    match parser.token {
        Token::End => Ok(node),
        _ => Err(parser.expected("an operator")),
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    /// The word that comes next, and its place.
    token: Token<'t>,
    at: Range<usize>,
    nesting: usize,
}

type Parsed = Result<Node, ExpressionError>;

impl<'t> Parser<'t> {
    fn expression(&mut self) -> Parsed {
        self.nested(|parser| {
            let condition = parser.logical(&[operators::LOGICAL_OR, operators::LOGICAL_AND])?;
            if !parser.token.is_sign("?") {
                return Ok(condition);
            }
            let name_at = parser.advance()?.1;
            let yes = parser.logical(&[operators::LOGICAL_OR, operators::LOGICAL_AND])?;
            parser.expect(":")?;
            let no = parser.expression()?;
            call(operators::CONDITIONAL, name_at, vec![condition, yes, no])
        })
    }

    /// Refuses what would need more of the stack than there may be.
    fn nested(&mut self, parse: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.nesting == NESTING {
            return Err(ExpressionError::new(self.at.clone(), Problem::TooDeep));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    /// `a || b || c` becomes a tree that is no deeper than it has to be: what decides is not their order.
    fn logical(&mut self, levels: &[&'static str]) -> Parsed {
        let Some((operator, tighter)) = levels.split_first() else {
            return self.binary(&LEVELS);
        };
        let sign = if *operator == operators::LOGICAL_OR {
            "||"
        } else {
            "&&"
        };
        let mut terms = vec![self.logical(tighter)?];
        let mut place = self.at.clone();
        while self.token.is_sign(sign) {
            place = self.advance()?.1;
            terms.push(self.logical(tighter)?);
        }
        balance(operator, &place, terms)
    }

    fn binary(&mut self, levels: &[&[(&str, &'static str)]]) -> Parsed {
        let Some((level, tighter)) = levels.split_first() else {
            return self.unary();
        };
        let mut left = self.binary(tighter)?;
        loop {
            let operator = level.iter().find(|(sign, _)| match &self.token {
                Token::Sign(own) => own == sign,
                Token::Name(name) => name == sign,
                _ => false,
            });
            let Some((_, operator)) = operator else {
                return Ok(left);
            };
            let name_at = self.advance()?.1;
            let right = self.binary(tighter)?;
            left = call(operator, name_at, vec![left, right])?;
        }
    }

    fn unary(&mut self) -> Parsed {
        let operator = match self.token {
            Token::Sign("!") => operators::LOGICAL_NOT,
            Token::Sign("-") => operators::NEGATE,
            _ => return self.postfix(),
        };
        let place = self.advance()?.1;
        if operator == operators::NEGATE
            && let Some(literal) = self.negative()?
        {
            let node = leaf(Kind::Literal(literal), place.start..self.at.start);
            return self.postfix_of(node);
        }
        let operand = self.nested(Self::unary)?;
        call(operator, place, vec![operand])
    }

    /// The number that a minus has just begun, if it is one.
    fn negative(&mut self) -> Result<Option<LiteralValue>, ExpressionError> {
        let literal = match self.token {
            Token::Int(number) => {
                let number = 0_i64.checked_sub_unsigned(number);
                let number = number.ok_or_else(|| self.fail(Problem::Number))?;
                LiteralValue::Int(number.into())
            }
            Token::Double(number) => LiteralValue::Double((-number).into()),
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some(literal))
    }

    fn postfix(&mut self) -> Parsed {
        let node = self.primary()?;
        self.postfix_of(node)
    }

    fn postfix_of(&mut self, mut node: Node) -> Parsed {
        loop {
            if self.token.is_sign(".") {
                self.advance()?;
                let (name, name_at) = self.name("a field")?;
                node = if self.token.is_sign("(") {
                    self.method(node, name, name_at)?
                } else {
                    let at = node.at.start..name_at.end;
                    deeper(Kind::Select(Box::new(node), name.into(), name_at), at)?
                };
            } else if self.token.is_sign("[") {
                let name_at = self.advance()?.1;
                let index = self.expression()?;
                let end = self.expect("]")?.end;
                let start = node.at.start;
                node = call(operators::INDEX, name_at, vec![node, index])?;
                node.at = start..end;
            } else {
                return Ok(node);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let (token, at) = (self.token.clone(), self.at.clone());
        let literal = match token {
            Token::Sign("(") => {
                self.advance()?;
                let node = self.expression()?;
                self.expect(")")?;
                return Ok(node);
            }
            Token::Sign("[") => {
                self.advance()?;
                let elements = self.elements()?;
                let end = self.expect("]")?.end;
                return deeper(Kind::List(elements), at.start..end);
            }
            Token::Sign("{") => return self.map(),
            Token::Name("true") => LiteralValue::Boolean(true.into()),
            Token::Name("false") => LiteralValue::Boolean(false.into()),
            Token::Name("null") => LiteralValue::Null,
            Token::Name(name) if RESERVED.contains(&name) => {
                return Err(ExpressionError::new(at, Problem::Reserved(name.into())));
            }
            Token::Name(name) => {
                self.advance()?;
                return match self.token.is_sign("(") {
                    true => self.function(name, at),
                    false => Ok(leaf(Kind::Name(name.into()), at)),
                };
            }
            Token::Int(number) => match i64::try_from(number) {
                Ok(number) => LiteralValue::Int(number.into()),
                Err(_) => return Err(self.fail(Problem::Number)),
            },
            Token::Uint(number) => LiteralValue::UInt(number.into()),
            Token::Double(number) => LiteralValue::Double(number.into()),
            Token::Text(text) => LiteralValue::String(text.into()),
            _ => return Err(self.expected("a value")),
        };
        self.advance()?;
        Ok(leaf(Kind::Literal(literal), at))
    }

    fn map(&mut self) -> Parsed {
        let start = self.advance()?.1.start;
        let mut entries = Vec::new();
        while !self.token.is_sign("}") {
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
            if !self.token.is_sign(",") {
                break;
            }
            self.advance()?;
        }
        let end = self.expect("}")?.end;
        deeper(Kind::Map(entries), start..end)
    }

    /// The elements of a list.
    fn elements(&mut self) -> Result<Vec<Node>, ExpressionError> {
        let mut nodes = Vec::new();
        while !self.token.is_sign("]") {
            nodes.push(self.expression()?);
            if !self.token.is_sign(",") {
                break;
            }
            self.advance()?;
        }
        Ok(nodes)
    }

    fn arguments(&mut self) -> Result<(Vec<Node>, usize), ExpressionError> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        if !self.token.is_sign(")") {
            arguments.push(self.expression()?);
        }
        // A comma may stand behind the last element of a list, and not behind the last argument.
        while !arguments.is_empty() && self.token.is_sign(",") {
            self.advance()?;
            arguments.push(self.expression()?);
        }
        Ok((arguments, self.expect(")")?.end))
    }

    fn function(&mut self, name: &str, name_at: Range<usize>) -> Parsed {
        let (mut arguments, end) = self.arguments()?;
        let at = name_at.start..end;
        if name == operators::HAS && arguments.len() == 1 {
            let argument = arguments.pop();
            return match argument.map(|argument| (argument.kind, argument.at)) {
                Some((Kind::Select(of, field, field_at), _)) => {
                    deeper(Kind::Has(of, field, field_at), at)
                }
                Some((_, at)) => Err(ExpressionError::new(at, Problem::HasOfNoField)),
                None => Err(ExpressionError::new(at, Problem::HasOfNoField)),
            };
        }
        let call = Call {
            function: name.into(),
            name_at,
            target: None,
            arguments,
        };
        deeper(Kind::Call(call), at)
    }

    fn method(&mut self, target: Node, name: &str, name_at: Range<usize>) -> Parsed {
        let (arguments, end) = self.arguments()?;
        let at = target.at.start..end;
        let kind = LOOPS.iter().find(|(known, _)| *known == name);
        let Some((_, kind)) = kind else {
            let call = Call {
                function: name.into(),
                name_at,
                target: Some(Box::new(target)),
                arguments,
            };
            return deeper(Kind::Call(call), at);
        };
        let count = arguments.len();
        let Ok([variable, body]) = <[Node; 2]>::try_from(arguments) else {
            let problem = Problem::Arguments(name.into(), "2 arguments", count);
            return Err(ExpressionError::new(name_at, problem));
        };
        let Kind::Name(variable) = variable.kind else {
            return Err(ExpressionError::new(variable.at, Problem::LoopWithoutName));
        };
        let own = Loop {
            kind: *kind,
            range: target,
            variable,
            body,
        };
        deeper(Kind::Loop(Box::new(own)), at)
    }

    fn name(&mut self, wanted: &'static str) -> Result<(&'t str, Range<usize>), ExpressionError> {
        match self.token {
            Token::Name(name) if !["true", "false", "null", "in"].contains(&name) => {
                Ok((name, self.advance()?.1))
            }
            _ => Err(self.expected(wanted)),
        }
    }

    /// The word that came next; now it is the one after it.
    fn advance(&mut self) -> Result<(Token<'t>, Range<usize>), ExpressionError> {
        let (token, at) = self.lexer.next()?;
        Ok((
            std::mem::replace(&mut self.token, token),
            std::mem::replace(&mut self.at, at),
        ))
    }

    fn expect(&mut self, sign: &'static str) -> Result<Range<usize>, ExpressionError> {
        match self.token.is_sign(sign) {
            true => Ok(self.advance()?.1),
            false => Err(self.expected(sign)),
        }
    }

    fn expected(&self, wanted: &'static str) -> ExpressionError {
        let is_end = self.token == Token::End;
        self.fail(match wanted {
            _ if self.token.is_sign("=") => Problem::SingleEquals,
            _ if is_end => Problem::Ends(wanted),
            _ => Problem::Expected(wanted),
        })
    }

    fn fail(&self, problem: Problem) -> ExpressionError {
        ExpressionError::new(self.at.clone(), problem)
    }
}

fn balance(operator: &'static str, place: &Range<usize>, mut terms: Vec<Node>) -> Parsed {
    if terms.len() > 2 {
        let right = balance(operator, place, terms.split_off(terms.len().div_ceil(2)))?;
        let left = balance(operator, place, terms)?;
        return call(operator, place.clone(), vec![left, right]);
    }
    match terms.len() {
        2 => call(operator, place.clone(), terms),
        _ => terms.pop().ok_or(ExpressionError::new(
            place.clone(),
            Problem::Expected("a value"),
        )),
    }
}

fn call(function: &str, name_at: Range<usize>, arguments: Vec<Node>) -> Parsed {
    let places = arguments
        .iter()
        .map(|argument| &argument.at)
        .chain([&name_at]);
    let start = places.clone().map(|at| at.start).min().unwrap_or_default();
    let end = places.map(|at| at.end).max().unwrap_or_default();
    let call = Call {
        function: function.into(),
        name_at,
        target: None,
        arguments,
    };
    deeper(Kind::Call(call), start..end)
}

fn leaf(kind: Kind, at: Range<usize>) -> Node {
    Node { kind, at, depth: 1 }
}

/// A node over others. Refuses what would be too deep to walk over.
fn deeper(kind: Kind, at: Range<usize>) -> Parsed {
    let deepest = |nodes: &mut dyn Iterator<Item = &Node>| nodes.map(|node| node.depth).max();
    let below = match &kind {
        Kind::Literal(_) | Kind::Name(_) => None,
        Kind::Select(of, ..) | Kind::Has(of, ..) => Some(of.depth),
        Kind::Call(call) => deepest(&mut call.target.as_deref().into_iter().chain(&call.arguments)),
        Kind::List(elements) => deepest(&mut elements.iter()),
        Kind::Map(entries) => deepest(&mut entries.iter().flat_map(|(key, value)| [key, value])),
        Kind::Loop(own) => deepest(&mut [&own.range, &own.body].into_iter()),
    };
    let depth = 1 + below.unwrap_or_default();
    match depth <= DEPTH {
        true => Ok(Node { kind, at, depth }),
        false => Err(ExpressionError::new(at, Problem::TooDeep)),
    }
}
