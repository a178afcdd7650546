//! Seccomp filters, compiled once and handed to every container that needs the same one.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use conex_snapshot::LimitedBy;
use conex_spec::security::{SeccompChoice, SecurityOptions};
use conex_spec::{HostFacts, capabilities, seccomp};
use conex_sys::memfd;

use crate::containers::Container;
use crate::error::{Error, ErrorKind, Result};

/// What becomes of a container's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Files {
    /// They are its own.
    Free,
    /// They stay in the project that holds it to its limit.
    InProject,
}

impl Files {
    fn of(container: &Container) -> Self {
        match container.limit.map(|limit| limit.by) {
            // In a user namespace the kernel sees to it.
            Some(LimitedBy::Project(_)) if container.map.is_none() => Self::InProject,
            _ => Self::Free,
        }
    }
}

/// Compiled filters of the default profile by capability set, sealed.
#[derive(Debug)]
pub(crate) struct Filters {
    facts: HostFacts,
    compiled: Mutex<HashMap<(u64, Files), OwnedFd>>,
}

impl Filters {
    /// None compiled yet.
    pub(crate) fn new(facts: HostFacts) -> Self {
        Self {
            facts,
            compiled: Mutex::new(HashMap::new()),
        }
    }

    /// The filter of a container; `None` where it has none.
    pub(crate) fn filter(&self, options: &SecurityOptions, container: &Container) -> Result<Option<OwnedFd>> {
        let (config, files) = (&container.config, Files::of(container));
        if config.host.privileged || !self.facts.seccomp {
            return Ok(None);
        }
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let set = capabilities::adjust(&list(&config.host.cap_add), &list(&config.host.cap_drop), false)
            .map_err(|error| Error::new(ErrorKind::InvalidParameter, error.to_string()))?
            & self.facts.capabilities;
        match &options.seccomp {
            SeccompChoice::Unconfined => Ok(None),
            SeccompChoice::Profile(_) => self.compile(&options.seccomp, set, files).map(Some),
            SeccompChoice::Default => {
                let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(filter) = compiled.get(&(set, files)) {
                    return filter.try_clone().map(Some).map_err(failed);
                }
                let filter = self.compile(&options.seccomp, set, files)?;
                compiled.insert((set, files), filter.try_clone().map_err(failed)?);
                Ok(Some(filter))
            }
        }
    }

    fn compile(&self, choice: &SeccompChoice, set: u64, files: Files) -> Result<OwnedFd> {
        let program = match files {
            Files::Free => seccomp::program(choice, set, &self.facts),
            Files::InProject => seccomp::program_within_project(choice, set, &self.facts),
        };
        let program = program.map_err(|error| Error::new(ErrorKind::InvalidParameter, error.to_string()))?;
        memfd::sealed("seccomp", &program.unwrap_or_default()).map_err(failed)
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(ErrorKind::System, format!("keep a seccomp filter: {error}")).caused_by(error)
}
