//! The journal of events: one line of JSON for each, in two files that take turns, so that what happened before a restart
//! can be asked for and the disk it takes is bounded.
//!
//! A line is written before anybody hears of its event. It is not synchronised: a daemon that is killed loses nothing, a
//! host that loses power may lose the last seconds.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use conex_api_types::EventMessage;

/// Bytes of a file after which the next one is begun. Two of them hold some twenty thousand events.
const SEGMENT: u64 = 4 << 20;

/// The journal.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    segment: u64,
    current: File,
    length: u64,
}

/// What had been written when it was asked for.
#[derive(Debug)]
pub(super) struct Past {
    previous: Option<File>,
    current: File,
    length: u64,
}

impl Journal {
    /// Opens the journal in a directory, which is made where it is not there.
    ///
    /// # Errors
    /// The directory or its files cannot be made or written.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        Self::with_segment(dir, SEGMENT)
    }

    fn with_segment(dir: &Path, segment: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut current = append_to(&dir.join("current"))?;
        let mut length = current.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            current.read_exact_at(&mut last, length - 1)?;
        }
        if last != [b'\n'] {
            // A line that was cut off by a crash is ended, so that it spoils no other.
            current.write_all(b"\n")?;
            length += 1;
        }
        Ok(Self {
            dir: dir.to_owned(),
            segment,
            current,
            length,
        })
    }

    /// Appends an event.
    ///
    /// # Errors
    /// The file cannot be written; the event is not in the journal then, the next may be.
    pub(super) fn append(&mut self, event: &EventMessage) -> io::Result<()> {
        if self.length >= self.segment {
            let current = self.dir.join("current");
            fs::rename(&current, self.dir.join("previous"))?;
            self.current = append_to(&current)?;
            self.length = 0;
        }
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let written = self.current.write_all(&line);
        if written.is_err() {
            // A part of a line is taken back, so that the next event begins a line of its own.
            self.current.set_len(self.length)?;
        } else {
            self.length += line.len() as u64;
        }
        written
    }

    /// All that has been written until now.
    ///
    /// # Errors
    /// The files cannot be opened.
    pub(super) fn past(&self) -> io::Result<Past> {
        let previous = match File::open(self.dir.join("previous")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened?),
        };
        Ok(Past {
            previous,
            current: File::open(self.dir.join("current"))?,
            length: self.length,
        })
    }
}

impl Past {
    /// Reads the events, the oldest first. What is no event, such as a line that a crash cut off, is passed over. Blocks
    /// on the disk.
    pub(super) fn read(self) -> impl Iterator<Item = EventMessage> {
        let previous = self.previous.map(BufReader::new);
        let lines = previous.into_iter().flat_map(|file| file.split(b'\n'));
        let lines = lines.chain(BufReader::new(self.current.take(self.length)).split(b'\n'));
        lines
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_slice(&line).ok())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn event(number: i128) -> EventMessage {
        EventMessage::new("container", "start", "id", HashMap::new(), number)
    }

    fn numbers(journal: &Journal) -> Vec<i64> {
        journal.past().unwrap().read().map(|event| event.time_nano).collect()
    }

    #[test]
    fn a_journal_that_is_opened_again_has_its_events() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.append(&event(1)).unwrap();
        journal.append(&event(2)).unwrap();
        drop(journal);
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.append(&event(3)).unwrap();
        assert_eq!(numbers(&journal), [1, 2, 3]);
    }

    #[test]
    fn a_line_that_was_cut_off_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let line = serde_json::to_string(&event(1)).unwrap();
        for end in 0..line.len() {
            fs::write(dir.path().join("current"), &line[..end]).unwrap();
            let mut journal = Journal::open(dir.path()).unwrap();
            journal.append(&event(2)).unwrap();
            assert_eq!(numbers(&journal), [2], "cut off at {end}");
        }
    }

    #[test]
    fn the_disk_it_takes_is_bounded_and_the_latest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let line = serde_json::to_string(&event(1000)).unwrap().len() as u64 + 1;
        let mut journal = Journal::with_segment(dir.path(), 10 * line).unwrap();
        for number in 1000..1095 {
            journal.append(&event(number)).unwrap();
        }
        assert_eq!(numbers(&journal), (1080..1095).collect::<Vec<_>>());
        let entries = fs::read_dir(dir.path()).unwrap();
        let bytes: u64 = entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert_eq!(bytes, 15 * line);
    }

    #[test]
    fn who_has_asked_sees_what_was_written_until_then() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::with_segment(dir.path(), 1).unwrap();
        journal.append(&event(1)).unwrap();
        journal.append(&event(2)).unwrap();
        let past = journal.past().unwrap();
        journal.append(&event(3)).unwrap();
        journal.append(&event(4)).unwrap();
        let seen: Vec<i64> = past.read().map(|event| event.time_nano).collect();
        assert_eq!(seen, [1, 2]);
    }
}
