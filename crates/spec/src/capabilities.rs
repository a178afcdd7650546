//! Names and sets of capabilities (capabilities(7)), and the rules of `--cap-add` and `--cap-drop`.

use crate::error::{Error, Result};

/// Names without prefix, in the order of their numbers.
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Every capability that this program knows.
pub const ALL: u64 = (1 << NAMES.len()) - 1;

/// Docker's default set of fourteen.
pub const DEFAULT: u64 = bit("CHOWN")
    | bit("DAC_OVERRIDE")
    | bit("FSETID")
    | bit("FOWNER")
    | bit("MKNOD")
    | bit("NET_RAW")
    | bit("SETGID")
    | bit("SETUID")
    | bit("SETFCAP")
    | bit("SETPCAP")
    | bit("NET_BIND_SERVICE")
    | bit("SYS_CHROOT")
    | bit("KILL")
    | bit("AUDIT_WRITE");

/// The bit of a name without prefix in upper case. Only for names that stand in `NAMES`: it is evaluated while compiling.
pub const fn bit(name: &str) -> u64 {
    let mut number = 0;
    while number < NAMES.len() {
        if same(NAMES[number].as_bytes(), name.as_bytes()) {
            return 1 << number;
        }
        number += 1;
    }
    panic!("no such capability")
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Parses one name, in any case, with or without `CAP_`, into its bit.
pub fn parse(name: &str) -> Result<u64> {
    let upper = name.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES
        .iter()
        .position(|known| *known == bare)
        .map(|number| 1 << number)
        .ok_or_else(|| Error::UnknownCapability { name: name.to_string() })
}

/// The names in a set, with prefix, in the order of their numbers.
pub fn names(set: u64) -> Vec<String> {
    (0..NAMES.len())
        .filter(|number| set & (1 << number) != 0)
        .map(|number| format!("CAP_{}", NAMES[number]))
        .collect()
}

/// Docker's rule for the set of a container: `ALL` to either side, then the names, with additions winning over drops
/// unless everything is added, and everything for a privileged one.
pub fn adjust(add: &[String], drop: &[String], privileged: bool) -> Result<u64> {
    let (all_added, added) = parse_list(add)?;
    let (all_dropped, dropped) = parse_list(drop)?;
    Ok(match (privileged, all_added, all_dropped) {
        (true, _, _) => ALL,
        // Everything is added: what is dropped by name is left out.
        (false, true, _) => ALL & !dropped,
        (false, false, true) => added,
        (false, false, false) => (DEFAULT & !dropped) | added,
    })
}

fn parse_list(names: &[String]) -> Result<(bool, u64)> {
    let mut all = false;
    let mut set = 0;
    for name in names {
        if name.trim().eq_ignore_ascii_case("ALL") || name.trim().eq_ignore_ascii_case("CAP_ALL") {
            all = true;
        } else {
            set |= parse(name)?;
        }
    }
    Ok((all, set))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_default_set_is_the_mask_that_proc_status_shows_under_docker() {
        assert_eq!(DEFAULT, 0xa804_25fb);
        assert_eq!(DEFAULT.count_ones(), 14);
        assert_eq!(ALL, 0x1ff_ffff_ffff);
    }

    #[test]
    fn names_are_parsed_with_and_without_prefix_in_any_case() {
        assert_eq!(parse("CAP_NET_ADMIN").unwrap(), 1 << 12);
        assert_eq!(parse("net_admin").unwrap(), 1 << 12);
        assert_eq!(parse("cap_checkpoint_restore").unwrap(), 1 << 40);
    }

    #[test]
    fn an_unknown_name_is_refused_in_the_words_of_docker() {
        assert_eq!(
            adjust(&list(&["FOO"]), &[], false).unwrap_err().to_string(),
            "unknown capability: \"CAP_FOO\""
        );
    }

    #[test]
    fn dropping_all_leaves_what_is_added() {
        assert_eq!(adjust(&list(&["CHOWN"]), &list(&["ALL"]), false).unwrap(), 1);
    }

    #[test]
    fn adding_all_leaves_out_what_is_dropped() {
        assert_eq!(adjust(&list(&["ALL"]), &list(&["CHOWN"]), false).unwrap(), ALL & !1);
    }

    #[test]
    fn a_privileged_container_has_everything_whatever_is_dropped() {
        assert_eq!(adjust(&[], &list(&["ALL"]), true).unwrap(), ALL);
    }

    #[test]
    fn names_and_bits_go_round() {
        for name in names(ALL) {
            assert_eq!(names(parse(&name).unwrap()), vec![name]);
        }
    }
}
