//! `woodward events`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hyper::Method;

use super::last;
use super::report::{self, Code, Failure};
use super::style::{Style, lasted};
use super::target::{Target, misread};
use crate::control::client::{Client, Endpoint, encode};
use crate::control::message::{Dropped, Problem};
use crate::os::clock;
use crate::record::fact::FactLine;
use crate::record::{history, words};
use crate::settings::Said;

/// Prints facts, one a line
#[derive(clap::Args)]
pub struct Args {
    /// A child or subtree [default: everything]
    path: Option<String>,
    /// Go on with facts as they come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only from then on: 10m (ago), 03:12, 03:12:40
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// One object a line
    #[arg(long)]
    json: bool,
    /// Where `run --state` put the history
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// Prints them.
pub fn run(args: Args) -> ExitCode {
    report::end(events(&args).map(|()| Code::Done))
}

fn events(args: &Args) -> Result<(), Failure> {
    let now = clock::wall();
    let zone = clock::zone(now);
    let since = args.since.as_ref().map(|text| since(text, now, zone)).transpose()?;
    let mut printer = Printer { day: words::day(now, zone), zone, style: Style::here() };
    let client = match args.target.client() {
        Ok(client) => client,
        Err(failure) if failure.code == Code::NoDaemon && !args.follow => {
            return last_known(args, since, &mut printer, failure);
        }
        Err(failure) => return Err(failure),
    };
    let questions: Vec<(&Endpoint, String)> = match &args.path {
        Some(asked) => match client.locate(asked) {
            Ok(found) => vec![found],
            Err(unknown) => return of_another(args, since, &mut printer, unknown.into()),
        },
        None => client.endpoints().iter().map(|endpoint| (endpoint, String::new())).collect(),
    };
    let uri = |path: &str| {
        let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
        let follow = if args.follow { "&follow=true" } else { "" };
        format!("/v1/events?path={}{since}{follow}", encode(path))
    };
    if args.follow {
        let ask = questions.into_iter().map(|(endpoint, path)| (endpoint, uri(&path))).collect();
        client.stream(&Method::GET, ask, |text| {
            report::print(&if args.json { format!("{text}\n") } else { printer.json(text)? });
            Ok(())
        })?;
        return Err(Failure::new(Code::TryAgain, "cannot follow any longer: the daemon went away"));
    }
    let mut facts: Vec<FactLine> = Vec::new();
    for (endpoint, path) in &questions {
        let more: Vec<FactLine> = client.get(endpoint, &uri(path))?;
        if let Some(since) = since {
            facts.extend(before(&client, endpoint, path, since, &more));
        }
        facts.extend(more);
    }
    facts.sort_by_key(|fact| (fact.at, fact.seq));
    print(args, &facts, &mut printer)
}

/// What a daemon has forgotten since then: its memory is bounded, its history goes back further. What cannot be read, as
/// by a member of `socket_group`, is not shown.
fn before(client: &Client, endpoint: &Endpoint, path: &str, since: u64, more: &[FactLine]) -> Vec<FactLine> {
    let settings: Vec<Said> = client.get(endpoint, "/v1/settings").unwrap_or_default();
    let history = settings.into_iter().find(|said| said.key == "history" && !said.value.is_empty());
    let Some(history) = history else { return Vec::new() };
    let mut facts = history::read(Path::new(&history.value)).unwrap_or_default();
    let known: HashSet<(u64, u64)> = more.iter().map(|fact| (fact.seq, fact.at)).collect();
    facts.retain(|fact| {
        fact.at >= since && words::is_within(&fact.path, path) && !known.contains(&(fact.seq, fact.at))
    });
    facts
}

/// Perhaps a path of a tree whose own daemon does not run while others do.
fn of_another(
    args: &Args,
    since: Option<u64>,
    printer: &mut Printer,
    unknown: Failure,
) -> Result<(), Failure> {
    let known = last::known(args.state.as_deref(), args.target.is_settled());
    let found = args.path.as_ref().is_some_and(|asked| last::locate(&known, asked).is_ok());
    if args.follow || unknown.code != Code::Usage || !found {
        return Err(unknown);
    }
    last_known(args, since, printer, last::absent())
}

fn print(args: &Args, facts: &[FactLine], printer: &mut Printer) -> Result<(), Failure> {
    let mut out = String::new();
    for fact in facts.iter().filter(|fact| args.json || is_news(fact)) {
        match args.json {
            true => out.push_str(&(serde_json::to_string(fact).map_err(|error| misread(&error))? + "\n")),
            false => out.push_str(&printer.fact(fact)),
        }
    }
    report::print(&out);
    Ok(())
}

/// OTP's reports repeat what other facts say: for programs that compare, not for people.
fn is_news(fact: &FactLine) -> bool {
    !fact.kind.starts_with("report_")
}

/// From the histories, if there are any; that no daemon was reached is a failure all the same.
fn last_known(
    args: &Args,
    since: Option<u64>,
    printer: &mut Printer,
    failure: Failure,
) -> Result<(), Failure> {
    let known = last::known(args.state.as_deref(), args.target.is_settled());
    if known.is_empty() {
        return Err(failure);
    }
    let top = match &args.path {
        Some(asked) => last::locate(&known, asked)?.1,
        None => String::new(),
    };
    let seen = known.iter().map(|last| last.seen).max().unwrap_or_default();
    // Of the last run, unless somebody looks further back.
    let of = |last: last::Last| if since.is_some() { last.all } else { last.facts().to_vec() };
    let mut facts: Vec<FactLine> = known.into_iter().flat_map(of).collect();
    facts.retain(|fact| words::is_within(&fact.path, &top) && since.is_none_or(|since| fact.at >= since));
    facts.sort_by_key(|fact| fact.at);
    print(args, &facts, printer)?;
    if !args.json {
        report::print(&format!(
            "not running; last seen {} ago\n",
            lasted(clock::wall().saturating_sub(seen))
        ));
    }
    Err(failure)
}

/// What `--since` says.
pub(super) fn since(text: &str, now: u64, zone: i32) -> Result<u64, Failure> {
    moment(text, now, zone).ok_or_else(|| {
        Failure::usage(format!("cannot read --since {text}: no time"))
            .hint("10m (ago), 03:12, 03:12:40 or 2026-11-21T03:12:40Z")
    })
}

/// A moment as people write it, in milliseconds since 1970, UTC. A time of day is the last one that is past.
fn moment(text: &str, now: u64, zone: i32) -> Option<u64> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Some(now.saturating_sub(u64::try_from(ago.as_millis()).ok()?));
    }
    if let Some(at) = words::from_rfc3339(text) {
        return Some(at);
    }
    let mut parts = text.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = parts.next().unwrap_or(Some(0))?;
    if hours > 23 || minutes > 59 || seconds > 59 || parts.next().is_some() {
        return None;
    }
    const DAY: i64 = 86_400_000;
    let wanted = i64::try_from((hours * 3600 + minutes * 60 + seconds) * 1000).ok()?;
    let local = i64::try_from(now).ok()? + i64::from(zone) * 1000;
    let since_then = (local.rem_euclid(DAY) - wanted).rem_euclid(DAY);
    now.checked_sub(u64::try_from(since_then).ok()?)
}

/// How a fact looks: time, path, text; a day of its own line when it changes.
struct Printer {
    day: String,
    zone: i32,
    style: Style,
}

impl Printer {
    fn fact(&mut self, fact: &FactLine) -> String {
        let mut out = String::new();
        let day = words::day(fact.at, self.zone);
        if day != self.day {
            out.push_str(&format!("{day}\n"));
            self.day = day;
        }
        let clock = words::clock_ms(fact.at, self.zone);
        out.push_str(&format!("{clock}  {:<22}  {}\n", fact.path, self.style.text(&fact.text)));
        out
    }

    /// A line of a followed stream.
    fn json(&mut self, text: &str) -> Result<String, Problem> {
        if let Ok(fact) = serde_json::from_str::<FactLine>(text) {
            return Ok(if is_news(&fact) { self.fact(&fact) } else { String::new() });
        }
        let dropped: Dropped = serde_json::from_str(text).map_err(|error| misread(&error))?;
        Ok(format!("({} facts were dropped here: this reader was too slow)\n", dropped.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T03:13:20Z.
    const NOW: u64 = 1_795_230_800_000;

    #[test]
    fn a_moment_is_written_as_people_do() {
        let check = |text: &str, expected: Option<&str>| {
            let found = moment(text, NOW, 3600).map(|at| words::rfc3339(at)[..19].to_owned());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("10m", Some("2026-11-21T03:03:20"));
        check("04:00", Some("2026-11-21T03:00:00"));
        check("04:13:21", Some("2026-11-20T03:13:21"));
        check("2026-11-20T00:00:00Z", Some("2026-11-20T00:00:00"));
        check("25:00", None);
        check("yesterday", None);
    }

    #[test]
    fn a_fact_is_one_line() {
        let mut printer = Printer { day: "2026-11-21".to_owned(), zone: 0, style: Style::plain(true) };
        let fact = |at| FactLine::note(at, 1, "acs/naming", 2, "ended", "ended: SIGKILL".to_owned());
        assert_eq!(printer.fact(&fact(NOW)), "03:13:20.000  acs/naming              ended: SIGKILL\n");
        assert!(printer.fact(&fact(NOW - 86_400_000)).starts_with("2026-11-20\n"));
    }
}
