//! A scenario run against the engine, and its trace.
//!
//! Everything that is supervision comes from the engine. The world around it, which is fake, keeps what in OTP is not
//! the supervisor's either: attempts and their outcomes, who runs, how a worker reacts when asked to stop.

use serde_json::{Value, json};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;
use woodward_engine::effect::{ChildInfo, ChildState, ErrorKind};
use woodward_engine::spec::{
    AutoShutdown, Child, Children, Kind, Order, Restart, Shutdown, Strategy, Supervisor, Tree, Worker,
};
use woodward_engine::{
    Effect, Engine, Event, Exit, FailedStart, Gen, Key, PathId, Reason, Reply, ReqId, Time, Verb, What,
};

/// The trace of one scenario. With a seed, outcomes come late and in random order.
pub fn run(scenario: &Value, seed: Option<u64>) -> Value {
    let mut world = World::new(seed);
    let root = &scenario["root"];
    world.in_force.insert("root".into(), root.clone());
    let tree = Tree { id: "root".into(), root: world.supervisor(root), shutdown: None, seed: 0 };
    let added = world.ask("root", Verb::AddTree(Box::new(tree)));
    world.rest();
    let result = match world.replies.get(&added) {
        Some(Reply::Error(ErrorKind::StartFailed)) => json!({"error": world.init_error()}),
        other => reply_json(other),
    };
    let init = world.take_step(result);
    let no_steps = Vec::new();
    let steps: Vec<Value> = scenario["steps"]
        .as_array()
        .unwrap_or(&no_steps)
        .iter()
        .map(|step| {
            let result = world.act(step);
            world.take_step(result)
        })
        .collect();
    let finals = world.snapshot();
    let stopped = world.ask("root", Verb::StopTree);
    world.rest();
    let result = reply_json(world.replies.get(&stopped));
    let stop = world.take_step(result);
    let mut leaked: Vec<&String> = world.live.keys().collect();
    leaked.sort();
    let mut trace =
        json!({"id": scenario["id"], "init": init, "steps": steps, "final": finals, "stop": stop});
    if !leaked.is_empty() {
        trace["leaked"] = json!(leaked);
    }
    trace
}

struct World {
    engine: Engine,
    now: Time,
    /// What the engine's keys mean.
    workers: Vec<Value>,
    /// Specifications by path, as the current incarnation above has them.
    in_force: HashMap<String, Value>,
    /// Children asked for and not yet answered.
    asked_for: HashMap<String, Value>,
    attempts: HashMap<String, u64>,
    numbers: HashMap<Gen, u64>,
    /// Who runs, workers and supervisors.
    live: HashMap<String, Gen>,
    runs: HashMap<Gen, (String, usize)>,
    ran: HashSet<String>,
    /// Generations of workers.
    workers_ever: HashSet<Gen>,
    hanging: HashSet<Gen>,
    /// Outcomes on their way.
    events: VecDeque<Event>,
    random: Option<u64>,
    replies: HashMap<ReqId, Reply>,
    requests: u64,
    trace: Vec<Value>,
    reports: Vec<Value>,
    fx: Vec<Effect>,
}

impl World {
    fn new(seed: Option<u64>) -> World {
        World {
            engine: Engine::new(),
            now: Time(1_000_000),
            workers: Vec::new(),
            in_force: HashMap::new(),
            asked_for: HashMap::new(),
            attempts: HashMap::new(),
            numbers: HashMap::new(),
            live: HashMap::new(),
            runs: HashMap::new(),
            ran: HashSet::new(),
            workers_ever: HashSet::new(),
            hanging: HashSet::new(),
            events: VecDeque::new(),
            random: seed.map(|s| s.wrapping_mul(2).wrapping_add(1)),
            replies: HashMap::new(),
            requests: 0,
            trace: Vec::new(),
            reports: Vec::new(),
            fx: Vec::new(),
        }
    }

    // ------------------------------------------------------------------ specifications

    fn supervisor(&mut self, s: &Value) -> Supervisor {
        let children = match s.get("template") {
            Some(template) => Children::Template(Box::new(self.child(template))),
            None => Children::List(
                s["children"].as_array().into_iter().flatten().map(|c| self.child(c)).collect(),
            ),
        };
        Supervisor {
            strategy: match s["strategy"].as_str() {
                Some("one_for_all") => Strategy::OneForAll,
                Some("rest_for_one") => Strategy::RestForOne,
                Some("simple_one_for_one") => Strategy::SimpleOneForOne,
                _ => Strategy::OneForOne,
            },
            intensity: s["intensity"].as_u64().unwrap_or(1) as u32,
            period: s["period"].as_u64().unwrap_or(5) as u32,
            auto_shutdown: match s["auto_shutdown"].as_str() {
                Some("any_significant") => AutoShutdown::AnySignificant,
                Some("all_significant") => AutoShutdown::AllSignificant,
                _ => AutoShutdown::Never,
            },
            order: if s["order"] == "dependencies" { Order::Dependencies } else { Order::Listed },
            children,
            ..Supervisor::default()
        }
    }

    fn child(&mut self, c: &Value) -> Child {
        let is_supervisor = c["type"] == "supervisor";
        Child {
            id: c["id"].as_str().unwrap_or_default().into(),
            restart: match c["restart"].as_str() {
                Some("transient") => Restart::Transient,
                Some("temporary") => Restart::Temporary,
                _ => Restart::Permanent,
            },
            significant: c["significant"].as_bool().unwrap_or(false),
            shutdown: match &c["shutdown"] {
                Value::Number(ms) => Shutdown::Time(Duration::from_millis(ms.as_u64().unwrap_or(0))),
                Value::String(s) if s == "brutal_kill" => Shutdown::BrutalKill,
                Value::String(_) => Shutdown::Infinity,
                _ if is_supervisor => Shutdown::Infinity,
                _ => Shutdown::Time(Duration::from_millis(5000)),
            },
            after: c["after"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|a| Some(a.as_str()?.into()))
                .collect(),
            backoff: None,
            kind: if is_supervisor {
                Kind::Supervisor(self.supervisor(c))
            } else {
                Kind::Worker(Worker { key: self.key(c.clone()), ..Worker::default() })
            },
        }
    }

    fn key(&mut self, worker: Value) -> Key {
        self.workers.push(worker);
        Key(self.workers.len() as u32 - 1)
    }

    // ------------------------------------------------------------------ steps

    fn act(&mut self, step: &Value) -> Value {
        let text = |key: &str| step[key].as_str().unwrap_or_default();
        match text("a") {
            "exit" => {
                let done = self.exit(text("p"), text("r"));
                self.rest();
                done
            }
            "stop_sup" => {
                let id = self.ask(text("p"), Verb::StopSelf(reason(text("r"))));
                self.rest();
                self.result(id)
            }
            "kill_sup" => match self.live.get(text("p")).copied().filter(|g| !self.runs.contains_key(g)) {
                Some(generation) => {
                    self.tell(Event::Ended { generation, exit: Exit::Reason(Reason::Killed) });
                    self.rest();
                    json!("ok")
                }
                None => json!({"error": "noproc"}),
            },
            "sleep" => {
                self.sleep(step["ms"].as_u64().unwrap_or(0));
                json!("ok")
            }
            "batch" => self.batch(text("sup"), step["ops"].as_array().map_or(&[], Vec::as_slice)),
            _ => {
                let request = self.request(text("sup"), step);
                self.rest();
                self.answer(request)
            }
        }
    }

    /// The worker ends by itself, or is killed from outside.
    fn exit(&mut self, path: &str, why: &str) -> Value {
        match self.live.get(path).copied().filter(|g| self.runs.contains_key(g)) {
            Some(generation) => {
                self.end(generation, reason(why));
                self.deliver();
                json!("ok")
            }
            None => json!({"error": "noproc"}),
        }
    }

    fn batch(&mut self, sup: &str, ops: &[Value]) -> Value {
        let suspended = self.ask(sup, Verb::Suspend);
        if self.replies.get(&suspended) != Some(&Reply::Ok) {
            return json!({"error": "noproc"});
        }
        let pending: Vec<Result<Value, Request>> = ops
            .iter()
            .map(|op| match op["a"].as_str() {
                Some("exit") => {
                    Ok(self.exit(op["p"].as_str().unwrap_or_default(), op["r"].as_str().unwrap_or_default()))
                }
                _ => Err(self.request(sup, op)),
            })
            .collect();
        self.ask(sup, Verb::Resume);
        self.rest();
        let results = pending.into_iter().map(|p| p.unwrap_or_else(|request| self.answer(request)));
        Value::Array(results.collect())
    }

    fn request(&mut self, sup: &str, step: &Value) -> Request {
        let child: Box<str> = step["id"].as_str().unwrap_or_default().into();
        let once_ran = self.ran.contains(&format!("{sup}/{child}")) && child.contains('#');
        let pool = self.in_force.get(sup).is_some_and(|s| s["strategy"] == "simple_one_for_one");
        let mut asked_for = None;
        let verb = match step["a"].as_str().unwrap_or_default() {
            "start_child" if pool => Verb::StartInstance {
                key: step.get("child").map(|overrides| {
                    let mut worker = self.in_force[sup]["template"].clone();
                    for (key, value) in overrides.as_object().into_iter().flatten() {
                        worker[key] = value.clone();
                    }
                    self.key(worker)
                }),
            },
            "start_child" => {
                let path = format!("{sup}/{}", step["child"]["id"].as_str().unwrap_or_default());
                self.asked_for.insert(path.clone(), step["child"].clone());
                asked_for = Some(path);
                Verb::StartChild(Box::new(self.child(&step["child"])))
            }
            "terminate_child" => Verb::TerminateChild(child),
            "restart_child" => Verb::RestartChild(child),
            "delete_child" => Verb::DeleteChild(child),
            "get_childspec" => Verb::GetChildspec(child),
            "count_children" => Verb::CountChildren,
            _ => Verb::WhichChildren,
        };
        let is_spec = matches!(verb, Verb::GetChildspec(_));
        Request { id: self.ask(sup, verb), sup: sup.into(), once_ran, is_spec, asked_for }
    }

    /// What OTP would say: there an instance is a pid, and one that has ended is still a pid.
    fn answer(&mut self, request: Request) -> Value {
        if let Some(path) = request.asked_for {
            self.asked_for.remove(&path);
        }
        match self.replies.get(&request.id) {
            Some(Reply::Error(ErrorKind::NotFound)) if request.once_ran && request.is_spec => {
                let template =
                    self.in_force[&request.sup]["template"]["id"].as_str().unwrap_or_default().into();
                let id = self.ask(&request.sup, Verb::GetChildspec(template));
                self.result(id)
            }
            Some(Reply::Error(ErrorKind::NotFound)) if request.once_ran => json!("ok"),
            _ => self.result(request.id),
        }
    }

    fn result(&self, id: ReqId) -> Value {
        reply_json(self.replies.get(&id))
    }

    fn take_step(&mut self, result: Value) -> Value {
        let mut step = json!({"result": result});
        if !self.trace.is_empty() {
            step["events"] = Value::Array(std::mem::take(&mut self.trace));
        }
        if !self.reports.is_empty() {
            step["reports"] = Value::Array(std::mem::take(&mut self.reports));
        }
        step
    }

    fn init_error(&self) -> &'static str {
        let row = self.engine.find("root").and_then(|id| self.engine.row(id));
        match row.and_then(|row| row.reason) {
            Some(Reason::FailedStart) => "failed_start",
            Some(Reason::BadSpec) => "bad_spec",
            _ => "init_failed",
        }
    }

    fn snapshot(&mut self) -> Value {
        let mut running: Vec<String> =
            self.live.iter().filter(|(_, g)| !self.runs.contains_key(g)).map(|(p, _)| p.clone()).collect();
        running.sort();
        let lists = running.into_iter().map(|path| {
            let id = self.ask(&path, Verb::WhichChildren);
            json!([path, self.result(id)])
        });
        Value::Array(lists.collect())
    }

    // ------------------------------------------------------------------ the fake world

    fn ask(&mut self, path: &str, verb: Verb) -> ReqId {
        self.requests += 1;
        let id = ReqId(self.requests);
        self.tell(Event::Request { id, path: path.into(), verb });
        id
    }

    fn tell(&mut self, event: Event) {
        let mut fx = std::mem::take(&mut self.fx);
        self.engine.handle(self.now, event, &mut fx);
        for effect in fx.drain(..) {
            self.carry_out(effect);
        }
        self.fx = fx;
    }

    /// Delivers outcomes until none is on its way.
    fn deliver(&mut self) {
        while let Some(event) = self.next_event() {
            self.tell(event);
        }
    }

    fn next_event(&mut self) -> Option<Event> {
        let Some(random) = &mut self.random else { return self.events.pop_front() };
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let i = (*random >> 33) as usize % self.events.len().max(1);
        self.events.swap_remove_back(i)
    }

    /// Until nothing more happens by itself. Only a worker that does not react to its supervisor takes time.
    fn rest(&mut self) {
        self.deliver();
        while !self.hanging.is_empty() {
            let Some(at) = self.engine.next_deadline() else { break };
            self.now = at;
            self.tell(Event::Tick);
            self.deliver();
        }
    }

    fn sleep(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(at) = self.engine.next_deadline().filter(|&at| at <= end) {
            self.now = at;
            self.tell(Event::Tick);
            self.rest();
        }
        self.now = self.now.max(end);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Start { generation, path, key, .. } => {
                let path = self.engine.path(path);
                let outcomes = self.workers[key.0 as usize]["start"].clone();
                let outcome = self.attempt(&path, generation, &outcomes);
                self.workers_ever.insert(generation);
                if outcome == "ok" {
                    self.runs.insert(generation, (path, key.0 as usize));
                }
                self.outcome(generation, &outcome);
            }
            Effect::Open { generation, path } => {
                let path = self.engine.path(path);
                if let Some(spec) = self.asked_for.get(&path) {
                    self.in_force.insert(path.clone(), spec.clone());
                }
                let spec = self.in_force.get(&path).cloned().unwrap_or_default();
                let outcome = self.attempt(&path, generation, &spec["start"]);
                if outcome == "ok" {
                    for child in spec["children"].as_array().into_iter().flatten() {
                        let id = child["id"].as_str().unwrap_or_default();
                        self.in_force.insert(format!("{path}/{id}"), child.clone());
                    }
                }
                self.outcome(generation, &outcome);
            }
            Effect::Close { .. } | Effect::TreeEnded { .. } => {}
            Effect::Ask { generation, .. } => {
                let Some((_, worker)) = self.runs.get(&generation) else { return };
                let worker = &self.workers[*worker];
                match worker["on_stop"].as_str() {
                    Some("hang") if worker["trap"] == true => drop(self.hanging.insert(generation)),
                    Some(how) if worker["trap"] == true => {
                        let how = reason(how);
                        self.end(generation, how);
                    }
                    _ => self.end(generation, Reason::Shutdown),
                }
            }
            Effect::Kill { generation } => self.end(generation, Reason::Killed),
            Effect::Reply { id, reply } => {
                assert!(self.replies.insert(id, reply).is_none(), "request {id:?} answered twice");
            }
            Effect::Fact(fact) => self.record(fact.path, fact.generation, fact.what),
        }
    }

    /// Counts an attempt and looks up what becomes of it.
    fn attempt(&mut self, path: &str, generation: Gen, outcomes: &Value) -> String {
        let n = self.attempts.entry(path.into()).or_default();
        *n += 1;
        self.numbers.insert(generation, *n);
        outcomes[*n as usize - 1].as_str().unwrap_or("ok").into()
    }

    fn outcome(&mut self, generation: Gen, outcome: &str) {
        self.events.push_back(match outcome {
            "ok" => Event::Started { generation },
            "ignore" => Event::Declined { generation },
            _ => Event::Failed { generation, why: FailedStart::Error },
        });
    }

    fn end(&mut self, generation: Gen, reason: Reason) {
        self.hanging.remove(&generation);
        if let Some((path, _)) = self.runs.remove(&generation) {
            if self.live.get(&path) == Some(&generation) {
                self.live.remove(&path);
            }
            self.events.push_back(Event::Ended { generation, exit: Exit::Reason(reason) });
        }
    }

    /// A fact becomes a line of the trace or a report.
    fn record(&mut self, id: PathId, generation: Gen, what: What) {
        let path = self.engine.path(id);
        let n = self.numbers.get(&generation).copied().unwrap_or(0);
        let is_worker = self.workers_ever.contains(&generation);
        let (above, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let name = name.split('#').next().unwrap_or_default();
        match what {
            What::Started if is_worker => {
                self.live.insert(path.clone(), generation);
                self.ran.insert(path.clone());
                self.trace.push(json!(["start", path, n]));
            }
            What::Started => {
                self.live.insert(path.clone(), generation);
                self.trace.push(json!(["sup_start", path, n]));
            }
            What::Ready if !is_worker => self.trace.push(json!(["sup_up", path, n])),
            What::Declined => self.trace.push(json!(["start_ignore", path, n])),
            What::StartFailed { why: FailedStart::Error } => self.trace.push(json!(["start_error", path, n])),
            What::Ended { reason, .. } if is_worker => {
                self.trace.push(json!(["stop", path, n, reason.to_string()]));
            }
            What::Ended { reason, .. } => {
                if self.live.get(&path) == Some(&generation) {
                    self.live.remove(&path);
                }
                self.trace.push(json!(["sup_down", path, n, reason.to_string()]));
            }
            What::ReportChildTerminated { reason } => {
                self.reports.push(json!(["child_terminated", above, name, reason.to_string()]));
            }
            What::ReportStartError => self.reports.push(json!(["start_error", above, name])),
            What::LimitExceeded { .. } => self.reports.push(json!(["max_intensity", above, name])),
            What::ReportShutdownError { reason, count: None } => {
                self.reports.push(json!(["shutdown_error", above, name, reason.to_string()]));
            }
            What::ReportShutdownError { reason, count: Some(count) } => {
                let template = &self.in_force[&path]["template"]["id"];
                self.reports.push(json!(["shutdown_error", path, template, reason.to_string(), count]));
            }
            _ => {}
        }
    }
}

/// A request on its way.
struct Request {
    id: ReqId,
    sup: String,
    once_ran: bool,
    is_spec: bool,
    asked_for: Option<String>,
}

fn reason(text: &str) -> Reason {
    match text {
        "normal" => Reason::Normal,
        "shutdown" => Reason::Shutdown,
        "shutdown_term" => Reason::ShutdownTerm,
        "kill" => Reason::Killed,
        _ => Reason::Crash,
    }
}

fn reply_json(reply: Option<&Reply>) -> Value {
    match reply {
        None => json!({"error": "unanswered"}),
        Some(Reply::Ok) => json!("ok"),
        Some(Reply::Ignored) => json!("ignored"),
        Some(Reply::Error(kind)) => json!({"error": match kind {
            ErrorKind::NotFound => "not_found",
            ErrorKind::AlreadyStarted => "already_started",
            ErrorKind::AlreadyPresent => "already_present",
            ErrorKind::Running => "running",
            ErrorKind::Restarting => "restarting",
            ErrorKind::StartFailed => "start_failed",
            ErrorKind::BadSpec => "bad_spec",
            ErrorKind::SimpleOneForOne => "simple_one_for_one",
            ErrorKind::Noproc => "noproc",
            ErrorKind::Temporary | ErrorKind::Overtaken | ErrorKind::TreeExists | ErrorKind::Held => "beyond_otp",
        }}),
        Some(Reply::Spec { restart, significant, shutdown, supervisor }) => json!({
            "restart": match restart {
                Restart::Permanent => "permanent",
                Restart::Transient => "transient",
                Restart::Temporary => "temporary",
            },
            "significant": significant,
            "shutdown": match shutdown {
                Shutdown::BrutalKill => json!("brutal_kill"),
                Shutdown::Infinity => json!("infinity"),
                Shutdown::Time(time) => json!(time.as_millis() as u64),
            },
            "type": kind(*supervisor),
        }),
        Some(Reply::Children(children)) => Value::Array(children.iter().map(child_json).collect()),
        Some(Reply::Counts(counts)) => json!(counts),
    }
}

fn child_json(child: &ChildInfo) -> Value {
    let state = match child.state {
        ChildState::Running => "running",
        ChildState::Undefined => "undefined",
        ChildState::Restarting => "restarting",
    };
    json!([child.id.as_deref().unwrap_or("?"), state, kind(child.supervisor)])
}

fn kind(supervisor: bool) -> &'static str {
    if supervisor { "supervisor" } else { "worker" }
}
