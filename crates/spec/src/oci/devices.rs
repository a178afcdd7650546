//! `linux.devices` and what every container has in `/dev`.

use std::path::Path;

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};

use crate::defaults;
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::plan::{Device, Mount, MountSource, Step};

/// Nodes and links, unless the whole of `/dev` comes from the host.
pub(super) fn steps(linux: &Linux, mounts: &[Mount], facts: &HostFacts) -> Result<Vec<Step>> {
    let given = linux
        .devices()
        .iter()
        .flatten()
        .map(device)
        .collect::<Result<Vec<_>>>()?;
    let bound = |mount: &Mount| mount.target == Path::new("/dev") && matches!(mount.source, MountSource::Bind { .. });
    if mounts.iter().any(bound) {
        return Ok(Vec::new());
    }
    let mut steps: Vec<Step> = defaults::devices()
        .into_iter()
        .filter(|default| !given.iter().any(|device| device.target == default.target))
        .chain(given.iter().cloned())
        .map(Step::Device)
        .collect();
    steps.extend(defaults::links(facts));
    Ok(steps)
}

fn device(device: &LinuxDevice) -> Result<Device> {
    let number = |value: i64| {
        u32::try_from(value).map_err(|_| Error::Specification {
            field: "linux.devices",
            reason: format!("{value} is no device number ({})", device.path().display()),
        })
    };
    Ok(Device {
        source: None,
        target: device.path().clone(),
        kind: kind(device.typ()),
        major: number(device.major())?,
        minor: number(device.minor())?,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

/// The letter of mknod(1).
pub(super) fn kind(kind: LinuxDeviceType) -> char {
    match kind {
        LinuxDeviceType::A => 'a',
        LinuxDeviceType::B => 'b',
        LinuxDeviceType::C | LinuxDeviceType::U => 'c',
        LinuxDeviceType::P => 'p',
    }
}
