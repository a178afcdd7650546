//! What a container's first process sees of itself, taken apart so that it can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::bundle::{self, Bundle};
use crate::bundles::Named;

/// By file and line of it.
pub(crate) type View = BTreeMap<(&'static str, String), String>;

/// What a line is about, and what it says of it.
type Line = (String, String);

/// Takes a line apart; `None` where it tells nothing.
type Parse = fn(&str) -> Option<Line>;

/// What is read inside. The first process reads of itself.
const SCRIPT: &str = r#"
part() { echo "== $1"; }
for file in status mountinfo cgroup limits; do part $file; cat /proc/$$/$file; done
part attr
for file in current exec fscreate keycreate prev sockcreate; do echo "$file $(cat /proc/$$/attr/$file 2>&1)"; done
part process
for file in oom_score_adj coredump_filter personality uid_map gid_map setgroups timens_offsets; do
    echo $file $(cat /proc/$$/$file 2>&1)
done
set -- $(busybox sed 's/.*) //' /proc/$$/stat); echo nice ${17}; echo policy ${39}
part environment; busybox tr '\0' '\n' < /proc/$$/environ
part namespaces; cd /proc/$$/ns; for kind in *; do echo $kind $(busybox readlink $kind); done; cd /
part devices; busybox find /dev /dev/pts -xdev -exec busybox stat -c '%n %A %u:%g %t:%T %N' {} +
part rules; cat /sys/fs/cgroup/devices/devices.list 2>/dev/null
part descriptors; for file in /proc/$$/fd/*; do echo $file; done
"#;

/// Lines of proc_pid_status(5) that tell of the moment and not of what was set up.
const PASSING: [&str; 14] = [
    "Pid",
    "PPid",
    "Tgid",
    "Ngid",
    "NStgid",
    "NSpid",
    "NSpgid",
    "NSsid",
    "State",
    "SigQ",
    "HugetlbPages",
    "FDSize",
    "voluntary_ctxt_switches",
    "nonvoluntary_ctxt_switches",
];

/// Who reads.
#[derive(Clone, Copy)]
pub(crate) enum Reader {
    /// The first process.
    First,
    /// One that is executed in the running container.
    Later,
}

/// Runs a bundle and reads what it says; a refusal is all that there is of one that does not run.
pub(crate) fn of(runtime: &Path, named: &Named, reader: Reader) -> View {
    let bundle = Bundle::of(runtime, |specification| {
        (named.change)(specification);
        specification["process"]["args"] = match reader {
            Reader::First => json!(["sh", "-c", SCRIPT]),
            Reader::Later => json!(["sh", "-c", "echo up; exec sleep 60"]),
        };
    });
    bundle::write_docker_files(&bundle);
    (named.prepare)(bundle.directory.path());
    // An empty pipe for standard input: crun gives what is there to the container's user, the host's /dev/null as well.
    let call = |arguments: &[&str]| bundle.command(arguments).stdin(Stdio::piped()).output().unwrap();
    let output = match reader {
        Reader::First => call(&["run", &bundle.id]),
        Reader::Later => {
            let log = fs::File::create(bundle.path("log")).unwrap();
            let errors = log.try_clone().unwrap();
            let mut run = bundle.command(&["run", "--detach", &bundle.id]);
            run.stdin(Stdio::piped()).stdout(log).stderr(errors);
            if run.status().unwrap().success() {
                bundle.wait_for("log", "up");
            }
            call(&["exec", &bundle.id, "sh", "-c", SCRIPT])
        }
    };
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .replace(&bundle.id, "ID")
            .replace(bundle.directory.path().to_str().unwrap(), "BUNDLE")
    };
    if output.status.success() {
        parse(&text(&output.stdout))
    } else {
        View::from([(("run", "outcome".into()), text(&output.stderr).trim().to_owned())])
    }
}

fn parse(text: &str) -> View {
    let mut view = View::from([(("run", "outcome".into()), "runs".into())]);
    for part in text.split("== ").skip(1) {
        let (name, lines) = part.split_once('\n').unwrap();
        let (file, line): (_, Parse) = match name {
            "status" => ("status", status),
            "mountinfo" => ("mountinfo", mount),
            "cgroup" => ("cgroup", cgroup),
            "limits" => ("limits", limit),
            "attr" => ("attr", words),
            "process" => ("process", words),
            "environment" => ("environment", |line| line.split_once('=').map(pair)),
            "namespaces" => ("namespaces", namespace),
            "devices" => ("devices", words),
            "rules" => ("rules", |line| Some((line.to_owned(), "there".to_owned()))),
            "descriptors" => ("descriptors", |line| {
                Some((line.rsplit('/').next()?.to_owned(), "open".to_owned()))
            }),
            other => panic!("no part is called {other:?}"),
        };
        let before = view.len();
        for (key, value) in lines.lines().filter_map(line) {
            add(&mut view, (file, key), value);
        }
        // Version 2 has no list of rules.
        assert!(
            view.len() > before || file == "rules",
            "nothing is understood of {file}:\n{lines}"
        );
    }
    view
}

/// What is there twice, as a mount over a mount, is told apart by its number.
fn add(view: &mut View, (file, key): (&'static str, String), value: String) {
    let mut numbered = (file, key.clone());
    for number in 2.. {
        if !view.contains_key(&numbered) {
            break;
        }
        numbered.1 = format!("{key} ({number})");
    }
    view.insert(numbered, value);
}

fn pair((key, value): (&str, &str)) -> Line {
    (key.to_owned(), value.to_owned())
}

fn words(line: &str) -> Option<Line> {
    line.split_once(' ').map(pair)
}

/// Signals without the two that the C library keeps for itself (32 and 33).
fn status(line: &str) -> Option<Line> {
    let (key, value) = line.split_once(":\t")?;
    if PASSING.contains(&key) || key.starts_with("Vm") || key.starts_with("Rss") {
        return None;
    }
    let value = match key {
        "SigIgn" => format!("{:016x}", u64::from_str_radix(value, 16).unwrap() & !0x1_8000_0000),
        _ => value.trim().to_owned(),
    };
    Some((key.to_owned(), value))
}

/// By its place: root, options, propagation without the numbers of peer groups, kind, source, and the file system's options.
fn mount(line: &str) -> Option<Line> {
    let (own, system) = line.split_once(" - ")?;
    let fields: Vec<&str> = own.split(' ').collect();
    let tags = fields[6..].iter().map(|tag| tag.split(':').next().unwrap_or(tag));
    let mut said = vec![fields[3], fields[5]];
    said.extend(tags);
    said.push(system);
    Some((fields[4].to_owned(), said.join(" ")))
}

/// By the controllers.
fn cgroup(line: &str) -> Option<Line> {
    line.split_once(':')?.1.split_once(':').map(pair)
}

fn limit(line: &str) -> Option<Line> {
    let (name, rest) = line.split_at_checked(26)?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    (name.trim() != "Limit").then(|| (name.trim().to_owned(), words.join(" ")))
}

/// Whether it is that of this process.
fn namespace(line: &str) -> Option<Line> {
    let Some((kind, link)) = line.split_once(' ') else {
        return Some((line.to_owned(), "hidden".to_owned()));
    };
    let ours = fs::read_link(format!("/proc/thread-self/ns/{kind}")).unwrap();
    let whose = if ours == Path::new(link) {
        "the host's"
    } else {
        "its own"
    };
    Some((kind.to_owned(), whose.to_owned()))
}
