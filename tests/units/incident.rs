//! What is done to a tree, on both sides alike.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use super::shape::{Shape, is_within};
use super::trace::Alive;
use crate::random::Random;

/// One thing, after which both sides come to rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incident {
    /// The whole tree starts.
    Begin,
    /// These processes end at the same time.
    End(How, Vec<String>),
    /// By hand: a worker, a subtree, the tree.
    Stop(String),
    /// By hand, what was stopped by hand or has given up.
    Start(String),
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Killed,
    /// Exit status 3.
    Failed,
    /// Exit status 0.
    Calm,
}

impl How {
    /// What the process is sent.
    pub fn signal(self) -> &'static str {
        match self {
            How::Killed => "KILL",
            How::Failed => "USR2",
            How::Calm => "USR1",
        }
    }
}

/// What was done to a tree so far, as far as it matters for what is done next.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// Stopped by hand and not started again.
    stopped: BTreeSet<String>,
    /// Who ended last.
    last: Option<String>,
    /// Nothing but an end and a new beginning of the whole tree makes it clear again how often who was restarted.
    blurred: bool,
}

impl Story {
    /// Whether a child, or what it is below, was stopped by hand and not started since.
    pub fn is_stopped(&self, path: &str) -> bool {
        self.stopped.iter().any(|top| is_within(path, top))
    }

    /// The sides are in different states: nothing but a new beginning makes them the same.
    pub fn blur(&mut self) {
        self.blurred = true;
    }

    /// Something that can be done to a tree in which these live.
    pub fn next(&mut self, shape: &Shape, alive: &Alive, random: &mut Random) -> Incident {
        let root = shape.id.clone();
        let living: Vec<String> =
            shape.workers().map(|w| w.path.clone()).filter(|p| alive.contains_key(p)).collect();
        if living.is_empty() || self.stopped.contains(&root) {
            return self.start(root);
        }
        // The eldest first: woodward lets a child wait for what it is after, a unit is started without.
        if let Some(top) =
            shape.nodes.iter().map(|node| node.path.clone()).find(|path| self.stopped.contains(path))
            && (self.blurred || random.chance(50))
        {
            return self.start(top);
        }
        if self.blurred {
            return self.stop(root);
        }
        match random.below(100) {
            n if n < 12 => {
                let tops: Vec<String> = shape.nodes.iter().map(|node| node.path.clone()).collect();
                let worth = |top: &String| living.iter().any(|path| is_within(path, top));
                let tops: Vec<String> = tops.into_iter().filter(worth).collect();
                self.stop(random.pick(&tops))
            }
            n if n < 24 && self.last.is_none() && living.len() > 1 => self.several(shape, &living, random),
            n => {
                let again = self.last.clone().filter(|last| living.contains(last) && random.chance(60));
                let victim = again.unwrap_or_else(|| random.pick(&living));
                self.last = Some(victim.clone());
                let how = match n % 10 {
                    0..=4 => How::Killed,
                    5..=6 => How::Failed,
                    _ => How::Calm,
                };
                Incident::End(how, vec![victim])
            }
        }
    }

    /// So few that no supervisor gives up, in whatever order it hears of them.
    fn several(&mut self, shape: &Shape, living: &[String], random: &mut Random) -> Incident {
        let mut victims: Vec<String> = Vec::new();
        for path in living.iter().filter(|path| !shape.node(path).limit && random.chance(60)) {
            let parent = path.rsplit_once('/').expect("a worker is below a supervisor").0;
            let siblings =
                victims.iter().filter(|victim| victim.rsplit_once('/').is_some_and(|(p, _)| p == parent));
            if (siblings.count() as u32) < shape.node(parent).intensity {
                victims.push(path.clone());
            }
        }
        if victims.is_empty() {
            return self.stop(shape.id.clone());
        }
        self.blurred = true;
        Incident::End(How::Killed, victims)
    }

    fn stop(&mut self, path: String) -> Incident {
        self.stopped.insert(path.clone());
        Incident::Stop(path)
    }

    fn start(&mut self, path: String) -> Incident {
        self.stopped.remove(&path);
        if !path.contains('/') {
            (self.last, self.blurred) = (None, false);
        }
        Incident::Start(path)
    }
}

impl Incident {
    /// It is one event for the tree: what follows from it has one order.
    pub fn is_one(&self) -> bool {
        !matches!(self, Incident::End(_, victims) if victims.len() > 1)
    }

    /// Who ends by it.
    pub fn victims(&self) -> &[String] {
        match self {
            Incident::End(_, victims) => victims,
            _ => &[],
        }
    }
}

impl Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Incident::Begin => f.write_str("begin"),
            Incident::End(how, victims) => write!(f, "{how:?} {}", victims.join(" ")),
            Incident::Stop(path) => write!(f, "stop {path}"),
            Incident::Start(path) => write!(f, "start {path}"),
        }
    }
}
