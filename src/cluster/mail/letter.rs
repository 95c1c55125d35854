//! What a message says, for somebody who was asleep a minute ago: what, from where to where, why, since when, what to do.

use serde_json::{Value, json};
use woodward_engine::cluster::register::Why;
use woodward_engine::cluster::{Fact, Name};

use crate::cluster::words;
use crate::record::words as time;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    /// One line, ASCII.
    pub subject: String,
    /// Kind of the fact, as in the records.
    kind: &'static str,
    /// Headline words and what stands behind them.
    rows: Vec<(&'static str, String)>,
    /// The same may come again and again while nothing changes.
    pub repeats: bool,
    /// Messages lost before this one.
    pub lost: u64,
    /// What a program wants to know of it.
    fields: Value,
}

/// What is to be said of a fact on this node at this time (milliseconds since 1970); `None`: nobody is to be woken for it.
pub(super) fn of(fact: &Fact, me: &Name, cluster: &str, at: u64) -> Option<Letter> {
    let (kind, clause) = words::fact(fact);
    let plain = |what: String, help: &str| (what, vec![("Do", help.to_owned())], true);
    let (what, rows, repeats) = match fact {
        // Told by whoever decided it and by the new owner: the new owner writes, or, if there is none, who decided.
        Fact::Given { group, from, to: Some(to), why, .. } if to == me && from.as_ref() != Some(to) => {
            let from_where = from.as_deref().unwrap_or("nobody");
            let what = format!("{group} moves from {from_where} to {to}");
            let rows = vec![
                ("From", from_where.to_owned()),
                ("To", to.to_string()),
                ("Why", words::why(why)),
                ("Do", after_move(group, from.as_deref(), why)),
            ];
            (what, rows, false)
        }
        Fact::Given { group, from, to: None, why, .. } => {
            let rows = vec![
                ("From", from.as_deref().unwrap_or("nobody").to_owned()),
                ("To", "nobody".to_owned()),
                ("Why", words::why(why)),
                ("Do", format!("woodward cluster why {group} says what each node lacks")),
            ];
            (format!("{group} is down on all nodes"), rows, true)
        }
        Fact::Broken { group, why } => {
            let rows = vec![
                ("Why", why.clone()),
                (
                    "Do",
                    format!(
                        "mend what it fails by, then woodward start {group}; woodward cluster why {group} tells more"
                    ),
                ),
            ];
            (format!("{group} is broken: no node is able to run it"), rows, true)
        }
        Fact::StoreAway { .. } => plain(
            format!("{me} does not reach its store"),
            "look at etcd (etcdctl endpoint status) and at the network between it and this node; what this node runs is \
             stopped at its deadline, and goes to other nodes if they reach the store",
        ),
        Fact::StoreBack => plain(format!("{me} reaches its store again"), "nothing"),
        Fact::StoreOlder { .. } => plain(
            format!("the store of {me} is older than it was"),
            "if it was restored from a backup on purpose, start woodward anew on every node; else look at etcd",
        ),
        Fact::TermOver { groups, .. } if !groups.is_empty() => plain(
            format!("{me} has lost its right to run its groups"),
            "nothing at once: other nodes take them over; find out why with woodward cluster status",
        ),
        Fact::Fenced { node, result: Err(_) } => plain(
            format!("{node} cannot be fenced"),
            &format!(
                "make sure that {node} is off, then woodward cluster confirm {node}; groups with fencing = \"required\" \
                 wait for it. It is tried again all the time"
            ),
        ),
        Fact::Stuck { group, .. } => plain(
            format!("{group} cannot be ended on {me}"),
            "a process hangs in the kernel (a dead disk or file server?); switch this node off if the group is needed",
        ),
        _ => return None,
    };
    let group = match fact {
        Fact::Given { group, .. } | Fact::Broken { group, .. } | Fact::Stuck { group, .. } => {
            Some(group.to_string())
        }
        _ => None,
    };
    let mut all = vec![("What", format!("{what}: {clause}"))];
    all.extend(rows);
    all.push(("When", format!("{} (said by {me}, cluster {cluster})", time::rfc3339(at))));
    let subject = format!("[woodward {cluster}] {what}");
    let fields = json!({ "cluster": cluster, "node": &**me, "group": group, "at": at });
    Some(Letter { subject: one_line(&subject), kind, rows: all, repeats, lost: 0, fields })
}

fn after_move(group: &str, from: Option<&str>, why: &Why) -> String {
    let from = from.unwrap_or("the node it was on");
    match why {
        Why::Dead { fenced: Some(false), .. } => {
            format!("make sure that {from} is off: it could not be fenced. Then mend it; nothing else")
        }
        Why::Dead { .. } => format!("find out what became of {from}; {group} needs nothing"),
        Why::GaveUp(_) | Why::Late | Why::Rollback(_) => {
            format!(
                "find out what it fails by on {from}: woodward why {group} there; it is tried there again later"
            )
        }
        _ => "nothing".to_owned(),
    }
}

impl Letter {
    /// With head, for `sendmail -t`.
    pub(super) fn mail(&self, to: &[String], from: Option<&str>) -> String {
        let mut text = format!("To: {}\n", to.iter().map(|to| one_line(to)).collect::<Vec<_>>().join(", "));
        if let Some(from) = from {
            text += &format!("From: {}\n", one_line(from));
        }
        text += &format!("Subject: {}\n", self.subject);
        text += "Auto-Submitted: auto-generated\nMIME-Version: 1.0\n";
        text += "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n";
        text + &self.text()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.rows {
            text += &format!("{:<6}{}\n", format!("{name}:"), value.trim().replace('\n', "\n      "));
        }
        if self.lost > 0 {
            text += &format!("\n{} earlier messages could not be delivered.\n", self.lost);
        }
        text
    }

    /// For a webhook. `text` is what chats show.
    pub(super) fn json(&self) -> Value {
        let mut all = self.fields.clone();
        all["kind"] = self.kind.into();
        all["subject"] = self.subject.clone().into();
        all["text"] = format!("{}\n{}", self.subject, self.text()).into();
        all["lost"] = self.lost.into();
        for (name, value) in
            self.rows.iter().filter(|(name, _)| matches!(*name, "From" | "To" | "Why" | "Do"))
        {
            all[name.to_lowercase()] = value.clone().into();
        }
        all
    }
}

/// Fit for the head of a mail: no line of its own, no other letters than those that every mail program takes.
fn one_line(text: &str) -> String {
    text.chars().take(200).map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use woodward_engine::cluster::{Epoch, Term};

    fn given(from: &str, to: Option<&str>, why: Why) -> Fact {
        let (from, to) = (Some(from.into()), to.map(Name::from));
        Fact::Given { group: "acs".into(), epoch: Epoch(9), from, to, why }
    }

    #[test]
    fn a_move_is_told_by_its_new_owner_with_all_that_a_person_asks() {
        let fact = given("h1", Some("h2"), Why::Dead { silent: 3000, fenced: Some(false) });
        assert_eq!(of(&fact, &"h1".into(), "site", 0), None);
        let letter = of(&fact, &"h2".into(), "site", 0).expect("it is told");
        assert_eq!(letter.subject, "[woodward site] acs moves from h1 to h2");
        let mail = letter.mail(&["ops@site".to_owned(), "x@y\nBcc: z".to_owned()], Some("w@h2"));
        let (head, body) = mail.split_once("\n\n").expect("head and body");
        assert!(
            head.starts_with("To: ops@site, x@y?Bcc: z\nFrom: w@h2\nSubject: [woodward site] acs"),
            "{head}"
        );
        for row in [
            "From: h1\n",
            "To:   h2\n",
            "Why:  its node was dead: no beat for 3s",
            "Do:   make sure that h1 is off",
        ] {
            assert!(body.contains(row), "{row}:\n{body}");
        }
        assert_eq!(letter.json()["group"], "acs");
        assert_eq!(letter.json()["to"], "h2");
    }

    #[test]
    fn nobody_is_woken_for_what_goes_as_it_should() {
        let me: Name = "h2".into();
        let quiet = [
            given("h2", Some("h2"), Why::Rejoined),
            Fact::Joined { term: Term(1) },
            Fact::TermOver { term: Term(1), groups: Vec::new(), why: String::new() },
            Fact::Fenced { node: "h1".into(), result: Ok(()) },
            Fact::Active { group: "acs".into(), epoch: Epoch(9), took: 1 },
        ];
        for fact in quiet {
            assert_eq!(of(&fact, &me, "site", 0), None, "{fact:?}");
        }
        let loud = [
            given("h1", None, Why::Broken("h1: gave up\r\nSubject: x".to_owned())),
            Fact::Broken { group: "acs".into(), why: "ä\n\nb".to_owned() },
            Fact::Fenced { node: "h1".into(), result: Err("fence_ipmilan: exit 1".to_owned()) },
            Fact::TermOver { term: Term(1), groups: vec!["acs".into()], why: "no beat".to_owned() },
            Fact::StoreAway { left: 800 },
            Fact::Stuck { group: "acs".into(), epoch: Epoch(9) },
        ];
        for fact in loud {
            let letter = of(&fact, &me, "site", 0).expect("it is told");
            let mail = letter.mail(&["ops@site".to_owned()], None);
            let (head, body) = mail.split_once("\n\n").expect("head and body");
            assert_eq!(head.lines().filter(|line| line.starts_with("Subject: ")).count(), 1, "{mail}");
            assert!(body.contains("\nDo:   ") && body.contains("1970-01-01"), "{body}");
        }
    }
}
