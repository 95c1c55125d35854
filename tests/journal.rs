//! What a real journald keeps of woodward and its children.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::bed::repository;
use crate::systemd::Systemd;

fn up(script: &str) -> Systemd {
    let script = serde_json::to_string(script).expect("a text");
    let tree = format!(
        "id = \"t\"\nintensity = 1000\n[[child]]\nid = \"a\"\ncommand = [\"sh\", \"-c\", {script}]\n"
    );
    let bed = Systemd::up(&tree, |_, text| text);
    bed.sh("systemctl start woodward && woodward is-up --wait 30s");
    bed
}

/// The records that match, oldest first.
fn records(bed: &Systemd, matches: &str) -> Vec<Value> {
    let lines = bed.sh(&format!("journalctl --sync; journalctl --no-pager -a -o json {matches}"));
    lines.lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect()
}

fn field<'a>(record: &'a Value, name: &str) -> &'a str {
    record[name].as_str().unwrap_or_else(|| panic!("no {name} in {record}"))
}

#[test]
fn lines_and_facts_are_found_by_path_and_explained() {
    let bed = up("echo hello; echo '<3>bad'; head -c 100000 /dev/zero | tr '\\0' x; echo; exec sleep 1000");
    bed.wait("journalctl SYSLOG_IDENTIFIER=t/a | grep -q bad");
    let lines = records(&bed, "WOODWARD_PATH=t/a SYSLOG_IDENTIFIER=t/a");
    let said = |n: usize, name: &str| field(&lines[n], name);
    for (name, value) in
        [("MESSAGE", "hello"), ("PRIORITY", "6"), ("WOODWARD_CHILD", "a"), ("WOODWARD_SEQ", "1")]
    {
        assert_eq!(said(0, name), value);
    }
    assert_eq!((said(1, "MESSAGE"), said(1, "PRIORITY"), said(1, "WOODWARD_SEQ")), ("bad", "3", "2"));
    // A line that is longer than journald would like comes whole, in pieces of one number or of following ones.
    let long = |record: &Value| field(record, "MESSAGE").trim_end_matches(" [woodward: goes on]").len();
    assert_eq!(lines[2..].iter().map(long).sum::<usize>(), 100_000);

    bed.sh(&format!("kill -KILL {}", bed.pid("t/a")));
    bed.wait("journalctl WOODWARD_PATH=t/a WOODWARD_KIND=restart | grep -q one_for_one");
    let facts = records(&bed, "WOODWARD_PATH=t/a SYSLOG_IDENTIFIER=woodward");
    let fact = |kind: &str| {
        let found = facts.iter().find(|fact| field(fact, "WOODWARD_KIND") == kind);
        found.unwrap_or_else(|| panic!("no {kind} in {facts:?}"))
    };
    let (ended, restart) = (fact("ended"), fact("restart"));
    assert_eq!(field(ended, "MESSAGE"), "t/a: ended: SIGKILL, not sent by woodward");
    for (name, value) in [("PRIORITY", "4"), ("WOODWARD_CHILD", "a"), ("WOODWARD_EXIT", "SIGKILL")] {
        assert_eq!(field(ended, name), value);
    }
    assert_eq!(field(ended, "WOODWARD_GENERATION"), said(0, "WOODWARD_GENERATION"));
    assert_eq!(field(restart, "WOODWARD_STRATEGY"), "one_for_one");
    assert_eq!(field(restart, "WOODWARD_INCIDENT"), field(ended, "WOODWARD_INCIDENT"));
    assert!(!field(ended, "WOODWARD_REASON").is_empty());

    let catalog = fs::read_to_string(repository("units/woodward.catalog")).expect("the catalog");
    bed.sh(&format!(
        "cat > /usr/lib/systemd/catalog/woodward.catalog <<'END'\n{catalog}END\njournalctl --update-catalog"
    ));
    let explained = bed.sh(&format!("journalctl --no-pager -x MESSAGE_ID={}", field(ended, "MESSAGE_ID")));
    for text in ["Subject: A process has ended", "woodward why t/a"] {
        assert!(explained.contains(text), "{explained}");
    }
}

#[test]
fn a_journald_that_is_away_for_a_while_costs_no_line_and_no_service_waits() {
    let bed = up("while :; do i=$((i+1)); echo line $i; echo $i > /run/count; sleep 0.02; done");
    bed.sh("systemctl stop systemd-journald.service 2>/dev/null; true");
    let count = || bed.sh("cat /run/count").parse::<u64>().unwrap_or(0);
    let before = count();
    bed.wait(&format!("test \"$(cat /run/count)\" -gt {}", before + 100));
    assert!(bed.sh("woodward status --json").contains("\"up\""));
    bed.sh("systemctl start systemd-journald.service");
    let last = count();
    bed.wait(&format!("journalctl WOODWARD_PATH=t/a | grep -q 'line {last}$'"));
    let lines = records(&bed, "WOODWARD_PATH=t/a SYSLOG_IDENTIFIER=t/a");
    let numbers: Vec<u64> =
        lines.iter().filter_map(|line| field(line, "MESSAGE")[5..].parse().ok()).collect();
    let gap = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]);
    assert!(numbers.first() == Some(&1) && gap.is_none(), "{gap:?} of {}", numbers.len());
}

#[test]
fn lines_reach_the_journal_through_deaths_of_the_daemon_and_numbers_tell_repetitions() {
    let bed = up("while :; do i=$((i+1)); echo line $i; echo $i > /run/count; sleep 0.005; done");
    let pid = bed.pid("t/a");
    for _ in 0..5 {
        let old = bed.sh("pgrep -f '^[^ ]*woodward daemon'");
        bed.sh(&format!("kill -KILL {old}"));
        bed.wait(&format!(
            "new=$(pgrep -f '^[^ ]*woodward daemon') && test \"$new\" != {old} && woodward is-up"
        ));
    }
    assert_eq!(bed.pid("t/a"), pid);
    let last = bed.sh("cat /run/count");
    bed.wait(&format!("journalctl WOODWARD_PATH=t/a | grep -q 'line {last}$'"));
    let mut said: BTreeMap<u64, String> = BTreeMap::new();
    let mut repeated = 0;
    for line in records(&bed, "WOODWARD_PATH=t/a SYSLOG_IDENTIFIER=t/a") {
        let (seq, message) =
            (field(&line, "WOODWARD_SEQ").parse().expect("a number"), field(&line, "MESSAGE"));
        if let Some(before) = said.insert(seq, message.to_owned()) {
            assert_eq!(before, message, "one number, two lines");
            repeated += 1;
        }
    }
    for (n, (seq, message)) in (1..).zip(&said) {
        assert_eq!((*seq, message.as_str()), (n, format!("line {n}").as_str()));
    }
    assert!(said.len() as u64 >= last.parse::<u64>().expect("a number"), "{repeated} repeated");
}
