//! What the host offers.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use conex_spec::{Architecture, HostFacts};

/// Asks the kernel for what the plans of bundles depend on.
pub(crate) fn probe() -> Result<HostFacts> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let capabilities = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .context("/proc/self/status has no CapBnd")?;
    let architecture = Architecture::current().context("only x86_64 and aarch64 are supported")?;
    // Masked and read-only paths are the bundle's own; only what decides about a default link is asked for.
    let absent_paths = ["/proc/kcore"]
        .map(PathBuf::from)
        .into_iter()
        .filter(|path| !path.exists())
        .collect();
    Ok(HostFacts {
        capabilities,
        architecture,
        absent_paths,
        apparmor: fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y")),
        selinux: conex_sys::selinux::is_enabled(),
        ..HostFacts::default()
    })
}
