use super::super::samples::{NOW, night, node, part};
use super::*;
use crate::control::cluster::sheet::{Probe, Wish};

fn fits(page: &str) {
    let wide: Vec<&str> = page.lines().filter(|line| width(line) > WIDTH).collect();
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn at_three_in_the_morning() {
    let page = page(&night(), Style::plain(true));
    fits(&page);
    insta::assert_snapshot!(page, @r#"
    cluster woodward on gas02: degraded, 1 of 3 groups up
    right to run here: 2.3s more, without a further beat (term 9)

    node                                last beat   has
    ! gas01           silent               4m ago   nothing
    ● gas02                                  here   acs
    - gas03                              0.1s ago   grid; drained by ana: "new
                                                    memory"
    etcd
    ! http://10.0.0.1:2379: cannot connect: no route to host
    ● http://10.0.0.2:2379, leads
    ● http://10.0.0.3:2379
    group             node                    for   why
    ● acs             gas02                    4m   its node was dead: no beat for
                                                    3s
    ~ grid            gas03                    2s   starting; moved by ana: "disk of
                                                    gas02"
    ! integral        -                       10m   no node is able: gas01: does not
                                                    beat; gas03: gave up there:
                                                    broker: exit 1, 6 times in 10m
        avoids gas03 for 7m more: broker: exit 1, 6 times in 10m

    why: woodward cluster why grid
    if it dies: woodward cluster what-if kill gas02
    "#);
}

#[test]
fn a_quiet_day() {
    let mut sheet = night();
    sheet.nodes =
        vec![node("gas01", Seen::Alive, Some(220), &["acs"]), node("gas02", Seen::Alive, None, &[])];
    sheet.store.iter_mut().for_each(|member| member.fault = None);
    sheet.groups = vec![part("acs", Some("gas01"), 480, Some("active"), 273_600_000, "it had no owner")];
    let page = page(&sheet, Style::plain(false));
    fits(&page);
    insta::assert_snapshot!(page, @r#"
    cluster woodward on gas02: running, 1 of 1 group up
    right to run here: 2.3s more, without a further beat (term 9)

    node                                last beat   has
    * gas01                              0.2s ago   acs
    * gas02                                  here   nothing
    etcd
    * http://10.0.0.1:2379
    * http://10.0.0.2:2379, leads
    * http://10.0.0.3:2379
    group             node                    for   why
    * acs             gas01                 3d 4h   it had no owner

    why: woodward cluster why acs
    if it dies: woodward cluster what-if kill gas01
    "#);
}

#[test]
fn wishes_probes_and_maintenance() {
    let mut sheet = night();
    sheet.maintenance = Some(Word { by: "ben".to_owned(), text: None });
    sheet.term = None;
    sheet.store.clear();
    let mut acs = part("acs", Some("gas02"), 512, Some("active"), 4000, "it gave up: web: exit 1");
    acs.wish = Some(Wish { to: None, by: Word { by: "ana".to_owned(), text: Some("try".to_owned()) } });
    acs.probe = Some(Probe {
        node: "gas01".to_owned(),
        able: Some(false),
        why: Some("exit 1: no mirror".to_owned()),
    });
    let long =
        part("a-group-with-a-very-long-name", Some("a-node-with-one-too.example.org"), 3, None, 100, "x");
    assert_eq!(NOW - acs.since, 4000);
    sheet.groups = vec![acs, long];
    let page = page(&sheet, Style::plain(true));
    fits(&page);
    insta::assert_snapshot!(page, @r#"
    cluster woodward on gas02: this node may run nothing, 1 of 2 groups up
    maintenance by ben: nothing is started, moved or taken over by itself
    right to run here: none; it joins as soon as the store answers

    node                                last beat   has
    ! gas01           silent               4m ago   nothing
    ● gas02                                  here   acs
    - gas03                              0.1s ago   grid; drained by ana: "new
                                                    memory"
    group             node                    for   why
    ● acs             gas02                    4s   it gave up: web: exit 1; wanted
                                                    on another node by ana: "try";
                                                    gas01 could not run it: exit 1:
                                                    no mirror
    ~ a-group-with-a-very-long-name a-node-with-one-too.example.org 0s
                                                    x

    why: woodward cluster why a-group-with-a-very-long-name
    if it dies: woodward cluster what-if kill gas02
    "#);
}
