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
use crate::systemd::{self, BusError};
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
    /// systemd is to make it, and does not run this host.
    #[error("systemd not running on this host, cannot use systemd cgroups manager")]
    NoSystemd,
    /// systemd could not be asked.
    #[error("{0}")]
    Bus(#[source] BusError),
    /// systemd did not do what it was asked for.
    #[error("{operation} systemd unit `{unit}`: {source}")]
    Unit {
        /// What it was asked for.
        operation: &'static str,
        /// With which unit.
        unit: String,
        /// Its answer.
        source: BusError,
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

    /// Whether the file to be written is not there.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Write { source, .. } if source.kind() == io::ErrorKind::NotFound)
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
    /// The scope that it is, which goes with it.
    unit: Option<String>,
    /// Until then what stands in the directories is not ours.
    is_made: bool,
}

/// Where a thread joins a directory of version 1. The unified hierarchy that may be beside them has no `tasks`.
fn open_tasks(directory: &Path) -> (PathBuf, io::Result<File>) {
    let open = |name| {
        let path = directory.join(name);
        let opened = OpenOptions::new().write(true).open(&path);
        (path, opened)
    };
    match open("tasks") {
        (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => open("cgroup.procs"),
        opened => opened,
    }
}

/// How often a directory that is still busy is removed again, and how long is waited in between.
const REMOVE_ATTEMPTS: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(2);

impl Cgroup {
    /// Makes the control group and applies its limits; on failure nothing is left. One of a scope is made by `place`, and is
    /// only named here.
    pub fn create(layout: &Layout, plan: &CgroupPlan) -> Result<Self, CgroupError> {
        let directories = match layout {
            Layout::V1(controllers) => v1::directories_of(controllers, plan)?,
            Layout::V2(root) => vec![v2::directory(root, plan)],
        };
        let mut cgroup = Self {
            version: layout.version(),
            later: layout.directories(&plan.path),
            directories,
            doors: Vec::new(),
            unit: plan.scope.as_ref().map(|scope| scope.name.clone()),
            is_made: plan.scope.is_none(),
        };
        cgroup.later.retain(|directory| !cgroup.directories.contains(directory));
        if plan.scope.is_some() {
            return Ok(cgroup);
        }
        match cgroup.fill(layout, plan) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                // The first error is the one to tell.
                let _ = cgroup.remove();
                Err(error)
            }
        }
    }

    fn fill(&mut self, layout: &Layout, plan: &CgroupPlan) -> Result<(), CgroupError> {
        if let Layout::V2(root) = layout {
            v2::enable_above(root, plan)?;
        }
        for directory in &self.directories {
            make_directory(directory)?;
        }
        match layout {
            Layout::V1(controllers) => v1::apply(controllers, plan)?,
            Layout::V2(root) => v2::apply(root, plan)?,
        }
        self.doors = self.open_doors(&self.directories)?;
        Ok(())
    }

    /// Has systemd make the scope of a plan around a process that waits, and applies what systemd does not know. On failure the
    /// scope goes with the process and `remove`.
    pub fn place(&mut self, layout: &Layout, plan: &CgroupPlan, pid: i32) -> Result<(), CgroupError> {
        let Some(scope) = &plan.scope else { return Ok(()) };
        let is_used = || self.processes().is_ok_and(|pids| !pids.is_empty());
        systemd::start(scope, (self.version, &plan.resources), pid, is_used)?;
        self.is_made = true;
        self.fill(layout, plan)?;
        if self.version == Version::V1 {
            // systemd has moved it in its own hierarchies.
            for directory in &self.directories {
                write(directory, "cgroup.procs", &pid.to_string())?;
            }
        }
        Ok(())
    }

    /// Writes other limits to a control group that has processes.
    pub fn update(layout: &Layout, plan: &CgroupPlan) -> Result<(), CgroupError> {
        if let Layout::V2(root) = layout {
            v2::check(root, plan)?;
        }
        if let Some(scope) = &plan.scope {
            systemd::update(scope, layout.version(), &plan.resources)?;
        }
        match layout {
            Layout::V1(controllers) => v1::update(controllers, plan),
            Layout::V2(root) => v2::update(root, plan),
        }
    }

    /// The control group that these directories are, whether they exist or not.
    pub fn open(directories: Vec<PathBuf>) -> Self {
        // On a hybrid host the last of them are in a unified hierarchy that has no controllers.
        let mut existing = directories.iter().filter(|directory| directory.exists());
        let v2 = existing
            .next()
            .is_some_and(|directory| directory.join("cgroup.controllers").exists());
        Self {
            version: if v2 { Version::V2 } else { Version::V1 },
            directories,
            later: Vec::new(),
            doors: Vec::new(),
            unit: None,
            is_made: true,
        }
    }

    /// As the scope of this name, which is taken away with it.
    #[must_use]
    pub fn of_unit(self, unit: Option<String>) -> Self {
        Self { unit, ..self }
    }

    /// The control group that `directories` and `later` were told of, with doors to join it by.
    pub fn reopen(directories: Vec<PathBuf>, later: Vec<PathBuf>) -> Result<Self, CgroupError> {
        let cgroup = Self::open(directories).with_doors()?;
        Ok(Self { later, ..cgroup })
    }

    /// The scope that it is.
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
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
                Version::V1 => open_tasks(directory),
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
        self.counted_kill().unwrap_or(false)
    }

    /// As `oom_killed`; `None` where nothing that counts is there any more.
    pub fn counted_kill(&self) -> Option<bool> {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let mut texts = self.directories.iter().map(|directory| fs::read(directory.join(file)));
        let text = texts.find_map(Result::ok)?;
        let text = String::from_utf8_lossy(&text);
        let mut counts = text.lines().filter_map(|line| line.strip_prefix("oom_kill "));
        Some(counts.any(|count| count.trim() != "0"))
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
        if !self.is_made {
            return Ok(());
        }
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

    /// Removes its directories, and those that the container made below. One that is gone is fine. Processes that are left in a
    /// scope are killed: systemd would wait for them.
    pub fn remove(&mut self) -> Result<(), CgroupError> {
        if !self.is_made {
            return Ok(());
        }
        self.doors.clear();
        let mut outcome = Ok(());
        if let Some(unit) = &self.unit {
            // What does not end is told of by systemd.
            let _ = self.kill_all();
            // A directory that vanishes before systemd has seen it empty would be made again, and never be seen to be empty.
            outcome = systemd::stop(unit);
        }
        for directory in self.directories.iter().chain(&self.later) {
            if let Err(source) = remove_directory(directory) {
                outcome = outcome.and(Err(CgroupError::Operate {
                    operation: "remove",
                    path: directory.clone(),
                    source,
                }));
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
