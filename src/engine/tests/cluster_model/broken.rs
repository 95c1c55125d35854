//! The machine with one rule taken away, by changing what goes in or comes out of it. Each must lead to something that
//! must never be; else the search would not notice if the rule itself were lost.

use crate::cluster_world::keeper::Keeper;
use woodward_engine::cluster::{Condition, Effect, Epoch, Event, Key, Name, Term, Timing, Value};
use woodward_engine::time::Time;

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// None.
    Nothing,
    /// The deadline is counted from the answer instead of from the sending: it counts for the newest beat.
    FromTheAnswer,
    /// The right to run lasts longer than others wait.
    HoldBeyondWait,
    /// The takeover goes through though a beat has come meanwhile.
    BlindTakeover,
    /// A late answer revives a term whose deadline has passed.
    AnswerRevives,
    /// The keeper is armed past the deadline.
    ArmedTooFar,
    /// What an old revision says of the owner is believed.
    OldOwner,
    /// A group is given away before everything of it is down.
    HastyHandover,
    /// A group is started before it is bound to the deadline.
    StartBeforeBinding,
    /// Others wait for one step only.
    Impatient,
}

impl Broken {
    /// All that are.
    pub const ALL: [Broken; 9] = [
        Broken::FromTheAnswer,
        Broken::HoldBeyondWait,
        Broken::BlindTakeover,
        Broken::AnswerRevives,
        Broken::ArmedTooFar,
        Broken::OldOwner,
        Broken::HastyHandover,
        Broken::StartBeforeBinding,
        Broken::Impatient,
    ];

    /// The rhythm of each node.
    pub fn timing(self, timing: Timing) -> Timing {
        match self {
            Broken::HoldBeyondWait => Timing { hold: timing.wait + timing.beat, ..timing },
            _ => timing,
        }
    }

    /// What a daemon hears.
    pub fn event(self, mut event: Event) -> Event {
        if self == Broken::Impatient {
            let hurry = |value: &mut Value| {
                if let Value::Epoch(member) = value {
                    member.timing.wait = member.timing.beat;
                }
            };
            match &mut event {
                Event::Read { entries, .. } => entries.iter_mut().for_each(|(_, _, value)| hurry(value)),
                Event::Changed { changes, .. } => {
                    changes.iter_mut().flat_map(|(_, value)| value).for_each(hurry)
                }
                _ => {}
            }
        }
        event
    }

    /// What a daemon asks for.
    pub fn effect(self, mut effect: Effect) -> Effect {
        match &mut effect {
            Effect::Commit { transaction, beat: false, .. } if self == Broken::BlindTakeover => {
                transaction.conditions.retain(|Condition::At(key, _)| !matches!(key, Key::Beat(_)));
            }
            _ => {}
        }
        effect
    }

    /// What a node reads.
    pub fn read(self, me: &Name, entries: &mut [(Key, u64, Value)]) {
        if self == Broken::OldOwner {
            for (_, _, value) in entries {
                match value {
                    Value::Owner(owner) if owner.from.as_ref() == Some(me) => owner.node = Some(me.clone()),
                    _ => {}
                }
            }
        }
    }

    /// The keeper is armed.
    pub fn arm(self, keeper: &mut Keeper, term: Term, deadline: Time, now: Time, timing: &Timing) -> bool {
        let armed = keeper.arm(term, deadline, now);
        if armed && self == Broken::ArmedTooFar {
            keeper.deadline = keeper.deadline.map(|deadline| deadline + timing.hold);
        }
        armed
    }

    /// The keeper takes in a group that starts.
    pub fn bind(self, keeper: &mut Keeper, group: &Name, epoch: Epoch, term: Term, now: Time) -> bool {
        let bound = keeper.bind(group, epoch, term, now);
        if bound && self == Broken::StartBeforeBinding {
            keeper.runs.get_mut(group).expect("just bound").bound = None;
        }
        bound
    }
}
