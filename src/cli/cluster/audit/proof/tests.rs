use super::*;

/// Time, path, kind and fields.
type Line<'a> = (u64, &'a str, &'a str, &'a [(&'a str, &'a str)]);

/// A record of these lines.
fn record(node: &str, lines: &[Line<'_>]) -> Record {
    let fact = |(at, path, kind, fields): &Line<'_>| {
        let fact = FactLine::note(*at, 0, path, 0, kind, kind.replace('_', " "));
        fields.iter().fold(fact.with("node", node), |fact, (name, value)| match value.parse::<u64>() {
            Ok(number) => fact.with(name, number),
            Err(_) => fact.with(name, *value),
        })
    };
    Record { node: node.to_owned(), facts: lines.iter().map(fact).collect() }
}

fn one(records: &[Record]) -> Audit {
    let mut audits = audit(records, 100);
    assert_eq!(audits.len(), 1);
    audits.remove(0)
}

fn how(audit: &Audit) -> Vec<&'static str> {
    audit.proofs.iter().map(|proof| proof.by).collect()
}

#[test]
fn a_planned_move_is_proved_by_cause_whatever_the_clocks_say() {
    // The clock of b is an hour behind.
    let a = record(
        "a",
        &[
            (5_000_000, "acs", "group_starting", &[("epoch", "10")]),
            (5_001_000, "acs", "group_down", &[("epoch", "10")]),
            (5_001_010, "acs", "group_given", &[("epoch", "20"), ("from", "a"), ("to", "b")]),
        ],
    );
    let b = record(
        "b",
        &[
            (1_401_012, "acs", "group_given", &[("epoch", "20"), ("from", "a"), ("to", "b")]),
            (1_401_013, "acs", "group_starting", &[("epoch", "20")]),
        ],
    );
    let found = one(&[a, b]);
    assert_eq!((how(&found), found.overlaps.len(), found.unproved.len()), (vec!["cause"], 0, 0));
}

#[test]
fn a_takeover_is_proved_by_clocks_when_the_gap_is_wider_than_they_differ() {
    let dead = |until: u64| {
        record(
            "a",
            &[
                (1000, "acs", "group_starting", &[("epoch", "10")]),
                (until, "acs", "term_over", &[("term", "3")]),
            ],
        )
    };
    let b = record(
        "b",
        &[
            (9000, "", "node_dead", &[("about", "a"), ("silent", "3000")]),
            (9001, "acs", "group_starting", &[("epoch", "20")]),
        ],
    );
    let found = one(&[dead(8500), b.clone()]);
    assert_eq!((how(&found), found.proofs[0].gap), (vec!["clocks"], 501));
    let found = one(&[dead(8950), b.clone()]);
    assert!(found.proofs.is_empty() && found.overlaps.is_empty());
    assert!(found.unproved[0].contains("51 ms apart"), "{:?}", found.unproved);
    let found = one(&[dead(9400), b]);
    assert!(found.overlaps[0].contains("b began 399 ms before a had ended"), "{:?}", found.overlaps);
}

#[test]
fn a_forged_overlap_is_found() {
    // What a has recorded of its end was moved behind the beginning on b, and its gift before it.
    let a = record(
        "a",
        &[
            (1000, "acs", "group_starting", &[("epoch", "10")]),
            (2000, "acs", "group_given", &[("epoch", "20"), ("from", "a"), ("to", "b")]),
            (3500, "acs", "group_down", &[("epoch", "10")]),
        ],
    );
    let b = record("b", &[(2010, "acs", "group_starting", &[("epoch", "20")])]);
    let found = one(&[a, b]);
    assert_eq!(found.overlaps.len(), 1, "{found:?}");
    let twice = |node| record(node, &[(1000, "acs", "group_starting", &[("epoch", "10")])]);
    let found = one(&[twice("a"), twice("b")]);
    assert!(found.overlaps[0].contains("one epoch has two owners"));
    let again = record(
        "a",
        &[
            (1000, "acs", "group_starting", &[("epoch", "10")]),
            (1500, "acs", "group_starting", &[("epoch", "20")]),
        ],
    );
    assert_eq!(one(&[again]).overlaps.len(), 1);
}

#[test]
fn what_has_no_end_on_record_is_not_called_proved() {
    let a = record(
        "a",
        &[
            (900, "", "daemon_started", &[("boot", "one")]),
            (1000, "acs", "group_starting", &[("epoch", "10")]),
            (20_000, "", "daemon_started", &[("boot", "two")]),
        ],
    );
    let b = record(
        "b",
        &[
            (9000, "", "node_dead", &[("about", "a"), ("silent", "3000")]),
            (9001, "acs", "group_starting", &[("epoch", "20")]),
        ],
    );
    let found = one(&[a, b]);
    assert!(found.proofs.is_empty() && found.overlaps.is_empty());
    let text = &found.unproved[0];
    assert!(text.contains("started anew later; b had seen no beat of a for 3000 ms"), "{text}");
}

#[test]
fn clocks_are_corrected_by_the_moves_both_have_recorded() {
    // The clock of b is 10 s ahead: without the correction the takeover would look safe by ten seconds too much.
    let moves = |ahead: u64, node: &str| -> Record {
        let ends: &[(&str, &str)] = &[("node", node)];
        let mut record = record(node, &[]);
        for n in 1..=3u64 {
            let fact = FactLine::note(n * 1000 + ahead, 0, "acs", 0, "group_given", String::new());
            let fact = fact.with("epoch", n).with("from", "x").with("to", "y");
            record.facts.push(ends.iter().fold(fact, |fact, (name, value)| fact.with(name, *value)));
        }
        record
    };
    let mut a = moves(0, "a");
    a.facts.extend(
        record(
            "a",
            &[
                (5000, "acs", "group_starting", &[("epoch", "10")]),
                (9000, "acs", "term_over", &[("term", "1")]),
            ],
        )
        .facts,
    );
    let mut b = moves(10_000, "b");
    b.facts.extend(record("b", &[(18_500, "acs", "group_starting", &[("epoch", "20")])]).facts);
    let found = one(&[a, b]);
    assert!(found.overlaps[0].contains("500 ms before"), "{found:?}");
}

#[test]
fn a_clock_that_was_set_back_proves_nothing() {
    let a = record(
        "a",
        &[
            (5000, "acs", "group_starting", &[("epoch", "10")]),
            (6000, "acs", "group_active", &[("epoch", "10")]),
            (2000, "acs", "term_over", &[("term", "1")]),
        ],
    );
    let b = record("b", &[(5800, "acs", "group_starting", &[("epoch", "20")])]);
    let found = one(&[a, b]);
    assert!(found.unproved[0].contains("a clock was set back"), "{found:?}");
}

#[test]
fn a_service_started_outside_every_epoch_is_named() {
    let a = record(
        "a",
        &[
            (1000, "acs", "group_starting", &[("epoch", "10")]),
            (1100, "acs/web", "started", &[]),
            (2000, "acs", "group_down", &[("epoch", "10")]),
            (3000, "acs/web", "started", &[]),
        ],
    );
    assert_eq!(one(&[a]).unproved, ["acs/web was started on a outside every epoch"]);
}
