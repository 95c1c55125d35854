//! A world of nodes around one register, with one clock, in which nothing takes longer than the test says.
//!
//! Checked at every step: at most one node runs a group, nothing runs without a term, epochs of a group only rise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use woodward_engine::cluster::group::{Earned, Failback};
use woodward_engine::cluster::register::{Order, Owner, Why};
use woodward_engine::cluster::{
    Answer, Cluster, Condition, Config, Down, Effect, Epoch, Event, Fact, Fencing, Group, Key, Name,
    Register, Request, Saved, Term, Timing, Transaction, Value, View, Write,
};
use woodward_engine::{ReqId, Time};

pub fn name(text: &str) -> Name {
    text.into()
}

pub fn order() -> Order {
    Order { by: "ana".into(), text: None }
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A group that stays where it is, for 10 minutes away from where it gave up.
pub fn group(group: &str, nodes: &str) -> Group {
    Group {
        name: name(group),
        nodes: nodes.split(' ').map(name).collect(),
        failback: Failback::Never,
        fencing: Fencing::None,
        with: Vec::new(),
        apart: Vec::new(),
        failure_timeout: Duration::from_secs(600),
        start_within: None,
        priority: 0,
    }
}

/// One that goes back after 5 s of steady beats and 2 s of quiet, once in a minute.
pub fn earned(group: Group, probe: bool) -> Group {
    let earned = Earned { steady: ms(5000), quiet: ms(2000), flap: Duration::from_secs(60), probe };
    Group { failback: Failback::Earned(earned), ..group }
}

/// What a tree does when it is started.
#[derive(Clone, Copy, PartialEq)]
pub enum Tree {
    /// It is up after so many milliseconds.
    Up(u64),
    /// It gives up after so many.
    GivesUp(u64),
    /// It never comes up.
    Hangs,
}

/// One node, as the world sees it.
pub struct Node {
    pub cluster: Cluster,
    pub config: Config,
    /// It does nothing, and nothing reaches it.
    pub frozen: bool,
    /// Nothing goes from it to the register or back.
    pub cut: bool,
    /// Its keeper does not answer.
    pub keeper_stopped: bool,
    /// What runs: group, epoch, and whether it is being stopped.
    pub running: BTreeMap<Name, Epoch>,
    /// What the keeper holds.
    pub term: Option<(Term, Option<Time>)>,
    greatest: Term,
    inbox: Vec<(Time, Event)>,
    /// What watches have shown it.
    shown: u64,
    pub watches: bool,
    pub left: bool,
}

/// What one revision has changed.
type Changes = Vec<(Key, Option<Value>)>;

/// All of it.
pub struct World {
    pub now: Time,
    pub nodes: BTreeMap<Name, Node>,
    pub register: Register,
    log: Vec<(u64, Changes)>,
    pub trees: BTreeMap<(Name, Name), Tree>,
    /// What answers a transaction: `None`: as it is.
    pub answers: Option<Answer>,
    /// What becomes of fencing.
    pub fence: Result<(), String>,
    /// What becomes of probes; `None`: no answer.
    pub probe: Option<Result<(), String>>,
    pub facts: Vec<(Time, Name, Fact)>,
    pub effects: Vec<(Time, Name, Effect)>,
    epochs: BTreeMap<Name, Epoch>,
}

impl World {
    /// Nodes that join at time 0, in this order, with all groups.
    pub fn new(nodes: &str, groups: &[Group]) -> World {
        let mut world = World::empty();
        for node in nodes.split(' ') {
            world.boot(node, groups);
        }
        world
    }

    pub fn empty() -> World {
        World {
            now: Time(100_000),
            nodes: BTreeMap::new(),
            register: Register { revision: 1, ..Register::default() },
            log: Vec::new(),
            trees: BTreeMap::new(),
            answers: None,
            fence: Ok(()),
            probe: Some(Ok(())),
            facts: Vec::new(),
            effects: Vec::new(),
            epochs: BTreeMap::new(),
        }
    }

    /// A node begins (anew, with nothing of before).
    pub fn boot(&mut self, node: &str, groups: &[Group]) {
        self.boot_as(node, node, groups);
    }

    /// One of some name, on a machine of its own.
    pub fn boot_as(&mut self, node: &str, machine: &str, groups: &[Group]) {
        let greatest = self.nodes.get(machine).map_or(Term(0), |node| node.greatest);
        let timing = Timing::NORMAL;
        let config = Config { me: name(node), timing, groups: groups.to_vec(), after: greatest };
        let cluster = Cluster::new(config.clone(), self.now);
        self.insert(machine, cluster, config, greatest);
    }

    fn insert(&mut self, node: &str, cluster: Cluster, config: Config, greatest: Term) {
        let inbox = vec![(self.now, Event::Tick)];
        let node_ = Node {
            cluster,
            config,
            frozen: false,
            cut: false,
            keeper_stopped: false,
            running: BTreeMap::new(),
            term: None,
            greatest,
            inbox,
            shown: 0,
            watches: false,
            left: false,
        };
        self.nodes.insert(name(node), node_);
    }

    /// Power off.
    pub fn kill(&mut self, node: &str) {
        let node = self.node(node);
        node.frozen = true;
        node.running.clear();
        node.term = None;
    }

    pub fn node(&mut self, node: &str) -> &mut Node {
        self.nodes.get_mut(node).expect("a node of this world")
    }

    /// The daemon of a node dies and the next one goes on with what it left.
    pub fn resume(&mut self, node: &str) {
        let now = self.now;
        let node = self.node(node);
        let saved: Saved = node.cluster.saved().expect("a term stands");
        node.cluster = Cluster::resume(node.config.clone(), saved, now);
        node.inbox.clear();
        node.inbox.push((now, Event::Tick));
        node.watches = false;
    }

    pub fn tell(&mut self, node: &str, event: Event) {
        let now = self.now;
        self.node(node).inbox.push((now, event));
        self.settle();
    }

    /// Asks and waits for the answer.
    pub fn ask(&mut self, node: &str, request: Request) -> Result<(), String> {
        let id = ReqId(self.effects.len() as u64 + 1_000_000);
        self.tell(node, Event::Request { id, request });
        for _ in 0..100 {
            let reply = self.effects.iter().rev().find_map(|(_, _, effect)| match effect {
                Effect::Reply { id: own, result } if *own == id => Some(result.clone()),
                _ => None,
            });
            if let Some(result) = reply {
                return result;
            }
            self.run(100);
        }
        panic!("no answer");
    }

    /// Lets so many milliseconds pass.
    pub fn run(&mut self, millis: u64) {
        let end = Time(self.now.0 + millis);
        loop {
            self.settle();
            let next = self.nodes.values().filter(|node| !node.frozen).filter_map(Node::next).min();
            match next {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => break,
            }
        }
        self.now = end;
        self.settle();
    }

    /// Everything that happens now.
    fn settle(&mut self) {
        for turn in 0.. {
            assert!(turn < 10_000, "the world does not come to rest at {:?}", self.now);
            let Some((node, event)) = self.due() else { break };
            self.step(&node, event);
        }
    }

    fn due(&mut self) -> Option<(Name, Event)> {
        let now = self.now;
        for (name, node) in &mut self.nodes {
            if node.frozen {
                continue;
            }
            // The keeper looks at the clock first.
            if let Some((term, Some(deadline))) = node.term
                && deadline <= now
                && !node.keeper_stopped
            {
                node.running.clear();
                node.term = None;
                return Some((name.clone(), Event::Fired { term }));
            }
            if !node.cut
                && node.watches
                && let Some((revision, changes)) =
                    self.log.get(self.log.partition_point(|(revision, _)| *revision <= node.shown))
            {
                node.shown = *revision;
                return Some((
                    name.clone(),
                    Event::Changed { revision: *revision, changes: changes.clone() },
                ));
            }
            if let Some(at) = node.inbox.iter().position(|(at, _)| *at <= now) {
                return Some((name.clone(), node.inbox.remove(at).1));
            }
            if node.cluster.next_deadline().is_some_and(|at| at <= now) {
                return Some((name.clone(), Event::Tick));
            }
        }
        None
    }

    fn step(&mut self, node: &Name, event: Event) {
        let mut effects = Vec::new();
        let now = self.now;
        if let Event::Down { group, epoch, .. } = &event
            && self.node(node).running.get(group) == Some(epoch)
        {
            self.node(node).running.remove(group);
        }
        self.node(node).cluster.handle(now, now.0 + 1, event, &mut effects);
        for effect in effects {
            self.effects.push((now, node.clone(), effect.clone()));
            self.carry_out(node, effect);
        }
        self.check();
    }

    fn carry_out(&mut self, me: &Name, effect: Effect) {
        let now = self.now;
        let cut = self.node(me).cut;
        match effect {
            Effect::Read if cut => self.node(me).watches = false,
            Effect::Read => {
                let register = self.register.clone();
                let entries =
                    register.entries.into_iter().map(|(key, (at, value))| (key, at, value)).collect();
                let node = self.node(me);
                node.shown = register.revision;
                node.watches = true;
                node.inbox.push((now, Event::Read { revision: register.revision, entries }));
            }
            Effect::Commit { id, transaction, .. } => {
                let answer = if cut { Answer::Unknown } else { self.commit(transaction) };
                let later = if cut { Time(now.0 + 500) } else { now };
                self.node(me).inbox.push((later, Event::Answered { id, answer }));
            }
            Effect::Begin { term } => {
                let node = self.node(me);
                assert!(term > node.greatest, "a term of a keeper is greater than all before");
                assert!(node.running.is_empty(), "nothing runs when a term begins");
                node.greatest = term;
                node.term = Some((term, None));
            }
            Effect::Arm { term, number, deadline } => {
                let node = self.node(me);
                if node.keeper_stopped || node.term.is_none_or(|(own, _)| own != term) || deadline <= now {
                    return;
                }
                node.term = Some((term, Some(deadline)));
                node.inbox.push((now, Event::Armed { number }));
            }
            Effect::End { term } => {
                let node = self.node(me);
                node.running.clear();
                node.term = None;
                node.inbox.push((now, Event::Fired { term }));
            }
            Effect::Start { group, epoch, term } => {
                assert!(
                    self.node(me).term.is_some_and(|(own, at)| own == term && at.is_some()),
                    "bound to a term"
                );
                let before = self.epochs.insert(group.clone(), epoch);
                assert!(
                    before.is_none_or(|before| before < epoch),
                    "epochs of {group} rise: {before:?} {epoch:?}"
                );
                let tree = self.trees.get(&(me.clone(), group.clone())).copied().unwrap_or(Tree::Up(100));
                let node = self.node(me);
                node.running.insert(group.clone(), epoch);
                let (after, event) = match tree {
                    Tree::Up(after) => (after, Event::Up { group, epoch }),
                    Tree::GivesUp(after) => {
                        (after, Event::Down { group, epoch, how: Down::GaveUp("it crashes".into()) })
                    }
                    Tree::Hangs => return,
                };
                node.inbox.push((Time(now.0 + after), event));
            }
            Effect::Stop { group, epoch } => {
                let how = Down::Asked;
                self.node(me).inbox.push((Time(now.0 + 50), Event::Down { group, epoch, how }));
            }
            Effect::Probe { group } => {
                if let Some(result) = self.probe.clone() {
                    self.node(me).inbox.push((Time(now.0 + 10), Event::Probed { group, result }));
                }
            }
            Effect::Fence { node, .. } => {
                let result = self.fence.clone();
                if result.is_ok() {
                    self.kill(&node);
                }
                self.node(me).inbox.push((Time(now.0 + 200), Event::Fenced { node, result }));
            }
            Effect::Left => self.node(me).left = true,
            Effect::Keep { group, epoch } => assert_eq!(self.node(me).running.get(&group), Some(&epoch)),
            Effect::Fact(fact) => self.facts.push((now, me.clone(), fact)),
            Effect::Reply { .. } => {}
        }
        // What went down by itself or when asked no longer runs.
        let node = self.node(me);
        node.inbox.retain(|(_, event)| match event {
            Event::Up { group, epoch } | Event::Down { group, epoch, .. } => {
                node.running.get(group) == Some(epoch)
            }
            _ => true,
        });
    }

    /// One transaction, as the register carries it out; the world may answer something else.
    pub fn commit(&mut self, transaction: Transaction) -> Answer {
        let mut keys = BTreeSet::new();
        for write in &transaction.writes {
            let (Write::Put(key, _) | Write::Delete(key)) = write;
            assert!(keys.insert(key.clone()), "a transaction writes each key once: {key:?}");
        }
        assert!(transaction.conditions.len() <= 128 && transaction.writes.len() <= 128);
        let holds =
            transaction.conditions.iter().all(|Condition::At(key, at)| self.register.revision_of(key) == *at);
        if !holds {
            return self.answers.unwrap_or(Answer::Refused);
        }
        let revision = self.register.revision + 1;
        let mut changes = Vec::new();
        for write in transaction.writes {
            match write {
                Write::Put(key, value) => {
                    self.register.entries.insert(key.clone(), (revision, value.clone()));
                    changes.push((key, Some(value)));
                }
                Write::Delete(key) => {
                    if self.register.entries.remove(&key).is_some() {
                        changes.push((key, None));
                    }
                }
            }
        }
        if !changes.is_empty() {
            self.register.revision = revision;
            self.log.push((revision, changes));
        }
        self.answers.unwrap_or(Answer::Done(self.register.revision))
    }

    /// Writes an owner past everybody.
    pub fn give(&mut self, group: &str, node: &str) {
        let owner =
            Owner { node: Some(name(node)), from: None, why: Why::First, by: name("nobody"), since: 0 };
        self.put(Key::Owner(name(group)), Value::Owner(owner));
    }

    /// Writes anything past everybody.
    pub fn put(&mut self, key: Key, value: Value) {
        self.commit(Transaction { conditions: Vec::new(), writes: vec![Write::Put(key, value)] });
    }

    fn check(&mut self) {
        let now = self.now;
        let mut at: BTreeMap<&Name, &Name> = BTreeMap::new();
        for (name, node) in &self.nodes {
            // A frozen one is judged when it wakes: past its deadline it is killed before anything else.
            if node.frozen && node.term.is_none_or(|(_, deadline)| deadline.is_none_or(|at| at <= now)) {
                continue;
            }
            for group in node.running.keys() {
                assert!(node.term.is_some(), "{group} runs on {name} without a term");
                if let Some(other) = at.insert(group, name) {
                    panic!("{group} runs on {other} and on {name} at {now:?}");
                }
            }
        }
    }

    // ------------------------------------------------------------------ what is

    /// Where a group is up or coming up, and why.
    pub fn owner(&self, group: &str) -> (Option<&str>, Option<Why>) {
        match self.register.entries.get(&Key::Owner(name(group))) {
            Some((_, Value::Owner(Owner { node, why, .. }))) => (node.as_deref(), Some(why.clone())),
            _ => (None, None),
        }
    }

    /// The node on which a group runs.
    pub fn runs(&self, group: &str) -> Option<&str> {
        self.nodes.iter().find(|(_, node)| node.running.contains_key(group)).map(|(name, _)| &**name)
    }

    pub fn view(&self, node: &str) -> View {
        self.nodes[node].cluster.view()
    }

    /// How many facts there are of a kind.
    pub fn told(&self, is: impl Fn(&Fact) -> bool) -> usize {
        self.facts.iter().filter(|(_, _, fact)| is(fact)).count()
    }

    /// How often the owner of a group was written.
    pub fn given(&self, group: &str) -> usize {
        let key = Key::Owner(name(group));
        self.log.iter().filter(|(_, changes)| changes.iter().any(|(k, _)| *k == key)).count()
    }

    /// When a group was last started.
    pub fn started(&self, group: &str) -> Time {
        let starts = self.effects.iter().rev();
        let mut starts =
            starts.filter(|(_, _, e)| matches!(e, Effect::Start { group: g, .. } if &**g == group));
        starts.next().expect("it was started").0
    }
}

impl Node {
    fn next(&self) -> Option<Time> {
        let inbox = self.inbox.iter().map(|(at, _)| *at).min();
        let keeper = self.term.and_then(|(_, deadline)| deadline).filter(|_| !self.keeper_stopped);
        [inbox, keeper, self.cluster.next_deadline()].into_iter().flatten().min()
    }
}
