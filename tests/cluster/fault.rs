//! What may happen to a site, and what must come of it.

use super::bed::HOSTS;
use super::site::Site;

/// One misfortune. `h` is the host it happens to, as a rule the one that works on the group.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Cable and processes at once.
    PowerOff,
    /// The same, and it leads etcd.
    PowerOffOfTheLeader,
    /// Every process stands still; the network card answers.
    Freeze,
    /// The same with the cable out, as a stopped virtual machine.
    FreezeAndCut,
    /// What one host sends to another is lost.
    Cut(usize, usize),
    /// It hears all and nobody hears it.
    Dumb,
    /// It hears nobody.
    Deaf,
    /// It is cut off from the two others.
    Minority,
    /// Another host is cut off from it and the third.
    Majority,
    /// Nobody reaches anybody.
    Everybody,
    /// etcd killed on all hosts.
    StoreDead,
    /// etcd stopped on all hosts.
    StoreStopped,
    /// etcd at its quota.
    StoreFull,
    /// SIGKILL to the daemon.
    DaemonKilled,
    /// SIGSTOP to the daemon.
    DaemonStopped,
    /// SIGKILL to the keeper.
    KeeperKilled,
    /// SIGSTOP to the keeper.
    KeeperStopped,
    /// SIGSTOP to the keeper, then SIGKILL to the daemon: only the kernel is left.
    KeeperStoppedDaemonKilled,
    /// A service hangs in exec while the host is cut off.
    ExecHangs,
    /// A service forks as often as it may, while the host is cut off.
    ForkBomb,
    /// No room on its disk, nor in its /run, while the host is cut off.
    DiskFull,
    /// A twentieth of a processor for all of the host.
    Starved,
    /// Of two packets one is lost, again and again not.
    Flapping,
    /// A service of the group ends badly whenever it is started there.
    GivesUp,
    /// The same everywhere.
    AllGiveUp,
}

/// What must come of it while it lasts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// Another host works on the group.
    Elsewhere,
    /// Nobody does.
    Nowhere,
    /// Whatever is safe.
    Open,
}

use Fault::*;

impl Fault {
    /// Each once.
    pub fn all() -> Vec<Fault> {
        let hosts = 0..HOSTS.len();
        let pairs = hosts.clone().flat_map(|a| hosts.clone().map(move |b| (a, b))).filter(|(a, b)| a != b);
        let mut all: Vec<Fault> = pairs.map(|(a, b)| Cut(a, b)).collect();
        all.extend([
            PowerOff,
            PowerOffOfTheLeader,
            Freeze,
            FreezeAndCut,
            Dumb,
            Deaf,
            Minority,
            Majority,
            Everybody,
            StoreDead,
            StoreStopped,
            StoreFull,
            DaemonKilled,
            DaemonStopped,
            KeeperKilled,
            KeeperStopped,
            KeeperStoppedDaemonKilled,
            ExecHangs,
            ForkBomb,
            DiskFull,
            Starved,
            Flapping,
            GivesUp,
            AllGiveUp,
        ]);
        all
    }

    /// Those that may happen to a second host at the same time.
    pub fn beside() -> Vec<Fault> {
        vec![
            PowerOff,
            Freeze,
            FreezeAndCut,
            DaemonKilled,
            DaemonStopped,
            KeeperKilled,
            KeeperStopped,
            Starved,
            Flapping,
        ]
    }

    /// What must come of it.
    pub fn outcome(&self) -> Outcome {
        match self {
            PowerOff | PowerOffOfTheLeader | Freeze | FreezeAndCut | Dumb | Deaf | Minority => {
                Outcome::Elsewhere
            }
            ExecHangs | ForkBomb | DiskFull | KeeperKilled | GivesUp => Outcome::Elsewhere,
            // The stopped keeper's services run on; nobody hears them any more.
            KeeperStoppedDaemonKilled => Outcome::Elsewhere,
            Everybody | StoreDead | StoreStopped | StoreFull | AllGiveUp => Outcome::Nowhere,
            Majority | Cut(..) | DaemonKilled | DaemonStopped | Starved | Flapping => Outcome::Open,
            // Its daemon sends SIGCONT, and kills it if that does not help.
            KeeperStopped => Outcome::Open,
        }
    }

    /// Lets it happen to host `h`, which works on `group`.
    pub fn inflict(&self, site: &Site, h: &str, group: &str) {
        let bed = &site.bed;
        let others = || HOSTS.into_iter().filter(|host| *host != h).collect::<Vec<_>>();
        let alone = |host: &str| {
            let rest: Vec<&str> = HOSTS.into_iter().filter(|other| *other != host).collect();
            bed.run(&["partition", &format!("{host}|{}", rest.join(","))]);
        };
        let mischief = |host: &str, what: &str| {
            bed.shell(host, &format!("mkdir -p /run/mischief; : > /run/mischief/{group}.{what}"));
        };
        match self {
            PowerOff => drop(bed.run(&["kill", h])),
            PowerOffOfTheLeader => {
                bed.lead(h);
                bed.run(&["kill", h]);
            }
            Freeze => drop(bed.run(&["pause", h])),
            FreezeAndCut => {
                bed.run(&["pause", h]);
                alone(h);
            }
            Cut(a, b) => drop(bed.run(&["cut", HOSTS[*a], HOSTS[*b]])),
            Dumb => others().iter().for_each(|other| drop(bed.run(&["cut", h, other]))),
            Deaf => others().iter().for_each(|other| drop(bed.run(&["cut", other, h]))),
            Minority => alone(h),
            Majority => alone(others()[0]),
            Everybody => drop(bed.run(&["partition", &HOSTS.join("|")])),
            StoreDead => drop(bed.run(&["etcd", "kill"])),
            StoreStopped => drop(bed.run(&["etcd", "stop"])),
            StoreFull => drop(bed.run(&["etcd", "full"])),
            DaemonKilled => site.daemon(h).into_iter().for_each(|pid| site.signal(h, "KILL", pid)),
            DaemonStopped => site.daemon(h).into_iter().for_each(|pid| site.signal(h, "STOP", pid)),
            KeeperKilled => site.signal(h, "KILL", site.keeper(h)),
            KeeperStopped => site.signal(h, "STOP", site.keeper(h)),
            KeeperStoppedDaemonKilled => {
                let daemon = site.daemon(h);
                site.signal(h, "STOP", site.keeper(h));
                daemon.into_iter().for_each(|pid| site.signal(h, "KILL", pid));
            }
            ExecHangs => {
                let hold = crate::bed::repository("tests/cluster-bed/hold");
                let hold = hold.to_str().expect("a path in UTF-8");
                bed.spawn_once(h, "hold", &[hold, "/usr/local/bin/worker"]);
                bed.wait("the exec to be held", |bed| {
                    bed.shell(h, "grep -q held /var/log/bed/hold.log").status.success()
                });
                bed.shell(h, "kill -9 $(pgrep -f '[s]leep 100000')");
                alone(h);
            }
            ForkBomb => {
                mischief(h, "bomb");
                bed.wait("the bomb to go off", |bed| {
                    bed.shell(h, "[ $(pgrep -u nobody | wc -l) -gt 20 ]").status.success()
                });
                alone(h);
            }
            DiskFull => {
                bed.run(&["fill", h, "on"]);
                alone(h);
            }
            Starved => drop(bed.run(&["slow", h, "5"])),
            Flapping => drop(bed.run(&["loss", h, "50"])),
            GivesUp => mischief(h, "bad"),
            AllGiveUp => HOSTS.into_iter().for_each(|host| mischief(host, "bad")),
        }
    }

    /// Makes all good again, whatever it was.
    pub fn mend(&self, site: &Site, h: &str) {
        let bed = &site.bed;
        bed.run(&["heal"]);
        match self {
            PowerOff | PowerOffOfTheLeader => drop(bed.run(&["boot", h])),
            Freeze | FreezeAndCut => drop(bed.run(&["resume", h])),
            StoreDead => drop(bed.run(&["etcd", "run"])),
            StoreStopped => drop(bed.run(&["etcd", "go"])),
            StoreFull => drop(bed.run(&["etcd", "room"])),
            DaemonStopped => {
                site.daemon(h).into_iter().for_each(|pid| site.signal(h, "CONT", pid));
            }
            KeeperKilled => site.start(h),
            KeeperStopped | KeeperStoppedDaemonKilled => {
                // It may have been ended by its daemon; then woodward is started anew, as an init would.
                site.signal(h, "CONT", site.keeper(h));
                site.revive(h);
            }
            ExecHangs => drop(bed.shell(h, "kill $(cat /run/bed/pids/hold); rm -f /var/log/bed/hold.log")),
            ForkBomb => drop(bed.shell(h, "rm -f /run/mischief/*; kill -9 $(pgrep -u nobody)")),
            DiskFull => {
                bed.run(&["fill", h, "off"]);
                // An etcd that cannot write ends.
                if !bed.shell(h, "kill -0 $(cat /run/bed/pids/etcd)").status.success() {
                    bed.run(&["etcd", "run", h]);
                }
            }
            Starved => drop(bed.run(&["slow", h, "0"])),
            GivesUp | AllGiveUp => HOSTS.into_iter().for_each(|host| {
                bed.shell(host, "rm -f /run/mischief/*");
            }),
            _ => {}
        }
    }
}
