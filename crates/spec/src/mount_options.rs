//! Option strings of mounts, as mount(8), `--tmpfs` and `config.json` write them.

use std::path::Path;

use crate::error::{Error, Result};
use crate::plan::{Mount, MountAttributes, MountSource, Propagation};

/// The options of a string. Between double quotes, which are left out, a comma parts nothing: that is how a context with
/// categories is written (mount(8), "context=").
pub fn each(options: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut is_quoted = false;
    for letter in options.chars() {
        match (letter, found.last_mut()) {
            ('"', _) => is_quoted = !is_quoted,
            (',', _) if !is_quoted => found.push(String::new()),
            (letter, Some(option)) => option.push(letter),
            (_, None) => {}
        }
    }
    found.retain(|option| !option.is_empty());
    found
}

/// A list of options taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedOptions {
    /// Attributes of the mount.
    pub attributes: MountAttributes,
    /// Propagation, `None` where no option names one.
    pub propagation: Option<Propagation>,
    /// Whether the propagation is that of the mount alone.
    pub propagation_alone: bool,
    /// Whether a bind was asked for (`bind`, `rbind`), and whether it is recursive.
    pub bind: Option<bool>,
    /// Whether only attributes of what is mounted are to be changed.
    pub remount: bool,
    /// Whether ids are to be mapped, and whether those of mounts below too.
    pub id_map: Option<bool>,
    /// Whether a tmpfs begins with a copy of what it covers.
    pub copy_up: bool,
    /// What is left for the file system itself.
    pub data: Vec<String>,
}

/// `MOUNT_ATTR_*` (mount_setattr(2)). The times of access exclude each other and are one field, `ATIME`.
mod bit {
    pub(super) const READ_ONLY: u64 = 0x1;
    pub(super) const NO_SUID: u64 = 0x2;
    pub(super) const NO_DEV: u64 = 0x4;
    pub(super) const NO_EXEC: u64 = 0x8;
    pub(super) const RELATIME: u64 = 0x0;
    pub(super) const NO_ATIME: u64 = 0x10;
    pub(super) const STRICT_ATIME: u64 = 0x20;
    pub(super) const ATIME: u64 = 0x70;
    pub(super) const NO_DIR_ATIME: u64 = 0x80;
    pub(super) const NO_SYMLINKS: u64 = 0x20_0000;
}

/// Options that change attributes: name, bits, whether they are set. With an `r` before it, each means all mounts below too.
const ATTRIBUTES: [(&str, u64, bool); 19] = [
    ("ro", bit::READ_ONLY, true),
    ("rw", bit::READ_ONLY, false),
    ("nosuid", bit::NO_SUID, true),
    ("suid", bit::NO_SUID, false),
    ("nodev", bit::NO_DEV, true),
    ("dev", bit::NO_DEV, false),
    ("noexec", bit::NO_EXEC, true),
    ("exec", bit::NO_EXEC, false),
    ("nodiratime", bit::NO_DIR_ATIME, true),
    ("diratime", bit::NO_DIR_ATIME, false),
    ("nosymfollow", bit::NO_SYMLINKS, true),
    ("symfollow", bit::NO_SYMLINKS, false),
    ("relatime", bit::RELATIME, true),
    ("norelatime", bit::RELATIME, true),
    ("noatime", bit::NO_ATIME, true),
    ("atime", bit::RELATIME, true),
    ("strictatime", bit::STRICT_ATIME, true),
    ("nostrictatime", bit::RELATIME, true),
    ("defaults", bit::RELATIME, true),
];

/// Options that mean something else than an attribute.
const OTHERS: [&str; 19] = [
    "async",
    "bind",
    "idmap",
    "loud",
    "nomand",
    "noiversion",
    "private",
    "rbind",
    "remount",
    "ridmap",
    "rprivate",
    "rshared",
    "rslave",
    "runbindable",
    "shared",
    "silent",
    "slave",
    "tmpcopyup",
    "unbindable",
];

/// Every option that is not the file system's own, in the order of the alphabet.
#[must_use]
pub fn known() -> Vec<String> {
    let attributes = ATTRIBUTES.iter().map(|(name, ..)| (*name).to_owned());
    let of_all = ATTRIBUTES.iter().filter(|(name, ..)| *name != "defaults");
    let of_all = of_all.map(|(name, ..)| format!("r{name}"));
    let mut known: Vec<String> = attributes.chain(of_all).chain(OTHERS.map(String::from)).collect();
    known.sort();
    known
}

/// Takes a list of options apart; later ones win over earlier ones.
pub fn parse(options: &[String]) -> Result<ParsedOptions> {
    let mut parsed = ParsedOptions::default();
    for option in options {
        if !set_attribute(&mut parsed.attributes, option) && !set_propagation(&mut parsed, option) {
            match option.as_str() {
                "bind" => parsed.bind = Some(parsed.bind.unwrap_or(false)),
                "rbind" => parsed.bind = Some(true),
                "remount" => parsed.remount = true,
                "tmpcopyup" => parsed.copy_up = true,
                "idmap" => parsed.id_map = Some(false),
                "ridmap" => parsed.id_map = Some(true),
                // Flags with no bearing on a new mount of a container: write modes that the kernel takes per file system.
                "async" | "noiversion" | "nomand" | "loud" | "silent" => {}
                _ => parsed.data.push(option.clone()),
            }
        }
    }
    Ok(parsed)
}

fn set_attribute(attributes: &mut MountAttributes, option: &str) -> bool {
    let find = |name: &str| ATTRIBUTES.iter().find(|(known, ..)| *known == name);
    if let Some((_, bits, set)) = find(option) {
        attributes.read_only = changed(attributes.read_only, *bits, *set, bit::READ_ONLY);
        attributes.no_suid = changed(attributes.no_suid, *bits, *set, bit::NO_SUID);
        attributes.no_dev = changed(attributes.no_dev, *bits, *set, bit::NO_DEV);
        attributes.no_exec = changed(attributes.no_exec, *bits, *set, bit::NO_EXEC);
        if is_time(*bits) {
            attributes.no_atime = *bits == bit::NO_ATIME;
            attributes.strict_atime = *bits == bit::STRICT_ATIME;
        }
        let own = bit::NO_DIR_ATIME | bit::NO_SYMLINKS;
        if *set {
            attributes.more.set |= bits & own;
            attributes.more.clear &= !bits;
        } else {
            attributes.more.set &= !bits;
            attributes.more.clear |= bits;
        }
        return true;
    }
    let Some((_, bits, set)) = option.strip_prefix('r').and_then(find) else {
        return false;
    };
    let tree = &mut attributes.tree;
    if is_time(*bits) {
        tree.set = tree.set & !bit::ATIME | bits;
        tree.clear |= bit::ATIME;
    } else if *set {
        (tree.set, tree.clear) = (tree.set | bits, tree.clear & !bits);
    } else {
        (tree.set, tree.clear) = (tree.set & !bits, tree.clear | bits);
    }
    true
}

fn is_time(bits: u64) -> bool {
    bits & !bit::ATIME == 0
}

fn changed(before: bool, bits: u64, set: bool, which: u64) -> bool {
    if bits == which { set } else { before }
}

fn set_propagation(parsed: &mut ParsedOptions, option: &str) -> bool {
    let (name, alone) = match option.strip_prefix('r') {
        Some(name) => (name, false),
        None => (option, true),
    };
    parsed.propagation = match name {
        "private" => Some(Propagation::Private),
        "slave" => Some(Propagation::Slave),
        "shared" => Some(Propagation::Shared),
        "unbindable" => Some(Propagation::Unbindable),
        _ => return false,
    };
    parsed.propagation_alone = alone;
    true
}

/// Options of tmpfs(5) that Docker lets through to the kernel.
const TMPFS_DATA: [&str; 7] = ["mode", "uid", "gid", "size", "nr_inodes", "nr_blocks", "mpol"];

/// A `--tmpfs`: Docker's defaults (`noexec,nosuid,nodev`), each undone by its opposite.
pub(crate) fn tmpfs(target: &Path, options: &str) -> Result<Mount> {
    let mut list: Vec<String> = ["noexec", "nosuid", "nodev"].map(String::from).to_vec();
    list.extend(options.split(',').filter(|option| !option.is_empty()).map(String::from));
    let parsed = parse(&list)?;
    let foreign = ["remount", "tmpcopyup", "idmap", "ridmap"];
    if let Some(option) = list.iter().find(|option| foreign.contains(&option.as_str())) {
        return Err(Error::TmpfsOption { option: option.clone() });
    }
    for option in &parsed.data {
        let name = option.split_once('=').map_or("", |(name, _)| name);
        if !TMPFS_DATA.contains(&name) {
            return Err(Error::TmpfsOption { option: option.clone() });
        }
    }
    let source = MountSource::FileSystem {
        kind: "tmpfs".to_string(),
        source: "tmpfs".to_string(),
        options: parsed.data.join(","),
    };
    Ok(Mount {
        attributes: parsed.attributes,
        ..Mount::new(target, source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(options: &str) -> Vec<String> {
        options.split(',').map(String::from).collect()
    }

    #[test]
    fn commas_between_quotes_part_nothing() {
        assert_eq!(
            each("mode=755,,context=\"u:r:t:s0:c1,c2\",size=1m"),
            ["mode=755", "context=u:r:t:s0:c1,c2", "size=1m"]
        );
        assert_eq!(each(""), Vec::<String>::new());
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
    fn what_is_undone_is_taken_away_from_a_bind_and_an_r_reaches_all_below() {
        let attributes = parse(&list("suid,nosymfollow,rro,rexec,rnoatime")).unwrap().attributes;
        assert_eq!((attributes.more.set, attributes.more.clear), (0x20_0000, 0x2));
        assert_eq!((attributes.tree.set, attributes.tree.clear), (0x11, 0x78));
        assert!(!attributes.read_only, "of this the option says nothing");
        assert_eq!(
            parse(&list("rro,rrw")).unwrap().attributes.tree.clear,
            0x1,
            "later ones win"
        );
    }

    #[test]
    fn every_known_option_is_told_from_the_file_systems_own() {
        for option in known() {
            let parsed = parse(std::slice::from_ref(&option)).unwrap();
            assert!(parsed.data.is_empty(), "{option}");
        }
    }

    #[test]
    fn words_that_begin_with_an_r_are_not_mistaken() {
        let parsed = parse(&list("ro,relatime,remount,rprivate,rsize=1")).unwrap();
        assert!(parsed.attributes.tree.is_empty() && parsed.attributes.read_only && parsed.remount);
        assert_eq!(
            (parsed.propagation, parsed.propagation_alone),
            (Some(Propagation::Private), false)
        );
        assert_eq!(parsed.data, ["rsize=1"]);
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
