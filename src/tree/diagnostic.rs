//! What is wrong with a tree file: place, text, underlining, remedy. And the list in which all of it is collected.

use std::collections::HashSet;
use std::fmt;

use super::source::{Place, Sources, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The tree cannot be run.
    Error,
    /// It can, but probably does not do what is wanted.
    Warning,
    /// It can, but not on this host (a program, user or directory is missing): a warning in `check`, an error in
    /// `run`.
    Host,
}

/// One thing that is wrong. Its [`fmt::Display`] is what people see, without a newline at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// What, in one line.
    pub message: String,
    /// Where; `None`: about no place in a file.
    pub place: Option<Place>,
    /// The line of text, and how many characters of it are underlined.
    pub excerpt: Option<(String, u32)>,
    /// A remedy, said beside the underlining.
    pub hint: Option<String>,
    /// What may stand there.
    pub allowed: Option<String>,
}

impl Diagnostic {
    fn new(severity: Severity, message: String) -> Diagnostic {
        Diagnostic { severity, message, place: None, excerpt: None, hint: None, allowed: None }
    }

    /// Adds a remedy.
    pub fn hint(&mut self, hint: impl Into<String>) -> &mut Diagnostic {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a remedy if there is one.
    pub fn maybe_hint(&mut self, hint: Option<String>) -> &mut Diagnostic {
        self.hint = hint.or(self.hint.take());
        self
    }

    /// Adds what may stand there.
    pub fn allowed(&mut self, allowed: impl Into<String>) -> &mut Diagnostic {
        self.allowed = Some(allowed.into());
        self
    }

    /// Names the child it is about in front: the same about another item of an `each` is not said again.
    pub fn about(&mut self, path: &str) -> &mut Diagnostic {
        self.message = format!("{path} {}", self.message);
        self
    }

    /// Names the child it is about.
    pub fn within(&mut self, path: &str) -> &mut Diagnostic {
        if !path.is_empty() {
            self.message = format!("{} in {path}", self.message);
        }
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.severity == Severity::Error { "error" } else { "warning" };
        let Some(place) = &self.place else {
            write!(f, "{word}: {}", self.message)?;
            return self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"));
        };
        write!(f, "{}:{}:{}: {word}: {}", place.file, place.line, place.column, self.message)?;
        let gutter = place.line.to_string().len().max(2);
        if let Some((line, width)) = &self.excerpt {
            let (line, before) = window(line, place.column as usize - 1);
            let carets =
                "^".repeat((*width as usize).min(line.chars().count().saturating_sub(before)).max(1));
            write!(f, "\n{:>gutter$} | {line}\n{:gutter$} | {:before$}{carets}", place.line, "", "")?;
            if let Some(hint) = &self.hint {
                write!(f, " {hint}")?;
            }
        } else if let Some(hint) = &self.hint {
            write!(f, "\n{:gutter$} = hint: {hint}", "")?;
        }
        if let Some(allowed) = &self.allowed {
            write!(f, "\n{:gutter$} = allowed: {allowed}", "")?;
        }
        Ok(())
    }
}

/// A long line is shown from a little before the place; tabs become blanks, so that the carets stay below it.
fn window(line: &str, column: usize) -> (String, usize) {
    const LONGEST: usize = 160;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if line.chars().count() <= LONGEST {
        return (line.chars().map(clean).collect(), column);
    }
    let from = column.saturating_sub(40);
    let mark = if from > 0 { "... " } else { "" };
    (
        mark.chars().chain(line.chars().skip(from).take(LONGEST).map(clean)).collect(),
        column - from + mark.len(),
    )
}

/// Everything found so far. The same thing at the same place is kept once.
#[derive(Debug, Default)]
pub struct Report {
    /// The files the places are in.
    pub sources: Sources,
    found: Vec<(Option<Span>, Diagnostic)>,
    seen: HashSet<(Option<Span>, String)>,
    again: Option<Diagnostic>,
}

impl Report {
    /// An error at a place.
    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, Some(span), message.into())
    }

    /// A warning at a place.
    pub fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Warning, Some(span), message.into())
    }

    /// Something this host cannot do.
    pub fn host(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Host, Some(span), message.into())
    }

    /// An error about no place in a file.
    pub fn placeless(&mut self, severity: Severity, message: impl Into<String>) -> &mut Diagnostic {
        self.add(severity, None, message.into())
    }

    /// Errors so far.
    pub fn errors(&self) -> usize {
        self.found.iter().filter(|(_, d)| d.severity == Severity::Error).count()
    }

    /// All of it, file by file, in the order of the text.
    pub fn finish(mut self) -> (Sources, Vec<Diagnostic>) {
        self.found.sort_by_key(|(span, _)| *span);
        (self.sources, self.found.into_iter().map(|(_, d)| d).collect())
    }

    fn add(&mut self, severity: Severity, span: Option<Span>, message: String) -> &mut Diagnostic {
        let mut diagnostic = Diagnostic::new(severity, message);
        if !self.seen.insert((span, diagnostic.message.clone())) {
            return self.again.insert(diagnostic);
        }
        if let Some(span) = span {
            diagnostic.place = Some(self.sources.place(span));
            diagnostic.excerpt = (severity == Severity::Error).then(|| self.sources.line(span));
        }
        self.found.push((span, diagnostic));
        let last = self.found.len() - 1;
        &mut self.found[last].1
    }
}
