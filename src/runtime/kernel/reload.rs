//! The kernel's part of a reload: keys for the new plan, what follows from it, what is kept of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::oneshot;
use woodward_engine::view::State;
use woodward_engine::{Apply, Event, Gen, Key, Outlook, PathId, Prospect, Reply, Verb, spec};

use super::super::Who;
use super::super::groups::Happening;
use super::super::reload::{Changed, Forecast, PathForecast, Proposal, Refused, Verdict, What};
use super::super::table::Renewal;
use super::{Answer, Kernel};
use crate::os::clock;
use crate::record::fact::FactLine;
use crate::record::words::is_within;
use crate::tree::diff::{self, Change, Effect};
use crate::tree::{self, Plan, WorkerPlan};

/// Instances and the plans that they get.
struct Instance {
    path: String,
    key: Key,
    plan: WorkerPlan,
    is_same: bool,
}

impl Kernel {
    /// A tree was read anew.
    pub(super) fn apply(
        &mut self,
        proposal: Proposal,
        dry: bool,
        who: Who,
        answer: oneshot::Sender<Verdict>,
    ) {
        let verdict = self.try_to_apply(proposal, dry, who);
        // Whoever asked may have gone away.
        let _ = answer.send(verdict);
    }

    fn try_to_apply(&mut self, proposal: Proposal, dry: bool, who: Who) -> Verdict {
        let Proposal { plan, source, options, places } = proposal;
        let id = plan.tree.id.to_string();
        if self.is_group(&id) != plan.failover.is_some() {
            let why = "a tree does not get or lose its [failover] while it is run";
            return Err(Refused::Broken(format!("cannot apply {id}: {why}; nothing was changed")));
        }
        let instances = self.instances_of(&plan)?;
        let renewal = self.table.renew(plan, |worker| self.must_start_anew(worker));
        // Only whether the keys differ matters before it is done.
        let nobody = Key(u32::MAX);
        let changed = || instances.iter().filter(|instance| !instance.is_same);
        let apply = Apply { tree: renewal.tree(), instances: changed().map(|i| (i.key, nobody)).collect() };
        let running = |id: &str| self.plans.load().iter().any(|plan| *plan.tree.id == *id);
        let prospects = match self.engine.foresee(&id, &apply) {
            Ok(prospects) => prospects,
            // What follows from it follows where it runs.
            Err(_) if self.is_away(&id) => Vec::new(),
            Err(_) if !running(&id) => return Err(Refused::Closed),
            Err(kind) => {
                return Err(Refused::Broken(format!("cannot apply {id}: {kind:?}; nothing was changed")));
            }
        };
        let forecast = self.forecast(&id, &renewal, &instances, prospects, &places);
        if dry {
            return Ok((forecast, None));
        }
        let mut applied = (*self.applied.load_full()).clone();
        applied.put(source, &options);
        applied.retain(|generation| self.live.contains_key(&Gen(generation)));
        for path in forecast.paths.iter().filter(|path| path.generation != 0 && !path.supervisor) {
            if path.changed.iter().any(|changed| changed.change.effect == Effect::Restart) {
                applied.outdate(&path.path, path.generation);
            }
        }
        applied.keep()?;
        self.applied.store(Arc::new(applied));
        self.requests.asking = Some(who);
        let done = self.go_by(renewal, instances, &forecast);
        Ok((forecast, Some(done)))
    }

    /// From now on by this plan.
    fn go_by(
        &mut self,
        renewal: Renewal,
        instances: Vec<Instance>,
        forecast: &Forecast,
    ) -> oneshot::Receiver<Reply> {
        let (plan, tree) = (renewal.plan().clone(), renewal.tree());
        let id: Box<str> = tree.id.clone();
        self.table.commit(renewal);
        let mut keys = Vec::new();
        for Instance { key, plan, is_same, path } in instances {
            if is_same {
                self.table.replan_instance(key, plan);
                continue;
            }
            let args = self.table.worker(key).map(|entry| entry.arguments.clone()).unwrap_or_default();
            let above = path.rsplit_once('/').map_or("", |(above, _)| above);
            let template = self.table.template(above).map(|(key, _)| key);
            if let Some(new) = template.and_then(|t| self.table.add_instance(t, plan, args.clone())) {
                keys.push((key, new));
            }
        }
        let plans: Vec<Arc<Plan>> = self.plans.load().iter().cloned().collect();
        let plans =
            plans.into_iter().map(|old| if *old.tree.id == *id { plan.clone() } else { old }).collect();
        self.plans.store(Arc::new(plans));
        self.changes = forecast
            .paths
            .iter()
            .map(|path| {
                let changed = path.changed.iter().filter(|changed| changed.change.effect == Effect::Restart);
                (path.path.clone(), changed.map(|changed| changed.change.key.clone()).collect())
            })
            .filter(|(_, keys): &(String, Vec<String>)| !keys.is_empty())
            .collect();
        let text = format!("applied: {}", forecast.count());
        let by = self.requests.asking.as_ref().map(|who| who.by.clone()).unwrap_or_default();
        let fact = FactLine::note(clock::wall(), 0, &id, 0, "applied", text);
        self.record.fact(fact.with("by", by));
        self.replan_live(&id);
        if self.is_group(&id) {
            self.groups.tell(&id, 0, Happening::Replanned);
        }
        let (answer, done) = oneshot::channel();
        if self.is_away(&id) {
            // Who waits may have gone away.
            let _ = answer.send(Reply::Ok);
            return done;
        }
        let request = self.requests.enter(Answer::Plain(answer));
        let apply = Apply { tree, instances: keys };
        self.tell(Event::Request { id: request, path: id, verb: Verb::Apply(Box::new(apply)) });
        done
    }

    /// What needs no restart holds for what runs, from now on. Health is the ward's, which looks at every row that has
    /// changed.
    fn replan_live(&mut self, id: &str) {
        let table = &self.table;
        for live in self.live.values().filter(|live| is_within(&live.seat.child.path, id)) {
            let Some(entry) = table.worker(live.key) else { continue };
            if !live.seat.plan().is(&entry.plan) {
                live.seat.replan(entry.plan.clone());
            }
        }
    }

    /// Started by an earlier plan after a new one was kept: its supervisor has not come to that yet.
    pub(super) fn note_if_outdated(&mut self, generation: Gen, path: PathId, key: Key) {
        if self.changes.is_empty() {
            return;
        }
        let path = self.engine.path(path);
        if self.table.find(&path).is_some_and(|planned| planned != key) {
            let mut applied = (*self.applied.load_full()).clone();
            applied.outdate(&path, generation.0);
            if let Err(error) = applied.keep() {
                let text = format!("that it runs by an earlier plan is not kept: {error}");
                let fact = FactLine::note(clock::wall(), 0, &path, generation.0, "not_kept", text);
                self.record.fact(fact);
            }
            self.applied.store(Arc::new(applied));
        }
    }

    /// It is not ready yet, and waits for another condition.
    fn must_start_anew(&self, worker: &WorkerPlan) -> bool {
        let row = self.engine.find(&worker.path).and_then(|id| self.engine.row(id));
        row.is_some_and(|row| {
            let plan = row.key.and_then(|key| self.table.worker(key)).map(|entry| &entry.plan);
            row.state == State::Starting && plan.is_some_and(|plan| plan.ready != worker.ready)
        })
    }

    /// Instances of pools with arguments of their own, made anew from the templates of this plan.
    fn instances_of(&self, plan: &Plan) -> Result<Vec<Instance>, Refused> {
        let templates: HashMap<&str, &WorkerPlan> =
            plan.workers.iter().map(|worker| (worker.path.as_str(), worker)).collect();
        let mut instances = Vec::new();
        for row in self.engine.rows() {
            let path = self.engine.path(row.path);
            let Some((template, _)) = path.split_once('#').filter(|(path, _)| is_within(path, &plan.tree.id))
            else {
                continue;
            };
            let Some((key, entry)) = row.key.and_then(|key| Some((key, self.table.worker(key)?))) else {
                continue;
            };
            // One that has no arguments of its own is the template itself.
            let Some(new) = templates.get(template).filter(|_| !self.table.is_of_plan(template, key)) else {
                continue;
            };
            let plan = tree::instantiate(new, &entry.arguments)
                .map_err(|why| Refused::Instance { path: path.clone(), why })?;
            let is_same = diff::is_same(&entry.plan, &plan);
            instances.push(Instance { path, key, plan, is_same });
        }
        Ok(instances)
    }

    fn forecast(
        &self,
        id: &str,
        renewal: &Renewal,
        instances: &[Instance],
        prospects: Vec<Prospect>,
        places: &HashMap<(String, String), String>,
    ) -> Forecast {
        let plans = self.plans.load();
        let old = plans.iter().find(|plan| *plan.tree.id == *id);
        let (before, after) = (old.map(|plan| specs(plan)).unwrap_or_default(), specs(renewal.plan()));
        let workers: HashMap<&str, &WorkerPlan> =
            renewal.plan().workers.iter().map(|worker| (worker.path.as_str(), worker)).collect();
        let made: HashMap<&str, &WorkerPlan> =
            instances.iter().map(|instance| (instance.path.as_str(), &instance.plan)).collect();
        let paths = prospects.into_iter().map(|prospect| {
            let path = prospect.path;
            let planned = path.split('#').next().unwrap_or(&path);
            let mut changes = Vec::new();
            if let Some(entry) = prospect.key.and_then(|key| self.table.worker(key))
                && let Some(new) = made.get(&*path).or_else(|| workers.get(planned))
            {
                changes.extend(diff::worker(&entry.plan, new));
            }
            if let (Some(old), Some(new)) = (before.get(planned), after.get(planned)) {
                changes.extend(spec_changes(old, new));
            }
            let (what, with) = match prospect.what {
                Outlook::Stays => (What::Stay, None),
                Outlook::Restarts(with) => (What::Restart, with),
                Outlook::Starts => (What::Start, None),
                Outlook::Stops => (What::Stop, None),
            };
            if matches!(what, What::Start | What::Stop) {
                changes.clear();
            }
            let changed = changes
                .into_iter()
                .map(|change| Changed { place: place_of(places, planned, &change.key), change })
                .collect();
            let is_worker = workers.contains_key(planned) || prospect.key.is_some();
            PathForecast {
                supervisor: !is_worker,
                path,
                what,
                with,
                changed,
                generation: prospect.generation.0,
            }
        });
        Forecast { tree: id.to_owned(), paths: paths.collect() }
    }
}

/// What the engine is told of each path; the root too.
enum Spec<'p> {
    Root(&'p spec::Tree),
    Child(&'p spec::Child),
}

fn specs(plan: &Plan) -> BTreeMap<String, Spec<'_>> {
    fn collect<'p>(above: &str, supervisor: &'p spec::Supervisor, into: &mut BTreeMap<String, Spec<'p>>) {
        for child in tree::outline::children(supervisor) {
            let path = format!("{above}/{}", child.id);
            if let spec::Kind::Supervisor(below) = &child.kind {
                collect(&path, below, into);
            }
            into.insert(path, Spec::Child(child));
        }
    }
    let mut all = BTreeMap::from([(plan.tree.id.to_string(), Spec::Root(&plan.tree))]);
    collect(&plan.tree.id, &plan.tree.root, &mut all);
    all
}

fn spec_changes(old: &Spec<'_>, new: &Spec<'_>) -> Vec<Change> {
    match (old, new) {
        (Spec::Root(old), Spec::Root(new)) => {
            let mut changes = diff::supervisor(&old.root, &new.root);
            if old.shutdown != new.shutdown {
                changes.push(Change { key: "shutdown".to_owned(), effect: Effect::Now });
            }
            changes
        }
        (Spec::Child(old), Spec::Child(new)) => diff::child(old, new),
        _ => Vec::new(),
    }
}

/// Where a key stands, or the first one in its table.
fn place_of(places: &HashMap<(String, String), String>, path: &str, key: &str) -> Option<String> {
    let exact = places.get(&(path.to_owned(), key.to_owned()));
    let below = format!("{key}.");
    let inner = || {
        let of = |((p, k), _): &(&(String, String), &String)| p == path && k.starts_with(&below);
        places.iter().filter(of).map(|(_, place)| place).min()
    };
    exact.or_else(inner).cloned()
}
