//! What becomes of a signal that woodward itself gets. As an init (PID 1, `run --init`) it gets all of them:
//!
//! | signal | what |
//! |---|---|
//! | SIGTERM, SIGINT, SIGPWR | ordered stop; once more: kill |
//! | SIGHUP | reload |
//! | SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT | nothing: services are in sessions of their own, no terminal is theirs |
//! | every other one | goes to the main process of each essential service that runs; without one: nothing, told once |

use std::sync::atomic::{AtomicBool, Ordering};

use woodward_engine::spec;

use crate::os::clock;
use crate::record::fact::FactLine;
use crate::runtime::{Handle, Nudge, Who};

/// Is it a request to stop everything?
pub(super) fn stops(signal: i32) -> bool {
    matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGPWR)
}

/// Any other signal.
pub(super) async fn pass_on(handle: &Handle, signal: i32) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if matches!(signal, libc::SIGHUP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU | libc::SIGCONT) {
        return;
    }
    let mut reached = false;
    for path in handle.plans().iter().flat_map(|plan| essential(&plan.tree)) {
        // The kernel knows of a service that has just been started; the view may not yet.
        let who = Who { by: "a signal to woodward".to_owned(), text: None };
        reached |= handle.nudge(&path, Nudge::Signal(signal), who).await.is_ok();
    }
    if !reached && !TOLD.swap(true, Ordering::Relaxed) {
        let text = format!("signal {signal} went to nobody: no essential service runs");
        handle.record().fact(FactLine::note(clock::wall(), 0, "", 0, "signal", text));
        handle.record().keep();
    }
}

/// Paths of the essential workers of a tree.
fn essential(tree: &spec::Tree) -> Vec<String> {
    fn collect(above: &str, supervisor: &spec::Supervisor, into: &mut Vec<String>) {
        let spec::Children::List(children) = &supervisor.children else { return };
        for child in children {
            let path = format!("{above}/{}", child.id);
            match &child.kind {
                spec::Kind::Worker(worker) if worker.essential => into.push(path),
                spec::Kind::Worker(_) => {}
                spec::Kind::Supervisor(below) => collect(&path, below, into),
            }
        }
    }
    let mut paths = Vec::new();
    collect(&tree.id, &tree.root, &mut paths);
    paths
}
