//! `woodward apply`: the difference between what runs and a tree file, shown, then done.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hyper::Method;

use super::act::Teller;
use super::report::{self, Code, Failure};
use super::run::{absolute, id_of, variable};
use super::style::Style;
use super::target::{Target, misread};
use crate::control::client::{Client, Endpoint, encode};
use crate::control::message::Step;
use crate::os::clock;
use crate::runtime::reload::{Forecast, PathForecast, What};
use crate::tree::diff::Effect;

/// Makes a running tree what its file says now, and no more
///
/// The daemon reads the file, with the environment it was started with and the
/// variables given so far. A broken file changes nothing. SIGHUP to `woodward
/// run` does the same for all trees.
#[derive(clap::Args)]
pub struct Args {
    /// Tree file [default: those that run, from where they were read last]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Give a variable of the tree another value
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    vars: Vec<(String, String)>,
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
    /// What follows, then what happens, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Does it.
pub fn run(args: Args) -> ExitCode {
    report::end(apply(&args))
}

fn apply(args: &Args) -> Result<Code, Failure> {
    let client = args.target.client()?;
    let mut uri = format!("/v1/apply?dry_run={}&no_wait={}", args.dry_run, args.no_wait);
    if let Some(file) = &args.file {
        uri.push_str(&format!("&file={}", encode(&absolute(file).to_string_lossy())));
    }
    for (name, value) in &args.vars {
        uri.push_str(&format!("&var.{}={}", encode(name), encode(value)));
    }
    let mut worst = Code::Done;
    for endpoint in endpoints(&client, args.file.as_deref())? {
        let style = Style::here();
        let mut teller: Option<Teller> = None;
        client.stream(&Method::POST, vec![(endpoint, uri.clone())], |text| {
            let step: Step = serde_json::from_str(text).map_err(|error| misread(&error))?;
            if args.json {
                report::print(&format!("{text}\n"));
            }
            let told = match &step {
                Step::Forecast(forecast) => style.text(&groups(forecast)),
                step => {
                    let path = endpoint.daemon.trees.first().map(String::as_str).unwrap_or_default();
                    let teller =
                        teller.get_or_insert_with(|| Teller::new("apply", path, !args.no_wait, style));
                    teller.step(step, clock::wall())
                }
            };
            if !args.json {
                report::print(&told);
            }
            Ok(())
        })?;
        if let Some(teller) = teller
            && let Err(failure) = teller.end()
        {
            failure.report();
            worst = if worst == Code::Done { failure.code } else { worst };
        }
    }
    Ok(worst)
}

/// Whose tree it is; without a file, all.
fn endpoints<'c>(client: &'c Client, file: Option<&Path>) -> Result<Vec<&'c Endpoint>, Failure> {
    let all: Vec<&Endpoint> = client.endpoints().iter().collect();
    let Some(file) = file.filter(|_| all.len() > 1) else { return Ok(all) };
    let id = id_of(file);
    let of_it = |endpoint: &&&Endpoint| id.as_ref().is_some_and(|id| endpoint.daemon.trees.contains(id));
    match all.iter().find(of_it) {
        Some(endpoint) => Ok(vec![endpoint]),
        None => {
            let message = format!("cannot tell which daemon runs the tree of {}", file.display());
            Err(Failure::usage(message).hint("--socket PATH, or woodward run to start it"))
        }
    }
}

/// Four groups, empty ones too: how many services, and those of which there is something to say.
fn groups(forecast: &Forecast) -> String {
    let mut out = String::new();
    for what in What::ALL {
        out.push_str(&format!("{what} {}\n", forecast.number(what)));
        for path in forecast.paths.iter().filter(|path| path.what == what) {
            let why = reason(path);
            if what == What::Stay && why.is_empty() || path.supervisor && why.is_empty() {
                continue;
            }
            out.push_str(format!("  {}  {why}", path.path).trim_end());
            out.push('\n');
        }
    }
    out
}

/// `command (acs.toml:12)`, `goes along with acs/naming`.
fn reason(path: &PathForecast) -> String {
    let mut reasons: Vec<String> = path.with.iter().map(|with| format!("goes along with {with}")).collect();
    for changed in &path.changed {
        let place = changed.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        let then = match (path.what, changed.change.effect) {
            (What::Restart, _) | (_, Effect::Now) => "",
            (_, Effect::NextStart) => " at the next start",
            (_, Effect::Restart) => " at the next start: not restarted now",
        };
        reasons.push(format!("{}{place}{then}", changed.change.key));
    }
    reasons.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::reload::Changed;
    use crate::tree::diff::Change;

    fn path(path: &str, what: What, with: Option<&str>, keys: &[(&str, Effect)]) -> PathForecast {
        let changed = keys.iter().map(|(key, effect)| Changed {
            change: Change { key: (*key).to_owned(), effect: *effect },
            place: Some("acs.toml:12".to_owned()),
        });
        PathForecast {
            path: path.to_owned(),
            supervisor: path == "acs",
            what,
            with: with.map(str::to_owned),
            changed: changed.collect(),
            generation: 1,
        }
    }

    #[test]
    fn four_groups_are_shown_empty_ones_too() {
        let paths = vec![
            path("acs", What::Stay, None, &[("intensity", Effect::Now)]),
            path("acs/naming", What::Restart, None, &[("command", Effect::Restart)]),
            path("acs/cdb", What::Restart, Some("acs/naming"), &[]),
            path("acs/log", What::Stay, None, &[]),
            path("acs/held", What::Stay, None, &[("command", Effect::Restart)]),
            path("acs/new", What::Start, None, &[]),
        ];
        let shown = groups(&Forecast { tree: "acs".to_owned(), paths });
        let expected = "stay 2
  acs  intensity (acs.toml:12)
  acs/held  command (acs.toml:12) at the next start: not restarted now
restart 2
  acs/naming  command (acs.toml:12)
  acs/cdb  goes along with acs/naming
start 1
  acs/new
stop 0
";
        assert_eq!(shown, expected);
    }
}
