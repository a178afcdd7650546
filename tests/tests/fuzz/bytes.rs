//! Chance, and bytes that are changed by it.

/// Numbers that look like chance and are the same in each run (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than this.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    pub(crate) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// A place among so many bytes; half of the time at a block's field, as most of them lie there.
    fn place(&mut self, length: usize) -> usize {
        const FIELDS: [usize; 12] = [0, 100, 108, 116, 124, 136, 148, 156, 157, 257, 329, 345];
        if length > 512 && self.below(2) == 0 {
            let block = self.below(length / 512) * 512;
            return (block + self.of(&FIELDS) + self.below(12)).min(length - 1);
        }
        self.below(length)
    }
}

/// Values at which programs go wrong.
const ODD: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'7', b'9', b'/', b'.', b' ', b'\n'];

/// Longest input.
const LONGEST: usize = 64 << 10;

/// Changes bytes a few times; words of the target's own are put in.
pub(crate) fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    for _ in 0..=random.below(5) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let place = random.place(bytes.len());
        let length = [1, 2, 8, 12, 512, bytes.len()][random.below(6)];
        let length = length.min(bytes.len() - place);
        match random.below(12) {
            0 => bytes[place] ^= 1 << random.below(8),
            1 => bytes[place] = *random.of(&ODD),
            2 => bytes[place] = bytes[place].wrapping_add(1),
            3 => drop(bytes.drain(place..place + length)),
            4 => {
                let again = bytes[place..place + length].to_vec();
                let at = random.place(bytes.len());
                bytes.splice(at..at, again);
            }
            5 | 6 => {
                let word = random.of(words);
                let end = (place + word.len()).min(bytes.len());
                bytes.splice(place..end, word.iter().copied());
            }
            7 => {
                let word = random.of(words);
                bytes.splice(place..place, word.iter().copied());
            }
            8 => bytes[place..place + length].fill(*random.of(&ODD)),
            9 => bytes.truncate(place),
            10 if !other.is_empty() => {
                let from = random.place(other.len());
                bytes.truncate(place);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let number = [0, 1, u64::MAX, i64::MAX as u64, 1 << 32, random.next()][random.below(6)];
                let end = (place + 8).min(bytes.len());
                bytes[place..end].copy_from_slice(&number.to_be_bytes()[..end - place]);
            }
        }
    }
    bytes.truncate(LONGEST);
}
