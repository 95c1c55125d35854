//! `woodward availability`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::events;
use super::last;
use super::report::{self, Code, Failure};
use super::style::{Style, WIDTH, lasted, wrap};
use super::target::{Target, misread};
use crate::control::client::{Endpoint, encode};
use crate::os::clock;
use crate::record::availability::{Asked, Availability, Figures, Goal, Share, availability};
use crate::record::words::{about, clock as time_of_day, day, is_within, leaf};

/// Causes shown.
const CAUSES: usize = 8;

/// Shows how much of the time things were up, and why not
#[derive(clap::Args)]
pub struct Args {
    /// A child or subtree [default: all trees]
    path: Option<String>,
    /// Only from then on: 7d (ago), 03:12, 03:12:40
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The same as an array, one object per tree asked for
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
    report::end(show(&args))
}

fn show(args: &Args) -> Result<Code, Failure> {
    let now = clock::wall();
    let zone = clock::zone(now);
    let since = args.since.as_ref().map(|text| events::since(text, now, zone)).transpose()?;
    let client = match args.target.client() {
        Ok(client) => client,
        Err(failure) if failure.code == Code::NoDaemon => return last_known(args, since, now, zone, failure),
        Err(failure) => return Err(failure),
    };
    let questions: Vec<(&Endpoint, String)> = match &args.path {
        Some(asked) => vec![client.locate(asked)?],
        None => client.endpoints().iter().map(|endpoint| (endpoint, String::new())).collect(),
    };
    let mut found = Vec::new();
    for (endpoint, path) in questions {
        let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
        let uri = format!("/v1/availability?path={}{since}", encode(&path));
        let answer: Availability = client.get(endpoint, &uri)?;
        found.push(answer);
    }
    print(args, found, zone)?;
    Ok(Code::Done)
}

/// From the histories, if there are any; that no daemon was reached is a failure all the same.
fn last_known(
    args: &Args,
    since: Option<u64>,
    now: u64,
    zone: i32,
    failure: Failure,
) -> Result<Code, Failure> {
    if args.target.is_settled() && args.state.is_none() {
        return Err(failure);
    }
    let known = last::known(args.state.as_deref(), args.target.is_settled());
    let path = match &args.path {
        Some(asked) if !known.is_empty() => last::locate(&known, asked)?.1,
        _ => String::new(),
    };
    let asked =
        |last: last::Last| availability(&Asked { facts: &last.all, path: &path, since, now, live: false });
    let found: Vec<Availability> =
        known.into_iter().map(asked).filter(|found| !found.rows.is_empty()).collect();
    if found.is_empty() {
        return Err(failure);
    }
    print(args, found, zone)?;
    Err(failure)
}

fn print(args: &Args, found: Vec<Availability>, zone: i32) -> Result<(), Failure> {
    if args.json {
        let text = serde_json::to_string_pretty(&found).map_err(|error| misread(&error))?;
        report::print(&(text + "\n"));
        return Ok(());
    }
    let pages = found.iter().flat_map(|found| pages(found, zone, Style::here()));
    report::print(&pages.collect::<Vec<_>>().join("\n"));
    Ok(())
}

/// One page per top: a tree, or the child asked for.
pub(super) fn pages(found: &Availability, zone: i32, style: Style) -> Vec<String> {
    let mut pages = Vec::new();
    let mut rest = found.rows.as_slice();
    while let Some(top) = rest.first() {
        let length = rest.iter().take_while(|row| is_within(&row.path, &top.path)).count();
        let (rows, others) = rest.split_at(length);
        pages.push(page(found, rows, zone, style));
        rest = others;
    }
    pages
}

fn page(found: &Availability, rows: &[Figures], zone: i32, style: Style) -> String {
    let Some(top) = rows.first() else { return String::new() };
    let mut out = head(found, top, zone);
    out.push_str(&format!(
        "\n{:<29}{:>9}{:>7}{:>9}{:>9}{:>9}\n",
        "", "up", "times", "repair", "between", "planned"
    ));
    for row in rows {
        out.push_str(&line(row, &top.path, style));
    }
    out.push_str(&goals(&top.goals, style));
    out.push_str(&shares("down because of", &top.causes, style));
    out.push_str(&shares("planned", &top.planned, style));
    out
}

/// `acs: 99.98% up since 2026-11-21 03:12:40, for 2d 4h`.
fn head(found: &Availability, top: &Figures, zone: i32) -> String {
    let begin = match found.since == found.records_since {
        true => "since records begin, ",
        false => "since ",
    };
    let from = format!("{} {}", day(found.since, zone), time_of_day(found.since, zone));
    let time = lasted(found.until.saturating_sub(found.since));
    let mut out = format!("{}: {} up {begin}{from}, {time} ago\n", top.path, percent(top.ratio));
    if top.unknown_ms > 0 {
        let unknown = about(Duration::from_millis(top.unknown_ms));
        out.push_str(&format!("of {unknown} nobody knows how it was; they count neither way\n"));
    }
    out
}

fn line(row: &Figures, top: &str, style: Style) -> String {
    let depth = row.path[top.len().min(row.path.len())..].matches('/').count();
    let name = if depth == 0 { row.path.as_str() } else { leaf(&row.path) };
    let mut name: String = format!("{}{}", "  ".repeat(depth.min(6)), style.text(name));
    if name.chars().count() > 28 {
        name = name.chars().take(28 - style.dots().chars().count()).collect::<String>() + style.dots();
    }
    let time = |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| about(Duration::from_millis(ms)));
    let planned = Some(row.planned_ms).filter(|ms| *ms > 0);
    format!(
        "{name:<29}{:>9}{:>7}{:>9}{:>9}{:>9}\n",
        percent(row.ratio),
        row.interruptions,
        time(row.mttr_ms),
        time(row.mtbf_ms),
        time(planned),
    )
}

/// Cut, not rounded: what is not all is never shown as 100%.
fn percent(ratio: Option<f64>) -> String {
    match ratio {
        None => "-".to_owned(),
        Some(ratio) if ratio >= 1.0 => "100%".to_owned(),
        Some(ratio) => format!("{:.3}%", (ratio * 100_000.0).floor() / 1000.0),
    }
}

fn goals(goals: &[Goal], style: Style) -> String {
    let mut out =
        format!("\n{:<12}{:>9}{:>7}{:>7}{:>8}{:>9}\n", "goal met", "up", "99%", "99.9%", "99.99%", "99.999%");
    let (yes, no) = if style.unicode { ("✓", "·") } else { ("yes", "no") };
    for goal in goals {
        let met = |wanted: u32| match goal.ratio {
            None => "-",
            Some(_) if goal.met.is_some_and(|met| met >= wanted) => yes,
            Some(_) => no,
        };
        let short = match goal.recorded_ms < goal.of_ms {
            true => format!("  of which {} are recorded", lasted(goal.recorded_ms)),
            false => String::new(),
        };
        out.push_str(&format!(
            "last {:<7}{:>9}{:>7}{:>7}{:>8}{:>9}{short}\n",
            goal.window,
            percent(goal.ratio),
            met(99_000),
            met(99_900),
            met(99_990),
            met(99_999),
        ));
    }
    out
}

fn shares(title: &str, shares: &[Share], style: Style) -> String {
    if shares.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{:>5}{:>9}  {title}\n", "times", "together");
    for share in shares.iter().take(CAUSES) {
        let what = match share.path.as_str() {
            "" => share.text.clone(),
            path => format!("{path}: {}", share.text),
        };
        let time = about(Duration::from_millis(share.ms));
        let mut lines = wrap(&style.text(&what), WIDTH - 16).into_iter();
        out.push_str(&format!("{:>5}{time:>9}  {}\n", share.times, lines.next().unwrap_or_default()));
        lines.for_each(|line| out.push_str(&format!("{:>16}{line}\n", "")));
    }
    if shares.len() > CAUSES {
        out.push_str(&format!("{:>16}and {} more: --json\n", "", shares.len() - CAUSES));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::fact::FactLine;

    #[test]
    fn a_page_fits_and_says_what_was_met() {
        let fact =
            |at: u64, path: &str, kind: &str| FactLine::note(at * 1000, at + 1, path, 1, kind, String::new());
        let long = "t/a_rather_long_name_for_a_child_of_a_tree";
        let facts = vec![
            fact(0, "t", "starting").with("supervisor", true),
            fact(0, long, "starting"),
            fact(1, long, "ready"),
            fact(9_000, long, "ended").with("exit", "SIGKILL").with("exit_signal", 9),
            fact(9_010, long, "ready"),
        ];
        let found =
            availability(&Asked { facts: &facts, path: "", since: None, now: 86_401_000, live: true });
        let [page] = &pages(&found, 0, Style::plain(true))[..] else { panic!("one tree, one page") };
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
        let expected = "\
t: 99.988% up since records begin, 1970-01-01 00:00:00, 1d ago

                                    up  times   repair  between  planned
t                              99.988%      1      10s  23h 59m       1s
  a_rather_long_name_for_a_…   99.988%      1      10s  23h 59m       1s

goal met           up    99%  99.9%  99.99%  99.999%
last day      99.988%      ✓      ✓       ·        ·
last week     99.988%      ✓      ✓       ·        ·  of which 1d are recorded
last month    99.988%      ✓      ✓       ·        ·  of which 1d are recorded

times together  down because of
    1      10s  t/a_rather_long_name_for_a_child_of_a_tree: killed by SIGKILL

times together  planned
    1       1s  t/a_rather_long_name_for_a_child_of_a_tree: was being started
";
        assert_eq!(page, expected);
    }

    #[test]
    fn what_is_not_all_is_never_100_percent() {
        assert_eq!(
            (percent(Some(0.999_999_9)), percent(Some(1.0)), percent(None)),
            ("99.999%".into(), "100%".into(), "-".into())
        );
    }
}
