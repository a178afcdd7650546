//! `features` (OCI runtime specification, "Features Structure").

use anyhow::Result;
use conex_spec::oci::VERSION;
use conex_spec::{capabilities, mount_options, seccomp};
use serde_json::json;

pub(super) fn run() -> Result<u8> {
    let words = seccomp::vocabulary();
    let document = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": mount_options::known(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities::names(capabilities::ALL),
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": words.actions,
                "operators": words.operators,
                "archs": words.architectures,
                "knownFlags": words.flags,
                "supportedFlags": words.flags,
            },
            // Whether labels are written; whether the kernel takes them is told when one is asked for.
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": true},
            "mountExtensions": {"idmap": {"enabled": true}},
        },
    });
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(0)
}
