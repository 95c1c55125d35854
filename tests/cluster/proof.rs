//! Whatever fails, at most one host works on a group, and somebody does again.

use std::thread::sleep;
use std::time::Duration;

use super::bed::{HOSTS, Judged, now};
use super::fault::{Fault, Outcome};
use super::site::{Rhythm, Site};
use crate::random::Random;

/// What the witness must have seen.
#[derive(Clone, Copy, PartialEq)]
enum Ways {
    /// Never two hosts at once and nothing with an old token, neither over the network nor, but for the instant of waking, on
    /// the machine.
    Both,
    /// The same of what went over the network.
    Network,
}

/// Asks the witness.
fn check(site: &Site, since: f64, ways: Ways, what: &str) -> Vec<Judged> {
    let judged = site.bed.verdict(since);
    for found in &judged {
        let over_the_network = !found.group.ends_with("/local");
        if !over_the_network && ways == Ways::Network {
            continue;
        }
        let wrong = found.overlaps + found.stale + if over_the_network { found.waking } else { 0 };
        assert_eq!(wrong, 0, "{what}: {found:#?}\n{}", site.bed.report());
    }
    judged
}

/// With the keeper stopped and its daemon dead nobody is left who could kill: the kernel keeps what is written from the others,
/// and nothing more.
fn ways(fault: &Fault) -> Ways {
    if *fault == Fault::KeeperStoppedDaemonKilled { Ways::Network } else { Ways::Both }
}

/// One fault from a calm start, with perhaps a second one beside it, until all groups are at work again.
fn suffer(site: &Site, fault: &Fault, group: &str, lasts: Duration, beside: Option<(&Fault, &str)>) {
    let bed = &site.bed;
    bed.wait("etcd on all hosts", |bed| bed.all_of_etcd());
    site.wait_for_work();
    let h = site.owner(group);
    let beside = beside.filter(|(_, host)| *host != h);
    let before = now();
    println!("{before:.3} {fault:?} of {h}, which has {group}, for {lasts:?}; beside it {beside:?}");
    fault.inflict(site, &h, group);
    if let Some((fault, host)) = beside {
        fault.inflict(site, host, group);
    }
    match fault.outcome() {
        Outcome::Elsewhere if beside.is_none() => {
            bed.wait(&format!("another than {h} to work on {group} ({fault:?})"), |bed| {
                bed.active(group).is_some_and(|work| work.host != h && work.at > before)
            });
        }
        Outcome::Nowhere => {
            bed.wait(&format!("nobody to work on {group} ({fault:?})"), |bed| {
                bed.active(group).is_none() && bed.active(&format!("{group}/local")).is_none()
            });
            sleep(lasts);
            assert_eq!(bed.active(group), None, "{fault:?}\n{}", bed.report());
        }
        _ => sleep(lasts),
    }
    println!("{:.3} mended", now());
    if let Some((fault, host)) = beside {
        fault.mend(site, host);
    }
    fault.mend(site, &h);
    let mended = now();
    site.wait_for_work();
    println!("{:.3} at work, {:.1} s after", now(), now() - mended);
    check(site, before, ways(fault), &format!("{fault:?} of {h}, {beside:?}"));
}

/// How often groups have changed hands: no more than faults, mends and what they bring about explain.
fn check_moves(judged: &[Judged], faults: usize) {
    for found in judged.iter().filter(|found| !found.group.ends_with("/local")) {
        let mut tokens: Vec<u64> = found.spans.iter().map(|span| span.1).collect();
        tokens.dedup();
        println!("{}: {} writes, {} epochs", found.group, found.writes, tokens.len());
        assert!(
            tokens.len() <= 4 * faults + 2,
            "{} epochs of {} in {faults} faults",
            tokens.len(),
            found.group
        );
    }
}

/// All faults; of them only those that `FAILOVER_ONLY` names, separated by commas.
fn faults() -> Vec<Fault> {
    let only = std::env::var("FAILOVER_ONLY").ok();
    let named = |fault: &Fault| {
        let name = format!("{fault:?}");
        only.as_ref().is_none_or(|only| only.split(',').any(|word| name.split('(').next() == Some(word)))
    };
    Fault::all().into_iter().filter(named).collect()
}

#[test]
fn whatever_fails_at_most_one_host_works_and_one_does_again() {
    let site = Site::up("proof", &["g"], &Rhythm::Fast);
    let (start, faults) = (now(), faults());
    for fault in &faults {
        suffer(&site, fault, "g", Duration::from_secs(3), None);
    }
    check_moves(&check(&site, start, Ways::Network, "in all"), faults.len());
}

/// `90s`, `10m`, `1h`.
fn seconds(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = ["s", "m", "h"].iter().position(|known| *known == unit)?;
    Some(number.parse::<f64>().ok()? * [1.0, 60.0, 3600.0][unit])
}

/// Of `FAILOVER_SEED` and for `FAILOVER_FOR`; without them for a short while.
#[test]
fn random_faults_never_make_two_hosts_work_at_once() {
    let seed =
        std::env::var("FAILOVER_SEED").map_or(1, |text| text.parse().expect("FAILOVER_SEED is a number"));
    let lasts = std::env::var("FAILOVER_FOR").unwrap_or("30s".to_owned());
    let until =
        now() + seconds(&lasts).unwrap_or_else(|| panic!("FAILOVER_FOR={lasts}: such as 90s, 10m, 1h"));
    let groups = ["a", "b", "c"];
    let site = Site::up("nemesis", &groups, &Rhythm::Fast);
    let (all, start, mut random, mut faults) = (faults(), now(), Random::new(seed), 0);
    println!("seed {seed}");
    while now() < until {
        let (fault, group) = (random.pick(&all), random.pick(&groups));
        let lasts = Duration::from_millis(300 + random.next() % 6000);
        let (second, host, both) = (random.pick(&Fault::beside()), random.pick(&HOSTS), random.chance(25));
        suffer(&site, &fault, group, lasts, both.then_some((&second, host)));
        sleep(Duration::from_millis(random.next() % 2000));
        faults += 1;
    }
    println!("seed {seed}: {faults} faults");
    check_moves(&check(&site, start, Ways::Network, "in all"), faults);
}

#[test]
fn a_daemon_that_comes_back_within_hold_costs_no_process() {
    let site = Site::up("daemon", &["g"], &Rhythm::Patient);
    let (h, start) = (site.owner("g"), now());
    let (writers, token) = (site.writers(&h, "g"), site.bed.active("g").map(|work| work.token));
    assert!(!writers.is_empty());
    for _ in 0..3 {
        let old = site.daemon(&h);
        site.signal(&h, "KILL", old.expect("a daemon runs"));
        site.bed.wait("another daemon", |_| site.daemon(&h).filter(|new| Some(*new) != old));
    }
    // Without a beat of the last one the right to run would be over by then.
    sleep(Duration::from_secs(17));
    assert_eq!(site.writers(&h, "g"), writers, "{}", site.bed.report());
    assert_eq!(site.owner("g"), h);
    assert_eq!(site.bed.active("g").map(|work| work.token), token);
    check(&site, start, Ways::Both, "daemons killed");
}

/// A jump forward may be a sleep that was not noticed, and ends the term; one backward is nothing.
#[test]
fn a_wall_clock_that_jumps_makes_no_two_hosts_work() {
    let site = Site::up("clocks", &["g"], &Rhythm::FastOwnClock);
    let start = now();
    for offset in ["+3600", "-90", "+0 x1.5"] {
        let (h, before) = (site.owner("g"), now());
        site.bed.run(&["skew", &h, offset]);
        sleep(Duration::from_secs(3));
        site.bed.wait(&format!("work after a jump of {offset}"), |bed| {
            bed.active("g").filter(|work| work.at > before + 3.0)
        });
    }
    check_moves(&check(&site, start, Ways::Both, "clocks that jump"), 3);
}
