//! Breadth first through every state: the first thing that must never be is found by a shortest way.

use crate::state::{Act, Budget, Seen, State, World};
use std::collections::HashMap;
use std::fmt::Write;

/// What a search has found.
pub struct Found {
    /// Different states.
    pub states: usize,
    /// Steps from the first state to the last.
    pub depth: usize,
    /// What was left unlooked at, because there was too much.
    pub cut_short: bool,
    /// What has happened on some way.
    pub seen: Seen,
    /// What must never be, with the way to it.
    pub wrong: Option<String>,
}

/// Looks at every state that can be reached, `most` at most.
pub fn search(world: &World, budget: &Budget, most: usize) -> Found {
    let first = State::new(world, budget);
    let mut known: HashMap<u128, u32> = HashMap::new();
    let mut origins: Vec<(u32, Act)> = vec![(0, Act::Clock)];
    known.insert(first.key(), 0);
    let mut seen = Seen::default();
    let mut layer = vec![(0u32, first)];
    let mut depth = 0;
    while !layer.is_empty() && known.len() < most {
        let mut next = Vec::new();
        for (index, state) in layer {
            for act in state.acts() {
                let after = state.after(world, &act, &mut seen);
                if let Some(wrong) = &after.wrong {
                    let mut way = vec![act.clone()];
                    let mut at = index;
                    while at != 0 {
                        let (before, act) = origins[at as usize].clone();
                        way.push(act);
                        at = before;
                    }
                    way.reverse();
                    let wrong = Some(tell(world, budget, &way, wrong));
                    return Found { states: known.len(), depth: depth + 1, cut_short: false, seen, wrong };
                }
                let number = origins.len() as u32;
                known.entry(after.key()).or_insert_with(|| {
                    origins.push((index, act));
                    next.push((number, after));
                    number
                });
            }
        }
        depth += 1;
        layer = next;
    }
    Found { states: known.len(), depth, cut_short: !layer.is_empty(), seen, wrong: None }
}

/// The way, a line for each step.
fn tell(world: &World, budget: &Budget, way: &[Act], wrong: &str) -> String {
    let mut state = State::new(world, budget);
    let mut text = String::new();
    for act in way {
        let said = state.say(world, act);
        state = state.after(world, act, &mut Seen::default());
        writeln!(text, "  {:100}  {}", state.show(world), said).expect("a string takes everything");
    }
    format!("{wrong}, in {} steps:\n{text}", way.len())
}
