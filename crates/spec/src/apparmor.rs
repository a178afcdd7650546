//! The profile of AppArmor that confines containers by default, as text for `apparmor_parser(8)`.
//!
//! Its name and its rules are Docker's: where both engines run, either may have loaded it, and whoever knows what a
//! container may do under the one knows it under the other.

/// Name of the default profile.
pub const DEFAULT_PROFILE: &str = "docker-default";

/// Label of what no profile confines.
pub const UNCONFINED: &str = "unconfined";

/// Which files of the host's policy (`/etc/apparmor.d`) a profile can build upon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PolicyFiles {
    /// `abi/3.0`.
    pub abi: bool,
    /// `tunables/global`.
    pub tunables: bool,
    /// `abstractions/base`.
    pub base: bool,
}

/// What is allowed but for the denials; `%` stands for the name of the profile.
const ALLOWED: &str = r#"
  network,
  capability,
  file,
  umount,

  # Families of sockets that the kernel gave up, the kernel's ciphers (CVE-2026-31431), and the way to a hypervisor.
  deny network ax25,
  deny network ipx,
  deny network appletalk,
  deny network netrom,
  deny network rose,
  deny network econet,
  deny network atmsvc,
  deny network irda,
  deny network wanpipe,
  deny network alg,
  deny network vsock,

  # The host may signal the container, by the runtimes of other engines too; the container itself alone.
  signal (receive) peer=unconfined,
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  signal (send,receive) peer="%",
  ptrace (trace,tracedby,read,readby) peer="%",
"#;

/// Denials go before what is allowed (apparmor.d(5)). The patterns have no "all but": what may be written is left out
/// letter by letter.
const DENIED: &str = r#"
  deny mount,

  # In procfs a process writes to what belongs to processes, and to kernel.shm* of its own IPC namespace.
  deny @{PROC}/* w,
  deny @{PROC}/{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}/** w,
  deny @{PROC}/sys/[^k]** w,
  deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny @{PROC}/sysrq-trigger rwklx,
  deny @{PROC}/kcore rwklx,

  # In sysfs it writes to control groups.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
"#;

/// Renders the default profile. `daemon` is the label of the engine, which sends signals to containers.
pub fn render_default(files: PolicyFiles, daemon: &str) -> String {
    let mut text = String::new();
    if files.abi {
        // By later ones `network` no longer means sockets of UNIX.
        text.push_str("abi <abi/3.0>,\n");
    }
    text.push_str(if files.tunables {
        "include <tunables/global>\n"
    } else {
        "@{PROC}=/proc/\n"
    });
    text.push_str(&format!(
        "\nprofile \"{DEFAULT_PROFILE}\" flags=(attach_disconnected,mediate_deleted) {{\n"
    ));
    if files.base {
        text.push_str("  include <abstractions/base>\n");
    }
    text.push_str(&ALLOWED.replace('%', DEFAULT_PROFILE));
    if is_plain(daemon) && daemon != UNCONFINED {
        text.push_str(&format!("  signal (receive) peer=\"{daemon}\",\n"));
    }
    text.push_str(DENIED);
    text.push_str("}\n");
    text
}

/// Whether a label is the name of one profile of the namespace that the engine is in: neither several of them
/// (`first//&second`) nor another namespace's (`:namespace:profile`).
pub fn is_plain(label: &str) -> bool {
    !label.is_empty() && !label.starts_with(':') && !label.contains("//&") && !label.contains(['"', '\n'])
}

/// Whether the kernel's list of profiles (`/sys/kernel/security/apparmor/profiles`) names one.
pub fn is_listed(list: &str, profile: &str) -> bool {
    list.lines().any(|line| label(line) == profile)
}

/// The label in `label (mode)`, as the kernel writes it; `unconfined` has no mode.
pub fn label(line: &str) -> &str {
    let line = line.trim_end_matches(['\n', '\0']);
    line.strip_suffix(')')
        .and_then(|line| line.rsplit_once(" ("))
        .map_or(line, |(label, _)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_builds_upon_what_the_host_has() {
        let alone = render_default(PolicyFiles::default(), UNCONFINED);
        assert!(alone.starts_with("@{PROC}=/proc/\n\nprofile \"docker-default\" flags="));
        assert!(!alone.contains("include"));
        let all = PolicyFiles {
            abi: true,
            tunables: true,
            base: true,
        };
        let all = render_default(all, UNCONFINED);
        assert!(all.starts_with("abi <abi/3.0>,\ninclude <tunables/global>\n"));
        assert!(all.contains("{\n  include <abstractions/base>\n"));
        assert!(!all.contains("@{PROC}="));
    }

    #[test]
    fn an_engine_that_is_confined_itself_may_send_signals() {
        let of = |daemon: &str| render_default(PolicyFiles::default(), daemon);
        assert!(of("conexd").contains("  signal (receive) peer=\"conexd\",\n"));
        for other in ["", "unconfined", "a//&b", ":ns:a", "a\"b"] {
            assert_eq!(of(other), of(UNCONFINED), "{other}");
        }
    }

    #[test]
    fn a_profile_is_found_in_the_kernels_list() {
        let list = "docker-default (enforce)\n/usr/bin/man (enforce)\nmy own (complain)\nlonger-than (kill)\n";
        for name in ["docker-default", "/usr/bin/man", "my own", "longer-than"] {
            assert!(is_listed(list, name), "{name}");
        }
        for name in ["docker", "longer", "my", "own", "", "enforce"] {
            assert!(!is_listed(list, name), "{name}");
        }
        assert_eq!(label("unconfined\n"), "unconfined");
        assert_eq!(label("conexd (enforce)\n\0"), "conexd");
    }
}
