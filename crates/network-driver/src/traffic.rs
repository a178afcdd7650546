//! The requests of traffic control, as rtnetlink(7) messages: queues that let pass so many bytes per second (tc-tbf(8)), and
//! what arrives at an interface led elsewhere or counted there (tc-u32(8), tc-mirred(8), tc-police(8)).
//!
//! The layouts are those of linux/pkt_sched.h, linux/pkt_cls.h and linux/tc_act/tc_mirred.h.

use conex_network::rate::Rate;
use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use rustix::io::Errno;

use crate::messages::Request;

const TCA_OPTIONS: u16 = 2;

const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;

const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TC_U32_TERMINAL: u8 = 1;

/// The first and only action of a filter.
const FIRST_ACTION: u16 = 1;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TC_ACT_SHOT: u32 = 2;
const TC_ACT_STOLEN: u32 = 4;

const TCA_MIRRED_PARMS: u16 = 2;
const TCA_EGRESS_REDIR: u32 = 1;

const TCA_POLICE_TBF: u16 = 1;
const TCA_POLICE_RATE: u16 = 2;
const TCA_POLICE_RATE64: u16 = 8;

/// `TC_LINKLAYER_ETHERNET`; said, so that the kernel does not look for it in the table below.
const LINK_LAYER_ETHERNET: u8 = 1;

/// A table that the kernel wants and has had no use for since Linux 3.8 (`TC_RTAB_SIZE`).
const RATE_TABLE: [u8; 1024] = [0; 1024];

/// The kernel measures bursts in 64 ns too (`PSCHED_SHIFT`).
const NANOSECONDS_PER_TICK: u128 = 64;

/// `ETH_P_ALL` of linux/if_ether.h.
const ALL_PROTOCOLS: u16 = 3;

const FILTER_PRIORITY: u32 = 1;

/// First entry of the first table of u32 filters, named so that a filter that is there already is not made twice.
const FILTER_HANDLE: u32 = 0x8000_0001;

/// How long a packet may wait for its turn: parts of a second that the queue lasts, and bytes that it has room for at least.
const QUEUES_PER_SECOND: u64 = 20;
const LEAST_QUEUE: u64 = 32 << 10;

/// A policer drops a packet of segmentation offload that is larger than its burst, where a queue would segment it.
const LEAST_POLICED_BURST: u32 = 128 << 10;

/// Handle of the queue of an interface, `1:`.
const QUEUE: TcHandle = TcHandle { major: 1, minor: 0 };

/// What filters for what arrives are attached to, `ffff:`.
const ARRIVALS: TcHandle = TcHandle {
    major: u16::MAX,
    minor: 0,
};

/// Has an interface send no more than so much; changes the rate where it does so already.
pub(crate) fn limit_sent(index: u32, rate: Rate) -> Request {
    let queue = (rate.bytes_per_second / QUEUES_PER_SECOND).max(LEAST_QUEUE);
    let limit = u32::try_from(queue + u64::from(rate.burst)).unwrap_or(u32::MAX);
    // Burst and peak have attributes of their own; the last number would be the peak's largest packet.
    let parameters = [
        rate_spec(rate.bytes_per_second),
        rate_spec(0),
        words(&[limit, ticks(rate), 0]),
    ]
    .concat();
    let options = [
        DefaultNla::new(TCA_TBF_PARMS, parameters),
        DefaultNla::new(TCA_TBF_RATE64, rate.bytes_per_second.to_ne_bytes().to_vec()),
        DefaultNla::new(TCA_TBF_BURST, words(&[rate.burst])),
    ];
    let message = message(index, (QUEUE, TcHandle::ROOT), "tbf", &options);
    Request::new(
        RouteNetlinkMessage::NewQueueDiscipline(message),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
}

/// Takes that back; none that is there is as good.
pub(crate) fn unlimit_sent(index: u32) -> Request {
    without_queue(index, TcHandle::ROOT)
}

/// Of a kind or with a handle that is not there, the kernel would call the request invalid.
fn without_queue(index: u32, parent: TcHandle) -> Request {
    let mut message = TcMessage::default();
    message.header.index = index.cast_signed();
    message.header.parent = parent;
    Request::new(RouteNetlinkMessage::DelQueueDiscipline(message), 0).tolerating(Errno::NOENT)
}

/// Lets filters look at what arrives at an interface.
pub(crate) fn watch_arrivals(index: u32) -> Request {
    let message = message(index, (ARRIVALS, TcHandle::INGRESS), "ingress", &[]);
    let request = Request::new(
        RouteNetlinkMessage::NewQueueDiscipline(message),
        NLM_F_CREATE | NLM_F_EXCL,
    );
    request.tolerating(Errno::EXIST)
}

/// Takes that back, and the filters with it; none that is there is as good.
pub(crate) fn ignore_arrivals(index: u32) -> Request {
    without_queue(index, TcHandle::INGRESS)
}

/// Has everything that arrives at an interface be sent by another, from where it comes back.
pub(crate) fn redirect_arrivals(index: u32, other: u32) -> Request {
    // `struct tc_mirred`: index, capabilities, verdict, two counts, what to do, where.
    let parameters = words(&[0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR, other]);
    filter_all(index, "mirred", &[DefaultNla::new(TCA_MIRRED_PARMS, parameters)])
}

/// Has what arrives at an interface beyond a rate be dropped.
pub(crate) fn police_arrivals(index: u32, rate: Rate) -> Request {
    let rate = Rate {
        burst: rate.burst.max(LEAST_POLICED_BURST),
        ..rate
    };
    // `struct tc_police`: index, verdict, limit, burst, largest packet, rate, peak, two counts, capabilities.
    let parameters = [
        words(&[0, TC_ACT_SHOT, 0, ticks(rate), u32::MAX]),
        rate_spec(rate.bytes_per_second),
        rate_spec(0),
        words(&[0, 0, 0]),
    ]
    .concat();
    let options = [
        DefaultNla::new(TCA_POLICE_TBF, parameters),
        DefaultNla::new(TCA_POLICE_RATE, RATE_TABLE.to_vec()),
        DefaultNla::new(TCA_POLICE_RATE64, rate.bytes_per_second.to_ne_bytes().to_vec()),
    ];
    filter_all(index, "police", &options)
}

/// A filter that has everything that arrives go through one action; one that is there already stays.
fn filter_all(index: u32, action: &str, options: &[DefaultNla]) -> Request {
    let action = nest(
        FIRST_ACTION,
        &[
            DefaultNla::new(TCA_ACT_KIND, [action.as_bytes(), &[0]].concat()),
            nest(TCA_ACT_OPTIONS, options),
        ],
    );
    // `struct tc_u32_sel` with one `struct tc_u32_key`, which compares no bit.
    let mut selector = vec![0; 32];
    selector[0] = TC_U32_TERMINAL;
    selector[2] = 1;
    let options = [DefaultNla::new(TCA_U32_SEL, selector), nest(TCA_U32_ACT, &[action])];
    let mut message = message(index, (FILTER_HANDLE.into(), ARRIVALS), "u32", &options);
    message.header.info = FILTER_PRIORITY << 16 | u32::from(ALL_PROTOCOLS.to_be());
    let request = Request::new(
        RouteNetlinkMessage::NewTrafficFilter(message),
        NLM_F_CREATE | NLM_F_EXCL,
    );
    request.tolerating(Errno::EXIST)
}

fn message(index: u32, (handle, parent): (TcHandle, TcHandle), kind: &str, options: &[DefaultNla]) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index.cast_signed();
    message.header.handle = handle;
    message.header.parent = parent;
    message.attributes = vec![TcAttribute::Kind(kind.to_owned())];
    if !options.is_empty() {
        message.attributes.push(TcAttribute::Other(nest(TCA_OPTIONS, options)));
    }
    message
}

/// `struct tc_ratespec`: two exponents, an overhead, an alignment, a least size, and the rate where it has room for it.
fn rate_spec(bytes_per_second: u64) -> Vec<u8> {
    let mut spec = vec![1, LINK_LAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
    spec.extend(u32::try_from(bytes_per_second).unwrap_or(u32::MAX).to_ne_bytes());
    spec
}

/// How long a burst takes at its rate, in the kernel's unit.
fn ticks(rate: Rate) -> u32 {
    let nanoseconds = u128::from(rate.burst) * 1_000_000_000 / u128::from(rate.bytes_per_second.max(1));
    u32::try_from(nanoseconds / NANOSECONDS_PER_TICK).unwrap_or(u32::MAX)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn nest(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    DefaultNla::new(kind, bytes)
}
