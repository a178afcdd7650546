//! Root file systems that are stacked: layers and a writable directory under an overlay.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use conex_sys::mount::Overlay;
use conex_sys::quota;
use conex_sys::userns::IdMap;

use crate::driver::{Driver, OverlayMethod};
use crate::error::{SnapshotError, file};
use crate::fuse;
use crate::limit::{LimitedBy, Own};
use crate::rootfs::{Rootfs, Writable, make_container, make_dir};
use crate::store::{Layer, Snapshots, make_root};
use crate::tree;

/// Most bytes of the names of layers, which leaves room for the other options in a page (mount(2)).
const LONGEST_NAMES: usize = 3500;

/// Names as mount options have them.
struct Names {
    /// What they are relative to.
    base: PathBuf,
    lower: Vec<PathBuf>,
}

impl Names {
    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.base).unwrap_or(path).to_owned()
    }
}

/// A root file system that is to be made.
pub(crate) struct Wanted<'a> {
    pub(crate) layers: &'a [Layer],
    /// What has the writable layer.
    pub(crate) directory: &'a Path,
    pub(crate) writable: Writable,
    pub(crate) map: Option<&'a IdMap>,
    /// What it belongs to.
    pub(crate) project: Option<u32>,
    pub(crate) label: Option<&'a str>,
}

/// Words a mount that failed.
pub(crate) fn failed(path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::Overlay { path, source }
}

fn read_only<'a>(lower: &'a [&'a Path]) -> Overlay<'a> {
    Overlay {
        lower,
        upper: None,
        volatile: false,
        label: None,
    }
}

impl Snapshots {
    /// The root file system of a container, stacked.
    pub(crate) fn stacked(&self, layers: &[Layer], own: Own<'_>, writable: Writable) -> Result<Rootfs, SnapshotError> {
        self.in_own(own, |directory| {
            let wanted = Wanted {
                layers,
                directory,
                writable,
                map: None,
                project: own.project().map(|(number, _)| number),
                label: own.label,
            };
            self.stack(&wanted)
        })
    }

    /// Makes a root file system where a container's writable layer is.
    pub(crate) fn in_own(
        &self,
        own: Own<'_>,
        make: impl FnOnce(&Path) -> Result<Rootfs, SnapshotError> + Send,
    ) -> Result<Rootfs, SnapshotError> {
        match own.limit.map(|limit| (limit.bytes, limit.by)) {
            Some((bytes, LimitedBy::Disk)) => self.on_disk(own, bytes, make),
            Some((bytes, LimitedBy::Project(number))) => {
                self.in_project((number, bytes), own.label, || make(own.directory))
            }
            Some((_, LimitedBy::Subvolume)) | None => make(own.directory),
        }
    }

    fn stack(&self, wanted: &Wanted<'_>) -> Result<Rootfs, SnapshotError> {
        let (upper, work) = self.prepare(wanted)?;
        let lower = self.lower(wanted.layers)?;
        let volatile = wanted.writable == Writable::Volatile;
        if self.driver == Driver::Overlay(OverlayMethod::Attached) {
            let names = self.names(&lower, &wanted.directory.join("lower"))?;
            return Ok(Rootfs::Attached {
                upper: names.relative(&upper),
                work: names.relative(&work),
                lower: names.lower,
                base: names.base,
                volatile,
            });
        }
        let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
        let overlay = Overlay {
            lower: &lower,
            upper: Some((upper.as_path(), work.as_path())),
            volatile,
            label: wanted.label,
        };
        self.mount(&overlay)
            .map(Rootfs::Detached)
            .map_err(failed(wanted.directory))
    }

    /// A container's writable layer, and the directory that belongs to it.
    pub(crate) fn own_layer(&self, container: &Path) -> (PathBuf, PathBuf) {
        let (upper, work) = self.driver.upper_names();
        (container.join(upper), container.join(work))
    }

    /// A detached overlay, by the kernel or by a process.
    fn mount(&self, overlay: &Overlay<'_>) -> io::Result<OwnedFd> {
        match &self.driver {
            Driver::FuseOverlay(program) => fuse::mount(program, overlay),
            Driver::Overlay(_) | Driver::Btrfs | Driver::Vfs => conex_sys::mount::overlay_detached(overlay),
        }
    }

    /// Runs `act` with several layers stacked.
    pub(crate) fn read_stacked<T: Send>(
        &self,
        layers: &[Layer],
        act: impl FnOnce(BorrowedFd<'_>) -> T + Send,
    ) -> Result<T, SnapshotError> {
        let lower = self.lower(layers)?;
        let failed = failed(&self.shared.data_root);
        if self.driver != Driver::Overlay(OverlayMethod::Attached) {
            let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
            let root = self.mount(&read_only(&lower)).map_err(failed)?;
            return Ok(act(root.as_fd()));
        }
        let at = self.empty()?;
        let (_, links) = self.next_staging();
        let names = self.names(&lower, &links)?;
        let lower: Vec<&Path> = names.lower.iter().map(PathBuf::as_path).collect();
        let done = conex_sys::mountns::private(|| {
            conex_sys::mount::overlay_attached(&at, &names.base, &read_only(&lower))?;
            Ok(act(conex_sys::path::open_dir(&at)?.as_fd()))
        });
        self.discard(&links)?;
        done.and_then(|done| done).map_err(failed)
    }

    /// Names of layers that fit into one page of mount options together: relative to the data root, or, where there are too
    /// many for that, those of links that are made in a directory.
    fn names(&self, lower: &[PathBuf], links: &Path) -> Result<Names, SnapshotError> {
        let mut names = Names {
            base: self.shared.data_root.clone(),
            lower: Vec::new(),
        };
        names.lower = lower.iter().map(|path| names.relative(path)).collect();
        let length: usize = names.lower.iter().map(|name| name.as_os_str().len() + 1).sum();
        if length <= LONGEST_NAMES {
            return Ok(names);
        }
        self.discard_beside(links)?;
        make_dir(links, 0o700)?;
        for (number, layer) in lower.iter().enumerate() {
            let link = links.join(number.to_string());
            symlink(layer, &link).map_err(file("link", &link))?;
        }
        Ok(Names {
            base: links.to_owned(),
            lower: (0..lower.len()).map(|number| number.to_string().into()).collect(),
        })
    }

    /// An overlay needs a lower directory; an image without layers gets an empty one.
    pub(crate) fn lower(&self, layers: &[Layer]) -> Result<Vec<PathBuf>, SnapshotError> {
        if layers.is_empty() {
            return Ok(vec![self.empty()?]);
        }
        Ok(layers.iter().map(|layer| self.path(&layer.name)).collect())
    }

    /// Makes the writable layer and the directory that belongs to it. The root directory of the first shows as the
    /// container's `/`, so it takes owner and mode from the top-most layer that says what they are.
    pub(crate) fn prepare(&self, wanted: &Wanted<'_>) -> Result<(PathBuf, PathBuf), SnapshotError> {
        let (upper, work) = self.own_layer(wanted.directory);
        if wanted.writable == Writable::Volatile && work.exists() {
            // overlayfs refuses a work directory that a volatile mount has used before.
            self.discard_beside(&work)?;
        }
        if upper.exists() && work.exists() {
            return Ok((upper, work));
        }
        make_container(wanted.directory)?;
        self.make_work(&work, wanted.project)?;
        if upper.exists() {
            return Ok((upper, work));
        }
        // Complete before it has its name: a crash in between leaves no root with the wrong mode.
        let unfinished = upper.with_extension("tmp");
        self.discard_beside(&unfinished)?;
        make_root(&unfinished)?;
        join(&unfinished, wanted.project)?;
        if let Some(root) = self.shown_root(wanted.layers)? {
            copy_attributes(&root, &unfinished)?;
        }
        if let Some(map) = wanted.map {
            take_over(&unfinished, map)?;
        }
        fs::rename(&unfinished, &upper).map_err(file("make", &upper))?;
        Ok((upper, work))
    }

    /// Makes overlayfs's own directory, unless it is there. Files are renamed from it into the writable layer, which the
    /// kernel refuses between projects: it is complete before it has its name.
    pub(crate) fn make_work(&self, work: &Path, project: Option<u32>) -> Result<(), SnapshotError> {
        if project.is_none() || work.exists() {
            return make_dir(work, 0o700);
        }
        let unfinished = work.with_extension("tmp");
        self.discard_beside(&unfinished)?;
        make_dir(&unfinished, 0o700)?;
        join(&unfinished, project)?;
        conex_sys::failpoint::hit("limit.project-joined");
        fs::rename(&unfinished, work).map_err(file("make", work))
    }

    /// Discards what may be on a disk of its own, from where nothing can be renamed into the trash, or in a project that
    /// the trash is not in.
    pub(crate) fn discard_beside(&self, path: &Path) -> Result<(), SnapshotError> {
        match self.discard(path) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                conex_sys::tree::remove(path).map_err(file("remove", path))
            }
            discarded => discarded,
        }
    }
}

/// Makes a directory belong to a project, if there is one.
pub(crate) fn join(directory: &Path, project: Option<u32>) -> Result<(), SnapshotError> {
    let Some(project) = project else { return Ok(()) };
    tree::open(directory)
        .and_then(|opened| quota::join(opened.as_fd(), project))
        .map_err(file("set the project of", directory))
}

/// Gives a directory to whom its owner is in a user namespace.
fn take_over(path: &Path, map: &IdMap) -> Result<(), SnapshotError> {
    let found = fs::metadata(path).map_err(file("read", path))?;
    let owner = map.outside((found.uid(), found.gid()));
    let (uid, gid) = owner.ok_or_else(|| SnapshotError::Owner { path: path.to_owned() })?;
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(file("set the owner of", path))
}

fn copy_attributes(root: &fs::Metadata, to: &Path) -> Result<(), SnapshotError> {
    std::os::unix::fs::chown(to, Some(root.uid()), Some(root.gid())).map_err(file("set the owner of", to))?;
    fs::set_permissions(to, fs::Permissions::from_mode(root.mode() & 0o7777)).map_err(file("set the mode of", to))
}
