//! Quotas of projects (quotactl(2), ioctl_xfs_fsgetxattr(2)): of trees of files that are counted together, by ext4 and XFS.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `FS_IOC_FSGETXATTR`, `_IOR('X', 31, struct fsxattr)`.
const ATTRIBUTES: libc::Ioctl = 0x801c_581f_u32.cast_signed() as libc::Ioctl;

/// `FS_IOC_FSSETXATTR`, `_IOW('X', 32, struct fsxattr)`.
const SET_ATTRIBUTES: libc::Ioctl = 0x401c_5820;

/// `FS_XFLAG_PROJINHERIT`: what is made in the directory belongs to its project.
const INHERIT: u32 = 0x200;

/// `PRJQUOTA`.
const PROJECT: libc::c_int = 2;

/// Commands of quotactl(2) that ext4 and XFS share (`linux/dqblk_xfs.h`), of projects.
const fn command(number: u8) -> libc::c_int {
    (((b'X' as libc::c_int) << 8) | number as libc::c_int) << 8 | PROJECT
}

/// `Q_XGETQUOTA`.
const READ: libc::c_int = command(3);
/// `Q_XSETQLIM`.
const LIMIT: libc::c_int = command(4);
/// `Q_XGETNEXTQUOTA`.
const NEXT: libc::c_int = command(9);
/// `Q_XGETQSTATV`.
const STATE: libc::c_int = command(8);

/// Bytes of a block, whatever the file system's are.
const BLOCK: u64 = 512;

/// `FS_QUOTA_PDQ_ENFD`: quotas of projects are enforced.
const ENFORCED: u16 = 1 << 5;

/// `FS_DQ_BSOFT` and `FS_DQ_BHARD`.
const BLOCK_LIMITS: u16 = (1 << 2) | (1 << 3);

/// The kernel's `struct fsxattr`.
#[repr(C)]
struct Fsxattr {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    pad: [u8; 8],
}

/// The kernel's `struct fs_disk_quota`.
#[repr(C)]
#[derive(Default)]
struct DiskQuota {
    version: i8,
    flags: i8,
    fields: u16,
    id: u32,
    hard_blocks: u64,
    soft_blocks: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    blocks: u64,
    inodes: u64,
    timers: [i32; 2],
    warnings: [u16; 2],
    timers_high: [i8; 4],
    real_time: [u64; 3],
    real_time_timer: i32,
    real_time_warnings: u16,
    pad: [u8; 10],
}

/// The kernel's `struct fs_quota_statv`, as far as it is looked at.
#[repr(C, align(8))]
struct QuotaState {
    version: i8,
    pad: u8,
    flags: u16,
    rest: [u8; 156],
}

const _: () = assert!(size_of::<Fsxattr>() == 28 && size_of::<DiskQuota>() == 112 && size_of::<QuotaState>() == 160);

/// What a project uses and may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files, directories and others.
    pub inodes: u64,
    /// Bytes that it may use; 0 where nothing limits it.
    pub limit: u64,
}

impl Usage {
    /// Whether there is no trace of the project.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether the file system that a directory is on enforces quotas of projects; needs Linux 5.14 (quotactl_fd(2)).
pub fn enforces(directory: BorrowedFd<'_>) -> io::Result<bool> {
    let mut state = QuotaState {
        version: 1,
        pad: 0,
        flags: 0,
        rest: [0; 156],
    };
    quotactl(directory, STATE, 0, &mut state)?;
    Ok(state.flags & ENFORCED != 0)
}

/// What a project of the file system uses.
pub fn usage(directory: BorrowedFd<'_>, project: u32) -> io::Result<Usage> {
    let mut quota = DiskQuota::default();
    match quotactl(directory, READ, project, &mut quota) {
        // XFS knows nothing of a project that nobody has used.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Usage::default()),
        read => read?,
    }
    Ok(Usage {
        bytes: quota.blocks.saturating_mul(BLOCK),
        inodes: quota.inodes,
        limit: quota.hard_blocks.saturating_mul(BLOCK),
    })
}

/// Projects from a number on that have a limit.
pub fn limited(directory: BorrowedFd<'_>, first: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    let mut next = first;
    loop {
        let mut quota = DiskQuota::default();
        match quotactl(directory, NEXT, next, &mut quota) {
            // The last one was found.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            read => read?,
        }
        if quota.hard_blocks > 0 {
            found.push(quota.id);
        }
        next = quota.id.saturating_add(1);
    }
}

/// Limits the bytes of a project, cut to blocks of 512; 0 takes the limit away.
pub fn limit(directory: BorrowedFd<'_>, project: u32, bytes: u64) -> io::Result<()> {
    let mut quota = DiskQuota {
        version: 1,
        // `FS_PROJ_QUOTA`
        flags: 2,
        fields: BLOCK_LIMITS,
        id: project,
        hard_blocks: bytes / BLOCK,
        soft_blocks: bytes / BLOCK,
        ..DiskQuota::default()
    };
    quotactl(directory, LIMIT, project, &mut quota)
}

/// The project of a directory; 0 is that of what belongs to none.
pub fn project(directory: BorrowedFd<'_>) -> io::Result<u32> {
    attributes(directory).map(|found| found.project)
}

/// Makes a directory, and all that is made in it from now on, belong to a project.
pub fn join(directory: BorrowedFd<'_>, project: u32) -> io::Result<()> {
    let found = attributes(directory)?;
    let wanted = Fsxattr {
        flags: found.flags | INHERIT,
        project,
        ..found
    };
    // SAFETY: the request reads an `fsxattr`, which `wanted` is and which lives across the call.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), SET_ATTRIBUTES, &raw const wanted) };
    checked(result)
}

fn attributes(directory: BorrowedFd<'_>) -> io::Result<Fsxattr> {
    let mut found = Fsxattr {
        flags: 0,
        extent_size: 0,
        extents: 0,
        project: 0,
        cow_extent_size: 0,
        pad: [0; 8],
    };
    // SAFETY: the request writes an `fsxattr`, which `found` is and which lives across the call.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), ATTRIBUTES, &raw mut found) };
    checked(result).map(|()| found)
}

fn quotactl<T>(directory: BorrowedFd<'_>, command: libc::c_int, id: u32, data: &mut T) -> io::Result<()> {
    // SAFETY: each command above reads or writes the structure that its caller passes, which lives across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            directory.as_raw_fd(),
            command,
            id,
            std::ptr::from_mut(data),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
