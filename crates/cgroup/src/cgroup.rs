//! One container's control group.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use conex_spec::plan::CgroupPlan;
use rustix::process::Signal;

use crate::layout::{Layout, Version};
use crate::{v1, v2};

/// What can go wrong with a control group.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file refused a value.
    #[error("write {value:?} to {}: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// The value.
        value: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Any other operation.
    #[error("{operation} {}: {source}", path.display())]
    Operate {
        /// What was tried.
        operation: &'static str,
        /// On which directory or file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel has no controller for a limit that was asked for.
    #[error("the {controller} controller is not available on this host")]
    NoController {
        /// Its name.
        controller: &'static str,
    },
    /// A limit that only the other version has.
    #[error("{limit} cannot be set on this host: version {version} of control groups does not offer it")]
    NotOffered {
        /// What.
        limit: &'static str,
        /// The version of the host.
        version: u8,
    },
    /// A memory limit below what is used, which the caller wants to be refused.
    #[error("unable to set memory limit to {limit} (current usage: {usage})")]
    MemoryInUse {
        /// Bytes that were asked for.
        limit: i64,
        /// Bytes that are used.
        usage: i64,
    },
}

impl CgroupError {
    /// Whether it is for want of rights.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let (Self::Write { source, .. } | Self::Operate { source, .. }) = self else {
            return false;
        };
        matches!(
            source.kind(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        )
    }
}

/// A control group that exists.
#[derive(Debug)]
pub struct Cgroup {
    version: Version,
    directories: Vec<PathBuf>,
    /// What `update` may still make.
    later: Vec<PathBuf>,
    /// Opened by `prepare_join`: `tasks` on v1, the directory on v2.
    doors: Vec<OwnedFd>,
}

/// How often a directory that is still busy is removed again, and how long is waited in between.
const REMOVE_ATTEMPTS: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(2);

impl Cgroup {
    /// Makes the control group and applies its limits; on failure nothing is left.
    pub fn create(layout: &Layout, plan: &CgroupPlan) -> Result<Self, CgroupError> {
        let directories = match layout {
            Layout::V1(controllers) => v1::directories(controllers, plan)?,
            Layout::V2(root) => v2::prepare(root, plan)?,
        };
        let mut cgroup = Self {
            version: layout.version(),
            later: layout.directories(&plan.path),
            directories: Vec::new(),
            doors: Vec::new(),
        };
        cgroup.later.retain(|directory| !directories.contains(directory));
        match cgroup.fill(layout, plan, directories) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                // The first error is the one to tell.
                let _ = cgroup.remove();
                Err(error)
            }
        }
    }

    fn fill(&mut self, layout: &Layout, plan: &CgroupPlan, directories: Vec<PathBuf>) -> Result<(), CgroupError> {
        for directory in directories {
            make_directory(&directory)?;
            self.directories.push(directory);
        }
        match layout {
            Layout::V1(controllers) => v1::apply(controllers, plan)?,
            Layout::V2(root) => v2::apply(root, plan)?,
        }
        self.doors = self.open_doors(&self.directories)?;
        Ok(())
    }

    /// Writes other limits to a control group that has processes.
    pub fn update(layout: &Layout, plan: &CgroupPlan) -> Result<(), CgroupError> {
        match layout {
            Layout::V1(controllers) => v1::update(controllers, plan),
            Layout::V2(root) => v2::update(root, plan),
        }
    }

    /// The control group that these directories are, whether they exist or not.
    pub fn open(directories: Vec<PathBuf>) -> Self {
        let v2 = directories
            .iter()
            .any(|directory| directory.join("cgroup.controllers").exists());
        Self {
            version: if v2 { Version::V2 } else { Version::V1 },
            directories,
            later: Vec::new(),
            doors: Vec::new(),
        }
    }

    /// The control group that `directories` and `later` were told of, with doors to join it by.
    pub fn reopen(directories: Vec<PathBuf>, later: Vec<PathBuf>) -> Result<Self, CgroupError> {
        let cgroup = Self::open(directories).with_doors()?;
        Ok(Self { later, ..cgroup })
    }

    /// Directories that `update` may still make.
    pub fn later(&self) -> &[PathBuf] {
        &self.later
    }

    /// Takes in what `update` has made since: who joins from now on joins that as well.
    pub fn catch_up(&mut self) -> Result<(), CgroupError> {
        let made: Vec<PathBuf> = self.later.extract_if(.., |directory| directory.exists()).collect();
        self.doors.extend(self.open_doors(&made)?);
        self.directories.extend(made);
        Ok(())
    }

    /// Which version it belongs to.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its directories.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// What a child is cloned into (`CLONE_INTO_CGROUP`), on v2.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        match self.version {
            Version::V2 => self.doors.first().map(AsFd::as_fd),
            Version::V1 => None,
        }
    }

    /// Moves the calling process in: on v1 by the `tasks` files opened before, on v2 by `cgroup.procs`.
    pub fn join(&self) -> io::Result<()> {
        match self.version {
            Version::V1 => {
                for door in &self.doors {
                    rustix::io::write(door, b"0")?;
                }
                Ok(())
            }
            Version::V2 => self
                .directories
                .iter()
                .try_for_each(|dir| fs::write(dir.join("cgroup.procs"), "0")),
        }
    }

    /// A handle that another process can join by: for one that was opened from its directories.
    pub fn with_doors(mut self) -> Result<Self, CgroupError> {
        self.doors = self.open_doors(&self.directories)?;
        Ok(self)
    }

    fn open_doors(&self, directories: &[PathBuf]) -> Result<Vec<OwnedFd>, CgroupError> {
        let open = |directory: &PathBuf| {
            let (path, opened) = match self.version {
                Version::V1 => {
                    let path = directory.join("tasks");
                    let opened = OpenOptions::new().write(true).open(&path);
                    (path, opened)
                }
                Version::V2 => (directory.clone(), File::open(directory)),
            };
            opened.map(OwnedFd::from).map_err(|source| CgroupError::Operate {
                operation: "open",
                path,
                source,
            })
        };
        directories.iter().map(open).collect()
    }

    /// Whether the kernel killed a process in it for want of memory.
    pub fn oom_killed(&self) -> bool {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let mut texts = self.directories.iter().map(|directory| fs::read(directory.join(file)));
        let text = texts.find_map(Result::ok).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| line.strip_prefix("oom_kill "))
            .any(|count| count.trim() != "0")
    }

    /// Pids of its processes, in the caller's pid namespace.
    pub fn processes(&self) -> io::Result<Vec<i32>> {
        match self.directories.iter().find(|directory| directory.exists()) {
            Some(directory) => processes(directory),
            None => Ok(Vec::new()),
        }
    }

    /// Kills every process in it.
    pub fn kill_all(&self) -> io::Result<()> {
        let Some(directory) = self.directories.iter().find(|directory| directory.exists()) else {
            return Ok(());
        };
        if self.version == Version::V2 && fs::write(directory.join("cgroup.kill"), "1").is_ok() {
            return Ok(());
        }
        for _ in 0..REMOVE_ATTEMPTS {
            let pids = processes(directory)?;
            if pids.is_empty() {
                return Ok(());
            }
            for pid in pids {
                // One that ended meanwhile is what was wanted.
                let _ = conex_sys::process::kill(pid, Signal::KILL);
            }
            // Version 1 delivers no signal to what is frozen.
            self.thaw()?;
            thread::sleep(REMOVE_PAUSE);
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("processes in {} do not end", directory.display()),
        ))
    }

    /// Removes its directories, and those that the container made below. One that is gone is fine.
    pub fn remove(&mut self) -> Result<(), CgroupError> {
        self.doors.clear();
        let mut outcome = Ok(());
        for directory in self.directories.iter().chain(&self.later) {
            if let Err(source) = remove_directory(directory) {
                outcome = Err(CgroupError::Operate {
                    operation: "remove",
                    path: directory.clone(),
                    source,
                });
            }
        }
        outcome
    }
}

/// Makes a directory; its parents where they are absent.
pub(crate) fn make_directory(path: &Path) -> Result<(), CgroupError> {
    let made = match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(path),
        // Left by a monitor that died before it could clean up.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    };
    made.map_err(|source| CgroupError::Operate {
        operation: "create",
        path: path.to_path_buf(),
        source,
    })
}

fn remove_directory(path: &Path) -> io::Result<()> {
    for attempt in 0.. {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if attempt == REMOVE_ATTEMPTS => return Err(error),
            // Busy: it has children, or its last process has not been reaped yet.
            Err(_) => {
                for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        remove_directory(&entry.path())?;
                    }
                }
                if attempt > 0 {
                    thread::sleep(REMOVE_PAUSE);
                }
            }
        }
    }
    Ok(())
}

/// Pids in a cgroup and those below it.
pub(crate) fn processes(directory: &Path) -> io::Result<Vec<i32>> {
    let mut pids: Vec<i32> = match fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(text) => text.lines().filter_map(|line| line.parse().ok()).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(processes(&entry.path())?);
        }
    }
    Ok(pids)
}

/// Writes one value.
pub(crate) fn write(directory: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    Lines::open(directory, file)?.write(value)
}

/// A file of a cgroup that takes one value with each write(2).
pub(crate) struct Lines {
    path: PathBuf,
    file: fs::File,
}

impl Lines {
    pub(crate) fn open(directory: &Path, file: &str) -> Result<Self, CgroupError> {
        let path = directory.join(file);
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(CgroupError::Write {
                file: path,
                value: String::new(),
                source,
            }),
        }
    }

    pub(crate) fn write(&mut self, value: &str) -> Result<(), CgroupError> {
        self.file
            .write_all(value.as_bytes())
            .map_err(|source| CgroupError::Write {
                file: self.path.clone(),
                value: value.to_owned(),
                source,
            })
    }
}
