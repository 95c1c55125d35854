//! The gate: nothing of a group leaves the host past the deadline, not even in the instant in which a frozen host wakes up.
//!
//! Two tables of nf_tables, named for this woodward, made in one transaction:
//!
//! ```text
//! table inet woodward-.. {                                         table arp woodward-.. {
//!   set groups     { type cgroupsv2 }                                set addresses { type ipv4_addr }
//!   set open       { type cgroupsv2; flags timeout }                 set open      { type ipv4_addr; flags timeout }
//!   set addresses  { type ipv4_addr }   (addresses6: ipv6_addr)      chain out { type filter hook output priority 0
//!   set open4      { type ipv4_addr; flags timeout }   (open6)         arp saddr ip @addresses
//!   chain out { type filter hook output priority 0; policy accept       arp saddr ip != @open counter drop } }
//!     oif lo accept
//!     socket cgroupv2 level N @groups   socket cgroupv2 level N != @open counter drop
//!     ip saddr @addresses               ip saddr != @open4 counter drop
//!     ip6 saddr @addresses6             ip6 saddr != @open6 counter drop } }
//! ```
//!
//! Who is behind the gate is in the sets without a timeout, for whom it is open in those with one. Opening is one
//! transaction for all of a group: *add, delete, add* of each of its elements, which is right whether or not it is there
//! and gives it the new time. Whether an element has timed out is looked at for each packet, so nobody has to wake up for it.
//!
//! * A socket belongs to the control group of the process that made it. One that a service was given (socket activation)
//!   is ours, not its: what it sends passes unless it comes from one of the group's addresses. So do connections it accepts.
//! * What a service sends from a network namespace of its own does not pass here but is forwarded: it is not stopped.
//! * Loopback, and all that is neither of the group nor from its addresses, is not looked at.
//! * The time is counted like CLOCK_MONOTONIC: it stands still while the machine is suspended or its hypervisor has stopped it.
//! * In a cgroup namespace the level counts from its root: Linux 6.11, and stable kernels since September 2024; before, the
//!   first rule finds nobody there, the others work.

use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::address::octets;
use super::message::{CREATE, Kernel, Message};
use super::{NetError, Renewal, Unit, lasting};

const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;
const APPEND: u16 = 0x800;
const NFPROTO_INET: u8 = 1;
const NFPROTO_ARP: u8 = 3;
/// What a set is of: kind for whoever lists it, and length. As nft numbers them.
const CGROUP: (u32, u32) = (46, 8);
const IPV4: (u32, u32) = (7, 4);
const IPV6: (u32, u32) = (8, 16);
const NFT_SET_TIMEOUT: u32 = 0x10;
const LIST_ELEM: u16 = 1;
const DATA_VALUE: u16 = 1;
/// The register everything goes through.
const REGISTER: u32 = 1;
/// Interface number of loopback in every network namespace.
const LOOPBACK: u32 = 1;

/// One woodward's gate.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    table: String,
    /// How deep the directories of groups are in the hierarchy.
    level: u32,
}

/// A group, as the gate knows it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Number of its control group.
    cgroup: u64,
    addresses: Vec<IpAddr>,
}

impl Member {
    /// The group whose processes are below `directory`, and its addresses.
    pub fn new(directory: &Path, addresses: &[IpAddr]) -> Result<Member, NetError> {
        let found = std::fs::metadata(directory);
        let cgroup = found.map_err(|why| NetError::Gate { what: "put a group behind", why })?.ino();
        Ok(Member { cgroup, addresses: addresses.to_vec() })
    }

    /// Its elements: family of the table, sets of those behind the gate and of those for whom it is open, key.
    fn elements(&self) -> Vec<(u8, &'static str, &'static str, Vec<u8>)> {
        let mut all = vec![(NFPROTO_INET, "groups", "open", self.cgroup.to_ne_bytes().to_vec())];
        for ip in &self.addresses {
            let key = octets(*ip);
            match ip {
                IpAddr::V4(_) => {
                    all.push((NFPROTO_INET, "addresses", "open4", key.clone()));
                    all.push((NFPROTO_ARP, "addresses", "open", key));
                }
                IpAddr::V6(_) => all.push((NFPROTO_INET, "addresses6", "open6", key)),
            }
        }
        all
    }
}

impl Gate {
    /// The gate of this name; nothing is done yet.
    pub fn new(table: String, level: u32) -> Gate {
        Gate { table, level }
    }

    /// Puts it up, in place of one that is there, with these groups behind it and open for so long.
    pub fn raise(&self, members: &[(Member, Duration)]) -> Result<(), NetError> {
        let mut batch = begin();
        for family in [NFPROTO_INET, NFPROTO_ARP] {
            self.table(&mut batch, NEWTABLE, family);
            self.table(&mut batch, DELTABLE, family);
            self.table(&mut batch, NEWTABLE, family);
        }
        self.sets(&mut batch);
        self.chains(&mut batch);
        for (member, _) in members {
            self.behind(&mut batch, NEWSETELEM, member);
        }
        send(end(batch).bytes(), "raise")?;
        for (member, left) in members {
            send(&lasting(&self.renewal(member), *left), "open")?;
        }
        Ok(())
    }

    /// Takes it away, if it is there.
    pub fn remove(&self) -> Result<(), NetError> {
        let mut batch = begin();
        for family in [NFPROTO_INET, NFPROTO_ARP] {
            self.table(&mut batch, NEWTABLE, family);
            self.table(&mut batch, DELTABLE, family);
        }
        send(end(batch).bytes(), "remove")
    }

    /// Puts a group behind it.
    pub fn admit(&self, member: &Member) -> Result<(), NetError> {
        let mut batch = begin();
        self.behind(&mut batch, NEWSETELEM, member);
        send(end(batch).bytes(), "put a group behind")
    }

    /// Takes a group out from behind it.
    pub fn dismiss(&self, member: &Member) -> Result<(), NetError> {
        let mut batch = begin();
        // What is not there cannot be deleted, and a batch is done as a whole.
        self.behind(&mut batch, NEWSETELEM, member);
        self.behind(&mut batch, DELSETELEM, member);
        self.closed(&mut batch, member);
        send(end(batch).bytes(), "take a group out from behind")
    }

    /// Opens it for a group, for the lifetime that is put into it; the end of it closes it.
    pub fn renewal(&self, member: &Member) -> Renewal {
        let mut open = begin();
        for (family, _, set, key) in member.elements() {
            self.element(&mut open, NEWSETELEM, family, set, &key, true);
            self.element(&mut open, DELSETELEM, family, set, &key, false);
            self.element(&mut open, NEWSETELEM, family, set, &key, true);
        }
        let mut close = begin();
        self.closed(&mut close, member);
        end(open).renewal(libc::NETLINK_NETFILTER, end(close))
    }

    fn behind(&self, batch: &mut Message, kind: u16, member: &Member) {
        for (family, set, _, key) in member.elements() {
            self.element(batch, kind, family, set, &key, false);
        }
    }

    fn closed(&self, batch: &mut Message, member: &Member) {
        for (family, _, set, key) in member.elements() {
            self.element(batch, NEWSETELEM, family, set, &key, false);
            self.element(batch, DELSETELEM, family, set, &key, false);
        }
    }

    fn table(&self, batch: &mut Message, kind: u16, family: u8) {
        const TABLE_NAME: u16 = 1;
        then(batch, kind, family).text(TABLE_NAME, &self.table);
    }

    fn sets(&self, batch: &mut Message) {
        const TABLE: u16 = 1;
        const NAME: u16 = 2;
        const FLAGS: u16 = 3;
        const KEY_TYPE: u16 = 4;
        const KEY_LEN: u16 = 5;
        const ID: u16 = 10;
        const USERDATA: u16 = 13;
        let inet = [("groups", "open", CGROUP), ("addresses", "open4", IPV4), ("addresses6", "open6", IPV6)];
        let all = inet.map(|set| (NFPROTO_INET, set)).into_iter();
        let mut id = 0;
        for (family, (behind, open, (kind, length))) in
            all.chain([(NFPROTO_ARP, ("addresses", "open", IPV4))])
        {
            for (name, flags) in [(behind, 0), (open, NFT_SET_TIMEOUT)] {
                id += 1;
                let set = then(batch, NEWSET, family);
                set.text(TABLE, &self.table).text(NAME, name).number(FLAGS, flags);
                set.number(KEY_TYPE, kind).number(KEY_LEN, length).number(ID, id);
                // For whoever lists it: in which order the bytes of a key are (1 the machine's, 2 the network's).
                let order = if kind == CGROUP.0 { 1 } else { 2 };
                set.add(USERDATA, &[0, 4, order, 0, 0, 0]);
            }
        }
    }

    fn chains(&self, batch: &mut Message) {
        const TABLE: u16 = 1;
        const NAME: u16 = 3;
        const HOOK: u16 = 4;
        const POLICY: u16 = 5;
        const TYPE: u16 = 7;
        const HOOKNUM: u16 = 1;
        const PRIORITY: u16 = 2;
        const NF_INET_LOCAL_OUT: u32 = 3;
        const NF_ARP_OUT: u32 = 1;
        for (family, hook) in [(NFPROTO_INET, NF_INET_LOCAL_OUT), (NFPROTO_ARP, NF_ARP_OUT)] {
            let chain = then(batch, NEWCHAIN, family);
            chain.text(TABLE, &self.table).text(NAME, "out").text(TYPE, "filter");
            chain.number(POLICY, libc::NF_ACCEPT as u32);
            chain.nest(HOOK, |hooks| _ = hooks.number(HOOKNUM, hook).number(PRIORITY, 0));
        }
        let level = self.level;
        self.rule(batch, NFPROTO_INET, |rule| {
            meta(rule, META_OIF);
            compare(rule, &LOOPBACK.to_ne_bytes());
            verdict(rule, libc::NF_ACCEPT);
        });
        self.rule(batch, NFPROTO_INET, |rule| {
            drop_unless_open(rule, "groups", "open", |rule| socket_group(rule, level));
        });
        for (protocol, offset, behind, open, length) in [
            (libc::NFPROTO_IPV4, 12, "addresses", "open4", 4),
            (libc::NFPROTO_IPV6, 8, "addresses6", "open6", 16),
        ] {
            self.rule(batch, NFPROTO_INET, |rule| {
                meta(rule, META_NFPROTO);
                compare(rule, &[protocol as u8]);
                drop_unless_open(rule, behind, open, |rule| header(rule, offset, length));
            });
        }
        self.rule(batch, NFPROTO_ARP, |rule| {
            drop_unless_open(rule, "addresses", "open", |rule| header(rule, 14, 4));
        });
    }

    fn rule(&self, batch: &mut Message, family: u8, expressions: impl FnOnce(&mut Message)) {
        const TABLE: u16 = 1;
        const CHAIN: u16 = 2;
        const EXPRESSIONS: u16 = 4;
        let rule = then(batch, NEWRULE, family);
        rule.text(TABLE, &self.table).text(CHAIN, "out").nest(EXPRESSIONS, expressions);
    }

    fn element(&self, batch: &mut Message, kind: u16, family: u8, set: &str, key: &[u8], timed: bool) {
        const TABLE: u16 = 1;
        const SET: u16 = 2;
        const ELEMENTS: u16 = 3;
        const KEY: u16 = 1;
        const TIMEOUT: u16 = 4;
        let message = then(batch, kind, family);
        message.text(TABLE, &self.table).text(SET, set).nest(ELEMENTS, |elements| {
            elements.nest(LIST_ELEM, |element| {
                element.nest(KEY, |data| _ = data.add(DATA_VALUE, key));
                if timed {
                    element.add(TIMEOUT, &[0; 8]).lifetime(8, Unit::Milliseconds);
                }
            });
        });
    }
}

const META_OIF: u32 = 5;
const META_NFPROTO: u32 = 15;

/// One expression of a rule.
fn expression(rule: &mut Message, name: &str, data: impl FnOnce(&mut Message)) {
    const NAME: u16 = 1;
    const DATA: u16 = 2;
    rule.nest(LIST_ELEM, |expression| _ = expression.text(NAME, name).nest(DATA, data));
}

fn meta(rule: &mut Message, key: u32) {
    const DREG: u16 = 1;
    const KEY: u16 = 2;
    expression(rule, "meta", |meta| _ = meta.number(KEY, key).number(DREG, REGISTER));
}

fn socket_group(rule: &mut Message, level: u32) {
    const KEY: u16 = 1;
    const DREG: u16 = 2;
    const LEVEL: u16 = 3;
    const NFT_SOCKET_CGROUPV2: u32 = 3;
    expression(rule, "socket", |socket| {
        socket.number(KEY, NFT_SOCKET_CGROUPV2).number(DREG, REGISTER).number(LEVEL, level);
    });
}

/// Bytes of the network header.
fn header(rule: &mut Message, offset: u32, length: u32) {
    const DREG: u16 = 1;
    const BASE: u16 = 2;
    const OFFSET: u16 = 3;
    const LEN: u16 = 4;
    const NETWORK_HEADER: u32 = 1;
    expression(rule, "payload", |payload| {
        payload
            .number(DREG, REGISTER)
            .number(BASE, NETWORK_HEADER)
            .number(OFFSET, offset)
            .number(LEN, length);
    });
}

fn compare(rule: &mut Message, value: &[u8]) {
    const SREG: u16 = 1;
    const OP: u16 = 2;
    const DATA: u16 = 3;
    const EQUAL: u32 = 0;
    expression(rule, "cmp", |cmp| {
        cmp.number(SREG, REGISTER).number(OP, EQUAL).nest(DATA, |data| _ = data.add(DATA_VALUE, value));
    });
}

/// What `load` finds is in the set `behind` and not in `open`: counted and dropped.
fn drop_unless_open(rule: &mut Message, behind: &str, open: &str, load: impl Fn(&mut Message)) {
    const SET: u16 = 1;
    const SREG: u16 = 2;
    const FLAGS: u16 = 5;
    const INVERTED: u32 = 1;
    load(rule);
    expression(rule, "lookup", |lookup| _ = lookup.number(SREG, REGISTER).text(SET, behind));
    load(rule);
    expression(rule, "lookup", |lookup| {
        _ = lookup.number(SREG, REGISTER).text(SET, open).number(FLAGS, INVERTED)
    });
    expression(rule, "counter", |_| ());
    verdict(rule, libc::NF_DROP);
}

fn verdict(rule: &mut Message, code: libc::c_int) {
    const DREG: u16 = 1;
    const DATA: u16 = 2;
    const DATA_VERDICT: u16 = 2;
    const CODE: u16 = 1;
    const VERDICT_REGISTER: u32 = 0;
    expression(rule, "immediate", |immediate| {
        immediate.number(DREG, VERDICT_REGISTER).nest(DATA, |data| {
            data.nest(DATA_VERDICT, |verdict| _ = verdict.number(CODE, code as u32));
        });
    });
}

/// The transaction that the messages behind it are part of.
fn begin() -> Message {
    Message::new(NFNL_MSG_BATCH_BEGIN, 0, &fixed(0, NFNL_SUBSYS_NFTABLES))
}

fn end(mut batch: Message) -> Message {
    batch.then(NFNL_MSG_BATCH_END, 0, &fixed(0, NFNL_SUBSYS_NFTABLES));
    batch
}

fn then(batch: &mut Message, kind: u16, family: u8) -> &mut Message {
    let flags = match kind {
        NEWRULE => CREATE | APPEND,
        NEWTABLE | NEWCHAIN | NEWSET | NEWSETELEM => CREATE,
        _ => 0,
    };
    batch.then(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, &fixed(family, 0))
}

fn fixed(family: u8, subsystem: u16) -> [u8; 4] {
    let [high, low] = subsystem.to_be_bytes();
    [family, 0, high, low]
}

fn send(batch: &[u8], what: &'static str) -> Result<(), NetError> {
    let sent = Kernel::netfilter().and_then(|kernel| kernel.ask(batch));
    sent.map(|_| ()).map_err(|why: io::Error| NetError::Gate { what, why })
}
