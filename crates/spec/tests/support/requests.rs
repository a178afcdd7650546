//! A request that the tests change.

use std::path::PathBuf;

use conex_spec::plan::{FdSlot, Resources, Root, Stdio};
use conex_spec::{ContainerPlanRequest, HostFacts, NamespaceChoices, ProcessRequest};

/// A container with all defaults.
pub(crate) fn request() -> ContainerPlanRequest {
    ContainerPlanRequest {
        user_namespace: None,
        facts: HostFacts::default(),
        init: false,
        id: "0123".to_string(),
        hostname: "box".to_string(),
        domainname: String::new(),
        root: Root::Detached(FdSlot(0)),
        root_mount_point: PathBuf::from("/run/root"),
        namespaces: NamespaceChoices::default(),
        process: ProcessRequest {
            user: String::new(),
            group_add: Vec::new(),
            env: Vec::new(),
            argv: vec!["sh".to_string()],
            working_directory: String::new(),
            stdio: Stdio::Pipes { stdin: false },
            seccomp: Some(FdSlot(1)),
            apparmor: None,
            selinux: None,
            no_new_privileges: false,
        },
        cap_add: Vec::new(),
        cap_drop: Vec::new(),
        privileged: false,
        writable_cgroups: false,
        readonly_root: false,
        mount_label: None,
        tmpfs: Default::default(),
        shm_size: None,
        ulimits: Vec::new(),
        sysctls: Default::default(),
        masked_paths: None,
        readonly_paths: None,
        devices: Vec::new(),
        device_cgroup_rules: Vec::new(),
        mounts: Vec::new(),
        resources: Resources::default(),
        cgroup_path: PathBuf::from("/conex/0123"),
        scope: None,
        oom_score_adj: None,
        hold: false,
    }
}
