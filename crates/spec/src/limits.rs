//! Resource limits of a process and kernel parameters: which names exist, and which are a container's own.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::plan::Step;
use crate::request::Ulimit;

/// Names of getrlimit(2) without prefix, in lower case.
pub const RLIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// The steps that set the limits.
pub(crate) fn rlimit_steps(ulimits: &[Ulimit]) -> Result<Vec<Step>> {
    ulimits.iter().map(rlimit_step).collect()
}

fn rlimit_step(ulimit: &Ulimit) -> Result<Step> {
    if !RLIMITS.contains(&ulimit.name.as_str()) {
        return Err(Error::UnknownUlimit {
            name: ulimit.name.clone(),
        });
    }
    if ulimit.hard != -1 && (ulimit.soft == -1 || ulimit.soft > ulimit.hard) {
        return Err(Error::UlimitOrder {
            soft: ulimit.soft,
            hard: ulimit.hard,
        });
    }
    Ok(Step::Rlimit {
        name: format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase()),
        soft: kernel_limit(ulimit.soft),
        hard: kernel_limit(ulimit.hard),
    })
}

/// -1 is "none" to the API and `RLIM_INFINITY`, all bits set, to the kernel.
fn kernel_limit(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Which namespaces are the container's own, for the parameters that live in them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnNamespaces {
    pub(crate) network: bool,
    pub(crate) ipc: bool,
    pub(crate) uts: bool,
}

/// Refuses parameters that would change the host or other containers (sysctl(2), namespaces(7)).
pub(crate) fn validate_sysctls(sysctls: &BTreeMap<String, String>, own: OwnNamespaces) -> Result<()> {
    for name in sysctls.keys() {
        let namespace = match name.as_str() {
            "kernel.msgmax"
            | "kernel.msgmnb"
            | "kernel.msgmni"
            | "kernel.sem"
            | "kernel.shmall"
            | "kernel.shmmax"
            | "kernel.shmmni"
            | "kernel.shm_rmid_forced" => ("ipc", own.ipc),
            "kernel.domainname" => ("uts", own.uts),
            other if other.starts_with("fs.mqueue.") => ("ipc", own.ipc),
            other if other.starts_with("net.") || other.starts_with("net/") => ("network", own.network),
            _ => return Err(Error::SysctlNotNamespaced { name: name.clone() }),
        };
        if !namespace.1 {
            return Err(Error::SysctlOfHost {
                name: name.clone(),
                namespace: namespace.0,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(name: &str, soft: i64, hard: i64) -> Ulimit {
        Ulimit {
            name: name.to_string(),
            soft,
            hard,
        }
    }

    #[test]
    fn minus_one_means_no_limit() {
        let expected = Step::Rlimit {
            name: "RLIMIT_CORE".to_string(),
            soft: 0,
            hard: u64::MAX,
        };
        assert_eq!(rlimit_step(&limit("core", 0, -1)).unwrap(), expected);
    }

    #[test]
    fn a_soft_limit_above_the_hard_one_is_refused() {
        assert!(matches!(
            rlimit_step(&limit("nofile", 2, 1)),
            Err(Error::UlimitOrder { .. })
        ));
        assert!(matches!(
            rlimit_step(&limit("nofile", -1, 1)),
            Err(Error::UlimitOrder { .. })
        ));
    }

    #[test]
    fn an_unknown_limit_is_refused() {
        assert_eq!(
            rlimit_step(&limit("files", 1, 1)).unwrap_err().to_string(),
            "invalid ulimit type: files"
        );
    }

    #[test]
    fn only_parameters_of_own_namespaces_are_accepted() {
        let one = |name: &str| BTreeMap::from([(name.to_string(), "1".to_string())]);
        let own = OwnNamespaces {
            network: true,
            ipc: true,
            uts: true,
        };
        let host = OwnNamespaces {
            network: false,
            ipc: false,
            uts: false,
        };
        for name in ["net.ipv4.ip_forward", "kernel.shmmax", "fs.mqueue.msg_max"] {
            assert_eq!(validate_sysctls(&one(name), own), Ok(()));
            assert!(
                matches!(validate_sysctls(&one(name), host), Err(Error::SysctlOfHost { .. })),
                "{name}"
            );
        }
        for name in ["vm.swappiness", "kernel.hostname", "kernel.core_pattern", "fs.file-max"] {
            assert!(
                matches!(
                    validate_sysctls(&one(name), own),
                    Err(Error::SysctlNotNamespaced { .. })
                ),
                "{name}"
            );
        }
    }
}
