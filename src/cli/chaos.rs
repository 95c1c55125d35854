//! `woodward chaos`: faults in a live tree, by a schedule that a seed gives, and a look at what becomes of them.
//!
//! ```text
//! planned ─ its branch is up ─► done ─ all is up again, and explained ─► over
//!    └────── it is not ───────► skipped       └─ not in time ──► broken
//! ```
//!
//! The faults themselves are done by the daemon ([`crate::runtime::faults`]), and are over by themselves if this program
//! is killed. Each fault has a *case* here until its branch is up again; a branch has one case at a time.

mod schedule;
mod tell;
mod watch;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use super::report::{self, Code, Failure};
use super::target::Target;
use crate::control::client::{Client, Endpoint, encode};
use crate::control::message::Problem;
use crate::os::{Members, clock};
use crate::record::availability::Availability;
use crate::record::fact::FactLine;
use crate::record::why::Why;
use crate::record::words::{is_within, parent};
use crate::runtime::faults::{Done, Kind};
use crate::runtime::view::{self, Row, State};
use schedule::{Planned, Wish, schedule};
use tell::Teller;
use watch::Watch;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// A daemon that is away longer does not come back (ms).
const AWAY: u64 = 30_000;

/// Does harm to a live tree by a seed, and looks what comes of it
#[derive(clap::Args)]
#[command(after_help = "Faults: kill, kill-one, kill-all, hang, slow-start, exec-failure, flood.")]
pub struct Args {
    /// The tree, or a subtree of it
    tree: String,
    /// The same seed gives the same faults
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How long
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Only there: a child or subtree (repeatable)
    #[arg(long, value_name = "PATH")]
    on: Vec<String>,
    /// So many faults: 6/m, 1/s, 100/h
    #[arg(long, value_name = "N/TIME", default_value = "6/m", value_parser = rate)]
    rate: Duration,
    /// Only these faults, by name
    #[arg(long, value_name = "KIND,KIND", value_delimiter = ',', value_parser = kind)]
    faults: Vec<Kind>,
    /// Kill the daemon too
    #[arg(long)]
    daemon: bool,
    /// Longest that a recovery may take
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// Print the schedule and do nothing
    #[arg(long)]
    dry_run: bool,
    /// One object at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// The mean time between two faults.
fn rate(text: &str) -> Result<Duration, String> {
    let (count, unit) = text.split_once('/').ok_or("not like 6/m")?;
    let seconds = match unit {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("not a number per s, m or h".to_owned()),
    };
    let count: f64 = count.parse().map_err(|_| "not a number per s, m or h".to_owned())?;
    if !(count > 0.0 && count / seconds <= 100.0) {
        return Err("more than none, and at most 100/s".to_owned());
    }
    Duration::try_from_secs_f64(seconds / count).map_err(|error| error.to_string())
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::named(text).filter(|kind| *kind != Kind::Daemon).ok_or_else(|| "no such fault".to_owned())
}

/// Does it; 0 only if nothing is broken.
pub fn run(args: Args) -> ExitCode {
    report::end(chaos(&args))
}

fn chaos(args: &Args) -> Result<Code, Failure> {
    let client = args.target.client()?;
    let (endpoint, tree) = client.locate(&args.tree)?;
    let mut on = Vec::new();
    for path in &args.on {
        let (_, path) = client.locate(path)?;
        if !is_within(&path, &tree) {
            return Err(Failure::usage(format!("cannot do harm to {path}: it is not in {tree}")));
        }
        on.push(path);
    }
    let rows: Vec<Row> = client.get(endpoint, &format!("/v1/status/{}", encode(&tree)))?;
    let targets = targets(&rows, &on);
    let mut kinds = args.faults.clone();
    if kinds.is_empty() {
        kinds.extend(Kind::ALL.into_iter().filter(|kind| *kind != Kind::Daemon));
    }
    if args.daemon {
        kinds.push(Kind::Daemon);
    }
    let wish = Wish { seed: args.seed, time: args.time, every: args.rate, kinds, tree: tree.clone() };
    let (planned, left_out) = schedule(&wish, &targets);
    let mut teller = Teller::new(args.json);
    teller.begin(&wish, &planned, left_out);
    if args.dry_run {
        teller.planned(&planned);
        return Ok(Code::Done);
    }
    if planned.is_empty() {
        let why = "no child is up whose limit leaves a restart, or the time is too short";
        return Err(Failure::new(Code::Failed, format!("cannot do harm to {tree}: {why}")));
    }
    // Whether it is allowed is better said before the first one.
    let _: Option<Vec<Members>> = client.get(endpoint, "/v1/chaos")?;
    let patience = u64::try_from(args.patience.as_millis()).unwrap_or(u64::MAX);
    let mut run = Run {
        client: &client,
        endpoint,
        watch: Watch::new(&tree, &rows),
        begin: clock::now().0,
        begin_wall: clock::wall(),
        wanted: rows.iter().filter(|row| is_up(row)).map(|row| row.path.clone()).collect(),
        rows,
        cases: Vec::new(),
        harmed: BTreeMap::new(),
        seen: Seen::default(),
        away: None,
        patience,
        teller,
        tree,
    };
    run.all(&planned, args.time)
}

/// What may be harmed: services that are up, with the account that their restarts count in.
fn targets(rows: &[Row], on: &[String]) -> Vec<schedule::Target> {
    let wanted = |row: &&Row| {
        row.kind == view::Kind::Service
            && row.state == State::Up
            && row.pid.is_some()
            && row.held.is_none()
            && (on.is_empty() || on.iter().any(|above| is_within(&row.path, above)))
    };
    let target = |row: &Row| {
        let above = || rows.iter().find(|other| Some(other.path.as_str()) == parent(&row.path));
        let account = Some(row).filter(|row| row.limit.is_some()).or_else(above)?;
        let limit = account.limit?;
        let (path, account) = (row.path.clone(), account.path.clone());
        Some(schedule::Target { path, account, intensity: limit.intensity, period: limit.period })
    };
    let mut targets: Vec<_> = rows.iter().filter(wanted).filter_map(target).collect();
    targets.sort_by(|one, other| one.path.cmp(&other.path));
    targets
}

fn is_up(row: &Row) -> bool {
    matches!(row.state, State::Up | State::Done)
}

/// One run of it.
struct Run<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    tree: String,
    teller: Teller,
    watch: Watch,
    /// On the monotonic clock, ms, and by the wall.
    begin: u64,
    begin_wall: u64,
    rows: Vec<Row>,
    /// What was up at the begin, and is to be up again.
    wanted: Vec<String>,
    cases: Vec<Case>,
    /// Number and branch of every fault in a service, and when that was over.
    harmed: BTreeMap<(u64, String), Option<u64>>,
    seen: Seen,
    /// Since when the daemon does not answer.
    away: Option<u64>,
    patience: u64,
}

/// A fault that was done and is not over.
struct Case {
    planned: Planned,
    done: Done,
    branch: String,
    /// Since when, ms.
    at: u64,
    /// Every service of the tree before, and its generation.
    before: BTreeMap<String, u64>,
}

/// Facts that were read already.
#[derive(Default)]
struct Seen {
    at: u64,
    seqs: Vec<u64>,
}

impl Run<'_> {
    fn all(&mut self, planned: &[Planned], time: Duration) -> Result<Code, Failure> {
        let end = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut next = planned.iter().peekable();
        loop {
            let answered = self.look()?;
            let passed = clock::now().0 - self.begin;
            while let Some(due) = next.next_if(|planned| answered && planned.at <= passed) {
                self.harm(due)?;
            }
            let over = next.peek().is_none() && self.cases.is_empty() && passed >= end && self.away.is_none();
            if over || self.away.is_some_and(|since| clock::now().0 - since > AWAY) {
                break;
            }
            Client::pause(LOOK);
        }
        self.last_look()?;
        let uri = format!("/v1/availability?path={}&since={}", encode(&self.tree), self.begin_wall);
        let found: Option<Availability> = self.client.get(self.endpoint, &uri).ok();
        self.teller.end(&self.watch.broken, found)?;
        Ok(if self.watch.broken.is_empty() { Code::Done } else { Code::Failed })
    }

    /// All there is to see now. Whether the daemon answered.
    fn look(&mut self) -> Result<bool, Failure> {
        match self.see() {
            Ok((rows, census)) => {
                self.away = None;
                self.rows = rows;
                self.watch.look(&self.rows, census.as_deref(), clock::now().0);
                self.close()?;
                Ok(true)
            }
            // Its successor is on its way.
            Err(problem) if matches!(problem.code, 69 | 75) => {
                let since = *self.away.get_or_insert(clock::now().0);
                if clock::now().0 - since > AWAY {
                    self.watch.breaks(format!("the daemon does not come back: {}", problem.error));
                }
                Ok(false)
            }
            Err(problem) => Err(problem.into()),
        }
    }

    fn see(&mut self) -> Result<(Vec<Row>, Option<Vec<Members>>), Problem> {
        let census = self.client.get(self.endpoint, "/v1/chaos")?;
        let rows = self.client.get(self.endpoint, &format!("/v1/status/{}", encode(&self.tree)))?;
        let since = self.seen.at.max(self.begin_wall);
        let uri = format!("/v1/events?path={}&since={since}", encode(&self.tree));
        let facts: Vec<FactLine> = self.client.get(self.endpoint, &uri)?;
        for fact in facts {
            if fact.at > self.seen.at {
                self.seen = Seen { at: fact.at, seqs: Vec::new() };
            }
            if !self.seen.seqs.contains(&fact.seq) {
                self.seen.seqs.push(fact.seq);
                self.watch.fact(&fact);
            }
        }
        Ok((rows, census))
    }

    fn row(&self, path: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.path == path)
    }

    /// What a crash of `path` may drag along: of a root that restarts its children one by one the child's subtree, else
    /// the whole tree.
    fn branch(&self, path: &str) -> String {
        let root = path.split('/').next().unwrap_or(path);
        let alone = self
            .row(root)
            .is_none_or(|row| row.strategy.as_deref().is_none_or(|strategy| strategy == "one_for_one"));
        match path.match_indices('/').nth(1) {
            Some((end, _)) if alone => path[..end].to_owned(),
            _ if alone => path.to_owned(),
            _ => root.to_owned(),
        }
    }

    fn harm(&mut self, planned: &Planned) -> Result<(), Failure> {
        if let Some(why) = self.not_now(planned) {
            self.teller.skipped(clock::now().0 - self.begin, planned, &why);
            return Ok(());
        }
        let Planned { n, path, kind, time, pick, .. } = planned;
        let seed = self.teller.seed();
        let (path, kind) = (encode(path), kind.name());
        let uri = format!("/v1/chaos?path={path}&fault={kind}&time={time}&pick={pick}&seed={seed}&n={n}");
        let at = clock::now().0;
        match self.client.post::<Done>(self.endpoint, &uri) {
            Ok(done) => {
                self.teller.done(at - self.begin, planned, &done);
                let services = self.rows.iter().filter(|row| row.kind == view::Kind::Service);
                let before = services.map(|row| (row.path.clone(), row.generation)).collect();
                let branch = self.branch(&planned.path);
                if planned.kind != Kind::Daemon {
                    self.harmed.insert((*n, branch.clone()), None);
                }
                self.cases.push(Case { planned: planned.clone(), done, branch, at, before });
                Ok(())
            }
            // It has gone down since the last look, or the daemon has.
            Err(problem) if matches!(problem.code, 69 | 75) => {
                self.teller.skipped(at - self.begin, planned, &problem.error);
                Ok(())
            }
            Err(problem) => Err(problem.into()),
        }
    }

    /// Why this fault has to be left out.
    fn not_now(&self, planned: &Planned) -> Option<String> {
        if planned.kind == Kind::Daemon {
            let dying = self.cases.iter().any(|case| case.planned.kind == Kind::Daemon);
            return dying.then(|| "the daemon has hardly come back".to_owned());
        }
        let branch = self.branch(&planned.path);
        let touches = |other: &str| is_within(other, &branch) || is_within(&branch, other);
        if let Some(case) = self.cases.iter().find(|case| touches(&case.branch)) {
            let kind = case.planned.kind != Kind::Daemon;
            return Some(match kind {
                true => format!("fault {} is not over", case.planned.n),
                false => "the daemon has hardly come back".to_owned(),
            });
        }
        let down = self.wanted.iter().filter(|path| is_within(path, &branch));
        if let Some(path) = down.into_iter().find(|path| !self.row(path).is_some_and(is_up)) {
            return Some(format!("{path} is not up"));
        }
        let own = self.row(&planned.path)?;
        let above = parent(&planned.path).and_then(|above| self.row(above)?.limit);
        let limit = own.limit.or(above)?;
        let left = limit.intensity.saturating_sub(limit.used) as usize;
        (schedule::cost(planned.kind) > left).then(|| "its limit leaves no restart".to_owned())
    }

    /// Cases whose branch is up again, or was not in time.
    fn close(&mut self) -> Result<(), Failure> {
        let mut open = Vec::new();
        for case in std::mem::take(&mut self.cases) {
            let age = clock::now().0 - case.at;
            if self.is_over(&case, age) {
                self.over(&case, age)?;
            } else if age > self.patience + case.planned.time {
                let missing: Vec<&str> = self.missing(&case.branch);
                let what = match missing.as_slice() {
                    [] => format!("{} was not started again", case.planned.path),
                    some => format!("{} did not come up again", some.join(", ")),
                };
                let what = format!(
                    "fault {}, {} to {}: {what}",
                    case.planned.n,
                    case.planned.kind.name(),
                    case.planned.path
                );
                self.watch.breaks(what);
            } else {
                open.push(case);
            }
        }
        self.cases = open;
        Ok(())
    }

    fn missing(&self, branch: &str) -> Vec<&str> {
        let wanted = self.wanted.iter().filter(|path| is_within(path, branch));
        wanted.filter(|path| !self.row(path).is_some_and(is_up)).map(String::as_str).collect()
    }

    fn is_over(&self, case: &Case, age: u64) -> bool {
        let restarted =
            || self.row(&case.planned.path).is_some_and(|row| row.generation > case.done.generation);
        let had_its_time = match case.planned.kind {
            Kind::Kill | Kind::KillAll | Kind::SlowStart | Kind::ExecFailure => restarted(),
            // Whether the service ends with one of its processes is its own business.
            Kind::KillOne => restarted() || age > 1000,
            Kind::Hang | Kind::Flood => age > case.planned.time + 500,
            // It dies within 50 ms of its answer, so who answers now is another one.
            Kind::Daemon => age > 400,
        };
        had_its_time && self.missing(&case.branch).is_empty()
    }

    /// Looks whether everything is explained.
    fn over(&mut self, case: &Case, age: u64) -> Result<(), Failure> {
        let changed: Vec<(String, u64)> = self
            .rows
            .iter()
            .filter(|row| is_within(&row.path, &case.branch))
            .filter(|row| case.before.get(&row.path).is_some_and(|before| row.generation > *before))
            .map(|row| (row.path.clone(), case.before[&row.path]))
            .collect();
        let (n, kind) = (case.planned.n, case.planned.kind);
        if kind == Kind::Daemon {
            let harmed = |path: &str| {
                let meanwhile = |until: &Option<u64>| until.is_none_or(|until| until >= case.at);
                self.harmed.iter().any(|((_, branch), until)| meanwhile(until) && is_within(path, branch))
            };
            let lost: Vec<String> =
                changed.iter().filter(|(path, _)| !harmed(path)).map(|(path, _)| path.clone()).collect();
            for path in lost {
                self.watch.breaks(format!("{path} did not survive its daemon (fault {n})"));
            }
        } else {
            // Until now it may have been on its way.
            if let Some(harmed) = self.harmed.get_mut(&(n, case.branch.clone())) {
                *harmed = Some(clock::now().0);
            }
            for (path, before) in &changed {
                let uri = format!("/v1/why?path={}", encode(path));
                let why: Why = match self.client.get(self.endpoint, &uri) {
                    Ok(why) => why,
                    // It died just now; the successor is asked at the end.
                    Err(problem) if matches!(problem.code, 69 | 75) => continue,
                    Err(problem) => return Err(problem.into()),
                };
                if !explains(&why, path, *before) {
                    let what = format!("fault {n}, {} to {}", kind.name(), case.planned.path);
                    self.watch.breaks(format!("{what}: why {path} does not explain it: {}", why.answer));
                }
            }
        }
        self.teller.over(clock::now().0 - self.begin, &case.planned, age, changed.len());
        Ok(())
    }

    /// When all is over, nothing may be left, and everything is up.
    fn last_look(&mut self) -> Result<(), Failure> {
        for _ in 0..8 {
            Client::pause(LOOK);
            self.look()?;
        }
        let missing = self.missing(&self.tree).join(", ");
        if !missing.is_empty() {
            self.watch.breaks(format!("not up at the end: {missing}"));
        }
        Ok(())
    }
}

/// Whether this tells what became of the generation `before` of `path`: of its own end, or of whose it went along with.
fn explains(why: &Why, path: &str, before: u64) -> bool {
    let ends = |kind: &str| matches!(kind, "ended" | "start_failed" | "sick" | "asked" | "killed");
    let mut facts = why.facts.iter().map(|step| &step.fact);
    !why.answer.starts_with("nothing is recorded")
        && facts.any(|fact| ends(&fact.kind) && (fact.path != path || fact.generation >= before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_per_time() {
        assert_eq!(rate("6/m"), Ok(Duration::from_secs(10)));
        assert_eq!(rate("2/s"), Ok(Duration::from_millis(500)));
        assert!(
            rate("6").is_err() && rate("0/s").is_err() && rate("1000/s").is_err() && rate("1/d").is_err()
        );
    }

    #[test]
    fn only_services_that_are_up_are_harmed_each_on_its_account() {
        let limit = |intensity| Some(view::Limit { used: 0, intensity, period: 60, exhausted: None });
        let row = |path: &str, intensity: Option<u32>, state| Row {
            state,
            pid: Some(7),
            limit: intensity.and_then(limit),
            ..super::super::last::blank(path)
        };
        let mut rows = vec![
            Row { kind: view::Kind::Supervisor, ..row("t", Some(5), State::Up) },
            row("t/b", None, State::Up),
            row("t/a", Some(2), State::Up),
            row("t/down", None, State::Parked),
        ];
        rows.push(Row { kind: view::Kind::Oneshot, ..row("t/o", None, State::Done) });
        let found: Vec<_> =
            targets(&rows, &[]).into_iter().map(|t| (t.path, t.account, t.intensity)).collect();
        let expected = [("t/a", "t/a", 2), ("t/b", "t", 5)];
        assert_eq!(found, expected.map(|(path, account, n)| (path.to_owned(), account.to_owned(), n)));
        assert_eq!(targets(&rows, &["t/b".to_owned()]).len(), 1);
    }
}
