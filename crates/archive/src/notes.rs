//! What the extractor keeps in mind until its archive's end: something by path, of bounded size whatever the archive says.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::entry::Mtime;
use crate::error::{ExtractError, text};

/// Bytes that a note takes besides its own.
const OVERHEAD: usize = 64;

/// Something about paths, found and forgotten in logarithmic time.
#[derive(Debug)]
pub(crate) struct Notes<V> {
    by_path: BTreeMap<Vec<u8>, V>,
    left: usize,
}

impl<V: AsRef<[u8]>> Notes<V> {
    /// As many bytes at most.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            by_path: BTreeMap::new(),
            left: most,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    /// Notes something; what was noted of the path is replaced.
    pub(crate) fn put(&mut self, path: Vec<u8>, value: V) -> Result<(), ExtractError> {
        self.remove(&path);
        let size = size(&path, &value);
        let Some(left) = self.left.checked_sub(size) else {
            return Err(ExtractError::TooMuch { path: text(&path) });
        };
        self.left = left;
        self.by_path.insert(path, value);
        Ok(())
    }

    pub(crate) fn remove(&mut self, path: &[u8]) {
        if let Some(value) = self.by_path.remove(path) {
            self.left += size(path, &value);
        }
    }

    /// Forgets a path and all below it.
    pub(crate) fn remove_tree(&mut self, path: &[u8]) {
        self.remove(path);
        // A slash is followed by "0".
        let (first, end) = ([path, b"/"].concat(), [path, b"0"].concat());
        let range = (Bound::Included(first.as_slice()), Bound::Excluded(end.as_slice()));
        let below: Vec<Vec<u8>> = self
            .by_path
            .range::<[u8], _>(range)
            .map(|(path, _)| path.clone())
            .collect();
        for path in below {
            self.remove(&path);
        }
    }

    /// In the order of the paths, which has parents first.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = (Vec<u8>, V)> {
        self.by_path.into_iter()
    }
}

fn size<V: AsRef<[u8]>>(path: &[u8], value: &V) -> usize {
    path.len() + value.as_ref().len() + OVERHEAD
}

/// Nothing but that the path is noted.
#[derive(Debug)]
pub(crate) struct Noted;

impl AsRef<[u8]> for Noted {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

/// Directories' times, set at the end: making members below changes them.
#[derive(Debug)]
pub(crate) struct Times {
    notes: Notes<Time>,
    next: u64,
}

/// A time, and the how manieth.
#[derive(Debug, Clone, Copy)]
struct Time(u64, Mtime);

impl AsRef<[u8]> for Time {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

impl Times {
    /// Enough for a million directories.
    const MOST: usize = 160 << 20;

    pub(crate) fn new() -> Self {
        Self {
            notes: Notes::new(Self::MOST),
            next: 0,
        }
    }

    pub(crate) fn put(&mut self, path: Vec<u8>, mtime: Mtime) -> Result<(), ExtractError> {
        self.next += 1;
        self.notes.put(path, Time(self.next, mtime))
    }

    pub(crate) fn remove_tree(&mut self, path: &[u8]) {
        self.notes.remove_tree(path);
    }

    /// In the order in which they came, which matters where a directory has several paths.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = (Vec<u8>, Mtime)> {
        let mut times: Vec<(Vec<u8>, Time)> = self.notes.into_iter().collect();
        times.sort_by_key(|(_, time)| time.0);
        times.into_iter().map(|(path, time)| (path, time.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_forgotten_and_nothing_beside_it() {
        let mut notes = Notes::new(1 << 10);
        for path in ["a", "a-b", "a/b", "a/b/c", "a0", "b"] {
            notes.put(path.into(), "value").unwrap();
        }
        notes.remove_tree(b"a");
        let left: Vec<Vec<u8>> = notes.into_iter().map(|(path, _)| path).collect();
        assert_eq!(left, [b"a-b".to_vec(), b"a0".to_vec(), b"b".to_vec()]);
    }

    #[test]
    fn no_more_is_noted_than_there_is_room_for() {
        let mut notes = Notes::new(2 * (OVERHEAD + 1));
        for _ in 0..5 {
            notes.put(b"a".to_vec(), Noted).unwrap();
        }
        notes.put(b"b".to_vec(), Noted).unwrap();
        assert!(notes.put(b"c".to_vec(), Noted).is_err());
        notes.remove_tree(b"a");
        notes.put(b"c".to_vec(), Noted).unwrap();
    }

    #[test]
    fn times_come_back_in_the_order_in_which_they_came_last() {
        let mut times = Times::new();
        for (path, seconds) in [("b", 1), ("a", 2), ("b", 3)] {
            times
                .put(
                    path.into(),
                    Mtime {
                        seconds,
                        nanoseconds: 0,
                    },
                )
                .unwrap();
        }
        let seconds: Vec<i64> = times.into_iter().map(|(_, mtime)| mtime.seconds).collect();
        assert_eq!(seconds, [2, 3]);
    }
}
