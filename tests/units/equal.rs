//! When the two sides did the same.

use woodward::units::{Deviates, Deviation};

use super::incident::{Incident, Story};
use super::shape::{Shape, is_within};
use super::trace::{Fate, Trace, line};

/// What the units did otherwise than woodward.
#[derive(Clone, Debug)]
pub struct Difference {
    /// One worker, or two whose events are in order.
    pub paths: Vec<String>,
    /// Of what became of it, not of how.
    pub fate: bool,
    /// On both sides.
    pub text: String,
}

/// Compares what followed from an incident. The same means:
///
/// * of every worker the same became: the same process, another one, none;
/// * every worker saw the same, in the same order: started, asked to stop, ended;
/// * and so did every two workers together whose order the tree gives ([`Shape::in_order`]).
///
/// Of ends that follow from several incidents at once only the first holds: who hears of which first is chance.
pub fn differences(shape: &Shape, incident: &Incident, native: &Trace, woodward: &Trace) -> Vec<Difference> {
    let workers: Vec<&str> = shape.workers().map(|worker| worker.path.as_str()).collect();
    let mut found = Vec::new();
    for path in &workers {
        let (one, other) = (native.fate(path), woodward.fate(path));
        if one != other {
            let text = format!("{path}: native {one:?}, woodward {other:?}");
            found.push(Difference { paths: vec![(*path).to_owned()], fate: true, text });
        }
    }
    if !incident.is_one() {
        return found;
    }
    for (n, a) in workers.iter().enumerate() {
        for b in workers[n..].iter().filter(|b| *b == a || shape.in_order(a, b)) {
            let (one, other) = (native.of(&[a, b]), woodward.of(&[a, b]));
            // What one of two did otherwise is said of that one.
            let known = found.iter().any(|d| d.paths.iter().all(|path| path == a || path == b));
            if one != other && !known {
                let paths =
                    if a == b { vec![(*a).to_owned()] } else { vec![(*a).to_owned(), (*b).to_owned()] };
                let text = format!("native {}, woodward {}", line(&one), line(&other));
                found.push(Difference { paths, fate: false, text });
            }
        }
    }
    found
}

/// Whether a deviation that the rendering names for this very tree, at this very place, says a difference:
///
/// | deviation | after | allows |
/// |---|---|---|
/// | `stop-takes-along` at P | a stop of P by hand | that who restarts with P is down, in the units only |
/// | `stop-does-not-last` at the root | anything | that what was stopped by hand starts, in the units only |
/// | `start-reaches-below` at the root | a start of a supervisor by hand | that what is below it starts, in the units only |
/// | `parking-restarts-the-group` at P | the end of P that parks it | that who restarts with P restarts |
/// | `parking-is-no-end` at P | the end of P that parks it | that others go on, in the units only |
/// | `parking-does-not-last` at P | anything | that P, or what is below it, starts, in the units only |
///
/// All others change nothing that these trees show.
pub fn allows(
    deviates: &Deviates,
    shape: &Shape,
    story: &Story,
    incident: &Incident,
    difference: &Difference,
    native: &Trace,
    woodward: &Trace,
) -> bool {
    let starts = |path: &str| native.has_started(path) && !woodward.has_started(path);
    match deviates.deviation {
        Deviation::StopTakesAlong => {
            let along = shape.goes_along(&deviates.path);
            let taken = |path: &String| {
                along.iter().any(|top| is_within(path, top))
                    && native.fate(path) == Fate::Gone
                    && woodward.fate(path) == Fate::Kept
            };
            *incident == Incident::Stop(deviates.path.clone()) && difference.paths.iter().any(taken)
        }
        Deviation::StopDoesNotLast => {
            difference.paths.iter().any(|path| story.is_stopped(path) && starts(path))
        }
        Deviation::StartReachesBelow => {
            let Incident::Start(top) = incident else { return false };
            difference.paths.iter().any(|path| path != top && is_within(path, top) && starts(path))
        }
        Deviation::ParkingRestartsTheGroup => {
            let along = shape.goes_along(&deviates.path);
            let goes = |path: &String| along.iter().any(|top| is_within(path, top));
            incident.victims() == [deviates.path.clone()]
                && native.fate(&deviates.path) == Fate::Gone
                && woodward.fate(&deviates.path) == Fate::Gone
                && difference.paths.iter().any(goes)
        }
        Deviation::ParkingIsNoEnd => {
            let lives = |path: &String| native.fate(path) == Fate::Kept && woodward.fate(path) != Fate::Kept;
            incident.victims() == [deviates.path.clone()]
                && native.fate(&deviates.path) == Fate::Gone
                && !native.has_started(&deviates.path)
                && difference.paths.iter().any(lives)
        }
        Deviation::ParkingDoesNotLast => {
            difference.paths.iter().any(|path| is_within(path, &deviates.path) && starts(path))
        }
        _ => false,
    }
}
