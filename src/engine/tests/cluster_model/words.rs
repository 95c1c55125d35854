//! States and acts in words.

use super::*;

impl State {
    /// What an act is, in words.
    pub fn say(&self, world: &World, act: &Act) -> String {
        let flight = |n: &usize, f: &usize| -> String {
            let flight = &self.node(*n).flights[*f];
            let age = (self.clock(*n).0 - flight.sent.0) / TICK;
            let what = if flight.beat { "beat".to_owned() } else { words(&flight.transaction) };
            format!("{}'s {what} (sent {age} ago)", world.names[*n])
        };
        let name = |n: &usize| &world.names[*n];
        match act {
            Act::Clock => "time goes on".into(),
            Act::Turn(n) => format!("{} looks at its clock", name(n)),
            Act::Fire(n) => format!("{}'s keeper kills", name(n)),
            Act::Carry(n, f) => format!("the register gets {}", flight(n, f)),
            Act::Answer(n, f) => {
                format!(
                    "{} gets the answer {:?} to {}",
                    name(n),
                    self.node(*n).flights[*f].answer.unwrap(),
                    flight(n, f)
                )
            }
            Act::GiveUp(n, f) => format!("no answer comes to {}", flight(n, f)),
            Act::Lose(n, f) => format!("lost: {}", flight(n, f)),
            Act::Read(n) => format!("{} reads the register", name(n)),
            Act::News(n) => {
                let (revision, changes) = self.store.get().after(self.node(*n).watch.unwrap().0).unwrap();
                let keys: Vec<_> = changes.iter().map(|(key, _)| key).collect();
                format!("{} sees revision {revision}: {keys:?}", name(n))
            }
            Act::Tear(n) => format!("{}'s watch tears", name(n)),
            Act::Freeze(n) => format!("{} freezes", name(n)),
            Act::Thaw(n) => format!("{} wakes", name(n)),
            Act::Nap(n) => format!("{}'s daemon stands still", name(n)),
            Act::Wake(n) => format!("{}'s daemon goes on", name(n)),
            Act::Cut(n) => format!("{} loses power", name(n)),
            Act::Boot(n) => format!("{} boots", name(n)),
            Act::Die(n) => format!("{}'s daemon dies", name(n)),
            Act::Born(n) => format!("{} has a new daemon", name(n)),
            Act::Up(n, group) => format!("{group} is up on {}", name(n)),
            Act::Gone(n, group) => format!("{group} is down on {}", name(n)),
            Act::Fail(n, group) => format!("{group} gives up on {}", name(n)),
            Act::Ask(r) => format!("{:?}", self.left.get().requests[*r].1),
        }
    }

    /// Time and what runs, in one line.
    pub fn show(&self, world: &World) -> String {
        let start = 100 * TICK;
        let hosts = (0..self.nodes.len()).map(|n| {
            let (node, now) = (self.node(n), self.clock(n));
            let left = match node.keeper.deadline {
                Some(deadline) if node.keeper.term.is_some() => {
                    format!("{:+}", (deadline.0 as i64 - now.0 as i64) / TICK as i64)
                }
                _ => "-".into(),
            };
            let runs: Vec<_> = node
                .keeper
                .runs
                .iter()
                .map(|(g, run)| format!("{g} {:?} {:?}", run.epoch, run.phase))
                .collect();
            format!(
                "{} [{left}{}] {}",
                world.names[n],
                if node.frozen { " frozen" } else { "" },
                runs.join(", ")
            )
        });
        format!("{:>3}  {}", (self.now - start) / TICK, hosts.collect::<Vec<_>>().join("   "))
    }
}

fn words(transaction: &Transaction) -> String {
    let conditions = transaction.conditions.iter().map(|Condition::At(key, at)| format!("{key:?} at {at}"));
    let writes = transaction.writes.iter().map(|write| match write {
        Write::Put(key, Value::Owner(owner)) => format!("{key:?} = {:?} because {:?}", owner.node, owner.why),
        Write::Put(key, Value::Epoch(member)) => {
            format!("{key:?} = {:?} fenced {:?}", member.term, member.fenced)
        }
        Write::Put(key, _) => format!("{key:?}"),
        Write::Delete(key) => format!("no {key:?}"),
    });
    let (conditions, writes): (Vec<_>, Vec<_>) = (conditions.collect(), writes.collect());
    format!("[if {} then {}]", conditions.join(", "), writes.join(", "))
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
