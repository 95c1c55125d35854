//! Which faults, where and when: from the seed, the tree and the options alone, so that the same of these gives the same
//! faults.
//!
//! No account of restarts is used up: of what a limit allows in its period one restart is always left, so the schedule
//! by itself makes nobody give up.

use std::collections::HashMap;
use std::time::Duration;

use crate::runtime::faults::Kind;

/// What is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) seed: u64,
    /// How long.
    pub(super) time: Duration,
    /// One fault in this time, on the average.
    pub(super) every: Duration,
    /// Which kinds.
    pub(super) kinds: Vec<Kind>,
    /// The tree, for what is done to its daemon.
    pub(super) tree: String,
}

/// A child that may be harmed, and the account its restarts count in.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) path: String,
    /// Whose account: the child's own, or its supervisor's.
    pub(super) account: String,
    /// Restarts in the period.
    pub(super) intensity: u32,
    /// Seconds.
    pub(super) period: u32,
}

/// One fault to come.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Planned {
    /// Its number, from 1.
    pub(super) n: u64,
    /// Milliseconds from the begin.
    pub(super) at: u64,
    pub(super) path: String,
    pub(super) kind: Kind,
    /// Milliseconds that it lasts, where it has a length.
    pub(super) time: u64,
    /// Which process, where there is a choice.
    pub(super) pick: u64,
}

/// All of them, and how many found no place within the limits.
pub(super) fn schedule(wish: &Wish, targets: &[Target]) -> (Vec<Planned>, u64) {
    let mut random = Random(wish.seed);
    let mut accounts: HashMap<&str, Vec<u64>> = HashMap::new();
    let (mut planned, mut left_out, mut at) = (Vec::new(), 0, 0);
    let every = u64::try_from(wish.every.as_millis()).unwrap_or(u64::MAX).max(1);
    let end = u64::try_from(wish.time.as_millis()).unwrap_or(u64::MAX);
    loop {
        // Half to one and a half of the mean.
        at += every / 2 + random.below(every + 1);
        if at >= end || wish.kinds.is_empty() {
            return (planned, left_out);
        }
        let kind = wish.kinds[random.pick(wish.kinds.len())];
        let first = random.pick(targets.len());
        let (length, pick) = (random.below(1000), random.next());
        let free = (0..targets.len()).map(|n| &targets[(first + n) % targets.len()]);
        let target = free.into_iter().find(|target| {
            let used = accounts.entry(&target.account).or_default();
            let period = u64::from(target.period) * 1000;
            used.retain(|then| then + period > at);
            used.len() + cost(kind) <= allowed(target.intensity) || cost(kind) == 0
        });
        let path = match (kind, target) {
            (Kind::Daemon, _) => wish.tree.clone(),
            (_, Some(target)) => {
                let used = accounts.entry(&target.account).or_default();
                used.extend(std::iter::repeat_n(at, cost(kind)));
                target.path.clone()
            }
            (_, None) => {
                left_out += 1;
                continue;
            }
        };
        let (least, most) = lengths(kind, end);
        let time = least + (most - least) * length / 1000;
        planned.push(Planned { n: planned.len() as u64 + 1, at, path, kind, time, pick });
    }
}

/// Restarts that a fault may lead to.
pub(super) fn cost(kind: Kind) -> usize {
    match kind {
        Kind::Flood | Kind::Daemon => 0,
        // What hangs may be found sick.
        Kind::Kill | Kind::KillOne | Kind::KillAll | Kind::Hang | Kind::SlowStart => 1,
        Kind::ExecFailure => 2,
    }
}

/// Of a limit one restart is left, if it allows more than one.
fn allowed(intensity: u32) -> usize {
    intensity.saturating_sub(1).max(intensity.min(1)) as usize
}

/// Shortest and longest, ms; in a short run nothing lasts longer than an eighth of it.
fn lengths(kind: Kind, end: u64) -> (u64, u64) {
    let (least, most) = match kind {
        Kind::Hang => (500, 5000),
        Kind::SlowStart => (200, 3000),
        Kind::Flood => (200, 2000),
        Kind::Kill | Kind::KillOne | Kind::KillAll | Kind::ExecFailure | Kind::Daemon => return (0, 0),
    };
    let most = most.min(end / 8).max(1);
    (least.min(most), most)
}

/// SplitMix64, so that a seed means the same in every version and on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `n` - 1.
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn pick(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str, account: &str, intensity: u32) -> Target {
        Target { path: path.to_owned(), account: account.to_owned(), intensity, period: 60 }
    }

    fn wish(seed: u64) -> Wish {
        let (time, every) = (Duration::from_secs(600), Duration::from_secs(2));
        Wish { seed, time, every, kinds: Kind::ALL.to_vec(), tree: "t".to_owned() }
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_another_one_others() {
        let targets = [target("t/a", "t", 1000), target("t/g/b", "t/g", 1000)];
        let (one, left_out) = schedule(&wish(7), &targets);
        assert_eq!(schedule(&wish(7), &targets).0, one);
        assert_ne!(schedule(&wish(8), &targets).0, one);
        assert_eq!(left_out, 0);
        assert!((250..350).contains(&one.len()), "{} faults, one every 2s in 10m", one.len());
        assert!(Kind::ALL.iter().all(|kind| one.iter().any(|planned| planned.kind == *kind)));
        assert!(one.iter().all(|planned| planned.at < 600_000 && planned.time <= 5000));
    }

    #[test]
    fn no_limit_is_used_up() {
        let targets =
            [target("t/a", "t", 5), target("t/b", "t", 5), target("t/c", "t/c", 1), target("t/d", "t/d", 0)];
        for seed in 0..50 {
            let (planned, left_out) = schedule(&wish(seed), &targets);
            assert!(left_out > 0);
            for (account, most) in [("t", 4), ("t/c", 1), ("t/d", 0)] {
                let of = |planned: &&Planned| {
                    targets.iter().any(|t| t.path == planned.path && t.account == account)
                };
                let its: Vec<&Planned> = planned.iter().filter(of).collect();
                for first in &its {
                    let window = its.iter().filter(|other| (first.at..first.at + 60_000).contains(&other.at));
                    let used: usize = window.map(|planned| cost(planned.kind)).sum();
                    assert!(used <= most, "seed {seed}: {used} restarts of {account} in a minute");
                }
            }
        }
    }

    #[test]
    fn in_a_short_run_nothing_lasts_long() {
        let short = Wish { time: Duration::from_secs(8), every: Duration::from_millis(100), ..wish(1) };
        let (planned, _) = schedule(&short, &[target("t/a", "t", 1000)]);
        assert!(planned.iter().all(|planned| planned.time <= 1000));
    }
}
