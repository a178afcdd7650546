//! Option strings of mounts, as mount(8), `--tmpfs` and `config.json` write them.

use std::path::Path;

use crate::error::{Error, Result};
use crate::plan::{Mount, MountAttributes, MountSource, Propagation};

/// A list of options taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedOptions {
    /// Attributes of the mount.
    pub attributes: MountAttributes,
    /// Propagation, `None` where no option names one.
    pub propagation: Option<Propagation>,
    /// Whether a bind was asked for (`bind`, `rbind`), and whether it is recursive.
    pub bind: Option<bool>,
    /// What is left for the file system itself.
    pub data: Vec<String>,
}

/// Takes a list of options apart; later ones win over earlier ones.
pub fn parse(options: &[String]) -> Result<ParsedOptions> {
    let mut parsed = ParsedOptions::default();
    for option in options {
        if !set_attribute(&mut parsed.attributes, option) && !set_propagation(&mut parsed, option)? {
            match option.as_str() {
                "bind" => parsed.bind = Some(parsed.bind.unwrap_or(false)),
                "rbind" => parsed.bind = Some(true),
                // Flags with no bearing on a new mount of a container: what `defaults` stands for, and write modes that
                // the kernel takes per file system.
                "defaults" | "async" | "noiversion" | "nomand" | "loud" | "silent" => {}
                "tmpcopyup" | "idmap" | "ridmap" => {
                    return Err(Error::Unsupported {
                        feature: format!("the mount option {option:?}"),
                    });
                }
                _ => parsed.data.push(option.clone()),
            }
        }
    }
    Ok(parsed)
}

fn set_attribute(attributes: &mut MountAttributes, option: &str) -> bool {
    match option {
        "ro" => attributes.read_only = true,
        "rw" => attributes.read_only = false,
        "rro" => {
            attributes.read_only = true;
            attributes.recursive = true;
        }
        "nosuid" => attributes.no_suid = true,
        "suid" => attributes.no_suid = false,
        "nodev" => attributes.no_dev = true,
        "dev" => attributes.no_dev = false,
        "noexec" => attributes.no_exec = true,
        "exec" => attributes.no_exec = false,
        "noatime" => attributes.no_atime = true,
        "atime" => attributes.no_atime = false,
        "strictatime" => attributes.strict_atime = true,
        "nostrictatime" | "relatime" | "norelatime" => attributes.strict_atime = false,
        _ => return false,
    }
    true
}

fn set_propagation(parsed: &mut ParsedOptions, option: &str) -> Result<bool> {
    parsed.propagation = match option {
        "private" | "rprivate" => Some(Propagation::Private),
        "slave" | "rslave" => Some(Propagation::Slave),
        "shared" | "rshared" => Some(Propagation::Shared),
        "unbindable" | "runbindable" => {
            return Err(Error::Unsupported {
                feature: format!("the mount option {option:?}"),
            });
        }
        _ => return Ok(false),
    };
    Ok(true)
}

/// Options of tmpfs(5) that Docker lets through to the kernel.
const TMPFS_DATA: [&str; 7] = ["mode", "uid", "gid", "size", "nr_inodes", "nr_blocks", "mpol"];

/// A `--tmpfs`: Docker's defaults (`noexec,nosuid,nodev`), each undone by its opposite.
pub(crate) fn tmpfs(target: &Path, options: &str) -> Result<Mount> {
    let mut list: Vec<String> = ["noexec", "nosuid", "nodev"].map(String::from).to_vec();
    list.extend(options.split(',').filter(|option| !option.is_empty()).map(String::from));
    let parsed = parse(&list)?;
    for option in &parsed.data {
        let name = option.split_once('=').map_or("", |(name, _)| name);
        if !TMPFS_DATA.contains(&name) {
            return Err(Error::TmpfsOption { option: option.clone() });
        }
    }
    Ok(Mount {
        target: target.to_path_buf(),
        source: MountSource::FileSystem {
            kind: "tmpfs".to_string(),
            source: "tmpfs".to_string(),
            options: parsed.data.join(","),
        },
        attributes: parsed.attributes,
        propagation: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(options: &str) -> Vec<String> {
        options.split(',').map(String::from).collect()
    }

    #[test]
    fn options_are_taken_apart_and_later_ones_win() {
        let parsed = parse(&list("rbind,ro,nosuid,suid,rslave,size=1m,mode=700")).unwrap();
        assert_eq!(parsed.bind, Some(true));
        assert!(parsed.attributes.read_only && !parsed.attributes.no_suid);
        assert_eq!(parsed.propagation, Some(Propagation::Slave));
        assert_eq!(parsed.data, list("size=1m,mode=700"));
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        assert_eq!(
            parse(&list("idmap")).unwrap_err().to_string(),
            "the mount option \"idmap\" is not supported"
        );
    }

    #[test]
    fn a_tmpfs_is_locked_down_unless_it_says_otherwise() {
        let mount = tmpfs(Path::new("/run"), "rw,exec,size=64m").unwrap();
        assert!(mount.attributes.no_suid && mount.attributes.no_dev && !mount.attributes.no_exec);
        let MountSource::FileSystem { options, .. } = mount.source else {
            panic!("not a file system")
        };
        assert_eq!(options, "size=64m");
    }

    #[test]
    fn an_unknown_tmpfs_option_is_refused() {
        assert!(matches!(
            tmpfs(Path::new("/run"), "foo=1"),
            Err(Error::TmpfsOption { .. })
        ));
    }
}
