//! Random trees.

use crate::random::Random;
use std::time::Duration;
use woodward_engine::event::Key;
use woodward_engine::spec::*;

/// What kind of trees.
#[derive(Clone, Copy, Debug)]
pub struct Flavour {
    /// Share of supervisors by dependencies, in percent.
    pub dependencies: u64,
    /// Only what OTP has.
    pub plain: bool,
}

pub fn random_tree(random: &mut Random, flavour: Flavour) -> Tree {
    let shutdown = (!flavour.plain && random.chance(30)).then(|| Duration::from_millis(random.next() % 3000));
    let mut root = random_supervisor(random, flavour, 1);
    if !flavour.plain {
        root.exhausted = random.pick(&[
            Exhausted::Exit,
            Exhausted::Escalate,
            Exhausted::Park,
            Exhausted::Failover,
            Exhausted::Reboot,
        ]);
    }
    Tree { id: "t".into(), root, shutdown, seed: random.next() }
}

fn random_supervisor(random: &mut Random, flavour: Flavour, level: usize) -> Supervisor {
    let pool = level > 1 && random.chance(15);
    let auto_shutdown = if random.chance(75) {
        AutoShutdown::Never
    } else {
        random.pick(&[AutoShutdown::AnySignificant, AutoShutdown::AllSignificant])
    };
    let auto_shutdown = if pool { AutoShutdown::Never } else { auto_shutdown };
    let order =
        if !pool && random.chance(flavour.dependencies) { Order::Dependencies } else { Order::Listed };
    let beyond = !flavour.plain;
    let children = if pool {
        Children::Template(Box::new(random_child(random, flavour, level + 9, "p", auto_shutdown)))
    } else {
        let n = random.below(5);
        let mut list: Vec<Child> = Vec::new();
        for i in 0..n {
            let mut child = random_child(random, flavour, level, &format!("c{i}"), auto_shutdown);
            if order == Order::Dependencies {
                child.after = list.iter().filter(|_| random.chance(40)).map(|c| c.id.clone()).collect();
            }
            list.push(child);
        }
        Children::List(list)
    };
    Supervisor {
        strategy: if pool {
            Strategy::SimpleOneForOne
        } else {
            random.pick(&[Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne])
        },
        intensity: random.below(6) as u32,
        period: 1 + random.below(10) as u32,
        auto_shutdown,
        order,
        initial_start: if beyond && random.chance(50) { InitialStart::Retry } else { InitialStart::Fail },
        exhausted: if beyond && random.chance(20) { Exhausted::Park } else { Exhausted::Escalate },
        retry_after: (beyond && random.chance(30)).then(|| Duration::from_millis(random.next() % 5000)),
        children,
    }
}

pub fn random_child(
    random: &mut Random,
    flavour: Flavour,
    level: usize,
    id: &str,
    auto: AutoShutdown,
) -> Child {
    let beyond = !flavour.plain;
    let oneshot = beyond && random.chance(12);
    let restart =
        random.pick(&[Restart::Permanent, Restart::Permanent, Restart::Transient, Restart::Temporary]);
    let restart = if oneshot && restart == Restart::Permanent { Restart::Transient } else { restart };
    let is_supervisor = level < 3 && random.chance(35);
    let ms = |random: &mut Random, most: u64| Duration::from_millis(random.next() % most);
    Child {
        id: id.into(),
        restart,
        significant: auto != AutoShutdown::Never && restart != Restart::Permanent && random.chance(60),
        shutdown: match random.below(6) {
            0 => Shutdown::BrutalKill,
            1 => Shutdown::Infinity,
            _ => Shutdown::Time(ms(random, 2000)),
        },
        after: Vec::new(),
        backoff: (beyond && random.chance(40)).then(|| Backoff {
            immediate: random.below(3) as u32,
            first: ms(random, 500),
            factor: 2.0,
            max: Duration::from_millis(3000),
            jitter_percent: 10,
            reset_after: ms(random, 3000),
        }),
        kind: if is_supervisor {
            Kind::Supervisor(random_supervisor(random, flavour, level + 1))
        } else {
            Kind::Worker(Worker {
                key: Key(0),
                oneshot,
                ready: Ready {
                    probe: beyond && random.chance(30),
                    within: (beyond && random.chance(30)).then(|| ms(random, 2000)),
                    settle: if beyond && random.chance(20) { ms(random, 800) } else { Duration::ZERO },
                },
                limit: (beyond && random.chance(20)).then(|| Limit {
                    intensity: random.below(4) as u32,
                    period: 1 + random.below(10) as u32,
                    exhausted: random.pick(&[Exhausted::Park, Exhausted::Escalate]),
                    retry_after: random.chance(50).then(|| ms(random, 3000)),
                }),
                ends: Ends {
                    success: Vec::new(),
                    prevent: if beyond && random.chance(20) { vec![Status::Code(78)] } else { Vec::new() },
                    force: Vec::new(),
                    stop_signal: 15,
                },
                essential: beyond && random.chance(3),
                runtime_max: (oneshot && random.chance(50)).then(|| ms(random, 2000)),
                shutdown_if_sick: (beyond && random.chance(10)).then(|| Shutdown::Time(ms(random, 2000))),
            })
        },
    }
}
