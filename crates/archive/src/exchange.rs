//! Names that a container exchanges for links while they are packed or unpacked (CVE-2018-15664).

use rustix::fs::OFlags;

/// What opens a name so that no link is followed.
#[cfg(not(test))]
pub(crate) fn no_follow() -> OFlags {
    OFlags::NOFOLLOW
}

/// As above, unless a test does without it to see what comes of that.
#[cfg(test)]
pub(crate) fn no_follow() -> OFlags {
    if tests::FOLLOWS.get() {
        OFlags::empty()
    } else {
        OFlags::NOFOLLOW
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::{self, File};
    use std::io::{self, BufRead, Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use tempfile::TempDir;

    use crate::{ExtractError, Naming, TarWriter, Unpacking, pack_directory, unpack};

    thread_local! {
        pub(super) static FOLLOWS: Cell<bool> = const { Cell::new(false) };
    }

    /// Bytes that come, or are taken, up to a place; then a name is exchanged, and the rest follows.
    struct Until<B, F> {
        bytes: B,
        left: usize,
        exchange: Option<F>,
    }

    impl<B, F: FnOnce()> Until<B, F> {
        fn pass(&mut self, count: usize) {
            self.left = self.left.saturating_sub(count);
            if self.left == 0
                && let Some(exchange) = self.exchange.take()
            {
                exchange();
            }
        }
    }

    impl<F: FnOnce()> Read for Until<&[u8], F> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.fill_buf()?.read(buffer)?;
            self.consume(count);
            Ok(count)
        }
    }

    impl<F: FnOnce()> BufRead for Until<&[u8], F> {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            let end = if self.exchange.is_some() {
                self.left
            } else {
                self.bytes.len()
            };
            Ok(&self.bytes[..end])
        }

        fn consume(&mut self, count: usize) {
            self.bytes = &self.bytes[count..];
            self.pass(count);
        }
    }

    impl<F: FnOnce()> Write for Until<Vec<u8>, F> {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.bytes.extend(buffer);
            self.pass(buffer.len());
            Ok(buffer.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A directory of a container and one of the host, and what the container does.
    fn places() -> (TempDir, TempDir) {
        let (inside, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::write(outside.path().join("secret"), "of the host").unwrap();
        (inside, outside)
    }

    fn exchange(inside: &Path, name: &str, outside: &Path) {
        fs::rename(inside.join(name), inside.join("moved")).unwrap();
        symlink(outside, inside.join(name)).unwrap();
    }

    /// Unpacks three files, of which the third comes after its directory was exchanged.
    fn unpacked(follows: bool) -> (Result<(), ExtractError>, bool) {
        FOLLOWS.set(follows);
        let mut archive = tar::Builder::new(Vec::new());
        for name in ["a/one", "b/two", "a/three"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(4);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, b"evil".as_slice()).unwrap();
        }
        let bytes = archive.into_inner().unwrap();
        let (inside, outside) = places();
        let reader = Until {
            bytes: bytes.as_slice(),
            // Two members of a header and a block each.
            left: 2 * 1024,
            exchange: Some(|| exchange(inside.path(), "a", outside.path())),
        };
        let directory = File::open(inside.path()).unwrap();
        let outcome = unpack(reader, directory.as_fd(), &Unpacking::default());
        FOLLOWS.set(false);
        (outcome, outside.path().join("three").exists())
    }

    #[test]
    fn nothing_is_unpacked_where_an_exchanged_directory_leads() {
        let (outcome, escaped) = unpacked(true);
        assert!(outcome.is_ok() && escaped, "{outcome:?}");
        let (outcome, escaped) = unpacked(false);
        assert!(
            matches!(outcome, Err(ExtractError::SymlinkedParent { .. })),
            "{outcome:?}"
        );
        assert!(!escaped);
    }

    /// Packs a directory whose second entry is exchanged while the first is written.
    fn packed(follows: bool) -> Vec<u8> {
        FOLLOWS.set(follows);
        let (inside, outside) = places();
        fs::write(inside.path().join("a"), "one").unwrap();
        fs::create_dir(inside.path().join("b")).unwrap();
        let mut archive = TarWriter::new(Until {
            bytes: Vec::new(),
            left: 1,
            exchange: Some(|| exchange(inside.path(), "b", outside.path())),
        });
        let directory = File::open(inside.path()).unwrap();
        pack_directory(directory.as_fd(), Naming::Contents, &mut archive).unwrap();
        FOLLOWS.set(false);
        archive.finish().unwrap().bytes
    }

    #[test]
    fn nothing_is_packed_where_an_exchanged_directory_leads() {
        let has_secret = |bytes: &[u8]| bytes.windows(11).any(|window| window == b"of the host");
        assert!(has_secret(&packed(true)));
        assert!(!has_secret(&packed(false)));
    }
}
