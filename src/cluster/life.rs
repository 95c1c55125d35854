//! One group on this node: brought up in order, and taken down in the reverse.
//!
//! ```text
//! Idle ──Start──► token, bind, gate ─► planted ──ready──► addresses ─► Up ── told ─┐
//!                                         │ Stop, its own end, term over           │ Stop, its own end, term over
//!                                         ▼                                        ▼
//! Idle ◄── told Down ── unbind ◄── nothing left ◄── tree ended ◄── uprooted ◄── addresses away
//! ```
//!
//! A term that is over leaves nothing to be done in order: the keeper has killed everything and taken the addresses away, so
//! that the tree is only told not to restart anything, and nobody waits for this group's last word. What comes meanwhile
//! waits until nothing is left.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use woodward_engine::cluster::{Down, Epoch, Event, Name, Term};
use woodward_engine::effect::TreeEnd;

use super::network::Network;
use super::token;
use crate::os::Os;
use crate::os::guard::Guard;
use crate::runtime::Handle;
use crate::runtime::groups::{Happening, News, Token};

/// What does not die after so long is told.
const STUCK: Duration = Duration::from_secs(2);

/// What a life is told.
#[derive(Debug)]
pub(super) enum Word {
    /// Bring it up.
    Start { epoch: Epoch, term: Term },
    /// It was found running and goes on.
    Keep { epoch: Epoch },
    /// Take it down.
    Stop { epoch: Epoch },
    /// Everything was killed.
    Over,
    /// Its tree.
    Tree(News),
}

/// What all lives use.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) os: Os,
    pub(super) guard: Guard,
    pub(super) network: Network,
    pub(super) kernel: Handle,
    /// Directory of the run state.
    pub(super) run: PathBuf,
    /// Where outcomes go.
    pub(super) events: UnboundedSender<Event>,
}

/// One group's life on this node.
pub(super) struct Life {
    group: Name,
    means: Means,
    words: UnboundedReceiver<Word>,
    /// A start that came while something was still left of the one before.
    next: Option<(Epoch, Term)>,
}

/// A planting.
struct Tree {
    /// Its token now.
    epoch: Epoch,
    /// What it is bound to.
    term: Term,
    /// As the kernel calls it.
    planted: u64,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Not all of it is ready.
    Rising,
    /// It is up and has its addresses.
    Up,
    /// It was told to end.
    Falling,
    /// The right to run is over.
    Over,
}

/// How a tree has ended.
struct End {
    step: Step,
    how: Down,
}

impl Life {
    /// The life of a group, and how it is talked to. `running`: it goes on where an earlier daemon left it.
    pub(super) fn begin(
        group: &Name,
        means: Means,
        running: Option<(Epoch, Term)>,
    ) -> (impl Future<Output = ()> + Send + use<>, UnboundedSender<Word>) {
        let (tell, words) = unbounded_channel();
        let life = Life { group: group.clone(), means, words, next: None };
        (life.run(running), tell)
    }

    async fn run(mut self, running: Option<(Epoch, Term)>) {
        if let Some((epoch, term)) = running {
            self.live(Tree { epoch, term, planted: epoch.0, step: Step::Rising }).await;
        }
        loop {
            let start = match self.next.take() {
                Some(start) => start,
                None => match self.words.recv().await {
                    Some(Word::Start { epoch, term }) => (epoch, term),
                    Some(Word::Stop { epoch }) => {
                        self.tell_down(epoch, Down::Asked);
                        continue;
                    }
                    Some(Word::Keep { .. } | Word::Over | Word::Tree(_)) => continue,
                    None => return,
                },
            };
            self.start(start).await;
        }
    }

    async fn start(&mut self, (epoch, term): (Epoch, Term)) {
        match self.prepare(epoch, term).await {
            Ok(token) => {
                self.means.kernel.plant(&self.group, token);
                self.live(Tree { epoch, term, planted: epoch.0, step: Step::Rising }).await;
            }
            Err(why) => {
                self.leave_nothing(epoch).await;
                self.tell_down(epoch, Down::GaveUp(why));
            }
        }
    }

    /// Everything before the first process.
    async fn prepare(&mut self, epoch: Epoch, term: Term) -> Result<Token, String> {
        let file = token::place(&self.means.run, &self.group);
        token::write(&file, epoch)
            .map_err(|error| format!("the token cannot be written to {}: {error}", file.display()))?;
        let directory = self.means.os.tree_group(&self.group).ok_or("there are no control groups")?;
        directory.make().map_err(|error| format!("its control group cannot be made: {error}"))?;
        let plans = self.means.kernel.plans();
        let failover = plans.iter().find(|plan| *plan.tree.id == *self.group);
        let failover = failover.and_then(|plan| plan.failover.as_ref()).ok_or("it is in no tree file")?;
        let entered = self.means.network.enter(&self.group, &directory, failover);
        let renewals = entered.map_err(|error| error.to_string())?;
        self.means.guard.bind(&self.group, term, &renewals).map_err(|error| error.to_string())?;
        Ok(Token { epoch: epoch.0, file })
    }

    /// From the planting to the proof that nothing is left.
    async fn live(&mut self, tree: Tree) {
        let epoch = tree.epoch;
        let Some(End { step, how }) = self.until_it_ends(tree).await else { return };
        self.leave_nothing(epoch).await;
        if step != Step::Over {
            self.tell_down(epoch, how);
        }
    }

    /// `None`: the daemon ends.
    async fn until_it_ends(&mut self, mut tree: Tree) -> Option<End> {
        // Why its addresses did not come up.
        let mut refused = None;
        loop {
            match self.words.recv().await? {
                Word::Start { epoch, term } => self.next = Some((epoch, term)),
                Word::Keep { epoch } => self.keep(&mut tree, epoch),
                Word::Stop { epoch } if self.next.is_some_and(|(next, _)| next == epoch) => {
                    self.next = None;
                    self.tell_down(epoch, Down::Asked);
                }
                Word::Stop { .. } if tree.step == Step::Over => {}
                Word::Stop { .. } => {
                    tree.step = Step::Falling;
                    self.hide(&tree);
                    self.means.kernel.uproot(&self.group, tree.planted, false);
                }
                Word::Over => {
                    (tree.step, self.next) = (Step::Over, None);
                    self.means.kernel.uproot(&self.group, tree.planted, true);
                }
                Word::Tree(news) if news.epoch != tree.planted => {}
                Word::Tree(news) => match news.what {
                    Happening::Ready if tree.step == Step::Rising => match self.show(&tree) {
                        Ok(()) => {
                            tree.step = Step::Up;
                            self.tell(Event::Up { group: self.group.clone(), epoch: tree.epoch });
                        }
                        Err(why) => {
                            tree.step = Step::Falling;
                            refused = Some(why);
                            self.means.kernel.uproot(&self.group, tree.planted, false);
                        }
                    },
                    Happening::Restarted if tree.step == Step::Up => {
                        self.tell(Event::Restarted { group: self.group.clone() });
                    }
                    Happening::Ended { how, by, words } => {
                        let how = match how {
                            TreeEnd::Stopped if by.is_some() => Down::Stopped,
                            TreeEnd::Stopped => refused.map_or(Down::Asked, Down::GaveUp),
                            TreeEnd::GaveUp | TreeEnd::Failover | TreeEnd::Reboot => Down::GaveUp(words),
                            TreeEnd::Essential(_) | TreeEnd::Shutdown => Down::Done,
                        };
                        return Some(End { step: tree.step, how });
                    }
                    _ => {}
                },
            }
        }
    }

    /// Addresses up, behind everything else.
    fn show(&self, tree: &Tree) -> Result<(), String> {
        let renewals = self.means.network.show(&self.group).map_err(|error| error.to_string())?;
        if renewals.is_empty() {
            return Ok(());
        }
        self.means.guard.bind(&self.group, tree.term, &renewals).map_err(|error| error.to_string())
    }

    /// Addresses away, before anything else.
    fn hide(&self, tree: &Tree) {
        let Some(renewals) = self.means.network.hidden(&self.group) else { return };
        if let Err(error) = self.means.guard.bind(&self.group, tree.term, &renewals) {
            tracing::warn!(group = %self.group, %error, "the guard goes on renewing addresses");
        }
        self.means.network.hide(&self.group);
    }

    fn keep(&self, tree: &mut Tree, epoch: Epoch) {
        tree.epoch = epoch;
        let file = token::place(&self.means.run, &self.group);
        let token = Token { epoch: epoch.0, file };
        // What runs has the old one in its environment; the file is what can still be true.
        if let Err(error) = token::write(&token.file, epoch) {
            tracing::warn!(group = %self.group, %error, "the token is not written");
        }
        self.means.kernel.give_token(&self.group, token);
    }

    /// Kills what is left, waits until nothing is, and gives up the deadline.
    async fn leave_nothing(&self, epoch: Epoch) {
        let Some(directory) = self.means.os.tree_group(&self.group) else { return };
        if !directory.is_empty() {
            let cleared = directory.cleared();
            tokio::pin!(cleared);
            while tokio::time::timeout(STUCK, &mut cleared).await.is_err() {
                self.tell(Event::Stuck { group: self.group.clone(), epoch });
            }
        }
        self.means.network.leave(&self.group);
        if let Err(error) = self.means.guard.unbind(&self.group) {
            tracing::warn!(group = %self.group, %error, "the guard does not let go of a group");
        }
    }

    fn tell_down(&self, epoch: Epoch, how: Down) {
        self.tell(Event::Down { group: self.group.clone(), epoch, how });
    }

    fn tell(&self, event: Event) {
        // Nobody listens only when the daemon ends.
        let _ = self.means.events.send(event);
    }
}
