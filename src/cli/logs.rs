//! `woodward logs`.

use std::process::ExitCode;

use hyper::Method;

use super::detail::shown;
use super::report::{self, Code, Failure};
use super::style::Style;
use super::target::{Target, misread};
use crate::control::client::{Client, Endpoint, encode};
use crate::control::message::Dropped;
use crate::os::clock;
use crate::record::Line;
use crate::record::words;

/// Prints lines of children
#[derive(clap::Args)]
pub struct Args {
    /// Children or subtrees [default: all]
    paths: Vec<String>,
    /// Go on with lines as they come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// So many of the last lines
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 50)]
    lines: usize,
    /// One object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Prints them.
pub fn run(args: Args) -> ExitCode {
    report::end(logs(&args).map(|()| Code::Done))
}

fn logs(args: &Args) -> Result<(), Failure> {
    let client = args.target.client()?;
    let questions = questions(args, &client)?;
    let printer =
        Printer { single: single(&questions), zone: clock::zone(clock::wall()), style: Style::here() };
    if args.follow {
        let ask = questions.into_iter().map(|(endpoint, paths)| (endpoint, uri(args, &paths))).collect();
        client.stream(&Method::GET, ask, |text| {
            let out = if args.json { format!("{text}\n") } else { printer.json(text)? };
            report::print(&out);
            Ok(())
        })?;
        return Err(Failure::new(Code::TryAgain, "cannot follow any longer: the daemon went away"));
    }
    let mut lines: Vec<Line> = Vec::new();
    for (endpoint, paths) in &questions {
        let more: Vec<Line> = client.get(endpoint, &uri(args, paths))?;
        lines.extend(more);
    }
    // Each daemon's come in order; several are merged.
    lines.sort_by_key(|line| line.at);
    let from = lines.len().saturating_sub(args.lines);
    let mut out = String::new();
    for line in &lines[from..] {
        match args.json {
            true => out.push_str(&(serde_json::to_string(line).map_err(|error| misread(&error))? + "\n")),
            false => out.push_str(&printer.line(line)),
        }
    }
    report::print(&out);
    Ok(())
}

/// Whom to ask for which paths; no path: everything of every daemon.
fn questions<'a>(args: &Args, client: &'a Client) -> Result<Vec<(&'a Endpoint, Vec<String>)>, Failure> {
    if args.paths.is_empty() {
        return Ok(client.endpoints().iter().map(|endpoint| (endpoint, Vec::new())).collect());
    }
    let mut questions: Vec<(&Endpoint, Vec<String>)> = Vec::new();
    for asked in &args.paths {
        let (endpoint, path) = client.locate(asked)?;
        match questions.iter_mut().find(|(known, _)| known.socket == endpoint.socket) {
            Some((_, paths)) => paths.push(path),
            None => questions.push((endpoint, vec![path])),
        }
    }
    Ok(questions)
}

fn uri(args: &Args, paths: &[String]) -> String {
    let follow = if args.follow { "&follow=true" } else { "" };
    format!("/v1/logs?path={}&n={}{follow}", encode(&paths.join(",")), args.lines)
}

/// The path, if one was asked for: it then needs no path in front of its own lines.
fn single(questions: &[(&Endpoint, Vec<String>)]) -> Option<String> {
    match questions {
        [(_, paths)] if paths.len() == 1 => paths.first().cloned(),
        _ => None,
    }
}

/// How a line looks.
struct Printer {
    single: Option<String>,
    zone: i32,
    style: Style,
}

impl Printer {
    fn line(&self, line: &Line) -> String {
        let clock = words::clock(line.at, self.zone);
        let text = shown(&line.text, self.style);
        match &self.single {
            Some(path) if *path == line.path => format!("{clock} {text}\n"),
            _ => format!("{clock} {}: {text}\n", line.path),
        }
    }

    /// A line of a followed stream.
    fn json(&self, text: &str) -> Result<String, crate::control::message::Problem> {
        if let Ok(line) = serde_json::from_str::<Line>(text) {
            return Ok(self.line(&line));
        }
        let dropped: Dropped = serde_json::from_str(text).map_err(|error| misread(&error))?;
        Ok(format!("({} lines were dropped here: this reader was too slow)\n", dropped.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_in_front_when_there_are_several() {
        let line =
            Line { seq: 1, at: 11_560_118, path: "t/a".into(), generation: 1, text: "hello\x07".into() };
        let printer = |single: Option<&str>| Printer {
            single: single.map(str::to_owned),
            zone: 0,
            style: Style::plain(true),
        };
        assert_eq!(printer(Some("t/a")).line(&line), "03:12:40 hello?\n");
        assert_eq!(printer(Some("t")).line(&line), "03:12:40 t/a: hello?\n");
        assert_eq!(printer(None).line(&line), "03:12:40 t/a: hello?\n");
        let dropped = printer(None).json(r#"{"dropped":7}"#).unwrap();
        assert_eq!(dropped, "(7 lines were dropped here: this reader was too slow)\n");
        assert!(printer(None).json("nonsense").is_err());
    }
}
