//! What the processes of a tree saw: `worker.c` writes it, this reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::fs::{self, File};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};

/// Something that happened to a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Its process ended, however.
    End,
    Start,
    /// A second process of it while the first still lived.
    Twice,
    /// It was started and failed.
    Refuse,
    /// It was asked to stop.
    Term,
}

/// An event of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    pub what: What,
    pub path: String,
}

/// Who lives, with the number of the process.
pub type Alive = BTreeMap<String, i32>;

/// What happened from one rest to the next, and who lived before and after.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub before: Alive,
    pub events: Vec<Event>,
    pub after: Alive,
}

/// What became of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The same process runs.
    Kept,
    /// Another process runs.
    New,
    /// None runs.
    Gone,
}

impl Trace {
    pub fn fate(&self, path: &str) -> Fate {
        match (self.before.get(path), self.after.get(path)) {
            (_, None) => Fate::Gone,
            (Some(before), Some(after)) if before == after => Fate::Kept,
            _ => Fate::New,
        }
    }

    pub fn has_started(&self, path: &str) -> bool {
        self.events.iter().any(|event| event.what == What::Start && event.path == path)
    }

    /// What happened to these, in order; ends with nothing between them have no order.
    pub fn of(&self, paths: &[&str]) -> Vec<Event> {
        let mut events: Vec<Event> =
            self.events.iter().filter(|event| paths.contains(&&*event.path)).cloned().collect();
        for ends in events.chunk_by_mut(|a, b| a.what == What::End && b.what == What::End) {
            ends.sort();
        }
        events
    }
}

/// A tree's directory, and how far it was read.
#[derive(Debug)]
pub struct Reader {
    dir: std::path::PathBuf,
    lines: usize,
    alive: Alive,
}

impl Reader {
    pub fn new(dir: &Path) -> Reader {
        fs::create_dir_all(dir.join("alive")).expect("a directory can be made");
        Reader { dir: dir.to_owned(), lines: 0, alive: Alive::new() }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Who lived at the last rest.
    pub fn alive(&self) -> &Alive {
        &self.alive
    }

    /// Who has lived since the last rest in the same process; `None` if something was started since.
    pub fn unchanged(&self) -> Option<BTreeSet<String>> {
        let started = self.log().lines().skip(self.lines).any(|line| line.starts_with("start"));
        (!started).then(|| self.living())
    }

    /// How many events there are by now.
    pub fn length(&self) -> usize {
        self.log().lines().count()
    }

    /// Whose process lives by now.
    pub fn living(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.dir.join("alive")).into_iter().flatten().flatten();
        let held = entries.filter(|entry| {
            let Ok(file) = File::options().read(true).write(true).open(entry.path()) else { return false };
            let mut lock =
                libc::flock { l_type: libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
            fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).is_ok() && lock.l_type != libc::F_UNLCK as i16
        });
        held.map(|entry| path(&entry.file_name().to_string_lossy())).collect()
    }

    /// What happened since it was asked last. Nothing may be going on.
    pub fn take(&mut self) -> Trace {
        let before = self.alive.clone();
        let text = self.log();
        let mut events = Vec::new();
        for line in text.lines().skip(self.lines) {
            self.read(line, &mut events);
        }
        self.lines = text.lines().count();
        let living = self.living();
        self.end_all_but(|path| living.contains(path), &mut events);
        Trace { before, events, after: self.alive.clone() }
    }

    fn read(&mut self, line: &str, events: &mut Vec<Event>) {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let own = path(words.next().unwrap_or_default());
        let pid = words.next().and_then(|pid| pid.parse().ok()).expect("a number in the log");
        let others: BTreeSet<String> = words.map(path).collect();
        let starts = kind == "start";
        self.end_all_but(|path| others.contains(path) || (path == own && !starts), events);
        let what = match kind {
            "start" => What::Start,
            "twice" => What::Twice,
            "refuse" => What::Refuse,
            "term" => What::Term,
            _ => panic!("a line of the log: {line}"),
        };
        if matches!(what, What::Start | What::Twice) {
            self.alive.insert(own.clone(), pid);
        }
        events.push(Event { what, path: own });
    }

    fn end_all_but(&mut self, lives: impl Fn(&str) -> bool, events: &mut Vec<Event>) {
        self.alive.retain(|path, _| {
            let lives = lives(path);
            if !lives {
                events.push(Event { what: What::End, path: path.clone() });
            }
            lives
        });
    }
}

fn path(name: &str) -> String {
    name.replace('!', "/")
}

impl Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.what {
            What::End => "end",
            What::Start => "start",
            What::Twice => "TWICE",
            What::Refuse => "refuse",
            What::Term => "term",
        };
        write!(f, "{word}:{}", self.path.split_once('/').map_or(&*self.path, |(_, below)| below))
    }
}

/// A list of events on one line.
pub fn line(events: &[Event]) -> String {
    events.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
