//! The descriptors that plans name.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use conex_spec::oci::{self, Descriptor, IdMappings};
use conex_sys::mount;
use conex_sys::process::SingleThreaded;
use conex_sys::userns::{self, IdMap, IdRange};
use oci_spec::runtime::Spec;

use crate::arguments::Parsed;

/// Descriptors of ours, from the fourth on, that reach the container's program. Nothing else that we inherited does.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Passed {
    /// How many.
    pub(crate) count: u32,
    /// How many of them, the first ones, are sockets to listen on (`sd_listen_fds(3)`).
    listening: u32,
}

impl Passed {
    /// Those that a manager handed over as sockets to listen on, and those that the caller counts behind them.
    pub(crate) fn find(arguments: &Parsed) -> Result<Passed> {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        let is_ours = number("LISTEN_PID") == Some(std::process::id());
        let listening = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
        let counted = Passed::asked_for(arguments)?;
        Passed {
            count: listening + counted,
            listening,
        }
        .settle()
    }

    /// Those that the caller counts.
    pub(crate) fn counted(arguments: &Parsed) -> Result<Passed> {
        let count = Passed::asked_for(arguments)?;
        Passed { count, listening: 0 }.settle()
    }

    fn asked_for(arguments: &Parsed) -> Result<u32> {
        match arguments.value("preserve-fds") {
            None => Ok(0),
            Some(text) => text
                .parse::<u16>()
                .map(u32::from)
                .with_context(|| format!("invalid value {text:?} for --preserve-fds")),
        }
    }

    /// What was counted has to be there: else a descriptor of our own would come to its place.
    fn settle(self) -> Result<Passed> {
        for descriptor in 3..3 + self.count {
            let link = Path::new("/proc/self/fd").join(descriptor.to_string());
            if std::fs::symlink_metadata(link).is_err() {
                bail!(
                    "please check that preserved-fd {descriptor} (of {}) is present",
                    self.count
                );
            }
        }
        conex_sys::descriptor::close_on_exec_from(3 + self.count).context("close inherited descriptors on exec")?;
        Ok(self)
    }

    /// Tells the program what it may listen on.
    pub(crate) fn announce(self, spec: &mut Spec) {
        let Some(process) = spec.process_mut().as_mut().filter(|_| self.listening > 0) else {
            return;
        };
        let mut env = process.env().clone().unwrap_or_default();
        env.extend([format!("LISTEN_FDS={}", self.listening), "LISTEN_PID=1".to_owned()]);
        process.set_env(Some(env));
    }
}

/// Opens or makes what a plan asks for, in the order of the slots.
pub(crate) fn open(wanted: &[Descriptor], fifo: Option<&Path>) -> Result<Vec<OwnedFd>> {
    wanted.iter().map(|descriptor| one(descriptor, fifo)).collect()
}

fn user_namespace(map: &IdMappings) -> Result<OwnedFd> {
    let range = |(inside, outside, count): &oci::IdRange| IdRange {
        inside: *inside,
        outside: *outside,
        count: *count,
    };
    let map = IdMap {
        users: map.users.iter().map(range).collect(),
        groups: map.groups.iter().map(range).collect(),
    };
    let proof = SingleThreaded::verify().context("make a user namespace")?;
    userns::make(&proof, &map).context("make a user namespace")
}

fn one(descriptor: &Descriptor, fifo: Option<&Path>) -> Result<OwnedFd> {
    match descriptor {
        Descriptor::Namespace(path) => Ok(File::open(path)
            .with_context(|| format!("open namespace {}", path.display()))?
            .into()),
        Descriptor::UserNamespace(map) => user_namespace(map),
        Descriptor::Tree { path, recursive, map } => {
            let place = conex_sys::path::open_place(path).with_context(|| format!("open {}", path.display()))?;
            let tree = mount::clone_tree(place.as_fd(), *recursive)
                .with_context(|| format!("copy the mount {}", path.display()))?;
            if let Some(map) = map {
                let namespace = user_namespace(&map.ids)?;
                mount::map_ids(tree.as_fd(), namespace.as_fd(), map.recursive)
                    .with_context(|| format!("map the ids of the mount {}", path.display()))?;
            }
            Ok(tree)
        }
        Descriptor::Seccomp(program) => conex_sys::memfd::sealed("seccomp", program).context("keep the seccomp filter"),
        Descriptor::StartFifo => {
            let path = fifo.context("there is no fifo to wait at")?;
            // For reading and writing, so that neither opening nor reading ends for want of a writer (fifo(7)).
            let file = OpenOptions::new().read(true).write(true).open(path);
            Ok(file.with_context(|| format!("open {}", path.display()))?.into())
        }
    }
}
