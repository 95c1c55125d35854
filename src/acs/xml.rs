//! XML with places: one file, its elements by local name, and typed attributes that say what is wrong with them.
//!
//! `roxmltree` keeps the byte range of every element and attribute, which the event parsers do not, and depends on
//! nothing but `memchr`. Prefixes differ from site to site, so names are compared without their namespaces.

use std::time::Duration;

use roxmltree::{Document, Error, Node, ParsingOptions};

use super::text;
use crate::tree::{FileId, Report, Source, Span};

/// Nodes of one file beyond which it is no record: entities that multiply.
const NODES: u32 = 1_000_000;

/// Takes a file in. `None`: its bytes are no text; that is in the report.
pub(super) fn open(report: &mut Report, name: &str, bytes: &[u8]) -> Option<FileId> {
    let source =
        |text: String| Source { name: name.to_owned(), dir: std::path::PathBuf::new(), text, scope: 0 };
    match text::decode(bytes) {
        Ok(text) => Some(report.sources.add(source(text))),
        Err(wrong) => {
            let file = report.sources.add(source(wrong.text));
            let span = span(file, wrong.at, wrong.at + 1);
            report.error(span, wrong.message).hint(wrong.hint);
            None
        }
    }
}

/// Parses `text`, which is that of `file`. `None`: it is damaged; that is in the report.
pub(super) fn parse<'a>(report: &mut Report, file: FileId, text: &'a str) -> Option<Document<'a>> {
    let options = ParsingOptions { allow_dtd: true, nodes_limit: NODES, ..ParsingOptions::default() };
    match Document::parse_with_options(text, options) {
        Ok(document) => Some(document),
        Err(error) => {
            damaged(report, file, text, &error);
            None
        }
    }
}

fn damaged(report: &mut Report, file: FileId, text: &str, error: &Error) {
    let whole = error.to_string();
    let at_end = |report: &mut Report, message: &str| {
        let end = text.trim_end().len();
        report.error(span(file, end.saturating_sub(1), end), message.to_owned());
    };
    match error {
        Error::NoRootNode => at_end(report, "the file has no element"),
        Error::UnclosedRootNode => at_end(report, "the file ends inside an element"),
        Error::UnexpectedEndOfStream => at_end(report, "the file ends in the middle of something"),
        Error::DuplicatedAttribute(name, _) => {
            let at = offset(text, error.pos());
            report.error(span(file, at, at + name.len()), format!("the attribute {name} is there twice"));
        }
        Error::UnexpectedCloseTag(open, close, _) => {
            let at = offset(text, error.pos());
            report.error(span(file, at, at + close.len()), format!("</{close}> where <{open}> is open"));
        }
        _ => {
            let at = offset(text, error.pos());
            let message = whole.rsplit_once(" at ").map_or(whole.as_str(), |(message, _)| message);
            report.error(span(file, at, at + 1), message.to_owned());
        }
    }
}

/// The byte of a place that counts lines and characters from 1.
fn offset(text: &str, place: roxmltree::TextPos) -> usize {
    let line: usize = text.split_inclusive('\n').take(place.row as usize - 1).map(str::len).sum();
    let rest = &text[line.min(text.len())..];
    line + rest.char_indices().nth(place.col as usize - 1).map_or(rest.len(), |(at, _)| at)
}

fn span(file: FileId, start: usize, end: usize) -> Span {
    let cut = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span { file, start: cut(start), end: cut(end) }
}

/// An element of a file.
#[derive(Clone, Copy)]
pub(super) struct Element<'a, 'i> {
    node: Node<'a, 'i>,
    file: FileId,
}

/// An attribute's value and place.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    /// As written, entities replaced.
    pub value: &'a str,
    /// Where.
    pub span: Span,
}

impl<'a, 'i> Element<'a, 'i> {
    /// The outermost element.
    pub fn root(document: &'a Document<'i>, file: FileId) -> Element<'a, 'i> {
        Element { node: document.root_element(), file }
    }

    /// Its name without a prefix.
    pub fn name(&self) -> &'a str {
        self.node.tag_name().name()
    }

    /// Its opening bracket and name.
    pub fn span(&self) -> Span {
        let start = self.node.range().start;
        let source = &self.node.document().input_text()[start + 1..];
        let end = source.find(|c: char| c.is_whitespace() || "/>".contains(c)).unwrap_or(source.len());
        span(self.file, start, start + 1 + end)
    }

    /// Its child elements.
    pub fn children(&self) -> impl Iterator<Item = Element<'a, 'i>> + use<'a, 'i> {
        let file = self.file;
        self.node.children().filter(Node::is_element).map(move |node| Element { node, file })
    }

    /// The first child of a name.
    pub fn child(&self, name: &str) -> Option<Element<'a, 'i>> {
        self.children().find(|child| child.name() == name)
    }

    /// The text in it, without the blanks around.
    pub fn text(&self) -> &'a str {
        self.node.text().unwrap_or_default().trim()
    }

    /// An attribute that is written and not empty.
    pub fn get(&self, name: &str) -> Option<Said<'a>> {
        let (_, said) = self.attributes().find(|(known, _)| *known == name)?;
        Some(Said { value: said.value.trim(), span: said.span }).filter(|said| !said.value.is_empty())
    }

    /// Attributes by name. Those of other vocabularies (`xsi:schemaLocation`, `xml:base`) say nothing about ACS.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, Said<'a>)> + use<'a, 'i> {
        let file = self.file;
        self.node.attributes().filter(|a| a.namespace().is_none()).map(move |a| {
            let range = a.range();
            (a.name(), Said { value: a.value(), span: span(file, range.start, range.end) })
        })
    }

    /// Warns of attributes and child elements that nobody knows.
    pub fn strangers(&self, report: &mut Report, attributes: &[&str], children: &[&str]) {
        self.strange_attributes(report, attributes);
        for child in self.children().filter(|child| !children.contains(&child.name())) {
            let what = format!("the element {} in {} is unknown and not read", child.name(), self.name());
            report.warning(child.span(), what).maybe_hint(near(child.name(), children));
        }
    }

    /// Warns of attributes that nobody knows.
    pub fn strange_attributes(&self, report: &mut Report, attributes: &[&str]) {
        for (name, said) in self.attributes().filter(|(name, _)| !attributes.contains(name)) {
            let what = format!("the attribute {name} of {} is unknown and not read", self.name());
            report.warning(said.span, what).maybe_hint(near(name, attributes));
        }
    }

    /// `true`, `false`, `1` or `0`.
    pub fn boolean(&self, report: &mut Report, name: &str) -> Option<bool> {
        let said = self.get(name)?;
        match said.value {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            other => {
                let message = format!("{name} is a boolean, not \"{other}\"");
                report.error(said.span, message).allowed("true, false, 1, 0");
                None
            }
        }
    }

    /// Seconds, with or without a fraction.
    pub fn seconds(&self, report: &mut Report, name: &str) -> Option<Duration> {
        let said = self.get(name)?;
        let seconds = said.value.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
        match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok()) {
            Some(time) => Some(time),
            None => {
                report.error(said.span, format!("{name} is a number of seconds, not \"{}\"", said.value));
                None
            }
        }
    }
}

/// `did you mean X?`
fn near(name: &str, known: &[&str]) -> Option<String> {
    crate::tree::nearest(name, known.iter().copied()).map(|known| format!("did you mean {known}?"))
}
