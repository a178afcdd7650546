//! Options of the `local` driver: what a volume mounts (`docker volume create -o type=... -o device=... -o o=...`).

use std::collections::BTreeMap;
use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::AsFd;
use std::path::Path;

use conex_spec::mount_options::{self, ParsedOptions};
use conex_sys::mount::{self, Attributes};
use conex_sys::path;
use rustix::mount::MountFlags;

use crate::error::VolumeError;

/// A device of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalOptions {
    /// Type as in filesystems(5); `none` for a bind.
    kind: String,
    /// Device, export or directory.
    device: String,
    /// As mount(8) writes them.
    options: String,
}

impl LocalOptions {
    /// What the options ask for; `None` for a plain directory.
    ///
    /// # Errors
    /// `VolumeError::Invalid`, in Docker's words.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Option<Self>, VolumeError> {
        let invalid = |words: String| Err(VolumeError::Invalid(words));
        if let Some(size) = options.get("size") {
            return invalid(match size.bytes().next() {
                Some(digit) if digit.is_ascii_digit() => "quota size requested but no quota support".to_owned(),
                _ => format!("invalid size: '{size}'"),
            });
        }
        let known = ["type", "device", "o"];
        if let Some(unknown) = options.keys().find(|name| !known.contains(&name.as_str())) {
            return invalid(format!("invalid option: {unknown:?}"));
        }
        for (name, required) in [
            ("device", ["type"].as_slice()),
            ("type", &["device"]),
            ("o", &["device", "type"]),
        ] {
            let missing = required.iter().find(|required| !options.contains_key(**required));
            if let (true, Some(missing)) = (options.contains_key(name), missing) {
                return invalid(format!("missing required option: {missing:?}"));
            }
        }
        let text = |name: &str| options.get(name).cloned().unwrap_or_default();
        let parsed = Self {
            kind: text("type"),
            device: text("device"),
            options: text("o"),
        };
        if parsed.device.is_empty() {
            return Ok(None);
        }
        parsed.split()?;
        Ok(Some(parsed))
    }

    fn split(&self) -> Result<ParsedOptions, VolumeError> {
        let list = self.options.split(',').filter(|option| !option.is_empty());
        let list: Vec<String> = list.map(str::to_owned).collect();
        let parsed = mount_options::parse(&list).map_err(|error| VolumeError::Invalid(error.to_string()))?;
        let foreign = [
            ("remount", parsed.remount),
            ("tmpcopyup", parsed.copy_up),
            ("idmap", parsed.id_map.is_some()),
        ];
        match foreign.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(VolumeError::Invalid(format!(
                "the mount option {name:?} is not supported"
            ))),
            None => Ok(parsed),
        }
    }

    /// Mounts the device.
    ///
    /// # Errors
    /// `VolumeError::Mount` where the kernel refuses.
    pub fn mount(&self, at: &Path) -> Result<(), VolumeError> {
        let parsed = self.split()?;
        let mounted = match parsed.bind {
            Some(recursive) => self.bind(at, &parsed, recursive),
            None => self.mount_file_system(at, &parsed),
        };
        mounted.map_err(|source| VolumeError::Mount {
            device: self.device.clone(),
            at: at.to_owned(),
            how: told(&parsed),
            source,
        })
    }

    fn bind(&self, at: &Path, parsed: &ParsedOptions, recursive: bool) -> io::Result<()> {
        let place = path::open_dir(Path::new(&self.device))?;
        let tree = mount::clone_tree(place.as_fd(), recursive)?;
        let wanted = &parsed.attributes;
        let attributes = Attributes::default()
            .with(Attributes::READ_ONLY, wanted.read_only)
            .with(Attributes::NO_SUID, wanted.no_suid)
            .with(Attributes::NO_DEV, wanted.no_dev)
            .with(Attributes::NO_EXEC, wanted.no_exec);
        if !attributes.is_empty() {
            mount::set_attributes(tree.as_fd(), attributes, None, wanted.recursive)?;
        }
        let below = wanted.tree;
        if !below.is_empty() {
            let [set, clear] = [below.set, below.clear].map(Attributes::from_bits);
            mount::change_attributes(tree.as_fd(), set, clear, true)?;
        }
        mount::attach_at(tree.as_fd(), at)
    }

    fn mount_file_system(&self, at: &Path, parsed: &ParsedOptions) -> io::Result<()> {
        let flags = flags(parsed);
        let mut data = Vec::new();
        for option in &parsed.data {
            data.push(match option.strip_prefix("addr=") {
                // The kernel takes addresses only (nfs(5), "addr").
                Some(host) if self.kind.starts_with("nfs") || self.kind == "cifs" => format!("addr={}", resolve(host)?),
                _ => option.clone(),
            });
        }
        let data = std::ffi::CString::new(data.join(",")).map_err(io::Error::other)?;
        rustix::mount::mount(
            self.device.as_str(),
            at,
            self.kind.as_str(),
            flags,
            Some(data.as_c_str()),
        )?;
        Ok(())
    }
}

/// The flags of mount(2).
fn flags(parsed: &ParsedOptions) -> MountFlags {
    let wanted = &parsed.attributes;
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::RDONLY, wanted.read_only);
    flags.set(MountFlags::NOSUID, wanted.no_suid);
    flags.set(MountFlags::NODEV, wanted.no_dev);
    flags.set(MountFlags::NOEXEC, wanted.no_exec);
    flags.set(MountFlags::NOATIME, wanted.no_atime);
    flags.set(MountFlags::STRICTATIME, wanted.strict_atime);
    flags.set(MountFlags::BIND, parsed.bind.is_some());
    flags.set(MountFlags::REC, parsed.bind == Some(true));
    flags
}

/// How something was to be mounted, as Docker tells it.
fn told(parsed: &ParsedOptions) -> String {
    let mut words = String::new();
    let flags = flags(parsed).bits();
    if flags != 0 {
        words.push_str(&format!(", flags: {flags:#x}"));
    }
    if !parsed.data.is_empty() {
        words.push_str(&format!(", data: {}", parsed.data.join(",")));
    }
    words
}

fn resolve(host: &str) -> io::Result<String> {
    let found = (host, 0).to_socket_addrs()?.next();
    found
        .map(|address| address.ip().to_string())
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &[(&str, &str)]) -> Result<Option<LocalOptions>, String> {
        let options = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        LocalOptions::parse(&options.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_device_is_asked_for_as_a_whole() {
        assert_eq!(parsed(&[]), Ok(None));
        let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=1000")];
        assert!(parsed(&options).unwrap().is_some());
        for (options, words) in [
            ([("foo", "bar")].as_slice(), "invalid option: \"foo\""),
            (&[("type", "tmpfs")], "missing required option: \"device\""),
            (&[("o", "size=1m")], "missing required option: \"device\""),
            (&[("device", "/tmp")], "missing required option: \"type\""),
            (&[("size", "1m")], "quota size requested but no quota support"),
            (&[("size", "xx")], "invalid size: 'xx'"),
        ] {
            assert_eq!(parsed(options).unwrap_err(), words);
        }
    }
}
