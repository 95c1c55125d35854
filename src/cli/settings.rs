//! `woodward settings`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::report::{self, Code, Failure};
use super::run::{refused, variable};
use super::target::{Target, misread};
use crate::control::client::{Client, Endpoint};
use crate::settings::{self, Flag, Loaded, Said, keys};

/// Prints the settings of the daemon, each with its origin
///
/// Of a running daemon: what it really uses. `now` marks what the next one
/// would use instead, because a file or the environment has changed since.
#[derive(clap::Args)]
pub struct Args {
    /// As an array of objects
    #[arg(long)]
    json: bool,
    /// As if this flag were given to `run`
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    set: Vec<Flag>,
    #[command(flatten)]
    target: Target,
}

/// The settings of one daemon, or of the one that would run.
#[derive(Debug, Serialize)]
struct Sheet {
    /// Trees of the daemon; empty: none runs.
    trees: Vec<String>,
    /// Its socket; null: none runs.
    socket: Option<PathBuf>,
    settings: Vec<Line>,
}

/// One setting.
#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    said: Said,
    /// What it would be if the daemon started now, if that is something else.
    now: Option<Said>,
}

/// Prints them.
pub fn run(args: Args) -> ExitCode {
    report::end(print(&args).map(|()| Code::Done))
}

fn print(args: &Args) -> Result<(), Failure> {
    let here = settings::load(&args.set).map_err(refused)?;
    here.doubtful.iter().for_each(|doubt| eprintln!("warning: {doubt}"));
    let sheets = match args.target.client() {
        Ok(client) => {
            let sheet = |endpoint| of_daemon(&client, endpoint, &here);
            client.endpoints().iter().map(sheet).collect::<Result<Vec<_>, _>>()?
        }
        Err(failure) if failure.code == Code::NoDaemon && !args.target.is_settled() => vec![of_none(here)],
        Err(failure) => return Err(failure),
    };
    if args.json {
        let text = serde_json::to_string_pretty(&sheets).map_err(|error| misread(&error))?;
        report::print(&(text + "\n"));
        return Ok(());
    }
    let texts: Vec<String> = sheets.iter().map(text).collect();
    report::print(&texts.join("\n"));
    Ok(())
}

fn of_none(here: Loaded) -> Sheet {
    let settings = here.said.into_iter().map(|said| Line { said, now: None }).collect();
    Sheet { trees: Vec::new(), socket: None, settings }
}

fn of_daemon(client: &Client, endpoint: &Endpoint, here: &Loaded) -> Result<Sheet, Failure> {
    let said: Vec<Said> = client.get(endpoint, "/v1/settings")?;
    let line = |said: Said| {
        // Flags are the daemon's own; what stands below them is not seen from here.
        let now = here.said.iter().find(|now| now.key == said.key);
        let now = now.filter(|now| now.value != said.value && said.origin != "--set").cloned();
        Line { said, now }
    };
    let settings = said.into_iter().map(line).collect();
    Ok(Sheet { trees: endpoint.daemon.trees.clone(), socket: Some(endpoint.socket.clone()), settings })
}

fn text(sheet: &Sheet) -> String {
    let mut out = match &sheet.socket {
        Some(socket) => format!("{} at {}\n", sheet.trees.join(", "), socket.display()),
        None => "no woodward runs here; one that is started now would use\n".to_owned(),
    };
    let key = keys::names().map(str::len).max().unwrap_or_default();
    let value = sheet.settings.iter().map(|line| shown(&line.said.value).chars().count());
    let value = value.max().unwrap_or_default().min(24);
    for Line { said, now } in &sheet.settings {
        out.push_str(&format!("  {:<key$}  {:<value$}  {}\n", said.key, shown(&said.value), said.origin));
        if let Some(now) = now {
            out.push_str(&format!("  {:>key$}  {:<value$}  {}\n", "now", shown(&now.value), now.origin));
        }
    }
    out
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "-" } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_stands_with_its_origin_and_what_it_would_be_now() {
        let said = |value: &str, origin: &str| Said {
            key: "history_keep".to_owned(),
            value: value.to_owned(),
            origin: origin.to_owned(),
        };
        let line = Line { said: said("7", "default"), now: Some(said("3", "/etc/woodward/woodward.toml:4")) };
        let sheet = Sheet {
            trees: vec!["acs".to_owned()],
            socket: Some(PathBuf::from("/run/woodward/acs.sock")),
            settings: vec![line],
        };
        insta::assert_snapshot!(text(&sheet), @r"
        acs at /run/woodward/acs.sock
          history_keep            7  default
                             now  3  /etc/woodward/woodward.toml:4
        ");
    }
}
