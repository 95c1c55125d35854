//! The `[failover]` table: which nodes may run the tree, and by what rules.
//!
//! A tree with it is a *group* of a cluster: it runs where the cluster says, and what it is told here must be the same on
//! all nodes. Where the register is and how to log in is in the settings, not here. What holds between the groups of one
//! node is in [`super::together`].

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use woodward_engine::cluster::group::{Earned, Failback, Fencing};
use woodward_engine::cluster::{self, Name, Timing};

use super::decode::check_id;
use super::hints;
use super::keys;
use super::plan::Plan;
use super::settings::{Settings, Typed};
use super::source::Span;
use super::value::{Entry, Table, Value};
use super::variables::Variables;

/// What a tree says of its place in a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Failover {
    /// What the cluster decides by.
    pub group: cluster::Group,
    /// The rhythm; all trees of a node have the same.
    pub timing: Timing,
    /// Brought up on the node that runs the tree, after it is ready, and taken down first.
    pub addresses: Vec<Address>,
    /// Nothing of the tree sends to the network past the deadline, whatever is frozen.
    pub gate: bool,
    /// Services in a process namespace of their own, so that what forks away dies with the keeper too.
    pub isolate: bool,
    /// Refuse to run where one more failure could make the tree run twice: [`Failover::splits`].
    pub strict: bool,
    /// How a node is fenced: agents are tried in this order until one succeeds.
    pub agents: Vec<Agent>,
    /// Run on the better node before the tree goes back to it.
    pub probe: Option<Vec<String>>,
}

/// A virtual address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Which.
    pub ip: IpAddr,
    /// Length of the network's prefix, bits.
    pub prefix: u8,
    /// Network interface.
    pub device: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{} dev {}", self.ip, self.prefix, self.device)
    }
}

/// A fence agent: a command that reads its options, `name=value` lines, from its standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Program and arguments.
    pub command: Vec<String>,
    /// File with options, read when it is used; `{node}` in a value is the node to be fenced.
    pub options_file: Option<PathBuf>,
    /// It has failed if it has not ended after this time.
    pub within: Duration,
    /// The nodes it can fence; empty: all.
    pub nodes: Vec<Name>,
}

/// What a node offers against two at work at once; of its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Members of the store.
    pub members: usize,
    /// The keeper feeds a watchdog device.
    pub watchdog: bool,
}

impl Agent {
    /// Whether it can fence this node.
    pub fn fences(&self, node: &str) -> bool {
        self.nodes.is_empty() || self.nodes.iter().any(|known| **known == *node)
    }
}

impl Failover {
    /// What a `strict` group may not be run with: each failure that could make it run twice, or be the end of it, with
    /// its remedy. Empty if the group is not strict. `guarded`: a stock guard checks its token ([`guarded`]).
    pub fn splits(&self, guarded: bool, site: Site) -> Vec<String> {
        if !self.strict {
            return Vec::new();
        }
        let mut splits = Vec::new();
        let fenced = self.group.fencing == Fencing::Required
            && self.group.nodes.iter().all(|node| self.agents.iter().any(|agent| agent.fences(node)));
        if site.members < 3 {
            let members = if site.members == 1 { "one member" } else { "two members" };
            let members = if site.members == 0 { "no member" } else { members };
            splits.push(format!(
                "the death of one etcd member is the end of the register: the setting `etcd` names {members}, not three"
            ));
        }
        if !fenced && !guarded {
            splits.push(
                "a node that was frozen wakes up and writes before its keeper has run: needs a `woodward guard` in the \
                 tree, or fencing = { policy = \"required\" } for every node"
                    .to_owned(),
            );
        }
        if !fenced && !site.watchdog {
            splits.push(
                "a keeper that is stopped while its daemon is dead ends nothing: needs the setting `watchdog_device`, or \
                 fencing = { policy = \"required\" } for every node"
                    .to_owned(),
            );
        } else if !fenced && self.timing.wait.saturating_sub(self.timing.hold) < Duration::from_secs(1) {
            splits.push(
                "a watchdog counts whole seconds and bites too late: `wait` must be a second longer than `hold`".to_owned(),
            );
        }
        splits
    }
}

/// Whether a stock guard of woodward is among the services of a tree: it refuses what comes with an old token.
pub fn guarded(plan: &Plan) -> bool {
    let guards = |command: &Vec<String>| {
        let program = command.first().map(|program| program.rsplit('/').next().unwrap_or(program));
        program == Some("woodward") && command.get(1).is_some_and(|verb| verb == "guard")
    };
    plan.workers.iter().any(|worker| guards(&worker.command) || worker.before_start.iter().any(guards))
}

/// The table of the root, if there is one. Everything that is wrong with it is reported.
pub(super) fn read(vars: &mut Variables, tree: &Table, settings: &Settings, id: &str) -> Option<Failover> {
    let entry = tree.entry("failover")?;
    let written = entry.value.table()?;
    let said = settings.table("failover")?;
    if !cfg!(feature = "full") {
        let message = "this build cannot honour `failover`: it has no cluster";
        vars.report.error(entry.key_span, message).hint("the full build of woodward has one");
        return None;
    }
    if let (Some("pacemaker"), Some(span)) = (said.word("engine"), said.span("engine")) {
        let message = "this build cannot honour `engine = \"pacemaker\"`: it comes with part 5 of woodward";
        vars.report.error(span, message).allowed("etcd");
    }
    exhausted(vars, tree, settings, id);
    let mut reading = Reading { vars, written, said };
    let nodes = reading.names("nodes", "a node");
    match said.span("nodes") {
        Some(span) if nodes.is_empty() => {
            reading.vars.report.error(span, "`nodes` is empty: nobody may run the tree");
        }
        None if !written.entries.iter().any(means_nodes) && !written.has("nodes") => {
            let report = &mut reading.vars.report;
            let hint = "nodes = [\"gas01\", \"gas02\"], best first";
            report.error(entry.key_span, "`failover` needs `nodes`").hint(hint);
        }
        _ => {}
    }
    let (with, apart) = (reading.others("with", id), reading.others("apart", id));
    if let Some((n, name)) = apart.iter().enumerate().find(|(_, name)| with.contains(name)) {
        let span = reading.element("apart", n, apart.len());
        reading.vars.report.error(span, format!("{id} is both `with` and `apart` from {name}"));
    }
    let (fencing, agents) = reading.fencing(&nodes);
    let (failback, probe) = reading.failback();
    Some(Failover {
        timing: reading.timing(),
        addresses: reading.addresses(),
        gate: !matches!(said.get("gate"), Some(Typed::Boolean(false))),
        isolate: said.word("isolate").is_some(),
        strict: reading.strict(),
        agents,
        probe,
        group: cluster::Group {
            name: id.into(),
            nodes,
            failback,
            fencing,
            with,
            apart,
            failure_timeout: said.duration("failure_timeout").unwrap_or(Duration::from_secs(600)),
            start_within: said.duration("start_within"),
            priority: said.integer("priority").unwrap_or(0),
        },
    })
}

/// It is another's word for `nodes`, and that has been said.
fn means_nodes(entry: &Entry) -> bool {
    keys::find(&[keys::FAILOVER], &entry.key).is_none()
        && hints::key(&entry.key, ["nodes"].into_iter()).is_some()
}

/// Another word for giving up than `failover`.
fn exhausted(vars: &mut Variables, tree: &Table, settings: &Settings, id: &str) {
    let Some(entry) = tree.entry("exhausted") else { return };
    if let Some(word) = settings.word("exhausted").filter(|word| *word != "failover") {
        let message =
            format!("{id} stays where it has given up: with `exhausted = \"{word}\"` no other node takes it");
        vars.report.warning(entry.value.span, message).hint("leave it out: failover is the default");
    }
}

struct Reading<'r> {
    vars: &'r mut Variables,
    written: &'r Table,
    said: &'r Settings,
}

impl Reading<'_> {
    /// Where the n-th of `of` elements stands, if the list is there as it is; else the value.
    fn element(&self, key: &str, n: usize, of: usize) -> Span {
        let value = self.written.get(key);
        let list = value.and_then(Value::list).filter(|list| list.len() == of);
        let element = list.and_then(|list| list.get(n)).or(value);
        element.map_or(self.written.span, |value| value.span)
    }

    /// A list of names, each once.
    fn names(&mut self, key: &str, what: &str) -> Vec<Name> {
        let list = self.said.strings(key).unwrap_or_default();
        for (n, name) in list.iter().enumerate() {
            let span = self.element(key, n, list.len());
            if list[..n].contains(name) {
                self.vars.report.error(span, format!("{name} is in `{key}` twice"));
            }
            if let Err(why) = check_id(name) {
                let why = why.replace("`id`", &format!("the name of {what}"));
                self.vars.report.error(span, why).allowed("letters, digits and _ . : @ -");
            }
        }
        list.iter().map(|name| name.as_str().into()).collect()
    }

    /// Names of other groups.
    fn others(&mut self, key: &str, id: &str) -> Vec<Name> {
        let names = self.names(key, "a group");
        if let Some(n) = names.iter().position(|name| **name == *id) {
            let span = self.element(key, n, names.len());
            self.vars.report.error(span, format!("{id} names itself in `{key}`"));
        }
        names
    }

    fn timing(&mut self) -> Timing {
        let Some(table) = self.said.table("timing") else {
            return match self.said.word("timing") {
                Some("fast") => Timing::FAST,
                Some("calm") => Timing::CALM,
                _ => Timing::NORMAL,
            };
        };
        let time = |key, default| table.duration(key).unwrap_or(default);
        let timing = Timing {
            beat: time("beat", Timing::NORMAL.beat),
            hold: time("hold", Timing::NORMAL.hold),
            wait: time("wait", Timing::NORMAL.wait),
        };
        let complete = table.all.len() == self.written.get("timing").map_or(0, entries);
        if let (Err(why), true, Some(span)) = (timing.check(), complete, self.said.span("timing")) {
            let hint = "fast is 200ms, 1200ms, 1500ms; normal 500ms, 2500ms, 3s; calm 2s, 20s, 25s";
            self.vars.report.error(span, format!("two nodes could be at work at once: {why}")).hint(hint);
        }
        timing
    }

    fn addresses(&mut self) -> Vec<Address> {
        let list = self.said.strings("address").unwrap_or_default();
        let mut addresses: Vec<Address> = Vec::new();
        for (n, text) in list.iter().enumerate() {
            let span = self.element("address", n, list.len());
            match address(text) {
                Ok(address) if addresses.iter().any(|other| other.ip == address.ip) => {
                    self.vars.report.error(span, format!("{} is in `address` twice", address.ip));
                }
                Ok(address) => addresses.push(address),
                Err(why) => {
                    let hint = "such as \"10.0.0.50/24 dev eth0\" or \"fd00::50/64 dev eth0\"";
                    self.vars.report.error(span, format!("{text:?}: {why}")).hint(hint);
                }
            }
        }
        addresses
    }

    /// When it goes back, and what must succeed before.
    fn failback(&mut self) -> (Failback, Option<Vec<String>>) {
        let empty = Settings::default();
        let table = self.said.table("failback").unwrap_or(&empty);
        let mode = self.said.word("failback").or(table.word("mode")).unwrap_or("earned");
        for setting in table.all.iter().filter(|setting| setting.key != "mode" && mode != "earned") {
            let message = format!("`{}` means nothing where failback is {mode}", setting.key);
            self.vars.report.error(setting.span, message).hint("mode = \"earned\"");
        }
        let time = |key, minutes: u64| table.duration(key).unwrap_or(Duration::from_secs(minutes * 60));
        let probe = table.strings("probe");
        let failback = match mode {
            "never" => Failback::Never,
            "manual" => Failback::Manual,
            _ => Failback::Earned(Earned {
                steady: time("steady", 5),
                quiet: time("quiet", 10),
                flap: time("flap", 60),
                probe: probe.is_some(),
            }),
        };
        (failback, probe)
    }

    /// Whether a node is fenced, and by whom.
    fn fencing(&mut self, nodes: &[Name]) -> (Fencing, Vec<Agent>) {
        let tables = self.said.tables("fencing");
        let Some(span) = self.said.span("fencing").filter(|_| !tables.is_empty()) else {
            return (Fencing::None, Vec::new());
        };
        let mut agents = Vec::new();
        let mut policies: Vec<&str> = Vec::new();
        for table in tables {
            policies.extend(table.word("policy").filter(|word| !policies.contains(word)));
            let Some(command) = table.strings("command") else {
                if table.get("command").is_none() {
                    self.vars
                        .report
                        .error(span, "`fencing` needs `command`")
                        .hint("command = [\"fence_ipmilan\"]");
                }
                continue;
            };
            let named = table.strings("nodes").unwrap_or_default();
            if let Some(stranger) = named.iter().find(|name| !nodes.iter().any(|node| **node == **name)) {
                let at = table.span("nodes").unwrap_or(span);
                self.vars.report.error(at, format!("`fencing` is for {stranger}, which is not in `nodes`"));
            }
            let options_file = table.text("options_file").map(|path| {
                let dir = self.vars.report.sources.file(span.file).dir.clone();
                self.vars.moved.as_ref().map_or(dir.clone(), |moved| moved.then(&dir)).join(path)
            });
            agents.push(Agent {
                command,
                options_file,
                within: table.duration("within").unwrap_or(Duration::from_secs(30)),
                nodes: named.iter().map(|name| name.as_str().into()).collect(),
            });
        }
        if policies.len() > 1 {
            let message =
                "`policy` of fencing differs: another node takes over after a failure, or it does not";
            self.vars.report.error(span, message).hint("one policy for all agents of a tree");
        }
        let required = policies.first().is_none_or(|policy| *policy == "required");
        let forgotten = nodes.iter().find(|node| !agents.iter().any(|agent| agent.fences(node)));
        if let Some(node) = forgotten.filter(|_| required && !agents.is_empty()) {
            let message =
                format!("{node} can be fenced by no agent: when it dies, nobody takes the tree over");
            self.vars.report.error(span, message).hint("an agent for it, or policy = \"best_effort\"");
        }
        (if required { Fencing::Required } else { Fencing::BestEffort }, agents)
    }

    /// Whether it is, and what no site can make good.
    fn strict(&mut self) -> bool {
        let Some(span) = self.said.span("policy").filter(|_| self.said.word("policy") == Some("strict"))
        else {
            return false;
        };
        if let (Some(Typed::Boolean(false)), Some(at)) = (self.said.get("gate"), self.said.span("gate")) {
            let message =
                "strict needs the gate: a frozen node that wakes up sends before anybody looks at the clock";
            self.vars.report.error(at, message);
        }
        if self.said.word("isolate").is_none() {
            let message = "strict needs `isolate = \"pid\"`: what forks away from a service outlives a keeper that is killed";
            self.vars.report.error(span, message);
        }
        true
    }
}

fn entries(value: &Value) -> usize {
    value.table().map_or(0, |table| table.entries.len())
}

/// `10.0.0.50/24 dev eth0`, as `ip address add` takes it.
fn address(text: &str) -> Result<Address, String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [network, "dev", device] = words[..] else {
        return Err("wants an address, its prefix and a device".to_owned());
    };
    let (ip, prefix) = network.split_once('/').ok_or("has no prefix length")?;
    let ip: IpAddr = ip.parse().map_err(|_| format!("{ip} is no address"))?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.parse::<u8>().ok().filter(|bits| (1..=most).contains(bits));
    let prefix = prefix.ok_or_else(|| format!("the prefix length is 1 to {most}"))?;
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
        return Err(format!("{ip} cannot belong to a node"));
    }
    // IFNAMSIZ with its zero is 16.
    if device.len() > 15 || device.contains('/') || device.is_empty() {
        return Err(format!("{device} is no network device"));
    }
    Ok(Address { ip, prefix, device: device.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_prefix_and_a_device() {
        let good = |text: &str| address(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!(good("10.0.0.50/24 dev eth0").prefix, 24);
        assert_eq!(good("fd00::50/64  dev  bond0.7").device, "bond0.7");
        for bad in [
            "10.0.0.50",
            "10.0.0.50/24",
            "10.0.0.50 dev eth0",
            "10.0.0.50/33 dev eth0",
            "10.0.0/24 dev eth0",
            "127.0.0.1/8 dev lo",
            "10.0.0.50/24 dev a-name-that-is-too-long",
            "10.0.0.50/24 dev eth0 label x",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_strict_group_says_which_failure_would_split_it() {
        let group = cluster::Group {
            name: "acs".into(),
            nodes: vec!["a".into(), "b".into()],
            failback: Failback::Manual,
            fencing: Fencing::None,
            with: Vec::new(),
            apart: Vec::new(),
            failure_timeout: Duration::from_secs(600),
            start_within: None,
            priority: 0,
        };
        let agent = |nodes: &[&str]| Agent {
            command: vec!["fence".to_owned()],
            options_file: None,
            within: Duration::from_secs(1),
            nodes: nodes.iter().map(|node| (*node).into()).collect(),
        };
        let mut failover = Failover {
            group,
            timing: Timing::NORMAL,
            addresses: Vec::new(),
            gate: true,
            isolate: true,
            strict: true,
            agents: Vec::new(),
            probe: None,
        };
        let count = |failover: &Failover, guarded, members, watchdog| {
            failover.splits(guarded, Site { members, watchdog }).len()
        };
        assert_eq!(count(&failover, false, 1, false), 3);
        assert_eq!(count(&failover, true, 3, false), 1);
        assert_eq!(count(&failover, true, 3, true), 1, "half a second is too short for a watchdog");
        failover.timing = Timing::CALM;
        assert_eq!(count(&failover, true, 3, true), 0);
        failover.timing = Timing::NORMAL;
        failover.group.fencing = Fencing::Required;
        failover.agents = vec![agent(&["a"])];
        assert_eq!(count(&failover, false, 3, false), 2, "b cannot be fenced");
        failover.agents = vec![agent(&[])];
        assert_eq!(count(&failover, false, 3, false), 0);
        failover.strict = false;
        assert_eq!(count(&failover, false, 0, false), 0);
    }
}
