//! What stands in a record, and how the engine's values are written there. Keys are added and never renamed: the next
//! daemon may be a newer one. What is as usual is left out.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use woodward_engine::adopt::{self, SavedChild, SavedState, SavedSupervisor, SavedWindow};
use woodward_engine::effect::TreeEnd;
use woodward_engine::view::Hold;
use woodward_engine::{Exit, Gen, Incident, Key, Reason, Time};

use crate::record::Who;

/// What has changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct Entry {
    /// Greatest generation given out.
    #[serde(rename = "g")]
    pub(in crate::runtime) generation: u64,
    /// Greatest number of an incident given out.
    #[serde(rename = "i")]
    pub(in crate::runtime) incident: u64,
    /// Paths as they are now.
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::runtime) paths: Vec<SavedPath>,
    /// Paths that have nothing to be remembered any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::runtime) gone: Vec<String>,
    /// What is said in rows.
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::runtime) said: Vec<Said>,
    /// Trees that have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::runtime) ends: Vec<(String, SavedEnd)>,
}

impl Entry {
    /// Nothing has changed.
    pub(in crate::runtime) fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.gone.is_empty() && self.said.is_empty() && self.ends.is_empty()
    }

    /// What has changed later comes behind.
    pub(in crate::runtime) fn append(&mut self, later: &mut Entry) {
        self.paths.append(&mut later.paths);
        self.gone.append(&mut later.gone);
        self.said.append(&mut later.said);
        self.ends.append(&mut later.ends);
    }

    /// It has been written.
    pub(in crate::runtime) fn clear(&mut self) {
        self.paths.clear();
        self.gone.clear();
        self.said.clear();
        self.ends.clear();
    }
}

/// What a row says besides what the engine knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct Said {
    /// Full path.
    pub(in crate::runtime) path: String,
    /// The last change, in one clause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::runtime) reason: Option<String>,
    /// Who holds or stopped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::runtime) hand: Option<Who>,
}

/// [`adopt::SavedPath`], and the arguments of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::runtime) struct SavedPath {
    #[serde(rename = "p")]
    pub(in crate::runtime) path: String,
    #[serde(rename = "g", skip_serializing_if = "is_default")]
    pub(in crate::runtime) generation: u64,
    /// Held, and until when.
    #[serde(skip_serializing_if = "is_default", with = "nested")]
    hold: Option<Option<u64>>,
    #[serde(skip_serializing_if = "is_default")]
    stopped: bool,
    #[serde(skip_serializing_if = "is_default", with = "nested")]
    parked: Option<Option<u64>>,
    #[serde(rename = "f", skip_serializing_if = "is_default")]
    never_started: bool,
    #[serde(rename = "n", skip_serializing_if = "is_default")]
    restarts: u32,
    #[serde(rename = "t")]
    since: u64,
    #[serde(rename = "x", skip_serializing_if = "is_default")]
    exit: Option<SavedExit>,
    #[serde(rename = "r", skip_serializing_if = "is_default")]
    reason: Option<SavedReason>,
    #[serde(skip_serializing_if = "is_default")]
    instances: u32,
    /// Seconds in the window, and the last of them: second and restarts.
    #[serde(rename = "w", skip_serializing_if = "is_default")]
    window: (usize, Vec<(u64, u32)>),
    #[serde(rename = "c", skip_serializing_if = "is_default")]
    child: Option<Child>,
    /// Of an instance: name and value.
    #[serde(skip_serializing_if = "is_default")]
    pub(in crate::runtime) arguments: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Child {
    #[serde(rename = "s")]
    state: State,
    #[serde(rename = "d", skip_serializing_if = "is_default")]
    unwanted: bool,
    #[serde(rename = "i", skip_serializing_if = "is_default")]
    incident: u64,
    #[serde(rename = "a")]
    at: u64,
    #[serde(rename = "r", skip_serializing_if = "is_default")]
    was_ready: bool,
    #[serde(rename = "u", skip_serializing_if = "is_default")]
    until: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    n: u32,
    /// Milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    delay: u64,
    /// It has a key of its own, which only means something to the daemon that gave it.
    #[serde(skip_serializing_if = "is_default")]
    key: Option<u32>,
    #[serde(rename = "down", skip_serializing_if = "is_default")]
    stops: bool,
    #[serde(rename = "up", skip_serializing_if = "is_default")]
    starts: bool,
    #[serde(skip_serializing_if = "is_default")]
    supervisor: Option<Supervisor>,
    #[serde(skip_serializing_if = "is_default")]
    end: Option<SavedEnd>,
    #[serde(skip_serializing_if = "is_default")]
    sick: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Supervisor {
    #[serde(skip_serializing_if = "is_default")]
    boots: bool,
    #[serde(skip_serializing_if = "is_default")]
    ready: bool,
    #[serde(skip_serializing_if = "is_default")]
    ending: Option<SavedReason>,
    #[serde(skip_serializing_if = "is_default")]
    gave_up: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    #[default]
    Down,
    Waiting,
    Starting,
    Started,
    Up,
    Ended {
        reason: SavedReason,
        early: bool,
    },
    Stopping {
        why: Stop,
        killed: bool,
    },
    Pending(Option<u64>),
    Done,
    Parked,
}

/// Writes a type of the engine's that has no data of its own under the same names.
macro_rules! same {
    ($(#[$doc:meta])* $name:ident = $engine:path { $($variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(in crate::runtime) enum $name { $($variant),* }

        impl From<$engine> for $name {
            fn from(value: $engine) -> $name {
                match value { $(<$engine>::$variant => $name::$variant),* }
            }
        }

        impl From<$name> for $engine {
            fn from(value: $name) -> $engine {
                match value { $($name::$variant => <$engine>::$variant),* }
            }
        }
    };
}

same!(Stop = adopt::Stop { Asked, TooLate, Declined });
same!(
    /// [`Reason`].
    SavedReason = Reason { Normal, Shutdown, ShutdownTerm, Crash, Killed, FailedStart, BadSpec, NotReady, Sick }
);

/// [`Exit`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::runtime) enum SavedExit {
    Code(i32),
    Signal(i32),
    Reason(SavedReason),
    Unknown,
}

/// [`TreeEnd`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::runtime) enum SavedEnd {
    Stopped,
    Essential(SavedExit),
    GaveUp,
    Shutdown,
    Failover,
    Reboot,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `Some(None)` as `null`, which is otherwise the same as nothing.
mod nested {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &Option<Option<u64>>, to: S) -> Result<S::Ok, S::Error> {
        value.flatten().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
        Option::deserialize(from).map(Some)
    }
}

impl SavedPath {
    /// As the engine saves it.
    pub(in crate::runtime) fn of(saved: adopt::SavedPath, arguments: Vec<(String, String)>) -> SavedPath {
        SavedPath {
            path: saved.path,
            generation: saved.generation.0,
            hold: saved.hold.map(|hold| hold.until.map(|at| at.0)),
            stopped: saved.stopped,
            parked: saved.parked.map(|until| until.map(|at| at.0)),
            never_started: !saved.started,
            restarts: saved.restarts,
            since: saved.since.0,
            exit: saved.exit.map(Into::into),
            reason: saved.reason.map(Into::into),
            instances: saved.instances,
            window: (saved.window.len, saved.window.runs),
            child: saved.child.map(Into::into),
            arguments,
        }
    }

    /// The rest of the window was written before.
    pub(super) fn go_on_from(&mut self, old: Option<SavedPath>) {
        let (len, runs) = std::mem::take(&mut self.window);
        let mut window = old.map_or_else(SavedWindow::default, |old| window(old.window));
        window.go_on(SavedWindow { len, runs });
        self.window = (window.len, window.runs);
    }

    /// As the engine takes it. `key`: what an instance runs, in this daemon's table.
    pub(in crate::runtime) fn restore(self, key: Option<Key>) -> adopt::SavedPath {
        adopt::SavedPath {
            path: self.path,
            hold: self.hold.map(|until| Hold { until: until.map(Time) }),
            stopped: self.stopped,
            parked: self.parked.map(|until| until.map(Time)),
            started: !self.never_started,
            restarts: self.restarts,
            generation: Gen(self.generation),
            since: Time(self.since),
            exit: self.exit.map(Into::into),
            reason: self.reason.map(Into::into),
            instances: self.instances,
            window: window(self.window),
            child: self.child.map(|child| SavedChild { key, ..child.into() }),
        }
    }

    /// An instance with arguments of its own.
    pub(in crate::runtime) fn is_instance(&self) -> bool {
        self.child.as_ref().is_some_and(|child| child.key.is_some())
    }
}

fn window((len, runs): (usize, Vec<(u64, u32)>)) -> SavedWindow {
    SavedWindow { len, runs }
}

impl From<SavedChild> for Child {
    fn from(child: SavedChild) -> Child {
        let supervisor = |of: SavedSupervisor| Supervisor {
            boots: of.boots,
            ready: of.ready,
            ending: of.ending.map(Into::into),
            gave_up: of.gave_up,
        };
        Child {
            state: child.state.into(),
            unwanted: !child.wanted,
            incident: child.incident.0,
            at: child.at.0,
            was_ready: child.was_ready,
            until: child.until.map(|at| at.0),
            n: child.n,
            delay: u64::try_from(child.delay.as_millis()).unwrap_or(u64::MAX),
            key: child.key.map(|key| key.0),
            stops: child.stops,
            starts: child.starts,
            supervisor: child.supervisor.map(supervisor),
            end: child.end.map(Into::into),
            sick: child.sick,
        }
    }
}

impl From<Child> for SavedChild {
    fn from(child: Child) -> SavedChild {
        let supervisor = |of: Supervisor| SavedSupervisor {
            boots: of.boots,
            ready: of.ready,
            ending: of.ending.map(Into::into),
            gave_up: of.gave_up,
        };
        SavedChild {
            state: child.state.into(),
            wanted: !child.unwanted,
            incident: Incident(child.incident),
            at: Time(child.at),
            was_ready: child.was_ready,
            until: child.until.map(Time),
            n: child.n,
            delay: Duration::from_millis(child.delay),
            key: child.key.map(Key),
            stops: child.stops,
            starts: child.starts,
            supervisor: child.supervisor.map(supervisor),
            end: child.end.map(Into::into),
            sick: child.sick,
        }
    }
}

impl From<SavedState> for State {
    fn from(state: SavedState) -> State {
        match state {
            SavedState::Down => State::Down,
            SavedState::Waiting => State::Waiting,
            SavedState::Starting => State::Starting,
            SavedState::Up { ready: false } => State::Started,
            SavedState::Up { ready: true } => State::Up,
            SavedState::Ended { reason, early } => State::Ended { reason: reason.into(), early },
            SavedState::Stopping { why, killed } => State::Stopping { why: why.into(), killed },
            SavedState::Pending { until } => State::Pending(until.map(|at| at.0)),
            SavedState::Done => State::Done,
            SavedState::Parked => State::Parked,
        }
    }
}

impl From<State> for SavedState {
    fn from(state: State) -> SavedState {
        match state {
            State::Down => SavedState::Down,
            State::Waiting => SavedState::Waiting,
            State::Starting => SavedState::Starting,
            State::Started => SavedState::Up { ready: false },
            State::Up => SavedState::Up { ready: true },
            State::Ended { reason, early } => SavedState::Ended { reason: reason.into(), early },
            State::Stopping { why, killed } => SavedState::Stopping { why: why.into(), killed },
            State::Pending(until) => SavedState::Pending { until: until.map(Time) },
            State::Done => SavedState::Done,
            State::Parked => SavedState::Parked,
        }
    }
}

impl From<Exit> for SavedExit {
    fn from(exit: Exit) -> SavedExit {
        match exit {
            Exit::Code(code) => SavedExit::Code(code),
            Exit::Signal(number) => SavedExit::Signal(number),
            Exit::Reason(reason) => SavedExit::Reason(reason.into()),
            Exit::Unknown => SavedExit::Unknown,
        }
    }
}

impl From<SavedExit> for Exit {
    fn from(exit: SavedExit) -> Exit {
        match exit {
            SavedExit::Code(code) => Exit::Code(code),
            SavedExit::Signal(number) => Exit::Signal(number),
            SavedExit::Reason(reason) => Exit::Reason(reason.into()),
            SavedExit::Unknown => Exit::Unknown,
        }
    }
}

impl From<TreeEnd> for SavedEnd {
    fn from(end: TreeEnd) -> SavedEnd {
        match end {
            TreeEnd::Stopped => SavedEnd::Stopped,
            TreeEnd::Essential(exit) => SavedEnd::Essential(exit.into()),
            TreeEnd::GaveUp => SavedEnd::GaveUp,
            TreeEnd::Shutdown => SavedEnd::Shutdown,
            TreeEnd::Failover => SavedEnd::Failover,
            TreeEnd::Reboot => SavedEnd::Reboot,
        }
    }
}

impl From<SavedEnd> for TreeEnd {
    fn from(end: SavedEnd) -> TreeEnd {
        match end {
            SavedEnd::Stopped => TreeEnd::Stopped,
            SavedEnd::Essential(exit) => TreeEnd::Essential(exit.into()),
            SavedEnd::GaveUp => TreeEnd::GaveUp,
            SavedEnd::Shutdown => TreeEnd::Shutdown,
            SavedEnd::Failover => TreeEnd::Failover,
            SavedEnd::Reboot => TreeEnd::Reboot,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(state: SavedState, end: Option<TreeEnd>, hold: Option<Hold>, exit: Option<Exit>) {
        let child = SavedChild {
            state,
            wanted: state == SavedState::Waiting,
            incident: Incident(3),
            at: Time(17),
            was_ready: true,
            until: Some(Time(99)),
            n: 4,
            delay: Duration::from_millis(250),
            key: Some(Key(5)),
            stops: true,
            starts: false,
            supervisor: Some(SavedSupervisor {
                boots: true,
                ready: false,
                ending: Some(Reason::Shutdown),
                gave_up: true,
            }),
            end,
            sick: true,
        };
        let saved = adopt::SavedPath {
            path: "t/a".to_owned(),
            hold,
            stopped: true,
            parked: hold.map(|hold| hold.until),
            started: true,
            restarts: 7,
            generation: Gen(12),
            since: Time(16),
            exit,
            reason: Some(Reason::NotReady),
            instances: 2,
            window: SavedWindow { len: 1, runs: vec![(1, 2)] },
            child: Some(child),
        };
        let json = serde_json::to_string(&SavedPath::of(saved.clone(), Vec::new())).unwrap();
        let read: SavedPath = serde_json::from_str(&json).unwrap();
        assert_eq!(read.restore(Some(Key(5))), saved, "{json}");
    }

    #[test]
    fn every_state_is_read_as_it_was_written() {
        let reason = Reason::Sick;
        for state in [
            SavedState::Down,
            SavedState::Waiting,
            SavedState::Starting,
            SavedState::Up { ready: false },
            SavedState::Up { ready: true },
            SavedState::Ended { reason, early: true },
            SavedState::Stopping { why: adopt::Stop::Declined, killed: true },
            SavedState::Pending { until: None },
            SavedState::Pending { until: Some(Time(8)) },
            SavedState::Done,
            SavedState::Parked,
        ] {
            check(state, None, None, None);
        }
        let exits = [Exit::Code(1), Exit::Signal(9), Exit::Reason(Reason::Crash), Exit::Unknown];
        for exit in exits {
            check(SavedState::Down, Some(TreeEnd::Essential(exit)), Some(Hold { until: None }), Some(exit));
        }
        let ends = [TreeEnd::Stopped, TreeEnd::GaveUp, TreeEnd::Shutdown, TreeEnd::Failover, TreeEnd::Reboot];
        for end in ends {
            check(SavedState::Down, Some(end), Some(Hold { until: Some(Time(5)) }), None);
        }
    }
}
