//! `woodward status`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::detail;
use super::last;
use super::page::{Page, page};
use super::report::{self, Code, Failure};
use super::style::{Style, lasted};
use super::target::Target;
use crate::control::client::{Client, Endpoint, encode};
use crate::control::message::Shown;
use crate::os::clock;
use crate::record::words;
use crate::runtime::view::Row;

/// Shows the tree, or one child with its last lines
#[derive(clap::Args)]
pub struct Args {
    /// A child or subtree: its path or any unique end of it
    path: Option<String>,
    /// Also what is up, in crowds
    #[arg(long)]
    all: bool,
    /// Again every second, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// An array, one object per supervisor and worker
    #[arg(long)]
    json: bool,
    /// Where `run --state` put the history
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// Shows it.
pub fn run(args: Args) -> ExitCode {
    if !args.watch {
        return report::end(show(&args).and_then(|shown| {
            report::print(&shown.text);
            shown.failure.map_or(Ok(Code::Done), Err)
        }));
    }
    let style = Style::here();
    loop {
        let text = show(&args).map_or_else(|failure| format!("{failure}\n"), |shown| shown.text);
        // Home, text, and away with the rest: without a blank moment in between.
        let clear = |text: &str| format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"));
        report::print(&if style.colour { clear(&text) } else { format!("{text}\n") });
        Client::pause(Duration::from_secs(1));
    }
}

/// What is shown.
struct Shows {
    text: String,
    /// What is shown is only what was last known, because of this.
    failure: Option<Failure>,
}

fn show(args: &Args) -> Result<Shows, Failure> {
    match args.target.client() {
        Ok(client) => {
            let text = match &args.path {
                Some(path) => one(args, &client, path)?,
                None => all(args, &client)?,
            };
            Ok(Shows { text, failure: None })
        }
        Err(failure) if failure.code == Code::NoDaemon => match not_running(args)? {
            Some(text) => Ok(Shows { text, failure: Some(failure) }),
            None => Err(failure),
        },
        Err(failure) => Err(failure),
    }
}

fn all(args: &Args, client: &Client) -> Result<String, Failure> {
    let mut pages = Vec::new();
    let mut everything: Vec<Row> = Vec::new();
    for endpoint in client.endpoints() {
        let rows: Vec<Row> = client.get(endpoint, "/v1/status")?;
        if args.json {
            everything.extend(rows);
        } else {
            pages.push(draw(args, endpoint, &rows));
        }
    }
    if args.json { json(&everything) } else { Ok(pages.join("\n")) }
}

fn one(args: &Args, client: &Client, asked: &str) -> Result<String, Failure> {
    let (endpoint, path) = client.locate(asked)?;
    if args.json {
        let rows: Vec<Row> = client.get(endpoint, &format!("/v1/status/{}", encode(&path)))?;
        return json(&rows);
    }
    let shown: Shown = client.get(endpoint, &format!("/v1/show/{}", encode(&path)))?;
    let now = clock::wall();
    let looks = detail::Looks { now, zone: clock::zone(now), style: Style::here() };
    let subtree = if shown.rows.len() > 1 { draw(args, endpoint, &shown.rows) } else { String::new() };
    Ok(detail::detail(&shown, &subtree, looks))
}

fn draw(args: &Args, endpoint: &Endpoint, rows: &[Row]) -> String {
    let daemon = &endpoint.daemon;
    let now = clock::wall();
    let up = words::from_rfc3339(&daemon.started).map_or(0, |started| now.saturating_sub(started));
    let version = daemon.woodward.strip_suffix(".0").unwrap_or(&daemon.woodward);
    page(&Page {
        rows,
        host: &daemon.host,
        daemon: &format!("up {}, woodward {version}", lasted(up)),
        left: None,
        now,
        zone: clock::zone(now),
        all: args.all,
        style: Style::here(),
    })
}

fn json(rows: &[Row]) -> Result<String, Failure> {
    match serde_json::to_string_pretty(rows) {
        Ok(text) => Ok(text + "\n"),
        Err(error) => Err(Failure::new(Code::Failed, format!("cannot write JSON: {error}"))),
    }
}

/// What was last known, from the history; `None`: there is none.
fn not_running(args: &Args) -> Result<Option<String>, Failure> {
    let known = last::known(args.state.as_deref(), args.target.is_settled());
    if known.is_empty() {
        return Ok(None);
    }
    if let Some(asked) = &args.path {
        let (last, path) = last::locate(&known, asked)?;
        let rows: Vec<Row> =
            last.rows.iter().filter(|row| words::is_within(&row.path, &path)).cloned().collect();
        return if args.json { json(&rows).map(Some) } else { Ok(Some(draw_last(args, last, &rows))) };
    }
    if args.json {
        return json(&known.into_iter().flat_map(|last| last.rows).collect::<Vec<_>>()).map(Some);
    }
    let pages: Vec<String> = known.iter().map(|last| draw_last(args, last, &last.rows)).collect();
    Ok(Some(pages.join("\n")))
}

fn draw_last(args: &Args, last: &last::Last, rows: &[Row]) -> String {
    let now = clock::wall();
    page(&Page {
        rows,
        host: "",
        daemon: &format!("last seen {} ago", lasted(now.saturating_sub(last.seen))),
        left: Some(last::living(rows)),
        now,
        zone: clock::zone(now),
        all: args.all,
        style: Style::here(),
    })
}
