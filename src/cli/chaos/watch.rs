//! What must not happen while harm is done, looked for in what the daemon says and in who is really there.
//!
//! * two generations of one path never live at once, and none starts before the end of the last one is recorded;
//! * no process is left of a generation that is no more;
//! * what was down before comes up by nobody but a person.
//!
//! Status and census are not of the same moment: what looks wrong is *broken* only if it looks so again and again
//! for [`CERTAIN`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::os::Members;
use crate::record::fact::FactLine;
use crate::record::words::is_within;
use crate::runtime::view::{Row, State};

/// What looks wrong for so long is (ms).
const CERTAIN: u64 = 1500;

/// The looks so far.
#[derive(Default)]
pub(super) struct Watch {
    tree: String,
    /// Not up at the begin.
    down: BTreeSet<String>,
    /// Which generation runs, by what was recorded.
    running: HashMap<String, u64>,
    /// What looks wrong, and since when.
    suspects: BTreeMap<String, u64>,
    /// What is broken, in the order it was found.
    pub(super) broken: Vec<String>,
}

impl Watch {
    /// Begins with the tree as it is.
    pub(super) fn new(tree: &str, rows: &[Row]) -> Watch {
        let down = |row: &&Row| matches!(row.state, State::Stopped | State::Parked) || row.held.is_some();
        let down = rows.iter().filter(down).filter(|row| row.state != State::Up);
        let running = rows.iter().filter(|row| row.pid.is_some());
        Watch {
            tree: tree.to_owned(),
            down: down.map(|row| row.path.clone()).collect(),
            running: running.map(|row| (row.path.clone(), row.generation)).collect(),
            ..Watch::default()
        }
    }

    /// Something is broken.
    pub(super) fn breaks(&mut self, what: String) {
        if !self.broken.contains(&what) {
            self.broken.push(what);
        }
    }

    /// A fact, in the order they were recorded.
    pub(super) fn fact(&mut self, fact: &FactLine) {
        if !is_within(&fact.path, &self.tree) || fact.generation == 0 || fact.flag("supervisor") {
            return;
        }
        let (path, generation) = (&fact.path, fact.generation);
        match fact.kind.as_str() {
            "started" if fact.number("pid").is_some() => {
                if let Some(before) =
                    self.running.insert(path.clone(), generation).filter(|g| *g != generation)
                {
                    self.breaks(format!(
                        "{path}: generation {generation} was started and no end of {before} is recorded"
                    ));
                }
            }
            "adopted" if self.running.contains_key(path) => {
                self.running.insert(path.clone(), generation);
            }
            "ended" | "start_failed" => {
                self.running.retain(|other, running| other != path || *running != generation);
            }
            "started_by_hand" | "released" => self.down.retain(|down| !is_within(down, path)),
            _ => {}
        }
    }

    /// The tree and the processes as they are, at `now` in ms.
    pub(super) fn look(&mut self, rows: &[Row], census: Option<&[Members]>, now: u64) {
        let up_again: Vec<String> = rows
            .iter()
            .filter(|row| row.state == State::Up && self.down.contains(&row.path))
            .map(|row| format!("{}: it was down before, and is up though nobody started it", row.path))
            .collect();
        up_again.into_iter().for_each(|what| self.breaks(what));
        let wrong = self.looks_wrong(rows, census.unwrap_or_default());
        self.suspects.retain(|what, _| wrong.contains(what));
        for what in wrong {
            let since = *self.suspects.entry(what.clone()).or_insert(now);
            if now.saturating_sub(since) >= CERTAIN {
                self.breaks(what);
            }
        }
    }

    fn looks_wrong(&self, rows: &[Row], census: &[Members]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mine = || census.iter().filter(|members| is_within(&members.path, &self.tree));
        for members in mine() {
            let Members { path, generation, pids } = members;
            let newer = |other: &&Members| other.path == *path && other.generation > *generation;
            if let Some(other) = mine().rfind(newer) {
                wrong.push(format!("{path}: generations {generation} and {} live at once", other.generation));
                continue;
            }
            let who: Vec<String> = pids.iter().map(i32::to_string).collect();
            let who = who.join(", ");
            match rows.iter().find(|row| row.path == *path) {
                None => wrong.push(format!("{path}: processes of nobody: {who}")),
                Some(row) if row.generation != *generation => {
                    wrong.push(format!("{path}: left of generation {generation}: {who}"));
                }
                Some(row) if !may_have_processes(row.state) => {
                    wrong.push(format!("{path}: left of generation {generation}, which is over: {who}"));
                }
                Some(_) => {}
            }
        }
        if !census.is_empty() {
            for row in rows.iter().filter(|row| row.state == State::Up) {
                let Some(pid) = row.pid else { continue };
                let there = mine().any(|members| members.path == row.path && members.pids.contains(&pid));
                if !there {
                    wrong.push(format!("{}: said to be up as {pid}, which is not in its group", row.path));
                }
            }
        }
        wrong
    }
}

fn may_have_processes(state: State) -> bool {
    matches!(state, State::Starting | State::Up | State::Stopping)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::view::Kind;

    fn row(path: &str, state: State, generation: u64, pid: Option<i32>) -> Row {
        Row { state, generation, pid, ..crate::cli::last::blank(path) }
    }

    fn members(path: &str, generation: u64, pids: &[i32]) -> Members {
        Members { path: path.to_owned(), generation, pids: pids.to_vec() }
    }

    /// What is broken after these looks, half a second apart.
    fn broken(rows: &[Row], census: &[Members], looks: u64) -> Vec<String> {
        let mut watch = Watch::new("t", rows);
        (0..looks).for_each(|n| watch.look(rows, Some(census), n * 500));
        watch.broken
    }

    #[test]
    fn what_is_as_it_should_be_is_not_broken() {
        let rows = [row("t/a", State::Up, 2, Some(7)), row("t/b", State::Stopped, 3, None)];
        assert_eq!(rows[0].kind, Kind::Service);
        assert_eq!(broken(&rows, &[members("t/a", 2, &[7, 8]), members("u/x", 1, &[9])], 9), [""; 0]);
    }

    #[test]
    fn two_generations_at_once_are_broken_when_they_stay() {
        let rows = [row("t/a", State::Up, 3, Some(8))];
        let census = [members("t/a", 2, &[7]), members("t/a", 3, &[8])];
        assert_eq!(broken(&rows, &census, 3), [""; 0]);
        assert_eq!(broken(&rows, &census, 4), ["t/a: generations 2 and 3 live at once"]);
    }

    #[test]
    fn what_is_left_behind_is_broken() {
        let left = [members("t/a", 2, &[7])];
        let check = |row: Row, expected: &str| assert_eq!(broken(&[row], &left, 9), [expected]);
        check(row("t/a", State::Backoff, 2, None), "t/a: left of generation 2, which is over: 7");
        check(row("t/a", State::Starting, 3, None), "t/a: left of generation 2: 7");
        check(row("t/b", State::Stopped, 3, None), "t/a: processes of nobody: 7");
        check(row("t/a", State::Up, 2, Some(8)), "t/a: said to be up as 8, which is not in its group");
    }

    #[test]
    fn what_was_down_comes_up_by_a_person_only() {
        let fact = |kind: &str| FactLine::note(1, 1, "t/a", 2, kind, String::new());
        let up = [row("t/a", State::Up, 3, None)];
        let mut watch = Watch::new("t", &[row("t/a", State::Stopped, 2, None)]);
        watch.look(&up, None, 0);
        assert_eq!(watch.broken, ["t/a: it was down before, and is up though nobody started it"]);
        let mut watch = Watch::new("t", &[row("t/a", State::Stopped, 2, None)]);
        watch.fact(&fact("started_by_hand"));
        watch.look(&up, None, 0);
        assert_eq!(watch.broken, [""; 0]);
    }

    #[test]
    fn a_start_before_the_last_end_is_broken() {
        let fact = |kind: &str, generation| {
            FactLine::note(1, 1, "t/a", generation, kind, String::new()).with("pid", 1)
        };
        let mut watch = Watch::new("t", &[row("t/a", State::Up, 2, Some(7))]);
        [fact("ended", 2), fact("started", 3), fact("adopted", 3)].iter().for_each(|fact| watch.fact(fact));
        assert_eq!(watch.broken, [""; 0]);
        watch.fact(&fact("started", 4));
        assert_eq!(watch.broken, ["t/a: generation 4 was started and no end of 3 is recorded"]);
    }
}
