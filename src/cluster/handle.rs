//! What the rest of the house sees of this node's part in a cluster.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use woodward_engine::cluster::{Name, Request, View};

use crate::store::{Seat, Store};

/// Looks and asks. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) node: Name,
    pub(super) asks: UnboundedSender<Ask>,
    pub(super) view: Arc<ArcSwap<View>>,
    pub(super) store: Arc<dyn Store>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("node", &self.node).finish_non_exhaustive()
    }
}

/// A request and where its answer goes.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Result<(), String>>,
}

impl Handle {
    /// This node.
    pub fn node(&self) -> &Name {
        &self.node
    }

    /// What is known here; never waits.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// The members of the store, as they were last seen.
    pub fn members(&self) -> Vec<Seat> {
        self.store.members()
    }

    /// Asks, and waits for the answer; else why not, in words behind `cannot ...: `. [`Request::Leave`] is answered when
    /// this node has left.
    pub async fn request(&self, request: Request) -> Result<(), String> {
        let gone = || "the daemon is stopping".to_owned();
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask { request, answer }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}
