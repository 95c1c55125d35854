//! When the two sides did the same.

use super::incident::Incident;
use super::shape::Shape;
use super::trace::{Trace, line};

/// What the units did otherwise than woodward.
#[derive(Clone, Debug)]
pub struct Difference {
    /// One worker, or two whose events are in order.
    pub paths: Vec<String>,
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
            found.push(Difference { paths: vec![(*path).to_owned()], text });
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
                found.push(Difference { paths, text });
            }
        }
    }
    found
}
