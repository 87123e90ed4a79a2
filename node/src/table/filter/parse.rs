//! The grammar of filters, by recursive descent: `or` binds less than `and`, `and` less than `not`, `not` less than a test.

use super::lex::{INFINITY, NO_ARITHMETIC, Token, mistake, tokens};
use super::{Comparison, Expression, FILTER_DEPTH_MAX, IN_LIST_MAX, Literal, Operand};
use crate::error::{Error, Result};

/// Words that are no columns unless quoted.
const KEYWORDS: &[&str] = &["and", "or", "not", "is", "null", "in", "between", "like", "ilike", "true", "false", "nan", INFINITY];

pub(super) fn parse(text: &str) -> Result<Expression> {
    let mut parser = Parser { text, tokens: tokens(text)?, next: 0, depth: 0 };
    let expression = parser.or()?;
    match parser.peek() {
        Token::End => Ok(expression),
        _ => Err(parser.unfinished("the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Parser<'_> {
    /// The next token; the last one, which is the end, stays for ever.
    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)].1
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn expected(&self, what: &str) -> Error {
        let (at, token) = &self.tokens[self.next.min(self.tokens.len() - 1)];
        mistake(self.text, *at, &format!("expected {what}, found {}", token.describe()))
    }

    /// What stands where a value should; in double quotes it is a name.
    fn expected_value(&self, what: &str) -> Error {
        match self.peek() {
            Token::Name(_) => self.expected(&format!("{what} (texts stand in single quotes, names of columns in double quotes)")),
            _ => self.expected(what),
        }
    }

    /// What follows a test that is whole, where only another or `end` can.
    fn unfinished(&self, end: &str) -> Error {
        let (at, token) = &self.tokens[self.next.min(self.tokens.len() - 1)];
        let what = match token {
            Token::Literal(Literal::Number(number)) if number.starts_with(['+', '-']) => NO_ARITHMETIC,
            Token::Symbol("(") => "a filter has no functions: compare the column itself; ilike ignores case",
            Token::Symbol("=" | "<>" | "<" | "<=" | ">" | ">=") => "write `and` between two comparisons, as in 3 < a and a < 5",
            _ => return self.expected(&format!("`and`, `or` or {end}")),
        };
        mistake(self.text, *at, what)
    }

    fn take_word(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword));
        self.next += usize::from(found);
        found
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(next) if *next == symbol);
        self.next += usize::from(found);
        found
    }

    fn require_symbol(&mut self, symbol: &str) -> Result<()> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.expected(&format!("`{symbol}`"))) }
    }

    fn or(&mut self) -> Result<Expression> {
        let mut parts = vec![self.and()?];
        while self.take_word("or") {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expression::Or(parts) })
    }

    fn and(&mut self) -> Result<Expression> {
        let mut parts = vec![self.not()?];
        while self.take_word("and") {
            parts.push(self.not()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expression::And(parts) })
    }

    fn not(&mut self) -> Result<Expression> {
        self.depth += 1;
        if self.depth > FILTER_DEPTH_MAX {
            return Err(mistake(self.text, self.tokens[self.next].0, &format!("it nests deeper than {FILTER_DEPTH_MAX} levels")));
        }
        let expression = if self.take_word("not") {
            Expression::Not(Box::new(self.not()?))
        } else if self.take_symbol("(") {
            let inner = self.or()?;
            if !self.take_symbol(")") {
                return Err(self.unfinished("`)`"));
            }
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn test(&mut self) -> Result<Expression> {
        let left = self.operand("a column or a value")?;
        if let Some(comparison) = self.comparison() {
            return Ok(Expression::Compare(left, comparison, self.operand("a column or a value")?));
        }
        if self.take_word("is") {
            let negated = self.take_word("not");
            if !self.take_word("null") {
                return Err(self.expected("`null`"));
            }
            return Ok(negate(negated, Expression::IsNull(left)));
        }
        let negated = self.take_word("not");
        if self.take_word("in") {
            let list = self.list()?;
            return Ok(negate(negated, Expression::In(left, list)));
        }
        if self.take_word("between") {
            let low = self.operand("a value")?;
            if !self.take_word("and") {
                return Err(self.expected("`and`"));
            }
            let high = self.operand("a value")?;
            return Ok(negate(negated, Expression::Between(left, low, high)));
        }
        let ignores_case = self.take_word("ilike");
        if ignores_case || self.take_word("like") {
            let Token::Literal(Literal::Text(pattern)) = self.peek().clone() else {
                return Err(self.expected_value("a pattern in quotes"));
            };
            self.next += 1;
            return Ok(negate(negated, Expression::Like { operand: left, pattern, ignores_case }));
        }
        if negated { Err(self.expected("`in`, `between` or `like`")) } else { Ok(Expression::Operand(left)) }
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let Token::Symbol(symbol) = self.peek() else { return None };
        let comparison = match *symbol {
            "=" => Comparison::Equal,
            "<>" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return None,
        };
        self.next += 1;
        Some(comparison)
    }

    fn list(&mut self) -> Result<Vec<Literal>> {
        self.require_symbol("(")?;
        let mut values = Vec::new();
        loop {
            match self.operand("a value")? {
                Operand::Literal(value) => values.push(value),
                Operand::Column(_) => {
                    self.next -= 1;
                    return Err(self.expected_value("a value"));
                }
            }
            if values.len() > IN_LIST_MAX {
                return Err(self.expected(&format!("at most {IN_LIST_MAX} values")));
            }
            if !self.take_symbol(",") {
                break;
            }
        }
        self.require_symbol(")")?;
        Ok(values)
    }

    fn operand(&mut self, what: &str) -> Result<Operand> {
        let word = match self.peek() {
            Token::Literal(_) | Token::Name(_) => String::new(),
            Token::Word(word) => word.to_ascii_lowercase(),
            _ => return Err(self.expected(what)),
        };
        let literal = match word.as_str() {
            "true" => Literal::Boolean(true),
            "false" => Literal::Boolean(false),
            "null" => Literal::Null,
            "nan" | INFINITY => Literal::Number(word),
            // SQL's typed literals: the column knows the type already.
            "date" | "time" | "timestamp" if matches!(self.tokens.get(self.next + 1), Some((_, Token::Literal(Literal::Text(_))))) => {
                self.next += 1;
                return self.operand(what);
            }
            keyword if KEYWORDS.contains(&keyword) => return Err(self.expected(what)),
            _ => {
                return Ok(match self.advance() {
                    Token::Literal(literal) => Operand::Literal(literal),
                    Token::Word(name) | Token::Name(name) => Operand::Column(name),
                    _ => return Err(self.expected(what)),
                });
            }
        };
        self.next += 1;
        Ok(Operand::Literal(literal))
    }
}

fn negate(negated: bool, expression: Expression) -> Expression {
    if negated { Expression::Not(Box::new(expression)) } else { expression }
}
