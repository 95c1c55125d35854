//! Virtual addresses, by rtnetlink.
//!
//! An address of ours has a lifetime, never more than what is left of the right to run, so whatever happens to us it is
//! gone by itself. It is known as ours by its protocol number (`IFA_PROTO`, Linux 5.18) and, for IPv4, by its label `DEVICE:ww`.
//!
//! * The lifetime is whole seconds, rounded down; the kernel takes the address away up to 0.4 s late. Less than a second is
//!   not asked for, the lifetime before goes on. With a `hold` under 2 s (where a second is sent all the same, else an address
//!   whose beats take long to be confirmed would vanish) it is too coarse: on a host where nothing runs any more that could
//!   take it down an address may outlive the deadline by up to 1.4 s. What is exact is the gate, which drops answers to ARP too.
//! * IPv6: without duplicate address detection (`IFA_F_NODAD`): it would take a second, and the former owner's right is
//!   over. Its preferred lifetime is 0, so that nobody on this host uses it as a source who did not ask for it.
//! * No route of its own (`IFA_F_NOPREFIXROUTE`) where the device already has an address in a network around it: that has one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::message::{CREATE, DUMP, Kernel, Message, REPLACE, attributes};
use super::{NetError, Renewal, Unit, lasting};
use crate::tree::failover::Address;

const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_PROTO: u16 = 11;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
/// Who has put an address up: above what the kernel uses itself, and nobody's else as far as is known.
const OURS: u8 = 0x77;
const LABEL: &str = ":ww";
/// Longest name of a device, or label, without its end.
const NAME: usize = 15;

/// A network interface.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub index: u32,
    /// `ARPHRD_*`.
    pub kind: u16,
    /// `IFF_*`.
    pub flags: u32,
    pub mac: Vec<u8>,
}

/// An address that is up.
#[derive(Clone, Debug)]
struct Held {
    index: u32,
    ip: IpAddr,
    prefix: u8,
    ours: bool,
}

/// Whether an address could be put up.
pub(super) fn check(address: &Address) -> Result<(), NetError> {
    let kernel = Kernel::route().map_err(NetError::Unknown)?;
    place(&kernel, address).map(|_| ())
}

/// Puts an address up for `left`, or gives it that time if it is up.
pub(super) fn put(address: &Address, left: Duration) -> Result<(), NetError> {
    let kernel = Kernel::route().map_err(NetError::Unknown)?;
    let (device, flags) = place(&kernel, address)?;
    let message = lasting(&message(address, device.index, flags), left);
    let put = kernel.ask(&message);
    put.map(|_| ()).map_err(|why| NetError::Address { what: "put up", address: address.clone(), why })
}

/// What renews it.
pub(super) fn renewal(address: &Address) -> Result<Renewal, NetError> {
    let kernel = Kernel::route().map_err(NetError::Unknown)?;
    let (device, flags) = place(&kernel, address)?;
    Ok(message(address, device.index, flags))
}

/// Takes it down, if it is up and ours.
pub(super) fn remove(address: &Address) -> Result<(), NetError> {
    let kernel = Kernel::route().map_err(NetError::Unknown)?;
    let held = list(&kernel).map_err(NetError::Unknown)?;
    for one in held.iter().filter(|one| one.ip == address.ip && one.ours) {
        match kernel.ask(removal(address, one.index, one.prefix).bytes()) {
            // It has gone by itself meanwhile.
            Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {}
            Err(why) => return Err(NetError::Address { what: "take down", address: address.clone(), why }),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// The device of an address, if it is up there and ours.
pub(super) fn held(address: &Address) -> Option<Device> {
    let kernel = Kernel::route().ok()?;
    let device = device(&kernel, &address.device).ok()??;
    let held = list(&kernel).ok()?;
    held.iter().any(|h| h.ip == address.ip && h.ours && h.index == device.index).then_some(device)
}

/// Where an address goes, and its flags.
fn place(kernel: &Kernel, address: &Address) -> Result<(Device, u32), NetError> {
    let device = device(kernel, &address.device).map_err(NetError::Unknown)?;
    let device = device.ok_or_else(|| NetError::NoDevice(address.clone()))?;
    if device.flags & libc::IFF_UP as u32 == 0 {
        return Err(NetError::DeviceDown(address.clone()));
    }
    let held = list(kernel).map_err(NetError::Unknown)?;
    let other = |h: &&Held| h.ip == address.ip && (!h.ours || h.index != device.index);
    if let Some(other) = held.iter().find(other) {
        let on = name(kernel, other.index).unwrap_or_else(|| format!("interface {}", other.index));
        return Err(NetError::Taken { address: address.clone(), on });
    }
    let around = |h: &Held| h.index == device.index && !h.ours && contains(h.ip, h.prefix, address.ip);
    let route = if held.iter().any(around) { IFA_F_NOPREFIXROUTE } else { 0 };
    let detection = if address.ip.is_ipv6() { IFA_F_NODAD } else { 0 };
    Ok((device, route | detection))
}

fn message(address: &Address, index: u32, flags: u32) -> Renewal {
    let mut message = Message::new(RTM_NEWADDR, CREATE | REPLACE, &fixed(address.ip, address.prefix, index));
    named(&mut message, address);
    message.add(IFA_FLAGS, &flags.to_ne_bytes()).add(IFA_PROTO, &[OURS]);
    // Preferred, valid, and two times that the kernel fills in.
    message.add(IFA_CACHEINFO, &[0; 16]);
    if address.ip.is_ipv4() {
        message.lifetime(16, Unit::Seconds);
    }
    message.lifetime(12, Unit::Seconds);
    message.renewal(libc::NETLINK_ROUTE, removal(address, index, address.prefix))
}

fn removal(address: &Address, index: u32, prefix: u8) -> Message {
    let mut message = Message::new(RTM_DELADDR, 0, &fixed(address.ip, prefix, index));
    let ip = octets(address.ip);
    message.add(IFA_LOCAL, &ip).add(IFA_ADDRESS, &ip);
    message
}

fn named(message: &mut Message, address: &Address) {
    let ip = octets(address.ip);
    message.add(IFA_LOCAL, &ip).add(IFA_ADDRESS, &ip);
    let label = format!("{}{LABEL}", address.device);
    if address.ip.is_ipv4() && label.len() <= NAME {
        message.text(IFA_LABEL, &label);
    }
}

fn fixed(ip: IpAddr, prefix: u8, index: u32) -> [u8; 8] {
    let family = if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let i = index.to_ne_bytes();
    [family as u8, prefix, 0, 0, i[0], i[1], i[2], i[3]]
}

/// A device by its name.
fn device(kernel: &Kernel, name: &str) -> io::Result<Option<Device>> {
    if name.is_empty() || name.len() > NAME {
        return Ok(None);
    }
    let mut request = Message::new(RTM_GETLINK, 0, &[0; 16]);
    request.text(IFLA_IFNAME, name);
    match kernel.ask(request.bytes()) {
        Ok(answers) => Ok(answers.iter().find_map(|(_, body)| link(body)).map(|(device, _)| device)),
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The name of a device.
fn name(kernel: &Kernel, index: u32) -> Option<String> {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    let answers = kernel.ask(Message::new(RTM_GETLINK, 0, &fixed).bytes()).ok()?;
    answers.iter().find_map(|(_, body)| link(body)).map(|(_, name)| name)
}

fn link(body: &[u8]) -> Option<(Device, String)> {
    let word = |at: usize| Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(body.get(2..4)?.try_into().ok()?);
    let mut device = Device { index: word(4)?, kind, flags: word(8)?, mac: Vec::new() };
    let mut name = String::new();
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_ADDRESS => device.mac = value.to_vec(),
            IFLA_IFNAME => name = text(value),
            _ => {}
        }
    }
    Some((device, name))
}

/// All addresses of this network namespace.
fn list(kernel: &Kernel) -> io::Result<Vec<Held>> {
    let answers = kernel.ask(Message::new(RTM_GETADDR, DUMP, &[0; 8]).bytes())?;
    Ok(answers
        .iter()
        .filter(|(kind, _)| *kind == RTM_NEWADDR)
        .filter_map(|(_, body)| address(body))
        .collect())
}

fn address(body: &[u8]) -> Option<Held> {
    let (prefix, index) = (*body.get(1)?, u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?));
    let (mut local, mut peer, mut ours) = (None, None, false);
    for (kind, value) in attributes(&body[8..]) {
        match kind {
            IFA_LOCAL => local = ip(value),
            IFA_ADDRESS => peer = ip(value),
            IFA_LABEL => ours |= text(value).ends_with(LABEL),
            IFA_PROTO => ours |= value == [OURS],
            _ => {}
        }
    }
    // IPv6 has no local address unless there is a peer.
    Some(Held { index, ip: local.or(peer)?, prefix, ours })
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(value).map(|v| IpAddr::V4(Ipv4Addr::from(v)));
    four.ok().or_else(|| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?))))
}

/// The bytes of an address, as they go over the wire.
pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// Whether `ip` is in the network of an address.
fn contains(address: IpAddr, prefix: u8, ip: IpAddr) -> bool {
    let (network, ip) = (octets(address), octets(ip));
    let bit = |bytes: &[u8], n: usize| bytes[n / 8] >> (7 - n % 8) & 1;
    network.len() == ip.len()
        && usize::from(prefix) <= network.len() * 8
        && (0..usize::from(prefix)).all(|n| bit(&network, n) == bit(&ip, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_what_begins_alike() {
        for (network, prefix, ip, within) in [
            ("10.1.2.3", 24, "10.1.2.200", true),
            ("10.1.2.3", 24, "10.1.3.200", false),
            ("10.1.2.3", 32, "10.1.2.4", false),
            ("10.1.2.3", 0, "1.1.1.1", true),
            ("fd00::1", 64, "fd00::ffff:1", true),
            ("fd00::1", 64, "10.1.2.3", false),
        ] {
            let [network, ip] = [network, ip].map(|t| t.parse().expect("an address"));
            assert_eq!(contains(network, prefix, ip), within, "{network}/{prefix} {ip}");
        }
    }
}
