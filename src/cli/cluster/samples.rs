//! Made-up sheets for the tests of pages.

use crate::control::cluster::sheet::{Avoided, Candidate, Member, Node, Part, Seen, Sheet, Term, Word};

/// 2026-11-21T03:13:20Z.
pub const NOW: u64 = 1_795_230_800_000;

pub fn node(name: &str, state: Seen, silent: Option<u64>, groups: &[&str]) -> Node {
    Node {
        name: name.to_owned(),
        state,
        silent,
        drained: None,
        term: Some(7),
        joined: Some(NOW - 86_400_000),
        fenced_by: None,
        timing: Some([500, 2500, 3000]),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        trees: vec!["acs".to_owned(), "grid".to_owned()],
    }
}

pub fn part(group: &str, node: Option<&str>, epoch: u64, phase: Option<&str>, ago: u64, why: &str) -> Part {
    Part {
        group: group.to_owned(),
        node: node.map(str::to_owned),
        from: None,
        epoch,
        since: NOW - ago,
        by: Some("gas02".to_owned()),
        why: why.to_owned(),
        phase: phase.map(str::to_owned),
        phase_since: phase.map(|_| NOW - ago + 1200),
        start_took: Some(1200),
        stop_took: None,
        wish: None,
        probe: None,
        candidates: Vec::new(),
    }
}

/// Night: gas01 has lost its power; acs was taken over, grid is coming up, integral can run nowhere.
pub fn night() -> Sheet {
    let candidate = |node: &str, why_not: &[&str]| Candidate {
        node: node.to_owned(),
        why_not: why_not.iter().map(|why| (*why).to_owned()).collect(),
        avoided: None,
    };
    let mut acs =
        part("acs", Some("gas02"), 512, Some("active"), 252_000, "its node was dead: no beat for 3s");
    acs.from = Some("gas01".to_owned());
    acs.candidates = vec![candidate("gas01", &["does not beat"]), candidate("gas02", &[])];
    let mut integral = part(
        "integral",
        None,
        530,
        None,
        600_000,
        "no node is able: gas01: does not beat; gas03: gave up there: broker: exit 1, 6 times in 10m",
    );
    integral.candidates = vec![
        candidate("gas01", &["does not beat"]),
        Candidate {
            avoided: Some(Avoided {
                why: "broker: exit 1, 6 times in 10m".to_owned(),
                since: NOW - 180_000,
                left: 420_000,
            }),
            ..candidate("gas03", &["gave up there: broker: exit 1, 6 times in 10m"])
        },
    ];
    let grid = part("grid", Some("gas03"), 519, Some("starting"), 2000, "moved by ana: \"disk of gas02\"");
    let mut third = node("gas03", Seen::Alive, Some(120), &["grid"]);
    third.drained = Some(Word { by: "ana".to_owned(), text: Some("new memory".to_owned()) });
    let member = |n: u8, leads, fault: Option<&str>| Member {
        member: format!("http://10.0.0.{n}:2379"),
        leads,
        fault: fault.map(str::to_owned),
    };
    Sheet {
        cluster: "woodward".to_owned(),
        node: "gas02".to_owned(),
        at: NOW,
        revision: 5123,
        term: Some(Term { number: 9, left: 2310 }),
        maintenance: None,
        store: vec![
            member(1, false, Some("cannot connect: no route to host")),
            member(2, true, None),
            member(3, false, None),
        ],
        nodes: vec![
            node("gas01", Seen::Silent, Some(255_000), &[]),
            node("gas02", Seen::Alive, None, &["acs"]),
            third,
        ],
        groups: vec![acs, grid, integral],
    }
}
