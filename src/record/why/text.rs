//! The answer as a person reads it, in 80 columns.

use super::{Step, Why};
use crate::record::words::{clock, clock_ms, day, leaf};

const WIDTH: usize = 80;
/// `03:12:40.118`.
const TIME: usize = 12;

impl Why {
    /// Lines of at most 80 columns, each with its newline; a word that is longer stays whole.
    pub fn text(&self) -> String {
        let mut out = String::new();
        wrap(&mut out, "", 0, &self.answer);
        if let Some(cause) = self.facts.first() {
            out.push_str(&format!("{:>WIDTH$}\n", self.heading(cause)));
            self.steps(&mut out);
        }
        if let Some(now) = &self.now {
            wrap(&mut out, "now", 6, now);
        }
        if let Some(next) = &self.next {
            wrap(&mut out, "next", 6, next);
        }
        if let Some(last) = self.lines.first() {
            let of = &last.path;
            let title = format!("last lines of {} before its end (woodward logs {of}):", leaf(of));
            wrap(&mut out, "", 0, &title);
            for line in &self.lines {
                out.push_str(&format!("      {} {}\n", clock(line.at, self.zone), line.text));
            }
        }
        out
    }

    /// `incident 7f3a, 03:12:40`, with the day if it was not today.
    fn heading(&self, cause: &Step) -> String {
        let at = cause.fact.at;
        let when = clock(at, self.zone);
        let today = day(at, self.zone) == day(self.at, self.zone);
        let when = if today { when } else { format!("{} {when}", day(at, self.zone)) };
        format!("incident {:04x}, {when}", cause.fact.incident)
    }

    fn steps(&self, out: &mut String) {
        let names = self.facts.iter().map(|step| leaf(&step.who).chars().count());
        let width = names.max().unwrap_or(0).clamp(7, 24) + 3;
        let first = self.facts.len().min(super::FIRST_STEPS);
        for (at, step) in self.facts.iter().enumerate() {
            if at == first && self.left_out > 0 {
                let left_out = format!("... {} more (woodward events {}) ...", self.left_out, self.path);
                wrap(out, "", TIME + 2, &left_out);
            }
            let time = match at {
                0 => clock_ms(step.fact.at, self.zone),
                _ => format!("+{}", step.after),
            };
            let head = format!("{time:>TIME$}  {:<width$}", leaf(&step.who));
            wrap(out, &head, TIME + 2 + width, &step.text);
        }
    }
}

/// `head`, then `text` from column `indent` on, broken between words.
fn wrap(out: &mut String, head: &str, indent: usize, text: &str) {
    let mut line = format!("{head:<indent$}");
    let mut begun = false;
    for word in text.split_whitespace() {
        if begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(indent);
            begun = false;
        }
        if begun {
            line.push(' ');
        }
        line.push_str(word);
        begun = true;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}
