//! Messages of D-Bus as bytes (D-Bus specification, "Message Protocol"), as far as calls to systemd need them.

use super::BusError;

/// A value that a call carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// `b`
    Flag(bool),
    /// `t`
    Number(u64),
    /// `s`
    Text(String),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Pids(Vec<u32>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Flag(_) => "b",
            Self::Number(_) => "t",
            Self::Text(_) => "s",
            Self::Bytes(_) => "ay",
            Self::Pids(_) => "au",
            Self::Pairs(_) => "a(ss)",
        }
    }
}

/// The arguments of a call, and what types they have.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    signature: String,
    body: Writer,
}

impl Arguments {
    /// Adds `s`.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.signature.push('s');
        self.body.text(text);
        self
    }

    /// Adds `b`.
    pub(crate) fn flag(mut self, flag: bool) -> Self {
        self.signature.push('b');
        self.body.number(u32::from(flag));
        self
    }

    /// Adds `a(sv)`.
    pub(crate) fn properties<'a>(mut self, properties: impl Iterator<Item = (&'a str, &'a Value)>) -> Self {
        self.signature.push_str("a(sv)");
        self.body.array(8, properties, |body, (name, value)| {
            body.align(8);
            body.text(name);
            body.signature(value.signature());
            body.value(value);
        });
        self
    }

    /// Adds `a(sa(sv))` without an element.
    pub(crate) fn no_units(mut self) -> Self {
        self.signature.push_str("a(sa(sv))");
        self.body.array(8, std::iter::empty::<()>(), |_, ()| {});
        self
    }
}

/// Which method of which object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method<'a> {
    pub(crate) destination: &'a str,
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
    pub(crate) name: &'a str,
}

/// Codes of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// The call as it is sent; little endian, which the reader is told.
pub(crate) fn call(serial: u32, method: &Method<'_>, arguments: &Arguments) -> Vec<u8> {
    let body = &arguments.body.0;
    let mut message = Writer(vec![b'l', Kind::CALL, 0, 1]);
    message.number(u32::try_from(body.len()).unwrap_or(u32::MAX));
    message.number(serial);
    let fields = [
        (PATH, "o", method.path),
        (INTERFACE, "s", method.interface),
        (MEMBER, "s", method.name),
        (DESTINATION, "s", method.destination),
        (SIGNATURE, "g", arguments.signature.as_str()),
    ];
    let fields = fields.into_iter().filter(|(_, _, value)| !value.is_empty());
    message.array(8, fields, |message, (code, kind, value)| {
        message.align(8);
        message.0.push(code);
        message.signature(kind);
        if kind == "g" {
            message.signature(value);
        } else {
            message.text(value);
        }
    });
    message.align(8);
    message.0.extend_from_slice(body);
    message.0
}

/// Bytes in the making; each value begins at a multiple of its alignment.
#[derive(Debug, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(signature.as_bytes());
        self.0.push(0);
    }

    /// The length counts neither itself nor what pads the first element.
    fn array<T>(&mut self, alignment: usize, elements: impl Iterator<Item = T>, mut add: impl FnMut(&mut Self, T)) {
        self.number(0);
        let length = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        for element in elements {
            add(self, element);
        }
        let bytes = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        self.0[length..length + 4].copy_from_slice(&bytes.to_le_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Flag(flag) => self.number(u32::from(*flag)),
            Value::Number(number) => {
                self.align(8);
                self.0.extend_from_slice(&number.to_le_bytes());
            }
            Value::Text(text) => self.text(text),
            Value::Bytes(bytes) => self.array(1, bytes.iter(), |writer, byte| writer.0.push(*byte)),
            Value::Pids(pids) => self.array(4, pids.iter(), |writer, pid| writer.number(*pid)),
            Value::Pairs(pairs) => self.array(8, pairs.iter(), |writer, (one, other)| {
                writer.align(8);
                writer.text(one);
                writer.text(other);
            }),
        }
    }
}

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The answer to a call.
    Answer { serial: u32 },
    /// The refusal of a call, by the error's name.
    Refusal { serial: u32, name: String },
    /// A signal, by its member.
    Signal { member: String },
    /// A call to us, or what later versions have.
    Other,
}

impl Kind {
    const CALL: u8 = 1;
    const ANSWER: u8 = 2;
    const REFUSAL: u8 = 3;
    const SIGNAL: u8 = 4;
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    /// What it is.
    pub(crate) kind: Kind,
    body: Vec<u8>,
    signature: String,
}

/// Bytes that every message begins with: up to the length of the header fields.
pub(crate) const HEAD: usize = 16;

/// The longest message that is taken; those of systemd are of some kilobytes. The specification allows 128 MiB.
const LONGEST: usize = 1 << 24;

/// How many bytes follow a head.
pub(crate) fn rest(head: [u8; HEAD]) -> Result<usize, BusError> {
    if head[0] != b'l' || head[3] != 1 {
        return Err(BusError::Unreadable);
    }
    let mut reader = Reader { bytes: &head, at: 4 };
    let (body, _, fields) = (reader.number()?, reader.number()?, reader.number()?);
    let length = |number: u32| usize::try_from(number).map_err(|_| BusError::Unreadable);
    let (body, fields) = (length(body)?, length(fields)?);
    if body > LONGEST || fields > LONGEST {
        return Err(BusError::Unreadable);
    }
    Ok(fields.next_multiple_of(8) + body)
}

/// Reads a whole message.
pub(crate) fn read(bytes: &[u8]) -> Result<Received, BusError> {
    let kind = *bytes.get(1).ok_or(BusError::Unreadable)?;
    let mut reader = Reader { bytes, at: 12 };
    let length = usize::try_from(reader.number()?).map_err(|_| BusError::Unreadable)?;
    let end = HEAD + length;
    let (mut member, mut error, mut serial, mut signature) = (None, None, None, String::new());
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        match (reader.signature()?.as_str(), code) {
            ("s", MEMBER) => member = Some(reader.text()?),
            ("s", ERROR_NAME) => error = Some(reader.text()?),
            ("g", SIGNATURE) => signature = reader.signature()?,
            ("u", REPLY_SERIAL) => serial = Some(reader.number()?),
            ("s" | "o", _) => drop(reader.text()?),
            ("g", _) => drop(reader.signature()?),
            ("u", _) => drop(reader.number()?),
            _ => return Err(BusError::Unreadable),
        }
    }
    reader.align(8);
    let kind = match (kind, serial, error, member) {
        (Kind::ANSWER, Some(serial), _, _) => Kind::Answer { serial },
        (Kind::REFUSAL, Some(serial), Some(name), _) => Kind::Refusal { serial, name },
        (Kind::SIGNAL, _, _, Some(member)) => Kind::Signal { member },
        _ => Kind::Other,
    };
    let body = bytes.get(reader.at..).ok_or(BusError::Unreadable)?.to_vec();
    Ok(Received { kind, body, signature })
}

impl Received {
    /// The first value, which is a text, the path of an object, or a text in a variant.
    pub(crate) fn text(&self) -> Result<String, BusError> {
        let mut reader = self.reader();
        match self.signature.chars().next() {
            Some('s' | 'o') => reader.text(),
            Some('v') if reader.signature()? == "s" => reader.text(),
            _ => Err(BusError::Unreadable),
        }
    }

    /// What `JobRemoved` tells: the job and its result.
    pub(crate) fn job(&self) -> Result<(String, String), BusError> {
        if self.signature != "uoss" {
            return Err(BusError::Unreadable);
        }
        let mut reader = self.reader();
        let _number = reader.number()?;
        let job = reader.text()?;
        let _unit = reader.text()?;
        Ok((job, reader.text()?))
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            bytes: &self.body,
            at: 0,
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&[u8], BusError> {
        let end = self.at.checked_add(count).ok_or(BusError::Unreadable)?;
        let taken = self.bytes.get(self.at..end).ok_or(BusError::Unreadable)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, BusError> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u32, BusError> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| BusError::Unreadable)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn text(&mut self) -> Result<String, BusError> {
        let length = usize::try_from(self.number()?).map_err(|_| BusError::Unreadable)?;
        self.ended(length)
    }

    fn signature(&mut self) -> Result<String, BusError> {
        let length = usize::from(self.byte()?);
        self.ended(length)
    }

    /// A string of this length, and the zero behind it.
    fn ended(&mut self, length: usize) -> Result<String, BusError> {
        let text = String::from_utf8(self.take(length)?.to_vec()).map_err(|_| BusError::Unreadable)?;
        match self.byte()? {
            0 => Ok(text),
            _ => Err(BusError::Unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHOD: Method<'_> = Method {
        destination: "d.e",
        path: "/p",
        interface: "i.f",
        name: "Call",
    };

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let arguments = Arguments::default().text("ab").flag(true);
        let bytes = call(7, &METHOD, &arguments);
        assert_eq!(bytes[..16], *b"l\x01\0\x01\x0c\0\0\0\x07\0\0\0\x48\0\0\0");
        assert_eq!(bytes[16..26], *b"\x01\x01o\0\x02\0\0\0/p");
        let body = &bytes[bytes.len() - 12..];
        assert_eq!(body, b"\x02\0\0\0ab\0\0\x01\0\0\0");
        assert_eq!(bytes.len() % 8, 4, "the header is padded, the body is not");
        let head = bytes[..HEAD].try_into().unwrap();
        assert_eq!(rest(head).unwrap(), bytes.len() - HEAD);
    }

    #[test]
    fn properties_are_an_array_of_names_and_variants() {
        let values = [
            ("N", Value::Number(3)),
            ("P", Value::Pids(vec![9])),
            ("B", Value::Bytes(vec![5, 6])),
        ];
        let arguments = Arguments::default().properties(values.iter().map(|(name, value)| (*name, value)));
        assert_eq!(arguments.signature, "a(sv)");
        let number = b"\x01\0\0\0N\0\x01t\0\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0";
        let pids = b"\x01\0\0\0P\0\x02au\0\0\0\x04\0\0\0\x09\0\0\0\0\0\0\0";
        let bytes = b"\x01\0\0\0B\0\x02ay\0\0\0\x02\0\0\0\x05\x06";
        let mut expected = b"\x42\0\0\0\0\0\0\0".to_vec();
        expected.extend([number.as_slice(), pids, bytes].concat());
        // 24 for each of the first two, the last of which is padded, and 18.
        assert_eq!(arguments.body.0, expected);
    }

    #[test]
    fn an_empty_array_has_a_length_alone() {
        let arguments = Arguments::default().no_units();
        assert_eq!(
            arguments.body.0, [0; 8],
            "and the padding that its first element would have"
        );
    }

    /// As the other side would send it.
    fn received(kind: u8, fields: &[(u8, &str, &str)], signature: &str, body: &[u8]) -> Vec<u8> {
        let mut message = Writer(vec![b'l', kind, 0, 1]);
        message.number(u32::try_from(body.len()).unwrap());
        message.number(1);
        let own = [(SIGNATURE, "g", signature)];
        message.array(8, fields.iter().chain(&own), |message, (code, kind, value)| {
            message.align(8);
            message.0.push(*code);
            message.signature(kind);
            match *kind {
                "g" => message.signature(value),
                "u" => message.number(value.parse().unwrap()),
                _ => message.text(value),
            }
        });
        message.align(8);
        message.0.extend_from_slice(body);
        message.0
    }

    #[test]
    fn answers_refusals_and_signals_are_told_apart() {
        let answer = read(&received(2, &[(5, "u", "7"), (7, "s", ":1.0")], "o", b"\x02\0\0\0/j\0")).unwrap();
        assert_eq!(answer.kind, Kind::Answer { serial: 7 });
        assert_eq!(answer.text().unwrap(), "/j");

        let fields = [(4, "s", "org.x.Failed"), (5, "u", "8")];
        let refusal = read(&received(3, &fields, "s", b"\x03\0\0\0why\0")).unwrap();
        let name = "org.x.Failed".to_owned();
        assert_eq!(refusal.kind, Kind::Refusal { serial: 8, name });
        assert_eq!(refusal.text().unwrap(), "why");

        let mut body = Writer::default();
        body.number(3);
        for text in ["/job/3", "a.scope", "done"] {
            body.text(text);
        }
        let fields = [(1, "o", "/p"), (2, "s", "i.f"), (3, "s", "JobRemoved")];
        let signal = read(&received(4, &fields, "uoss", &body.0)).unwrap();
        let member = "JobRemoved".to_owned();
        assert_eq!(signal.kind, Kind::Signal { member });
        assert_eq!(signal.job().unwrap(), ("/job/3".to_owned(), "done".to_owned()));
    }

    #[test]
    fn a_message_that_ends_early_is_no_message() {
        let whole = received(2, &[(5, "u", "7")], "s", b"\x02\0\0\0ab\0");
        for length in 0..whole.len() {
            let text = read(&whole[..length]).and_then(|message| message.text());
            assert!(text.is_err(), "{length} of {} bytes", whole.len());
        }
        assert!(rest([0xff; HEAD]).is_err());
    }
}
