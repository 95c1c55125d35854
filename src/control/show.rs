//! One child in detail: what `status PATH` prints besides its row.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use woodward_engine::spec::{self, Child, Children, Kind, Shutdown};

use super::house::House;
use super::message::{Problem, Run, Shown};
use super::params::Params;
use super::server::{Desk, json, one};
use crate::record::fact::{self, FactLine};
use crate::record::words::{is_within, span};
use crate::tree::{Check, Health, Plan, WorkerPlan};

/// Runs that are shown.
const RUNS: usize = 5;

/// Lines of output that are shown.
const LINES: usize = 10;

/// `GET /v1/show/PATH`.
pub(super) async fn show<H: House>(
    State(desk): State<Desk<H>>,
    Path(asked): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    let view = desk.house.view();
    let path = one(&desk.house, &asked)?;
    let plans = desk.house.plans();
    let planned = Planned::of(&plans, &path);
    let record = &desk.house;
    let worker = planned.as_ref().and_then(|planned| planned.worker);
    let shown = Shown {
        path: path.clone(),
        rows: view.rows().filter(|row| is_within(&row.path, &path)).cloned().collect(),
        description: planned.as_ref().and_then(|planned| planned.description.map(str::to_owned)),
        command: worker.map(|worker| worker.command.clone()).unwrap_or_default(),
        memory: view.row(&path).and_then(|row| record.memory(&path, row.generation, row.pid?)),
        settings: planned.as_ref().map(Planned::settings).unwrap_or_default(),
        runs: runs(&record.facts(&path), &path),
        lines: record.lines(std::slice::from_ref(&path), LINES).iter().map(|line| (**line).clone()).collect(),
    };
    Ok(json(StatusCode::OK, &shown))
}

/// What the plan says of one path.
struct Planned<'a> {
    child: Option<&'a Child>,
    supervisor: Option<&'a spec::Supervisor>,
    worker: Option<&'a WorkerPlan>,
    description: Option<&'a str>,
}

impl<'a> Planned<'a> {
    /// Of an instance: its template's.
    fn of(plans: &'a [Arc<Plan>], path: &str) -> Option<Planned<'a>> {
        let mut ids = path.split('/');
        let root = ids.next()?;
        let plan = plans.iter().find(|plan| *plan.tree.id == *root)?;
        let described = |path: &str| {
            plan.supervisors.iter().find(|s| s.path == path).and_then(|s| s.description.as_deref())
        };
        let mut planned = Planned {
            child: None,
            supervisor: Some(&plan.tree.root),
            worker: None,
            description: described(path),
        };
        for id in ids {
            let child = match &planned.supervisor?.children {
                Children::List(children) => children.iter().find(|child| *child.id == *id)?,
                Children::Template(template) => template,
            };
            planned.child = Some(child);
            planned.supervisor = match &child.kind {
                Kind::Supervisor(supervisor) => Some(supervisor),
                Kind::Worker(worker) => {
                    planned.worker = usize::try_from(worker.key.0).ok().and_then(|key| plan.workers.get(key));
                    planned.description = planned.worker.and_then(|worker| worker.description.as_deref());
                    None
                }
            };
        }
        Some(planned)
    }

    fn settings(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let mut say = |key: &str, text: String| all.push((key.to_owned(), text));
        if let Some(supervisor) = self.supervisor {
            let period = span(std::time::Duration::from_secs(supervisor.period.into()));
            say(
                "limit",
                format!("{} in {period}, then {}", supervisor.intensity, exhausted(supervisor.exhausted)),
            );
        }
        if let Some(child) = self.child {
            say("restart", word(&child.restart));
            if let Kind::Worker(worker) = &child.kind {
                if let Some(limit) = &worker.limit {
                    let period = span(std::time::Duration::from_secs(limit.period.into()));
                    let text = format!(
                        "{} in {period} of its own, then {}",
                        limit.intensity,
                        exhausted(limit.exhausted)
                    );
                    say("limit", text);
                }
                if let Some(probe) = self.worker.and_then(|worker| worker.ready.as_ref()) {
                    let within = worker.ready.within.map(|time| format!(", within {}", span(time)));
                    say("ready", format!("{}{}", fact::probe(probe), within.unwrap_or_default()));
                }
            }
            if let Some(health) = self.worker.and_then(|worker| worker.health.as_ref()) {
                say("checks", checks(health));
            }
            if !child.after.is_empty() {
                say("after", child.after.join(", "));
            }
            say(
                "shutdown",
                match child.shutdown {
                    Shutdown::BrutalKill => "brutal_kill".to_owned(),
                    Shutdown::Time(time) => span(time),
                    Shutdown::Infinity => "infinity".to_owned(),
                },
            );
        }
        all
    }
}

fn exhausted(what: spec::Exhausted) -> &'static str {
    match what {
        spec::Exhausted::Escalate => "escalate",
        spec::Exhausted::Park => "park",
        spec::Exhausted::Exit => "exit",
        spec::Exhausted::Failover => "failover",
        spec::Exhausted::Reboot => "reboot",
    }
}

fn word(restart: &spec::Restart) -> String {
    match restart {
        spec::Restart::Permanent => "permanent",
        spec::Restart::Transient => "transient",
        spec::Restart::Temporary => "temporary",
    }
    .to_owned()
}

/// `tcp 127.0.0.1:3201 every 10s, 3 misses`.
fn checks(health: &Health) -> String {
    let what = match &health.check {
        Check::Watchdog(time) => return format!("watchdog {}", span(*time)),
        Check::Probe(probe) => fact::probe(probe),
        Check::Fresh { path, max_age } => format!("{} written within {}", path.display(), span(*max_age)),
    };
    format!("{what} every {}, {} misses", span(health.every), health.misses)
}

/// The end alone, of the text of a fact that tells it.
fn how(text: &str) -> &str {
    text.strip_prefix("ended: ").or_else(|| text.strip_prefix("start failed: ")).unwrap_or(text)
}

/// The last runs of `path` itself, from its facts.
fn runs(facts: &[Arc<FactLine>], path: &str) -> Vec<Run> {
    let mut runs: VecDeque<Run> = VecDeque::with_capacity(RUNS + 1);
    for fact in facts.iter().filter(|fact| fact.path == path && fact.generation > 0) {
        match fact.kind.as_str() {
            "starting" => {
                runs.push_back(Run { generation: fact.generation, started: fact.at, ended: None, how: None });
                if runs.len() > RUNS {
                    runs.pop_front();
                }
            }
            "ended" | "start_failed" | "done" | "declined" => {
                if let Some(run) = runs.iter_mut().rev().find(|run| run.generation == fact.generation) {
                    run.ended = Some(fact.at);
                    run.how = Some(how(&fact.text).to_owned());
                }
            }
            _ => {}
        }
    }
    runs.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_five_runs_are_shown() {
        let fact = |generation: u64, kind: &str, text: &str| {
            Arc::new(FactLine::note(generation * 10, 0, "t/a", generation, kind, text.to_owned()))
        };
        let mut facts: Vec<_> =
            (1..=6).flat_map(|n| [fact(n, "starting", ""), fact(n, "ended", "ended: exit 1")]).collect();
        facts.push(fact(7, "starting", ""));
        let runs = runs(&facts, "t/a");
        assert_eq!(runs.iter().map(|run| run.generation).collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
        assert_eq!(runs[0].how.as_deref(), Some("exit 1"));
        assert_eq!(runs[4].ended, None);
    }
}
