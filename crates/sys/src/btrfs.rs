//! Subvolumes of btrfs (btrfs-ioctl(2)): trees of files that are copied in no time.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Inode number of a subvolume's root directory (`BTRFS_FIRST_FREE_OBJECTID`).
const ROOT_INODE: u64 = 256;

/// Type of the file system (statfs(2)).
const MAGIC: u64 = 0x9123_683e;

/// `_IOW(0x94, number, 4096)`.
const fn request(number: libc::Ioctl) -> libc::Ioctl {
    (1 << 30) | (4096 << 16) | (0x94 << 8) | number
}

const SUBVOL_CREATE: libc::Ioctl = request(14);
const SNAP_DESTROY: libc::Ioctl = request(15);
const SNAP_CREATE_V2: libc::Ioctl = request(23);

/// The kernel's `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolArgs {
    fd: i64,
    name: [u8; 4088],
}

/// The kernel's `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct VolArgsV2 {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

const _: () = assert!(size_of::<VolArgs>() == 4096 && size_of::<VolArgsV2>() == 4096);

/// Whether a directory is on btrfs.
pub fn is_btrfs(directory: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(directory)?.f_type.cast_unsigned() == MAGIC)
}

/// Whether a directory is the root of a subvolume.
pub fn is_subvolume(directory: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fstat(directory)?.st_ino == ROOT_INODE && is_btrfs(directory)?)
}

/// Makes an empty subvolume in a directory.
pub fn create_subvolume(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let args = VolArgs {
        fd: 0,
        name: named(name)?,
    };
    // SAFETY: the request reads a `btrfs_ioctl_vol_args`, which `args` is and which lives across the call; its name ends
    // with a zero.
    let result = unsafe { libc::ioctl(parent.as_raw_fd(), SUBVOL_CREATE, &raw const args) };
    checked(result)
}

/// Makes a writable snapshot of a subvolume in a directory.
pub fn snapshot(source: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let args = VolArgsV2 {
        fd: i64::from(source.as_raw_fd()),
        transid: 0,
        flags: 0,
        unused: [0; 4],
        name: named(name)?,
    };
    // SAFETY: the request reads a `btrfs_ioctl_vol_args_v2`, which `args` is and which lives across the call; its name ends
    // with a zero, and its descriptor is open for as long as `source` is borrowed.
    let result = unsafe { libc::ioctl(parent.as_raw_fd(), SNAP_CREATE_V2, &raw const args) };
    checked(result)
}

/// Removes a subvolume of a directory with all its files; one that others are in is not removed (`ENOTEMPTY`).
pub fn destroy_subvolume(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let args = VolArgs {
        fd: 0,
        name: named(name)?,
    };
    // SAFETY: as in `create_subvolume`.
    let result = unsafe { libc::ioctl(parent.as_raw_fd(), SNAP_DESTROY, &raw const args) };
    checked(result)
}

/// A name with zeros after it.
fn named<const SIZE: usize>(name: &CStr) -> io::Result<[u8; SIZE]> {
    let bytes = name.to_bytes_with_nul();
    let mut field = [0; SIZE];
    field
        .get_mut(..bytes.len())
        .ok_or(io::ErrorKind::InvalidFilename)?
        .copy_from_slice(bytes);
    Ok(field)
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
