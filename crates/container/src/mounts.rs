//! Binds and tmpfs mounts that a client asks for.

use conex_api_types::{HostConfig, Mount};
use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum MountChoice {
    /// A path of the host.
    Bind {
        /// Absolute path on the host.
        source: String,
        /// Absolute path in the container.
        target: String,
        /// Read-only.
        read_only: bool,
        /// What is mounted below a read-only bind stays writable.
        read_only_top_only: bool,
        /// With what is mounted below.
        recursive: bool,
        /// Make the source where it is absent (`-v`); else its absence is an error (`--mount`).
        create: bool,
        /// Propagation.
        propagation: BindPropagation,
    },
    /// A file system in memory.
    Tmpfs {
        /// Absolute path in the container.
        target: String,
        /// Bytes, 0 for no limit.
        size: i64,
        /// Permission bits, 0 for 1777.
        mode: u32,
        /// Read-only.
        read_only: bool,
    },
}

/// Propagation of a bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BindPropagation {
    /// Private.
    #[default]
    Private,
    /// Slave.
    Slave,
    /// Shared.
    Shared,
}

impl MountChoice {
    /// Where it is in the container.
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Tmpfs { target, .. } => target,
        }
    }
}

pub(crate) fn from_host_config(host: &HostConfig) -> Result<Vec<MountChoice>, Invalid> {
    let mut mounts = Vec::new();
    for text in host.binds.iter().flatten() {
        mounts.push(parse_bind(text)?);
    }
    for mount in host.mounts.iter().flatten() {
        mounts.push(long_form(mount)?);
    }
    for (index, mount) in mounts.iter().enumerate() {
        let target = mount.target();
        if target == "/" {
            return Err(Invalid::field("invalid volume specification: destination can't be '/'"));
        }
        if mounts[..index].iter().any(|other| other.target() == target) {
            return Err(Invalid::Field(format!("Duplicate mount point: {target}")));
        }
    }
    Ok(mounts)
}

/// `source:target[:options]`.
fn parse_bind(text: &str) -> Result<MountChoice, Invalid> {
    let wrong = || Invalid::Field(format!("invalid volume specification: '{text}'"));
    let mut parts = text.split(':');
    let (Some(source), Some(target), options, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    if !target.starts_with('/') {
        return Err(Invalid::Field(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{}\": invalid mount path: '{target}' \
             mount path must be absolute",
            if source.starts_with('/') { "bind" } else { "volume" }
        )));
    }
    if !source.starts_with('/') {
        return Err(Invalid::Unsupported {
            field: "Binds",
            what: format!("the named volume {source:?}"),
        });
    }
    let (mut read_only, mut propagation, mut recursive) = (false, BindPropagation::Private, true);
    for option in options.unwrap_or("").split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // SELinux labels are set where SELinux is; consistency and copying have no meaning for binds on Linux.
            "rw" | "z" | "Z" | "nocopy" | "consistent" | "cached" | "delegated" => {}
            "rbind" => recursive = true,
            "bind" => recursive = false,
            other => {
                let unknown = || Invalid::Field(format!("invalid mode: {}", options.unwrap_or_default()));
                propagation = parse_propagation(other).ok_or_else(unknown)?;
            }
        }
    }
    Ok(MountChoice::Bind {
        source: source.to_owned(),
        target: target.to_owned(),
        read_only,
        read_only_top_only: false,
        recursive,
        create: true,
        propagation,
    })
}

fn parse_propagation(text: &str) -> Option<BindPropagation> {
    match text {
        "" | "private" | "rprivate" => Some(BindPropagation::Private),
        "slave" | "rslave" => Some(BindPropagation::Slave),
        "shared" | "rshared" => Some(BindPropagation::Shared),
        _ => None,
    }
}

fn long_form(mount: &Mount) -> Result<MountChoice, Invalid> {
    let target = mount.target.as_str();
    if !target.starts_with('/') {
        return Err(Invalid::Field(format!(
            "invalid mount config for type {:?}: invalid mount path: '{target}' mount path must be absolute",
            mount.kind
        )));
    }
    match mount.kind.as_str() {
        "bind" => {
            let options = mount.bind_options.clone().unwrap_or_default();
            if !mount.source.starts_with('/') {
                return Err(Invalid::Field(format!(
                    "invalid mount config for type \"bind\": invalid mount path: '{}' mount path must be absolute",
                    mount.source
                )));
            }
            let propagation = parse_propagation(&options.propagation)
                .ok_or_else(|| Invalid::Field(format!("invalid propagation mode: {}", options.propagation)))?;
            Ok(MountChoice::Bind {
                source: mount.source.clone(),
                target: target.to_owned(),
                read_only: mount.read_only,
                read_only_top_only: options.read_only_non_recursive,
                recursive: !options.non_recursive,
                create: options.create_mountpoint,
                propagation,
            })
        }
        "tmpfs" => {
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            if options.options.is_some() {
                return Err(Invalid::Unsupported {
                    field: "Mounts.TmpfsOptions",
                    what: "Options".to_owned(),
                });
            }
            Ok(MountChoice::Tmpfs {
                target: target.to_owned(),
                size: options.size_bytes,
                mode: options.mode,
                read_only: mount.read_only,
            })
        }
        other => Err(Invalid::Unsupported {
            field: "Mounts",
            what: format!("the mount type {other:?}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bind_is_a_path_of_the_host() {
        let MountChoice::Bind {
            source,
            target,
            read_only,
            ..
        } = parse_bind("/a:/b:ro,rslave").unwrap()
        else {
            panic!()
        };
        assert_eq!((source.as_str(), target.as_str(), read_only), ("/a", "/b", true));
        assert!(
            parse_bind("name:/b")
                .unwrap_err()
                .to_string()
                .contains("named volume \"name\"")
        );
        assert!(parse_bind("/a:b").is_err());
        assert!(parse_bind("/a:/b:nosuch").is_err());
    }

    #[test]
    fn two_mounts_at_one_place_are_refused() {
        let host = HostConfig {
            binds: Some(vec!["/a:/x".into(), "/b:/x".into()]),
            ..HostConfig::default()
        };
        assert_eq!(
            from_host_config(&host).unwrap_err().to_string(),
            "Duplicate mount point: /x"
        );
    }

    proptest! {
        #[test]
        fn no_text_crashes_the_parser(text in ".*") {
            let _ = parse_bind(&text);
        }
    }
}
