//! Loop devices (loop(4)): block devices that a file stands behind.
//!
//! A device is taken and bound in one step that also says that it is to go with its last use (`LOOP_CONFIGURE`, Linux 5.8,
//! `LO_FLAGS_AUTOCLEAR`): whenever a process dies, none is left.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

const CONFIGURE: libc::Ioctl = 0x4c0a;
const STATUS_64: libc::Ioctl = 0x4c05;
const CONTROL_FREE: libc::Ioctl = 0x4c82;

/// `LO_FLAGS_AUTOCLEAR`.
const AUTO_CLEAR: u32 = 4;

/// `LO_FLAGS_DIRECT_IO`: what is written is not kept in the page cache twice. The kernel does without where the file cannot.
const DIRECT_IO: u32 = 16;

/// Bytes of a logical block, which file systems with blocks of as many are aligned to.
const BLOCK: u32 = 4096;

/// How often another device is tried because somebody else was faster.
const ATTEMPTS: u32 = 64;

/// The kernel's `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// The kernel's `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopInfo>() == 232 && size_of::<LoopConfig>() == 304);

const NOTHING: LoopInfo = LoopInfo {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; 64],
    crypt_name: [0; 64],
    encrypt_key: [0; 32],
    init: [0; 2],
};

/// A loop device in use; it stays one for as long as this or a mount of it lives.
#[derive(Debug)]
pub struct LoopDevice {
    device: File,
    path: PathBuf,
}

impl LoopDevice {
    /// The device that a file is bound to.
    ///
    /// Two devices of one file would be two caches of one disk: whoever binds the same file elsewhere must be kept from
    /// doing so between `find` and `bind`.
    pub fn find(file: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let wanted = rustix::fs::fstat(file)?;
        for entry in fs::read_dir("/sys/block")? {
            let entry = entry?;
            let name = entry.file_name();
            // Only one that is bound has this directory.
            if !name.as_encoded_bytes().starts_with(b"loop") || !entry.path().join("loop").is_dir() {
                continue;
            }
            // One that goes meanwhile cannot be opened, or is bound to nothing.
            let Ok(device) = Self::open(Path::new("/dev").join(name)) else {
                continue;
            };
            let Ok(info) = device.info() else { continue };
            if info.inode == wanted.st_ino && decode(info.device) == wanted.st_dev {
                return Ok(Some(device));
            }
        }
        Ok(None)
    }

    /// Binds a file, which is open for reading and writing, to a free device.
    pub fn bind(file: BorrowedFd<'_>) -> io::Result<Self> {
        let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control");
        let control = control.map_err(|error| named(Path::new("/dev/loop-control"), &error))?;
        for _ in 0..ATTEMPTS {
            // SAFETY: the request takes no argument and makes a device of a free number.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), CONTROL_FREE) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let device = Self::open(PathBuf::from(format!("/dev/loop{number}")))?;
            match device.configure(file) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                configured => return configured.map(|()| device),
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open(path: PathBuf) -> io::Result<Self> {
        let device = OpenOptions::new().read(true).write(true).open(&path);
        let device = device.map_err(|error| named(&path, &error))?;
        Ok(Self { device, path })
    }

    fn info(&self) -> io::Result<LoopInfo> {
        let mut info = NOTHING;
        // SAFETY: the request writes a `loop_info64`, which `info` is and which lives across the call.
        let result = unsafe { libc::ioctl(self.device.as_raw_fd(), STATUS_64, &raw mut info) };
        checked(result).map(|()| info)
    }

    fn configure(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        let config = LoopConfig {
            fd: file.as_raw_fd().unsigned_abs(),
            block_size: BLOCK,
            info: LoopInfo {
                flags: AUTO_CLEAR | DIRECT_IO,
                ..NOTHING
            },
            reserved: [0; 8],
        };
        // SAFETY: the request reads a `loop_config`, which `config` is and which lives across the call; its descriptor is
        // open for as long as `file` is borrowed.
        let result = unsafe { libc::ioctl(self.device.as_raw_fd(), CONFIGURE, &raw const config) };
        checked(result)
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("open {}: {}", path.display(), crate::words(error)),
    )
}

/// A device number as this request has it (the kernel's `new_encode_dev`).
fn decode(device: u64) -> u64 {
    let major = (device & 0x000f_ff00) >> 8;
    let minor = (device & 0xff) | ((device >> 12) & 0x000f_ff00);
    rustix::fs::makedev(
        u32::try_from(major).unwrap_or_default(),
        u32::try_from(minor).unwrap_or_default(),
    )
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_read_as_the_kernel_writes_them() {
        // 259:70000, of new_encode_dev: (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)
        let (major, minor) = (259_u64, 70_000_u64);
        let encoded = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
        assert_eq!(decode(encoded), rustix::fs::makedev(259, 70_000));
    }
}
