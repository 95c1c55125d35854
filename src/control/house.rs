//! What the server needs of a running daemon; the runtime's handle has it, and tests have one without processes.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use woodward_engine::{Reply, Time, Verb};

use super::message::Memory;
use crate::os::Members;
use crate::os::pressure;
use crate::record::Line;
use crate::record::fact::FactLine;
use crate::record::why::Why;
use crate::runtime::faults::{Done, Fault, FaultError};
use crate::runtime::reload::{Refused, Reload};
use crate::runtime::view::View;
use crate::runtime::{Closed, Handle, InstanceError, Nudge, NudgeError, Who};
use crate::tree::Plan;

/// A running daemon.
pub trait House: Clone + Send + Sync + 'static {
    /// The published view; never waits.
    fn view(&self) -> Arc<View>;
    /// The plans that run.
    fn plans(&self) -> Vec<Arc<Plan>>;
    /// The engine's clock.
    fn now(&self) -> Time;
    /// Facts about `path` and everything below it, oldest first.
    fn facts(&self, path: &str) -> Vec<Arc<FactLine>>;
    /// All facts there are, of earlier daemons too, oldest first.
    fn history(&self) -> impl Future<Output = Vec<FactLine>> + Send;
    /// Facts from now on.
    fn follow_facts(&self) -> Receiver<Arc<FactLine>>;
    /// The last `n` lines of these children and everything below them.
    fn lines(&self, paths: &[String], n: usize) -> Vec<Arc<Line>>;
    /// Lines from now on.
    fn follow_lines(&self) -> Receiver<Arc<Line>>;
    /// Lines of this child's output dropped so far; the view knows only how many there were at its last change.
    fn dropped(&self, path: &str) -> u64;
    /// What a generation of `path` takes; `pid` is its main process.
    fn memory(&self, path: &str, generation: u64, pid: i32) -> Option<Memory>;
    /// Sends a signal to the main process of `path`, or has it reload.
    fn nudge(
        &self,
        path: &str,
        nudge: Nudge,
        who: Who,
    ) -> impl Future<Output = Result<(), NudgeError>> + Send;
    /// Why `path` is as it is. `zone`: seconds east of Greenwich.
    fn why(&self, path: &str, zone: i32) -> Why;
    /// Does harm, if that is allowed.
    fn inject(&self, fault: &Fault) -> Result<Done, FaultError>;
    /// The processes of every generation, if chaos is allowed.
    fn census(&self) -> Result<Option<Vec<Members>>, FaultError>;
    /// Asks the engine and waits for its one answer.
    fn request(&self, path: &str, verb: Verb, who: Who)
    -> impl Future<Output = Result<Reply, Closed>> + Send;
    /// Applies a tree file, or every tree from where it was read last; `dry`: only says what would be done.
    fn apply(
        &self,
        file: Option<PathBuf>,
        vars: Vec<(String, String)>,
        dry: bool,
        who: Who,
    ) -> impl Future<Output = Result<Vec<Reload>, Refused>> + Send;
    /// Makes an instance of a template and waits for the engine's one answer.
    fn start_instance(
        &self,
        path: &str,
        args: &[(String, String)],
        who: Who,
    ) -> impl Future<Output = Result<Reply, InstanceError>> + Send;
}

impl House for Handle {
    fn view(&self) -> Arc<View> {
        self.view()
    }

    fn plans(&self) -> Vec<Arc<Plan>> {
        self.plans()
    }

    fn now(&self) -> Time {
        self.now()
    }

    fn facts(&self, path: &str) -> Vec<Arc<FactLine>> {
        self.record().facts(path)
    }

    async fn history(&self) -> Vec<FactLine> {
        self.record().history().await
    }

    fn follow_facts(&self) -> Receiver<Arc<FactLine>> {
        self.record().follow_facts()
    }

    fn lines(&self, paths: &[String], n: usize) -> Vec<Arc<Line>> {
        self.record().lines(paths, n)
    }

    fn follow_lines(&self) -> Receiver<Arc<Line>> {
        self.record().follow_lines()
    }

    fn dropped(&self, path: &str) -> u64 {
        self.record().dropped(path)
    }

    fn memory(&self, path: &str, generation: u64, pid: i32) -> Option<Memory> {
        Some(match self.memory(path, generation, pid)? {
            pressure::Memory::Group(bytes) => Memory { bytes, group: true },
            pressure::Memory::Main(bytes) => Memory { bytes, group: false },
        })
    }

    async fn nudge(&self, path: &str, nudge: Nudge, who: Who) -> Result<(), NudgeError> {
        self.nudge(path, nudge, who).await
    }

    fn why(&self, path: &str, zone: i32) -> Why {
        self.record().why(path, &self.view(), zone)
    }

    fn inject(&self, fault: &Fault) -> Result<Done, FaultError> {
        self.faults().inject(fault, self.view().row(&fault.path))
    }

    fn census(&self) -> Result<Option<Vec<Members>>, FaultError> {
        self.faults().census()
    }

    async fn request(&self, path: &str, verb: Verb, who: Who) -> Result<Reply, Closed> {
        self.request(path, verb, who).await
    }

    async fn apply(
        &self,
        file: Option<PathBuf>,
        vars: Vec<(String, String)>,
        dry: bool,
        who: Who,
    ) -> Result<Vec<Reload>, Refused> {
        self.apply(file, vars, dry, who).await
    }

    async fn start_instance(
        &self,
        path: &str,
        args: &[(String, String)],
        who: Who,
    ) -> Result<Reply, InstanceError> {
        self.start_instance(path, args, who).await
    }
}
