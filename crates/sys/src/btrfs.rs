//! Subvolumes of btrfs (btrfs-ioctl(2)): trees of files that are copied in no time, and whose bytes can be counted and limited
//! (btrfs-quota(8)).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

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

/// The kernel's `struct btrfs_ioctl_ino_lookup_args`.
#[repr(C)]
struct InoLookupArgs {
    tree: u64,
    object: u64,
    name: [u8; 4080],
}

/// The kernel's `struct btrfs_ioctl_quota_ctl_args`.
#[repr(C)]
struct QuotaCtlArgs {
    command: u64,
    status: u64,
}

/// The kernel's `struct btrfs_ioctl_qgroup_create_args`.
#[repr(C)]
struct QgroupCreateArgs {
    create: u64,
    group: u64,
}

/// The kernel's `struct btrfs_ioctl_qgroup_limit_args`.
#[repr(C)]
struct QgroupLimitArgs {
    group: u64,
    flags: u64,
    most_referenced: u64,
    most_exclusive: u64,
    reserved: [u64; 2],
}

const _: () = assert!(size_of::<VolArgs>() == 4096 && size_of::<VolArgsV2>() == 4096);
const _: () = assert!(size_of::<InoLookupArgs>() == 4096 && size_of::<QgroupLimitArgs>() == 48);

/// `_IOWR(0x94, 18, struct btrfs_ioctl_ino_lookup_args)`.
const INO_LOOKUP: libc::Ioctl = (0xd000_9412_u32).cast_signed() as libc::Ioctl;
/// `_IOWR(0x94, 40, struct btrfs_ioctl_quota_ctl_args)`.
const QUOTA_CTL: libc::Ioctl = (0xc010_9428_u32).cast_signed() as libc::Ioctl;
/// `_IOW(0x94, 42, struct btrfs_ioctl_qgroup_create_args)`.
const QGROUP_CREATE: libc::Ioctl = 0x4010_942a;
/// `_IOR(0x94, 43, struct btrfs_ioctl_qgroup_limit_args)`.
const QGROUP_LIMIT: libc::Ioctl = (0x8030_942b_u32).cast_signed() as libc::Ioctl;
/// `_IO(0x94, 46)`.
const QUOTA_RESCAN_WAIT: libc::Ioctl = 0x942e;

/// `BTRFS_QUOTA_CTL_ENABLE`.
const ENABLE: u64 = 1;

/// `BTRFS_QGROUP_LIMIT_MAX_EXCL`.
const MAX_EXCLUSIVE: u64 = 1 << 1;

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

/// The number of the subvolume that a directory is in.
pub fn subvolume(directory: BorrowedFd<'_>) -> io::Result<u64> {
    let mut args = InoLookupArgs {
        tree: 0,
        object: ROOT_INODE,
        name: [0; 4080],
    };
    // SAFETY: the request reads and writes a `btrfs_ioctl_ino_lookup_args`, which `args` is and which lives across the call.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), INO_LOOKUP, &raw mut args) };
    checked(result).map(|()| args.tree)
}

/// Has the file system count what each subvolume has, and waits until it has counted all that there is, which takes long
/// where that is much. Nothing happens where it does so already.
pub fn count_subvolumes(directory: BorrowedFd<'_>) -> io::Result<()> {
    let mut args = QuotaCtlArgs {
        command: ENABLE,
        status: 0,
    };
    // SAFETY: the request reads and writes a `btrfs_ioctl_quota_ctl_args`, which `args` is and which lives across the call.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), QUOTA_CTL, &raw mut args) };
    checked(result)?;
    // SAFETY: the request takes no argument.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), QUOTA_RESCAN_WAIT) };
    checked(result)
}

/// Limits the bytes that the subvolume a directory is in has for itself: those that it shares with a snapshot do not count.
/// It is an error of the kind `NotConnected` where subvolumes are not counted.
pub fn limit_subvolume(directory: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    let args = QgroupLimitArgs {
        // The one of the descriptor.
        group: 0,
        flags: MAX_EXCLUSIVE,
        most_referenced: 0,
        most_exclusive: bytes,
        reserved: [0; 2],
    };
    // SAFETY: the request reads a `btrfs_ioctl_qgroup_limit_args`, which `args` is and which lives across the call.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), QGROUP_LIMIT, &raw const args) };
    checked(result)
}

/// Forgets what was counted of a subvolume that is destroyed. That is no error where nothing is counted or the kernel
/// still takes it apart: from Linux 6.10 on it forgets by itself.
pub fn forget_subvolume(directory: BorrowedFd<'_>, subvolume: u64) -> io::Result<()> {
    let args = QgroupCreateArgs {
        create: 0,
        group: subvolume,
    };
    // SAFETY: the request reads a `btrfs_ioctl_qgroup_create_args`, which `args` is and which lives across the call.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), QGROUP_CREATE, &raw const args) };
    match checked(result) {
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::NOTCONN | Errno::BUSY | Errno::NOENT | Errno::INVAL)
            ) =>
        {
            Ok(())
        }
        forgotten => forgotten,
    }
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
