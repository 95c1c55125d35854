use super::super::samples::{NOW, night};
use super::*;

fn fact(at: u64, path: &str, kind: &str, text: &str) -> FactLine {
    FactLine::note(NOW - 252_000 + at, 0, path, 0, kind, text.to_owned()).with("node", "gas02")
}

fn recorded() -> Vec<FactLine> {
    vec![
        fact(0, "acs", "group_given", "given to gas01, epoch 480: it had no owner").with("epoch", 480),
        fact(100_000, "acs/web", "started", "started, pid 7"),
        fact(240_000, "", "node_dead", "gas01 is dead: no beat for 3s"),
        fact(
            240_004,
            "acs",
            "group_given",
            "given from gas01 to gas02, epoch 512: its node was dead: no beat for 3s",
        )
        .with("epoch", 512),
        fact(240_006, "acs", "group_starting", "is brought up here, epoch 512"),
        fact(240_010, "grid", "group_starting", "is brought up here, epoch 513"),
        fact(241_206, "acs", "group_active", "is up here, after 1.2s"),
    ]
}

#[test]
fn the_chain_begins_with_the_cause_and_earlier_moves_come_last() {
    let sheet = night();
    let part = sheet.group("acs").expect("it is there");
    let (facts, earlier) = chain(part, &recorded());
    let kinds: Vec<&str> = facts.iter().map(|fact| fact.kind.as_str()).collect();
    assert_eq!(kinds, ["node_dead", "group_given", "group_starting", "group_active"]);
    assert_eq!(earlier.len(), 1);
    insta::assert_snapshot!(page(&sheet, part, &facts, &earlier, 0, Style::plain(true)), @r#"
    acs is on gas02: its node was dead: no beat for 3s
      epoch 512, since 2026-11-21 03:09:08, decided by gas02
    what gas02 has recorded of it
    03:13:08.000       gas01 is dead: no beat for 3s
              +4  acs  given from gas01 to gas02, epoch 512: its node was dead: no
                       beat for 3s
              +6  acs  is brought up here, epoch 512
           +1206  acs  is up here, after 1.2s
    now   up for 4m; term 7 of gas02 lasts 2.3s more without a further beat; its
          last start took 1.2s
    not on gas01: does not beat
    before that
      2026-11-21 03:09:08  given to gas01, epoch 480: it had no owner
    "#);
}

#[test]
fn of_a_group_that_no_node_can_run_each_node_says_why() {
    let sheet = night();
    let part = sheet.group("integral").expect("it is there");
    let text = page(&sheet, part, &[], &[], 0, Style::plain(false));
    assert!(text.lines().all(|line| width(line) <= WIDTH), "{text}");
    insta::assert_snapshot!(text, @r#"
    integral is on no node: no node is able: gas01: does not beat; gas03: gave up
      there: broker: exit 1, 6 times in 10m
      epoch 530, since 2026-11-21 03:03:20, decided by gas02
    now   down; its last start took 1.2s
    not on gas01: does not beat
    not on gas03: gave up there: broker: exit 1, 6 times in 10m; avoided for 7m more
    "#);
}
