//! The part of MessagePack that is written here, each value in its shortest form.

/// The head of a list of so many values.
pub(crate) fn array(out: &mut Vec<u8>, length: usize) {
    match length {
        0..16 => out.push(0x90 | length as u8),
        16..0x1_0000 => sized(out, 0xdc, &(length as u16).to_be_bytes()),
        _ => sized(out, 0xdd, &(length as u32).to_be_bytes()),
    }
}

/// The head of a map of so many pairs.
pub(crate) fn map(out: &mut Vec<u8>, length: usize) {
    match length {
        0..16 => out.push(0x80 | length as u8),
        16..0x1_0000 => sized(out, 0xde, &(length as u16).to_be_bytes()),
        _ => sized(out, 0xdf, &(length as u32).to_be_bytes()),
    }
}

/// Text; what is no UTF-8 goes as it is, as Fluentd takes it.
pub(crate) fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..0x100 => sized(out, 0xd9, &[length as u8]),
        length @ 0x100..0x1_0000 => sized(out, 0xda, &(length as u16).to_be_bytes()),
        length => sized(out, 0xdb, &(length as u32).to_be_bytes()),
    }
    out.extend_from_slice(bytes);
}

/// A number.
pub(crate) fn integer(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x80 => out.push(number as u8),
        0x80..0x1_0000_0000 => sized(out, 0xce, &(number as u32).to_be_bytes()),
        _ => sized(out, 0xcf, &number.to_be_bytes()),
    }
}

/// Seconds and nanoseconds, Fluentd's own type of time.
pub(crate) fn event_time(out: &mut Vec<u8>, seconds: i64, nanoseconds: i32) {
    sized(out, 0xd7, &[0]);
    out.extend((seconds as u32).to_be_bytes());
    out.extend((nanoseconds as u32).to_be_bytes());
}

fn sized(out: &mut Vec<u8>, kind: u8, size: &[u8]) {
    out.push(kind);
    out.extend_from_slice(size);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn each_value_has_its_shortest_form() {
        for (bytes, expected) in [
            (written(|out| array(out, 15)), vec![0x9f]),
            (written(|out| array(out, 16)), vec![0xdc, 0, 16]),
            (written(|out| array(out, 70_000)), vec![0xdd, 0, 1, 0x11, 0x70]),
            (written(|out| map(out, 2)), vec![0x82]),
            (written(|out| map(out, 300)), vec![0xde, 1, 44]),
            (written(|out| integer(out, 127)), vec![127]),
            (written(|out| integer(out, 128)), vec![0xce, 0, 0, 0, 128]),
            (written(|out| integer(out, 1 << 32)), vec![0xcf, 0, 0, 0, 1, 0, 0, 0, 0]),
            (
                written(|out| event_time(out, 1, 2)),
                vec![0xd7, 0, 0, 0, 0, 1, 0, 0, 0, 2],
            ),
            (written(|out| text(out, b"ab")), vec![0xa2, b'a', b'b']),
        ] {
            assert_eq!(bytes, expected);
        }
        let head = |length: usize| written(|out| text(out, &vec![b'x'; length]))[..3].to_vec();
        assert_eq!(head(40), [0xd9, 40, b'x']);
        assert_eq!(head(300), [0xda, 1, 44]);
        assert_eq!(head(70_000), [0xdb, 0, 1]);
    }
}
