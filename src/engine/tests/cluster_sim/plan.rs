//! What a seed stands for: a cluster, its trees, its network, and what goes wrong when.

use crate::cluster_world::{group, name};
use crate::random::Random;
use std::fmt;
use std::time::Duration;
use woodward_engine::cluster::group::{Earned, Failback, Fencing};
use woodward_engine::cluster::register::Order;
use woodward_engine::cluster::{Group, Name, Request, Timing};

/// Everything that is drawn before the run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of the run's own chances (delays, losses).
    pub seed: u64,
    pub nodes: Vec<Name>,
    /// Parts per million by which each node's clock is fast.
    pub rates: Vec<i64>,
    pub timing: Timing,
    pub groups: Vec<Group>,
    /// Milliseconds each group takes to start and to stop.
    pub takes: Vec<(u64, u64)>,
    /// In the order of time.
    pub faults: Vec<Fault>,
    /// Milliseconds until nothing goes wrong any more.
    pub heal: u64,
    /// Milliseconds of the whole run.
    pub end: u64,
}

/// Something goes wrong, or somebody asks for something.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Milliseconds after the beginning.
    pub at: u64,
    /// Milliseconds it lasts.
    pub lasts: u64,
    pub what: What,
}

/// What goes wrong; numbers are of nodes and groups.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Nothing of the host runs.
    Freeze(usize),
    /// The daemon stands still.
    Nap(usize),
    /// The keeper stands still.
    KeeperNap(usize),
    /// The host is off.
    Power(usize),
    /// The daemon dies; after that time there is another.
    Death(usize),
    /// The keeper dies, and everything with it.
    KeeperDeath(usize),
    /// What the node sends does not arrive.
    Deaf(usize),
    /// What is sent to the node does not arrive.
    Mute(usize),
    /// Neither.
    Away(usize),
    /// The store answers nobody.
    StoreAway,
    /// So many of a hundred messages are lost.
    Loss(usize, u64),
    /// Messages take up to so many milliseconds longer.
    Slow(usize, u64),
    /// The watch tears.
    Tear(usize),
    /// The watch tells nothing.
    Stall(usize),
    /// The group gives up wherever it runs.
    GiveUp(usize),
    /// The group gives up on that node each time it is started there.
    Bad(usize, usize),
    /// The group's starts take so many times longer.
    Late(usize, u64),
    /// What is stopped of the group does not end.
    Stuck(usize),
    /// A child of the group was restarted.
    Restarted(usize),
    /// The wall clock jumps by so many milliseconds.
    Wall(usize, i64),
    /// Somebody asks on a node.
    Ask(usize, Request),
}

/// What kinds of trouble a run is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taste {
    /// Everything.
    All,
    /// Nothing freezes or stands still: what must never be is never, not even for an instant.
    Awake,
    /// Trees and people only, on a network and hosts that work.
    Calm,
    /// Links that flap.
    Flapping,
}

impl Plan {
    /// What a seed stands for.
    pub fn new(seed: u64, taste: Taste) -> Plan {
        let mut r = Random::new(seed);
        let r = &mut r;
        let n = 2 + r.below(4);
        let nodes: Vec<Name> = (1..=n).map(|n| name(&format!("n{n}"))).collect();
        let timing = r.pick(&[Timing::FAST, Timing::NORMAL, Timing::millis(150, 600, 800)]);
        let g = 1 + r.below(8);
        let names: Vec<Name> = (1..=g).map(|g| name(&format!("g{g}"))).collect();
        let groups: Vec<Group> = (0..g).map(|at| some_group(r, at, &names, &nodes)).collect();
        let takes = (0..g).map(|_| (20 + r.below(2000) as u64, 10 + r.below(800) as u64)).collect();
        let rates = (0..n).map(|_| r.below(40_001) as i64 - 20_000).collect();
        let heal = 15_000 + r.below(25_000) as u64;
        let mut faults: Vec<Fault> =
            (0..r.below(14)).map(|_| some_fault(r, taste, heal, n, &names, &nodes)).collect();
        faults.sort_by_key(|fault| fault.at);
        Plan { seed, nodes, rates, timing, groups, takes, faults, heal, end: heal + 70_000 }
    }
}

fn some_group(r: &mut Random, at: usize, names: &[Name], nodes: &[Name]) -> Group {
    let mut of = nodes.to_vec();
    for i in (1..of.len()).rev() {
        of.swap(i, r.below(i + 1));
    }
    // A group that only some of the nodes may run; at least two.
    of.truncate(2.max(of.len() - r.below(2)));
    let mut group = group(&names[at], &of);
    group.failback = match r.below(3) {
        0 => Failback::Manual,
        1 => Failback::Never,
        _ => Failback::Earned(Earned {
            steady: Duration::from_millis(1000 + r.below(8000) as u64),
            quiet: Duration::from_millis(r.below(8000) as u64),
            flap: Duration::from_millis(r.below(15_000) as u64),
            probe: r.chance(30),
        }),
    };
    group.fencing =
        r.pick(&[Fencing::None, Fencing::None, Fencing::None, Fencing::BestEffort, Fencing::Required]);
    group.failure_timeout = Duration::from_millis(5_000 + r.below(10_000) as u64);
    group.start_within = if r.chance(50) { Some(Duration::from_millis(5000)) } else { None };
    group.priority = r.below(4) as i32;
    if at > 0 && r.chance(25) {
        let other = names[r.below(at)].clone();
        if r.chance(50) { group.with.push(other) } else { group.apart.push(other) }
    }
    group
}

fn some_fault(r: &mut Random, taste: Taste, heal: u64, n: usize, groups: &[Name], nodes: &[Name]) -> Fault {
    let (node, g) = (r.below(n), r.below(groups.len()));
    let at = 3000 + r.below(heal as usize - 3000) as u64;
    let lasts = if r.chance(60) { r.below(6000) as u64 } else { r.below(25_000) as u64 };
    let lasts = lasts.min(heal - at.min(heal));
    let what = loop {
        let what = match r.below(24) {
            0 => What::Freeze(node),
            1 => What::Nap(node),
            2 => What::KeeperNap(node),
            3 => What::Power(node),
            4 => What::Death(node),
            5 => What::KeeperDeath(node),
            6 => What::Deaf(node),
            7 => What::Mute(node),
            8 => What::Away(node),
            9 => What::StoreAway,
            10 => What::Loss(node, 10 + r.below(80) as u64),
            11 => What::Slow(node, 50 + r.below(3000) as u64),
            12 => What::Tear(node),
            13 => What::Stall(node),
            14 => What::GiveUp(g),
            15 => What::Bad(g, node),
            16 => What::Late(g, 2 + r.below(10) as u64),
            17 => What::Stuck(g),
            18 => What::Restarted(g),
            19 => What::Wall(node, r.below(7_200_000) as i64 - 3_600_000),
            _ => What::Ask(node, some_request(r, groups, nodes)),
        };
        let fits = match taste {
            Taste::All => true,
            Taste::Awake => !matches!(what, What::Freeze(_) | What::Nap(_) | What::KeeperNap(_)),
            Taste::Calm => matches!(
                what,
                What::GiveUp(_)
                    | What::Bad(..)
                    | What::Late(..)
                    | What::Restarted(_)
                    | What::Ask(..)
                    | What::Power(_)
            ),
            Taste::Flapping => matches!(what, What::Deaf(_) | What::Mute(_) | What::Away(_) | What::Loss(..)),
        };
        if fits {
            break what;
        }
    };
    Fault { at, lasts, what }
}

fn some_request(r: &mut Random, groups: &[Name], nodes: &[Name]) -> Request {
    let (group, node) = (r.pick(groups), r.pick(nodes));
    let order = Order { by: "somebody".into(), text: None };
    match r.below(10) {
        0..=2 => Request::Move { group, to: if r.chance(30) { None } else { Some(node) }, order },
        3 | 4 => Request::Drain { node, order },
        5 => Request::Undrain { node },
        6 => Request::Maintain { on: r.chance(50), order },
        7 => Request::Forgive { group, node: if r.chance(50) { None } else { Some(node) } },
        8 => Request::Start { group },
        _ => Request::Leave,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "nodes {:?}, {:?}", self.nodes, self.timing)?;
        for (group, takes) in self.groups.iter().zip(&self.takes) {
            writeln!(f, "{group:?} takes {takes:?}")?;
        }
        for fault in &self.faults {
            writeln!(f, "{:>8} {:?} for {} ms", fault.at, fault.what, fault.lasts)?;
        }
        writeln!(f, "{:>8} healed", self.heal)
    }
}
