//! What is executed for a worker: its command, its hooks, and what they find in their environment.

use std::sync::Arc;

use woodward_engine::Exit;

use crate::os::{ExitStatus, Program};
use crate::record::words;
use crate::tree::{Bound, Stdin, WorkerPlan};

/// The child's command, or another one, with the environment and identity of the child.
pub(super) fn program(path: &Arc<str>, plan: &WorkerPlan, command: &[String]) -> Arc<Program> {
    Arc::new(Program {
        path: path.clone(),
        command: command.to_vec(),
        environment: plan.environment.clone(),
        identity: plan.identity.clone(),
        working_directory: plan.working_directory.clone(),
        directories: plan.directories.clone(),
        stdin: plan.stdin,
        resources: plan.resources.clone(),
        sandbox: plan.sandbox.clone(),
        bound: plan.bound,
    })
}

/// A hook, a stop command or a probe: the child's, but it reads nothing.
pub(super) fn helper(path: &Arc<str>, plan: &WorkerPlan, command: &[String]) -> Arc<Program> {
    let mut program = program(path, plan, command);
    let own = Arc::make_mut(&mut program);
    own.stdin = Stdin::Null;
    if own.bound == Bound::Namespace {
        // In a namespace of its own it would not find the process it is to stop or to ask.
        own.bound = Bound::Keeper;
    }
    program
}

/// How a generation ended, as its `after_stop` hooks are told, in systemd's words: `SERVICE_RESULT`, `EXIT_CODE`,
/// `EXIT_STATUS`.
pub(super) fn result(plan: &WorkerPlan, end: &super::seat::Outcome, asked: bool, killed: bool) -> Additions {
    use super::seat::Outcome;
    let (result, code, status) = match end {
        Outcome::Failed(_) => return vec![("SERVICE_RESULT", "resources".to_owned())],
        Outcome::Ended(Exit::Code(0)) => ("success", "exited", "0".to_owned()),
        Outcome::Ended(Exit::Code(code)) => ("exit-code", "exited", code.to_string()),
        Outcome::Ended(Exit::Signal(number)) => {
            let name = words::signal(*number);
            let result = match killed {
                true => "timeout",
                false if asked && *number == plan.stop.signal => "success",
                false => "signal",
            };
            (result, "killed", name.strip_prefix("SIG").unwrap_or(&name).to_owned())
        }
        Outcome::Ended(Exit::Reason(_) | Exit::Unknown) => ("exit-code", "exited", String::new()),
    };
    vec![("SERVICE_RESULT", result.to_owned()), ("EXIT_CODE", code.to_owned()), ("EXIT_STATUS", status)]
}

/// Variables on top of the environment.
pub(super) type Additions = Vec<(&'static str, String)>;

/// In the engine's words.
pub(super) fn exit(status: ExitStatus) -> Exit {
    match status {
        ExitStatus::Code(code) => Exit::Code(code),
        ExitStatus::Signal(number) => Exit::Signal(number),
        ExitStatus::Unknown => Exit::Unknown,
    }
}
