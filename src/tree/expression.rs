//! What stands inside `${...}`: one name, or a sum of integers and names. No functions, no conditions, no loops.

use std::ops::Range;

/// A parsed `${...}` that is not about the environment with a default. Ranges are bytes of the text given to [`parse`].
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// An integer.
    Number(i64),
    /// A name, dots included.
    Name(String, Range<usize>),
    /// `-x`.
    Minus(Box<Expression>),
    /// `x + y` and so on.
    Operation(Box<Expression>, char, Box<Expression>, Range<usize>),
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Wrong {
    /// Bytes of the text.
    pub range: Range<usize>,
    /// What.
    pub message: String,
}

/// Parses the text between the braces.
pub fn parse(text: &str) -> Result<Expression, Wrong> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let expression = parser.sum()?;
    match parser.peek() {
        None => Ok(expression),
        Some(c) => Err(parser.wrong(format!("`{c}` is not expected here"))),
    }
}

/// Computes an operation, 64 bits, checked.
pub fn compute(left: i64, operator: char, right: i64) -> Result<i64, String> {
    if matches!(operator, '/' | '%') && right == 0 {
        return Err("division by zero".to_owned());
    }
    let result = match operator {
        '+' => left.checked_add(right),
        '-' => left.checked_sub(right),
        '*' => left.checked_mul(right),
        '/' => left.checked_div(right),
        _ => left.checked_rem(right),
    };
    result.ok_or_else(|| format!("{left} {operator} {right} does not fit into 64 bits"))
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: u32,
}

impl Parser<'_> {
    fn sum(&mut self) -> Result<Expression, Wrong> {
        let start = self.skip();
        let mut left = self.product()?;
        while let Some(operator @ ('+' | '-')) = self.peek() {
            self.at += 1;
            let right = self.product()?;
            left = Expression::Operation(Box::new(left), operator, Box::new(right), start..self.at);
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expression, Wrong> {
        let start = self.skip();
        let mut left = self.atom()?;
        while let Some(operator @ ('*' | '/' | '%')) = self.peek() {
            self.at += 1;
            let right = self.atom()?;
            left = Expression::Operation(Box::new(left), operator, Box::new(right), start..self.at);
        }
        Ok(left)
    }

    fn atom(&mut self) -> Result<Expression, Wrong> {
        self.depth += 1;
        if self.depth > 100 {
            return Err(self.wrong("this goes too deep"));
        }
        let atom =
            match self.peek() {
                None => return Err(self.wrong("a name or a number is missing")),
                Some('-') => {
                    self.at += 1;
                    Expression::Minus(Box::new(self.atom()?))
                }
                Some('(') => {
                    self.at += 1;
                    let inner = self.sum()?;
                    if self.peek() != Some(')') {
                        return Err(self.wrong("a `)` is missing"));
                    }
                    self.at += 1;
                    inner
                }
                Some(c) if c.is_ascii_digit() => {
                    let range = self.while_(|c| c.is_ascii_alphanumeric() || c == '_');
                    let digits = &self.text[range.clone()];
                    let number = digits.parse();
                    Expression::Number(number.map_err(|_| Wrong {
                        message: format!("`{digits}` is no integer of 64 bits"),
                        range,
                    })?)
                }
                Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                    let range = self.while_(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
                    Expression::Name(self.text[range.clone()].to_owned(), range)
                }
                Some(c) => return Err(self.wrong(format!("`{c}` is not expected here"))),
            };
        self.depth -= 1;
        Ok(atom)
    }

    /// Skips blanks; where the next thing begins.
    fn skip(&mut self) -> usize {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.at
    }

    fn peek(&mut self) -> Option<char> {
        self.skip();
        self.text[self.at..].chars().next()
    }

    fn while_(&mut self, fits: impl Fn(char) -> bool) -> Range<usize> {
        let start = self.at;
        let rest = &self.text[start..];
        self.at += rest.find(|c| !fits(c)).unwrap_or(rest.len());
        start..self.at
    }

    fn wrong(&self, message: impl Into<String>) -> Wrong {
        let width = self.text[self.at..].chars().next().map_or(0, char::len_utf8);
        Wrong { range: self.at..self.at + width, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<i64, String> {
        fn walk(expression: &Expression) -> Result<i64, String> {
            match expression {
                Expression::Number(n) => Ok(*n),
                Expression::Name(..) => Ok(2),
                Expression::Minus(inner) => compute(0, '-', walk(inner)?),
                Expression::Operation(left, operator, right, _) => {
                    compute(walk(left)?, *operator, walk(right)?)
                }
            }
        }
        walk(&parse(text).map_err(|wrong| wrong.message)?)
    }

    #[test]
    fn integers_names_and_operators() {
        assert_eq!(value("3000 + 100 * instance + 5"), Ok(3205));
        assert_eq!(value("(1 + 2) * -3 % 4"), Ok(-1));
        assert_eq!(value(" 10 - 2 - 3 "), Ok(5));
        for text in [
            "",
            "1 +",
            "(1",
            "1 / 0",
            "9223372036854775807 + 1",
            "99999999999999999999",
            "1 2",
            "a ! b",
            "2x",
        ] {
            assert!(value(text).is_err(), "{text}");
        }
        assert!(value(&"(".repeat(10_000)).is_err());
    }
}
