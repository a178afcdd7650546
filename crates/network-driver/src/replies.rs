//! Reading what the kernel answers: only the few fields that are used, so that what a newer kernel adds is passed over.

use std::net::IpAddr;

use conex_network::{InterfaceAddress, Subnet};
use netlink_packet_core::{NLA_HEADER_SIZE, NLMSG_ALIGNTO, NetlinkBuffer, NlasIterator};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// `NLM_F_DUMP_INTR` of linux/netlink.h.
const DUMP_INTERRUPTED: u16 = 0x10;

const IFINFOMSG_LENGTH: usize = 16;
const IFADDRMSG_LENGTH: usize = 8;
const RTMSG_LENGTH: usize = 12;

const AF_INET: u8 = 2;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;

/// `IF_OPER_UP` of linux/if.h (RFC 2863).
const OPERATIONAL: &[u8] = &[6];

const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;

/// One message of an answer (netlink(7)).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply<'a> {
    pub(crate) sequence: u32,
    /// Whether what is dumped changed meanwhile, so that parts may be missing.
    pub(crate) interrupted: bool,
    pub(crate) body: Body<'a>,
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    /// A request was carried out (0) or refused (errno).
    Answer(i32),
    /// The last message of a dump, with errno where it broke off.
    Done(i32),
    /// One object of a dump.
    Object(&'a [u8]),
}

/// The messages of one datagram; ends at the first that is malformed.
pub(crate) fn replies(mut datagram: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(datagram).ok()?;
        let payload = datagram.get(16..message.length() as usize)?;
        let errno = || {
            payload
                .first_chunk::<4>()
                .map_or(0, |code| i32::from_ne_bytes(*code).saturating_neg())
        };
        let body = match message.message_type() {
            NLMSG_ERROR => Body::Answer(errno()),
            NLMSG_DONE => Body::Done(errno()),
            _ => Body::Object(payload),
        };
        let interrupted = message.flags() & DUMP_INTERRUPTED != 0;
        let length = (message.length() as usize).next_multiple_of(usize::from(NLMSG_ALIGNTO));
        let reply = Reply {
            sequence: message.sequence_number(),
            interrupted,
            body,
        };
        datagram = datagram.get(length..).unwrap_or(&[]);
        Some(reply)
    })
}

/// An interface (`struct ifinfomsg`, rtnetlink(7)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// `bridge`, `veth` and so on; empty for hardware.
    pub(crate) kind: String,
    /// What was noted at it; empty for nothing.
    pub(crate) alias: String,
    pub(crate) mac: Vec<u8>,
    /// Index of the bridge that it is a port of, 0 for none.
    pub(crate) bridge: u32,
    /// Whether it passes packets.
    pub(crate) is_operational: bool,
}

pub(crate) fn link(payload: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: number(payload.get(4..8)?)?,
        ..Link::default()
    };
    for (kind, value) in attributes(payload.get(IFINFOMSG_LENGTH..)?) {
        match kind {
            IFLA_ADDRESS => value.clone_into(&mut link.mac),
            IFLA_IFNAME => link.name = text(value),
            IFLA_IFALIAS => link.alias = text(value),
            IFLA_MASTER => link.bridge = number(value).unwrap_or_default(),
            IFLA_OPERSTATE => link.is_operational = value == OPERATIONAL,
            IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = kind.map(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

/// An address and the index of its interface (`struct ifaddrmsg`, rtnetlink(7)).
pub(crate) fn address(payload: &[u8]) -> Option<(u32, InterfaceAddress)> {
    let prefix = *payload.get(1)?;
    let index = number(payload.get(4..8)?)?;
    let (mut local, mut peer) = (None, None);
    for (kind, value) in attributes(payload.get(IFADDRMSG_LENGTH..)?) {
        match kind {
            IFA_LOCAL => local = ip(value),
            IFA_ADDRESS => peer = ip(value),
            _ => {}
        }
    }
    Some((index, InterfaceAddress::new(local.or(peer)?, prefix)?))
}

/// The destination of a route and the index of the interface it leaves by, 0 for none or several (`struct rtmsg`,
/// rtnetlink(7)). The default route has the prefix 0.
pub(crate) fn route(payload: &[u8]) -> Option<(u32, Subnet)> {
    let [family, prefix] = *payload.first_chunk::<2>()?;
    let mut destination: IpAddr = if family == AF_INET {
        [0u8; 4].into()
    } else {
        [0u8; 16].into()
    };
    let mut interface = 0;
    for (kind, value) in attributes(payload.get(RTMSG_LENGTH..)?) {
        match kind {
            RTA_DST => destination = ip(value)?,
            RTA_OIF => interface = number(value)?,
            _ => {}
        }
    }
    Some((interface, Subnet::containing(destination, prefix)?))
}

fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(|attribute| {
        let attribute = attribute.ok()?;
        let value = NLA_HEADER_SIZE..usize::from(attribute.length());
        Some((attribute.kind(), attribute.into_inner().get(value)?))
    })
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::messages;

    #[test]
    fn a_truncated_message_ends_the_answer_and_is_not_read() {
        let mut bytes = messages::encode(&[messages::link_up(7), messages::link_up(8)], 5);
        assert_eq!(replies(&bytes).map(|reply| reply.sequence).collect::<Vec<_>>(), [5, 6]);
        bytes.pop();
        assert_eq!(replies(&bytes).count(), 1);
        assert_eq!(replies(&[]).count(), 0);
    }

    #[test]
    fn a_length_that_stands_still_does_not_loop() {
        let mut bytes = vec![0; 64];
        assert_eq!(replies(&bytes).count(), 0);
        bytes[0] = 15;
        assert_eq!(replies(&bytes).count(), 0);
    }

    #[test]
    fn the_answer_of_a_refused_request_is_its_errno() {
        let mut bytes = vec![20, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend((-17i32).to_ne_bytes());
        let expected = Reply {
            sequence: 9,
            interrupted: false,
            body: Body::Answer(17),
        };
        assert_eq!(replies(&bytes).collect::<Vec<_>>(), [expected]);
        bytes[16..].copy_from_slice(&i32::MIN.to_ne_bytes());
        assert_eq!(replies(&bytes).next().unwrap().body, Body::Answer(i32::MAX));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = (replies(&bytes).count(), link(&bytes), address(&bytes), route(&bytes));
        }

        #[test]
        fn no_change_of_a_real_message_makes_the_parsers_panic(at in 0usize..200, value: u8, cut in 0usize..200) {
            let mut bytes = messages::encode(&[messages::sample_veth()], 1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            for reply in replies(&bytes) {
                if let Body::Object(payload) = reply.body {
                    let _ = (link(payload), address(payload), route(payload));
                }
            }
        }
    }
}
