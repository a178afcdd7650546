//! Appending to a log, and beginning a new file where one has become too large.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Child;

use conex_sys::process;

use crate::files::{self, older, with_suffix};
use crate::reader::Position;
use crate::{Stream, encode};

/// Longest piece of a line in one entry, as in Docker.
const LONGEST: usize = 16 * 1024;

/// How large a log becomes.
#[derive(Debug, Clone, Default)]
pub struct Rotation {
    /// Bytes after which a new file is begun; `None` for one file without a bound.
    pub max_size: Option<u64>,
    /// Files that are kept, the one that is written included; one where it is 0.
    pub max_files: u32,
    /// What compresses a file that is not written any more, where that is wanted.
    pub packer: Option<Packer>,
    /// The cursor of a reader that has to have everything: what it has not passed is not removed.
    pub awaited: Option<PathBuf>,
}

/// Begins to compress a file, as [`pack`](crate::pack) does, in a process of its own.
pub type Packer = fn(&Path) -> io::Result<Child>;

/// What one program leaves of an open log to the next, beside its settings.
#[derive(Debug)]
pub struct Rest {
    /// As `Writer::file`.
    pub file: File,
    /// As `Writer::held`.
    pub held: [Vec<u8>; 2],
    /// As `Writer::packing`.
    pub packing: Option<i32>,
}

/// A log that is open for writing.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    /// Bytes in it.
    size: u64,
    rotation: Rotation,
    /// Pid of the child that compresses the file before this one. No name changes while it is at it.
    packing: Option<i32>,
    /// What each entry says of the container: an object as JSON, or nothing.
    attributes: String,
    /// What has no newline yet, per stream.
    held: [Vec<u8>; 2],
}

impl Writer {
    /// Opens a log, making it where it is absent, and cuts off what a crash left of a last line.
    pub fn open(path: &Path, rotation: Rotation, attributes: String) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let length = file.metadata()?.len();
        let whole = whole_lines(&mut file, length)?;
        if whole < length {
            file.set_len(whole)?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            size: whole,
            rotation,
            packing: None,
            attributes,
            held: [Vec::new(), Vec::new()],
        })
    }

    /// Goes on with a log that another program of this process has open.
    pub fn resume(path: &Path, rotation: Rotation, attributes: String, rest: Rest) -> io::Result<Self> {
        let Rest { file, held, packing } = rest;
        Ok(Self {
            path: path.to_owned(),
            size: file.metadata()?.len(),
            file,
            rotation,
            packing,
            attributes,
            held,
        })
    }

    /// The file that is appended to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What has no newline yet of standard output and standard error.
    pub fn held(&self) -> &[Vec<u8>; 2] {
        &self.held
    }

    /// Pid of the child that compresses a file, while there is one.
    pub fn packing(&self) -> Option<i32> {
        self.packing
    }

    /// Writes what is complete of a process's output; the rest is held until its line ends.
    pub fn write(&mut self, stream: Stream, bytes: &[u8], time: &str) -> io::Result<()> {
        let mut out = Vec::with_capacity(bytes.len() + 128);
        let held = &mut self.held[usize::from(stream.number() - 1)];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut piece = piece;
            while held.len() + piece.len() > LONGEST {
                let (fits, rest) = piece.split_at(LONGEST - held.len());
                held.extend_from_slice(fits);
                encode::line(&mut out, stream, held, &self.attributes, time);
                held.clear();
                piece = rest;
            }
            if !piece.ends_with(b"\n") {
                held.extend_from_slice(piece);
            } else if held.is_empty() {
                encode::line(&mut out, stream, piece, &self.attributes, time);
            } else {
                held.extend_from_slice(piece);
                encode::line(&mut out, stream, held, &self.attributes, time);
                *held = Vec::new();
            }
        }
        self.append(&out)
    }

    /// Writes what is held without a newline; for the end of the process.
    pub fn flush(&mut self, time: &str) -> io::Result<()> {
        let mut out = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let held = std::mem::take(&mut self.held[usize::from(stream.number() - 1)]);
            if !held.is_empty() {
                encode::line(&mut out, stream, &held, &self.attributes, time);
            }
        }
        self.append(&out)
    }

    /// Appends entries. Where a new file cannot be begun, the old one grows on: nothing is lost for that.
    fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let rotated = if self.is_full() { self.rotate() } else { Ok(()) };
        self.file.write_all(entries)?;
        self.size += entries.len() as u64;
        rotated
    }

    fn is_full(&self) -> bool {
        self.rotation.max_size.is_some_and(|most| self.size >= most)
    }

    fn kept(&self) -> u32 {
        self.rotation.max_files.max(1)
    }

    /// Whether the log has no room before a reader that is awaited has read on. What is written nevertheless is kept.
    pub fn is_held_up(&self) -> io::Result<bool> {
        let Some(cursor) = self.rotation.awaited.as_ref().filter(|_| self.is_full()) else {
            return Ok(false);
        };
        let parts = files::parts(&self.path)?;
        // The newest of those that would be removed; what comes before it in the list is newer.
        let kept = self.kept();
        let Some(first) = parts.iter().position(|part| part.number + 1 >= kept) else {
            return Ok(false);
        };
        // A cursor that says nothing, as a crash of the host may leave it, has passed nothing: its reader begins anew, too.
        let position = Position::load(cursor).ok().flatten();
        Ok(!position.is_some_and(|position| position.has_passed(&parts[first], &parts[..first])))
    }

    /// Gives every file the next number, and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        if self.is_packing() || self.is_held_up()? {
            return Ok(());
        }
        let kept = self.kept();
        for part in files::parts(&self.path)?.iter().rev() {
            let number = part.number + 1;
            if number >= kept {
                fs::remove_file(&part.path)?;
                continue;
            }
            let suffix = if part.is_packed { ".gz" } else { "" };
            fs::rename(&part.path, with_suffix(&older(&self.path, number), suffix))?;
        }
        self.file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&self.path)?;
        self.size = 0;
        if let Some(packer) = self.rotation.packer.filter(|_| kept > 1) {
            // It is reaped with the other children of its writer.
            let child = packer(&older(&self.path, 1))?;
            self.packing = i32::try_from(child.id()).ok();
        }
        Ok(())
    }

    /// Whether the file before this one is still being compressed.
    fn is_packing(&mut self) -> bool {
        self.packing = self.packing.filter(|pid| process::is_running_child(*pid));
        self.packing.is_some()
    }
}

/// Length of the file up to its last newline.
fn whole_lines(file: &mut File, length: u64) -> io::Result<u64> {
    const BLOCK: u64 = 4096;
    let mut end = length;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        Read::by_ref(file).take(end - start).read_to_end(&mut block)?;
        if let Some(newline) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Writer {
        Writer::open(path, Rotation::default(), String::new()).unwrap()
    }

    fn lines(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["log"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn lines_are_joined_across_writes_and_split_where_they_are_too_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = open(&path);
        writer.write(Stream::Stdout, b"one\ntw", "t").unwrap();
        writer.write(Stream::Stderr, b"err\n", "t").unwrap();
        writer.write(Stream::Stdout, b"o\n", "t").unwrap();
        writer.write(Stream::Stdout, &[b'x'; LONGEST + 5], "t").unwrap();
        writer.flush("t").unwrap();
        assert_eq!(lines(&path), ["one\n", "err\n", "two\n", &"x".repeat(LONGEST), "xxxxx"]);
    }

    #[test]
    fn a_torn_line_is_cut_off_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        open(&path).write(Stream::Stdout, b"whole\n", "t").unwrap();
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"log\":\"torn")
            .unwrap();
        open(&path).write(Stream::Stdout, b"next\n", "t").unwrap();
        assert_eq!(lines(&path), ["whole\n", "next\n"]);
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn bounded(path: &Path, max_files: u32, packer: Option<Packer>) -> Writer {
        let rotation = Rotation {
            max_size: Some(100),
            max_files,
            packer,
            awaited: None,
        };
        Writer::open(path, rotation, String::new()).unwrap()
    }

    #[test]
    fn a_log_has_as_many_files_as_it_may_and_each_as_many_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = bounded(&path, 3, None);
        for number in 0..20 {
            // Two of them are more than a hundred bytes.
            writer
                .write(
                    Stream::Stdout,
                    format!("a line with number {number:2}\n").as_bytes(),
                    "t",
                )
                .unwrap();
        }
        assert_eq!(names(dir.path()), ["log", "log.1", "log.2"]);
        let numbers = |name: &str| lines(&dir.path().join(name));
        assert_eq!(
            [numbers("log.2"), numbers("log.1"), numbers("log")].concat(),
            (14..20)
                .map(|number| format!("a line with number {number:2}\n"))
                .collect::<Vec<_>>()
        );
        // One that is opened again goes on where it was.
        drop(writer);
        let mut writer = bounded(&path, 3, None);
        writer.write(Stream::Stdout, b"next\n", "t").unwrap();
        assert_eq!(numbers("log"), ["next\n"]);
    }

    #[test]
    fn one_file_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = bounded(&path, 1, None);
        for number in 0..9 {
            writer
                .write(
                    Stream::Stdout,
                    format!("a line with number {number:2}\n").as_bytes(),
                    "t",
                )
                .unwrap();
        }
        assert_eq!(names(dir.path()), ["log"]);
        assert_eq!(lines(&path), ["a line with number  8\n"]);
    }

    #[test]
    fn older_files_are_compressed_and_nothing_is_renamed_meanwhile() {
        fn now(path: &Path) -> io::Result<Child> {
            crate::pack(path)?;
            std::process::Command::new("true").spawn()
        }
        fn slowly(_: &Path) -> io::Result<Child> {
            std::process::Command::new("sleep").arg("1000").spawn()
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = bounded(&path, 3, Some(now));
        for number in 0..20 {
            writer
                .write(
                    Stream::Stdout,
                    format!("a line with number {number:2}\n").as_bytes(),
                    "t",
                )
                .unwrap();
            while writer.is_packing() {
                std::thread::yield_now();
            }
        }
        assert_eq!(names(dir.path()), ["log", "log.1.gz", "log.2.gz"]);
        writer.rotation.packer = Some(slowly);
        for _ in 0..20 {
            writer
                .write(Stream::Stdout, b"a line while it is packed\n", "t")
                .unwrap();
        }
        assert_eq!(names(dir.path()), ["log", "log.1", "log.2.gz"]);
        assert!(lines(&path).len() >= 16);
        process::kill(writer.packing.unwrap(), rustix::process::Signal::KILL).unwrap();
        while writer.is_packing() {
            std::thread::yield_now();
        }
        // It is not held up any more.
        writer.rotation.packer = None;
        writer
            .write(Stream::Stdout, b"a line after it was packed\n", "t")
            .unwrap();
        assert_eq!(lines(&path), ["a line after it was packed\n"]);
    }
}
