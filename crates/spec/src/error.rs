//! Why a container cannot be planned. Texts that clients see are Docker's.

use std::path::PathBuf;

/// A decision of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request or a specification is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A capability that no kernel has.
    #[error("unknown capability: \"CAP_{}\"", .name.trim().to_uppercase().trim_start_matches("CAP_"))]
    UnknownCapability {
        /// As it was typed.
        name: String,
    },
    /// Neither entrypoint nor command.
    #[error("no command specified")]
    NoCommand,
    /// A working directory that is not absolute.
    #[error("the working directory '{path}' is invalid, it needs to be an absolute path")]
    WorkingDirectory {
        /// As it was typed.
        path: String,
    },
    /// A limit without a name known to getrlimit(2).
    #[error("invalid ulimit type: {name}")]
    UnknownUlimit {
        /// As it was typed.
        name: String,
    },
    /// A soft limit above its hard one.
    #[error("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")]
    UlimitOrder {
        /// Soft limit.
        soft: i64,
        /// Hard limit.
        hard: i64,
    },
    /// A kernel parameter that all containers share.
    #[error("sysctl {name:?} is not in a separate kernel namespace")]
    SysctlNotNamespaced {
        /// Its name.
        name: String,
    },
    /// A kernel parameter of a namespace that the container shares with the host.
    #[error("sysctl {name:?} not allowed in host {namespace} namespace")]
    SysctlOfHost {
        /// Its name.
        name: String,
        /// The namespace.
        namespace: &'static str,
    },
    /// Two mounts at one place.
    #[error("Duplicate mount point: {}", .target.display())]
    DuplicateMount {
        /// The place.
        target: PathBuf,
    },
    /// A target that is not an absolute path of the container.
    #[error("invalid mount path: '{}' mount path must be absolute", .target.display())]
    MountTarget {
        /// The target.
        target: PathBuf,
    },
    /// An option of `--tmpfs`.
    #[error("invalid tmpfs option [{option:?}]")]
    TmpfsOption {
        /// The option.
        option: String,
    },
    /// A rule of `--device-cgroup-rule`.
    #[error("invalid device cgroup rule format: '{rule}'")]
    DeviceRule {
        /// The rule.
        rule: String,
    },
    /// An access string of a device.
    #[error("invalid device permissions {access:?} for {}", .target.display())]
    DeviceAccess {
        /// The device.
        target: PathBuf,
        /// The text.
        access: String,
    },
    /// A name that no slice of systemd has.
    #[error("invalid slice name: {name}")]
    SliceName {
        /// The name.
        name: String,
    },
    /// A name that no scope of systemd has.
    #[error("{name:?} cannot be the name of a scope")]
    ScopeName {
        /// The name.
        name: String,
    },
    /// A path of a control group that names no unit of systemd.
    #[error("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead")]
    ScopePath {
        /// As it was typed.
        path: String,
    },
    /// A score outside of the kernel's range.
    #[error("Invalid value {value}, range for oom score adj is [-1000, 1000]")]
    OomScoreAdj {
        /// The value.
        value: i32,
    },
    /// A security option without a value.
    #[error("invalid --security-opt 1: {option:?}")]
    SecurityOptionForm {
        /// The option.
        option: String,
    },
    /// A security option with an unknown name or a wrong value.
    #[error("invalid --security-opt 2: {option:?}")]
    SecurityOption {
        /// The option.
        option: String,
    },
    /// A profile of AppArmor on a host without it.
    #[error("the AppArmor profile {profile:?} cannot be applied: AppArmor is not enabled on this host")]
    NoAppArmor {
        /// Its name.
        profile: String,
    },
    /// A label where nothing is labelled; in the words of runc.
    #[error("selinux label is specified in config, but selinux is disabled or not supported")]
    NoSeLinux,
    /// An option of a label that is neither a switch nor a pair.
    #[error(
        "Bad label option {option:?}, valid options 'disable' or \n'user, role, level, type, filetype' followed by ':' and \
         a value"
    )]
    LabelOption {
        /// The option.
        option: String,
    },
    /// An option of a part that labels do not have.
    #[error("Bad label option {part:?}, valid options 'disable, user, role, level, type, filetype'")]
    LabelPart {
        /// The part.
        part: String,
    },
    /// A seccomp profile that is no JSON of Docker's format.
    #[error("decoding seccomp profile failed: {reason}")]
    SeccompDecode {
        /// Why.
        reason: String,
    },
    /// A seccomp profile that says something impossible.
    #[error("invalid seccomp profile: {reason}")]
    SeccompProfile {
        /// What.
        reason: String,
    },
    /// A field of an OCI specification that is wrong in itself.
    #[error("{field}: {reason}")]
    Specification {
        /// The field, as in `config.json`.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that is valid, but that this program does not do.
    #[error("{feature} is not supported")]
    Unsupported {
        /// What.
        feature: String,
    },
}
