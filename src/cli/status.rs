//! `woodward status`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::cluster;
use super::detail;
use super::last;
use super::page::{Page, page};
use super::report::{self, Code, Failure};
use super::style::{Style, WIDTH, lasted, wrap};
use super::target::Target;
use crate::control::client::{Client, Endpoint, encode};
use crate::control::message::Shown;
use crate::os::clock;
use crate::record::words;
use crate::runtime::view::Row;

/// Trees that have not been seen for longer (ms) are not missed.
const LATELY: u64 = 7 * 86_400_000;

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
    let client = match args.target.client() {
        Ok(client) => client,
        Err(failure) if failure.code == Code::NoDaemon => {
            return not_running(args, &[], failure.clone(), failure);
        }
        Err(failure) => return Err(failure),
    };
    let text = match &args.path {
        Some(path) => one(args, &client, path),
        None => all(args, &client),
    };
    match text {
        Ok(text) => Ok(Shows { text, failure: None }),
        // Perhaps a path of a tree whose own daemon does not run.
        Err(failure) if args.path.is_some() && failure.code == Code::Usage => {
            not_running(args, &running(&client), last::absent(), failure)
        }
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
            let away = cluster::elsewhere(client, endpoint);
            if away.is_empty() || !rows.is_empty() {
                pages.push(draw(args, endpoint, &rows, client.endpoints().len() > 1));
            }
            if !away.is_empty() {
                let lines = away.iter().flat_map(|(_, line)| hanging(line)).collect::<Vec<_>>().join("\n");
                pages.push(lines + "\n\nwoodward cluster status shows all nodes\n");
            }
        }
    }
    if args.json {
        return json(&everything);
    }
    if !args.target.is_settled() {
        let running: Vec<&String> = client.endpoints().iter().flat_map(|one| &one.daemon.trees).collect();
        pages.extend(
            last::known(args.state.as_deref(), false).iter().filter_map(|last| missing(last, &running)),
        );
    }
    Ok(pages.join("\n"))
}

/// Ids of all trees that run.
fn running(client: &Client) -> Vec<&String> {
    client.endpoints().iter().flat_map(|one| &one.daemon.trees).collect()
}

/// One line about a tree that ran lately and does not now, while others do.
fn missing(last: &last::Last, running: &[&String]) -> Option<String> {
    let root = &last.rows.first()?.path;
    let ago = clock::wall().saturating_sub(last.seen);
    if running.contains(&root) || ago > LATELY {
        return None;
    }
    Some(format!("{root}: not running, last seen {} ago: woodward status {root}\n", lasted(ago)))
}

fn one(args: &Args, client: &Client, asked: &str) -> Result<String, Failure> {
    let (endpoint, path) =
        client.locate(asked).map_err(|problem| of_cluster(client, asked, problem.into()))?;
    if args.json {
        let rows: Vec<Row> = client.get(endpoint, &format!("/v1/status/{}", encode(&path)))?;
        return json(&rows);
    }
    let shown: Shown = client.get(endpoint, &format!("/v1/show/{}", encode(&path)))?;
    let now = clock::wall();
    let looks = detail::Looks { now, zone: clock::zone(now), style: Style::here() };
    let subtree = if shown.rows.len() > 1 {
        draw(args, endpoint, &shown.rows, client.endpoints().len() > 1)
    } else {
        String::new()
    };
    let group = path.split('/').next().unwrap_or(&path);
    let away = cluster::elsewhere(client, endpoint).into_iter().find(|(name, _)| name == group);
    let away = away.map_or(String::new(), |(_, line)| hanging(&line).join("\n") + "\n\n");
    Ok(away + &detail::detail(&shown, &subtree, looks))
}

/// A path that is not here may be of a group that is elsewhere.
fn of_cluster(client: &Client, asked: &str, failure: Failure) -> Failure {
    let group = asked.split('/').next().unwrap_or(asked);
    let away = client.endpoints().iter().flat_map(|endpoint| cluster::elsewhere(client, endpoint));
    match away.into_iter().find(|(name, _)| name == group) {
        Some((name, line)) => Failure { message: format!("cannot show {asked}: {line}"), ..failure }
            .hint(format!("woodward cluster why {name}")),
        None => failure,
    }
}

/// A text in lines of the page; all but the first are indented.
fn hanging(text: &str) -> Vec<String> {
    let lines = wrap(text, WIDTH - 2).into_iter().enumerate();
    lines.map(|(n, line)| if n == 0 { line } else { format!("  {line}") }).collect()
}

fn draw(args: &Args, endpoint: &Endpoint, rows: &[Row], others: bool) -> String {
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
        others,
        style: Style::here(),
    })
}

fn json(rows: &[Row]) -> Result<String, Failure> {
    match serde_json::to_string_pretty(rows) {
        Ok(text) => Ok(text + "\n"),
        Err(error) => Err(Failure::new(Code::Failed, format!("cannot write JSON: {error}"))),
    }
}

/// What was last known of trees that are not `running`, from the history, with the failure `absent`; if there is nothing
/// to be shown, `unknown` is the failure.
fn not_running(
    args: &Args,
    running: &[&String],
    absent: Failure,
    unknown: Failure,
) -> Result<Shows, Failure> {
    let mut known = last::known(args.state.as_deref(), args.target.is_settled());
    known.retain(|last| last.rows.first().is_some_and(|root| !running.contains(&&root.path)));
    if known.is_empty() {
        return Err(unknown);
    }
    let text = match &args.path {
        Some(asked) => {
            let Ok((last, path)) = last::locate(&known, asked) else { return Err(unknown) };
            let below = last.rows.iter().filter(|row| words::is_within(&row.path, &path));
            let rows: Vec<Row> = below.cloned().collect();
            if args.json { json(&rows)? } else { draw_last(args, last, &rows, false) }
        }
        None if args.json => json(&known.into_iter().flat_map(|last| last.rows).collect::<Vec<_>>())?,
        None => {
            let draw = |last: &last::Last| draw_last(args, last, &last.rows, known.len() > 1);
            known.iter().map(draw).collect::<Vec<String>>().join("\n")
        }
    };
    Ok(Shows { text, failure: Some(absent) })
}

fn draw_last(args: &Args, last: &last::Last, rows: &[Row], others: bool) -> String {
    let now = clock::wall();
    page(&Page {
        rows,
        host: "",
        daemon: &format!("last seen {} ago", lasted(now.saturating_sub(last.seen))),
        left: Some(last::living(rows)),
        now,
        zone: clock::zone(now),
        all: args.all,
        others,
        style: Style::here(),
    })
}
