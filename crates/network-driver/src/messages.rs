//! The requests, as rtnetlink(7) messages.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use conex_network::{BridgePlan, EndpointPlan, InterfaceAddress};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NLMSG_ALIGNTO, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind,
    InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

/// Index of the loopback interface, the first of every network namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// One request and how it is meant (`NLM_F_*`).
#[derive(Debug, Clone)]
pub(crate) struct Request {
    message: RouteNetlinkMessage,
    flags: u16,
    /// The refusal that is as good as success.
    tolerated: Option<Errno>,
}

impl Request {
    pub(crate) fn new(message: RouteNetlinkMessage, flags: u16) -> Self {
        Self {
            message,
            flags,
            tolerated: None,
        }
    }

    /// The same, with a refusal that is as good as success.
    pub(crate) fn tolerating(self, refusal: Errno) -> Self {
        Self {
            tolerated: Some(refusal),
            ..self
        }
    }

    /// Whether it is answered by what it asks for, not by an acknowledgement.
    fn is_question(&self) -> bool {
        use RouteNetlinkMessage::{GetAddress, GetLink, GetRoute};
        matches!(self.message, GetAddress(_) | GetLink(_) | GetRoute(_))
    }

    /// Whether an answer to it means that it was not carried out and had to be.
    pub(crate) fn is_refused_by(&self, errno: i32) -> bool {
        errno != 0 && self.tolerated.is_none_or(|tolerated| tolerated.raw_os_error() != errno)
    }
}

/// Several requests as the bytes of one datagram, numbered from `sequence`. Only the last is acknowledged; a request
/// that is refused is answered in any case.
pub(crate) fn encode(requests: &[Request], sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    for (number, request) in (0u32..).zip(requests) {
        let mut header = NetlinkHeader::default();
        header.sequence_number = sequence.wrapping_add(number);
        header.flags = NLM_F_REQUEST | request.flags;
        let is_last = number as usize + 1 == requests.len();
        if is_last && !request.is_question() {
            header.flags |= NLM_F_ACK;
        }
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request.message.clone()));
        message.finalize();
        let start = bytes.len();
        let length = message.buffer_len().next_multiple_of(usize::from(NLMSG_ALIGNTO));
        bytes.resize(start + length, 0);
        message.serialize(&mut bytes[start..]);
    }
    bytes
}

/// A new bridge, down; refused where the name is taken.
pub(crate) fn create_bridge(plan: &BridgePlan) -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(plan.name.clone()),
        LinkAttribute::Address(plan.mac.bytes().to_vec()),
        LinkAttribute::Mtu(plan.mtu),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
    ];
    Request::new(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// A new pair of interfaces: one here, up and a port of the bridge, and its peer in a namespace, named, addressed, down.
///
/// The peer stays down because an interface that is up makes itself an IPv6 address at once.
pub(crate) fn create_veth(plan: &EndpointPlan, bridge: u32, namespace: BorrowedFd<'_>) -> Request {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(plan.interface.clone()),
        LinkAttribute::Address(plan.mac.bytes().to_vec()),
        LinkAttribute::Mtu(plan.mtu),
        LinkAttribute::NetNsFd(namespace.as_raw_fd()),
    ];
    let mut message = LinkMessage::default();
    set_up(&mut message);
    message.attributes = vec![
        LinkAttribute::IfName(plan.host_interface.clone()),
        LinkAttribute::Mtu(plan.mtu),
        LinkAttribute::Controller(bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    Request::new(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// A new interface that gives back what it is given to send, down (ip-link(8), `ifb`); refused where the name is taken.
pub(crate) fn create_ifb(name: &str, mtu: u32) -> Request {
    let mut message = named_link(name);
    message.attributes.extend([
        LinkAttribute::Mtu(mtu),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]),
    ]);
    Request::new(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Notes something at an interface, for whoever lists it.
pub(crate) fn set_alias(name: &str, alias: &str) -> Request {
    let mut message = named_link(name);
    message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
    Request::new(RouteNetlinkMessage::SetLink(message), 0)
}

/// Keeps a port of a bridge from the bridge's other isolated ports (bridge(8), `isolated`).
pub(crate) fn isolate_port(name: &str) -> Request {
    let mut message = named_link(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(true)])),
    ]));
    Request::new(RouteNetlinkMessage::NewLink(message), 0)
}

/// Brings an interface up.
pub(crate) fn link_up(index: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    set_up(&mut message);
    Request::new(RouteNetlinkMessage::SetLink(message), 0)
}

/// Keeps an interface that is down from making itself an IPv6 address of the link (ip-link(8), `addrgenmode none`). One
/// that has no IPv6 at all, for its MTU or because the kernel has none, makes itself none either.
pub(crate) fn without_link_local(index: u32) -> Request {
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
        .attributes
        .push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
    Request::new(RouteNetlinkMessage::SetLink(message), 0).tolerating(Errno::AFNOSUPPORT)
}

/// Changes the maximum transmission unit.
pub(crate) fn set_mtu(index: u32, mtu: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Mtu(mtu));
    Request::new(RouteNetlinkMessage::SetLink(message), 0)
}

/// Removes an interface, and its peer where it has one.
pub(crate) fn delete_link(name: &str) -> Request {
    Request::new(RouteNetlinkMessage::DelLink(named_link(name)), 0)
}

/// Gives an interface an address; one that it has already stays.
pub(crate) fn add_address(index: u32, address: InterfaceAddress) -> Request {
    let mut message = address_message(index, address);
    let subnet = address.subnet();
    if let Some(IpAddr::V4(broadcast)) = subnet.nth(subnet.last_offset()) {
        message.attributes.push(AddressAttribute::Broadcast(broadcast));
    }
    Request::new(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Takes an address from an interface.
pub(crate) fn delete_address(index: u32, address: InterfaceAddress) -> Request {
    Request::new(RouteNetlinkMessage::DelAddress(address_message(index, address)), 0)
}

/// Sends everything that no other route matches to a gateway, whatever the way was before.
pub(crate) fn set_default_route(index: u32, gateway: IpAddr) -> Request {
    let mut message = default_route(family(gateway));
    message.attributes = vec![
        RouteAttribute::Gateway(RouteAddress::from(gateway)),
        RouteAttribute::Oif(index),
    ];
    Request::new(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Takes that way back; none that is there is as good.
pub(crate) fn delete_default_route() -> Request {
    Request::new(RouteNetlinkMessage::DelRoute(default_route(AddressFamily::Inet)), 0).tolerating(Errno::SRCH)
}

fn default_route(address_family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family,
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Boot,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message
}

/// Asks for one interface.
///
/// Since Linux 6.8 the kernel first does what the interface's carrier still calls for (`rtnl_getlink`), which is
/// otherwise left to a worker.
pub(crate) fn get_link(name: &str) -> Request {
    let mut message = named_link(name);
    message
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    Request::new(RouteNetlinkMessage::GetLink(message), 0)
}

/// Asks for all interfaces.
pub(crate) fn dump_links() -> Request {
    Request::new(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)
}

/// Asks for all addresses.
pub(crate) fn dump_addresses() -> Request {
    Request::new(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)
}

/// Asks for all routes of all tables.
pub(crate) fn dump_routes() -> Request {
    Request::new(RouteNetlinkMessage::GetRoute(RouteMessage::default()), NLM_F_DUMP)
}

fn named_link(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn set_up(message: &mut LinkMessage) {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
}

fn address_message(index: u32, address: InterfaceAddress) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.address());
    message.header.prefix_len = address.prefix();
    message.header.scope = AddressScope::Universe;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(address.address()),
        AddressAttribute::Address(address.address()),
    ];
    message
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

#[cfg(test)]
pub(crate) fn sample_veth() -> Request {
    use std::os::fd::AsFd;

    let bridge = BridgePlan::new(&conex_network::BridgeRequest::new("conex0", &[])).unwrap();
    let plan = EndpointPlan::new(&bridge, "0123456789", 0, "172.17.0.2".parse().unwrap()).unwrap();
    create_veth(&plan, 9, std::io::stdin().as_fd())
}
