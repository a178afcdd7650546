//! The key sequence that detaches a client.

/// Finds a sequence in a client's input, across reads.
#[derive(Debug, Default)]
pub(crate) struct Detach {
    keys: Vec<u8>,
    matched: usize,
}

impl Detach {
    /// For these keys; none never match.
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// As another was that had seen so many of its keys.
    pub(crate) fn resume(keys: Vec<u8>, matched: usize) -> Self {
        let matched = if matched < keys.len() { matched } else { 0 };
        Self { keys, matched }
    }

    /// The keys, and how many of them were seen.
    pub(crate) fn parts(&self) -> (&[u8], usize) {
        (&self.keys, self.matched)
    }

    /// Takes input; returns what goes to the process, and whether the sequence was completed.
    pub(crate) fn filter(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(input.len());
        for byte in input {
            if self.keys.is_empty() {
                passed.push(*byte);
                continue;
            }
            if *byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (passed, true);
                }
                continue;
            }
            // What was held back was no sequence after all.
            passed.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if *byte == self.keys[0] {
                self.matched = 1;
            } else {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_detaches_across_reads_and_is_not_passed_on() {
        let mut detach = Detach::new(vec![16, 17]);
        assert_eq!(detach.filter(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(detach.filter(b"\x11rest"), (vec![], true));
    }

    #[test]
    fn a_sequence_that_was_begun_before_is_completed() {
        let mut before = Detach::new(vec![16, 17]);
        assert_eq!(before.filter(b"a\x10"), (b"a".to_vec(), false));
        let (keys, matched) = before.parts();
        let mut detach = Detach::resume(keys.to_vec(), matched);
        assert_eq!(detach.filter(b"\x11"), (vec![], true));
        // What nobody can have seen counts as nothing.
        let mut detach = Detach::resume(vec![16, 17], 2);
        assert_eq!(detach.filter(b"\x10\x11"), (vec![], true));
    }

    #[test]
    fn a_beginning_that_leads_nowhere_is_passed_on() {
        let mut detach = Detach::new(vec![16, 17]);
        assert_eq!(detach.filter(b"\x10x\x10\x10\x11"), (b"\x10x\x10".to_vec(), true));
    }
}
