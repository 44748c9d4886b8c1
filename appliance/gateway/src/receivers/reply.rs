//! Sends a datagram back from the address that the question was sent to, also from a socket on `0.0.0.0` or `[::]`.
//!
//! Without that the kernel chooses by its routes, and a sender behind a firewall, or one that compares addresses (RFC 3417 §3.1
//! lets it), never sees its answer. The address comes by [`ask_destination`] with each datagram and goes back as the same
//! control message.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::libc;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, sendmsg, setsockopt, sockopt};

/// Has the kernel tell with each datagram where it was sent to. Needed only on a socket that is bound to no address of its own.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn ask_destination(socket: &UdpSocket) -> io::Result<()> {
    match socket.local_addr()? {
        SocketAddr::V4(local) if local.ip().is_unspecified() => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
        SocketAddr::V6(local) if local.ip().is_unspecified() => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        SocketAddr::V4(_) | SocketAddr::V6(_) => {}
    }
    Ok(())
}

/// Returns the address of ours that a datagram came to, when this control message says one that can answer.
pub(crate) fn destination(control: &ControlMessageOwned) -> Option<IpAddr> {
    match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            // For a broadcast this is the interface's own address; unset on what was queued before the option was.
            let own = [info.ipi_spec_dst, info.ipi_addr].map(|address| Ipv4Addr::from(address.s_addr.to_ne_bytes()));
            own.into_iter().find(|address| !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast()).map(IpAddr::V4)
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let address = IpAddr::from(info.ipi6_addr.s6_addr);
            (!address.is_unspecified() && !address.is_multicast()).then_some(address)
        }
        _ => None,
    }
}

/// Sends `bytes` to `peer` without waiting, from `local` when that is known.
///
/// # Errors
/// What the kernel says; a sender that hears nothing will ask again.
pub(crate) fn send(socket: &UdpSocket, peer: SocketAddr, local: Option<IpAddr>, bytes: &[u8]) -> io::Result<()> {
    let (to, content) = (SockaddrStorage::from(peer), [IoSlice::new(bytes)]);
    let post = |control: &[ControlMessage<'_>]| sendmsg(socket.as_raw_fd(), &content, control, MsgFlags::MSG_DONTWAIT, Some(&to));
    match local {
        None => post(&[])?,
        Some(IpAddr::V4(from)) => {
            let nowhere = libc::in_addr { s_addr: 0 };
            let own = libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
            post(&[ControlMessage::Ipv4PacketInfo(&libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: own, ipi_addr: nowhere })])?
        }
        Some(IpAddr::V6(from)) => {
            let own = libc::in6_addr { s6_addr: from.octets() };
            post(&[ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo { ipi6_addr: own, ipi6_ifindex: 0 })])?
        }
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::recvmsg;

    /// Asks a socket on `bind` at `to`; returns the answer's source.
    fn answered_from(bind: &str, to: &str) -> Option<IpAddr> {
        let server = UdpSocket::bind(bind).ok()?;
        ask_destination(&server).unwrap();
        let client = UdpSocket::bind(if to.contains('.') { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
        client.send_to(b"question", (to, server.local_addr().unwrap().port())).unwrap();
        let mut buffer = [0; 64];
        let mut content = [io::IoSliceMut::new(&mut buffer)];
        let mut space = nix::cmsg_space!(libc::in6_pktinfo);
        let got = recvmsg::<SockaddrStorage>(server.as_raw_fd(), &mut content, Some(&mut space), MsgFlags::empty()).unwrap();
        let local = got.cmsgs().unwrap().find_map(|control| destination(&control));
        let address = got.address.as_ref().unwrap();
        let peer = address
            .as_sockaddr_in()
            .map_or_else(|| SocketAddr::V6((*address.as_sockaddr_in6().unwrap()).into()), |address| SocketAddr::V4((*address).into()));
        send(&server, peer, local, b"answer").unwrap();
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer.get(..length), Some(&b"answer"[..]));
        Some(from.ip())
    }

    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        for asked in ["127.0.0.1", "127.0.0.2"] {
            assert_eq!(answered_from("0.0.0.0:0", asked), Some(asked.parse().unwrap()));
        }
    }

    #[test]
    fn a_socket_for_both_families_answers_either_from_the_address_that_was_asked() {
        let Some(from) = answered_from("[::]:0", "127.0.0.2") else {
            println!("skipped: no IPv6 here");
            return;
        };
        assert_eq!(from.to_string(), "127.0.0.2");
        assert_eq!(answered_from("[::]:0", "::1"), Some("::1".parse().unwrap()));
    }

    #[test]
    fn a_socket_with_an_address_of_its_own_needs_none() {
        assert_eq!(answered_from("127.0.0.3:0", "127.0.0.3"), Some("127.0.0.3".parse().unwrap()));
    }
}
