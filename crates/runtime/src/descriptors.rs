//! The descriptors that plans name.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use conex_spec::oci::Descriptor;

/// Opens or makes what a plan asks for, in the order of the slots.
pub(crate) fn open(wanted: &[Descriptor], fifo: Option<&Path>) -> Result<Vec<OwnedFd>> {
    wanted.iter().map(|descriptor| one(descriptor, fifo)).collect()
}

fn one(descriptor: &Descriptor, fifo: Option<&Path>) -> Result<OwnedFd> {
    match descriptor {
        Descriptor::Namespace(path) => Ok(File::open(path)
            .with_context(|| format!("open namespace {}", path.display()))?
            .into()),
        Descriptor::Seccomp(program) => conex_sys::memfd::sealed("seccomp", program).context("keep the seccomp filter"),
        Descriptor::StartFifo => {
            let path = fifo.context("there is no fifo to wait at")?;
            // For reading and writing, so that neither opening nor reading ends for want of a writer (fifo(7)).
            let file = OpenOptions::new().read(true).write(true).open(path);
            Ok(file.with_context(|| format!("open {}", path.display()))?.into())
        }
    }
}
