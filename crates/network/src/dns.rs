//! Messages of the domain name system (RFC 1035), as far as a container's resolver needs them: one question is read, and
//! answered from what is known of the container's networks.

use std::net::Ipv4Addr;

/// Bytes of a message before its question (RFC 1035, section 4.1.1).
const HEADER: usize = 12;

/// Longest name, and longest answer over UDP, in bytes (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 255;
const LONGEST_ANSWER: usize = 512;

/// Types of records, and the class of the internet (RFC 1035, section 3.2; RFC 3596).
const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// How long an answer may be remembered, in seconds. Docker's; names of containers change with their addresses.
const TIME_TO_LIVE: u32 = 600;

/// Where the names of IPv4 addresses are.
const REVERSE: &str = ".in-addr.arpa";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The name in lower case, without a dot at its end.
    pub name: String,
    /// What of it.
    pub kind: QueryKind,
    /// Where the question ends in the message.
    end: usize,
}

/// What of a name is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKind {
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// The name of an address.
    Name(Ipv4Addr),
    /// Something else.
    Other,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// These addresses.
    Addresses(&'a [Ipv4Addr]),
    /// This name.
    Name(&'a str),
    /// The name is there and has nothing of what is asked.
    Nothing,
    /// Nobody could say (`SERVFAIL`).
    Failure,
}

/// How an answer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In one datagram, cut off where it is too long for that.
    Datagram,
    /// In a stream.
    Stream,
}

impl Query {
    /// Reads a message; `None` for what is no query with exactly one question.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let flags = u16::from_be_bytes(message.get(2..4)?.try_into().ok()?);
        let questions = u16::from_be_bytes(message.get(4..6)?.try_into().ok()?);
        // Neither an answer nor another operation than a query.
        if flags & 0xf800 != 0 || questions != 1 {
            return None;
        }
        let (name, at) = parse_name(message, HEADER)?;
        let number = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
        let (kind, class) = (number(at)?, number(at + 2)?);
        let kind = match kind {
            _ if class != CLASS_IN => QueryKind::Other,
            TYPE_A => QueryKind::Ipv4,
            TYPE_AAAA => QueryKind::Ipv6,
            TYPE_PTR => reversed(&name).map_or(QueryKind::Other, QueryKind::Name),
            _ => QueryKind::Other,
        };
        Some(Self {
            name,
            kind,
            end: at + 4,
        })
    }

    /// The answer to the message that this was read from.
    pub fn answer(&self, message: &[u8], reply: Reply<'_>, transport: Transport) -> Vec<u8> {
        let question = message.get(HEADER..self.end).unwrap_or_default();
        let mut records = Vec::new();
        let mut count = 0u16;
        let mut cut = false;
        let room = LONGEST_ANSWER.saturating_sub(HEADER + question.len());
        let mut push = |kind: u16, data: &[u8]| {
            let Ok(length) = u16::try_from(data.len()) else { return };
            // A pointer to the question's name, type, class, time to live, length and data.
            if transport == Transport::Datagram && records.len() + 12 + data.len() > room {
                cut = true;
                return;
            }
            records.extend_from_slice(&[0xc0, HEADER as u8]);
            records.extend_from_slice(&kind.to_be_bytes());
            records.extend_from_slice(&CLASS_IN.to_be_bytes());
            records.extend_from_slice(&TIME_TO_LIVE.to_be_bytes());
            records.extend_from_slice(&length.to_be_bytes());
            records.extend_from_slice(data);
            count = count.saturating_add(1);
        };
        match reply {
            Reply::Addresses(addresses) => addresses.iter().for_each(|address| push(TYPE_A, &address.octets())),
            Reply::Name(name) => {
                if let Some(name) = encode_name(name) {
                    push(TYPE_PTR, &name);
                }
            }
            Reply::Nothing | Reply::Failure => {}
        }
        // An answer (0x8000) of one that resolves names (0x0080), the question's wish for that (0x0100), cut off (0x0200).
        let asked = message.get(2..4).map_or(0, |flags| u16::from(flags[0]) << 8);
        let failure = if reply == Reply::Failure { 2 } else { 0 };
        let flags = 0x8080 | (asked & 0x0100) | if cut { 0x0200 } else { 0 } | failure;
        let mut answer = message.get(..2).unwrap_or_default().to_vec();
        for number in [flags, 1, count, 0, 0] {
            answer.extend_from_slice(&number.to_be_bytes());
        }
        answer.extend_from_slice(question);
        answer.extend_from_slice(&records);
        answer
    }
}

/// Reads a name that is written out: a question is the first of its message, nothing is there to point to.
fn parse_name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        let label = message.get(at..at + length).filter(|_| length < 64)?;
        at += length;
        if at - start > LONGEST_NAME {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        // What is no ASCII is the name of nobody here; it must only not become another.
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
}

fn encode_name(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).ok().filter(|length| *length < 64)?);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= LONGEST_NAME).then_some(bytes)
}

/// `2.0.18.172.in-addr.arpa` is 172.18.0.2.
fn reversed(name: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = name.strip_suffix(REVERSE)?.parse().ok()?;
    let [a, b, c, d] = address.octets();
    Some(Ipv4Addr::new(d, c, b, a))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(encode_name(name).unwrap());
        message.extend([kind.to_be_bytes(), CLASS_IN.to_be_bytes()].concat());
        message
    }

    #[test]
    fn a_question_is_read() {
        let parsed = |name, kind| Query::parse(&query(name, kind)).unwrap();
        assert_eq!(parsed("Web.Net", TYPE_A).name, "web.net");
        assert_eq!(parsed("web", TYPE_AAAA).kind, QueryKind::Ipv6);
        assert_eq!(parsed("web", 15).kind, QueryKind::Other);
        let reverse = parsed("2.0.18.172.in-addr.arpa", TYPE_PTR);
        assert_eq!(reverse.kind, QueryKind::Name("172.18.0.2".parse().unwrap()));
    }

    #[test]
    fn an_answer_repeats_the_question_and_points_to_its_name() {
        let message = query("web", TYPE_A);
        let address = [Ipv4Addr::new(10, 9, 0, 2)];
        let parsed = Query::parse(&message).unwrap();
        let answer = parsed.answer(&message, Reply::Addresses(&address), Transport::Datagram);
        let mut expected = vec![0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        expected.extend_from_slice(&message[HEADER..]);
        expected.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4, 10, 9, 0, 2]);
        assert_eq!(answer, expected);
        let failure = parsed.answer(&message, Reply::Failure, Transport::Datagram);
        assert_eq!(failure[3], 0x82);
    }

    #[test]
    fn an_answer_that_is_too_long_for_a_datagram_is_cut_off_and_says_so() {
        let message = query("web", TYPE_A);
        let many = vec![Ipv4Addr::LOCALHOST; 100];
        let parsed = Query::parse(&message).unwrap();
        let datagram = parsed.answer(&message, Reply::Addresses(&many), Transport::Datagram);
        assert!(datagram.len() <= LONGEST_ANSWER && datagram[2] & 0x02 != 0);
        let stream = parsed.answer(&message, Reply::Addresses(&many), Transport::Stream);
        assert!(stream[2] & 0x02 == 0 && stream[7] == 100);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_not_and_the_answer_begins_with_its_question(
            message in proptest::collection::vec(any::<u8>(), 0..600)
        ) {
            if let Some(parsed) = Query::parse(&message) {
                let answer = parsed.answer(&message, Reply::Nothing, Transport::Datagram);
                prop_assert_eq!(&answer[..2], &message[..2]);
                prop_assert_eq!(&answer[HEADER..], &message[HEADER..parsed.end]);
            }
        }

        #[test]
        fn every_cut_of_a_question_is_refused(length in 0usize..21) {
            prop_assert!(Query::parse(&query("web", TYPE_A)[..length.min(20)]).is_none());
        }
    }
}
