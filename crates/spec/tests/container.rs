//! What a request leads to, and which are refused.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/requests.rs"]
mod support;

use std::path::{Path, PathBuf};

use conex_spec::plan::{Device, FdSlot, InitPlan, Mount, MountSource, Namespace, Propagation, SecurityModule, Step};
use conex_spec::{
    ContainerPlanRequest, DeviceRequest, Error, ExecPlanRequest, IpcChoice, MountRequest, NamespaceChoice,
    ProcessRequest, Submounts, Ulimit, container_plan, exec_plan,
};
use support::request;

fn mounts(steps: &[Step]) -> Vec<&Mount> {
    steps
        .iter()
        .filter_map(|step| {
            if let Step::Mount(mount) = step {
                Some(mount)
            } else {
                None
            }
        })
        .collect()
}

fn place(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> usize {
    steps.iter().position(wanted).expect("the step is there")
}

#[test]
fn children_are_mounted_after_their_parents_whatever_the_order_of_the_request() {
    let mut request = request();
    request.mounts = vec![
        MountRequest::bind("/a", "/data/deep/er"),
        MountRequest::bind("/b", "/data"),
        MountRequest::bind("/c", "/dev/shm"),
    ];
    let plan = container_plan(&request).unwrap();
    let targets: Vec<&Path> = mounts(&plan.steps).iter().map(|mount| mount.target.as_path()).collect();
    let at = |path: &str| targets.iter().position(|target| *target == Path::new(path)).unwrap();
    assert!(at("/dev") < at("/dev/shm") && at("/data") < at("/data/deep/er"));
    assert_eq!(
        targets
            .iter()
            .filter(|target| **target == Path::new("/dev/shm"))
            .count(),
        1,
        "the default gives way"
    );
}

#[test]
fn two_mounts_at_one_place_are_refused_in_any_spelling() {
    let mut request = request();
    request.mounts = vec![
        MountRequest::bind("/a", "/data"),
        MountRequest::bind("/b", "/data/../data/"),
    ];
    assert_eq!(
        container_plan(&request).unwrap_err().to_string(),
        "Duplicate mount point: /data"
    );
}

#[test]
fn a_mount_cannot_cover_the_root() {
    for target in ["/", "/..", "relative"] {
        let mut request = request();
        request.mounts = vec![MountRequest::bind("/a", target)];
        assert!(container_plan(&request).is_err(), "{target}");
    }
}

#[test]
fn a_dev_of_the_client_replaces_all_of_ours() {
    let mut request = request();
    request.mounts = vec![MountRequest::bind("/dev", "/dev")];
    let plan = container_plan(&request).unwrap();
    assert_eq!(
        mounts(&plan.steps)
            .iter()
            .filter(|mount| mount.target.starts_with("/dev"))
            .count(),
        1
    );
    assert!(
        !plan
            .steps
            .iter()
            .any(|step| matches!(step, Step::Device(_) | Step::Symlink { .. }))
    );
}

#[test]
fn one_slave_keeps_the_way_from_the_host_open_and_the_others_are_cut() {
    let mut request = request();
    let mut follower = MountRequest::bind("/media", "/media");
    follower.propagation = Some(Propagation::Slave);
    request.mounts = vec![follower, MountRequest::bind("/a", "/data")];
    let plan = container_plan(&request).unwrap();
    assert!(plan.steps.contains(&Step::SetPropagation(Propagation::Slave)));
    let of = |target: &str| {
        mounts(&plan.steps)
            .iter()
            .find(|m| m.target == Path::new(target))
            .unwrap()
            .propagation
    };
    assert_eq!(
        (of("/media"), of("/data")),
        (Some(Propagation::Slave), Some(Propagation::Private))
    );
}

#[test]
fn shared_propagation_is_refused_and_not_weakened() {
    let mut request = request();
    let mut shared = MountRequest::bind("/media", "/media");
    shared.propagation = Some(Propagation::Shared);
    request.mounts = vec![shared];
    assert!(
        container_plan(&request)
            .unwrap_err()
            .to_string()
            .contains("is not supported")
    );
}

#[test]
fn a_read_only_bind_is_so_with_what_is_mounted_below_it() {
    let mut request = request();
    let mut top_only = MountRequest::bind("/b", "/top");
    (top_only.read_only, top_only.submounts) = (true, Submounts::Unchanged);
    let mut all = MountRequest::bind("/a", "/all");
    all.read_only = true;
    request.mounts = vec![all, top_only];
    let plan = container_plan(&request).unwrap();
    let of = |target: &str| {
        mounts(&plan.steps)
            .iter()
            .find(|m| m.target == Path::new(target))
            .unwrap()
            .attributes
    };
    assert!(of("/all").recursive && of("/all").read_only);
    assert!(!of("/top").recursive && of("/top").read_only);
    request.facts.mount_setattr = false;
    assert!(container_plan(&request).is_ok());
    request.mounts[0].submounts = Submounts::ForcedReadOnly;
    assert!(matches!(container_plan(&request), Err(Error::Unsupported { .. })));
}

#[test]
fn ipc_modes_choose_namespace_and_shm() {
    let shm = |ipc: IpcChoice| {
        let mut request = request();
        request.namespaces.ipc = ipc;
        request.shm_size = Some(4096);
        let plan = container_plan(&request).unwrap();
        let shm = mounts(&plan.steps)
            .iter()
            .find(|mount| mount.target == Path::new("/dev/shm"))
            .map(|m| m.source.clone());
        (plan.namespaces.contains(&Namespace::Ipc), shm)
    };
    let (own, tmpfs) = shm(IpcChoice::Private);
    assert!(own && matches!(tmpfs, Some(MountSource::FileSystem { options, .. }) if options == "mode=1777,size=4096"));
    assert_eq!(shm(IpcChoice::None), (true, None));
    let (own, host) = shm(IpcChoice::Host);
    assert!(!own && matches!(host, Some(MountSource::Bind { path, .. }) if path == Path::new("/dev/shm")));
}

#[test]
fn namespaces_are_made_entered_or_left_alone() {
    let mut request = request();
    request.namespaces.network = NamespaceChoice::New;
    request.namespaces.pid = NamespaceChoice::Host;
    let plan = container_plan(&request).unwrap();
    assert!(plan.namespaces.contains(&Namespace::Network) && !plan.namespaces.contains(&Namespace::Pid));
    request.namespaces.network = NamespaceChoice::Enter(FdSlot(7));
    let plan = container_plan(&request).unwrap();
    assert_eq!(
        plan.steps[0],
        Step::EnterNamespace {
            namespace: Namespace::Network,
            fd: FdSlot(7)
        }
    );
    assert!(!plan.namespaces.contains(&Namespace::Network));
    // A process enters a pid namespace only by its children, so that is no step of its own.
    request.namespaces.pid = NamespaceChoice::Enter(FdSlot(8));
    let plan = container_plan(&request).unwrap();
    assert_eq!(plan.pid_namespace, Some(FdSlot(8)));
    assert!(!plan.namespaces.contains(&Namespace::Pid));
}

#[test]
fn the_order_of_the_steps_is_the_one_that_the_kernel_demands() {
    let mut request = request();
    request.hold = true;
    request.readonly_root = true;
    request.process.no_new_privileges = true;
    let steps = container_plan(&request).unwrap().steps;
    let order = [
        place(&steps, |step| *step == Step::Hold),
        place(&steps, |step| *step == Step::JoinCgroup),
        place(&steps, |step| *step == Step::UnshareCgroup),
        place(&steps, |step| matches!(step, Step::SetPropagation(_))),
        place(&steps, |step| matches!(step, Step::AttachRoot { .. })),
        place(&steps, |step| matches!(step, Step::Mount(_))),
        place(&steps, |step| *step == Step::PivotRoot),
        place(&steps, |step| matches!(step, Step::Sysctl { .. })),
        place(&steps, |step| matches!(step, Step::ReadonlyPath(_))),
        place(&steps, |step| matches!(step, Step::ReadonlyRoot)),
        place(&steps, |step| matches!(step, Step::User(_))),
        place(&steps, |step| matches!(step, Step::Capabilities(_))),
        place(&steps, |step| matches!(step, Step::NoNewPrivileges)),
        place(&steps, |step| matches!(step, Step::Seccomp { .. })),
        place(&steps, |step| matches!(step, Step::Execute { .. })),
    ];
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(order.last(), Some(&(steps.len() - 1)));
}

#[test]
fn labels_are_written_while_the_hosts_procfs_is_there() {
    each_label(SecurityModule::AppArmor, |process| {
        process.apparmor = Some("mine".to_string())
    });
    each_label(SecurityModule::SeLinux, |process| {
        process.selinux = Some("mine".to_string())
    });
}

fn each_label(of: SecurityModule, give: impl Fn(&mut ProcessRequest)) {
    let is_label = |step: &Step| matches!(step, Step::Label { module, label } if *module == of && label == "mine");
    let mut request = request();
    assert!(!container_plan(&request).unwrap().steps.iter().any(is_label));
    give(&mut request.process);
    let steps = container_plan(&request).unwrap().steps;
    let label = place(&steps, is_label);
    assert!(label < place(&steps, |step| matches!(step, Step::AttachRoot { .. })));
    let mut exec = ExecPlanRequest {
        facts: request.facts.clone(),
        process: request.process,
        hostname: "box".to_string(),
        cap_add: Vec::new(),
        cap_drop: Vec::new(),
        container_privileged: false,
        privileged: false,
        ulimits: Vec::new(),
        oom_score_adj: None,
    };
    assert_eq!(
        exec_plan(&exec)
            .unwrap()
            .steps
            .iter()
            .filter(|step| is_label(step))
            .count(),
        1
    );
    // As under Docker, more rights are no less confinement.
    exec.privileged = true;
    assert!(exec_plan(&exec).unwrap().steps.iter().any(is_label));
}

#[test]
fn an_init_is_made_ready_before_anything_may_forbid_it() {
    let mut request = request();
    assert!(!container_plan(&request).unwrap().steps.contains(&Step::Init));
    request.init = true;
    let steps = container_plan(&request).unwrap().steps;
    let init = place(&steps, |step| *step == Step::Init);
    assert!(init < place(&steps, |step| matches!(step, Step::Seccomp { .. })));
    assert!(init < place(&steps, |step| matches!(step, Step::User(_))));
}

#[test]
fn without_no_new_privileges_the_filter_comes_while_there_is_sys_admin() {
    let steps = container_plan(&request()).unwrap().steps;
    let filter = place(&steps, |step| matches!(step, Step::Seccomp { .. }));
    assert!(filter < place(&steps, |step| matches!(step, Step::User(_))));
}

#[test]
fn a_privileged_container_has_no_filter_no_masks_and_all_devices() {
    let mut request = request();
    request.privileged = true;
    let plan = container_plan(&request).unwrap();
    let forbidden = |step: &Step| matches!(step, Step::Seccomp { .. } | Step::Mask(_) | Step::ReadonlyPath(_));
    assert!(!plan.steps.iter().any(forbidden));
    assert!(
        plan.cgroup
            .unwrap()
            .resources
            .devices
            .iter()
            .all(|rule| rule.allow && rule.kind == 'a')
    );
}

#[test]
fn paths_that_the_kernel_lacks_are_left_out() {
    let mut request = request();
    request.facts.absent_paths = vec![PathBuf::from("/proc/scsi")];
    let plan = container_plan(&request).unwrap();
    assert!(!plan.steps.contains(&Step::Mask(PathBuf::from("/proc/scsi"))));
    assert!(plan.steps.contains(&Step::Mask(PathBuf::from("/proc/kcore"))));
}

#[test]
fn a_device_is_made_and_permitted() {
    let mut request = request();
    let device = Device {
        source: None,
        target: PathBuf::from("/dev/fuse"),
        kind: 'c',
        major: 10,
        minor: 229,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    request.devices = vec![DeviceRequest {
        device: device.clone(),
        access: "rw".to_string(),
    }];
    request.device_cgroup_rules = vec!["c 189:* rwm".to_string()];
    let plan = container_plan(&request).unwrap();
    assert!(plan.steps.contains(&Step::Device(device)));
    let rules = plan.cgroup.unwrap().resources.devices;
    assert!(
        rules
            .iter()
            .any(|rule| rule.major == Some(10) && rule.minor == Some(229) && rule.access == "rw")
    );
    assert!(rules.iter().any(|rule| rule.major == Some(189) && rule.minor.is_none()));
}

#[test]
fn wrong_requests_are_refused_in_the_words_of_docker() {
    let refusal = |change: &dyn Fn(&mut conex_spec::ContainerPlanRequest)| {
        let mut request = request();
        change(&mut request);
        container_plan(&request).unwrap_err().to_string()
    };
    assert_eq!(refusal(&|request| request.process.argv.clear()), "no command specified");
    assert_eq!(
        refusal(&|request| request.process.working_directory = "tmp".to_string()),
        "the working directory 'tmp' is invalid, it needs to be an absolute path"
    );
    assert_eq!(
        refusal(&|request| request.cap_add = vec!["nope".to_string()]),
        "unknown capability: \"CAP_NOPE\""
    );
    assert_eq!(
        refusal(&|request| request.oom_score_adj = Some(1001)),
        "Invalid value 1001, range for oom score adj is [-1000, 1000]"
    );
    assert_eq!(
        refusal(&|request| request.device_cgroup_rules = vec!["c 1 rwm".to_string()]),
        "invalid device cgroup rule format: 'c 1 rwm'"
    );
    assert_eq!(
        refusal(&|request| {
            request.sysctls.insert("vm.swappiness".to_string(), "1".to_string());
        }),
        "sysctl \"vm.swappiness\" is not in a separate kernel namespace"
    );
    assert_eq!(
        refusal(&|request| {
            request.namespaces.network = NamespaceChoice::Host;
            request
                .sysctls
                .insert("net.core.somaxconn".to_string(), "1".to_string());
        }),
        "sysctl \"net.core.somaxconn\" not allowed in host network namespace"
    );
    assert_eq!(
        refusal(&|request| {
            request.ulimits = vec![Ulimit {
                name: "nofile".to_string(),
                soft: 2,
                hard: 1,
            }];
        }),
        "ulimit soft limit must be less than or equal to hard limit: 2 > 1"
    );
}

#[test]
fn a_process_of_a_user_namespace_leaves_to_its_parent_what_needs_the_hosts_rights() {
    let request = ContainerPlanRequest {
        user_namespace: Some(FdSlot(5)),
        mounts: vec![MountRequest {
            source: MountSource::Detached { fd: FdSlot(6) },
            ..MountRequest::bind("/data", "/data")
        }],
        ..request()
    };
    let plan = container_plan(&request).unwrap();
    let namespace = plan.user_namespace.unwrap();
    assert_eq!(namespace.fd, FdSlot(5));
    assert_eq!(namespace.directory, request.root_mount_point);
    let attached = plan.steps.iter().find_map(|step| match step {
        Step::AttachRoot { at, .. } => Some(at.as_path()),
        _ => None,
    });
    assert_eq!(attached, Some(Path::new(".")));
    // What was cloned in the host's mount namespace must not share its mounts with it.
    let data = plan.steps.iter().find_map(|step| match step {
        Step::Mount(mount) if mount.target == Path::new("/data") => Some(mount.propagation),
        _ => None,
    });
    assert_eq!(data, Some(Some(Propagation::Private)));
    // Groups beyond the map would be refused by the kernel.
    let sets = |plan: &InitPlan, wanted: &str| {
        let mut steps = plan.steps.iter();
        steps.any(|step| matches!(step, Step::Sysctl { name, .. } if name == wanted))
    };
    let plan = container_plan(&request).unwrap();
    assert!(!sets(&plan, "net.ipv4.ping_group_range"));
    assert!(sets(&plan, "net.ipv4.ip_unprivileged_port_start"));
    let unmapped = ContainerPlanRequest {
        user_namespace: None,
        ..request
    };
    let plan = container_plan(&unmapped).unwrap();
    assert!(plan.user_namespace.is_none() && sets(&plan, "net.ipv4.ping_group_range"));
}
