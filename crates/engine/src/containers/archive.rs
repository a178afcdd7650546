//! `docker cp` and `docker export`: a container's files as archives, in both directions.

use std::ffi::CString;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use conex_api_types as api;
use conex_archive::{
    ExtractError, Limits, Naming, TarWriter, Unpacking, decompressed, pack_directory, pack_object, unpack,
};
use conex_spec::account;
use conex_spec::plan::UserSpec;
use conex_stream::{ByteStream, ChunkReader, ChunkWriter};
use conex_sys::path::open_in;
use conex_sys::userns::IdMap;
use rustix::fs::{AtFlags, OFlags, StatVfsMountFlags, StatxFlags};
use tokio::sync::oneshot;

use crate::containers::archive_path::{base, directory_and_name, normalize, stat};
use crate::containers::launch::system;
use crate::containers::{Container, access};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::requests::CopyRequest;

/// Bytes of an uploaded archive that are read at once.
const BUFFER: usize = 64 * 1024;

/// Largest `/etc/passwd` and `/etc/group` that are read; a container may hold anything under these names.
const LARGEST_ACCOUNTS: u64 = 4 << 20;

/// A name in a container as a client gave it, for its errors.
#[derive(Debug, Clone)]
struct Asked {
    container: String,
    path: String,
}

impl Asked {
    fn new(container: &str, path: &str) -> Self {
        Self {
            container: container.to_owned(),
            path: path.to_owned(),
        }
    }

    /// Docker's words and classes.
    fn failed(&self, error: io::Error) -> Error {
        let Self { container, path } = self;
        match error.kind() {
            io::ErrorKind::NotFound => Error::new(
                ErrorKind::NotFound,
                format!("Could not find the file {path} in container {container}"),
            ),
            _ => Error::new(ErrorKind::System, format!("lstat {path}: {}", conex_sys::words(&error))).caused_by(error),
        }
    }
}

impl Engine {
    /// What is at a path of a container.
    pub async fn archive_stat(&self, id: &str, path: &str) -> Result<api::ContainerPathStat> {
        let container = self.inner.containers.find(id)?;
        let asked = Asked::new(id, path);
        access::with_root(&self.inner, &container, move |root| {
            stat(root.as_fd(), &normalize(&asked.path)).map_err(|error| asked.failed(error))
        })
        .await
    }

    /// What is at a path of a container, and an archive of it.
    pub async fn archive_get(&self, id: &str, path: &str) -> Result<(api::ContainerPathStat, ByteStream)> {
        let container = self.inner.containers.find(id)?;
        let asked = Asked::new(id, path);
        let (head, found) = oneshot::channel();
        let (writer, body) = conex_stream::writer();
        let (inner, of) = (self.inner.clone(), container.clone());
        let packing = tokio::spawn(async move {
            let map = of.map.clone();
            access::with_root(&inner, &of, move |root| {
                let path = normalize(&asked.path);
                let stat = stat(root.as_fd(), &path).map_err(|error| asked.failed(error))?;
                // A client that went away meanwhile takes nothing.
                if head.send(stat).is_ok() {
                    write_archive(writer, map, |archive| pack(root.as_fd(), &path, archive));
                }
                Ok(())
            })
            .await
        });
        let Ok(stat) = found.await else {
            return Err(error_of(packing).await);
        };
        self.inner.events.container(&container, "archive-path", &[]);
        Ok((stat, body))
    }

    /// Unpacks an archive, compressed or not, into a directory of a container.
    pub async fn archive_put(&self, id: &str, request: CopyRequest, body: ByteStream) -> Result<()> {
        let container = self.inner.containers.find(id)?;
        let asked = Asked::new(id, &request.path);
        let (chunks, feeding) = conex_stream::reader(body);
        let of = container.clone();
        let unpacking = access::with_root(&self.inner, &container, move |root| {
            put(&root, &of, &asked, &request, chunks)
        });
        let (unpacked, ()) = tokio::join!(unpacking, feeding);
        unpacked?;
        self.inner.events.container(&container, "extract-to-dir", &[]);
        Ok(())
    }

    /// A container's root file system as an archive, without what is mounted in it.
    pub async fn export(&self, id: &str) -> Result<ByteStream> {
        let container = self.inner.containers.find(id)?;
        let (head, found) = oneshot::channel();
        let (writer, body) = conex_stream::writer();
        let (inner, of) = (self.inner.clone(), container.clone());
        let packing = tokio::spawn(async move {
            let map = of.map.clone();
            access::with_bare_root(&inner, &of, move |root| {
                if head.send(()).is_ok() {
                    write_archive(writer, map, |archive| {
                        pack_directory(root.as_fd(), Naming::Contents, archive)
                    });
                }
                Ok(())
            })
            .await
        });
        if found.await.is_err() {
            return Err(error_of(packing).await);
        }
        self.inner.events.container(&container, "export", &[]);
        Ok(body)
    }
}

/// Why the work ended before there was anything to send.
async fn error_of(work: tokio::task::JoinHandle<Result<()>>) -> Error {
    match work.await {
        Ok(Err(error)) => error,
        _ => Error::new(ErrorKind::System, "the archive was not begun"),
    }
}

/// Writes an archive with the ids of the container's user namespace.
fn write_archive(
    writer: ChunkWriter,
    map: Option<IdMap>,
    write: impl FnOnce(&mut TarWriter<&mut ChunkWriter>) -> io::Result<()>,
) {
    let mut writer = writer;
    let mut archive = TarWriter::new(&mut writer).with_map(map);
    let written = write(&mut archive).and_then(|()| archive.finish().map(|_| ()));
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        tracing::warn!(%error, "pack a container's files");
        writer.fail(error);
    }
}

fn pack(root: BorrowedFd<'_>, path: &str, archive: &mut TarWriter<&mut ChunkWriter>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    match open_in(root, Path::new(path), flags) {
        Ok(directory) => {
            // The members of the root itself begin with a slash, as Docker names them.
            let name = if path == "/" { "" } else { base(path) };
            pack_directory(directory.as_fd(), Naming::Under(name.as_bytes()), archive)
        }
        // Something that is no directory, or a link, which is not followed.
        Err(_) => {
            let (directory, name) = directory_and_name(path);
            let parent = open_in(root, Path::new(directory), OFlags::PATH | OFlags::DIRECTORY)?;
            pack_object(parent.as_fd(), &CString::new(name)?, name.as_bytes(), archive)
        }
    }
}

fn put(root: &OwnedFd, container: &Container, asked: &Asked, request: &CopyRequest, chunks: ChunkReader) -> Result<()> {
    let path = normalize(&request.path);
    let opened = open_in(root.as_fd(), Path::new(&path), OFlags::PATH | OFlags::DIRECTORY);
    let directory = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && !path.ends_with('/') => {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "extraction point is not a directory",
            ));
        }
        opened => opened.map_err(|error| asked.failed(error))?,
    };
    require_writable(root, &directory, container).map_err(|error| asked.failed(error))??;
    let how = Unpacking {
        owner: if request.copy_owner {
            owner(root, container)?
        } else {
            None
        },
        map: container.map.clone(),
        keep_kinds: request.keep_kinds,
        name: path,
    };
    let archive =
        decompressed(BufReader::with_capacity(BUFFER, chunks), Limits::NONE).map_err(system("read the archive"))?;
    unpack(archive, directory.as_fd(), &how).map_err(refused)
}

fn refused(error: ExtractError) -> Error {
    let text = match &error {
        ExtractError::Outside { path } => format!("invalid entry name {path:?}"),
        other => other.to_string(),
    };
    Error::new(ErrorKind::System, text).caused_by(error)
}

/// A root file system that is read-only for the container is so for its copies, and so is what is mounted in it.
fn require_writable(root: &OwnedFd, directory: &OwnedFd, container: &Container) -> io::Result<Result<()>> {
    let mount = |fd: &OwnedFd| {
        let found = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        io::Result::Ok(found.stx_mnt_id)
    };
    let in_root = mount(root)? == mount(directory)?;
    let flags = rustix::fs::fstatvfs(directory)?.f_flag;
    let read_only = flags.contains(StatVfsMountFlags::RDONLY) || (in_root && container.config.host.readonly_rootfs);
    Ok(match (read_only, in_root) {
        (false, _) => Ok(()),
        (true, true) => Err(Error::new(
            ErrorKind::InvalidParameter,
            "container rootfs is marked read-only",
        )),
        (true, false) => Err(Error::new(
            ErrorKind::InvalidParameter,
            "mounted volume is marked read-only",
        )),
    })
}

/// The container's user and group; `None` where it names none.
fn owner(root: &OwnedFd, container: &Container) -> Result<Option<(u32, u32)>> {
    if container.config.user.is_empty() {
        return Ok(None);
    }
    let read = |path: &str| {
        let mut bytes = Vec::new();
        // Images without accounts are common; they have root only.
        if let Ok(file) = open_in(root.as_fd(), Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK) {
            let _ = std::fs::File::from(file).take(LARGEST_ACCOUNTS).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let user = UserSpec::Named {
        user: container.config.user.clone(),
        additional: Vec::new(),
    };
    let account = account::resolve(&user, &read("/etc/passwd"), &read("/etc/group"));
    let account = account.map_err(|words| Error::new(ErrorKind::System, words))?;
    Ok(Some((account.uid, account.gid)))
}
