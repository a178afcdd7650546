//! State of containers on disk, and what the kernel says of them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use conex_cgroup::Cgroup;
use conex_spec::plan::Scope;
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::arguments::Global;
use crate::bundle;
use crate::resctrl::Group;

/// Version of `state.json`.
const VERSION: u32 = 1;

/// What is known of a container, in `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) id: String,
    /// First process.
    pub(crate) pid: i32,
    /// Its start time in clock ticks since boot, against pid reuse.
    pub(crate) pid_start: u64,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) cgroup_dirs: Vec<PathBuf>,
    /// The unit of systemd that its cgroup is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<Scope>,
    /// Its share of caches and of the way to memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resctrl: Option<Group>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Whether processes keep the session keyring of their caller.
    pub(crate) keeps_keyring: bool,
}

impl Record {
    /// A record of a container that is being made.
    pub(crate) fn new(id: &str, bundle: &bundle::Bundle) -> Record {
        let root = bundle.spec.root().as_ref().map(|root| bundle.path.join(root.path()));
        Record {
            version: VERSION,
            id: id.to_string(),
            pid: 0,
            pid_start: 0,
            bundle: bundle.path.clone(),
            rootfs: root.unwrap_or_default(),
            created: jiff::Timestamp::now().to_string(),
            cgroup_dirs: Vec::new(),
            scope: None,
            resctrl: None,
            annotations: bundle
                .spec
                .annotations()
                .iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            keeps_keyring: false,
        }
    }
}

/// Where a container is in its life (OCI runtime specification, "State").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A container's directory and record.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) directory: PathBuf,
    pub(crate) record: Record,
}

/// Refuses ids that are no plain names, as runc does.
pub(crate) fn validate_id(id: &str) -> Result<()> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_+-.".contains(letter);
    if id.is_empty() || id == "." || id == ".." || !id.chars().all(plain) {
        bail!("invalid container ID format: {id:?}");
    }
    Ok(())
}

impl Container {
    /// Takes an id: makes the directory, which nobody else then can.
    pub(crate) fn reserve(global: &Global, record: Record) -> Result<Container> {
        validate_id(&record.id)?;
        fs::create_dir_all(&global.root).with_context(|| format!("make {}", global.root.display()))?;
        let directory = global.root.join(&record.id);
        match fs::create_dir(&directory) {
            Ok(()) => Ok(Container { directory, record }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("container with given ID already exists")
            }
            Err(error) => Err(error).with_context(|| format!("make {}", directory.display())),
        }
    }

    /// Loads a container.
    pub(crate) fn load(global: &Global, id: &str) -> Result<Container> {
        validate_id(id)?;
        let directory = global.root.join(id);
        let text = match fs::read_to_string(directory.join("state.json")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("container does not exist"),
            Err(error) => return Err(error).with_context(|| format!("read the state of {id}")),
        };
        let record: Record = serde_json::from_str(&text).with_context(|| format!("parse the state of {id}"))?;
        if record.version != VERSION {
            bail!(
                "the state of {id} has version {}, this program knows {VERSION}",
                record.version
            );
        }
        Ok(Container { directory, record })
    }

    /// Publishes the record.
    pub(crate) fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.record)?;
        replace(&self.directory.join("state.json"), text.as_bytes())
    }

    /// The copy of the bundle's `config.json`, with what was changed since.
    pub(crate) fn text(&self) -> Result<String> {
        let file = self.text_file();
        fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
    }

    /// Publishes another.
    pub(crate) fn publish_text(&self, text: &str) -> Result<()> {
        replace(&self.text_file(), text.as_bytes())
    }

    fn text_file(&self) -> PathBuf {
        self.directory.join("config.json")
    }

    /// Its meaning.
    pub(crate) fn spec(&self) -> Result<Spec> {
        // What is left out was told of when the container was made.
        bundle::specification(&self.text()?).map(|(specification, _)| specification)
    }

    /// Remembers directories that limits were written to for the first time.
    pub(crate) fn add_cgroups(&mut self, candidates: &[PathBuf]) -> Result<()> {
        let known = &mut self.record.cgroup_dirs;
        let before = known.len();
        let new = candidates.iter().filter(|directory| directory.exists());
        let new: Vec<PathBuf> = new.filter(|directory| !known.contains(directory)).cloned().collect();
        known.extend(new);
        if known.len() == before { Ok(()) } else { self.save() }
    }

    /// The fifo that the first process waits at.
    pub(crate) fn fifo(&self) -> PathBuf {
        self.directory.join("start.fifo")
    }

    /// Asks the kernel.
    pub(crate) fn status(&self) -> Status {
        if self.record.pid == 0 {
            return Status::Creating;
        }
        if !self.is_alive() {
            Status::Stopped
        } else if self.cgroup().is_frozen() {
            Status::Paused
        } else if self.fifo().exists() {
            Status::Created
        } else {
            Status::Running
        }
    }

    /// A zombie has ended, whoever has yet to reap it.
    fn is_alive(&self) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", self.record.pid)) else {
            return false;
        };
        let ended = stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']));
        !ended && conex_sys::process::start_time(self.record.pid).is_ok_and(|start| start == self.record.pid_start)
    }

    /// The first process; the start time is compared after the descriptor was opened, so it is no other one.
    pub(crate) fn pidfd(&self) -> Result<OwnedFd> {
        let pidfd = conex_sys::process::pidfd_open(self.record.pid).context("open the first process")?;
        if !self.is_alive() {
            bail!("container not running");
        }
        Ok(pidfd)
    }

    /// Its control group.
    pub(crate) fn cgroup(&self) -> Cgroup {
        let unit = self.record.scope.as_ref().map(|scope| scope.name.clone());
        Cgroup::open(self.record.cgroup_dirs.clone()).of_unit(unit)
    }
}

/// Writes a file so that readers see all of it or nothing.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, bytes).with_context(|| format!("write {}", path.display()))?;
    fs::rename(&partial, path).with_context(|| format!("publish {}", path.display()))
}
