//! Units that woodward has rendered: the tree they come from, out of what they say.
//!
//! `[X-Woodward] Path=` names the place of each in the tree; of the units of one place the one with the shortest name is
//! the child, the others are its helpers. An anchor is a service that does nothing and keeps the counts of its children
//! in `RuntimeDirectory=woodward-units/...`; a meter is told intensity and period, a delay the back-off, a retry after
//! which time; `PartOf=` among siblings is the strategy, `After=` among them the order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::scene::Scene;
use super::group;
use super::text::{Node, string, table};
use super::worker::Reader;
use super::{Found, Imported};
use crate::tree::units::show;
use crate::units::native::UP;

/// Path of a unit that woodward has rendered.
pub fn path(scene: &Scene, at: usize) -> Option<String> {
    scene.units[at].loaded.last("X-Woodward", "Path").map(|a| a.value.clone())
}

/// It stands for a supervisor.
fn is_anchor(scene: &Scene, at: usize) -> bool {
    scene.units[at].loaded.text("Service", "RuntimeDirectory", "").starts_with("woodward-units/")
}

/// The tree of these units, all of which are ours.
pub fn import(scene: &Scene, members: &[usize], imported: &mut Imported) -> Option<Node> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for at in members {
        let Some(path) = path(scene, *at) else { continue };
        let shorter = |other: &usize| scene.name(*at).len() < scene.name(*other).len();
        if places.get(&path).is_none_or(shorter) {
            places.insert(path, *at);
        }
    }
    let (anchors, workers): (BTreeMap<String, usize>, BTreeMap<String, usize>) =
        places.into_iter().partition(|(_, at)| is_anchor(scene, *at));
    let workers: Vec<(String, usize)> = workers.into_iter().collect();
    let root = anchors.keys().find(|path| !path.contains('/'))?.clone();
    let tree = Tree { scene, anchors, workers };
    let mut node = tree.node(&root, imported);
    node.comments.push("Made by `woodward units import` of units that woodward had rendered.".to_owned());
    node.set("defaults.pass_environment", "false");
    Some(node)
}

struct Tree<'s> {
    scene: &'s Scene,
    anchors: BTreeMap<String, usize>,
    workers: Vec<(String, usize)>,
}

impl Tree<'_> {
    fn node(&self, path: &str, imported: &mut Imported) -> Node {
        let scene = self.scene;
        let at = self.anchors[path];
        let id = path.rsplit('/').next().unwrap_or(path);
        let mut node = Node { id: id.to_owned(), ..Node::default() };
        let parent = |child: &str| child.rsplit_once('/').map(|(parent, _)| parent.to_owned());
        let mut children: Vec<(String, usize)> = self
            .anchors
            .iter()
            .map(|(path, at)| (path.clone(), *at))
            .chain(self.workers.iter().cloned())
            .filter(|(child, _)| parent(child).as_deref() == Some(path))
            .collect();
        // In the order in which the anchor wants them; others, which start when somebody connects, behind.
        let wanted: Vec<usize> = scene.said(at, &["Wants"]).filter_map(|edge| edge.to).collect();
        children.sort_by_key(|(path, at)| {
            (wanted.iter().position(|w| w == at).unwrap_or(usize::MAX), path.clone())
        });
        let members: Vec<usize> = children.iter().map(|(_, at)| *at).collect();
        let description = scene.units[at].loaded.text("Unit", "Description", "");
        if description != path && !description.is_empty() {
            node.set("description", string(&description));
        }
        let listed = self.is_listed(&members);
        let strategy = self.strategy(&members);
        node.set("strategy", string(strategy));
        node.set("order", if listed { "\"listed\"" } else { "\"dependencies\"" });
        if let Some((intensity, period)) = self.meter(at) {
            node.set("intensity", intensity.to_string());
            node.set("period", string(&show(Duration::from_secs(period))));
        }
        self.supervision(path, at, &mut node);
        let names: Vec<String> = members.iter().map(|at| scene.name(*at).to_owned()).collect();
        imported.found.push(Found {
            units: names,
            strategy: strategy.to_owned(),
            exact: true,
            text: format!("supervisor {path}"),
        });
        let mut shutdown = None;
        for (child, child_at) in &children {
            let mut below = match self.anchors.contains_key(child) {
                true => self.node(child, imported),
                false => self.worker(child, *child_at, imported),
            };
            if !listed {
                below.after = self.after(*child_at, &children);
            }
            if let Some(all) = self.ends(*child_at, at) {
                below.set("significant", "true");
                shutdown = Some(if all { "\"all_significant\"" } else { "\"any_significant\"" });
            } else if self.ends(*child_at, self.root()).is_some() {
                below.set("essential", "true");
            }
            node.children.push(below);
        }
        if let Some(shutdown) = shutdown {
            node.set("auto_shutdown", shutdown);
        }
        if members.iter().any(|at| self.takes_back(*at)) {
            node.set("initial_start", "\"fail\"");
        }
        node
    }

    /// What is said of the supervisor itself.
    fn supervision(&self, path: &str, at: usize, node: &mut Node) {
        let service = self.scene.units[at].service.as_ref();
        let child = path.contains('/');
        let parks = self.scene.units[at].loaded.last("Service", "RestartPreventExitStatus").is_some();
        if child && parks {
            node.set("exhausted", "\"park\"");
        }
        if let Some(after) = self.retry(at) {
            node.set("retry_after", after);
        }
        if child {
            node.set("backoff", self.backoff(at).unwrap_or_else(|| "false".to_owned()));
        }
        match service.map(|service| &*service.restart) {
            Some("on-failure") if child => node.set("restart", "\"transient\""),
            Some("no") if child => node.set("restart", "\"temporary\""),
            _ => {}
        }
    }

    fn worker(&self, path: &str, at: usize, imported: &mut Imported) -> Node {
        let reader = Reader::new(self.scene, at, true);
        let mut node = Node { id: path.rsplit('/').next().unwrap_or(path).to_owned(), ..Node::default() };
        node.comments = reader.left.iter().map(super::Left::comment).collect();
        node.lines = reader.lines;
        node.set("backoff", self.backoff(at).unwrap_or_else(|| "false".to_owned()));
        if let Some(limit) = self.limit(at) {
            node.set("limit", limit);
        }
        imported.left.extend(reader.left);
        imported
            .remarks
            .extend(reader.remarks.into_iter().map(|text| (self.scene.name(at).to_owned(), text)));
        node
    }

    /// The helper of a unit: `meter`, `retry`.
    fn helper(&self, at: usize, what: &str) -> Option<usize> {
        let stem = self.scene.name(at).strip_suffix(".service")?.trim_end_matches('@');
        self.scene.find(&format!("{stem}-{what}.service"))
    }

    fn argv(&self, at: usize) -> Vec<String> {
        let commands = self.scene.units[at].loaded.commands("Service", "ExecStart");
        commands.into_iter().flat_map(|(_, command)| command.argv).map(|word| word.text).collect()
    }

    /// Intensity and period in seconds, from the command of the meter.
    fn meter(&self, at: usize) -> Option<(u32, u64)> {
        let argv = self.argv(self.helper(at, "meter")?);
        let state = argv.iter().position(|word| word.starts_with("%t/woodward-units/"))?;
        Some((argv.get(state + 1)?.parse().ok()?, argv.get(state + 2)?.parse().ok()?))
    }

    /// After which time what is parked is tried again.
    fn retry(&self, at: usize) -> Option<String> {
        let seconds: f64 = self.argv(self.helper(at, "retry")?).get(1)?.parse().ok()?;
        Some(string(&show(Duration::from_secs_f64(seconds))))
    }

    /// The account of a worker.
    fn limit(&self, at: usize) -> Option<String> {
        let (intensity, period) = self.meter(at)?;
        let mut pairs = vec![
            ("intensity", intensity.to_string()),
            ("period", string(&show(Duration::from_secs(period)))),
        ];
        let meter = self.helper(at, "meter")?;
        if self.scene.said(meter, &["OnFailure"]).any(|edge| edge.name.ends_with("-abort.service")) {
            pairs.push(("exhausted", "\"escalate\"".to_owned()));
        }
        pairs.extend(self.retry(at).map(|after| ("retry_after", after)));
        Some(table(pairs))
    }

    /// The back-off of a child, which a delay is told behind its name.
    fn backoff(&self, at: usize) -> Option<String> {
        let name = self.scene.name(at);
        let delays =
            (0..self.scene.units.len()).filter(|at| self.scene.name(*at).ends_with("-delay.service"));
        let argv = delays.map(|delay| self.argv(delay)).find(|argv| argv.iter().any(|word| word == name))?;
        let from = argv.iter().position(|word| word == name)?;
        let number = |n: usize| argv.get(from + n).and_then(|word| word.parse::<u64>().ok());
        let time = |n: usize| number(n).map(|ms| string(&show(Duration::from_millis(ms))));
        Some(table([
            ("immediate", number(1)?.to_string()),
            ("first", time(2)?),
            ("factor", format!("{:.2}", number(3)? as f64 / 100.0)),
            ("max", time(4)?),
            ("jitter", string(&format!("{}%", number(6)?))),
            ("reset_after", time(5)?),
        ]))
    }

    fn root(&self) -> usize {
        self.anchors.values().next().copied().unwrap_or_default()
    }

    /// The end of a unit ends this supervisor, by its abort; whether only with all others that do.
    fn ends(&self, at: usize, supervisor: usize) -> Option<bool> {
        let abort = format!("start {}", self.scene.name(self.helper(supervisor, "abort")?));
        let mut scripts = self.scene.units[at].loaded.all("Service", "ExecStopPost");
        scripts.find(|a| a.value.contains(&abort)).map(|a| a.value.contains("for s in "))
    }

    /// A failed first start of this unit is one of its supervisor.
    fn takes_back(&self, at: usize) -> bool {
        let commands = self.scene.units[at].loaded.commands("Service", "ExecStartPost");
        commands.iter().any(|(_, command)| command.argv.iter().any(|word| word.text == UP))
    }

    /// Each child starts behind all elder ones.
    fn is_listed(&self, members: &[usize]) -> bool {
        let after = group::after(self.scene, members);
        members
            .iter()
            .enumerate()
            .all(|(n, late)| members[..n].iter().all(|early| after[late].contains(early)))
    }

    fn strategy(&self, members: &[usize]) -> &'static str {
        let scene = self.scene;
        let temporary = |at: usize| scene.units[at].service.as_ref().is_some_and(|s| s.restart == "no");
        let part = |at: usize| -> BTreeSet<usize> {
            scene
                .said(at, &["PartOf", "StopPropagatedFrom"])
                .filter_map(|e| e.to)
                .filter(|to| members.contains(to))
                .collect()
        };
        let lasting: BTreeSet<usize> = members.iter().copied().filter(|at| !temporary(*at)).collect();
        let parts: Vec<(usize, BTreeSet<usize>)> = members.iter().map(|at| (*at, part(*at))).collect();
        if parts.iter().all(|(_, part)| part.is_empty()) {
            return "one_for_one";
        }
        let others =
            |at: usize| lasting.iter().copied().filter(|other| *other != at).collect::<BTreeSet<_>>();
        if parts.iter().all(|(at, part)| *part == others(*at)) { "one_for_all" } else { "rest_for_one" }
    }

    fn after(&self, at: usize, siblings: &[(String, usize)]) -> Vec<String> {
        let members: Vec<usize> = siblings.iter().map(|(_, at)| *at).collect();
        let after = group::after(self.scene, &members);
        let before = siblings.iter().filter(|(_, other)| after[&at].contains(other));
        before.map(|(path, _)| path.rsplit('/').next().unwrap_or(path).to_owned()).collect()
    }
}
