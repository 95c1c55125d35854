//! Children, as a program says them. Defaults are OTP's: `permanent`, 5 s to stop, `one_for_one`, 1 restart in 5 s, a
//! child that cannot start fails its supervisor.

use std::fmt::{self, Debug};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use woodward_engine::{Key, spec};

use super::BuildError;
use crate::runtime::task::{Body, Context, Outcome, Tasks};
use crate::tree::{Output, Plan, Probe, SupervisorPlan, WorkerPlan, outline};
use spec::{AutoShutdown, Backoff, Exhausted, InitialStart, Order, Restart, Shutdown, Strategy};

/// A child of a supervisor: a [`Service`], a [`Task`], or a [`Supervisor`] again.
#[derive(Clone, Debug)]
pub struct Child<K> {
    id: String,
    description: Option<String>,
    restart: Restart,
    significant: bool,
    shutdown: Shutdown,
    after: Vec<String>,
    backoff: Option<Backoff>,
    is: K,
}

/// An OS process.
pub type Service = Child<Process>;
/// A future of this program.
pub type Task = Child<Routine>;
/// A supervisor, with children of its own.
pub type Supervisor = Child<Group>;

/// What a [`Service`] is.
#[derive(Clone, Debug)]
pub struct Process {
    plan: WorkerPlan,
    worker: spec::Worker,
}

/// What a [`Task`] is.
#[derive(Clone)]
pub struct Routine {
    body: Body,
    notifies: bool,
    within: Option<Duration>,
}

/// What a [`Supervisor`] is.
#[derive(Clone, Debug)]
pub struct Group {
    flags: spec::Supervisor,
    children: Vec<AnyChild>,
}

/// A child of any kind.
#[derive(Clone, Debug)]
pub enum AnyChild {
    /// An OS process.
    Service(Box<Service>),
    /// A future.
    Task(Task),
    /// A supervisor.
    Supervisor(Supervisor),
}

impl<K> Child<K> {
    fn of(id: impl Into<String>, is: K, shutdown: Shutdown) -> Child<K> {
        Child {
            id: id.into(),
            description: None,
            restart: Restart::Permanent,
            significant: false,
            shutdown,
            after: Vec::new(),
            backoff: None,
            is,
        }
    }

    /// Free text for `status`.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// When it is restarted; default `permanent`.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Its calm end counts for the supervisor's `auto_shutdown`.
    pub fn significant(mut self) -> Self {
        self.significant = true;
        self
    }

    /// How it is stopped; default 5 s, of a supervisor `infinity`.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Siblings that must be ready before it starts; the supervisor's order is then by dependencies.
    pub fn after<I: Into<String>>(mut self, siblings: impl IntoIterator<Item = I>) -> Self {
        self.after.extend(siblings.into_iter().map(Into::into));
        self
    }

    /// Delays between restarts; default: none, as in OTP.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    fn spec(&self, kind: spec::Kind) -> spec::Child {
        spec::Child {
            id: self.id.as_str().into(),
            restart: self.restart,
            significant: self.significant,
            shutdown: self.shutdown,
            after: self.after.iter().map(|id| id.as_str().into()).collect(),
            backoff: self.backoff.clone(),
            kind,
        }
    }
}

impl Child<Process> {
    /// A program with its arguments, executed without a shell in this program's environment. Without a slash it is looked
    /// up in `PATH`.
    pub fn new<I: Into<String>>(id: impl Into<String>, command: impl IntoIterator<Item = I>) -> Service {
        let own = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        let mut environment: Vec<_> = own.collect();
        environment.sort();
        let plan = WorkerPlan {
            command: command.into_iter().map(Into::into).collect(),
            environment: Arc::new(environment),
            ..WorkerPlan::default()
        };
        let worker = spec::Worker {
            ends: spec::Ends { stop_signal: plan.stop.signal, ..spec::Ends::default() },
            ..spec::Worker::default()
        };
        let shutdown = Shutdown::Time(Duration::from_secs(5));
        Child::of(id, Process { plan, worker }, shutdown)
    }

    /// A variable of its environment, besides this program's own.
    pub fn environment(mut self, name: impl Into<String>, value: impl Into<String>) -> Service {
        let (name, value) = (name.into(), value.into());
        let environment = Arc::make_mut(&mut self.is.plan.environment);
        environment.retain(|(known, _)| *known != name);
        environment.push((name, value));
        environment.sort();
        self
    }

    /// When it counts as ready, and how long it may take; default: when it is executed.
    pub fn ready(mut self, probe: Probe, within: Duration) -> Service {
        self.is.plan.ready = Some(probe);
        self.is.worker.ready.within = Some(within);
        self
    }

    /// Everything else of it.
    pub fn plan(mut self, change: impl FnOnce(&mut WorkerPlan)) -> Service {
        change(&mut self.is.plan);
        self.is.worker.ends.stop_signal = self.is.plan.stop.signal;
        self
    }
}

impl Child<Routine> {
    /// A future, made anew for each start. An error or a panic is a crash, `Ok` a calm end. Asked to stop
    /// ([`Context::stopped`]) it has its `shutdown` time and is then dropped at its next point of waiting: what blocks
    /// the thread cannot be ended by anybody.
    pub fn new<F>(id: impl Into<String>, body: impl Fn(Context) -> F + Send + Sync + 'static) -> Task
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let body: Body = Arc::new(move |context| Box::pin(body(context)));
        Child::of(id, Routine { body, notifies: false, within: None }, Shutdown::Time(Duration::from_secs(5)))
    }

    /// It is ready when it says so by [`Context::ready`], within this time; default: at once.
    pub fn notifies(mut self, within: Duration) -> Task {
        (self.is.notifies, self.is.within) = (true, Some(within));
        self
    }
}

impl Child<Group> {
    /// A supervisor without children yet.
    pub fn new(id: impl Into<String>) -> Supervisor {
        let flags = spec::Supervisor::default();
        Child::of(id, Group { flags, children: Vec::new() }, Shutdown::Infinity)
    }

    /// The next child, in start order.
    pub fn child(mut self, child: impl Into<AnyChild>) -> Supervisor {
        self.is.children.push(child.into());
        self
    }

    /// What the end of a child does to its siblings; default `one_for_one`. Not `simple_one_for_one`: there are no
    /// templates here.
    pub fn strategy(mut self, strategy: Strategy) -> Supervisor {
        self.is.flags.strategy = strategy;
        self
    }

    /// More restarts than `intensity` within `period` (whole seconds, at least 1): it gives up; default 1 in 5 s.
    pub fn intensity(mut self, intensity: u32, period: Duration) -> Supervisor {
        self.is.flags.intensity = intensity;
        self.is.flags.period = u32::try_from(period.as_secs()).unwrap_or(u32::MAX).max(1);
        self
    }

    /// Whether calm ends of significant children end it; default `never`.
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Supervisor {
        self.is.flags.auto_shutdown = auto_shutdown;
        self
    }

    /// What a child that cannot start at first means; default `fail`.
    pub fn initial_start(mut self, initial_start: InitialStart) -> Supervisor {
        self.is.flags.initial_start = initial_start;
        self
    }

    /// What giving up means; default `escalate`.
    pub fn exhausted(mut self, exhausted: Exhausted) -> Supervisor {
        self.is.flags.exhausted = exhausted;
        self
    }
}

impl From<Service> for AnyChild {
    fn from(child: Service) -> AnyChild {
        AnyChild::Service(Box::new(child))
    }
}

impl From<Task> for AnyChild {
    fn from(child: Task) -> AnyChild {
        AnyChild::Task(child)
    }
}

impl From<Supervisor> for AnyChild {
    fn from(child: Supervisor) -> AnyChild {
        AnyChild::Supervisor(child)
    }
}

impl Debug for Routine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Future").field("notifies", &self.notifies).finish_non_exhaustive()
    }
}

/// What a tree becomes: the plan, and what its tasks do.
pub(super) fn plan(tree: &Supervisor) -> Result<(Plan, Tasks), BuildError> {
    let mut builder = Planner::default();
    name(&tree.id, &tree.id)?;
    let root = builder.supervisor(tree, &tree.id)?;
    let shutdown = match tree.shutdown {
        Shutdown::Time(time) => Some(time),
        Shutdown::BrutalKill | Shutdown::Infinity => None,
    };
    let tree = spec::Tree { id: tree.id.as_str().into(), root, shutdown, seed: 0 };
    let Planner { workers, supervisors, tasks } = builder;
    Ok((Plan { tree, workers, supervisors, left_out: Vec::new(), failover: None, at: None }, tasks))
}

#[derive(Default)]
struct Planner {
    workers: Vec<WorkerPlan>,
    supervisors: Vec<SupervisorPlan>,
    tasks: Tasks,
}

impl Planner {
    fn supervisor(&mut self, of: &Supervisor, path: &str) -> Result<spec::Supervisor, BuildError> {
        let wrong = |why: String| Err(BuildError { path: path.to_owned(), why });
        if of.is.flags.strategy == Strategy::SimpleOneForOne {
            return wrong("simple_one_for_one needs a template, which only tree files have".to_owned());
        }
        self.supervisors.push(SupervisorPlan { path: path.to_owned(), description: of.description.clone() });
        let mut children: Vec<spec::Child> = Vec::new();
        for child in &of.is.children {
            let made = self.child(child, path)?;
            if children.iter().any(|known| known.id == made.id) {
                return wrong(format!("two children are called {:?}", made.id));
            }
            let can_end =
                made.restart != Restart::Permanent && of.is.flags.auto_shutdown != AutoShutdown::Never;
            if made.significant && !can_end {
                return wrong(format!(
                    "{:?} is significant, but permanent or without an auto_shutdown",
                    made.id
                ));
            }
            children.push(made);
        }
        let unknown = |id: &&str| !children.iter().any(|child| *child.id == **id);
        if let Some(id) = children.iter().flat_map(|child| &child.after).map(|id| &**id).find(unknown) {
            return wrong(format!("no child is called {id:?}, but another one is after it"));
        }
        if outline::is_cyclic(&children) {
            return wrong("its children are after each other in a circle".to_owned());
        }
        let ordered = children.iter().any(|child| !child.after.is_empty());
        let order = if ordered { Order::Dependencies } else { of.is.flags.order };
        Ok(spec::Supervisor { order, children: spec::Children::List(children), ..of.is.flags.clone() })
    }

    fn child(&mut self, child: &AnyChild, above: &str) -> Result<spec::Child, BuildError> {
        let id = match child {
            AnyChild::Service(child) => &child.id,
            AnyChild::Task(child) => &child.id,
            AnyChild::Supervisor(child) => &child.id,
        };
        let path = format!("{above}/{id}");
        name(id, &path)?;
        Ok(match child {
            AnyChild::Supervisor(child) => child.spec(spec::Kind::Supervisor(self.supervisor(child, &path)?)),
            AnyChild::Service(child) => {
                let Process { plan, worker } = child.is.clone();
                if plan.command.is_empty() {
                    return Err(BuildError { path, why: "its command is empty".to_owned() });
                }
                let mut worker = worker;
                worker.ready.probe = plan.ready.is_some() || !plan.after_ready.is_empty();
                let plan = WorkerPlan { description: child.description.clone(), ..plan };
                child.spec(self.worker(path, plan, worker))
            }
            AnyChild::Task(child) => {
                self.tasks.add(&path, child.is.body.clone());
                let plan = WorkerPlan {
                    task: true,
                    description: child.description.clone(),
                    output: Output::Null,
                    ready: child.is.notifies.then_some(Probe::Notify),
                    ..WorkerPlan::default()
                };
                let ready = spec::Ready {
                    probe: child.is.notifies,
                    within: child.is.within,
                    ..spec::Ready::default()
                };
                child.spec(self.worker(path, plan, spec::Worker { ready, ..spec::Worker::default() }))
            }
        })
    }

    fn worker(&mut self, path: String, plan: WorkerPlan, worker: spec::Worker) -> spec::Kind {
        let key = Key(u32::try_from(self.workers.len()).expect("a tree has fewer workers"));
        self.workers.push(WorkerPlan { path, ..plan });
        spec::Kind::Worker(spec::Worker { key, ..worker })
    }
}

/// Ids are as in tree files.
fn name(id: &str, path: &str) -> Result<(), BuildError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:@-".contains(c);
    match !id.is_empty() && id.chars().all(allowed) {
        true => Ok(()),
        false => {
            let why = format!("{id:?} is no id; allowed: letters, digits and _.:@-");
            Err(BuildError { path: path.to_owned(), why })
        }
    }
}
