//! What a cluster tells, in words: clauses for people, and lines for the record.
//!
//! A line about a group has the group's name as its path, one about nodes none. `woodward cluster why` and `audit` read the
//! fields; people read the text.

use std::time::Duration;

use serde_json::Value;
use woodward_engine::cluster::register::{Order, Why};
use woodward_engine::cluster::{Fact, Name};

use crate::record::fact::FactLine;
use crate::record::words::span;

/// Why a group is where it is, in a clause.
pub fn why(why: &Why) -> String {
    match why {
        Why::First => "it had no owner".to_owned(),
        Why::Dead { silent, fenced } => {
            let fenced = match fenced {
                Some(true) => ", and it was fenced",
                Some(false) => ", and it could not be fenced",
                None => "",
            };
            format!("its node was dead: no beat for {}{fenced}", time(*silent))
        }
        Why::Rejoined => "its node had joined anew".to_owned(),
        Why::GaveUp(words) => with("it gave up", words),
        Why::Late => "it was not ready in time".to_owned(),
        Why::Moved(order) => format!("moved by {}", person(order)),
        Why::Drained(order) => format!("its node is being drained by {}", person(order)),
        Why::Left => "its node was stopped in order".to_owned(),
        Why::Failback => "a better node has proved itself".to_owned(),
        Why::Rollback(words) => with("it did not come up on the better node", words),
        Why::Follows(other) => format!("because of {other}: `with` or `apart`"),
        Why::Stopped(words) => with("stopped", words),
        Why::Broken(words) => with("no node is able", words),
    }
}

/// The name of a reason, for programs.
pub fn reason(why: &Why) -> &'static str {
    match why {
        Why::First => "first",
        Why::Dead { .. } => "dead",
        Why::Rejoined => "rejoined",
        Why::GaveUp(_) => "gave_up",
        Why::Late => "late",
        Why::Moved(_) => "moved",
        Why::Drained(_) => "drained",
        Why::Left => "left",
        Why::Failback => "failback",
        Why::Rollback(_) => "rollback",
        Why::Follows(_) => "follows",
        Why::Stopped(_) => "stopped",
        Why::Broken(_) => "broken",
    }
}

/// `ana: "mirror is being moved"`.
pub fn person(order: &Order) -> String {
    match &order.text {
        Some(text) => format!("{}: \"{text}\"", order.by),
        None => order.by.clone(),
    }
}

/// The kind of a fact, and what a person reads.
pub fn fact(fact: &Fact) -> (&'static str, String) {
    match fact {
        Fact::Joined { term } => ("cluster_joined", format!("joined the cluster: term {}", term.0)),
        Fact::TermOver { term, groups, why } => {
            let killed =
                if groups.is_empty() { String::new() } else { format!("; killed: {}", names(groups)) };
            ("term_over", format!("term {} is over: {why}{killed}", term.0))
        }
        Fact::StoreAway { left } => {
            ("store_away", format!("the store does not answer; the right to run ends in {}", time(*left)))
        }
        Fact::StoreBack => ("store_back", "the store answers again".to_owned()),
        Fact::StoreOlder { revision, seen } => {
            let text = format!(
                "the store is at revision {revision} and was at {seen}: it was restored or emptied; nothing runs by it"
            );
            ("store_older", text)
        }
        Fact::NodeDead { node, silent } => {
            ("node_dead", format!("{node} is dead: no beat for {}", time(*silent)))
        }
        Fact::NodeBack { node } => ("node_back", format!("{node} is back")),
        Fact::Fenced { node, result: Ok(()) } => ("node_fenced", format!("{node} was fenced")),
        Fact::Fenced { node, result: Err(why) } => ("node_fenced", format!("cannot fence {node}: {why}")),
        Fact::Given { epoch, from, to, why: reason, .. } => {
            let whom = match (from, to) {
                (Some(from), Some(to)) if from != to => format!("from {from} to {to}"),
                (_, Some(to)) => format!("to {to}"),
                (Some(from), None) => format!("from {from} to nobody"),
                (None, None) => "to nobody".to_owned(),
            };
            ("group_given", format!("given {whom}, epoch {}: {}", epoch.0, why(reason)))
        }
        Fact::Starting { epoch, .. } => ("group_starting", format!("is brought up here, epoch {}", epoch.0)),
        Fact::Active { took, .. } => ("group_active", format!("is up here, after {}", time(*took))),
        Fact::Stopping { .. } => ("group_stopping", "is brought down here".to_owned()),
        Fact::Down { took, .. } => ("group_down", format!("is down here, after {}", time(*took))),
        Fact::Stuck { .. } => {
            ("group_stuck", "was killed here and does not end; nobody else starts it before".to_owned())
        }
        Fact::Broken { why, .. } => ("group_broken", with("no node is able", why)),
        Fact::FailbackWaits { to, why, .. } => ("failback_waits", format!("would go back to {to}: {why}")),
        Fact::NotMoved { why, .. } => ("move_refused", with("was to be moved and is not", why)),
        Fact::Maintenance { on: true } => {
            ("maintenance", "maintenance: nothing is started, moved or taken over by itself".to_owned())
        }
        Fact::Maintenance { on: false } => ("maintenance", "maintenance is over".to_owned()),
    }
}

/// What is recorded of a fact on this node: `at` is milliseconds since 1970. The end of a term is told of each of its
/// groups too.
pub fn lines(told: &Fact, node: &str, at: u64, incident: u64) -> Vec<FactLine> {
    let (kind, text) = fact(told);
    let line = |path: &str, text: &str| {
        let line = FactLine::note(at, incident, path, 0, kind, text.to_owned());
        line.with("node", node)
    };
    let name = |name: &Option<Name>| name.as_deref().map_or(Value::Null, Value::from);
    match told {
        Fact::TermOver { term, groups, why } => {
            let killed = format!("killed here: term {} is over: {why}", term.0);
            let groups = groups.iter().map(|group| line(group, &killed).with("term", term.0));
            std::iter::once(line("", &text).with("term", term.0)).chain(groups).collect()
        }
        Fact::Joined { term } => vec![line("", &text).with("term", term.0)],
        Fact::StoreAway { left } => vec![line("", &text).with("left", *left)],
        Fact::StoreBack => vec![line("", &text)],
        Fact::StoreOlder { revision, seen } => {
            vec![line("", &text).with("revision", *revision).with("seen", *seen)]
        }
        Fact::NodeDead { node, silent } => {
            vec![line("", &text).with("about", &**node).with("silent", *silent)]
        }
        Fact::NodeBack { node } => vec![line("", &text).with("about", &**node)],
        Fact::Fenced { node, result } => {
            vec![line("", &text).with("about", &**node).with("done", result.is_ok())]
        }
        Fact::Maintenance { on } => vec![line("", &text).with("on", *on)],
        Fact::Given { group, epoch, from, to, why } => {
            let line =
                line(group, &text).with("epoch", epoch.0).with("from", name(from)).with("to", name(to));
            vec![line.with("why", reason(why))]
        }
        Fact::Starting { group, epoch } | Fact::Stopping { group, epoch } | Fact::Stuck { group, epoch } => {
            vec![line(group, &text).with("epoch", epoch.0)]
        }
        Fact::Active { group, epoch, took } | Fact::Down { group, epoch, took } => {
            vec![line(group, &text).with("epoch", epoch.0).with("took", *took)]
        }
        Fact::Broken { group, .. } | Fact::NotMoved { group, .. } => vec![line(group, &text)],
        Fact::FailbackWaits { group, to, .. } => vec![line(group, &text).with("to", &**to)],
    }
}

fn names(names: &[Name]) -> String {
    names.iter().map(|name| &**name).collect::<Vec<_>>().join(", ")
}

fn with(text: &str, words: &str) -> String {
    if words.is_empty() { text.to_owned() } else { format!("{text}: {words}") }
}

fn time(milliseconds: u64) -> String {
    span(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use woodward_engine::cluster::{Epoch, Term};

    #[test]
    fn a_fact_is_told_in_a_clause_and_kept_with_its_fields() {
        let given = Fact::Given {
            group: "acs".into(),
            epoch: Epoch(512),
            from: Some("h1".into()),
            to: Some("h2".into()),
            why: Why::Dead { silent: 3000, fenced: Some(true) },
        };
        let line = lines(&given, "h2", 7, 1).remove(0);
        assert_eq!(line.path, "acs");
        assert_eq!(
            line.text,
            "given from h1 to h2, epoch 512: its node was dead: no beat for 3s, and it was fenced"
        );
        assert_eq!(
            (line.number("epoch"), line.word("to"), line.word("node")),
            (Some(512), Some("h2"), Some("h2"))
        );
        let over = Fact::TermOver {
            term: Term(4),
            groups: vec!["acs".into(), "grid".into()],
            why: "no beat was confirmed in time".to_owned(),
        };
        let told = lines(&over, "h1", 7, 1);
        let paths: Vec<&str> = told.iter().map(|line| line.path.as_str()).collect();
        assert_eq!(paths, ["", "acs", "grid"]);
        assert_eq!(told[0].text, "term 4 is over: no beat was confirmed in time; killed: acs, grid");
    }
}
