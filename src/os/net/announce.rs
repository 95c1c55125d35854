//! Tells the neighbours who has an address now: gratuitous ARP (an announcement of RFC 5227), unsolicited neighbour
//! advertisement (RFC 4861, 7.2.6).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::address::{self, Device};
use crate::tree::failover::Address;

/// Pauses before each announcement. Linux does not believe a second change within a second (`locktime`), switches may be
/// learning: three at once and one later reach everybody.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(500), Duration::from_millis(500), Duration::from_secs(9)];
const ARPHRD_ETHER: u16 = 1;
const BROADCAST: [u8; 6] = [0xff; 6];

/// Announces addresses as long as they are up here.
pub(super) async fn announce(addresses: &[Address]) {
    for pause in PAUSES {
        tokio::time::sleep(pause).await;
        for address in addresses {
            // Asked right before, each time: who announces what has gone elsewhere takes it away from there.
            if let Some(device) = address::held(address) {
                let _ = once(address.ip, &device);
            }
        }
    }
}

/// One announcement. Devices without neighbours (loopback, tunnels) need none.
pub(super) fn once(ip: IpAddr, device: &Device) -> io::Result<()> {
    let Ok(mac) = <[u8; 6]>::try_from(device.mac.as_slice()) else { return Ok(()) };
    if device.kind != ARPHRD_ETHER || device.flags & libc::IFF_NOARP as u32 != 0 {
        return Ok(());
    }
    match ip {
        IpAddr::V4(ip) => arp(ip, mac, device.index),
        IpAddr::V6(ip) => advertisement(ip, mac, device.index),
    }
}

fn arp(ip: Ipv4Addr, mac: [u8; 6], index: u32) -> io::Result<()> {
    let protocol = (libc::ETH_P_ARP as u16).to_be();
    let socket = socket(libc::AF_PACKET, libc::SOCK_DGRAM, protocol.into())?;
    // SAFETY: plain numbers; all zeros is a value of it.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_protocol = protocol;
    to.sll_ifindex = index as i32;
    to.sll_halen = 6;
    to.sll_addr[..6].copy_from_slice(&BROADCAST);
    send(&socket, &request(ip, mac), &to)
}

/// An ARP request for the address by the one who has it.
fn request(ip: Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    let ethernet_ipv4_request = [0, 1, 8, 0, 6, 4, 0, 1];
    [&ethernet_ipv4_request[..], &mac, &ip.octets(), &[0; 6], &ip.octets()].concat()
}

fn advertisement(ip: Ipv6Addr, mac: [u8; 6], index: u32) -> io::Result<()> {
    let socket = socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6)?;
    for option in [libc::IPV6_MULTICAST_HOPS, libc::IPV6_UNICAST_HOPS] {
        // Anything else was not sent by a neighbour, and is dropped.
        set(&socket, option, &255_i32)?;
    }
    set(&socket, libc::IPV6_MULTICAST_IF, &(index as i32))?;
    let from = sockaddr(SocketAddrV6::new(ip, 0, 0, 0));
    // SAFETY: address and length belong together.
    let bound =
        unsafe { libc::bind(socket.as_raw_fd(), (&raw const from).cast(), size_of_val(&from) as u32) };
    if bound != 0 {
        return Err(io::Error::last_os_error());
    }
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    send(&socket, &neighbour(ip, mac), &sockaddr(SocketAddrV6::new(all_nodes, 0, 0, index)))
}

/// Kind 136, with *override*, and the link-layer address; the kernel puts in the checksum.
fn neighbour(ip: Ipv6Addr, mac: [u8; 6]) -> Vec<u8> {
    [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &ip.octets(), &[2, 1], &mac].concat()
}

fn sockaddr(address: SocketAddrV6) -> libc::sockaddr_in6 {
    // SAFETY: plain numbers; all zeros is a value of it.
    let mut to: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    to.sin6_family = libc::AF_INET6 as u16;
    to.sin6_addr.s6_addr = address.ip().octets();
    to.sin6_scope_id = address.scope_id();
    to
}

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain call.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is ours and open.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set(socket: &OwnedFd, option: i32, value: &i32) -> io::Result<()> {
    let length = size_of_val(value) as u32;
    // SAFETY: value and length belong together.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            option,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn send<A>(socket: &OwnedFd, bytes: &[u8], to: &A) -> io::Result<()> {
    let (at, length) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: `A` is a socket address of its own length, `bytes` as long as is said.
    let sent = unsafe {
        let to = std::ptr::from_ref(to).cast();
        libc::sendto(socket.as_raw_fd(), at, length, libc::MSG_DONTWAIT, to, size_of::<A>() as u32)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
