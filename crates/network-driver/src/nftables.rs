//! Messages to nftables (`linux/netfilter/nf_tables.h`): what is too frequent, or in too many namespaces, for nft(8).
//!
//! A batch is one transaction: all of it is done, or nothing. Numbers are in network byte order.
//!
//! ```text
//!   batch begin | message, attributes | ... | batch end        each: nlmsghdr, nfgenmsg, attributes
//! ```

use std::io;
use std::net::Ipv4Addr;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use conex_network::nft::Element;

use crate::netlink::ANSWER_TIMEOUT;

/// Protocol of the socket (`NETLINK_NETFILTER`), and the part of it (`NFNL_SUBSYS_NFTABLES`).
const NETLINK_NETFILTER: u32 = 12;
const SUBSYSTEM: u16 = 10;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const NEW_ELEMENT: u16 = SUBSYSTEM << 8 | 12;
const DELETE_ELEMENT: u16 = SUBSYSTEM << 8 | 14;

/// Flags of a message (netlink(7)), and of an attribute that holds others.
const REQUEST: u16 = 0x01;
const ACK: u16 = 0x04;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;

/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;

/// Type of an answer (`NLMSG_ERROR`), and bytes of a message's head.
const ANSWER: u16 = 2;
const HEAD: usize = 16;

/// Room for the answers to one batch; a refusal repeats its message.
const ANSWER_BYTES: usize = 64 * 1024;

/// The register that expressions work on.
const REGISTER: u32 = 1;

/// Bases of a packet's bytes.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// Where the addresses are in the header of IPv4 (RFC 791).
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;

/// Ports of a name server that a container asks, and those where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Redirection {
    /// The address.
    pub(crate) address: Ipv4Addr,
    /// The port that is asked.
    pub(crate) asked: u16,
    /// The port of UDP that answers.
    pub(crate) udp: u16,
    /// The port of TCP that answers.
    pub(crate) tcp: u16,
}

/// Attributes of a message, one after the other.
#[derive(Debug, Default)]
struct Attributes(Vec<u8>);

impl Attributes {
    fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // Lengths of what is sent here are far below 64 KiB.
        let length = (value.len() + 4) as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    fn nest(self, kind: u16, inner: Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    /// A value as data (`NFTA_DATA_VALUE`).
    fn data(self, kind: u16, value: &[u8]) -> Self {
        self.nest(kind, Self::default().bytes(1, value))
    }

    /// An expression of a rule (`NFTA_LIST_ELEM` of `NFTA_EXPR_NAME` and `NFTA_EXPR_DATA`).
    fn expression(self, name: &str, data: Self) -> Self {
        self.nest(1, Self::default().text(1, name).nest(2, data))
    }

    /// Goes on where a part of the packet is this.
    fn packet_is(self, base: u32, offset: u32, value: &[u8]) -> Self {
        let load = Self::default()
            .number(1, REGISTER)
            .number(2, base)
            .number(3, offset)
            .number(4, value.len() as u32);
        self.expression("payload", load).is(value)
    }

    /// Goes on where the packet is of this protocol (`NFT_META_L4PROTO`).
    fn protocol_is(self, protocol: u8) -> Self {
        let load = Self::default().number(1, REGISTER).number(2, 16);
        self.expression("meta", load).is(&[protocol])
    }

    fn is(self, value: &[u8]) -> Self {
        let compare = Self::default().number(1, REGISTER).number(2, 0).data(3, value);
        self.expression("cmp", compare)
    }

    /// Writes into the transport header, and mends the checksum that is at `checksum` (`NFT_PAYLOAD_CSUM_INET`).
    fn write(self, offset: u32, value: &[u8], checksum: u32) -> Self {
        let load = Self::default().number(1, REGISTER).data(2, value);
        let store = Self::default()
            .number(5, REGISTER)
            .number(2, TRANSPORT_HEADER)
            .number(3, offset)
            .number(4, value.len() as u32)
            .number(6, 1)
            .number(7, checksum);
        self.expression("immediate", load).expression("payload", store)
    }
}

/// Messages that become one transaction.
#[derive(Debug, Default)]
struct Batch(Vec<(u16, u16, Attributes)>);

impl Batch {
    fn encode(self) -> (Vec<u8>, u32) {
        let mut bytes = Vec::new();
        push(&mut bytes, BATCH_BEGIN, REQUEST, 0, SUBSYSTEM, &[]);
        let mut sequence = 0;
        for (kind, flags, attributes) in self.0 {
            sequence += 1;
            push(&mut bytes, kind, REQUEST | ACK | flags, sequence, 0, &attributes.0);
        }
        push(&mut bytes, BATCH_END, REQUEST, sequence + 1, SUBSYSTEM, &[]);
        (bytes, sequence)
    }

    /// Has the kernel of the calling thread's namespace carry it out.
    fn commit(self) -> io::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let protocol = std::num::NonZeroU32::new(NETLINK_NETFILTER).map(rustix::net::Protocol::from_raw);
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        let (bytes, last) = self.encode();
        rustix::net::send(&socket, &bytes, SendFlags::empty())?;
        let mut buffer = vec![0; ANSWER_BYTES];
        loop {
            let (received, _) =
                rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut buffer, RecvFlags::empty()))?;
            for (sequence, errno) in answers(&buffer[..received]) {
                if errno != 0 {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                if sequence == last {
                    return Ok(());
                }
            }
        }
    }
}

fn push(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, resource: u16, attributes: &[u8]) {
    let length = (HEAD + 4 + attributes.len()) as u32;
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0u32.to_ne_bytes());
    bytes.extend_from_slice(&[IPV4, 0]);
    bytes.extend_from_slice(&resource.to_be_bytes());
    bytes.extend_from_slice(attributes);
}

/// Number and error of each answer.
fn answers(mut bytes: &[u8]) -> Vec<(u32, i32)> {
    let mut found = Vec::new();
    let number = |bytes: &[u8], at: usize| {
        let four = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(four))
    };
    while let (Some(length), Some(sequence)) = (number(bytes, 0), number(bytes, 8)) {
        if bytes.get(4..6) == Some(ANSWER.to_ne_bytes().as_slice())
            && let Some(error) = number(bytes, HEAD)
        {
            // The kernel tells errors as negative numbers.
            found.push((sequence, (error as i32).wrapping_neg()));
        }
        let next = (length as usize).next_multiple_of(4).max(HEAD);
        bytes = bytes.get(next..).unwrap_or_default();
    }
    found
}

/// Takes elements out of maps and puts others in.
pub(crate) fn change_elements(table: &str, gone: &[Element], new: &[Element]) -> io::Result<()> {
    let message = |element: &Element, with_data: bool| {
        let mut entry = Attributes::default().data(1, &element.key);
        if with_data {
            entry = entry.data(2, &element.data);
        }
        Attributes::default()
            .text(1, table)
            .text(2, element.map)
            .nest(3, Attributes::default().nest(1, entry))
    };
    let mut batch = Batch::default();
    batch
        .0
        .extend(gone.iter().map(|element| (DELETE_ELEMENT, 0, message(element, false))));
    batch
        .0
        .extend(new.iter().map(|element| (NEW_ELEMENT, CREATE, message(element, true))));
    batch.commit()
}

/// Has what is sent to a port of this namespace's loopback arrive at another, and the answers come from the first. No
/// connections are tracked for it: packets are rewritten on their way out, in both directions. A table of that name that
/// is there is replaced; it is tried without first, because removing even nothing has the kernel wait for a grace period.
pub(crate) fn redirect(table: &str, redirection: Redirection) -> io::Result<()> {
    let named = || Attributes::default().text(1, table);
    let fresh = vec![(NEW_TABLE, CREATE | EXCLUSIVE, named())];
    match redirect_in(fresh, table, redirection) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let replaced = vec![(DELETE_TABLE, 0, named()), (NEW_TABLE, CREATE, named())];
            redirect_in(replaced, table, redirection)
        }
        outcome => outcome,
    }
}

fn redirect_in(table_first: Vec<(u16, u16, Attributes)>, table: &str, redirection: Redirection) -> io::Result<()> {
    let chain = Attributes::default()
        .text(1, table)
        .text(3, "output")
        // `NF_INET_LOCAL_OUT`, before connections are tracked (-200).
        .nest(4, Attributes::default().number(1, 3).number(2, (-250i32) as u32))
        .text(7, "filter");
    let mut batch = Batch(table_first);
    batch.0.push((NEW_CHAIN, CREATE, chain));
    let address = redirection.address.octets();
    let asked = redirection.asked.to_be_bytes();
    for (protocol, checksum, port) in [(17, 6, redirection.udp), (6, 16, redirection.tcp)] {
        let port = port.to_be_bytes();
        let there = Attributes::default()
            .packet_is(NETWORK_HEADER, DESTINATION, &address)
            .protocol_is(protocol)
            .packet_is(TRANSPORT_HEADER, 2, &asked)
            .write(2, &port, checksum);
        let back = Attributes::default()
            .packet_is(NETWORK_HEADER, SOURCE, &address)
            .protocol_is(protocol)
            .packet_is(TRANSPORT_HEADER, 0, &port)
            .write(0, &asked, checksum);
        for expressions in [there, back] {
            let rule = Attributes::default()
                .text(1, table)
                .text(2, "output")
                .nest(4, expressions);
            batch.0.push((NEW_RULE, CREATE | APPEND, rule));
        }
    }
    batch.commit()
}
