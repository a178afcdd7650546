//! Sealed memfds (memfd_create(2), fcntl(2) "File Sealing"): bytes that nobody can change any more.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};

/// A memfd with these contents, sealed against every change.
pub fn sealed(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    seal(file.as_fd())?;
    Ok(file.into())
}

/// Seals a memfd against writing, growing, shrinking and further seals.
pub fn seal(fd: BorrowedFd<'_>) -> io::Result<()> {
    rustix::fs::fcntl_add_seals(
        fd,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(())
}

/// Whether this is a memfd that nobody can write to any more, nor take that back.
pub fn is_sealed(fd: BorrowedFd<'_>) -> bool {
    let wanted = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    // Other files have no seals and answer with an error (fcntl(2)).
    rustix::fs::fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(wanted))
}

/// The whole contents, whatever the file offset.
pub fn read(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let length = usize::try_from(rustix::fs::fstat(fd)?.st_size).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match rustix::io::pread(fd, &mut bytes[filled..], filled as u64)? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            count => filled += count,
        }
    }
    Ok(bytes)
}
