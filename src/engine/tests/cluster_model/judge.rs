//! What must never be.

use super::*;

impl State {
    /// The register takes a transaction; what it changes is judged.
    pub(super) fn carry(
        &mut self,
        world: &World,
        n: usize,
        transaction: &Transaction,
        seen: &mut Seen,
    ) -> Answer {
        let before = self.store.get().register.clone();
        let answer = self.store.change().commit(transaction);
        self.forget();
        if !matches!(answer, Answer::Done(_)) {
            return answer;
        }
        let me = &world.names[n];
        for write in &transaction.writes {
            match write {
                Write::Put(Key::Owner(group), Value::Owner(owner)) => {
                    let was = before.owner(group).and_then(|(_, owner)| owner.node.clone());
                    self.require(owner.from == was || was.is_none(), || {
                        format!("I7: {group} came from {was:?}, and {:?} is written down", owner.from)
                    });
                    self.require(owner.by == *me, || format!("I7: {me} signs as {}", owner.by));
                    let stranger = was.as_ref().is_some_and(|was| was != me);
                    let fenced = stranger
                        && transaction.writes.iter().any(|write| match write {
                            Write::Put(Key::Epoch(of), _) => Some(of) == was.as_ref(),
                            _ => false,
                        });
                    let over =
                        was.as_ref().and_then(|was| before.member(was)).is_none_or(|m| m.fenced.is_some());
                    self.require(!stranger || fenced || over, || {
                        format!("{me} takes {group} from {was:?}, whose term stands")
                    });
                    seen.takeover |= fenced;
                    seen.handover |= matches!(owner.why, Why::Moved(_) | Why::Drained(_) | Why::Left)
                        && was.is_some()
                        && owner.node.is_some()
                        && owner.node != was;
                    if was != owner.node {
                        self.unmanned(world, group, was.as_ref());
                    }
                }
                Write::Put(Key::Epoch(of), Value::Epoch(member)) => {
                    let earlier = before.member(of);
                    // A node that leaves in order ends its term itself.
                    let leaves = of == me && member.fenced.as_ref() == Some(me);
                    let rises = earlier
                        .is_none_or(|e: &Member| member.term > e.term || leaves && member.term == e.term);
                    self.require(rises, || {
                        format!("I3: the term of {of} does not rise: {earlier:?}, {member:?}")
                    });
                    seen.rejoin |= of == me && earlier.is_some_and(|earlier| earlier.fenced.is_some());
                }
                _ => {}
            }
        }
        answer
    }

    /// A group gets another owner: nothing of it may be at work where it was.
    pub(super) fn unmanned(&mut self, world: &World, group: &Name, was: Option<&Name>) {
        let Some(n) = world.names.iter().position(|name| Some(name) == was) else { return };
        let (node, now) = (self.node(n), self.clock(n));
        let able =
            node.power && !node.frozen && node.keeper.runs.contains_key(group) && !node.keeper.due(now);
        self.require(!able, || format!("{group} is given away from {} while it runs there", world.names[n]));
    }

    pub(super) fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.wrong.is_none() {
            self.wrong = Some(what());
        }
    }

    /// At most one node has a group running and able to act, but for the instant in which a frozen one wakes.
    pub(super) fn judge(&mut self, world: &World) {
        for group in &world.groups {
            let at_work: Vec<usize> = (0..self.nodes.len())
                .filter(|n| {
                    let (node, now) = (self.node(*n), self.clock(*n));
                    let waking = node.woke && node.keeper.due(now);
                    node.awake() && !waking && node.keeper.runs.contains_key(&group.name)
                })
                .collect();
            let name = &group.name;
            self.require(at_work.len() < 2, || {
                let who: Vec<&Name> = at_work.iter().map(|n| &world.names[*n]).collect();
                format!("I1: {name} is at work on {who:?}")
            });
        }
    }
}
