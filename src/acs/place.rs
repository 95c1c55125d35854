//! Who runs where, with which port: the deployment as one list of containers per host.
//!
//! A host is that of the command line, of DeployInfo, of the project, or the manager's, in this order. Ports go by the
//! rule of ACS, even ones from the first of the instance on; who has one in a tree that is there already keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::kept;
use super::model::{Component, Container, Deployment, Host, Lang, ProjectContainer};
use super::{Options, model::Project};
use crate::tree::{Report, Severity};

/// Places for containers on one host: instance 0, and every other.
const PLACES: [usize; 2] = [500, 25];
/// More notification services than every ACS has: ports 3x20 to 3x49.
const MORE_CHANNELS: usize = 30;

/// What is to be written.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    /// The instance.
    pub instance: u8,
    /// Host of the manager and of all services, a short name.
    pub manager: String,
    /// Account of the project.
    pub account: Option<String>,
    /// The database is a relational one.
    pub relational: bool,
    /// How often the manager asks its containers.
    pub ping: Duration,
    /// More notification services.
    pub channels: Vec<String>,
    /// Containers by host; the manager's is always there.
    pub hosts: BTreeMap<String, Vec<Placed>>,
}

/// A container with everything decided.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// Its name in the database.
    pub name: String,
    /// Its name in the tree.
    pub id: String,
    /// Its language.
    pub lang: Lang,
    /// Its port is the first one of containers and this.
    pub port: u32,
    /// Some component has to be there always.
    pub permanent: bool,
    /// The manager has it started, so the tree does not.
    pub on_demand: bool,
    /// How often it is asked, if not as all others.
    pub ping: Option<Duration>,
    /// It needs the interface repository.
    pub needs_ifr: bool,
    /// Another program than the usual one.
    pub program: Option<String>,
    /// More words of the command line.
    pub flags: Vec<String>,
    /// Heap of its Java machine, in MB.
    pub heap: Option<u32>,
    /// Its account, if it has its own.
    pub account: Option<String>,
    /// Its components that are there from the beginning.
    pub starts: Vec<String>,
    /// All its components.
    pub components: usize,
    /// Why it is on this host, if that is a guess.
    pub guess: Option<&'static str>,
}

/// Decides everything. What cannot be decided is an error in the report.
pub(super) fn place(report: &mut Report, deployment: &Deployment, options: &Options) -> Placement {
    let instance = options.instance.or(deployment.instance()).unwrap_or(0);
    let manager = manager(report, deployment, options);
    channels(report, deployment);
    let mut hosts: BTreeMap<String, Vec<Placed>> = BTreeMap::new();
    hosts.entry(manager.clone()).or_default();
    let work = Work::of(deployment);
    for container in ordered(deployment) {
        let of_project = deployment.project.as_ref().and_then(|project| project.of(&container.name));
        let Some((host, guess)) = host(report, deployment, options, container, of_project, &manager) else {
            continue;
        };
        let Some(mut placed) = placed(report, container, of_project, &work, instance) else { continue };
        placed.ping = placed.ping.filter(|ping| *ping != deployment.manager.ping);
        placed.guess = guess;
        hosts.entry(host).or_default().push(placed);
    }
    for (host, placed) in &mut hosts {
        unique(report, deployment, host, placed);
        ports(report, deployment, host, placed, instance, options.there.get(host).map(String::as_str));
    }
    strangers(report, deployment);
    Placement {
        instance,
        account: deployment.project.as_ref().and_then(|project| project.account.clone()),
        relational: deployment.definition.as_ref().is_some_and(|definition| definition.relational),
        ping: deployment.manager.ping,
        channels: deployment.channels.clone(),
        manager,
        hosts,
    }
}

/// Notification services with names that a tree can have, and ports for all of them.
fn channels(report: &mut Report, deployment: &Deployment) {
    let all = &deployment.channels;
    if all.len() > MORE_CHANNELS {
        let message =
            format!("{} more notification services, and ACS has ports for {MORE_CHANNELS}", all.len());
        report.placeless(Severity::Error, message);
    }
    let mut ids = BTreeSet::new();
    for name in all {
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
            let message = format!("a notification service is called \"{name}\"");
            report.placeless(Severity::Error, message).hint("letters, digits, _, - and .");
        } else if !ids.insert(name.to_ascii_lowercase()) {
            report.placeless(Severity::Error, format!("two notification services are called {name}"));
        }
    }
}

/// Containers as the project has them, then the others by name.
fn ordered(deployment: &Deployment) -> Vec<&Container> {
    let listed = deployment.project.iter().flat_map(|project| &project.containers);
    let order: BTreeMap<&str, usize> =
        listed.enumerate().map(|(at, container)| (container.name.as_str(), at)).collect();
    let mut all: Vec<&Container> = deployment.containers.iter().collect();
    all.sort_by_key(|container| {
        (order.get(container.name.as_str()).copied().unwrap_or(usize::MAX), &container.name)
    });
    all
}

fn manager(report: &mut Report, deployment: &Deployment, options: &Options) -> String {
    let project = deployment.project.as_ref().and_then(|project| project.host.clone());
    let definition = deployment.definition.as_ref().and_then(|definition| definition.host.clone());
    let daemon = match &deployment.manager.daemons[..] {
        [only] => Some(only.clone()),
        _ => None,
    };
    let said = options.manager_host.clone().or(project).or(definition).or(daemon);
    match said {
        Some(host) if is_name(&host) => short(&host, &options.here),
        Some(host) => {
            let message = format!("the manager is on a host called \"{host}\"");
            report.placeless(Severity::Error, message).hint("letters, digits, - and .");
            options.here.clone()
        }
        None => {
            let message = format!("nobody says where the manager runs: taken to be {}", options.here);
            report.placeless(Severity::Warning, message).hint("--manager-host HOST");
            options.here.clone()
        }
    }
}

/// The host of a container, and why, if that is a guess. `None`: no host can be called so.
fn host(
    report: &mut Report,
    deployment: &Deployment,
    options: &Options,
    container: &Container,
    of_project: Option<&ProjectContainer>,
    manager: &str,
) -> Option<(String, Option<&'static str>)> {
    let own = options.hosts.iter().rev().find(|(of, _)| of.as_deref() == Some(container.name.as_str()));
    let rest = options.hosts.iter().rev().find(|(of, _)| of.is_none()).map(|(_, host)| host.clone());
    let project = deployment.project.as_ref();
    let by_project = of_project.and_then(|own| own.host.clone().or(project?.host.clone()));
    let (host, guess) = match (own, &container.host) {
        (Some((_, host)), _) => (host.clone(), None),
        (None, Host::Named(host)) => (host.clone(), None),
        (None, said) => match (by_project, rest) {
            (Some(host), _) | (None, Some(host)) => (host, None),
            (None, None) if *said == Host::Any => (manager.to_owned(), Some("any host would do")),
            (None, None) => (manager.to_owned(), Some("no host is said anywhere")),
        },
    };
    if !is_name(&host) {
        let message = format!("{} is on a host called \"{host}\"", container.name);
        report.error(container.place, message).hint("letters, digits, - and .");
        return None;
    }
    let host = if is_local(&host) { manager.to_owned() } else { short(&host, &options.here) };
    if let Some(why) = guess.filter(|_| container.host == Host::Unsaid) {
        let message = format!("{} is put on {host}: {why}", container.name);
        report.warning(container.place, message).hint(format!("--host {}=HOST", container.name));
    }
    Some((host, guess))
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A host without its domain; an address as it is.
fn short(host: &str, here: &str) -> String {
    match host {
        _ if is_local(host) => here.to_owned(),
        _ if host.parse::<IpAddr>().is_ok() => host.to_owned(),
        _ => host.split('.').next().unwrap_or_default().to_owned(),
    }
}

/// Nothing that would leave the directory of the trees, or break a line of one.
fn is_name(host: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    host.starts_with(|c: char| c.is_ascii_alphanumeric()) && host.chars().all(fits)
}

/// Which components each container has.
struct Work<'a> {
    of: BTreeMap<&'a str, Vec<&'a Component>>,
    startup: BTreeSet<&'a str>,
}

impl<'a> Work<'a> {
    fn of(deployment: &'a Deployment) -> Work<'a> {
        let mut of: BTreeMap<&str, Vec<&Component>> = BTreeMap::new();
        for component in &deployment.components {
            if let Some(container) = &component.container {
                of.entry(container).or_default().push(component);
            }
        }
        Work { of, startup: deployment.manager.startup.iter().map(String::as_str).collect() }
    }

    fn in_container(&self, name: &str) -> &[&'a Component] {
        self.of.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    fn starts(&self, name: &str) -> Vec<String> {
        let early =
            |component: &&&Component| component.autostart || self.startup.contains(component.name.as_str());
        self.in_container(name).iter().filter(early).map(|component| component.name.clone()).collect()
    }
}

fn placed(
    report: &mut Report,
    container: &Container,
    of_project: Option<&ProjectContainer>,
    work: &Work<'_>,
    instance: u8,
) -> Option<Placed> {
    let name = &container.name;
    let lang = lang(report, container, of_project, work)?;
    if let Some(other) = of_project.and_then(|own| own.lang).filter(|other| *other != lang) {
        let message =
            format!("{name} is {} in the database and {} in the project", lang.word(), other.word());
        report.warning(container.place, message);
    }
    if let (Some(own), Some(place)) =
        (of_project.and_then(|own| own.instance), of_project.map(|own| own.place))
        && own != instance
    {
        let message =
            format!("{name} is of instance {own} in the project; the tree has it in instance {instance}");
        report.warning(place, message);
    }
    let modifiers = container.modifiers.iter().chain(of_project.iter().flat_map(|own| &own.modifiers));
    let modifiers: Vec<&str> = modifiers.map(String::as_str).collect();
    if !modifiers.is_empty() {
        let message =
            format!("{name}: what {} means for its command is not known here", modifiers.join(", "));
        report.warning(container.place, message).hint("a layer can say its `command`");
    }
    let (program, flags) = flags(report, container);
    let starts = work.starts(name);
    Some(Placed {
        id: name.chars().map(|c| if is_of_id(c) { c } else { other(c) }).collect(),
        lang,
        port: 0,
        permanent: !starts.is_empty(),
        on_demand: container.on_demand,
        ping: container.ping,
        needs_ifr: container.use_ifr && lang == Lang::Cpp,
        program,
        flags,
        heap: of_project.and_then(|own| own.heap).filter(|_| lang == Lang::Java),
        account: of_project.and_then(|own| own.account.clone()),
        components: work.in_container(name).len(),
        starts,
        guess: None,
        name: name.clone(),
    })
}

/// What an id may hold; `/` becomes `:`, as in file names of ACS.
fn is_of_id(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.:@-".contains(c)
}

fn other(c: char) -> char {
    if c == '/' { ':' } else { '_' }
}

/// The language of a container: its own, the project's, or that of its components.
fn lang(
    report: &mut Report,
    container: &Container,
    of_project: Option<&ProjectContainer>,
    work: &Work<'_>,
) -> Option<Lang> {
    if container.lang.is_some() {
        return container.lang;
    }
    let of_components: BTreeSet<Lang> =
        work.in_container(&container.name).iter().filter_map(|component| component.lang).collect();
    let guess = match (of_project.and_then(|own| own.lang), of_components.first()) {
        (Some(lang), _) => Some((lang, "the project says so")),
        (None, Some(lang)) if of_components.len() == 1 => Some((*lang, "its components are")),
        _ => None,
    };
    let message = format!("{} has no ImplLang", container.name);
    match guess {
        Some((lang, why)) => {
            report.warning(container.place, format!("{message}: taken to be {}, {why}", lang.word()));
        }
        None => {
            report.error(container.place, message).hint("ImplLang=\"cpp\"").allowed("cpp, java, py");
        }
    }
    guess.map(|(lang, _)| lang)
}

/// Flags of the start script: `-e` names another program, all else is handed on as it is.
fn flags(report: &mut Report, container: &Container) -> (Option<String>, Vec<String>) {
    let mut program = None;
    let mut rest = Vec::new();
    let mut words = container.flags.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), words.as_slice().first()) {
            ("-e" | "--executable", Some(other)) => {
                program = Some(other.clone());
                words.next();
            }
            _ => rest.push(word.clone()),
        }
    }
    if !rest.is_empty() {
        let message = format!(
            "{}: the Flags {} go to the end of its command as they are",
            container.name,
            rest.join(" ")
        );
        report.warning(container.place, message).hint("look whether its program knows them");
    }
    (program, rest)
}

/// No two containers of a host have one id.
fn unique(report: &mut Report, deployment: &Deployment, host: &str, all: &[Placed]) {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    for placed in all {
        if let Some(other) = first.insert(&placed.id, &placed.name)
            && let Some(container) = deployment.container(&placed.name)
        {
            let message = format!(
                "{} and {other} on {host} would both be called {} in the tree",
                placed.name, placed.id
            );
            report.error(container.place, message).hint("rename one of them");
        }
    }
}

/// Gives out ports: those of the tree that is there first.
fn ports(
    report: &mut Report,
    deployment: &Deployment,
    host: &str,
    all: &mut [Placed],
    instance: u8,
    there: Option<&str>,
) {
    let places = PLACES[usize::from(instance != 0)];
    if let Some(first) = all.get(places) {
        let message = format!(
            "{host} has {} containers, and instance {instance} has ports for {places} on a host",
            all.len()
        );
        let hint = if instance == 0 { "spread them: --host NAME=HOST" } else { "--instance 0 has 500" };
        match deployment.container(&first.name) {
            Some(container) => report.error(container.place, message).hint(hint),
            None => report.placeless(Severity::Error, message).hint(hint),
        };
        return;
    }
    let kept = there.map(kept::ports).unwrap_or_default();
    let mut taken = BTreeSet::new();
    let mut without = Vec::new();
    for placed in all {
        let own = kept.get(&placed.id).copied().filter(|port| (*port as usize) < 2 * places && port % 2 == 0);
        match own.filter(|port| taken.insert(*port)) {
            Some(port) => placed.port = port,
            None => without.push(placed),
        }
    }
    let mut free = (0..).step_by(2).filter(|port| !taken.contains(port));
    for placed in without {
        placed.port = free.next().unwrap_or_default();
    }
}

/// Names that lead nowhere.
fn strangers(report: &mut Report, deployment: &Deployment) {
    let known: BTreeSet<&str> =
        deployment.containers.iter().map(|container| container.name.as_str()).collect();
    let mut said = BTreeSet::new();
    for component in &deployment.components {
        if let Some(container) = component.container.as_deref().filter(|name| !known.contains(name))
            && !container.contains('*')
            && said.insert(container)
        {
            let message = format!("{} wants the container {container}, which has no record", component.name);
            report.warning(component.place, message).maybe_hint(near(container, &known));
        }
    }
    let components: BTreeSet<&str> =
        deployment.components.iter().map(|component| component.name.as_str()).collect();
    for name in deployment.manager.startup.iter().filter(|name| !components.contains(name.as_str())) {
        let message = format!("the manager's Startup names {name}, which is no component");
        report.placeless(Severity::Warning, message).maybe_hint(near(name, &components));
    }
    for own in deployment.project.iter().flat_map(|project| &project.containers) {
        if !known.contains(own.name.as_str()) {
            let message = format!("the project has {}, which has no record in the database", own.name);
            report.warning(own.place, message).maybe_hint(near(&own.name, &known));
        }
    }
}

fn near(name: &str, known: &BTreeSet<&str>) -> Option<String> {
    crate::tree::nearest(name, known.iter().copied()).map(|known| format!("did you mean {known}?"))
}

impl Deployment {
    fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// What project and definition say.
    fn instance(&self) -> Option<u8> {
        let project = self.project.as_ref().and_then(|project| project.instance);
        project.or(self.definition.as_ref().and_then(|definition| definition.instance))
    }
}

impl Project {
    fn of(&self, name: &str) -> Option<&ProjectContainer> {
        self.containers.iter().find(|container| container.name == name)
    }
}
