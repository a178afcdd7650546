//! Limits as the kernel has them: the same request leaves the same values under both engines, when a container is made and when
//! it is updated, and the same warnings.

use std::collections::BTreeMap;
use std::fs;

use conex_tests::{Disk, Engine, Sandbox};
use serde_json::Value;

/// Files of limits, of version 1 and of version 2.
const FILES: [&str; 33] = [
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.swappiness",
    "memory.oom_control",
    "cpu.shares",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpu.rt_runtime_us",
    "cpu.rt_period_us",
    "cpuset.cpus",
    "cpuset.mems",
    "pids.max",
    "blkio.weight",
    "blkio.bfq.weight",
    "blkio.throttle.read_bps_device",
    "blkio.throttle.write_bps_device",
    "blkio.throttle.read_iops_device",
    "blkio.throttle.write_iops_device",
    "devices.list",
    "memory.max",
    "memory.swap.max",
    "memory.low",
    "memory.high",
    "cpu.max",
    "cpu.weight",
    "io.max",
    "io.weight",
    "cpu.idle",
    "cpu.max.burst",
    "io.bfq.weight",
    "memory.min",
    "memory.oom.group",
];

/// What is asked for at the creation; `DEVICE` is a block device.
const CREATED: [&str; 24] = [
    "",
    r#""Memory":67108864"#,
    r#""Memory":67108864,"MemorySwap":67108864"#,
    r#""Memory":67108864,"MemorySwap":100663296"#,
    r#""Memory":67108864,"MemorySwap":-1"#,
    r#""Memory":67108864,"MemoryReservation":33554432"#,
    r#""MemoryReservation":33554432"#,
    r#""MemorySwappiness":0"#,
    r#""MemorySwappiness":40"#,
    r#""Memory":67108864,"OomKillDisable":true"#,
    r#""OomKillDisable":false"#,
    r#""CpuShares":2"#,
    r#""CpuShares":700"#,
    r#""NanoCpus":330000000"#,
    r#""NanoCpus":20000000"#,
    r#""CpuPeriod":50000"#,
    r#""CpuQuota":25000"#,
    r#""CpuPeriod":50000,"CpuQuota":75000"#,
    r#""CpusetCpus":"0","CpusetMems":"0""#,
    r#""PidsLimit":42"#,
    r#""PidsLimit":-1"#,
    r#""BlkioWeight":500"#,
    r#""BlkioDeviceReadBps":[{"Path":"DEVICE","Rate":1000000}],"BlkioDeviceWriteBps":[{"Path":"DEVICE","Rate":2000000}],"BlkioDeviceReadIOps":[{"Path":"DEVICE","Rate":30}],"BlkioDeviceWriteIOps":[{"Path":"DEVICE","Rate":40}]"#,
    r#""Devices":[{"PathOnHost":"/dev/kmsg","PathInContainer":"/dev/x","CgroupPermissions":"r"}],"DeviceCgroupRules":["c 42:* rw","b 43:7 m"]"#,
];

/// What a running container is updated with, one after the other.
const UPDATED: [&str; 10] = [
    r#""Memory":134217728,"MemorySwap":268435456"#,
    r#""Memory":67108864,"MemorySwap":100663296"#,
    r#""MemoryReservation":33554432"#,
    r#""CpuShares":300"#,
    r#""CpuPeriod":50000,"CpuQuota":25000"#,
    r#""CpuQuota":-1"#,
    r#""CpusetCpus":"0""#,
    r#""PidsLimit":50"#,
    r#""PidsLimit":-1"#,
    r#""BlkioWeight":300"#,
];

/// What stays different: a file, and why.
const DIFFERENCES: [(&str, &str); 1] = [(
    "devices.list",
    "runc allows character devices 136:* and 5:2 twice over, and mknod of any device",
)];

/// Devices that containers have, that they may only make, and those of the requests.
const DEVICES: &str =
    "c:1:1 c:1:3 c:1:5 c:1:7 c:1:8 c:1:9 c:1:11 c:5:0 c:5:1 c:5:2 c:10:200 c:10:229 c:42:5 b:43:7 b:7:0";

/// Containers of one engine.
pub(crate) struct Side {
    pub(crate) sandbox: Sandbox,
    /// The values of a container without limits.
    plain: BTreeMap<String, String>,
}

impl Side {
    pub(crate) fn both() -> [Self; 2] {
        let root = std::env::var_os("CONEX_TEST_REFERENCE");
        let root = root.expect("CONEX_TEST_REFERENCE names the reference's directory");
        [Engine::Reference(root.into()), Engine::Conex].map(Self::new)
    }

    fn new(engine: Engine) -> Self {
        // Nothing here is about networks, for which Docker would need more programs.
        let sandbox = Sandbox::with_busybox_beside_registries(engine);
        let mut side = Self {
            sandbox,
            plain: BTreeMap::new(),
        };
        let (id, _) = side.start("");
        side.plain = side.values(&id);
        side.remove(&id);
        side
    }

    /// A container with what is asked for, and the warnings.
    fn start(&self, asked: &str) -> (String, Value) {
        self.run("sleep 1000", asked)
    }

    /// As `start`, with this program.
    pub(crate) fn run(&self, script: &str, asked: &str) -> (String, Value) {
        let comma = if asked.is_empty() { "" } else { "," };
        let body = format!(
            r#"{{"Image":"busybox","Cmd":["sh","-c","{script}"],"HostConfig":{{"NetworkMode":"none"{comma}{asked}}}}}"#
        );
        let (status, answer) = self.sandbox.request("POST", "/containers/create", &body);
        assert_eq!(status, 201, "{asked}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let id = answer["Id"].as_str().unwrap().to_owned();
        let (status, said) = self.sandbox.request("POST", &format!("/containers/{id}/start"), "");
        assert_eq!(status, 204, "{asked}: {said}");
        (id, answer["Warnings"].clone())
    }

    fn update(&self, id: &str, asked: &str) -> (u16, String) {
        let body = format!("{{{asked}}}");
        self.sandbox.request("POST", &format!("/containers/{id}/update"), &body)
    }

    pub(crate) fn remove(&self, id: &str) {
        self.sandbox.ok(&["rm", "-f", id]);
    }

    /// The limits of a container in the kernel; those of hierarchies that it has not joined are as nobody has set them.
    fn values(&self, id: &str) -> BTreeMap<String, String> {
        let mut values = self.plain.clone();
        for directory in self.sandbox.cgroups().iter().filter(|path| path.ends_with(id)) {
            for file in FILES {
                if let Ok(text) = fs::read_to_string(directory.join(file)) {
                    values.insert(file.to_owned(), counted(&text));
                }
            }
        }
        values
    }
}

/// What a container may do with devices: a line for each, with a letter for what the control group lets it do.
fn devices(side: &Side, id: &str) -> Vec<String> {
    let script = format!(
        "for device in {DEVICES}; do
             rm -f /d; echo -n $device:
             mknod /d $(echo $device | tr : ' ') 2> /dev/null && echo -n m
             if [ -e /d ]; then
                 ( : < /d ) 2>&1 | grep -q 'not permitted' || echo -n r
                 ( : > /d ) 2>&1 | grep -q 'not permitted' || echo -n w
             fi
             echo
         done"
    );
    let said = side.sandbox.ok(&["exec", id, "sh", "-c", &script]);
    said.lines().map(str::to_owned).collect()
}

/// The lines of a file in order; what is only counted is left out.
fn counted(text: &str) -> String {
    let told = text
        .lines()
        .filter(|line| !line.starts_with("oom_kill ") && !line.starts_with("under_oom"));
    let mut lines: Vec<&str> = told.collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// What differs between the engines, by file; a file that only one has, and whose value there is nobody's, does not.
fn differences(theirs: &Side, ours: &Side, ids: [&str; 2]) -> Vec<String> {
    let (their, our) = (theirs.values(ids[0]), ours.values(ids[1]));
    let mut told = Vec::new();
    for file in FILES
        .iter()
        .filter(|file| !DIFFERENCES.iter().any(|(known, _)| known == *file))
    {
        let (their, our) = (their.get(*file), our.get(*file));
        let nobodys = theirs.plain.get(*file);
        if their != our && !(our.is_none() && their == nobodys) {
            told.push(format!("{file}: Docker {their:?}, Conex {our:?}"));
        }
    }
    told
}

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn limits_are_the_same_in_the_kernel() {
    let [theirs, ours] = Side::both();
    let disk = Disk::mount("ext4", 16, &ours.sandbox.dir().join("disk"));
    let device = disk.device();
    let mut wrong = Vec::new();
    for asked in CREATED {
        let asked = asked.replace("DEVICE", &device);
        let (their, their_warnings) = theirs.start(&asked);
        let (our, our_warnings) = ours.start(&asked);
        let mut told = differences(&theirs, &ours, [&their, &our]);
        if their_warnings != our_warnings {
            told.push(format!("warnings: Docker {their_warnings}, Conex {our_warnings}"));
        }
        wrong.extend(told.iter().map(|told| format!("{asked}: {told}")));
        theirs.remove(&their);
        ours.remove(&our);
    }
    let ((their, _), (our, _)) = (theirs.start(""), ours.start(""));
    for asked in UPDATED {
        let answers = (theirs.update(&their, asked), ours.update(&our, asked));
        if answers.0 != answers.1 {
            wrong.push(format!("update {asked}: Docker {:?}, Conex {:?}", answers.0, answers.1));
        }
        let told = differences(&theirs, &ours, [&their, &our]);
        wrong.extend(told.iter().map(|told| format!("update {asked}: {told}")));
    }
    theirs.remove(&their);
    ours.remove(&our);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn devices_are_guarded_the_same() {
    let sides = Side::both();
    let asked = r#""Devices":[{"PathOnHost":"/dev/kmsg","PathInContainer":"/dev/x","CgroupPermissions":"r"}],"DeviceCgroupRules":["c 42:* rw","b 43:7 m"]"#;
    for asked in ["", asked, r#""Privileged":true"#] {
        let [theirs, ours] = sides.each_ref().map(|side| {
            let (id, _) = side.start(asked);
            let devices = devices(side, &id);
            side.remove(&id);
            devices
        });
        assert_eq!(theirs, ours, "{asked}: Docker's, Conex's");
    }
}
