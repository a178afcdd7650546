//! Facts of the host that `info` tells and nothing else needs.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use conex_snapshot::Driver;
use conex_spec::LimitFacts;
use rustix::fs::{Dir, FileType};

/// Where a distribution describes itself (os-release(5)), the first that is there.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Name and version of the host's distribution.
pub(super) fn distribution() -> (String, String) {
    let text = OS_RELEASE.iter().find_map(|path| fs::read_to_string(path).ok());
    described(&text.unwrap_or_default())
}

fn described(os_release: &str) -> (String, String) {
    let value = |name: &str| {
        let line = os_release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    // What the manual page names as the default.
    let name = value("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned());
    (name, value("VERSION_ID").unwrap_or_default())
}

/// The storage driver's facts, in the order in which clients print them.
pub(super) fn storage(driver: &Driver, data_root: &Path) -> Vec<[String; 2]> {
    match driver {
        Driver::Overlay(_) => overlay(data_root),
        Driver::Btrfs => vec![["Btrfs".to_owned(), String::new()]],
        Driver::FuseOverlay(_) | Driver::Vfs => Vec::new(),
    }
}

fn overlay(data_root: &Path) -> Vec<[String; 2]> {
    let below = rustix::fs::statfs(data_root).map_or("<unknown>", |stat| file_system(stat.f_type.cast_unsigned()));
    [
        ("Backing Filesystem", below),
        ("Supports d_type", words(tells_types(data_root).unwrap_or(false))),
        // The rest is how layers are mounted here, whatever the kernel's defaults are: `metacopy=off`, `redirect_dir=off`,
        // and attributes in `trusted.`, not in `user.`.
        ("Using metacopy", words(false)),
        ("Native Overlay Diff", words(true)),
        ("userxattr", words(false)),
    ]
    .map(|fact| [fact.0.to_owned(), fact.1.to_owned()])
    .into()
}

fn words(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}

/// A file system by its magic number (statfs(2)), under the name that Docker has for it.
fn file_system(magic: u64) -> &'static str {
    match magic {
        0xef53 => "extfs",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlayfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x6969 => "nfs",
        0xff53_4d42 => "smb",
        0x6573_5546 => "fuse",
        0x3153_464a => "jfs",
        0x5265_4973 => "reiserfs",
        0x7371_7368 => "squashfs",
        0x8584_58f6 => "ramfs",
        0xf15f => "ecryptfs",
        _ => "<unknown>",
    }
}

/// Whether a directory tells the types of its entries (getdents(2)), which overlays need.
fn tells_types(directory: &Path) -> io::Result<bool> {
    let opened = fs::File::open(directory)?;
    for entry in Dir::read_from(opened.as_fd())? {
        if entry?.file_type() == FileType::Unknown {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the administrator should know, in Docker's words; `None` where all is well.
pub(super) fn warnings(limits: &LimitFacts, forwards: bool) -> Option<Vec<String>> {
    let missing = [
        (limits.memory, "No memory limit support"),
        (limits.swap, "No swap limit support"),
        (limits.cpu_quota, "No cpu cfs quota support"),
        (limits.cpu_period, "No cpu cfs period support"),
        (limits.cpu_shares, "No cpu shares support"),
        (limits.cpuset, "No cpuset support"),
        (limits.pids, "No pids limit support"),
        (forwards, "IPv4 forwarding is disabled"),
    ];
    let missing = missing.iter().filter(|(is_there, _)| !is_there);
    let warnings: Vec<String> = missing.map(|(_, words)| format!("WARNING: {words}")).collect();
    Some(warnings).filter(|warnings| !warnings.is_empty())
}

/// Whether the kernel passes packets on.
pub(super) fn forwards() -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1")
}

/// A proxy's address without the name and password in it, as Docker tells it.
pub(super) fn masked(proxy: &str) -> String {
    let (scheme, rest) = proxy
        .split_once("://")
        .map_or(("", proxy), |(scheme, rest)| (scheme, rest));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) if !scheme.is_empty() => format!("{scheme}://xxxxx:xxxxx@{host}{path}"),
        _ => proxy.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_described_as_its_file_says() {
        let text = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_ID='13'\n";
        assert_eq!(
            described(text),
            ("Debian GNU/Linux 13 (trixie)".to_owned(), "13".to_owned())
        );
        assert_eq!(described(""), ("Linux".to_owned(), String::new()));
    }

    #[test]
    fn what_the_host_lacks_is_warned_of() {
        let all = LimitFacts {
            memory: true,
            swap: true,
            cpu_shares: true,
            cpu_period: true,
            cpu_quota: true,
            cpuset: true,
            pids: true,
            ..LimitFacts::default()
        };
        assert_eq!(warnings(&all, true), None);
        let some = LimitFacts { swap: false, ..all };
        assert_eq!(
            warnings(&some, false).unwrap(),
            ["WARNING: No swap limit support", "WARNING: IPv4 forwarding is disabled"]
        );
    }

    #[test]
    fn secrets_of_proxies_are_not_told() {
        for (proxy, told) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            (
                "http://me:secret@proxy.example:3128/x",
                "http://xxxxx:xxxxx@proxy.example:3128/x",
            ),
            ("https://me@proxy.example", "https://xxxxx:xxxxx@proxy.example"),
            ("http://proxy.example/a@b", "http://proxy.example/a@b"),
            ("proxy.example", "proxy.example"),
        ] {
            assert_eq!(masked(proxy), told);
        }
    }

    #[test]
    fn a_data_root_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(storage(&Driver::Vfs, dir.path()).is_empty());
        let facts = overlay(dir.path());
        assert_eq!(facts[1], ["Supports d_type", "true"]);
        assert_eq!(file_system(0xef53), "extfs");
        assert_eq!(file_system(0), "<unknown>");
    }
}
