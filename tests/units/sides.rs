//! The two sides: each runs the same trees by its own lights, is asked for the same things, and says when it is at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;
use woodward::units::names;

use super::bed::Bed;

/// What a person asks for by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Start,
    Stop,
}

/// A look at a side.
#[derive(Debug, Default, PartialEq)]
pub struct Look {
    /// Ids of the trees in which something is going on.
    pub busy: BTreeSet<String>,
    /// What each worker is, in the side's own words; and whether that means that its process runs.
    pub workers: BTreeMap<String, (String, bool)>,
}

pub trait Side {
    /// Asks for the same of all of them, at the same time.
    fn ask(&self, bed: &mut Bed, wish: Wish, paths: &[String]);
    fn look(&self, bed: &mut Bed) -> Look;
    /// Ends everything.
    fn down(&self, bed: &mut Bed);
}

/// All trees under one `woodward run`.
pub struct Woodward {
    name: &'static str,
    socket: PathBuf,
}

impl Woodward {
    /// Under this name; ids and texts of the trees.
    pub fn up(bed: &mut Bed, name: &'static str, files: &[(String, String)]) -> Woodward {
        let dir = bed.path().join(name);
        fs::create_dir_all(&dir).expect("a directory can be made");
        for (id, text) in files {
            fs::write(dir.join(format!("{id}.toml")), text).expect("a tree can be written");
        }
        let names: Vec<String> = files.iter().map(|(id, _)| format!("/proof/{name}/{id}.toml")).collect();
        bed.sh(&format!(
            "systemd-run -q --collect --unit={name} -p Delegate=yes -p LimitNOFILE=20000 \
             -E WOODWARD_SETTINGS=/dev/null woodward run --socket /proof/{name}.sock --state /run/{name} {}",
            names.join(" ")
        ));
        let side = Woodward { name, socket: bed.path().join(format!("{name}.sock")) };
        super::wait("woodward to answer", || UnixStream::connect(&side.socket).is_ok());
        side
    }

    fn http(&self, method: &str, address: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).expect("woodward listens");
        write!(
            stream,
            "{method} {address} HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .expect("woodward listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer is text");
        answer.split_once("\r\n\r\n").expect("an answer has a head").1.to_owned()
    }
}

impl Side for Woodward {
    fn ask(&self, _: &mut Bed, wish: Wish, paths: &[String]) {
        let verb = match wish {
            Wish::Start => "start",
            Wish::Stop => "stop",
        };
        for path in paths {
            self.http("POST", &format!("/v1/{verb}?path={path}&no_wait=true"));
        }
    }

    fn look(&self, _: &mut Bed) -> Look {
        let text = self.http("GET", "/v1/status");
        let rows: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let mut look = Look::default();
        for row in rows.as_array().or_else(|| rows["rows"].as_array()).expect("rows") {
            let (path, state) =
                (row["path"].as_str().expect("a path"), row["state"].as_str().expect("a state"));
            if ["starting", "stopping", "backoff"].contains(&state) {
                look.busy.insert(path.split('/').next().expect("an id").to_owned());
            }
            if row["kind"] != "supervisor" {
                look.workers.insert(path.to_owned(), (state.to_owned(), state == "up"));
            }
        }
        look
    }

    fn down(&self, bed: &mut Bed) {
        let name = self.name;
        bed.sh(&format!(
            "systemctl stop {name}; systemctl reset-failed {name} 2>/dev/null; rm -rf /run/{name}"
        ));
    }
}

/// All trees as native units of one systemd.
pub struct Native {
    ids: Vec<String>,
    /// Path of a worker by the name of its unit.
    units: BTreeMap<String, String>,
}

impl Native {
    /// Units by name; ids of the trees; paths of all workers.
    pub fn up(bed: &mut Bed, units: &[(String, String)], ids: &[String], workers: &[String]) -> Native {
        bed.load(units);
        let unit = |path: &String| (format!("{}.service", names::stem("", path)), path.clone());
        let side = Native { ids: ids.to_vec(), units: workers.iter().map(unit).collect() };
        side.ask(bed, Wish::Start, ids);
        side
    }

    fn globs(&self) -> String {
        self.ids.iter().map(|id| format!("'{id}.*' '{id}-*'")).collect::<Vec<_>>().join(" ")
    }

    fn tree_of(&self, unit: &str) -> Option<String> {
        let of =
            |id: &&String| unit.strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with(['.', '-']));
        self.ids.iter().find(of).cloned()
    }
}

impl Side for Native {
    fn ask(&self, bed: &mut Bed, wish: Wish, paths: &[String]) {
        let verb = match wish {
            Wish::Start => "start",
            Wish::Stop => "stop",
        };
        let units: Vec<String> =
            paths.iter().map(|path| format!("{}.service", names::stem("", path))).collect();
        if !units.is_empty() {
            bed.sh(&format!("systemctl --no-block {verb} {}", units.join(" ")));
        }
    }

    fn look(&self, bed: &mut Bed) -> Look {
        let text = bed.sh(&format!(
            "systemctl list-jobs --no-legend --plain; echo units; \
             systemctl list-units --all --no-legend --plain --full {}",
            self.globs()
        ));
        let (jobs, units) = text.split_once("units").expect("two lists");
        let mut look = Look::default();
        look.busy.extend(jobs.lines().filter_map(|job| self.tree_of(job.split_whitespace().nth(1)?)));
        // A unit that is not loaded runs nothing.
        look.workers.extend(self.units.values().map(|path| (path.clone(), ("unloaded".to_owned(), false))));
        for unit in units.lines() {
            let mut words = unit.split_whitespace();
            let (Some(name), Some(active), Some(sub)) = (words.next(), words.nth(1), words.next()) else {
                continue;
            };
            if ["activating", "deactivating", "reloading"].contains(&active) {
                look.busy.extend(self.tree_of(name));
            }
            if let Some(path) = self.units.get(name) {
                look.workers.insert(path.clone(), (format!("{active}/{sub}"), sub == "running"));
            }
        }
        look
    }

    fn down(&self, bed: &mut Bed) {
        bed.sh(&format!(
            "systemctl stop {}; systemctl kill -s KILL {0} 2>/dev/null; rm -f /etc/systemd/system/*.*; systemctl daemon-reload; systemctl reset-failed",
            self.globs()
        ));
    }
}
