//! `woodward plan`: the resulting tree, start order, what each crash drags along, how long a stop may take; with PATH
//! every key of one child and the line it comes from.

mod draw;

use std::path::PathBuf;
use std::process::ExitCode;

use super::check::{reading, variable};
use super::report::{self, Code, Failure};
use super::style::{Style, WIDTH, blanks, width, wrap};
use crate::control::resolve;
use crate::tree::{Options, Reading, Said};

/// Print the resulting tree and what each crash drags along
#[derive(clap::Args)]
pub struct Args {
    /// Tree file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Every key of this child, and the line it comes from
    #[arg(value_name = "PATH")]
    path: Option<String>,
    /// Every variable with its value and origin
    #[arg(long, conflicts_with = "path")]
    vars: bool,
    /// Give a variable of the tree a value; `host` too
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    set: Vec<(String, String)>,
}

/// Does it.
pub fn run(args: Args) -> ExitCode {
    report::end(show(args))
}

fn show(args: Args) -> Result<Code, Failure> {
    let options = Options { vars: args.set, ..Options::of_this_process() };
    let (reading, plan) = reading(&args.file, &options)?;
    let style = Style::here();
    let text = match args.path {
        Some(asked) => child(&reading, &asked)?,
        None if args.vars => variables(&reading),
        None => draw::tree(&plan, &reading.variables, style),
    };
    report::print(&style.text(&text));
    Ok(Code::Done)
}

/// Every key of one child.
fn child(reading: &Reading, asked: &str) -> Result<String, Failure> {
    let mut paths: Vec<&str> = reading.said.iter().map(|said| said.path.as_str()).collect();
    paths.dedup();
    let found = resolve::candidates(asked, paths.iter().copied());
    let path = match found[..] {
        [path] => path,
        [] => {
            let failure = Failure::usage(format!("cannot show {asked}: the tree has no such path"));
            let near = resolve::nearest(asked, paths.iter().copied());
            return Err(near
                .map(|near| failure.clone().hint(format!("did you mean {near}?")))
                .unwrap_or(failure));
        }
        _ => {
            let message = format!("cannot show {asked}: it may be {}", found.join(", "));
            return Err(Failure::usage(message).hint("write more of the path"));
        }
    };
    let said: Vec<&Said> = reading.said.iter().filter(|said| said.path == path).collect();
    let origin = |said: &Said| said.place.as_ref().map(|place| format!("{}:{}", place.file, place.line));
    let rows = said.iter().filter_map(|said| Some([said.key.clone(), said.value.clone(), origin(said)?]));
    let mut text = format!("{path}\n{}", table(rows.collect()));
    let defaults = said.iter().filter(|said| said.place.is_none());
    let defaults: Vec<String> = defaults.map(|said| format!("{} = {}", said.key, said.value)).collect();
    if !defaults.is_empty() {
        text += &lines(&format!("  defaults: {}", defaults.join(", ")), 4);
    }
    Ok(text)
}

/// Every variable.
fn variables(reading: &Reading) -> String {
    table(reading.variables.iter().map(|v| [v.name.clone(), v.value.clone(), v.origin.clone()]).collect())
}

/// Three columns: name, value, origin. A long value has its origin on the next line.
fn table(rows: Vec<[String; 3]>) -> String {
    let name = rows.iter().map(|[name, ..]| width(name)).max().unwrap_or(0);
    let origin = rows.iter().map(|[.., origin]| width(origin)).max().unwrap_or(0);
    let room = WIDTH.saturating_sub(name + origin + 6);
    let mut text = String::new();
    for [key, value, from] in rows {
        text += &format!("  {key}{}  {value}", blanks(name - width(&key)));
        if width(&value) <= room {
            text += &format!("{}  {from}\n", blanks(room - width(&value)));
        } else {
            text += &format!("\n{}{from}\n", blanks(WIDTH - origin));
        }
    }
    text
}

/// Wrapped, the lines but the first indented.
fn lines(text: &str, indent: usize) -> String {
    let first = text.len() - text.trim_start().len();
    let mut out = String::new();
    for (n, line) in wrap(text, WIDTH - indent).into_iter().enumerate() {
        out += &format!("{}{line}\n", blanks(if n == 0 { first } else { indent }));
    }
    out
}
