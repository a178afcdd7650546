//! What containers use, as both engines tell it: the same fields, the same numbers where they are not chance, and else those of
//! the kernel; and the events of a shortage of memory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use conex_tests::{Disk, eventually};
use serde_json::Value;

use crate::limits::Side;

/// Fields that one engine alone has, and why.
const DIFFERENCES: [(&str, &str); 2] = [
    ("/pressure_stats", "pressure is told beyond Docker"),
    ("/memory_stats/stats/", "all that the kernel tells, and nothing else"),
];

/// Numbers that are no chance.
const EQUAL: [&str; 4] = [
    "/pids_stats/current",
    "/pids_stats/limit",
    "/memory_stats/limit",
    "/cpu_stats/online_cpus",
];

/// Bytes of the file that containers read and write: 8 MiB.
const FILE: u64 = 8 << 20;

/// Bytes that they read and write past the cache.
const DIRECT: u64 = 1 << 20;

/// A container that has written and read, and sleeps; with the disk that it did that on.
struct Busy<'a> {
    side: &'a Side,
    id: String,
    disk: Disk,
}

impl<'a> Busy<'a> {
    fn new(side: &'a Side) -> Self {
        let disk = Disk::mount("ext4", 64, &side.sandbox.dir().join("disk"));
        let bind = format!("{}:/disk", disk.path().display());
        // It is allocated, and in nobody's cache.
        let make = "dd if=/dev/zero of=/disk/file bs=1M count=8 oflag=direct 2> /dev/null";
        side.sandbox.run(&["--network", "none", "-v", &bind], make);
        let script = "dd if=/dev/zero of=/disk/file bs=64k count=16 conv=notrunc oflag=direct; \
                      dd if=/disk/file of=/dev/null bs=64k count=16 iflag=direct; \
                      cat /disk/file > /dev/null; echo read; sleep 1000";
        // Newer kernels count on version 1 from the first limit of a device on.
        let asked = format!(
            r#""Memory":67108864,"PidsLimit":42,"Binds":["{bind}"],"BlkioDeviceWriteBps":[{{"Path":"{}","Rate":1073741824}}]"#,
            disk.device()
        );
        let (id, _) = side.run(script, &asked);
        eventually("it has read", || side.sandbox.ok(&["logs", &id]).contains("read"));
        Self { side, id, disk }
    }

    /// What the engine tells.
    fn told(&self) -> Value {
        let path = format!("/containers/{}/stats?stream=0&one-shot=1", self.id);
        let (status, body) = self.side.sandbox.request("GET", &path, "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A file of its control group, by its name on version 1 and on version 2.
    fn file(&self, names: [&str; 2]) -> String {
        let groups = self.side.sandbox.cgroups().into_iter();
        let own = groups.filter(|path| path.ends_with(&self.id));
        let files = own.flat_map(|directory| names.map(|name| directory.join(name)));
        let mut texts = files.filter_map(|file| fs::read_to_string(file).ok());
        texts.next().unwrap_or_else(|| panic!("{names:?} is missing"))
    }

    fn memory(&self) -> u64 {
        let text = self.file(["memory.usage_in_bytes", "memory.current"]);
        text.trim().parse().unwrap()
    }

    /// Lines of `memory.stat`.
    fn inactive_file(&self) -> u64 {
        let text = self.file(["memory.stat", "memory.stat"]);
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let (_, value) = lines.find(|(key, _)| *key == "inactive_file").unwrap();
        value.parse().unwrap()
    }

    /// What was moved on its disk: the operation, as the engine calls it, and bytes.
    fn moved(&self, told: &Value) -> Vec<(String, u64)> {
        let number = fs::metadata(self.disk.path()).unwrap().dev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let entries = told["blkio_stats"]["io_service_bytes_recursive"].as_array();
        let entries = entries.unwrap_or_else(|| panic!("no block I/O: {told}")).iter();
        let own = entries.filter(|entry| entry["major"] == major && entry["minor"] == minor);
        own.map(|entry| {
            (
                entry["op"].as_str().unwrap().to_owned(),
                entry["value"].as_u64().unwrap(),
            )
        })
        .collect()
    }

    /// What it is told to use is what the kernel says before and after, as soon as these are the same.
    fn assert_kernels(&self) {
        eventually("the kernel's figures are told", || {
            let kernels = || (self.memory(), self.inactive_file());
            let before = kernels();
            let told = self.told();
            if before != kernels() {
                return false;
            }
            let memory = &told["memory_stats"];
            let told = (memory["usage"].as_u64(), memory["stats"]["inactive_file"].as_u64());
            assert_eq!(told, (Some(before.0), Some(before.1)));
            true
        });
        // The client leaves out what of the cache is not in use.
        let (counted, cache) = (self.memory(), self.inactive_file());
        assert!(counted > FILE && cache > 0, "{counted} {cache}");
        let form = ["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", &self.id];
        let shown = self.side.sandbox.ok(&form);
        let (used, rest) = shown.split_once(" / ").unwrap();
        let pids = self.file(["pids.current", "pids.current"]);
        assert_eq!(rest, format!("64MiB {}", pids.trim()), "{shown}");
        let (number, unit) = used.split_at(used.len() - "MiB".len());
        let scale = if unit == "MiB" { 1 << 20 } else { 1 << 10 };
        let used = number.parse::<f64>().unwrap() * f64::from(scale);
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let expected = (counted - cache) as f64;
        assert!((used - expected).abs() < 65_536.0, "{shown}: {counted} less {cache}");
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.side.remove(&self.id);
    }
}

/// Places of all values of an answer; the members of lists are one.
fn places(value: &Value, place: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| places(value, &format!("{place}/{name}"), into)),
        Value::Array(members) => members
            .iter()
            .for_each(|value| places(value, &format!("{place}/-"), into)),
        Value::Null => {
            into.insert(format!("{place} is null"));
        }
        _ => {
            into.insert(place.to_owned());
        }
    }
}

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn usage_is_told_in_the_same_words() {
    let sides = Side::both();
    let [theirs, ours] = sides.each_ref().map(Busy::new);
    let told = [theirs.told(), ours.told()];
    let [their, our] = told.each_ref().map(|told| {
        let mut found = BTreeSet::new();
        places(told, "", &mut found);
        found.retain(|place| !DIFFERENCES.iter().any(|(known, _)| place.starts_with(known)));
        found
    });
    let of = |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect::<Vec<_>>();
    assert!(
        their == our,
        "Docker alone {:?}, Conex alone {:?}",
        of(&their, &our),
        of(&our, &their)
    );
    for place in EQUAL {
        assert_eq!(told[0].pointer(place), told[1].pointer(place), "{place}");
    }
    let moved = [theirs.moved(&told[0]), ours.moved(&told[1])];
    assert_eq!(moved[0], moved[1], "Docker's, Conex's");
    let bytes = |name: &str| {
        let mut entries = moved[1]
            .iter()
            .filter(|(operation, _)| operation.eq_ignore_ascii_case(name));
        entries.next().unwrap().1
    };
    assert_eq!((bytes("read"), bytes("write")), (FILE + DIRECT, DIRECT));
    theirs.assert_kernels();
    ours.assert_kernels();
}

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn a_shortage_of_memory_is_told_the_same() {
    let sides = Side::both();
    let eat = "x=x; while :; do x=$x$x; done";
    let limit = r#""Memory":16777216,"MemorySwap":16777216"#;
    for script in [eat.to_owned(), format!("sh -c '{eat}'; sleep 1000")] {
        let [theirs, ours] = sides.each_ref().map(|side| {
            let (id, _) = side.run(&script, limit);
            let state = || {
                let form = "{{.State.OOMKilled}} {{.State.ExitCode}} {{.State.Running}}";
                side.sandbox.ok(&["inspect", "-f", form, &id])
            };
            eventually("it is told", || state().starts_with("true"));
            if !script.ends_with("1000") {
                side.sandbox.ok(&["wait", &id]);
            }
            let now = side.sandbox.ok(&["info", "--format", "{{.SystemTime}}"]);
            let filters = ["--filter", "event=oom", "--filter", &format!("container={id}")];
            let told = [&["events", "--since", "1h", "--until", &now][..], &filters].concat();
            let told = side.sandbox.ok(&told).lines().count();
            let seen = (state(), told);
            side.remove(&id);
            seen
        });
        assert_eq!(theirs, ours, "{script}: Docker's, Conex's");
    }
}
