//! The database: `MACI/{Managers,Containers,Components,Channels}`. A record `A/B` stands in `A/B/B.xml`; an XML file
//! with another name than its directory is a copy that somebody left there.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{Component, Container, Deployment, Host, Lang, Manager};
use super::xml::{self, Element};
use super::{File, Input};
use crate::tree::{Report, Span};

/// What ACS reads for itself and no tree needs to know.
const CONTAINER_OWN: [&str; 5] = ["Timeout", "ManagerRetry", "ServerThreads", "Recovery", "DALtype"];
const CONTAINER: [&str; 8] =
    ["ImplLang", "PingInterval", "UseIFR", "Timeout", "ManagerRetry", "ServerThreads", "Recovery", "DALtype"];
const DEPLOY: [&str; 5] = ["Host", "StartOnDemand", "TypeModifiers", "Flags", "KeepAliveTime"];
const COMPONENT: [&str; 8] =
    ["Name", "Code", "Type", "Container", "ImplLang", "Default", "Autostart", "KeepAliveTime"];
const COMPONENT_OWN: [&str; 4] = ["Code", "Type", "Default", "KeepAliveTime"];
const MANAGER_OWN: [&str; 4] =
    ["Timeout", "ClientPingInterval", "AdministratorPingInterval", "ServerThreads"];
const MANAGER: [&str; 5] =
    ["ContainerPingInterval", "Timeout", "ClientPingInterval", "AdministratorPingInterval", "ServerThreads"];
/// Notification services of every ACS, as channels name them.
pub(super) const CHANNELS: [&str; 4] = ["Notify", "LoggingNotify", "ArchiveNotify", "AlarmNotify"];

/// Reads all records.
pub(super) fn database(report: &mut Report, input: &Input, deployment: &mut Deployment) {
    let mut records: Vec<&File> = input.records.iter().collect();
    records.sort_by(|a, b| a.path.cmp(&b.path));
    let mut managers = 0;
    for file in records {
        let parts: Vec<&str> = file.path.split('/').collect();
        let (kind, path) = match parts.split_first() {
            Some((kind, path)) if !path.is_empty() => (*kind, path),
            _ => continue,
        };
        let flat = path == [&format!("{kind}.xml")];
        let name = record(path);
        match (kind, name) {
            ("Managers", Some(name)) if name == "Manager" => {
                managers += 1;
                each(report, file, |report, root| manager(report, root, deployment));
            }
            ("Containers", Some(name)) => {
                each(report, file, |report, root| container(report, root, name, deployment));
            }
            ("Components", _) if flat => {
                each(report, file, |report, root| components(report, root, deployment))
            }
            ("Components", Some(name)) => {
                each(report, file, |report, root| below(report, root, name, deployment));
            }
            ("Channels", _) if flat => each(report, file, |report, root| channels(report, root, deployment)),
            ("Managers" | "Containers" | "Components" | "Channels", _) => {
                deployment.strays.push(file.shown.clone())
            }
            _ => *deployment.unknown.entry(kind.to_owned()).or_default() += 1,
        }
    }
    if managers == 0 {
        let message = "there is no MACI/Managers/Manager/Manager.xml; each container is asked every 30 s";
        report.placeless(crate::tree::Severity::Warning, message);
    }
    twice(report, deployment);
}

/// The name of the record in a file, from its path below the kind: the directories, if the file is called as the last.
fn record(path: &[&str]) -> Option<String> {
    let (file, directories) = path.split_last()?;
    let stem = file.strip_suffix(".xml")?;
    (directories.last() == Some(&stem)).then(|| directories.join("/"))
}

fn each(report: &mut Report, file: &File, read: impl FnOnce(&mut Report, Element<'_, '_>)) {
    let Some(id) = xml::open(report, &file.shown, &file.bytes) else { return };
    let text = report.sources.file(id).text.clone();
    if let Some(document) = xml::parse(report, id, &text) {
        read(report, Element::root(&document, id));
    }
}

/// As [`each`], for files that are no records.
pub(super) fn whole<T>(
    report: &mut Report,
    file: &File,
    read: impl FnOnce(&mut Report, Element<'_, '_>) -> T,
) -> Option<T> {
    let mut out = None;
    each(report, file, |report, root| out = Some(read(report, root)));
    out
}

/// The outermost element is called as the kind of record demands.
fn is_called(report: &mut Report, root: Element<'_, '_>, names: &[&str]) -> bool {
    let fits = names.contains(&root.name());
    if !fits {
        let message = format!("{} where {} is expected", root.name(), names.join(" or "));
        report.error(root.span(), message).hint("another kind of record?");
    }
    fits
}

fn manager(report: &mut Report, root: Element<'_, '_>, deployment: &mut Deployment) {
    if !is_called(report, root, &["Manager"]) {
        return;
    }
    root.strangers(report, &MANAGER, &["Startup", "ServiceComponents", "ServiceDaemons", "LoggingConfig"]);
    count(&mut deployment.left_to_acs, root, &MANAGER_OWN, &["ServiceComponents", "LoggingConfig"]);
    let mut manager = Manager::default();
    manager.ping = ping(report, root, "ContainerPingInterval").unwrap_or(manager.ping);
    manager.startup = list(root.child("Startup"));
    manager.daemons = list(root.child("ServiceDaemons"));
    deployment.manager = manager;
}

/// How often a container is asked. ACS ignores less than a second.
fn ping(report: &mut Report, of: Element<'_, '_>, name: &str) -> Option<Duration> {
    let time = of.seconds(report, name)?;
    if let Some(said) = of.get(name).filter(|_| time < Duration::from_secs(1)) {
        report.warning(said.span, format!("{name} of {} s: ACS ignores what is below 1 s", said.value));
        return None;
    }
    Some(time)
}

/// A list of strings: child elements of any name, the value in the attribute `string`.
fn list(of: Option<Element<'_, '_>>) -> Vec<String> {
    let items = of.into_iter().flat_map(|of| of.children());
    items.filter_map(|item| item.get("string")).map(|said| said.value.to_owned()).collect()
}

fn count(counts: &mut BTreeMap<String, usize>, of: Element<'_, '_>, attributes: &[&str], children: &[&str]) {
    let attributes = of.attributes().map(|(name, _)| name).filter(|name| attributes.contains(name));
    let children = of.children().map(|child| child.name()).filter(|name| children.contains(name));
    for name in attributes.chain(children) {
        *counts.entry(format!("{} of {}", name, of.name())).or_default() += 1;
    }
}

/// `ImplLang`.
fn lang(report: &mut Report, of: Element<'_, '_>, name: &str) -> Option<Lang> {
    let said = of.get(name)?;
    let lang = word(said.value);
    if lang.is_none() {
        report
            .error(said.span, format!("{name} is a language, not \"{}\"", said.value))
            .allowed("cpp, java, py");
    }
    lang
}

/// A language by its word.
pub(super) fn word(text: &str) -> Option<Lang> {
    Lang::WORDS.iter().find(|(word, _)| *word == text).map(|(_, lang)| *lang)
}

fn container(report: &mut Report, root: Element<'_, '_>, name: String, deployment: &mut Deployment) {
    if !is_called(report, root, &["Container"]) {
        return;
    }
    root.strangers(report, &CONTAINER, &["Autoload", "LoggingConfig", "DeployInfo"]);
    count(&mut deployment.left_to_acs, root, &CONTAINER_OWN, &["Autoload", "LoggingConfig"]);
    let deploy = root.child("DeployInfo");
    if let Some(deploy) = deploy {
        deploy.strangers(report, &DEPLOY, &[]);
        count(&mut deployment.left_to_acs, deploy, &["KeepAliveTime"], &[]);
    }
    let said = |name: &str| deploy.and_then(|deploy| deploy.get(name)).map(|said| said.value);
    let words = |name: &str| said(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let host = match said("Host") {
        None if deploy.is_some() => Host::Any,
        None => Host::Unsaid,
        Some("*") => Host::Any,
        Some(host) => Host::Named(host.to_owned()),
    };
    let ping = ping(report, root, "PingInterval");
    let container = Container {
        lang: lang(report, root, "ImplLang"),
        ping,
        use_ifr: root.boolean(report, "UseIFR").unwrap_or(true),
        host,
        on_demand: deploy.and_then(|deploy| deploy.boolean(report, "StartOnDemand")).unwrap_or(false),
        flags: words("Flags"),
        modifiers: words("TypeModifiers"),
        place: root.span(),
        name,
    };
    deployment.containers.push(container);
}

/// `Components.xml`: full names, one element for each.
fn components(report: &mut Report, root: Element<'_, '_>, deployment: &mut Deployment) {
    if !is_called(report, root, &["Components"]) {
        return;
    }
    for element in root.children() {
        match element.get("Name") {
            Some(name) => component(report, element, name.value.to_owned(), deployment),
            None => {
                report.error(element.span(), "a component without a Name");
            }
        }
    }
}

/// A file of its own: its directories are the name, and elements in it are named below it.
fn below(report: &mut Report, root: Element<'_, '_>, name: String, deployment: &mut Deployment) {
    // Directories of a hierarchy may hold a file that only groups what is below.
    if root.name() == "Components" {
        for element in root.children() {
            if let Some(own) = element.get("Name") {
                component(report, element, format!("{name}/{}", own.value), deployment);
            }
        }
    } else if is_called(report, root, &["Component", "HierarchicalComponent", "Components"]) {
        component(report, root, name, deployment);
    }
}

fn component(report: &mut Report, element: Element<'_, '_>, name: String, deployment: &mut Deployment) {
    element.strange_attributes(report, &COMPONENT);
    for own in COMPONENT_OWN.iter().filter(|own| element.get(own).is_some()) {
        *deployment.left_to_acs.entry(format!("{own} of components")).or_default() += 1;
    }
    let nested = element.children().filter(|child| child.get("Name").is_some());
    let nested: Vec<(Element<'_, '_>, String)> = nested
        .map(|child| (child, format!("{name}/{}", child.get("Name").map_or("", |said| said.value))))
        .collect();
    let container = element.get("Container").map(|said| said.value.to_owned());
    // An element that only groups has no container and no type.
    if container.is_some() || element.get("Type").is_some() || nested.is_empty() {
        deployment.components.push(Component {
            container: container.filter(|container| container != "*"),
            lang: lang(report, element, "ImplLang"),
            autostart: element.boolean(report, "Autostart").unwrap_or(false),
            place: element.span(),
            name,
        });
    }
    for (child, name) in nested {
        component(report, child, name, deployment);
    }
}

/// Which notification service carries which channel.
fn channels(report: &mut Report, root: Element<'_, '_>, deployment: &mut Deployment) {
    if !is_called(report, root, &["Channels"]) {
        return;
    }
    for mapping in root.children().filter(|child| child.name() == "NotificationServiceMapping") {
        let lists = mapping.children().filter(|child| ["Domains", "Channels_"].contains(&child.name()));
        let named = lists.flat_map(|list| list.children()).filter_map(|item| item.get("NotificationService"));
        for said in mapping.get("DefaultNotificationService").into_iter().chain(named) {
            add_channel(&mut deployment.channels, said.value);
        }
    }
}

/// Adds a notification service that not every ACS has; `Telemetry`, `TelemetryNotify` and
/// `TelemetryNotifyEventChannelFactory` are one.
pub(super) fn add_channel(channels: &mut Vec<String>, said: &str) {
    let mut name = said.strip_suffix("EventChannelFactory").unwrap_or(said).to_owned();
    if !name.ends_with("Notify") {
        name += "Notify";
    }
    if !CHANNELS.contains(&name.as_str()) && !channels.contains(&name) {
        channels.push(name);
    }
}

/// Names that are given twice.
fn twice(report: &mut Report, deployment: &Deployment) {
    let mut first: BTreeMap<&str, Span> = BTreeMap::new();
    for component in deployment.components.iter().filter(|component| !component.is_wildcard()) {
        if let Some(other) = first.insert(&component.name, component.place) {
            let other = report.sources.place(other);
            let message = format!("the component {} stands in two places", component.name);
            report
                .error(component.place, message)
                .hint(format!("the other one: {}:{}", other.file, other.line));
        }
    }
}
