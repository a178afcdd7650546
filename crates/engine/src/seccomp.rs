//! Seccomp filters, compiled once and handed to every container that needs the same one.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use conex_container::Config;
use conex_spec::security::{SeccompChoice, SecurityOptions};
use conex_spec::{HostFacts, capabilities, seccomp};
use conex_sys::memfd;

use crate::error::{Error, ErrorKind, Result};

/// Compiled filters of the default profile by capability set, sealed.
#[derive(Debug)]
pub(crate) struct Filters {
    facts: HostFacts,
    compiled: Mutex<HashMap<u64, OwnedFd>>,
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
    pub(crate) fn filter(&self, options: &SecurityOptions, config: &Config) -> Result<Option<OwnedFd>> {
        if config.host.privileged || !self.facts.seccomp {
            return Ok(None);
        }
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let set = capabilities::adjust(&list(&config.host.cap_add), &list(&config.host.cap_drop), false)
            .map_err(|error| Error::new(ErrorKind::InvalidParameter, error.to_string()))?
            & self.facts.capabilities;
        match &options.seccomp {
            SeccompChoice::Unconfined => Ok(None),
            SeccompChoice::Profile(_) => self.compile(&options.seccomp, set).map(Some),
            SeccompChoice::Default => {
                let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(filter) = compiled.get(&set) {
                    return filter.try_clone().map(Some).map_err(failed);
                }
                let filter = self.compile(&options.seccomp, set)?;
                compiled.insert(set, filter.try_clone().map_err(failed)?);
                Ok(Some(filter))
            }
        }
    }

    fn compile(&self, choice: &SeccompChoice, set: u64) -> Result<OwnedFd> {
        let program = seccomp::program(choice, set, &self.facts)
            .map_err(|error| Error::new(ErrorKind::InvalidParameter, error.to_string()))?;
        memfd::sealed("seccomp", &program.unwrap_or_default()).map_err(failed)
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(ErrorKind::System, format!("keep a seccomp filter: {error}")).caused_by(error)
}
