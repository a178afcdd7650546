//! Storage drivers, each with what it needs below its data root.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

/// A storage driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageDriver {
    /// `overlay2`.
    Overlay2,
    /// `fuse-overlayfs`.
    FuseOverlayfs,
    /// `btrfs`, in a file.
    Btrfs,
    /// `vfs`.
    Vfs,
}

impl StorageDriver {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Overlay2, Self::FuseOverlayfs, Self::Btrfs, Self::Vfs];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay2 => "overlay2",
            Self::FuseOverlayfs => "fuse-overlayfs",
            Self::Btrfs => "btrfs",
            Self::Vfs => "vfs",
        }
    }

    /// Whether it stacks layers.
    #[must_use]
    pub fn is_stacked(self) -> bool {
        matches!(self, Self::Overlay2 | Self::FuseOverlayfs)
    }

    /// That of this name.
    pub(crate) fn named(name: &str) -> Self {
        let found = Self::ALL.into_iter().find(|driver| driver.name() == name);
        found.unwrap_or_else(|| panic!("there is no storage driver {name}"))
    }

    /// Mounts what it needs.
    pub(crate) fn prepare(self, data_root: &Path) -> Option<Disk> {
        match self {
            Self::Btrfs => Some(Disk::mount("btrfs", 1024, data_root)),
            Self::Overlay2 | Self::FuseOverlayfs | Self::Vfs => None,
        }
    }
}

/// A file system in a file.
pub struct Disk {
    mounted: PathBuf,
}

impl Disk {
    /// Makes a file system of so many megabytes in a file beside the place where it is mounted.
    pub fn mount(kind: &str, megabytes: u32, at: &Path) -> Self {
        Self::make(kind, megabytes, at, (&[], "loop"))
    }

    /// As `mount`, an `ext4` or `xfs` with quotas of projects.
    pub fn with_projects(kind: &str, megabytes: u32, at: &Path) -> Self {
        let features: &[&str] = if kind == "ext4" { &["-O", "quota,project"] } else { &[] };
        Self::make(kind, megabytes, at, (features, "loop,prjquota"))
    }

    fn make(kind: &str, megabytes: u32, at: &Path, (features, options): (&[&str], &str)) -> Self {
        let image = at.with_extension("disk");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        fs::create_dir_all(at).unwrap();
        succeed("truncate", &["-s", &format!("{megabytes}M"), &text(&image)]);
        let quiet: &[&str] = if kind == "ext4" { &["-q", "-F"] } else { &["-q", "-f"] };
        succeed(&format!("mkfs.{kind}"), &[quiet, features, &[&text(&image)]].concat());
        succeed("mount", &["-o", options, &text(&image), &text(at)]);
        Self { mounted: at.to_owned() }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// The block device that it is on.
    #[must_use]
    pub fn device(&self) -> String {
        let number = fs::metadata(&self.mounted).unwrap().dev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let link = fs::read_link(format!("/sys/dev/block/{major}:{minor}")).unwrap();
        format!("/dev/{}", link.file_name().unwrap().display())
    }

    /// Takes it off; says whether nothing was using it any more.
    pub(crate) fn unmount(&self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let umount = Command::new("umount").arg(&self.mounted).output().unwrap();
            if umount.status.success() {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It is off where all went well.
        let _ = Command::new("umount").arg("-l").arg(&self.mounted).output();
    }
}

fn succeed(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}
