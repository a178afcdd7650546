//! Bundles as plans.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

use std::path::{Path, PathBuf};

use conex_spec::HostFacts;
use conex_spec::oci::{BundleContext, BundlePlan, CgroupDriver, Descriptor, from_oci};
use conex_spec::plan::{MountSource, Namespace, Root, SecurityModule, Stdio, Step, UserSpec};
use serde_json::{Value, json};

/// What `runc spec` writes, shortened.
fn specification() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 1000, "gid": 1000, "additionalGids": [5]},
            "args": ["sh", "-c", "true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "runc",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"]},
            {"destination": "/data", "type": "none", "source": "data", "options": ["rbind", "ro"]}
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}], "memory": {"limit": 1048576}},
            "namespaces": [
                {"type": "pid"}, {"type": "network", "path": "/run/ns"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "mount"}, {"type": "cgroup"}
            ],
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
        }
    })
}

fn plan(value: Value) -> Result<BundlePlan, conex_spec::Error> {
    plan_on(HostFacts::default(), value)
}

fn plan_on(facts: HostFacts, value: Value) -> Result<BundlePlan, conex_spec::Error> {
    let context = BundleContext {
        facts,
        id: "box".to_string(),
        bundle: PathBuf::from("/bundle"),
        cgroups: CgroupDriver::Files,
        await_start: true,
    };
    from_oci(&serde_json::from_value(value).unwrap(), &context)
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut specification = specification();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    specification
        .pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .insert(name.to_string(), value);
    specification
}

#[test]
fn a_bundle_becomes_a_plan() {
    let bundle = plan(specification()).unwrap();
    let plan = &bundle.plan;
    assert_eq!(plan.stdio, Stdio::Inherit);
    assert_eq!(
        plan.namespaces,
        [Namespace::Pid, Namespace::Ipc, Namespace::Uts, Namespace::Mount]
    );
    assert!(matches!(&bundle.descriptors[..],
        [Descriptor::Namespace(path), Descriptor::Seccomp(_), Descriptor::StartFifo] if path == Path::new("/run/ns")));
    let root = PathBuf::from("/bundle/rootfs");
    assert!(plan.steps.contains(&Step::AttachRoot {
        root: Root::Directory(root.clone()),
        at: root
    }));
    assert!(plan.steps.contains(&Step::User(UserSpec::Ids {
        uid: 1000,
        gid: 1000,
        additional: vec![5]
    })));
    assert!(plan.steps.contains(&Step::UnshareCgroup));
    let cgroup = plan.cgroup.as_ref().unwrap();
    assert_eq!(
        (cgroup.path.as_path(), cgroup.resources.memory),
        (Path::new("/box"), Some(1 << 20))
    );
    let bound = plan.steps.iter().any(|step| {
        matches!(step, Step::Mount(mount) if mount.attributes.read_only
            && mount.source == MountSource::Bind { path: PathBuf::from("/bundle/data"), recursive: true })
    });
    assert!(bound);
}

#[test]
fn the_program_is_looked_up_before_the_wait() {
    let steps = plan(specification()).unwrap().plan.steps;
    let place = |wanted: &dyn Fn(&Step) -> bool| steps.iter().position(wanted).unwrap();
    let find = place(&|step| matches!(step, Step::FindProgram { .. }));
    let wait = place(&|step| matches!(step, Step::AwaitStart { .. }));
    let filter = place(&|step| matches!(step, Step::Seccomp { .. }));
    assert!(find < wait && wait < filter && filter == steps.len() - 2);
}

#[test]
fn hooks_of_the_runtime_run_before_the_root_changes() {
    let bundle = plan(changed("/hooks", json!({"createRuntime": [{"path": "/bin/true"}]}))).unwrap();
    let place = |wanted: Step| bundle.plan.steps.iter().position(|step| *step == wanted).unwrap();
    assert!(place(Step::Hold) < place(Step::PivotRoot));
    assert!(!plan(specification()).unwrap().plan.steps.contains(&Step::Hold));
}

#[test]
fn a_pid_namespace_is_the_parents_part() {
    let list = json!([{"type": "mount"}, {"type": "pid", "path": "/proc/1/ns/pid"}]);
    let bundle = plan(changed("/linux/namespaces", list)).unwrap();
    let slot = bundle.plan.pid_namespace.unwrap();
    let expected = Descriptor::Namespace("/proc/1/ns/pid".into());
    assert_eq!(bundle.descriptors[usize::from(slot.0)], expected);
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    let refusal = |pointer: &str, value: Value| plan(changed(pointer, value)).unwrap_err().to_string();
    assert_eq!(
        refusal("/linux/namespaces", json!([{"type": "mount"}, {"type": "user"}])),
        "linux.uidMappings: a new user namespace needs mappings"
    );
    assert_eq!(
        refusal("/process/apparmorProfile", json!("mine")),
        "process.apparmorProfile: apparmor is not enabled on this host"
    );
    assert_eq!(
        refusal("/linux/namespaces", json!([])),
        "linux.namespaces: a mount namespace is required"
    );
    assert_eq!(
        refusal("/process/cwd", json!("tmp")),
        "process.cwd: \"tmp\" is not an absolute path"
    );
    assert_eq!(refusal("/process/args", json!([])), "process.args: is required");
}

#[test]
fn labels_of_selinux_are_planned_where_it_is_and_refused_where_it_is_not() {
    let facts = HostFacts {
        selinux: true,
        ..HostFacts::default()
    };
    let process = changed("/process/selinuxLabel", json!("u:r:p:s0:c1,c2"));
    let planned = plan_on(facts.clone(), process.clone()).unwrap().plan;
    let label = Step::Label {
        module: SecurityModule::SeLinux,
        label: "u:r:p:s0:c1,c2".to_string(),
    };
    let place = |wanted: &Step| planned.steps.iter().position(|step| step == wanted);
    let keyring = planned
        .steps
        .iter()
        .position(|step| matches!(step, Step::SessionKeyring(_)));
    assert!(place(&label).unwrap() < keyring.unwrap());
    // Hooks of the runtime have none.
    let mut hooked = process.clone();
    hooked["hooks"] = json!({"createContainer": [{"path": "/bin/true"}]});
    let steps = plan_on(facts.clone(), hooked).unwrap().plan.steps;
    let hooks = steps
        .iter()
        .position(|step| matches!(step, Step::Hooks { .. }))
        .unwrap();
    assert!(matches!(&steps[hooks - 1], Step::Label { label, .. } if label.is_empty()));
    assert_eq!((&steps[hooks + 1], &steps[hooks + 2]), (&label, &Step::PivotRoot));
    let mount = changed("/linux/mountLabel", json!("u:r:m:s0:c1,c2"));
    let planned = plan_on(facts, mount.clone()).unwrap().plan;
    assert_eq!(planned.mount_label.as_deref(), Some("u:r:m:s0:c1,c2"));
    for labelled in [process, mount] {
        assert_eq!(
            plan(labelled).unwrap_err().to_string(),
            "selinux label is specified in config, but selinux is disabled or not supported"
        );
    }
    for (field, value) in [("/process/selinuxLabel", json!("")), ("/linux/mountLabel", json!(""))] {
        assert!(plan(changed(field, value)).is_ok());
    }
}

#[test]
fn empty_structures_that_docker_writes_are_no_request() {
    assert!(plan(changed("/linux/resources/blockIO", json!({}))).is_ok());
}
