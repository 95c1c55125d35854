//! Keys and values as a store writes them: `/woodward/CLUSTER/node/h1/beat`, and JSON.
//!
//! Whoever reads tolerates what a newer woodward adds. What cannot be read at all has an error in words, for the caller to
//! tell, and is no reason to fail: anybody who may write to the store may write nonsense.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use woodward_engine::cluster::register::{Avoid, Member, Order, Owner, Phase, Probe, State, Why, Wish};
use woodward_engine::cluster::{Epoch, Key, Name, Term, Timing, Value};

/// Where the keys of one cluster begin: several share a store without seeing each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

/// Why something that stands in the store is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {key} in the store: {why}")]
pub struct Nonsense {
    /// Its key, as it stands there.
    pub key: String,
    /// What is wrong.
    pub why: String,
}

impl Prefix {
    /// The keys of the cluster of this name.
    pub fn of(cluster: &str) -> Prefix {
        Prefix(format!("/woodward/{cluster}/"))
    }

    /// First of all its keys.
    pub fn first(&self) -> &str {
        &self.0
    }

    /// The first key behind all of them.
    pub fn behind(&self) -> String {
        format!("{}0", &self.0[..self.0.len() - 1])
    }

    /// A key with its prefix. Names of nodes and groups have no slash.
    pub fn key(&self, key: &Key) -> String {
        let prefix = &self.0;
        match key {
            Key::Epoch(node) => format!("{prefix}node/{node}/epoch"),
            Key::Beat(node) => format!("{prefix}node/{node}/beat"),
            Key::Drained(node) => format!("{prefix}node/{node}/drained"),
            Key::Owner(group) => format!("{prefix}group/{group}/owner"),
            Key::State(group) => format!("{prefix}group/{group}/state"),
            Key::Avoid(group, node) => format!("{prefix}group/{group}/avoid/{node}"),
            Key::Move(group) => format!("{prefix}group/{group}/move"),
            Key::Probe(group) => format!("{prefix}group/{group}/probe"),
            Key::Maintenance => format!("{prefix}maintenance"),
        }
    }

    /// What key that is; `None`: none of ours.
    pub fn read_key(&self, key: &str) -> Option<Key> {
        let words: Vec<&str> = key.strip_prefix(&self.0)?.split('/').collect();
        if words.iter().any(|word| word.is_empty()) {
            return None;
        }
        Some(match words[..] {
            ["node", node, "epoch"] => Key::Epoch(node.into()),
            ["node", node, "beat"] => Key::Beat(node.into()),
            ["node", node, "drained"] => Key::Drained(node.into()),
            ["group", group, "owner"] => Key::Owner(group.into()),
            ["group", group, "state"] => Key::State(group.into()),
            ["group", group, "avoid", node] => Key::Avoid(group.into(), node.into()),
            ["group", group, "move"] => Key::Move(group.into()),
            ["group", group, "probe"] => Key::Probe(group.into()),
            ["maintenance"] => Key::Maintenance,
            _ => return None,
        })
    }

    /// Key and value as they stand in the store.
    pub fn read(&self, key: &[u8], value: &[u8]) -> Result<(Key, Value), Nonsense> {
        let text = String::from_utf8_lossy(key);
        let nonsense = |why: String| Nonsense { key: shortened(&text), why };
        let key = self.read_key(&text).ok_or_else(|| nonsense("no such key is known".to_owned()))?;
        let value = read_value(&key, value).map_err(nonsense)?;
        Ok((key, value))
    }
}

/// A value as it is written.
pub fn value(value: &Value) -> String {
    let written = match value {
        Value::Epoch(member) => serde_json::to_string(&MemberWords::from(member)),
        Value::Beat(beat) => serde_json::to_string(beat),
        Value::Owner(owner) => serde_json::to_string(&OwnerWords::from(owner)),
        Value::State(state) => serde_json::to_string(&StateWords::from(state)),
        Value::Avoid(avoid) => {
            serde_json::to_string(&AvoidWords { why: avoid.why.clone(), since: avoid.since })
        }
        Value::Probe(probe) => serde_json::to_string(&ProbeWords::from(probe)),
        Value::Move(wish) => serde_json::to_string(&WishWords::from(wish)),
        Value::Order(order) => serde_json::to_string(&OrderWords::from(order)),
    };
    // Plain numbers, texts and lists of them: nothing of it can fail to be written.
    written.unwrap_or_default()
}

/// What stands under `key`.
fn read_value(key: &Key, value: &[u8]) -> Result<Value, String> {
    fn words<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
        serde_json::from_slice(value).map_err(|error| error.to_string())
    }
    Ok(match key {
        Key::Epoch(_) => Value::Epoch(words::<MemberWords>(value)?.into()),
        Key::Beat(_) => Value::Beat(words(value)?),
        Key::Owner(_) => Value::Owner(words::<OwnerWords>(value)?.into()),
        Key::State(_) => Value::State(words::<StateWords>(value)?.into()),
        Key::Avoid(..) => {
            let AvoidWords { why, since } = words(value)?;
            Value::Avoid(Avoid { why, since })
        }
        Key::Probe(_) => Value::Probe(words::<ProbeWords>(value)?.into()),
        Key::Move(_) => Value::Move(words::<WishWords>(value)?.into()),
        Key::Drained(_) | Key::Maintenance => Value::Order(words::<OrderWords>(value)?.into()),
    })
}

/// At most so much of what a stranger wrote is shown.
fn shortened(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

#[derive(Serialize, Deserialize)]
struct MemberWords {
    term: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fenced: Option<String>,
    /// Milliseconds, each.
    beat: u64,
    hold: u64,
    wait: u64,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    apart: Vec<(String, String)>,
    #[serde(default)]
    since: u64,
}

#[derive(Serialize, Deserialize)]
struct OwnerWords {
    #[serde(default)]
    node: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    why: WhyWords,
    by: String,
    #[serde(default)]
    since: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
enum WhyWords {
    First,
    Dead {
        silent: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fenced: Option<bool>,
    },
    Rejoined,
    GaveUp {
        words: String,
    },
    Late,
    Moved(OrderWords),
    Drained(OrderWords),
    Left,
    Failback,
    Rollback {
        words: String,
    },
    Follows {
        group: String,
    },
    Stopped {
        words: String,
    },
    Broken {
        words: String,
    },
}

#[derive(Serialize, Deserialize)]
struct StateWords {
    epoch: u64,
    phase: PhaseWords,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_took: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stop_took: Option<u64>,
    #[serde(default)]
    since: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PhaseWords {
    Starting,
    Active,
    Stopping,
    Stopped,
}

#[derive(Serialize, Deserialize)]
struct AvoidWords {
    why: String,
    #[serde(default)]
    since: u64,
}

#[derive(Serialize, Deserialize)]
struct ProbeWords {
    node: String,
    epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<AnswerWords>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AnswerWords {
    Able,
    Unable(String),
}

#[derive(Serialize, Deserialize)]
struct WishWords {
    #[serde(default)]
    to: Option<String>,
    #[serde(flatten)]
    order: OrderWords,
}

#[derive(Serialize, Deserialize)]
struct OrderWords {
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

fn text(name: &Option<Name>) -> Option<String> {
    name.as_ref().map(|name| name.to_string())
}

fn name(text: Option<String>) -> Option<Name> {
    text.map(Name::from)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl From<&Member> for MemberWords {
    fn from(member: &Member) -> Self {
        MemberWords {
            term: member.term.0,
            fenced: text(&member.fenced),
            beat: millis(member.timing.beat),
            hold: millis(member.timing.hold),
            wait: millis(member.timing.wait),
            groups: member.groups.iter().map(|group| group.to_string()).collect(),
            apart: member.apart.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect(),
            since: member.since,
        }
    }
}

impl From<MemberWords> for Member {
    fn from(words: MemberWords) -> Self {
        Member {
            term: Term(words.term),
            fenced: name(words.fenced),
            timing: Timing::millis(words.beat, words.hold, words.wait),
            groups: words.groups.into_iter().map(Name::from).collect(),
            apart: words.apart.into_iter().map(|(a, b)| (a.into(), b.into())).collect(),
            since: words.since,
        }
    }
}

impl From<&Owner> for OwnerWords {
    fn from(owner: &Owner) -> Self {
        OwnerWords {
            node: text(&owner.node),
            from: text(&owner.from),
            why: (&owner.why).into(),
            by: owner.by.to_string(),
            since: owner.since,
        }
    }
}

impl From<OwnerWords> for Owner {
    fn from(words: OwnerWords) -> Self {
        Owner {
            node: name(words.node),
            from: name(words.from),
            why: words.why.into(),
            by: words.by.into(),
            since: words.since,
        }
    }
}

impl From<&Why> for WhyWords {
    fn from(why: &Why) -> Self {
        match why {
            Why::First => WhyWords::First,
            Why::Dead { silent, fenced } => WhyWords::Dead { silent: *silent, fenced: *fenced },
            Why::Rejoined => WhyWords::Rejoined,
            Why::GaveUp(words) => WhyWords::GaveUp { words: words.clone() },
            Why::Late => WhyWords::Late,
            Why::Moved(order) => WhyWords::Moved(order.into()),
            Why::Drained(order) => WhyWords::Drained(order.into()),
            Why::Left => WhyWords::Left,
            Why::Failback => WhyWords::Failback,
            Why::Rollback(words) => WhyWords::Rollback { words: words.clone() },
            Why::Follows(group) => WhyWords::Follows { group: group.to_string() },
            Why::Stopped(words) => WhyWords::Stopped { words: words.clone() },
            Why::Broken(words) => WhyWords::Broken { words: words.clone() },
        }
    }
}

impl From<WhyWords> for Why {
    fn from(words: WhyWords) -> Self {
        match words {
            WhyWords::First => Why::First,
            WhyWords::Dead { silent, fenced } => Why::Dead { silent, fenced },
            WhyWords::Rejoined => Why::Rejoined,
            WhyWords::GaveUp { words } => Why::GaveUp(words),
            WhyWords::Late => Why::Late,
            WhyWords::Moved(order) => Why::Moved(order.into()),
            WhyWords::Drained(order) => Why::Drained(order.into()),
            WhyWords::Left => Why::Left,
            WhyWords::Failback => Why::Failback,
            WhyWords::Rollback { words } => Why::Rollback(words),
            WhyWords::Follows { group } => Why::Follows(group.into()),
            WhyWords::Stopped { words } => Why::Stopped(words),
            WhyWords::Broken { words } => Why::Broken(words),
        }
    }
}

impl From<&State> for StateWords {
    fn from(state: &State) -> Self {
        StateWords {
            epoch: state.epoch.0,
            phase: match state.phase {
                Phase::Starting => PhaseWords::Starting,
                Phase::Active => PhaseWords::Active,
                Phase::Stopping => PhaseWords::Stopping,
                Phase::Stopped => PhaseWords::Stopped,
            },
            start_took: state.start_took,
            stop_took: state.stop_took,
            since: state.since,
        }
    }
}

impl From<StateWords> for State {
    fn from(words: StateWords) -> Self {
        State {
            epoch: Epoch(words.epoch),
            phase: match words.phase {
                PhaseWords::Starting => Phase::Starting,
                PhaseWords::Active => Phase::Active,
                PhaseWords::Stopping => Phase::Stopping,
                PhaseWords::Stopped => Phase::Stopped,
            },
            start_took: words.start_took,
            stop_took: words.stop_took,
            since: words.since,
        }
    }
}

impl From<&Probe> for ProbeWords {
    fn from(probe: &Probe) -> Self {
        let answer = probe.result.as_ref().map(|result| match result {
            Ok(()) => AnswerWords::Able,
            Err(why) => AnswerWords::Unable(why.clone()),
        });
        ProbeWords { node: probe.node.to_string(), epoch: probe.epoch.0, answer }
    }
}

impl From<ProbeWords> for Probe {
    fn from(words: ProbeWords) -> Self {
        let result = words.answer.map(|answer| match answer {
            AnswerWords::Able => Ok(()),
            AnswerWords::Unable(why) => Err(why),
        });
        Probe { node: words.node.into(), epoch: Epoch(words.epoch), result }
    }
}

impl From<&Wish> for WishWords {
    fn from(wish: &Wish) -> Self {
        WishWords { to: text(&wish.to), order: (&wish.order).into() }
    }
}

impl From<WishWords> for Wish {
    fn from(words: WishWords) -> Self {
        Wish { to: name(words.to), order: words.order.into() }
    }
}

impl From<&Order> for OrderWords {
    fn from(order: &Order) -> Self {
        OrderWords { by: order.by.clone(), text: order.text.clone() }
    }
}

impl From<OrderWords> for Order {
    fn from(words: OrderWords) -> Self {
        Order { by: words.by, text: words.text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order { by: "anna".to_owned(), text: Some("disk \"7\" \n fails".to_owned()) }
    }

    /// One of each kind, and each [`Why`].
    fn everything() -> Vec<(Key, Value)> {
        let (h1, db): (Name, Name) = ("h1".into(), "db".into());
        let member = Member {
            term: Term(u64::MAX),
            fenced: Some("h2".into()),
            timing: Timing::FAST,
            groups: vec![db.clone(), "web:ä".into()],
            apart: vec![(db.clone(), "web:ä".into())],
            since: 1,
        };
        let mut all = vec![
            (
                Key::Epoch(h1.clone()),
                Value::Epoch(Member { fenced: None, groups: Vec::new(), ..member.clone() }),
            ),
            (Key::Epoch(h1.clone()), Value::Epoch(member)),
            (Key::Beat(h1.clone()), Value::Beat(7)),
            (Key::Drained(h1.clone()), Value::Order(order())),
            (Key::Maintenance, Value::Order(Order::default())),
            (Key::Avoid(db.clone(), h1.clone()), Value::Avoid(Avoid { why: "gave up".to_owned(), since: 2 })),
            (Key::Probe(db.clone()), Value::Probe(Probe { node: h1.clone(), epoch: Epoch(7), result: None })),
            (
                Key::Probe(db.clone()),
                Value::Probe(Probe { node: h1.clone(), epoch: Epoch(7), result: Some(Ok(())) }),
            ),
            (
                Key::Probe(db.clone()),
                Value::Probe(Probe {
                    node: h1.clone(),
                    epoch: Epoch(7),
                    result: Some(Err("no disk".to_owned())),
                }),
            ),
            (Key::Move(db.clone()), Value::Move(Wish { to: None, order: order() })),
            (Key::Move(db.clone()), Value::Move(Wish { to: Some(h1.clone()), order: Order::default() })),
        ];
        for phase in [Phase::Starting, Phase::Active, Phase::Stopping, Phase::Stopped] {
            let state =
                State { epoch: Epoch(9), phase, start_took: Some(1), stop_took: None, since: u64::MAX };
            all.push((Key::State(db.clone()), Value::State(state)));
        }
        let whys = [
            Why::First,
            Why::Dead { silent: 1500, fenced: None },
            Why::Dead { silent: 1500, fenced: Some(false) },
            Why::Rejoined,
            Why::GaveUp("3 restarts in 5s".to_owned()),
            Why::Late,
            Why::Moved(order()),
            Why::Drained(Order::default()),
            Why::Left,
            Why::Failback,
            Why::Rollback("not ready".to_owned()),
            Why::Follows(db.clone()),
            Why::Stopped("it is done".to_owned()),
            Why::Broken("h1: gave up".to_owned()),
        ];
        for why in whys {
            let owner = Owner { node: None, from: Some(h1.clone()), why, by: "h2".into(), since: 5 };
            all.push((Key::Owner(db.clone()), Value::Owner(owner.clone())));
            all.push((
                Key::Owner(db.clone()),
                Value::Owner(Owner { node: Some(h1.clone()), from: None, ..owner }),
            ));
        }
        all
    }

    #[test]
    fn what_is_written_is_read_back() {
        let prefix = Prefix::of("telescope");
        for (key, written) in everything() {
            let (stood, text) = (prefix.key(&key), value(&written));
            assert_eq!(prefix.read(stood.as_bytes(), text.as_bytes()), Ok((key, written)), "{stood} {text}");
            assert!(stood.as_str() > prefix.first() && stood < prefix.behind(), "{stood}");
        }
    }

    #[test]
    fn what_a_newer_woodward_adds_is_tolerated() {
        let prefix = Prefix::of("c");
        let key = "/woodward/c/group/db/owner";
        let text = r#"{"node":"h1","weather":[1],"why":{"is":"dead","silent":3,"mood":"sad"},"by":"h2"}"#;
        let (_, read) = prefix.read(key.as_bytes(), text.as_bytes()).expect("it is read");
        let why = Why::Dead { silent: 3, fenced: None };
        assert_eq!(
            read,
            Value::Owner(Owner { node: Some("h1".into()), from: None, why, by: "h2".into(), since: 0 })
        );
    }

    #[test]
    fn nonsense_is_said_in_words_and_is_never_a_panic() {
        let prefix = Prefix::of("c");
        let all = everything();
        for (key, written) in &all {
            let (stood, text) = (prefix.key(key), value(written));
            for cut in 0..text.len() {
                let said = prefix.read(stood.as_bytes(), &text.as_bytes()[..cut]);
                assert!(said.is_err() || matches!(key, Key::Beat(_)), "{stood}: {cut} bytes of {text}");
            }
            for nonsense in ["null", "-1", "\"x\"", "[[[]]]", "{}", "\u{0}", "{\"why\":{\"is\":\"joy\"}}"] {
                assert!(prefix.read(stood.as_bytes(), nonsense.as_bytes()).is_err(), "{stood}: {nonsense}");
            }
            assert!(prefix.read(stood.as_bytes(), &[0xff, 0xfe]).is_err());
        }
        for key in [
            "",
            "/",
            "/woodward/c/",
            "/woodward/c/node//beat",
            "/woodward/c/node/h1/beat/",
            "/woodward/c/group/db",
            "/woodward/d/maintenance",
            "/woodward/c/group/db/avoid",
        ] {
            assert_eq!(prefix.read_key(key), None, "{key}");
            assert!(prefix.read(key.as_bytes(), b"1").is_err());
        }
        let said = prefix.read(b"/woodward/c/node/h1/beat", b"x").expect_err("it is no number");
        assert!(
            said.to_string().starts_with("cannot read /woodward/c/node/h1/beat in the store: "),
            "{said}"
        );
    }
}
