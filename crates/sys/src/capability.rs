//! Capability sets of the calling thread (capabilities(7)).

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Highest capability that any kernel knows to us (`CAP_CHECKPOINT_RESTORE`).
pub const LAST: u8 = 40;

/// Drops every capability from the bounding set that is not in the mask; those the kernel does not know are skipped.
pub fn limit_bounding(mask: u64) -> io::Result<()> {
    for number in (0..=LAST).filter(|number| mask & (1 << number) == 0) {
        // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        if result != 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINVAL) {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Keeps the permitted set when the user changes from root (`PR_SET_KEEPCAPS`).
pub fn keep_over_user_change() -> io::Result<()> {
    rustix::thread::set_keep_capabilities(true)?;
    Ok(())
}

/// Sets the effective, permitted and inheritable sets.
pub fn set(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(effective),
        permitted: CapabilitySet::from_bits_retain(permitted),
        inheritable: CapabilitySet::from_bits_retain(inheritable),
    };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(())
}

/// Raises the ambient set to the mask; it starts empty.
pub fn raise_ambient(mask: u64) -> io::Result<()> {
    for number in (0..=LAST).filter(|number| mask & (1 << number) != 0) {
        // SAFETY: PR_CAP_AMBIENT takes numbers and touches no memory.
        let result = unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
                libc::c_ulong::from(number),
                0,
                0,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
