//! Reaching a container's files, whether it runs or not.
//!
//! ```text
//!   runs        the root of its first process, by descriptor: with everything that is mounted there
//!   does not    the root file system with its binds and volumes, mounted in a mount namespace of a thread of our own for
//!               the time of the call; `Container::layer` is held meanwhile, so that a start waits
//! ```
//!
//! Paths are always resolved with the container's root as `/` (`openat2`, `RESOLVE_IN_ROOT`): whatever links the container
//! has, nothing leads out.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use conex_spec::plan::{MountSource, Root as RootPlan};
use conex_sys::mount::{self, Attributes, Overlay};
use conex_sys::{mountns, path};
use rustix::fs::{AtFlags, Gid, OFlags, Uid};
use tokio::sync::OwnedMutexGuard;

use crate::containers::launch::{self, OwnedRoot, system};
use crate::containers::mounts::{self, HostMount};
use crate::containers::{Container, no_such_container};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::selinux;
use crate::user_namespaces;

/// Where a container's files are to be found.
enum Place {
    /// Below the root of its first process.
    Process(i32),
    /// Nowhere yet; nobody else mounts them while this is held.
    Unmounted(OwnedMutexGuard<()>),
}

async fn place(container: &Container) -> Result<Place> {
    let mut view = container.watch();
    let guard = tokio::select! {
        biased;
        running = view.wait_for(|view| view.state.pid().is_some()) => {
            let pid = running.ok().and_then(|view| view.state.pid());
            return pid.map(Place::Process).ok_or_else(|| no_such_container(&container.id));
        }
        guard = container.layer.clone().lock_owned() => guard,
    };
    if container.view().state.status() == "removing" {
        return Err(no_such_container(&container.id));
    }
    Ok(Place::Unmounted(guard))
}

/// Runs `act` on a blocking thread with a container's root as it is for the container's processes.
pub(crate) async fn with_root<T: Send + 'static>(
    engine: &Arc<Inner>,
    container: &Arc<Container>,
    act: impl FnOnce(OwnedFd) -> Result<T> + Send + 'static,
) -> Result<T> {
    let place = place(container).await?;
    let (engine, container) = (engine.clone(), container.clone());
    blocking(move || match place {
        Place::Process(pid) => act(process_root(&engine, &container, pid)?),
        Place::Unmounted(guard) => {
            let user = user_namespaces::of_files(&engine, &container)?;
            let own = launch::mount_root(&engine, &container, user.as_ref().map(AsFd::as_fd))?;
            let done = mountns::private(|| {
                let root = attach_root(&engine, &container, own)?;
                mount_binds(&engine, &container, &root)?;
                act(root)
            });
            drop(guard);
            done.map_err(system("enter a mount namespace"))?
        }
    })
    .await
}

/// Runs `act` on a blocking thread with a container's root file system, without anything that is mounted in it.
pub(crate) async fn with_bare_root<T: Send + 'static>(
    engine: &Arc<Inner>,
    container: &Arc<Container>,
    act: impl FnOnce(OwnedFd) -> Result<T> + Send + 'static,
) -> Result<T> {
    let place = place(container).await?;
    let (engine, container) = (engine.clone(), container.clone());
    blocking(move || match place {
        Place::Process(pid) => act(bare_process_root(&engine, &container, pid)?),
        Place::Unmounted(guard) => {
            let user = user_namespaces::of_files(&engine, &container)?;
            let own = launch::mount_root(&engine, &container, user.as_ref().map(AsFd::as_fd))?;
            let done = mountns::private(|| act(attach_root(&engine, &container, own)?));
            drop(guard);
            done.map_err(system("enter a mount namespace"))?
        }
    })
    .await
}

/// What a container has changed may be read as it is on the disk: what processes write shows there at once, and while
/// this lives, nobody who finds it unmounted mounts it.
pub(crate) struct Readable {
    _unmounted: Option<OwnedMutexGuard<()>>,
}

/// Waits until what a container has changed may be read.
pub(crate) async fn readable(container: &Container) -> Result<Readable> {
    let unmounted = match place(container).await? {
        Place::Process(_) => None,
        Place::Unmounted(guard) => Some(guard),
    };
    Ok(Readable { _unmounted: unmounted })
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let acted = tokio::task::spawn_blocking(act).await;
    acted.map_err(|error| Error::new(ErrorKind::System, "reach a container's files").caused_by(error))?
}

fn process_root(engine: &Inner, container: &Container, pid: i32) -> Result<OwnedFd> {
    let opened = path::open_dir(Path::new(&format!("/proc/{pid}/root")));
    let root = opened.map_err(system(format!("open the root of container {}", container.id)))?;
    require_member(engine, container, pid)?;
    Ok(root)
}

/// A copy of the mount that is the root of a container, without those below it.
fn bare_process_root(engine: &Inner, container: &Container, pid: i32) -> Result<OwnedFd> {
    let failed = || system(format!("copy the root mount of container {}", container.id));
    let namespace = File::open(format!("/proc/{pid}/ns/mnt")).map_err(failed())?;
    require_member(engine, container, pid)?;
    mountns::enter(namespace.as_fd(), || mount::clone_tree_of(Path::new("/")))
        .and_then(|cloned| cloned)
        .map_err(failed())
}

/// A pid may mean another process once the container has ended; that one is in no control group of the container.
fn require_member(engine: &Inner, container: &Container, pid: i32) -> Result<()> {
    let members = engine.cgroup(container).processes();
    let members = members.map_err(system(format!("list the processes of container {}", container.id)))?;
    if members.contains(&pid) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("container {} ended meanwhile", container.id),
    ))
}

/// Attaches the root file system in the thread's own mount namespace. It is made before the thread has that: a process that
/// serves it would keep the namespace, and that the mount, and that the process.
fn attach_root(engine: &Inner, container: &Container, root: OwnedRoot) -> Result<OwnedFd> {
    let at = engine.root_mount_point.as_path();
    let failed = || system(format!("mount the root file system of container {}", container.id));
    match root {
        OwnedRoot::Mount(fd) => mount::attach_at(fd.as_fd(), at).map_err(failed())?,
        OwnedRoot::Plan(RootPlan::Overlay {
            base,
            lower,
            upper,
            work,
            volatile,
        }) => {
            let lower: Vec<&Path> = lower.iter().map(std::path::PathBuf::as_path).collect();
            let overlay = Overlay {
                lower: &lower,
                upper: Some((&upper, &work)),
                volatile,
                label: selinux::mount_label(engine, container),
            };
            mount::overlay_attached(at, &base, &overlay).map_err(failed())?;
        }
        OwnedRoot::Plan(_) => return Err(failed()(io::ErrorKind::Unsupported.into())),
    }
    path::open_dir(at).map_err(failed())
}

/// Mounts what the container would have mounted from the host; a tmpfs is empty while nobody runs.
fn mount_binds(engine: &Inner, container: &Container, root: &OwnedFd) -> Result<()> {
    for HostMount {
        request: mount, tree, ..
    } in mounts::all(engine, container)?
    {
        let MountSource::Bind {
            path: source,
            recursive,
        } = &mount.source
        else {
            continue;
        };
        // Files of our own are made by the first start.
        if !source.exists() {
            continue;
        }
        let target = mount.target.as_path();
        let failed = || system(format!("mount {} on {}", source.display(), target.display()));
        let tree = match tree {
            Some(tree) => tree,
            None => {
                let source = path::open_place(source).map_err(failed())?;
                mount::clone_tree(source.as_fd(), *recursive).map_err(failed())?
            }
        };
        if mount.read_only {
            let below = mount.submounts != conex_spec::Submounts::Unchanged;
            mount::set_attributes(tree.as_fd(), Attributes::READ_ONLY, None, below).map_err(failed())?;
        }
        let place = place_in(root, target, &tree, container).map_err(failed())?;
        mount::attach(tree.as_fd(), place.as_fd()).map_err(failed())?;
    }
    Ok(())
}

/// Makes what something is mounted on; it belongs to root of the container's user namespace.
fn place_in(root: &OwnedFd, target: &Path, tree: &OwnedFd, container: &Container) -> io::Result<OwnedFd> {
    let owner = container.map.as_ref().and_then(|map| map.outside((0, 0)));
    let is_absent = |path: &&Path| {
        let found = path::open_in(root.as_fd(), path, OFlags::PATH);
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let made: Vec<&Path> = match owner {
        Some(_) => target.ancestors().take_while(is_absent).collect(),
        None => Vec::new(),
    };
    let place = if path::is_dir(tree.as_fd())? {
        path::make_dirs_in(root.as_fd(), target)?
    } else {
        path::make_file_in(root.as_fd(), target)?
    };
    for (path, (uid, gid)) in made.into_iter().zip(std::iter::repeat(owner.unwrap_or_default())) {
        let made = path::open_in(root.as_fd(), path, OFlags::PATH)?;
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&made, "", uid, gid, AtFlags::EMPTY_PATH)?;
    }
    Ok(place)
}
