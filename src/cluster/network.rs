//! What the network sees of the groups here: addresses and the gate, in the order of [`crate::os::net`].

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use woodward_engine::Time;
use woodward_engine::cluster::Name;

use crate::os::guard::Renewal;
use crate::os::net::{Net, NetError, Presence};
use crate::os::{TreeGroup, clock};
use crate::tree::failover::Failover;

/// The groups that are behind the gate or have addresses. Cheap to clone.
#[derive(Clone)]
pub(super) struct Network(Arc<Shared>);

struct Shared {
    /// `None`: no group wants anything of it.
    net: Option<Net>,
    /// When the right to run is over.
    deadline: AtomicU64,
    groups: Mutex<HashMap<Name, Seen>>,
}

struct Seen {
    presence: Presence,
    /// Its addresses are up.
    shown: bool,
}

impl Network {
    /// `fresh`: nothing of an earlier daemon goes on, so what is left of one is taken away.
    pub(super) fn open(
        run: &Path,
        any: Option<&TreeGroup>,
        groups: &[&Failover],
        fresh: bool,
    ) -> Result<Network, NetError> {
        let gate = groups.iter().any(|group| group.gate);
        let wanted = gate || groups.iter().any(|group| !group.addresses.is_empty());
        let root = any.and_then(|any| any.directory().parent()).unwrap_or(Path::new("/"));
        let net = wanted.then(|| Net::new(run, root)).transpose()?;
        if let Some(net) = net.as_ref().filter(|_| fresh) {
            let addresses: Vec<_> = groups.iter().flat_map(|group| group.addresses.clone()).collect();
            for error in net.clear(&addresses) {
                tracing::info!(%error, "what an earlier life left in the network");
            }
            if gate {
                net.raise()?;
            }
        }
        Ok(Network(Arc::new(Shared { net, deadline: AtomicU64::new(0), groups: Mutex::default() })))
    }

    /// The right to run lasts until then.
    pub(super) fn arm(&self, deadline: Time) {
        self.0.deadline.store(deadline.0, Ordering::Relaxed);
    }

    /// The group goes behind the gate; returned is what is to be renewed.
    pub(super) fn enter(
        &self,
        group: &Name,
        directory: &TreeGroup,
        failover: &Failover,
    ) -> Result<Vec<Renewal>, NetError> {
        let Some(presence) = self.presence(directory, failover)? else { return Ok(Vec::new()) };
        presence.check()?;
        presence.admit()?;
        let renewals = presence.hidden();
        self.lock().insert(group.clone(), Seen { presence, shown: false });
        Ok(renewals)
    }

    /// The group is there already, and its addresses too if it is `shown`.
    pub(super) fn find(&self, group: &Name, directory: &TreeGroup, failover: &Failover, shown: bool) {
        match self.presence(directory, failover) {
            Ok(Some(presence)) => drop(self.lock().insert(group.clone(), Seen { presence, shown })),
            Ok(None) => {}
            Err(error) => tracing::warn!(%group, %error, "what the network sees of a group is not known"),
        }
    }

    fn presence(&self, directory: &TreeGroup, failover: &Failover) -> Result<Option<Presence>, NetError> {
        let net = self.0.net.as_ref().filter(|_| failover.gate || !failover.addresses.is_empty());
        net.map(|net| net.presence(directory.directory(), &failover.addresses, failover.gate)).transpose()
    }

    /// The group's addresses come up, and the neighbours are told; returned is what is to be renewed.
    pub(super) fn show(&self, group: &Name) -> Result<Vec<Renewal>, NetError> {
        let left = self.left();
        let mut groups = self.lock();
        let Some(seen) = groups.get_mut(group) else { return Ok(Vec::new()) };
        seen.presence.appear(left)?;
        seen.shown = true;
        tokio::spawn(seen.presence.clone().announce());
        seen.presence.shown()
    }

    /// What is to be renewed when the addresses go, if there are any.
    pub(super) fn hidden(&self, group: &Name) -> Option<Vec<Renewal>> {
        self.lock().get(group).map(|seen| seen.presence.hidden())
    }

    /// The addresses go.
    pub(super) fn hide(&self, group: &Name) {
        if let Some(seen) = self.lock().get_mut(group) {
            seen.shown = false;
            if let Err(error) = seen.presence.vanish() {
                tracing::warn!(%group, %error, "an address is not taken away");
            }
        }
    }

    /// Nothing of the group runs any more.
    pub(super) fn leave(&self, group: &Name) {
        self.hide(group);
        if let Some(seen) = self.lock().remove(group)
            && let Err(error) = seen.presence.dismiss()
        {
            tracing::info!(%group, %error, "a group is not taken out from behind the gate");
        }
    }

    /// Somebody has taken away what was put up: it is put up again.
    pub(super) fn mend(&self) -> Result<(), NetError> {
        let Some(net) = &self.0.net else { return Ok(()) };
        let (groups, left) = (self.lock(), self.left());
        let presences: Vec<&Presence> = groups.values().map(|seen| &seen.presence).collect();
        net.mend(&presences, left)?;
        groups.values().filter(|seen| seen.shown).try_for_each(|seen| seen.presence.appear(left))
    }

    fn left(&self) -> Duration {
        Time(self.0.deadline.load(Ordering::Relaxed)).since(clock::lasting())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Seen>> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
