//! `listen`: sockets that woodward opens and keeps, and gives to a service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::diagnostic::Report;
use super::expand::Reader;
use super::plan::{Plan, Probe, WorkerPlan};
use super::settings::{Settings, Typed};
use super::source::Span;
use super::value::Table;
use super::variables::Mode;

/// Sockets of one service at most: a start takes sixteen descriptors with it, a few of them for other things.
pub const MOST: usize = 10;
/// Where a service finds its first one (sd_listen_fds).
pub const FIRST: i32 = 3;

/// One socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// Its name in `LISTEN_FDNAMES`.
    pub name: String,
    /// What and where.
    pub address: Address,
    /// Mode of a unix socket's file.
    pub mode: u32,
    /// Its owner; `None`: woodward.
    pub user: Option<String>,
    /// Its group.
    pub group: Option<String>,
    /// So many connections wait to be accepted.
    pub backlog: i32,
}

/// What kind of socket, and where.
#[derive(Clone, Debug, PartialEq)]
pub enum Address {
    /// TCP, `host:port`.
    Stream(String),
    /// UDP, `host:port`.
    Datagram(String),
    /// A stream socket of the file system.
    Unix(PathBuf),
}

impl Listen {
    /// What the name of a unix socket begins with.
    pub const UNIX: &str = "unix ";

    /// What it is known by: the kind and the address, in one spelling.
    pub fn key(&self) -> String {
        let one = |text: &str| Address::parse(text).map_or_else(|_| text.to_owned(), |a| a.to_string());
        match &self.address {
            Address::Stream(text) => format!("stream {}", one(text)),
            Address::Datagram(text) => format!("datagram {}", one(text)),
            Address::Unix(file) => format!("{}{}", Self::UNIX, file.display()),
        }
    }
}

impl Address {
    /// `host:port` as an address: the host is an address, `localhost`, or `*` or nothing for all.
    pub fn parse(text: &str) -> Result<SocketAddr, String> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("\"{text}\" is no host:port"))?;
        let number = port.parse::<u16>().ok().filter(|port| *port > 0);
        let port = number.ok_or_else(|| format!("\"{port}\" is no port"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let ip: IpAddr = match (host, bare) {
            ("" | "*", _) => Ipv6Addr::UNSPECIFIED.into(),
            ("localhost", _) => Ipv4Addr::LOCALHOST.into(),
            (_, Some(bare)) => {
                bare.parse::<Ipv6Addr>().map_err(|_| format!("\"{host}\" is no address"))?.into()
            }
            _ => host.parse::<Ipv4Addr>().map_err(|_| format!("\"{host}\" is no address"))?.into(),
        };
        Ok(SocketAddr::new(ip, port))
    }
}

/// A socket somebody takes.
pub struct Taken {
    key: String,
    address: Option<(bool, SocketAddr)>,
    path: String,
    span: Span,
}

/// Whether one of the sockets is lazy: then its service is.
pub fn is_lazy(settings: &Settings) -> bool {
    settings.tables("listen").iter().any(|table| table.boolean("lazy"))
}

/// The sockets of a worker.
pub fn listen(settings: &Settings, id: &str, at: impl Fn(&str) -> PathBuf) -> Vec<Listen> {
    let one = |table: &Settings| {
        let address = None
            .or(table.text("stream").map(Address::Stream))
            .or(table.text("datagram").map(Address::Datagram))
            .or(table.text("unix").map(|file| Address::Unix(at(&file))))?;
        Some(Listen {
            name: table.text("name").unwrap_or_else(|| id.to_owned()),
            address,
            mode: if let Some(Typed::Mask(mode)) = table.get("mode") { *mode } else { 0o666 },
            user: table.text("user"),
            group: table.text("group"),
            backlog: table.integer("backlog").unwrap_or(4096),
        })
    };
    settings.tables("listen").iter().filter_map(one).collect()
}

/// What holds within one of them.
pub fn shape(report: &mut Report, written: &Table) {
    let kinds = ["stream", "datagram", "unix"];
    let mut found = written.entries.iter().filter(|entry| kinds.contains(&entry.key.as_str()));
    match (found.next(), found.next()) {
        (None, _) => {
            let message = "`listen` needs one of `stream`, `datagram`, `unix`";
            report.error(written.span, message);
        }
        (Some(first), Some(second)) => {
            let message = format!("one socket is one address, and there is `{}` already", first.key);
            report.error(second.key_span, message).hint("write another { } into the list");
        }
        _ => {}
    }
    for key in ["mode", "user", "group"] {
        if let Some(entry) = written.entry(key).filter(|_| !written.has("unix")) {
            report.error(entry.key_span, format!("`{key}` means nothing without `unix`"));
        }
    }
    if let Some(entry) = written.entry("backlog").filter(|_| written.has("datagram")) {
        report.error(entry.key_span, "`backlog` means nothing for `datagram`");
    }
}

/// What holds across the keys of a worker. `own` is what stands at the worker itself.
pub fn worker(reader: &mut Reader, own: &Table, settings: &Settings, plan: &WorkerPlan, mode: Mode) {
    let Some(span) = settings.span("listen") else { return };
    let path = &plan.path;
    let tables = settings.tables("listen");
    let report = reader.report();
    if plan.listen.len() > MOST {
        report.error(span, format!("{path} has {} sockets, and {MOST} is the most", plan.listen.len()));
    }
    for (n, listen) in plan.listen.iter().enumerate() {
        let span = tables.get(n).and_then(|table| table.span("name")).unwrap_or(span);
        if listen.name.is_empty() || listen.name.contains([':', '\0', '\n']) {
            let message = format!("{path}: \"{}\" cannot be the name of a socket", listen.name);
            report.error(span, message).hint("LISTEN_FDNAMES separates names by colons");
        }
        if plan.listen[..n].iter().any(|other| other.name == listen.name) {
            let message = format!("{path}: two sockets are called \"{}\"", listen.name);
            report.error(span, message).hint("each needs a `name` of its own");
        }
    }
    let last = FIRST + plan.listen.len() as i32 - 1;
    if let Some(Probe::Fd(fd)) = plan.ready
        && (FIRST..=last).contains(&fd)
    {
        let at = settings.table("ready").and_then(|ready| ready.span("fd")).unwrap_or(span);
        let message = format!("{path}: descriptor {fd} is taken: its sockets are {FIRST} to {last}");
        report.error(at, message).hint(format!("write fd = {}", last + 1));
    }
    if plan.lazy {
        for key in ["ready", "after_ready"] {
            if let Some(entry) = own.entry(key) {
                let message = format!(
                    "{path}: `{key}` does not apply to a lazy service: its socket is ready before it"
                );
                report.error(entry.key_span, message);
            }
        }
        if plan.oneshot {
            report.error(span, format!("{path}: a one-shot cannot be lazy: it runs when it is its turn"));
        }
    }
    if mode == Mode::Template {
        return;
    }
    for (listen, table) in plan.listen.iter().zip(tables) {
        let (text, stream, key) = match &listen.address {
            Address::Stream(text) => (text, true, "stream"),
            Address::Datagram(text) => (text, false, "datagram"),
            Address::Unix(file) => {
                let span = table.span("unix").unwrap_or(span);
                if file.as_os_str().len() > 107 {
                    let message = format!("{path}: a unix socket's path has 107 bytes at most");
                    reader.report().error(span, message);
                }
                let taken = Taken { key: listen.key(), address: None, path: path.clone(), span };
                reader.sockets.push(taken);
                continue;
            }
        };
        let span = table.span(key).unwrap_or(span);
        match Address::parse(text) {
            Ok(address) => {
                let address = Some((stream, address));
                reader.sockets.push(Taken { key: listen.key(), address, path: path.clone(), span });
            }
            Err(why) => {
                let allowed = "127.0.0.1:80, [::1]:80, localhost:80, *:80";
                reader.report().error(span, format!("`{key}`: {why}")).allowed(allowed);
            }
        }
    }
}

/// One port or one file in two sockets.
pub fn twice(reader: &mut Reader) {
    let taken = std::mem::take(&mut reader.sockets);
    for (n, second) in taken.iter().enumerate() {
        if let Some(first) = taken[..n].iter().find(|first| clash(first, second)) {
            let line = reader.report().sources.place(first.span).line;
            let (path, key) = (&second.path, &second.key);
            let message = format!("{path} listens on {key}, and so does {} in line {line}", first.path);
            reader.report().error(second.span, message);
        }
    }
}

fn clash(a: &Taken, b: &Taken) -> bool {
    match (a.address, b.address) {
        (Some((a_stream, a)), Some((b_stream, b))) => {
            let all = a.ip().is_unspecified() || b.ip().is_unspecified();
            a_stream == b_stream && a.port() == b.port() && (all || a.ip() == b.ip())
        }
        (None, None) => a.key == b.key,
        _ => false,
    }
}

/// Two services of different trees on one address: the first such address with both paths.
pub fn shared<'p>(a: &'p Plan, b: &'p Plan) -> Option<(String, &'p str, &'p str)> {
    fn all(plan: &Plan) -> impl Iterator<Item = (String, &str)> {
        plan.workers.iter().flat_map(|w| w.listen.iter().map(|listen| (listen.key(), w.path.as_str())))
    }
    all(b).find_map(|(key, second)| {
        let (_, first) = all(a).find(|(other, _)| *other == key)?;
        Some((key, first, second))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_and_nothing_that_has_to_be_looked_up() {
        let shown = |text| Address::parse(text).map(|address| address.to_string());
        assert_eq!(shown("127.0.0.1:80").as_deref(), Ok("127.0.0.1:80"));
        assert_eq!(shown("localhost:80").as_deref(), Ok("127.0.0.1:80"));
        assert_eq!(shown("[::1]:80").as_deref(), Ok("[::1]:80"));
        assert_eq!(shown("*:80").as_deref(), Ok("[::]:80"));
        assert_eq!(shown(":80").as_deref(), Ok("[::]:80"));
        for text in ["80", "gas01:80", "127.0.0.1:0", "127.0.0.1:x", "::1:80", "127.0.0.1:65536"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
