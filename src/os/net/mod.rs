//! What the network sees of a group: its addresses, and a gate that nothing of it passes when its right to run is over.
//! Both are held by the kernel with a lifetime, so that they end though every process of the host is frozen:
//!
//! ```text
//!            lifetime                 renewed            what ends it
//! address    whole seconds            by the keeper      the kernel, within 0.4 s; ARP and neighbour answers stop too
//! gate       milliseconds             at each Arm        the packet itself, on its way out, that finds no entry any more
//! ```
//!
//! The order of a group's life, each step by whoever runs the group:
//!
//! ```text
//! join      Net::new, Net::clear            whatever an earlier life left is gone
//!           Net::raise                      the gate stands, nobody is behind it (only if some group wants it)
//! start     Presence::check                 devices are there, addresses are free: else the start has failed
//!           Presence::admit                 the group is behind the gate, and the gate is closed
//!           guard.bind(.., presence.hidden())    the keeper opens it, and keeps it open until the deadline
//!           services ... ready
//!           Presence::appear(left)          addresses up
//!           guard.bind(.., presence.shown())     the keeper renews them too
//!           Presence::announce              to the neighbours, four times
//! stop      guard.bind(.., presence.hidden())    no renewal brings back what goes now
//!           Presence::vanish                addresses gone
//!           services ... stopped
//!           guard.unbind; Presence::dismiss      out of the gate
//! deadline  (keeper)                        kills, then sends the `end` of each renewal
//! refused   Net::mend                       the keeper was refused a renewal: somebody has flushed the ruleset
//! leave     Net::clear
//! ```
//!
//! All calls ask the kernel and return at once, unless somebody else holds its locks (a driver that is being reset, a
//! ruleset of many thousand lines): they are short, and may be made on any thread.

mod address;
mod announce;
mod gate;
mod message;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cgroup;
use super::guard::{Place, Renewal, Unit};
use crate::tree::failover::Address;

/// The message of a renewal for a lifetime: as the keeper makes it, but of seconds there is always one.
fn lasting(renewal: &Renewal, left: Duration) -> Vec<u8> {
    let mut bytes = renewal.renew.clone();
    for place in &renewal.places {
        let at = place.at as usize;
        match place.unit {
            Unit::Seconds => {
                let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX - 1).max(1);
                bytes[at..at + 4].copy_from_slice(&seconds.to_ne_bytes());
            }
            Unit::Milliseconds => {
                let milliseconds = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
                bytes[at..at + 8].copy_from_slice(&milliseconds.to_be_bytes());
            }
        }
    }
    bytes
}

/// Why the network does not show a group as it should.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// There is no such network interface.
    #[error("cannot put up {0}: there is no network interface {device}", device = .0.device)]
    NoDevice(Address),
    /// It is switched off.
    #[error("cannot put up {0}: {device} is down", device = .0.device)]
    DeviceDown(Address),
    /// Somebody else has put the same address up on this host.
    #[error("cannot put up {address}: it is on {on} already, and not by us")]
    Taken {
        /// Which.
        address: Address,
        /// The network interface that has it.
        on: String,
    },
    /// There is no time left in which it might be up.
    #[error("cannot put up {0}: the right to run is over")]
    Over(Address),
    /// The kernel refuses.
    #[error("cannot {what} {address}: {why}")]
    Address {
        /// `put up`, `take down`, `announce`.
        what: &'static str,
        /// Which.
        address: Address,
        /// Its word.
        why: io::Error,
    },
    /// The network interfaces cannot be listed.
    #[error("cannot ask the kernel for addresses: {0}")]
    Unknown(io::Error),
    /// There is no gate.
    #[error("cannot {what} the gate: {why}")]
    Gate {
        /// `raise`, `put a group behind`, ...
        what: &'static str,
        /// Why.
        why: io::Error,
    },
    /// Groups of processes are not known to the kernel here.
    #[error("cannot raise the gate: {0} is in no hierarchy of control groups, version 2")]
    NoGroups(PathBuf),
}

impl NetError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        let (NetError::Address { why, .. } | NetError::Gate { why, .. } | NetError::Unknown(why)) = self
        else {
            return match self {
                NetError::Taken { .. } => Some(
                    "a virtual address must be configured nowhere but in [failover]: take it away there (ip addr del)",
                ),
                NetError::DeviceDown(_) => Some("ip link set DEVICE up"),
                _ => None,
            };
        };
        match (why.raw_os_error()?, self) {
            (libc::EPERM | libc::EACCES, _) => Some("addresses and the gate need root, or CAP_NET_ADMIN"),
            (
                libc::EAFNOSUPPORT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::ENOENT,
                NetError::Gate { .. },
            ) => Some("the kernel needs nf_tables and nft_socket (CONFIG_NFT_SOCKET)"),
            _ => None,
        }
    }
}

/// This woodward's part of the host's network. Cheap to clone; it has no state but the kernel's.
#[derive(Clone, Debug)]
pub struct Net {
    gate: gate::Gate,
}

/// What the network sees of one group.
#[derive(Clone, Debug)]
pub struct Presence {
    gate: Option<(gate::Gate, gate::Member)>,
    addresses: Vec<Address>,
}

impl Net {
    /// `state` is the state directory, whose number names the gate; `root` the directory of all control groups, one below
    /// it for each group.
    pub fn new(state: &Path, root: &Path) -> Result<Net, NetError> {
        let name = cgroup::id_of(state).map_err(|why| NetError::Gate { what: "name", why })?;
        let level = cgroup::level(root).ok_or_else(|| NetError::NoGroups(root.to_owned()))? + 1;
        Ok(Net { gate: gate::Gate::new(name, level) })
    }

    /// Takes away the gate, and of these addresses those that are up and ours. What fails does not keep the rest.
    pub fn clear(&self, addresses: &[Address]) -> Vec<NetError> {
        let mut errors: Vec<NetError> = self.gate.remove().err().into_iter().collect();
        errors.extend(addresses.iter().filter_map(|address| address::remove(address).err()));
        errors
    }

    /// Puts up the gate, with nobody behind it. One that is there is replaced.
    pub fn raise(&self) -> Result<(), NetError> {
        self.gate.raise(&[])
    }

    /// Puts it up again after somebody has taken it away, with the groups that run behind it, and open for as long as their
    /// right to run lasts.
    pub fn mend(&self, groups: &[&Presence], left: Duration) -> Result<(), NetError> {
        let members: Vec<_> =
            groups.iter().filter_map(|p| Some((p.gate.as_ref()?.1.clone(), left))).collect();
        self.gate.raise(&members)
    }

    /// A group's part: `directory` is that of its control group, which must be there if it wants the gate and stay there as
    /// long as it runs: the kernel knows it by its number.
    pub fn presence(
        &self,
        directory: &Path,
        addresses: &[Address],
        gate: bool,
    ) -> Result<Presence, NetError> {
        let ips: Vec<IpAddr> = addresses.iter().map(|a| a.ip).collect();
        let member = gate.then(|| gate::Member::new(directory, &ips)).transpose()?;
        Ok(Presence { gate: member.map(|m| (self.gate.clone(), m)), addresses: addresses.to_vec() })
    }
}

impl Presence {
    /// Whether the addresses could be put up: their devices are there and up, and nobody else has them on this host.
    pub fn check(&self) -> Result<(), NetError> {
        self.addresses.iter().try_for_each(address::check)
    }

    /// Puts the group behind the gate, which is closed for it until the keeper opens it.
    pub fn admit(&self) -> Result<(), NetError> {
        self.gate.as_ref().map_or(Ok(()), |(gate, member)| gate.admit(member))
    }

    /// Takes it out from behind the gate.
    pub fn dismiss(&self) -> Result<(), NetError> {
        self.gate.as_ref().map_or(Ok(()), |(gate, member)| gate.dismiss(member))
    }

    /// What the keeper renews while the addresses are not up.
    pub fn hidden(&self) -> Vec<Renewal> {
        self.gate.iter().map(|(gate, member)| gate.renewal(member)).collect()
    }

    /// What it renews while they are.
    pub fn shown(&self) -> Result<Vec<Renewal>, NetError> {
        let mut renewals = self.hidden();
        for address in &self.addresses {
            renewals.push(address::renewal(address)?);
        }
        Ok(renewals)
    }

    /// Puts the addresses up for `left`. If one cannot be, none is.
    pub fn appear(&self, left: Duration) -> Result<(), NetError> {
        if let Some(address) = self.addresses.first().filter(|_| left.is_zero()) {
            return Err(NetError::Over(address.clone()));
        }
        let done = self.addresses.iter().try_for_each(|address| address::put(address, left));
        if done.is_err() {
            let _ = self.vanish();
        }
        done
    }

    /// Takes them down: all that can be; the first error.
    pub fn vanish(&self) -> Result<(), NetError> {
        let errors: Vec<_> = self.addresses.iter().filter_map(|a| address::remove(a).err()).collect();
        errors.into_iter().next().map_or(Ok(()), Err)
    }

    /// Tells the neighbours where the addresses are now: three times over a second and once more after ten, for those who
    /// missed it. Ends as soon as an address is no longer up here. Errors are not worth a failed start: neighbours find out
    /// by themselves, later.
    pub async fn announce(self) {
        announce::announce(&self.addresses).await;
    }
}

#[cfg(test)]
mod tests;
