//! Steps that mount: sources are opened by descriptor, targets are resolved beneath the new root.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use conex_cgroup::{Cgroup, Version};
use conex_spec::mount_options;
use conex_spec::plan::{AttributeChange, Device, Mount, MountAttributes, MountSource, Propagation, Root};
use conex_sys::descriptor::proc_path;
use conex_sys::guard::{self, Guard};
use conex_sys::mount::{self, Attributes};
use conex_sys::path::{self, DeviceNode, Maker};
use rustix::fs::{FileType, OFlags};
use rustix::thread::LinkNameSpaceType;

use crate::child::{Failure, propagation_flags};
use crate::copy_up;
use crate::kernel::{self, KernelMounts};
use crate::labels::{self, context};

/// What mounts depend on beside themselves.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    /// The container's.
    pub(crate) cgroup: Option<&'a Cgroup>,
    /// Whether it is in a user namespace.
    pub(crate) is_mapped: bool,
    /// SELinux's label for what is made.
    pub(crate) label: Option<&'a str>,
}

/// Attaches the root and opens it. `label` is for one that is made here.
pub(crate) fn attach_root(
    (root, detached): (&Root, Option<BorrowedFd<'_>>),
    at: &Path,
    label: Option<&str>,
) -> Result<OwnedFd, Failure> {
    let on = || Failure::on(format!("mount the root file system on {}", at.display()));
    match root {
        Root::Detached(_) => {
            let Some(detached) = detached else {
                return Err(on()(io::Error::from(io::ErrorKind::NotFound)));
            };
            mount::attach_at(detached, at).map_err(on())?;
            // A working directory stays below what is mounted on it.
            return path::open_in(detached, Path::new("."), OFlags::PATH | OFlags::DIRECTORY).map_err(on());
        }
        Root::Overlay {
            base,
            lower,
            upper,
            work,
            volatile,
        } => {
            let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
            let overlay = mount::Overlay {
                lower: &lower,
                upper: Some((upper.as_path(), work.as_path())),
                volatile: *volatile,
                label,
            };
            mount::overlay_attached(at, base, &overlay).map_err(on())?;
        }
        Root::Directory(directory) => {
            let place = path::open_place(directory).map_err(on())?;
            let tree = mount::clone_tree(place.as_fd(), true).map_err(on())?;
            mount::attach_at(tree.as_fd(), at).map_err(on())?;
        }
    }
    path::open_dir(at).map_err(on())
}

/// Carries one mount out; returns it where it is one of the kernel's.
pub(crate) fn mount(
    root: BorrowedFd<'_>,
    wanted: &Mount,
    handed: Option<OwnedFd>,
    around: Around<'_>,
) -> Result<Option<OwnedFd>, Failure> {
    let target = wanted.target.as_path();
    let on = || Failure::on(format!("mount {} on {}", describe(&wanted.source), target.display()));
    let attributes = attributes(&wanted.attributes);
    match &wanted.source {
        MountSource::FileSystem { kind, source, options } => {
            let mut options = mount_options::each(options);
            if kind == "tmpfs" && !options.iter().any(|option| option.starts_with("mode=")) {
                options.extend(mode_of(root, target).map_err(on())?);
            }
            options.extend(around.label.filter(|_| labels::are_an_option(kind)).map(context));
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let mut place = path::make_dirs_in(root, target).map_err(on())?;
            if kernel::is_kernels(kind) {
                place = path::open_plain_in(root, target, OFlags::PATH | OFlags::DIRECTORY).map_err(Failure::on(
                    format!("mount {kind} on an ordinary directory, {}", target.display()),
                ))?;
            }
            // A copy is made while the file system can be written to.
            let first = if wanted.copy_up {
                Attributes::default()
            } else {
                attributes
            };
            let tree = mount::new_file_system(kind, source, &options, first).map_err(on())?;
            if let Some(label) = around.label.filter(|_| kind == labels::QUEUES) {
                labels::give_queues(tree.as_fd(), label).map_err(on())?;
            }
            if wanted.copy_up {
                copy_up::contents(place.as_fd(), tree.as_fd()).map_err(on())?;
            }
            adjust(tree.as_fd(), first, wanted).map_err(on())?;
            attach_on(root, target, tree.as_fd(), place.as_fd()).map_err(on())?;
            return Ok(kernel::is_kernels(kind).then_some(tree));
        }
        MountSource::Bind {
            path: source,
            recursive,
        } => {
            let source = path::open_place(source).map_err(on())?;
            let tree = mount::clone_tree(source.as_fd(), *recursive).map_err(on())?;
            attach(root, wanted, tree.as_fd()).map_err(on())?;
        }
        MountSource::Remount => {
            let Some(place) = handed else {
                return Err(on()(io::Error::from(io::ErrorKind::NotFound)));
            };
            adjust(place.as_fd(), Attributes::default(), wanted).map_err(on())?;
        }
        MountSource::Detached { .. } | MountSource::Elsewhere { .. } => {
            let Some(tree) = handed else {
                return Err(on()(io::Error::from(io::ErrorKind::NotFound)));
            };
            attach(root, wanted, tree.as_fd()).map_err(on())?;
        }
        MountSource::Cgroup => mount_cgroup(root, target, attributes, around).map_err(on())?,
    }
    Ok(None)
}

/// Attaches a mount to the place that was opened for it.
fn attach_on(root: BorrowedFd<'_>, target: &Path, tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    guard::race("attach", target);
    if !Guard::MountPlace.holds() {
        let named = target.strip_prefix("/").unwrap_or(target);
        return mount::attach_at(tree, &proc_path(root).join(named));
    }
    mount::attach(tree, place)
}

fn describe(source: &MountSource) -> String {
    match source {
        MountSource::FileSystem { kind, .. } => kind.clone(),
        MountSource::Bind { path, .. } => path.display().to_string(),
        MountSource::Detached { fd } => format!("descriptor {}", fd.0),
        MountSource::Elsewhere { path, .. } => format!("{} of another container", path.display()),
        MountSource::Cgroup => "cgroup".to_owned(),
        MountSource::Remount => "other attributes".to_owned(),
    }
}

/// A copy of a directory of another container, with nothing of what is mounted below it. The kernel copies mounts of the
/// caller's own namespace only (`open_tree(2)`), so the process goes there and comes back.
pub(crate) fn clone_from(namespace: BorrowedFd<'_>, directory: &Path) -> io::Result<OwnedFd> {
    let enter = |namespace: BorrowedFd<'_>| {
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount)).map_err(io::Error::from)
    };
    let own = fs::File::open("/proc/self/ns/mnt")?;
    let own_root = path::open_dir(Path::new("/"))?;
    enter(namespace)?;
    // Whatever links there are in the other container lead nowhere else.
    let tree = path::open_dir(Path::new("/"))
        .and_then(|root| path::open_in(root.as_fd(), directory, OFlags::PATH | OFlags::DIRECTORY))
        .and_then(|place| mount::clone_tree(place.as_fd(), false));
    enter(own.as_fd())?;
    // Entering a mount namespace makes its root that of the process, which need not be what it was (setns(2)).
    rustix::process::fchdir(&own_root)?;
    rustix::process::chroot(".")?;
    tree
}

/// The mode of what a tmpfs will cover, which it shows on: a directory for temporary files stays one.
fn mode_of(root: BorrowedFd<'_>, target: &Path) -> io::Result<Option<String>> {
    match path::if_present(path::open_in(root, target, OFlags::PATH))? {
        Some(place) => Ok(Some(format!("mode={:o}", rustix::fs::fstat(place)?.st_mode & 0o7777))),
        None => Ok(None),
    }
}

/// Attaches a detached mount.
fn attach(root: BorrowedFd<'_>, wanted: &Mount, tree: BorrowedFd<'_>) -> io::Result<()> {
    let place = if path::is_dir(tree)? {
        path::make_dirs_in(root, &wanted.target)?
    } else {
        path::make_file_in(root, &wanted.target)?
    };
    adjust(tree, Attributes::default(), wanted)?;
    attach_on(root, &wanted.target, tree, place.as_fd())
}

/// Gives a mount its attributes, beside those that it was made with, and its propagation.
fn adjust(tree: BorrowedFd<'_>, made_with: Attributes, wanted: &Mount) -> io::Result<()> {
    let given = attributes(&wanted.attributes);
    if !made_with.contains(given) {
        mount::set_attributes(tree, given, None, wanted.attributes.recursive)?;
    }
    let AttributeChange { set, clear } = wanted.attributes.more;
    if clear != 0 && wanted.source.is_existing() {
        mount::change_attributes(tree, Attributes::default(), Attributes::from_bits(clear), false)?;
    }
    if set != 0 {
        mount::change_attributes(tree, Attributes::from_bits(set), Attributes::default(), false)?;
    }
    let AttributeChange { set, clear } = wanted.attributes.tree;
    if (set, clear) != (0, 0) {
        mount::change_attributes(tree, Attributes::from_bits(set), Attributes::from_bits(clear), true)?;
    }
    let Some(propagation) = wanted.propagation else {
        return Ok(());
    };
    let (none, flags) = (Attributes::default(), propagation_flags(propagation));
    mount::set_attributes(tree, none, Some(flags), !wanted.propagation_alone)
}

fn attributes(wanted: &MountAttributes) -> Attributes {
    Attributes::default()
        .with(Attributes::READ_ONLY, wanted.read_only)
        .with(Attributes::NO_SUID, wanted.no_suid)
        .with(Attributes::NO_DEV, wanted.no_dev)
        .with(Attributes::NO_EXEC, wanted.no_exec)
        .with(Attributes::NO_ATIME, wanted.no_atime)
        .with(Attributes::STRICT_ATIME, wanted.strict_atime)
}

/// On v2 a `cgroup2` mount, whose root is that of the cgroup namespace; on v1 a tmpfs with the container's own
/// directory of each controller bound in.
fn mount_cgroup(
    root: BorrowedFd<'_>,
    target: &Path,
    attributes: Attributes,
    Around {
        cgroup,
        is_mapped,
        label,
    }: Around<'_>,
) -> io::Result<()> {
    let Some(cgroup) = cgroup else { return Ok(()) };
    if cgroup.version() == Version::V2 {
        let tree = match mount::new_file_system("cgroup2", "cgroup", &[], attributes) {
            // The cgroup namespace does not belong to the user namespace: it is the host's, which is mounted there.
            Err(error) if is_mapped && error.kind() == io::ErrorKind::PermissionDenied => {
                let tree = mount::clone_tree_of(Path::new("/sys/fs/cgroup"))?;
                mount::set_attributes(tree.as_fd(), attributes, None, false)?;
                tree
            }
            made => made?,
        };
        let place = path::make_dirs_in(root, target)?;
        return mount::attach(tree.as_fd(), place.as_fd());
    }
    let context = label.map(context);
    let options: Vec<&str> = ["mode=755"].into_iter().chain(context.as_deref()).collect();
    let tmpfs = mount::new_file_system("tmpfs", "tmpfs", &options, attributes.without(Attributes::READ_ONLY))?;
    // The directories are made while the tmpfs is still detached and writable.
    let mut places = Vec::new();
    for directory in cgroup.directories() {
        let Some(controller) = controller_name(directory) else {
            continue;
        };
        rustix::fs::mkdirat(&tmpfs, controller.as_path(), rustix::fs::Mode::from_raw_mode(0o555))?;
        places.push((directory, controller));
    }
    let place = path::make_dirs_in(root, target)?;
    mount::attach(tmpfs.as_fd(), place.as_fd())?;
    for (directory, controller) in places {
        let tree = mount::clone_tree_of(directory)?;
        mount::set_attributes(tree.as_fd(), attributes, None, false)?;
        mount::attach_in(tree.as_fd(), tmpfs.as_fd(), &controller)?;
    }
    if attributes.contains(Attributes::READ_ONLY) {
        mount::set_attributes(tmpfs.as_fd(), Attributes::READ_ONLY, None, false)?;
    }
    Ok(())
}

/// The name of a controller's mount point: the component below `/sys/fs/cgroup`.
fn controller_name(directory: &Path) -> Option<PathBuf> {
    directory
        .strip_prefix("/sys/fs/cgroup")
        .ok()?
        .components()
        .next()
        .map(|name| PathBuf::from(name.as_os_str()))
}

/// Makes a device node, or binds the host's where the kernel does not let us make one.
pub(crate) fn device(root: BorrowedFd<'_>, maker: &mut Maker, device: &Device) -> Result<(), Failure> {
    let on = || Failure::on(format!("make device {}", device.target.display()));
    let kind = match device.kind {
        'b' => FileType::BlockDevice,
        'p' => FileType::Fifo,
        _ => FileType::CharacterDevice,
    };
    let node = DeviceNode {
        kind,
        major: device.major,
        minor: device.minor,
        mode: device.mode,
        uid: device.uid,
        gid: device.gid,
    };
    match maker.device(root, &device.target, &node) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let source = device.source.as_deref().unwrap_or(&device.target);
            let source = path::open_place(source).map_err(on())?;
            let place = path::make_file_in(root, &device.target).map_err(on())?;
            let tree = mount::clone_tree(source.as_fd(), false).map_err(on())?;
            mount::attach(tree.as_fd(), place.as_fd()).map_err(on())
        }
        made => made.map_err(on()),
    }
}

/// Options of a tmpfs that nothing is ever put into.
const EMPTY: [&str; 2] = ["nr_blocks=1", "nr_inodes=1"];

/// Hides a path.
pub(crate) fn mask(
    root: BorrowedFd<'_>,
    (kernel, label): (&KernelMounts, Option<&str>),
    path: &Path,
) -> Result<(), Failure> {
    let on = || Failure::on(format!("mask {}", path.display()));
    guard::race("mask", path);
    let Some(place) = kernel.find(root, path).map_err(on())? else {
        return Ok(());
    };
    let cover = if path::is_dir(place.as_fd()).map_err(on())? {
        let context = label.map(context);
        let options: Vec<&str> = EMPTY.into_iter().chain(context.as_deref()).collect();
        mount::new_file_system("tmpfs", "tmpfs", &options, Attributes::READ_ONLY).map_err(on())?
    } else {
        let null = path::open_null_in(root).map_err(|error| {
            let why = error.to_string();
            Failure::on(format!("mask {}: {why}", path.display()))(error)
        })?;
        mount::clone_tree(null.as_fd(), false).map_err(on())?
    };
    mount::attach(cover.as_fd(), place.as_fd()).map_err(on())
}

/// Makes a path read-only.
pub(crate) fn readonly_path(root: BorrowedFd<'_>, kernel: &KernelMounts, path: &Path) -> Result<(), Failure> {
    let on = || Failure::on(format!("make {} read-only", path.display()));
    let Some(place) = kernel.find(root, path).map_err(on())? else {
        return Ok(());
    };
    let tree = mount::clone_tree(place.as_fd(), true).map_err(on())?;
    mount::set_attributes(tree.as_fd(), Attributes::READ_ONLY, None, true).map_err(on())?;
    mount::attach(tree.as_fd(), place.as_fd()).map_err(on())
}

/// Makes the root mount read-only; what is mounted below stays as it is.
pub(crate) fn readonly_root(root: BorrowedFd<'_>) -> Result<(), Failure> {
    mount::set_attributes(root, Attributes::READ_ONLY, None, false).map_err(Failure::on("make the root read-only"))
}

/// Gives the root mount a propagation of its own.
pub(crate) fn root_propagation(root: BorrowedFd<'_>, propagation: Propagation) -> Result<(), Failure> {
    let flags = propagation_flags(propagation);
    mount::set_attributes(root, Attributes::default(), Some(flags), false)
        .map_err(Failure::on(format!("make the root {propagation:?}")))
}

/// Binds the terminal to `/dev/console`, which is made where it is absent.
pub(crate) fn console(root: BorrowedFd<'_>, slave: BorrowedFd<'_>) -> Result<(), Failure> {
    let on = || Failure::on("mount the terminal on /dev/console");
    guard::race("console", Path::new("/dev/console"));
    if !Guard::Console.holds() {
        return console_by_name(root, slave).map_err(on());
    }
    let place = path::make_plain_file_in(root, Path::new("/dev/console")).map_err(on())?;
    let tree = mount::clone_tree(slave, false).map_err(on())?;
    mount::attach(tree.as_fd(), place.as_fd()).map_err(on())
}

/// As others did it, for the test that shows what comes of that: the terminal by its name, and on what `/dev/console` leads to.
fn console_by_name(root: BorrowedFd<'_>, slave: BorrowedFd<'_>) -> io::Result<()> {
    let name = fs::read_link(proc_path(slave))?;
    let name = Path::new("/dev/pts").join(name.file_name().unwrap_or_default());
    let terminal = path::open_in(root, &name, OFlags::PATH)?;
    let tree = mount::clone_tree(terminal.as_fd(), false)?;
    let place = path::make_file_in(root, Path::new("/dev/console"))?;
    mount::attach(tree.as_fd(), place.as_fd())
}

/// Writes a kernel parameter.
pub(crate) fn sysctl(root: BorrowedFd<'_>, kernel: &KernelMounts, name: &str, value: &str) -> Result<(), Failure> {
    let on = |error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::InvalidData => format!(": {error}"),
            _ => String::new(),
        };
        let file = name.replace('.', "/");
        Failure::on(format!("write {value:?} to /proc/sys/{file}{why}"))(error)
    };
    let mut file = fs::File::from(kernel.open_sysctl(root, name).map_err(on)?);
    io::Write::write_all(&mut file, value.as_bytes()).map_err(on)
}
