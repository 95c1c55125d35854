//! Tree files as a person would write them.
//!
//! Services of ACS do not depend on the database, so their text is that of the tree in `supervisors/acs-real.toml`,
//! which people read, check and run: what an import adds are the instance, more notification services, and containers.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use super::kept;
use super::model::Lang;
use super::place::{Placed, Placement};

/// The tree that all text is taken from.
const REAL: &str = include_str!("../../supervisors/acs-real.toml");
/// Where containers begin in it.
const CONTAINERS: &str = "# Containers log out at the manager";
/// Variables of it that hosts without services need.
const WITHOUT_SERVICES: [&str; 11] =
    ["instance", "account", "m", "addr", "acsdata", "tmp", "run", "base", "ports", "manager", "start"];
/// Children of it that have an account of restarts of their own.
const PARKING: usize = 2;
/// First port of more notification services, counted from that of the manager.
const MORE_CHANNELS: usize = 20;

/// The tree file of one host.
pub(super) fn tree(placement: &Placement, host: &str) -> String {
    let containers = placement.hosts.get(host).map(Vec::as_slice).unwrap_or_default();
    let main = host == placement.manager;
    let mut body = root(placement, host, main, containers);
    if main {
        body += &services(placement);
    }
    body += &groups(placement, containers, main);
    let body = body.trim_end().to_owned() + "\n";
    format!("{}{}{body}", title(placement, host, main, containers), kept::mark(&body))
}

fn title(placement: &Placement, host: &str, main: bool, containers: &[Placed]) -> String {
    let Placement { instance, manager, .. } = placement;
    let containers = match containers.len() {
        1 => "1 container".to_owned(),
        n => format!("{n} containers"),
    };
    let what = if main {
        format!("ACS instance {instance} on {host}: all services, {containers}.")
    } else {
        format!("ACS instance {instance} on {host}: {containers}; manager and services are on {manager}.")
    };
    format!(
        "# {what}\n\
         #\n\
         # `woodward import acs-cdb` writes this file anew. Changes of this site belong beside it, in acs.d/*.toml: the same\n\
         # format, children matched by `id`, later wins. For example acs.d/site.toml:\n\
         #\n\
         #   [vars]\n\
         #   account = \"acs\"                 # who everything runs as\n\
         #\n\
         #   bash -lc 'env -u ACS_INSTANCE' | grep '^[A-Za-z_]*=' > /etc/acs/acs.env       once, as that user: freezes its profile\n\
         #   woodward check acs.toml && woodward run acs.toml\n\
         #\n"
    )
}

/// A block of the tree: from the line that is `from` up to the next line that begins with `to`.
fn block(from: &str, to: &str) -> &'static str {
    let start = REAL.find(&format!("\n{from}")).map_or(0, |at| at + 1);
    let end = REAL[start + from.len()..].find(&format!("\n{to}"));
    &REAL[start..end.map_or(REAL.len(), |end| start + from.len() + end + 1)]
}

/// The root's keys, variables, environment and defaults.
fn root(placement: &Placement, host: &str, main: bool, containers: &[Placed]) -> String {
    let mut text = String::new();
    let keys = block("id ", "[vars]");
    if main {
        let groups = containers.iter().map(|container| container.needs_ifr).collect::<BTreeSet<bool>>().len();
        // So many as there are children besides containers: each may crash once.
        let children = REAL.matches("\n[[child]]").count() - 1 + placement.channels.len() + groups;
        for line in keys.lines() {
            let line = if line.starts_with("intensity") {
                instead(line, "10", &(children - PARKING).to_string())
            } else {
                line.to_owned()
            };
            text += &(line + "\n");
        }
    } else {
        let has =
            |line: &&str| !["description", "intensity", "period"].iter().any(|key| line.starts_with(key));
        for line in keys.lines().filter(has) {
            text += &line.replace("; a crash restarts the service alone", "");
            text.push('\n');
            if line.starts_with("id ") {
                text += &format!("description      = \"ACS instance ${{instance}} on {host}: containers\"\n");
            }
        }
    }
    for line in block("[vars]", "[environment]").lines() {
        let name = line.split([' ', '=']).next().unwrap_or_default();
        if main || line.starts_with('[') || line.is_empty() || WITHOUT_SERVICES.contains(&name) {
            text += &variable(placement, host, main, name, line);
            text.push('\n');
        }
    }
    text += block("[environment]", "\n");
    if !main {
        text += &format!("MANAGER_REFERENCE = \"corbaloc::{}:${{base}}/Manager\"\n", placement.manager);
    }
    text.push('\n');
    text += block("[defaults]", "[[child]]");
    text
}

/// One line of `[vars]` with what is known about it.
fn variable(placement: &Placement, host: &str, main: bool, name: &str, line: &str) -> String {
    match name {
        "instance" => instead(line, "0", &placement.instance.to_string()),
        "account" => match &placement.account {
            Some(account) => instead(line, "\"acs\"", &quoted(account)),
            None => line.to_owned(),
        },
        "addr" => instead(line, "127.0.0.1", host),
        "manager" if !main => instead(line, "${here}", &format!("corbaloc::{}", placement.manager)),
        _ => line.to_owned(),
    }
}

/// A line with something else in its value; the comment behind stays where it is, as far as there is room.
fn instead(line: &str, old: &str, new: &str) -> String {
    let Some((code, comment)) = line.split_once(" # ") else { return line.replacen(old, new, 1) };
    let code_new = code.trim_end().replacen(old, new, 1);
    format!("{code_new:width$} # {comment}", width = code.len())
}

/// The services: those of every ACS, and more notification services behind theirs.
fn services(placement: &Placement) -> String {
    let start = REAL.find("\n[[child]]").map_or(0, |at| at + 1);
    let end = REAL.find(CONTAINERS).unwrap_or(REAL.len());
    let mut text = REAL[start..end].to_owned();
    if placement.relational {
        text = text.replace("\"cdbjDAL\", \"-OAIAddr\"", "\"hibernateCdbJDal\", \"-OAIAddr\"");
        text = text.replace("configuration database, XML files", "configuration database, relational");
    }
    let alarm = child_text("notify-alarm");
    let more: String = placement
        .channels
        .iter()
        .enumerate()
        .map(|(at, name)| {
            alarm
                .replace("notify-alarm", &channel_id(name))
                .replace("AlarmNotify", name)
                .replace("base + 7", &format!("base + {}", MORE_CHANNELS + at))
        })
        .collect();
    match text.find(alarm) {
        Some(at) => text.insert_str(at + alarm.len(), &more),
        None => text += &more,
    }
    text
}

/// A child of the tree's root, with the empty line behind it.
fn child_text(id: &str) -> &'static str {
    let line = format!("= \"{id}\"");
    let at = REAL.find(&line).unwrap_or_default();
    let start = REAL[..at].rfind("[[child]]").unwrap_or_default();
    let end = REAL[at..].find("\n[[child]]").map_or(REAL.len(), |end| at + end + 1);
    &REAL[start..end]
}

/// `TelemetryNotify` → `notify-telemetry`.
fn channel_id(name: &str) -> String {
    format!("notify-{}", name.strip_suffix("Notify").unwrap_or(name).to_ascii_lowercase())
}

/// Groups of containers. Who needs the interface repository waits for it; nobody else does.
fn groups(placement: &Placement, containers: &[Placed], main: bool) -> String {
    let mut text = String::new();
    if containers.is_empty() {
        return text;
    }
    let comment = &REAL[REAL.find(CONTAINERS).unwrap_or(REAL.len())..];
    let comment = &comment[..comment.find("\n\n").map_or(comment.len(), |end| end + 2)];
    if main {
        text += comment;
        let mut after = vec!["manager".to_owned(), "notify".to_owned()];
        after.extend(placement.channels.iter().map(|name| channel_id(name)));
        let (with, without): (Vec<&Placed>, Vec<&Placed>) = containers.iter().partition(|c| c.needs_ifr);
        text += &group(placement, "containers", &after, &without);
        after.push("interface-repository".to_owned());
        text += &group(placement, "containers-ifr", &after, &with);
    } else {
        text += &format!(
            "# They find the manager on {} by themselves, again and again: who gives up is tried anew after a while.\n\
             # They have no name in corbaloc, so their port is asked; one that hangs with its port open the manager finds out.\n\n",
            placement.manager
        );
        text += &group(placement, "containers", &[], &containers.iter().collect::<Vec<_>>());
    }
    text
}

fn group(placement: &Placement, id: &str, after: &[String], containers: &[&Placed]) -> String {
    let mut text = String::new();
    if containers.is_empty() {
        return text;
    }
    let real = child_text("containers");
    for line in real[..real.find("\n\n  [[child.child]]").map_or(real.len(), |end| end + 1)].lines() {
        let key = line.trim_start().split(' ').next().unwrap_or_default();
        let line = match key {
            "id" => line.replace("containers", id),
            "after" if after.is_empty() => continue,
            "after" => {
                let names: Vec<String> = after.iter().map(|name| format!("{name:?}")).collect();
                let note = if id == "containers-ifr" { "    # C++ with UseIFR" } else { "" };
                format!("after    = [{}]{note}", names.join(", "))
            }
            "health" => instead(line, "30s", &time(placement.ping)),
            "limit" if after.is_empty() => {
                line.replace("exhausted = \"park\" }", "exhausted = \"park\", retry_after = \"5m\" }")
            }
            _ => line.to_owned(),
        };
        text += line.trim_end();
        text.push('\n');
    }
    for container in containers {
        text.push('\n');
        text += &stanza(placement, container);
    }
    text.push('\n');
    text
}

/// A length of time as tree files write it.
fn time(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// One container.
fn stanza(placement: &Placement, container: &Placed) -> String {
    let port = match container.port {
        0 => "${ports}".to_owned(),
        more => format!("${{ports + {more}}}"),
    };
    let every = container.ping.map(|ping| format!(", every = \"{}\"", time(ping))).unwrap_or_default();
    let mut lines: Vec<(&str, String, &str)> = vec![
        ("id", quoted(&container.id), ""),
        ("description", quoted(&about(container)), ""),
        ("command", command(container, &port), ""),
        ("health", format!("{{ tcp = \"${{addr}}:{port}\"{every} }}"), ""),
    ];
    if let Some(heap) = container.heap {
        lines.push((
            "environment",
            format!("{{ JAVA_OPTIONS = \"-Xmx{heap}m\" }}"),
            "heapSizeMB of the project",
        ));
    }
    if let Some(account) =
        container.account.as_ref().filter(|account| Some(*account) != placement.account.as_ref())
    {
        lines.push(("user", quoted(account), "remoteAccount of the project"));
    }
    if container.lang == Lang::Java {
        lines.push(("success_exit_status", "[143]".to_owned(), "Java at SIGTERM"));
    }
    if container.on_demand {
        let why = "StartOnDemand: the manager has it started when a component is wanted";
        lines.push(("enabled", "false".to_owned(), why));
    } else if !container.permanent {
        let why = "no component of it has to be there always: a calm end is final";
        lines.push(("restart", "\"transient\"".to_owned(), why));
    }
    let width = lines.iter().map(|(key, ..)| key.len()).max().unwrap_or_default();
    let mut text = String::new();
    if let Some(guess) = container.guess {
        let _ = writeln!(text, "  # {guess}");
    }
    text += "  [[child.child]]\n";
    for (key, value, comment) in lines {
        let comment = if comment.is_empty() { String::new() } else { format!("    # {comment}") };
        let _ = writeln!(text, "  {key:width$} = {value}{comment}");
    }
    text
}

/// `C++, 2 components, MOUNT1 from the beginning`.
fn about(container: &Placed) -> String {
    let mut parts = vec![container.lang.title().to_owned()];
    if container.name != container.id {
        parts.insert(0, format!("{} of the database", container.name));
    }
    match container.components {
        0 => {}
        1 => parts.push("1 component".to_owned()),
        n => parts.push(format!("{n} components")),
    }
    match &container.starts[..] {
        [] => {}
        few @ ([_] | [_, _] | [_, _, _]) => parts.push(format!("{} from the beginning", few.join(" and "))),
        many => parts.push(format!("{} of them from the beginning", many.len())),
    }
    // Names of a database may hold anything, and a `${` in a tree would be a variable.
    parts.join(", ").replace("${", "$${")
}

fn command(container: &Placed, port: &str) -> String {
    let word = |text: &str| quoted(&text.replace("${", "$${"));
    let name = word(&container.name);
    let program = |usual: &str| word(container.program.as_deref().unwrap_or(usual));
    let mut words = vec!["\"${start}\"".to_owned()];
    match container.lang {
        Lang::Cpp => words.extend([
            program("maciContainer"),
            name,
            "\"-ORBEndpoint\"".to_owned(),
            format!("\"iiop://${{addr}}:{port}\""),
        ]),
        Lang::Java => words.extend([
            program("acsStartJavaContainer"),
            name,
            "\"alma.acs.container.AcsContainerRunner\"".to_owned(),
            "\"-OAIAddr\"".to_owned(),
            "\"${addr}\"".to_owned(),
            "\"-OAport\"".to_owned(),
            format!("\"{port}\""),
        ]),
        Lang::Py => words.extend([
            program("ACSStartContainerPy"),
            name,
            "\"-ORBendPoint\"".to_owned(),
            format!("\"giop:tcp:${{addr}}:{port}\""),
        ]),
    }
    words.push("\"${manager}\"".to_owned());
    words.extend(container.flags.iter().map(|flag| word(flag)));
    format!("[{}]", words.join(", "))
}
