//! Socket units for `listen`: systemd opens the sockets and keeps them while the service restarts, as woodward's keeper
//! does.
//!
//! A socket has a unit of its own, for a unit has one name for all its descriptors (`FileDescriptorName=`) and one mode
//! for all its files. It belongs to the root: it is open from the start of the tree to its stop, and no restart within
//! closes it. A lazy service is not wanted by its supervisor, its sockets are; they start it.

use woodward_engine::spec;

use super::{Deviates, Deviation, Options, Scope, Section, Unit, escape};
use crate::tree::{Address, Listen, WorkerPlan};

/// The name of the unit of a socket, beside that of its service.
pub fn name(service: &str, plan: &WorkerPlan, listen: &Listen) -> String {
    let (stem, instance) = match service.strip_suffix(".service").unwrap_or(service).split_once('@') {
        Some((stem, instance)) => (stem, format!("@{instance}")),
        None => (service.strip_suffix(".service").unwrap_or(service), String::new()),
    };
    if plan.listen.len() == 1 {
        format!("{stem}{instance}.socket")
    } else {
        format!("{stem}-{}{instance}.socket", written(&listen.name))
    }
}

/// Adds what a service with sockets needs to its unit; the units of its sockets. `root` is the unit of the root.
pub fn units(
    unit: &mut Unit,
    plan: &WorkerPlan,
    root: &str,
    options: &Options,
    deviations: &mut Vec<Deviates>,
) -> Vec<Unit> {
    let mut deviates = |deviation, text: &str| {
        deviations.push(Deviates { deviation, path: plan.path.clone(), text: text.to_owned() });
    };
    if plan.listen.len() > 1 {
        deviates(Deviation::SocketOrder, "find them by LISTEN_FDNAMES");
    }
    if !plan.listen.is_empty() && !plan.lazy {
        deviates(Deviation::SocketStarts, "while it is stopped, who connects starts it");
    }
    let mut sockets = Vec::new();
    for listen in &plan.listen {
        let name = name(&unit.name, plan, listen);
        unit.set(Section::Unit, "Requires", &name, "listen", "It does not run without its sockets.");
        unit.set(Section::Unit, "After", &name, "listen", "Sockets are there before it.");
        unit.set(Section::Service, "Sockets", &name, "listen", "The sockets it is given.");
        sockets.push(socket(name, unit, plan, listen, root, options, &mut deviates));
    }
    sockets
}

/// Sockets of a lazy service, wanted by the anchor of its supervisor in its place.
pub fn want(anchor: &mut Unit, sockets: &[Unit]) {
    for socket in sockets {
        anchor.set(
            Section::Unit,
            "Wants",
            &socket.name,
            "listen.lazy",
            "Its sockets wait in the place of a lazy service.",
        );
    }
}

/// A lazy service that has ended calmly waits for somebody again: only a crash restarts it.
pub fn restarted(plan: &WorkerPlan, child: &spec::Child) -> spec::Child {
    let mut child = child.clone();
    if plan.lazy && child.restart == spec::Restart::Permanent {
        child.restart = spec::Restart::Transient;
    }
    child
}

fn socket(
    name: String,
    service: &Unit,
    plan: &WorkerPlan,
    listen: &Listen,
    root: &str,
    options: &Options,
    deviates: &mut impl FnMut(Deviation, &str),
) -> Unit {
    let mut unit = Unit::new(name, plan.path.clone());
    let text = escape::text(&format!("{}: socket {}", plan.path, listen.name));
    unit.set(Section::Unit, "Description", text, "listen.name", "What people read.");
    unit.set(
        Section::Unit,
        "PartOf",
        root,
        "listen",
        "It closes with the tree, and no restart within closes it.",
    );
    let mut set = |key, value: String, tree_key, rule| unit.set(Section::Socket, key, value, tree_key, rule);
    match &listen.address {
        Address::Stream(text) => {
            set("ListenStream", address(text), "listen.stream", "TCP.");
            set("BindIPv6Only", "both".to_owned(), "listen.stream", "`*` is IPv4 too.");
        }
        Address::Datagram(text) => {
            set("ListenDatagram", address(text), "listen.datagram", "UDP.");
            set("BindIPv6Only", "both".to_owned(), "listen.datagram", "`*` is IPv4 too.");
        }
        Address::Unix(file) => {
            let file = escape::specifiers(&file.display().to_string());
            set("ListenStream", file, "listen.unix", "A socket of the file system; its directory is made.");
            set("SocketMode", format!("{:04o}", listen.mode), "listen.mode", "Who may connect.");
            set("RemoveOnStop", "yes".to_owned(), "listen.unix", "The file goes with the socket.");
            let owners =
                [("SocketUser", "listen.user", &listen.user), ("SocketGroup", "listen.group", &listen.group)];
            for (key, tree_key, owner) in owners {
                match owner {
                    Some(_) if options.scope == Scope::User => {
                        deviates(Deviation::UserManager, &format!("`{tree_key}` is left out"));
                    }
                    Some(owner) => set(key, escape::specifiers(owner), tree_key, "Whose file it is."),
                    None => {}
                }
            }
        }
    }
    if !matches!(listen.address, Address::Datagram(_)) {
        set(
            "Backlog",
            listen.backlog.to_string(),
            "listen.backlog",
            "So many connections wait to be accepted.",
        );
    }
    set("FileDescriptorName", escape::specifiers(&listen.name), "listen.name", "Its name in LISTEN_FDNAMES.");
    set("Service", service.name.clone(), "listen", "Whom it belongs to.");
    let rule = "A service that fails at each connection is a matter of restart rules, not of the socket.";
    set("TriggerLimitBurst", "0".to_owned(), "listen.lazy", rule);
    unit
}

/// In one spelling: `[::]` is every address there is.
fn address(text: &str) -> String {
    Address::parse(text).map_or_else(|_| text.to_owned(), |address| address.to_string())
}

/// A name of a socket as a part of the name of a unit.
fn written(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(name: &str, address: Address) -> Listen {
        Listen { name: name.to_owned(), address, mode: 0o660, user: None, group: None, backlog: 5 }
    }

    #[test]
    fn each_socket_has_a_unit_and_the_service_names_them_all() {
        let mut unit = Unit::new("t-a.service", "t/a");
        let web = listen("web", Address::Stream("*:80".to_owned()));
        let plan = WorkerPlan {
            path: "t/a".to_owned(),
            listen: vec![web.clone(), listen("c t", Address::Unix("/run/c".into()))],
            ..WorkerPlan::default()
        };
        let mut deviations = Vec::new();
        let options = crate::units::tests::options();
        let sockets = units(&mut unit, &plan, "t.service", &options, &mut deviations);
        let names: Vec<&str> = sockets.iter().map(|socket| socket.name.as_str()).collect();
        assert_eq!(names, ["t-a-web.socket", "t-a-c\\x20t.socket"]);
        assert_eq!(unit.values(Section::Service, "Sockets").collect::<Vec<_>>(), names);
        assert_eq!(sockets[0].values(Section::Socket, "ListenStream").collect::<Vec<_>>(), ["[::]:80"]);
        let named: Vec<Deviation> = deviations.iter().map(|deviates| deviates.deviation).collect();
        assert_eq!(named, [Deviation::SocketOrder, Deviation::SocketStarts]);
        let alone = WorkerPlan { listen: vec![web.clone()], ..plan };
        assert_eq!(name("t-a@.service", &alone, &web), "t-a@.socket");
    }
}
