//! Plans of typical containers against those on record. `CONEX_GOLDEN=write` renews the record.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

use std::path::PathBuf;

use conex_spec::plan::{FdSlot, Resources, Root, Stdio};
use conex_spec::{
    CgroupVersion, ContainerPlanRequest, ExecPlanRequest, HostFacts, MountRequest, NamespaceChoice, NamespaceChoices,
    ProcessRequest, Ulimit, container_plan, exec_plan, render,
};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn process() -> ProcessRequest {
    ProcessRequest {
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
    }
}

/// What `docker run busybox sh` with the default network comes to.
fn container() -> ContainerPlanRequest {
    let files = format!("/var/lib/conex/containers/{ID}");
    let file = |name: &str| MountRequest::bind(format!("{files}/{name}"), format!("/etc/{name}"));
    ContainerPlanRequest {
        user_namespace: None,
        facts: HostFacts::default(),
        init: false,
        id: ID.to_string(),
        hostname: ID[..12].to_string(),
        domainname: String::new(),
        root: Root::Detached(FdSlot(0)),
        root_mount_point: PathBuf::from("/run/conex/root"),
        namespaces: NamespaceChoices {
            network: NamespaceChoice::Enter(FdSlot(2)),
            ..NamespaceChoices::default()
        },
        process: process(),
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
        mounts: vec![file("resolv.conf"), file("hostname"), file("hosts")],
        resources: Resources::default(),
        cgroup_path: PathBuf::from(format!("/conex/{ID}")),
        scope: None,
        oom_score_adj: Some(0),
        hold: false,
    }
}

fn check(name: &str, value: &impl serde::Serialize) {
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.json"));
    if golden_is_renewed() {
        write(&file, &text);
        return;
    }
    let recorded = read(&file);
    assert_eq!(
        text, recorded,
        "{name} differs from its record; CONEX_GOLDEN=write renews it"
    );
}

#[expect(clippy::disallowed_methods, reason = "a test's record stands on disk")]
fn golden_is_renewed() -> bool {
    std::env::var("CONEX_GOLDEN").is_ok_and(|value| value == "write")
}

#[expect(clippy::disallowed_methods, reason = "a test's record stands on disk")]
fn write(file: &std::path::Path, text: &str) {
    std::fs::write(file, text).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a test's record stands on disk")]
fn read(file: &std::path::Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

#[test]
fn a_default_container_on_the_unified_hierarchy() {
    check("default", &container_plan(&container()).unwrap());
}

#[test]
fn a_default_container_on_v1() {
    let mut request = container();
    request.facts.cgroups = CgroupVersion::V1;
    check("default-v1", &container_plan(&request).unwrap());
}

#[test]
fn a_container_with_a_terminal_a_user_and_limits() {
    let mut request = container();
    request.process.stdio = Stdio::Terminal { rows: 24, columns: 80 };
    request.process.user = "www:data".to_string();
    request.process.working_directory = "/srv".to_string();
    request.ulimits = vec![Ulimit {
        name: "nofile".to_string(),
        soft: 1024,
        hard: 2048,
    }];
    request.resources = Resources {
        memory: Some(64 << 20),
        pids: Some(100),
        ..Resources::default()
    };
    check("terminal", &container_plan(&request).unwrap());
}

#[test]
fn a_container_in_the_host_s_network() {
    let mut request = container();
    request.namespaces.network = NamespaceChoice::Host;
    request.namespaces.uts = NamespaceChoice::Host;
    check("host-network", &container_plan(&request).unwrap());
}

#[test]
fn a_privileged_container() {
    let mut request = container();
    request.privileged = true;
    check("privileged", &container_plan(&request).unwrap());
}

#[test]
fn a_read_only_container_with_a_tmpfs_that_gains_no_privileges() {
    let mut request = container();
    request.readonly_root = true;
    request.tmpfs.insert("/run".to_string(), "size=64k".to_string());
    request.process.no_new_privileges = true;
    check("read-only", &container_plan(&request).unwrap());
}

#[test]
fn an_exec_with_a_terminal() {
    let request = ExecPlanRequest {
        facts: HostFacts::default(),
        process: ProcessRequest {
            stdio: Stdio::Terminal { rows: 0, columns: 0 },
            seccomp: Some(FdSlot(0)),
            ..process()
        },
        hostname: ID[..12].to_string(),
        cap_add: vec!["NET_ADMIN".to_string()],
        cap_drop: Vec::new(),
        container_privileged: false,
        privileged: false,
        ulimits: Vec::new(),
        oom_score_adj: Some(0),
    };
    check("exec", &exec_plan(&request).unwrap());
}

#[test]
fn a_plan_is_printed_with_one_line_per_step() {
    let plan = container_plan(&container()).unwrap();
    let text = render(&plan);
    assert_eq!(text.lines().count(), plan.steps.len() + 3);
    assert!(text.lines().next().unwrap().starts_with("namespaces [\"mount\""));
    assert!(text.lines().last().unwrap().contains("\"execute\""));
}

#[test]
fn plans_survive_the_way_over_json() {
    let plan = container_plan(&container()).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<conex_spec::plan::InitPlan>(&text).unwrap(), plan);
}
