//! Mounts by the new mount API (fsopen(2), move_mount(2), mount_setattr(2)), from descriptor to descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};

/// Attributes of one mount (mount_setattr(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes(u64);

impl Attributes {
    /// `MOUNT_ATTR_RDONLY`.
    pub const READ_ONLY: Self = Self(0x1);
    /// `MOUNT_ATTR_NOSUID`.
    pub const NO_SUID: Self = Self(0x2);
    /// `MOUNT_ATTR_NODEV`.
    pub const NO_DEV: Self = Self(0x4);
    /// `MOUNT_ATTR_NOEXEC`.
    pub const NO_EXEC: Self = Self(0x8);
    /// `MOUNT_ATTR_NOATIME`.
    pub const NO_ATIME: Self = Self(0x10);
    /// `MOUNT_ATTR_STRICTATIME`.
    pub const STRICT_ATIME: Self = Self(0x20);

    /// Those of these bits (`MOUNT_ATTR_*`).
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// These and those.
    #[must_use]
    pub fn with(self, other: Self, condition: bool) -> Self {
        if condition { Self(self.0 | other.0) } else { self }
    }

    /// These but not those.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of those are among these.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether none is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A new, detached mount of a new file system instance. `options` are `key` or `key=value`.
pub fn new_file_system(kind: &str, source: &str, options: &[&str], attributes: Attributes) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if !source.is_empty() {
        rustix::mount::fsconfig_set_string(&context, "source", source)?;
    }
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(&context, key, value)?,
            None => rustix::mount::fsconfig_set_flag(&context, *option)?,
        }
    }
    finish(&context, attributes)
}

fn finish(context: &OwnedFd, attributes: Attributes) -> io::Result<OwnedFd> {
    rustix::mount::fsconfig_create(context)?;
    let flags = MountAttrFlags::from_bits_retain(u32::try_from(attributes.0).unwrap_or_default());
    Ok(rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// What an overlay is made of (overlayfs, Documentation/filesystems/overlayfs.rst).
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// Lower directories, top-most first.
    pub lower: &'a [&'a Path],
    /// Upper and work directory; `None` for a read-only overlay.
    pub upper: Option<(&'a Path, &'a Path)>,
    /// No sync at unmount or fsync; contents are lost after a power cut.
    pub volatile: bool,
    /// SELinux's label for all of its files.
    pub label: Option<&'a str>,
}

/// A detached overlay mount; needs `lowerdir+` (kernel 6.8), `Unsupported` without it.
pub fn overlay_detached(overlay: &Overlay<'_>) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", "overlay")?;
    for lower in overlay.lower {
        rustix::mount::fsconfig_set_string(&context, "lowerdir+", *lower)?;
    }
    if let Some((upper, work)) = overlay.upper {
        rustix::mount::fsconfig_set_string(&context, "upperdir", upper)?;
        rustix::mount::fsconfig_set_string(&context, "workdir", work)?;
    }
    let durability = if overlay.volatile {
        Durability::Volatile
    } else {
        Durability::Durable
    };
    finish_overlay(&context, durability, overlay.label)
}

/// As `overlay_detached`, of layers that are given as mounts; needs layers by descriptor (kernel 6.13), and `lower` with one
/// at least.
pub fn overlay_of_mounts(
    lower: &[OwnedFd],
    (upper, work): (&Path, &Path),
    durability: Durability,
    label: Option<&str>,
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", "overlay")?;
    for lower in lower {
        rustix::mount::fsconfig_set_fd(&context, "lowerdir+", lower.as_fd())?;
    }
    rustix::mount::fsconfig_set_string(&context, "upperdir", upper)?;
    rustix::mount::fsconfig_set_string(&context, "workdir", work)?;
    finish_overlay(&context, durability, label)
}

/// What becomes of an overlay's writes at a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// They are synced as any file's are.
    Durable,
    /// `volatile`: nothing is synced.
    Volatile,
}

fn finish_overlay(context: &OwnedFd, durability: Durability, label: Option<&str>) -> io::Result<OwnedFd> {
    for (key, value) in [("redirect_dir", "off"), ("metacopy", "off"), ("index", "off")] {
        rustix::mount::fsconfig_set_string(context, key, value)?;
    }
    if durability == Durability::Volatile {
        rustix::mount::fsconfig_set_flag(context, "volatile")?;
    }
    if let Some(label) = label {
        rustix::mount::fsconfig_set_string(context, "context", label)?;
    }
    finish(context, Attributes::default())
}

/// Mounts an overlay by mount(2). Its names are relative to `base`, which becomes the working directory: that keeps them
/// within one page.
pub fn overlay_attached(target: &Path, base: &Path, overlay: &Overlay<'_>) -> io::Result<()> {
    rustix::process::chdir(base)?;
    let lower: Vec<String> = overlay.lower.iter().map(|name| name.display().to_string()).collect();
    let mut options = format!("lowerdir={},redirect_dir=off,metacopy=off,index=off", lower.join(":"));
    if let Some((upper, work)) = overlay.upper {
        options.push_str(&format!(",upperdir={},workdir={}", upper.display(), work.display()));
    }
    if overlay.volatile {
        options.push_str(",volatile");
    }
    if let Some(label) = overlay.label {
        // The commas of its categories part no options.
        options.push_str(&format!(",context=\"{label}\""));
    }
    let data = std::ffi::CString::new(options)?;
    Ok(rustix::mount::mount(
        "overlay",
        target,
        "overlay",
        MountFlags::empty(),
        data.as_c_str(),
    )?)
}

/// A detached copy of the mount at a place (`OPEN_TREE_CLONE`).
pub fn clone_tree(place: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    Ok(rustix::mount::open_tree(place, "", flags)?)
}

/// As `clone_tree`, of a directory of the host that no container controls.
pub fn clone_tree_of(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(rustix::mount::open_tree(CWD, path, flags)?)
}

/// Attaches a detached mount at a name in a directory that no container controls.
pub fn attach_in(mount: BorrowedFd<'_>, directory: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", directory, name, flags)?)
}

/// Attaches a detached mount at a place.
pub fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", place, "", flags)?)
}

/// Attaches a detached mount at a path of the host.
pub fn attach_at(mount: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    Ok(rustix::mount::move_mount(
        mount,
        "",
        CWD,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?)
}

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// All times of access, of which one at most is set (`MOUNT_ATTR__ATIME`).
const ATIME_MASK: u64 = 0x70;

/// Sets attributes and propagation of a mount, with those below it where `recursive`.
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    attributes: Attributes,
    propagation: Option<MountPropagationFlags>,
    recursive: bool,
) -> io::Result<()> {
    let attr = MountAttr {
        set: attributes.0,
        clear: if attributes.0 & ATIME_MASK == 0 { 0 } else { ATIME_MASK },
        propagation: propagation.map_or(0, |flags| u64::from(flags.bits())),
        userns_fd: 0,
    };
    set(mount, &attr, recursive)
}

/// Sets and takes away attributes of a mount, with those below it where `recursive`.
pub fn change_attributes(mount: BorrowedFd<'_>, set: Attributes, clear: Attributes, recursive: bool) -> io::Result<()> {
    let attr = MountAttr {
        set: set.0,
        clear: clear.0,
        propagation: 0,
        userns_fd: 0,
    };
    self::set(mount, &attr, recursive)
}

/// `MOUNT_ATTR_IDMAP` (mount_setattr(2)).
const ID_MAP: u64 = 0x0010_0000;

/// Lets a detached mount show its files with the ids that a user namespace maps theirs to (mount_setattr(2), "ID-mapped
/// mounts"). The file system must be able to (`FS_ALLOW_IDMAP`), else it is `InvalidInput`.
pub fn map_ids(mount: BorrowedFd<'_>, namespace: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    let attr = MountAttr {
        set: ID_MAP,
        clear: 0,
        propagation: 0,
        userns_fd: u64::from(namespace.as_raw_fd().unsigned_abs()),
    };
    set(mount, &attr, recursive)
}

fn set(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is the empty C string, `attr` is a mount_attr of the size that is passed and lives across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Changes the propagation of `/` and everything below it.
pub fn set_propagation(flags: MountPropagationFlags) -> io::Result<()> {
    Ok(rustix::mount::mount_change("/", flags | MountPropagationFlags::REC)?)
}

/// Makes the working directory the root and detaches the old one (pivot_root(2), "pivot_root(".", ".")").
pub fn pivot_into(root: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root.as_fd())?;
    rustix::process::pivot_root(".", ".")?;
    // The old root is stacked over the new one at this point, and is what "." reaches.
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Moves a mount over the root, and makes it the process's (switch_root(8)).
pub fn move_over_root(root: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root.as_fd())?;
    rustix::mount::mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Detaches what is mounted at a path.
pub fn unmount_detach(path: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(path, UnmountFlags::DETACH)?)
}
