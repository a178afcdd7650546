//! Whether storage drivers work in a data root, by trying what they do.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use conex_sys::btrfs;

use crate::driver::DriverError;
use crate::tree;

/// What is made for a trial, and removed after it.
const TRIAL: &str = "tmp-trial";

/// Whether subvolumes can be made.
pub(crate) fn btrfs(data_root: &Path) -> Result<(), DriverError> {
    let lacks = |why: String| DriverError::Prerequisites { name: "btrfs", why };
    let place = data_root.display();
    let tried = || {
        let root = tree::open(data_root)?;
        if !btrfs::is_btrfs(root.as_fd())? {
            return Ok(false);
        }
        let name = std::ffi::CString::new(TRIAL)?;
        match btrfs::create_subvolume(root.as_fd(), &name) {
            // One that an earlier trial left.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        btrfs::destroy_subvolume(root.as_fd(), &name).map(|()| true)
    };
    match tried() {
        Ok(true) => Ok(()),
        Ok(false) => Err(lacks(format!("{place} is not on btrfs"))),
        Err(error) => Err(lacks(format!("make a subvolume in {place}: {error}"))),
    }
}
