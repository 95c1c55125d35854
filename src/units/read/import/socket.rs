//! Sockets of a service: `listen`.

use super::super::scene::Scene;
use super::super::values;
use super::Left;
use super::text::string;

/// A socket as keys of `listen`.
pub type Listen = Vec<(&'static str, String)>;

/// What a service is given by its socket units; what of them is left; and which they are.
pub fn listen(scene: &Scene, at: usize) -> (Vec<Listen>, Vec<Left>, Vec<usize>) {
    let own = scene.name(at);
    let stem = own.strip_suffix("service").unwrap_or(own);
    let named: Vec<&str> =
        scene.said(at, &["Wants", "Requires", "BindsTo", "After"]).map(|e| &*e.name).collect();
    let sockets = (0..scene.units.len()).filter(|socket| {
        let loaded = &scene.units[*socket].loaded;
        let belongs = loaded.name.kind == "socket"
            && loaded.text(
                "Socket",
                "Service",
                &format!("{}service", loaded.name.full.trim_end_matches("socket")),
            ) == own;
        belongs && !loaded.masked && (scene.units[*socket].asked || named.contains(&&*loaded.name.full))
    });
    let sockets: Vec<usize> = sockets.collect();
    let (mut listen, mut left) = (Vec::new(), Vec::new());
    for socket in &sockets {
        let loaded = &scene.units[*socket].loaded;
        let mut common: Listen = Vec::new();
        let name = loaded.text("Socket", "FileDescriptorName", &loaded.name.full);
        if name.trim_end_matches(".socket") != stem.trim_end_matches('.') {
            common.push(("name", string(&name)));
        }
        let unix = [("SocketMode", "mode"), ("SocketUser", "user"), ("SocketGroup", "group")];
        let mut unix_keys: Listen = Vec::new();
        for assignment in &loaded.assignments {
            let value = loaded.name.expand(&assignment.value).0;
            let key = &*assignment.key;
            if let Some((_, ours)) = unix.iter().find(|(theirs, _)| *theirs == key) {
                unix_keys.retain(|(other, _)| other != ours);
                unix_keys.push((ours, string(&value)));
                continue;
            }
            match (&*assignment.section, key) {
                ("Socket", "Backlog") if value.parse::<u16>().is_ok() => common.push(("backlog", value)),
                ("Socket", "FileDescriptorName" | "Service") | ("Unit", "Description" | "Documentation") => {}
                ("Socket", "ListenStream" | "ListenDatagram") if !value.is_empty() => {}
                ("Socket", "Accept") if values::boolean(&value) == Some(false) => {}
                (section, _) if section.starts_with("X-") => {}
                ("Unit", key) if super::TOGETHER.contains(&key) => {}
                ("Install", _) => {}
                _ if value.is_empty() => {}
                _ => left.push(Left::new(&loaded.name.full, assignment, "no key in `listen`")),
            }
        }
        for (key, ours) in [("ListenStream", "stream"), ("ListenDatagram", "datagram")] {
            for assignment in loaded.many("Socket", key) {
                let value = loaded.name.expand(&assignment.value).0;
                let mut pairs = common.clone();
                if value.starts_with('/') && ours == "stream" {
                    pairs.push(("unix", string(&value)));
                    pairs.extend(unix_keys.clone());
                } else if value.starts_with(['/', '@']) || value.contains('%') {
                    left.push(Left::new(
                        &loaded.name.full,
                        assignment,
                        "a kind of socket that a tree has not",
                    ));
                    continue;
                } else if value.parse::<u16>().is_ok() {
                    pairs.push((ours, string(&format!("*:{value}"))));
                } else {
                    pairs.push((ours, string(&value)));
                }
                listen.push(pairs);
            }
        }
    }
    (listen, left, sockets)
}
