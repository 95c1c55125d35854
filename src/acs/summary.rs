//! What an import read, where it went, and what it left alone.

use std::fmt::Write;

use super::model::Deployment;
use super::place::Placement;

/// Components beyond so many are counted and not named.
const SHOWN: usize = 30;
/// Longest line.
const WIDTH: usize = 100;

/// The report, without the warnings.
pub(super) fn text(deployment: &Deployment, placement: &Placement) -> String {
    let mut text = String::new();
    let wildcards = deployment.components.iter().filter(|component| component.is_wildcard()).count();
    let named = deployment.components.len() - wildcards;
    let autostart: Vec<&str> = deployment
        .components
        .iter()
        .filter(|component| component.autostart)
        .map(|component| component.name.as_str())
        .collect();
    let _ = writeln!(
        text,
        "read: {}, {}, {}",
        several(deployment.containers.len(), "container"),
        several(named, "component"),
        several(wildcards, "wildcard")
    );
    let more = format!("and {} more", autostart.len().saturating_sub(SHOWN));
    let shown = autostart.iter().take(SHOWN).copied();
    let rest = (autostart.len() > SHOWN).then_some(&*more);
    list(&mut text, "autostart: ", &shown.chain(rest).collect::<Vec<_>>());
    let startup: Vec<&str> = deployment.manager.startup.iter().map(String::as_str).collect();
    list(&mut text, "started by the manager: ", &startup);
    let channels: Vec<String> =
        placement.channels.iter().map(|name| format!("{name}EventChannelFactory")).collect();
    list(&mut text, "more notification services: ", &channels.iter().map(String::as_str).collect::<Vec<_>>());
    let seconds = deployment.manager.ping.as_secs_f64();
    let _ = writeln!(text, "instance {}, containers are asked every {seconds} s", placement.instance);
    for (host, containers) in &placement.hosts {
        let demand = containers.iter().filter(|container| container.on_demand).count();
        let services = if *host == placement.manager { "all services, " } else { "" };
        let demand =
            if demand > 0 { format!(", {demand} of them on demand (not planned)") } else { String::new() };
        let _ = writeln!(text, "{host}: {services}{}{demand}", several(containers.len(), "container"));
    }
    let own: Vec<String> = deployment.left_to_acs.iter().map(|(what, n)| format!("{what} ({n})")).collect();
    list(&mut text, "left to ACS: ", &own.iter().map(String::as_str).collect::<Vec<_>>());
    let unknown: Vec<String> =
        deployment.unknown.iter().map(|(what, n)| format!("MACI/{what} ({n})")).collect();
    list(&mut text, "unknown, not read: ", &unknown.iter().map(String::as_str).collect::<Vec<_>>());
    list(
        &mut text,
        "no record, not read: ",
        &deployment.strays.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    text
}

fn several(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A title and a list, broken at the width.
fn list(text: &mut String, title: &str, items: &[&str]) {
    if items.is_empty() {
        return;
    }
    let mut line = title.to_owned();
    for (at, item) in items.iter().enumerate() {
        let last = at + 1 == items.len();
        if at > 0 && line.len() + item.len() > WIDTH {
            let _ = writeln!(text, "{}", line.trim_end());
            line = "  ".to_owned();
        }
        line += item;
        line += if last { "" } else { ", " };
    }
    let _ = writeln!(text, "{line}");
}
