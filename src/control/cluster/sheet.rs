//! What one node knows of its cluster, as JSON: what `woodward cluster` shows.
//!
//! Made of the view the cluster has published; nothing here asks anybody. Times are milliseconds; moments are by the wall
//! clock, since 1970, of whoever wrote them.

use serde::{Deserialize, Serialize};
use woodward_engine::Time;
use woodward_engine::cluster::register::{Order, Owner, Phase};
use woodward_engine::cluster::{Foreseen, Group, Key, Name, Sight, View};

use crate::cluster::words;
use crate::store::Seat;

/// A cluster as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sheet {
    /// Name of the cluster.
    pub cluster: String,
    /// Who says so.
    pub node: String,
    /// When, by its wall clock.
    pub at: u64,
    /// Up to which revision of the register.
    pub revision: u64,
    /// Its right to run groups; null: it has none.
    pub term: Option<Term>,
    /// Who wants nothing to happen by itself.
    pub maintenance: Option<Word>,
    /// Members of the store.
    pub store: Vec<Member>,
    /// All nodes that are known, in the order of their names.
    pub nodes: Vec<Node>,
    /// All groups that are known, in the order in which they start.
    pub groups: Vec<Part>,
}

/// The right to run groups.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// Its number.
    pub number: u64,
    /// Left of it, if no further beat is confirmed.
    pub left: u64,
}

/// A person's word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// Who.
    pub by: String,
    /// Why.
    pub text: Option<String>,
}

/// A member of the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its address.
    pub member: String,
    /// It led the store when it was last asked.
    pub leads: bool,
    /// Why it cannot be used.
    pub fault: Option<String>,
}

/// What is seen of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// Its beats come.
    Alive,
    /// They do not, for its `wait`.
    Silent,
    /// Its term was ended by another node, and it has not joined anew.
    Fenced,
    /// It is no member: it has never joined, or left in order.
    Absent,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What is seen of it.
    pub state: Seen,
    /// Since its last beat was seen to change; null: it was never seen, or is the one that says so.
    pub silent: Option<u64>,
    /// Who drained it.
    pub drained: Option<Word>,
    /// Its last term.
    pub term: Option<u64>,
    /// When that began, by its wall clock.
    pub joined: Option<u64>,
    /// Who ended that term.
    pub fenced_by: Option<String>,
    /// Its rhythm: `beat`, `hold`, `wait`.
    pub timing: Option<[u64; 3]>,
    /// The groups it has.
    pub groups: Vec<String>,
    /// The groups whose trees it has.
    pub trees: Vec<String>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub group: String,
    /// Who has it; null: nobody.
    pub node: Option<String>,
    /// Who had it before.
    pub from: Option<String>,
    /// Since which revision: its fencing token.
    pub epoch: u64,
    /// Since when, by the wall clock of who decided it.
    pub since: u64,
    /// Who decided it.
    pub by: Option<String>,
    /// Why, in a clause.
    pub why: String,
    /// `starting`, `active`, `stopping`, `stopped`; null: not known of this epoch.
    pub phase: Option<String>,
    /// Since when it is in that phase, by the owner's wall clock.
    pub phase_since: Option<u64>,
    /// What its last start took, from ownership to ready.
    pub start_took: Option<u64>,
    /// What its last stop took.
    pub stop_took: Option<u64>,
    /// Where a person wants it.
    pub wish: Option<Wish>,
    /// A better node that is asked whether it could run it, and what it says.
    pub probe: Option<Probe>,
    /// Of each node of its list, best first, what keeps it from running there.
    pub candidates: Vec<Candidate>,
}

/// A person wants a group elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wish {
    /// Where; null: anywhere else.
    pub to: Option<String>,
    /// Who.
    pub by: Word,
}

/// A failback is being tried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// On which node.
    pub node: String,
    /// Whether it could run there; null: not known yet.
    pub able: Option<bool>,
    /// Why not.
    pub why: Option<String>,
}

/// A node that may run a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub node: String,
    /// Clauses about it; empty: it could, or does.
    pub why_not: Vec<String>,
    /// The group has given up there: since when, and for how long it is avoided.
    pub avoided: Option<Avoided>,
}

/// A group has given up on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Avoided {
    /// Its last words.
    pub why: String,
    /// When, by that node's wall clock.
    pub since: u64,
    /// Left of the time for which it is avoided, by the clock of who says so.
    pub left: u64,
}

/// What would become of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Foretold {
    /// Which.
    pub group: String,
    /// Where it is.
    pub from: String,
    /// Where it would go; null: it would stay down.
    pub to: Option<String>,
    /// Of each node why not, if it would stay down.
    pub why: Option<String>,
    /// Its place among those that start there, from 1.
    pub order: usize,
    /// From the death of its node until it is up elsewhere; null: its start was never measured, or it waits for fencing.
    pub predicted: Option<u64>,
    /// Of that, what its last start took.
    pub start_took: Option<u64>,
}

impl From<&Order> for Word {
    fn from(order: &Order) -> Word {
        Word { by: order.by.clone(), text: order.text.clone() }
    }
}

impl From<Seat> for Member {
    fn from(seat: Seat) -> Member {
        Member { member: seat.member, leads: seat.leads, fault: seat.fault }
    }
}

impl Sheet {
    /// The sheet of a view. `now` is the clock of the view's times, `wall` milliseconds since 1970.
    pub fn of(view: &View, cluster: &str, store: Vec<Seat>, now: Time, wall: u64) -> Sheet {
        let left = |deadline: Time| ms(deadline.since(now));
        Sheet {
            cluster: cluster.to_owned(),
            node: view.me.to_string(),
            at: wall,
            revision: view.register.revision,
            term: view.term.map(|(term, deadline)| Term { number: term.0, left: left(deadline) }),
            maintenance: view.register.maintenance().map(Word::from),
            store: store.into_iter().map(Member::from).collect(),
            nodes: nodes(view).iter().map(|node| one_node(view, node, now)).collect(),
            groups: groups(view).iter().map(|group| one_group(view, group, wall)).collect(),
        }
    }

    /// A group by its name.
    pub fn group(&self, name: &str) -> Option<&Part> {
        self.groups.iter().find(|part| part.group == name)
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

impl Foretold {
    /// What a view foresees of a group.
    pub fn of(view: &View, foreseen: &Foreseen) -> Foretold {
        let state = view.register.state(&foreseen.group);
        Foretold {
            group: foreseen.group.to_string(),
            from: foreseen.from.to_string(),
            to: foreseen.to.as_ref().ok().map(Name::to_string),
            why: foreseen.to.as_ref().err().cloned(),
            order: foreseen.order,
            predicted: foreseen.predicted,
            start_took: state.and_then(|state| state.start_took),
        }
    }
}

/// All names of nodes: those that have joined, and those that groups name.
fn nodes(view: &View) -> Vec<Name> {
    let joined = view.register.entries.keys().filter_map(|key| match key {
        Key::Epoch(node) | Key::Drained(node) => Some(node.clone()),
        _ => None,
    });
    let listed = view.groups.iter().flat_map(|group| group.nodes.iter().cloned());
    let mut all: Vec<Name> = joined.chain(listed).chain([view.me.clone()]).collect();
    all.sort();
    all.dedup();
    all
}

/// All names of groups: those whose trees are here, in the order in which they start; then the others.
fn groups(view: &View) -> Vec<Name> {
    let mut all: Vec<Name> = view.groups.iter().map(|group| group.name.clone()).collect();
    let owned = view.register.entries.keys().filter_map(|key| match key {
        Key::Owner(group) => Some(group.clone()),
        _ => None,
    });
    for group in owned {
        if !all.contains(&group) {
            all.push(group);
        }
    }
    all
}

fn one_node(view: &View, name: &Name, now: Time) -> Node {
    let member = view.register.member(name);
    let sight = view.seen.iter().find(|(node, _)| node == name).map_or(Sight::Absent, |(_, sight)| *sight);
    let (state, silent) = match sight {
        _ if *name == view.me && view.term.is_some() => (Seen::Alive, None),
        _ if *name == view.me => (Seen::Absent, None),
        Sight::Fresh { at } => (Seen::Alive, Some(ms(now.since(at)))),
        Sight::Silent { at } => (Seen::Silent, Some(ms(now.since(at)))),
        Sight::Fenced => (Seen::Fenced, None),
        Sight::Absent => (Seen::Absent, None),
    };
    let has =
        |group: &Name| view.register.owner(group).is_some_and(|(_, owner)| owner.node.as_ref() == Some(name));
    let timing = member.map(|member| member.timing);
    Node {
        name: name.to_string(),
        state,
        silent,
        drained: view.register.drained(name).map(Word::from),
        term: member.map(|member| member.term.0),
        joined: member.map(|member| member.since),
        fenced_by: member.and_then(|member| member.fenced.as_ref()).map(Name::to_string),
        timing: timing.map(|timing| [timing.beat, timing.hold, timing.wait].map(ms)),
        groups: groups(view).iter().filter(|group| has(group)).map(Name::to_string).collect(),
        trees: member.map_or(Vec::new(), |member| member.groups.iter().map(Name::to_string).collect()),
    }
}

fn one_group(view: &View, name: &Name, wall: u64) -> Part {
    let register = &view.register;
    let rules = view.groups.iter().find(|group| group.name == *name);
    let owned = register.owner(name);
    let owner = owned.map(|(_, owner)| owner);
    let epoch = owned.map_or(0, |(epoch, _)| epoch.0);
    let state = register.state(name);
    let phase = state.filter(|state| state.epoch.0 == epoch);
    let text = |name: &Option<Name>| name.as_deref().map(str::to_owned);
    Part {
        group: name.to_string(),
        node: owner.and_then(|owner| text(&owner.node)),
        from: owner.and_then(|owner| text(&owner.from)),
        epoch,
        since: owner.map_or(0, |owner| owner.since),
        by: owner.map(|owner| owner.by.to_string()),
        why: owner.map_or_else(|| "nobody has had it yet".to_owned(), |owner: &Owner| words::why(&owner.why)),
        phase: phase.map(|state| word(state.phase).to_owned()),
        phase_since: phase.map(|state| state.since),
        start_took: state.and_then(|state| state.start_took),
        stop_took: state.and_then(|state| state.stop_took),
        wish: register.wish(name).map(|wish| Wish { to: text(&wish.to), by: Word::from(&wish.order) }),
        probe: register.probe(name).map(|probe| Probe {
            node: probe.node.to_string(),
            able: probe.result.as_ref().map(Result::is_ok),
            why: probe.result.as_ref().and_then(|result| result.as_ref().err().cloned()),
        }),
        candidates: rules.map_or(Vec::new(), |rules| candidates(view, rules, wall)),
    }
}

fn candidates(view: &View, rules: &Group, wall: u64) -> Vec<Candidate> {
    let one = |node: &Name| {
        let avoided = view.register.avoid(&rules.name, node).map(|avoid| Avoided {
            why: avoid.why.clone(),
            since: avoid.since,
            left: (avoid.since + ms(rules.failure_timeout)).saturating_sub(wall),
        });
        Candidate { node: node.to_string(), why_not: view.why_not(&rules.name, node), avoided }
    };
    rules.nodes.iter().map(one).collect()
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Active => "active",
        Phase::Stopping => "stopping",
        Phase::Stopped => "stopped",
    }
}

fn ms(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
