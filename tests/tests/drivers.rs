//! What storage drivers have in common: with each of them the same images, containers and answers.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use conex_tests::{Engine, Said, Sandbox, StorageDriver, archive_from, busybox_layer, dist, eventually, layer_of};
use serde_json::Value;

/// Runs a test with each driver, one after the other.
fn with_each(test: impl Fn(&mut Sandbox)) {
    for driver in StorageDriver::ALL {
        // Seen where the test fails.
        println!("with {}", driver.name());
        test(&mut Sandbox::with_storage(driver));
    }
}

/// An archive of one layer, made entry by entry.
struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: tar::EntryType, path: &str, mode: u32, owner: u64, contents: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner + 1);
        header.set_mtime(1_000_000_000);
        header.set_size(contents.len() as u64);
        self.0.append_data(&mut header, path, contents).unwrap();
        self
    }

    fn file(self, path: &str, contents: &str) -> Self {
        self.entry(tar::EntryType::Regular, path, 0o644, 0, contents.as_bytes())
    }

    fn dir(self, path: &str, mode: u32, owner: u64) -> Self {
        self.entry(tar::EntryType::Directory, path, mode, owner, b"")
    }

    fn link(mut self, kind: tar::EntryType, path: &str, target: &str) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o777);
        self.0.append_link(&mut header, path, target).unwrap();
        self
    }

    /// Extended attributes of the entry that follows.
    fn xattrs(mut self, pairs: &[(&str, &[u8])]) -> Self {
        let names: Vec<String> = pairs.iter().map(|(name, _)| format!("SCHILY.xattr.{name}")).collect();
        let pairs = names
            .iter()
            .zip(pairs)
            .map(|(name, (_, value))| (name.as_str(), *value));
        self.0.append_pax_extensions(pairs).unwrap();
        self
    }

    fn archive(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// `security.capability` with CAP_NET_RAW permitted and effective (capabilities(7), version 2).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Layers upon busybox, lowest first, with everything in them that one layer can do to those below it.
fn layers() -> Vec<Vec<u8>> {
    use tar::EntryType::{Link, Symlink};
    let lower = Layer::new()
        .dir("./", 0o751, 7)
        .dir("d", 0o700, 5)
        .file("d/a", "lower")
        .file("d/gone", "lower")
        .dir("d/sub", 0o711, 6)
        .file("d/sub/x", "lower")
        .dir("opaque", 0o755, 0)
        .file("opaque/old", "lower")
        .dir("opaque/deep", 0o755, 0)
        .file("opaque/deep/old", "lower")
        .file("becomes-dir", "lower")
        .dir("becomes-file", 0o755, 0)
        .file("becomes-file/x", "lower")
        .link(Symlink, "becomes-real", "d")
        .file("one", "linked")
        .link(Link, "two", "one")
        .xattrs(&[("user.color", b"blue"), ("security.capability", &CAPABILITY)])
        .file("marked", "lower")
        .xattrs(&[("user.below", b"1")])
        .dir("marked-dir", 0o755, 0)
        .file("changed", "lower");
    let middle = Layer::new()
        .file("d/.wh.gone", "")
        .file("d/sub/y", "middle")
        .dir("opaque", 0o750, 3)
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "middle")
        .dir("becomes-dir", 0o755, 0)
        .file("becomes-dir/x", "middle")
        .file("becomes-file", "middle")
        .dir("becomes-real", 0o755, 0)
        .file("becomes-real/x", "middle")
        .link(Link, "d/three", "one")
        .xattrs(&[("user.above", b"2")])
        .dir("marked-dir", 0o755, 0)
        .file("changed", "middle");
    let top = Layer::new()
        .file("d/gone", "top")
        .file(".wh.changed", "")
        .file("implied/deep/file", "top");
    [lower, middle, top].into_iter().map(Layer::archive).collect()
}

/// Loads `stack`, an image of busybox and the layers above.
fn load_stack(sandbox: &Sandbox) -> Vec<Vec<u8>> {
    let layers = [vec![busybox_layer()], layers()].concat();
    load(sandbox, "stack", &layers);
    layers
}

fn load(sandbox: &Sandbox, name: &str, layers: &[Vec<u8>]) {
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let fields = r#""config":{"Cmd":["sh"],"Env":["PATH=/bin"]}"#;
    let path = sandbox.dir().join(format!("{name}.tar"));
    fs::write(&path, archive_from(&[&format!("{name}:latest")], fields, &layers)).unwrap();
    sandbox.ok(&["load", "-q", "-i", path.to_str().unwrap()]);
}

/// Starts a container that goes on until it is killed, after what a script does.
fn start(sandbox: &Sandbox, name: &str, image: &str, script: &str) {
    let script = format!("set -e; {script}\necho done; exec sleep 1000");
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        name,
        "--network",
        "none",
        image,
        "sh",
        "-c",
        &script,
    ]);
    eventually("the script", || sandbox.docker(&["logs", name]).out.ends_with("done"));
}

fn run_in(sandbox: &Sandbox, image: &str, script: &str) -> String {
    sandbox.ok(&["run", "--rm", "--network", "none", image, "sh", "-c", script])
}

fn inspect(sandbox: &Sandbox, name: &str) -> Value {
    let all: Value = serde_json::from_str(&sandbox.ok(&["inspect", name])).unwrap();
    all[0].clone()
}

/// Lists everything but what the image of busybox and the engine have put there: mode, owner, path, contents.
const LIST: &str =
    "cd /; find . -xdev ! -type l | grep -vE '^./(bin|etc|home|tmp|proc|sys|dev|\\.dockerenv)(/|$)' | sort |
    while read -r path; do
        stat -c '%A %u:%g %n' $path; if [ -f $path ]; then echo \"    $(cat $path)\"; fi
    done";

/// What `LIST` says of `stack`.
const STACK: &str = "\
drwxr-x--x 7:8 .
drwxr-xr-x 0:1 ./becomes-dir
-rw-r--r-- 0:1 ./becomes-dir/x
    middle
-rw-r--r-- 0:1 ./becomes-file
    middle
drwxr-xr-x 0:1 ./becomes-real
-rw-r--r-- 0:1 ./becomes-real/x
    middle
drwx------ 5:6 ./d
-rw-r--r-- 0:1 ./d/a
    lower
-rw-r--r-- 0:1 ./d/gone
    top
drwx--x--x 6:7 ./d/sub
-rw-r--r-- 0:1 ./d/sub/x
    lower
-rw-r--r-- 0:1 ./d/sub/y
    middle
-rw-r--r-- 0:1 ./d/three
    linked
drwxr-xr-x 0:0 ./implied
drwxr-xr-x 0:0 ./implied/deep
-rw-r--r-- 0:1 ./implied/deep/file
    top
-rw-r--r-- 0:1 ./marked
    lower
drwxr-xr-x 0:1 ./marked-dir
-rw-r--r-- 0:1 ./one
    linked
drwxr-x--- 3:4 ./opaque
-rw-r--r-- 0:1 ./opaque/new
    middle
-rw-r--r-- 0:1 ./two
    linked";

/// An extended attribute of a file of a running container.
fn xattr(sandbox: &Sandbox, container: &str, path: &str, name: &str) -> Option<Vec<u8>> {
    let pid = inspect(sandbox, container)["State"]["Pid"].as_u64().unwrap();
    let mut value = [0; 64];
    let path = format!("/proc/{pid}/root/{path}");
    let length = rustix::fs::lgetxattr(&path, name, &mut value[..]).ok()?;
    Some(value[..length].to_vec())
}

#[test]
fn layers_show_what_they_do_to_those_below() {
    with_each(|sandbox| {
        load_stack(sandbox);
        assert_eq!(sandbox.ok(&["run", "--rm", "stack", "sh", "-c", LIST]), STACK);
        start(sandbox, "box", "stack", "true");
        let links = "[ /one -ef /d/three ] && ! [ /one -ef /two ] && echo right";
        assert_eq!(sandbox.ok(&["exec", "box", "sh", "-c", links]), "right");
        let found = |path, name| xattr(sandbox, "box", path, name);
        assert_eq!(found("marked", "user.color").as_deref(), Some(&b"blue"[..]));
        assert_eq!(found("marked", "security.capability").as_deref(), Some(&CAPABILITY[..]));
        assert_eq!(found("marked-dir", "user.above").as_deref(), Some(&b"2"[..]));
        assert_eq!(found("marked-dir", "user.below"), None);
    });
}

#[test]
fn containers_of_one_image_do_not_see_each_other_and_the_image_stays_as_it_is() {
    with_each(|sandbox| {
        load_stack(sandbox);
        let script = "echo mine > /d/a; rm -r /opaque; echo more >> /two; chmod 700 /becomes-dir";
        start(sandbox, "one", "stack", script);
        start(sandbox, "two", "stack", "true");
        assert_eq!(sandbox.ok(&["exec", "two", "sh", "-c", LIST]), STACK);
        assert_eq!(sandbox.ok(&["exec", "one", "cat", "/d/a"]), "mine");
        // Their roots are mounted for nobody but them.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let dir = sandbox.dir().display().to_string();
        let own = mounts
            .lines()
            .filter(|line| line.contains(&dir) || line.contains("fuse-overlayfs"));
        let own: Vec<_> = own
            .filter(|line| !line.contains(&format!("{dir}/data - ")) && !line.contains("/data rw"))
            .collect();
        assert!(own.is_empty(), "{own:?}");
        assert_eq!(sandbox.ok(&["run", "--rm", "stack", "sh", "-c", LIST]), STACK);
    });
}

/// Everything that a container can do to its image.
const CHANGES: &str = "
    echo new > /new; mkdir -p /made/deep; echo x > /made/deep/file; mkdir /empty
    echo more >> /d/a; rm /d/gone; rm -r /d/sub
    chmod 600 /becomes-file; chown 9:9 /becomes-dir
    rm -r /opaque; mkdir /opaque; echo again > /opaque/new; echo other > /opaque/other
    rm /changed 2>/dev/null || true
    rm -r /becomes-real; echo file > /becomes-real
    rm /marked; mkdir /marked; echo x > /marked/x
    ln -s target /symlink; mkfifo /fifo; ln /two /linked
    mv /home /moved";

/// What `docker diff` says of them.
const TOLD: &str = "\
A /empty
A /fifo
A /linked
A /made
A /made/deep
A /made/deep/file
A /marked/x
A /moved
A /new
A /opaque/other
A /symlink
C /becomes-dir
C /becomes-file
C /becomes-real
C /d
C /d/a
C /marked
C /opaque
C /opaque/new
C /two
D /d/gone
D /d/sub
D /home";

/// What `LIST` says then, with `/moved` and without what is no file.
const CHANGED: &str = "\
drwxr-x--x 7:8 .
drwxr-xr-x 9:9 ./becomes-dir
-rw-r--r-- 0:1 ./becomes-dir/x
    middle
-rw------- 0:1 ./becomes-file
    middle
-rw-r--r-- 0:0 ./becomes-real
    file
drwx------ 5:6 ./d
-rw-r--r-- 0:1 ./d/a
    lowermore
-rw-r--r-- 0:1 ./d/three
    linked
drwxr-xr-x 0:0 ./empty
drwxr-xr-x 0:0 ./implied
drwxr-xr-x 0:0 ./implied/deep
-rw-r--r-- 0:1 ./implied/deep/file
    top
-rw-r--r-- 0:1 ./linked
    linked
drwxr-xr-x 0:0 ./made
drwxr-xr-x 0:0 ./made/deep
-rw-r--r-- 0:0 ./made/deep/file
    x
drwxr-xr-x 0:0 ./marked
drwxr-xr-x 0:1 ./marked-dir
-rw-r--r-- 0:0 ./marked/x
    x
drwxr-xr-x 0:0 ./moved
-rw-r--r-- 0:0 ./new
    new
-rw-r--r-- 0:1 ./one
    linked
drwxr-xr-x 0:0 ./opaque
-rw-r--r-- 0:0 ./opaque/new
    again
-rw-r--r-- 0:0 ./opaque/other
    other
-rw-r--r-- 0:1 ./two
    linked";

/// What is told of a container's changes, in order.
fn diff(sandbox: &Sandbox, container: &str) -> String {
    let told = sandbox.ok(&["diff", container]);
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn list(sandbox: &Sandbox, image: &str) -> String {
    let script = LIST.replace("! -type l", "! -type l ! -type p");
    sandbox.ok(&["run", "--rm", "--network", "none", image, "sh", "-c", &script])
}

#[test]
fn what_a_container_changes_is_told_and_committed() {
    with_each(|sandbox| {
        load_stack(sandbox);
        sandbox.ok(&["create", "--name", "fresh", "stack"]);
        assert_eq!(sandbox.ok(&["diff", "fresh"]), "");
        start(sandbox, "box", "stack", CHANGES);
        assert_eq!(diff(sandbox, "box"), TOLD);
        sandbox.ok(&["commit", "box", "of-running"]);
        sandbox.ok(&["kill", "box"]);
        assert_eq!(diff(sandbox, "box"), TOLD);
        sandbox.ok(&["commit", "box", "of-stopped"]);
        for image in ["of-running", "of-stopped"] {
            assert_eq!(list(sandbox, image), CHANGED, "{image}");
            assert_eq!(run_in(sandbox, image, "[ /two -ef /linked ] && echo linked"), "linked");
        }
        // Upon it another, which takes away what the first has brought.
        start(sandbox, "next", "of-stopped", "rm -r /made /linked; echo next > /next");
        sandbox.ok(&["commit", "next", "of-next"]);
        let listed = list(sandbox, "of-next");
        assert!(!listed.contains("made") && listed.contains("./next"), "{listed}");
        assert!(listed.contains(" ./two\n    linked"), "{listed}");
    });
}

#[test]
fn a_change_that_keeps_size_and_times_is_a_change() {
    with_each(|sandbox| {
        load_stack(sandbox);
        let script = "touch -r /two /dev/shm/time; echo -n LINKED > /two; touch -r /dev/shm/time /two";
        start(sandbox, "box", "stack", script);
        assert_eq!(diff(sandbox, "box"), "C /two");
        sandbox.ok(&["commit", "box", "changed"]);
        assert_eq!(
            run_in(sandbox, "changed", "cat /two; stat -c %Y /two"),
            "LINKED1000000000"
        );
    });
}

#[test]
fn files_go_in_and_out_whether_the_container_runs_or_not() {
    with_each(|sandbox| {
        load_stack(sandbox);
        let file = sandbox.dir().join("file");
        fs::write(&file, "from the host").unwrap();
        let (file, out) = (file.to_str().unwrap(), sandbox.dir().join("out"));
        sandbox.ok(&["create", "--name", "box", "stack", "sleep", "1000"]);
        sandbox.ok(&["cp", file, "box:/d/before"]);
        sandbox.ok(&["start", "box"]);
        sandbox.ok(&["cp", file, "box:/d/while"]);
        assert_eq!(sandbox.ok(&["exec", "box", "cat", "/d/before"]), "from the host");
        for state in ["running", "exited"] {
            assert_eq!(inspect(sandbox, "box")["State"]["Status"], state);
            sandbox.ok(&["cp", "box:/d/while", out.to_str().unwrap()]);
            assert_eq!(fs::read_to_string(&out).unwrap(), "from the host");
            let archive = sandbox.dir().join("export.tar");
            sandbox.ok(&["export", "-o", archive.to_str().unwrap(), "box"]);
            let names = names(&archive);
            for name in ["d/before", "d/while", "d/gone", "opaque/new", "bin/busybox"] {
                assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
            }
            for name in ["changed", "opaque/old", "d/.wh.gone", ".wh.changed"] {
                assert!(!names.iter().any(|found| found == name), "{name}: {names:?}");
            }
            sandbox.docker(&["kill", "box"]);
        }
    });
}

fn names(archive: &Path) -> Vec<String> {
    let mut archive = tar::Archive::new(fs::File::open(archive).unwrap());
    let entries = archive.entries().unwrap();
    let name = |entry: tar::Entry<'_, _>| entry.path().unwrap().display().to_string();
    entries.map(|entry| name(entry.unwrap())).collect()
}

/// Members of an archive, by name.
fn member(archive: &Path, name: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(fs::File::open(archive).unwrap());
    let mut found = archive
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.path().unwrap() == Path::new(name))
        .unwrap_or_else(|| panic!("there is no {name}"));
    let mut bytes = Vec::new();
    found.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn an_image_is_saved_as_it_came_and_comes_again_as_it_was_saved() {
    with_each(|sandbox| {
        let layers = load_stack(sandbox);
        let archive = sandbox.dir().join("saved.tar");
        let path = archive.to_str().unwrap();
        sandbox.ok(&["save", "-o", path, "stack"]);
        let manifest: Value = serde_json::from_slice(&member(&archive, "manifest.json")).unwrap();
        let saved = manifest[0]["Layers"].as_array().unwrap();
        assert_eq!(saved.len(), layers.len());
        for (name, layer) in saved.iter().zip(&layers) {
            assert!(member(&archive, name.as_str().unwrap()) == *layer, "{name}");
        }
        start(sandbox, "box", "stack", CHANGES);
        let id = sandbox.ok(&["commit", "box", "made"]);
        sandbox.ok(&["save", "-o", path, "made"]);
        sandbox.ok(&["rm", "-f", "box"]);
        sandbox.ok(&["rmi", "made", "stack"]);
        sandbox.ok(&["load", "-q", "-i", path]);
        assert_eq!(inspect(sandbox, "made")["Id"], id);
        assert_eq!(list(sandbox, "made"), CHANGED);
    });
}

#[test]
fn one_layer_in_two_places_is_right_in_both() {
    with_each(|sandbox| {
        let (base, other) = (busybox_layer(), layer_of(&[("d/a", b"other"), ("only", b"x")]));
        let change = layer_of(&[("d/b", b"change"), (".wh.only", b"")]);
        load(sandbox, "plain", &[base.clone(), change.clone()]);
        load(sandbox, "upon", &[base.clone(), other.clone(), change.clone()]);
        load(sandbox, "below", &[change, base, other]);
        let files = "cat d/a d/b only 2>/dev/null; true";
        assert_eq!(run_in(sandbox, "plain", files), "change");
        assert_eq!(run_in(sandbox, "upon", files), "otherchange");
        assert_eq!(run_in(sandbox, "below", files), "otherchangex");
    });
}

#[test]
fn roots_may_be_read_only_passing_or_without_layers() {
    with_each(|sandbox| {
        let said = sandbox.docker(&["run", "--rm", "--read-only", "busybox", "touch", "/x"]);
        assert!(said.code != 0 && said.err.contains("Read-only file system"), "{said:?}");
        assert_eq!(sandbox.run(&[], "touch /x && ls /x"), "/x");
        load(sandbox, "nothing", &[]);
        sandbox.ok(&["create", "--name", "box", "nothing", "/busybox", "ls", "/"]);
        sandbox.ok(&["cp", "/bin/busybox", "box:/busybox"]);
        let shown = sandbox.ok(&["start", "-a", "box"]);
        assert_eq!(
            shown.lines().collect::<Vec<_>>(),
            ["busybox", "dev", "etc", "proc", "sys"]
        );
        assert!(diff(sandbox, "box").contains("A /busybox"));
    });
}

/// A layer with busybox under a few names.
fn small_busybox() -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").unwrap();
    let layer = Layer::new()
        .dir("etc", 0o755, 0)
        .entry(tar::EntryType::Regular, "bin/busybox", 0o755, 0, &busybox);
    let names = ["sh", "cat", "ls", "wc", "rm", "sleep"].map(|name| format!("bin/{name}"));
    let link = |layer: Layer, name: &String| layer.link(tar::EntryType::Symlink, name, "busybox");
    names.iter().fold(layer, link).archive()
}

#[test]
fn images_of_hundreds_of_layers_run_and_too_many_are_refused() {
    with_each(|sandbox| {
        let layer =
            |number: usize| layer_of(&[("last", number.to_string().as_bytes()), (&format!("d/{number}"), b"x")]);
        let mut layers = vec![small_busybox()];
        // Whole trees of as many layers take their time.
        let count = if sandbox.is_stacked() { 300 } else { 150 };
        layers.extend((1..count).map(layer));
        load(sandbox, "many", &layers);
        let script = "cat /last; echo; ls /d | wc -l";
        let last = count - 1;
        assert_eq!(run_in(sandbox, "many", script), format!("{last}\n{last}"));
        start(sandbox, "box", "many", "rm /d/1 /d/100; echo x > /d/new");
        assert_eq!(diff(sandbox, "box"), "A /d/new\nC /d\nD /d/1\nD /d/100");
        sandbox.ok(&["commit", "box", "more"]);
        assert_eq!(run_in(sandbox, "more", script), format!("{last}\n{}", last - 1));
        let names = sandbox.dir().join("names");
        sandbox.ok(&["cp", "box:/d", names.to_str().unwrap()]);
        assert_eq!(fs::read_dir(names).unwrap().count(), last - 1);
        sandbox.ok(&["rm", "-f", "box"]);
        sandbox.ok(&["rmi", "more"]);
        if !sandbox.is_stacked() {
            return;
        }
        let before = entries(sandbox, "layers").len();
        layers.extend((count..501).map(layer));
        let path = sandbox.dir().join("too-many.tar");
        let all: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
        fs::write(&path, archive_from(&["too:many"], r#""config":{}"#, &all)).unwrap();
        let said = sandbox.docker(&["load", "-q", "-i", path.to_str().unwrap()]);
        assert!(
            said.code == 1 && said.err.contains("max depth exceeded: 501 layers"),
            "{said:?}"
        );
        assert_eq!(entries(sandbox, "layers").len(), before);
        // The control: one less is taken, and nothing can be made upon it.
        load(sandbox, "full", &layers[..500]);
        start(sandbox, "box", "full", "echo x > /x");
        let said = sandbox.docker(&["commit", "box", "over"]);
        assert!(
            said.code == 1 && said.err.contains("max depth exceeded: 501 layers"),
            "{said:?}"
        );
        assert_eq!(run_in(sandbox, "full", script), "499\n499");
    });
}

/// Bytes that a container has written.
fn size(sandbox: &Sandbox, name: &str) -> i64 {
    let (_, all) = sandbox.request("GET", "/containers/json?size=1&all=1", "");
    let all: Value = serde_json::from_str(&all).unwrap();
    let of = |one: &&Value| one["Names"][0] == format!("/{name}");
    all.as_array().unwrap().iter().find(of).unwrap()["SizeRw"]
        .as_i64()
        .unwrap_or_default()
}

#[test]
fn what_is_written_is_counted() {
    with_each(|sandbox| {
        start(sandbox, "little", "busybox", "true");
        start(
            sandbox,
            "much",
            "busybox",
            "dd if=/dev/zero of=/zeros bs=1M count=3 2>/dev/null; rm /etc/secret",
        );
        let added = size(sandbox, "much") - size(sandbox, "little");
        assert_eq!(added, 3 << 20);
        let (_, usage) = sandbox.request("GET", "/system/df", "");
        let usage: Value = serde_json::from_str(&usage).unwrap();
        let layers = usage["LayersSize"].as_i64().unwrap();
        let busybox = fs::metadata("/bin/busybox").unwrap().len();
        assert!(layers >= i64::try_from(busybox).unwrap(), "{usage}");
    });
}

/// What is in a directory of the data root.
fn entries(sandbox: &Sandbox, dir: &str) -> Vec<String> {
    let dir = sandbox.dir().join("data").join(dir);
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect()
}

#[test]
fn removed_things_leave_nothing_on_the_disk() {
    with_each(|sandbox| {
        load_stack(sandbox);
        start(sandbox, "box", "stack", CHANGES);
        sandbox.ok(&["commit", "box", "made"]);
        assert!(!entries(sandbox, "layers").is_empty() && !entries(sandbox, "containers").is_empty());
        sandbox.ok(&["rm", "-f", "box"]);
        sandbox.ok(&["rmi", "made", "stack", "busybox"]);
        for dir in ["containers", "layers", "skeletons", "trash"] {
            eventually(dir, || entries(sandbox, dir).is_empty());
        }
    });
}

#[test]
fn containers_outlive_the_daemon_with_what_they_have_written() {
    with_each(|sandbox| {
        load_stack(sandbox);
        start(sandbox, "box", "stack", CHANGES);
        for kill in [true, false] {
            if kill {
                sandbox.kill();
            } else {
                sandbox.terminate();
            }
            sandbox.start(&[]);
            sandbox.ok(&["exec", "box", "sh", "-c", "echo after >> /new"]);
            assert_eq!(diff(sandbox, "box"), TOLD);
        }
        sandbox.ok(&["kill", "box"]);
        sandbox.kill();
        sandbox.start(&[]);
        let out = sandbox.dir().join("out");
        sandbox.ok(&["cp", "box:/new", out.to_str().unwrap()]);
        assert_eq!(fs::read_to_string(&out).unwrap(), "new\nafter\nafter\n");
        sandbox.ok(&["commit", "box", "made"]);
        assert_eq!(
            list(sandbox, "made")
                .replace("new\nafter\nafter", "new")
                .replace("    after\n", ""),
            CHANGED
        );
    });
}

#[test]
fn a_daemon_that_is_killed_while_it_makes_layers_and_roots_leaves_nothing_half() {
    let points = [
        "layer.unpacked",
        "layer.grown",
        "layer.before-publish",
        "layer.renamed",
        "tree.copied",
    ];
    with_each(|sandbox| {
        load_stack(sandbox);
        start(sandbox, "box", "stack", "echo mine > /mine");
        let before = entries(sandbox, "layers").len();
        for point in points {
            sandbox.kill();
            sandbox.start(&[("CONEX_FAIL_POINT", point)]);
            // Where a driver does not come by, nothing is killed.
            let was_killed = sandbox.docker(&["commit", "box", "half"]).code != 0
                || sandbox
                    .docker(&["run", "--rm", "--network", "none", "stack", "true"])
                    .code
                    != 0;
            if was_killed {
                sandbox.await_death();
            } else {
                sandbox.kill();
            }
            sandbox.start(&[]);
            if sandbox.docker(&["rmi", "half"]).code != 0 {
                assert!(was_killed, "{point}");
            }
            for id in sandbox
                .ok(&["ps", "-aq", "--filter", "status=created", "--filter", "status=exited"])
                .lines()
            {
                sandbox.ok(&["rm", "-f", id]);
            }
            eventually(point, || {
                entries(sandbox, "layers").len() == before && entries(sandbox, "trash").is_empty()
            });
            assert_eq!(
                sandbox.ok(&["run", "--rm", "stack", "sh", "-c", LIST]),
                STACK,
                "{point}"
            );
            assert_eq!(sandbox.ok(&["exec", "box", "cat", "/mine"]), "mine");
        }
    });
}

#[test]
fn the_driver_is_told_and_noted() {
    for driver in StorageDriver::ALL {
        let mut sandbox = Sandbox::with_storage(driver);
        let name = driver.name();
        let told = |sandbox: &Sandbox| sandbox.ok(&["info", "--format", "{{.Driver}}"]);
        assert_eq!(told(&sandbox), name);
        sandbox.ok(&["create", "--name", "box", "busybox"]);
        assert_eq!(inspect(&sandbox, "box")["GraphDriver"]["Name"], name);
        assert_eq!(inspect(&sandbox, "busybox")["GraphDriver"]["Name"], name);
        // Nobody has to say it again.
        sandbox.kill();
        sandbox.forget_storage();
        sandbox.start(&[]);
        assert_eq!(told(&sandbox), name);
        assert_eq!(sandbox.run(&[], "echo up"), "up");
    }
}

/// What a daemon that does not start says; `script` starts it, in a mount namespace of its own.
fn refusal<T>(script: &str, flags: &[&str], environment: &[(&str, &str)], prepare: impl FnOnce(&Path) -> T) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::create_dir(path("data")).unwrap();
    let _prepared = prepare(&dir.path().join("data"));
    let mut daemon = Command::new("/usr/bin/timeout");
    daemon.args(["20", "/usr/bin/unshare", "--mount", "/bin/sh", "-ec", script, "sh"]);
    daemon.arg(dist().join("conexd"));
    daemon.args([
        "--bridge=none",
        "--data-root",
        &path("data"),
        "--exec-root",
        &path("exec"),
    ]);
    daemon.args(["-H", &format!("unix://{}", path("s.sock"))]);
    let output = daemon.args(flags).envs(environment.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{flags:?}: {said}");
    let left: Vec<_> = fs::read_dir(dir.path().join("data")).unwrap().flatten().collect();
    assert!(!left.iter().any(|entry| entry.file_name() == "tmp-trial"), "{left:?}");
    said
}

/// Starts the daemon as it is.
const PLAIN: &str = "exec \"$@\"";

/// Starts it where there is no `/dev/fuse`.
const WITHOUT_FUSE: &str = "mount -t tmpfs none /dev; mknod /dev/null c 1 3; mknod /dev/urandom c 1 9; exec \"$@\"";

/// As above, with the data root on a file system of its own, mounted by this command.
fn refusal_on(mount: &str, flags: &[&str]) -> String {
    refusal(PLAIN, flags, &[], |data| {
        let output = Command::new("sh")
            .args(["-ec", mount, "sh", data.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        Mounted(data.to_owned())
    })
}

/// Unmounted at the end.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Whether a refusal has Docker's words and these.
fn assert_said(said: &str, words: &[&str]) {
    let all = [&["failed to start daemon", "error initializing graphdriver: "], words].concat();
    assert!(all.iter().all(|word| said.contains(word)), "{words:?}: {said}");
}

#[test]
fn a_driver_that_cannot_work_here_says_why_at_start() {
    let plainly = |flags: &[&str], words: &[&str]| assert_said(&refusal(PLAIN, flags, &[], |_| ()), words);
    plainly(&["-s", "floppy"], &["driver not supported: floppy", "overlay2, "]);
    plainly(
        &["--storage-opt", "overlay2.color=1"],
        &["unknown option overlay2.color=1"],
    );
    let wrong = "prerequisites for driver not satisfied (wrong filesystem?): btrfs: ";
    plainly(&["-s", "btrfs"], &[wrong, "/data is not on btrfs"]);
    let none = [("CONEX_WITHOUT", "overlayfs")];
    let said = refusal(PLAIN, &["-s", "overlay2"], &none, |_| ());
    assert_said(&said, &["driver not supported: overlay2: the kernel has no overlayfs"]);
}

#[test]
fn an_overlay_that_its_file_system_cannot_bear_says_why_at_start() {
    let overlay2 = &["-s", "overlay2"];
    let untyped = "truncate --size=64M $1.disk; mkfs.ext4 -q -F -O ^filetype $1.disk; mount -o loop $1.disk $1";
    assert_said(
        &refusal_on(untyped, overlay2),
        &["overlay2: ", "without d_type support"],
    );
    let said = refusal_on("mount -t ramfs none $1", overlay2);
    assert_said(&said, &["overlay2: ", "keeps no extended attributes"]);
    let overlay = "mkdir $1.l $1.u; mount -t tmpfs none $1.u; mkdir $1.u/u $1.u/w;
        mount -t overlay none -o lowerdir=$1.l,upperdir=$1.u/u,workdir=$1.u/w $1; umount -l $1.u";
    assert_said(&refusal_on(overlay, overlay2), &["overlay2: mount an overlay in "]);
}

#[test]
fn a_program_that_is_not_there_or_does_not_serve_says_why_at_start() {
    let fuse = &["-s", "fuse-overlayfs"];
    let said = refusal(PLAIN, fuse, &[("PATH", "/nonexistent")], |_| ());
    assert_said(&said, &["exec: \"fuse-overlayfs\": executable file not found in $PATH"]);
    let said = refusal(WITHOUT_FUSE, fuse, &[], |_| ());
    assert_said(&said, &["fuse-overlayfs: open /dev/fuse: no such file or directory"]);
    for (program, words) in [
        ("/nonexistent", "exec /nonexistent: no such file or directory"),
        ("/bin/false", "/bin/false does not serve"),
    ] {
        let option = format!("fuse-overlayfs.mount_program={program}");
        let said = refusal(PLAIN, &["-s", "fuse-overlayfs", "--storage-opt", &option], &[], |_| ());
        assert_said(&said, &[words]);
    }
    // The control.
    let option = [
        "-s",
        "fuse-overlayfs",
        "--storage-opt",
        "fuse-overlayfs.mount_program=/usr/bin/fuse-overlayfs",
    ];
    let sandbox = Sandbox::with_flags(Engine::Conex, &option);
    assert_eq!(sandbox.ok(&["info", "--format", "{{.Driver}}"]), "fuse-overlayfs");
}

#[test]
fn where_no_driver_is_asked_for_the_first_that_works_is_taken() {
    let driver = |sandbox: &Sandbox| sandbox.ok(&["info", "--format", "{{.Driver}}"]);
    let usual = Sandbox::with_settings(Engine::Conex, &[], &[]);
    assert_eq!(driver(&usual), "overlay2");
    let without = Sandbox::with_settings(Engine::Conex, &[], &[("CONEX_WITHOUT", "overlayfs")]);
    assert_eq!(driver(&without), "fuse-overlayfs");
    let without = Sandbox::with_settings(
        Engine::Conex,
        &["--storage-opt", "fuse-overlayfs.mount_program=/nonexistent"],
        &[("CONEX_WITHOUT", "overlayfs")],
    );
    assert_eq!(driver(&without), "vfs");
}

#[test]
fn what_another_driver_has_kept_is_not_hidden() {
    let mut sandbox = Sandbox::with_storage(StorageDriver::Overlay2);
    sandbox.kill();
    sandbox.store_by(StorageDriver::Vfs);
    let said = sandbox.refused_start();
    assert!(said.contains("was used with the storage driver overlay2"), "{said}");
    // An unknown driver is told as such, and one that is the same is taken.
    sandbox.store_by(StorageDriver::Overlay2);
    sandbox.start(&[]);
    assert_eq!(sandbox.run(&[], "echo up"), "up");
    // Without images and containers there is nothing to hide.
    sandbox.ok(&["rmi", "busybox"]);
    sandbox.kill();
    sandbox.store_by(StorageDriver::Vfs);
    sandbox.start(&[]);
    assert_eq!(sandbox.ok(&["info", "--format", "{{.Driver}}"]), "vfs");
}

#[test]
fn subvolumes_that_a_container_makes_go_with_it() {
    let sandbox = Sandbox::with_storage(StorageDriver::Btrfs);
    start(&sandbox, "box", "busybox", "mkdir /dir");
    let pid = inspect(&sandbox, "box")["State"]["Pid"].as_u64().unwrap();
    let at = |path: &str| format!("/proc/{pid}/root/{path}");
    let btrfs = |arguments: &[&str]| {
        let output = Command::new("btrfs").arg("subvolume").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    btrfs(&["create", &at("dir/outer")]);
    btrfs(&["create", &at("dir/outer/inner")]);
    fs::write(at("dir/outer/inner/file"), "x").unwrap();
    btrfs(&["snapshot", "-r", &at("dir/outer/inner"), &at("dir/still")]);
    let told = diff(&sandbox, "box");
    assert!(
        told.contains("A /dir/outer/inner/file") && told.contains("A /dir/still/file"),
        "{told}"
    );
    sandbox.ok(&["rm", "-f", "box"]);
    eventually("an empty trash", || entries(&sandbox, "trash").is_empty());
    let listed = Command::new("btrfs")
        .args(["subvolume", "list"])
        .arg(sandbox.dir().join("data"))
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    // The layer of busybox alone.
    assert_eq!(listed.lines().count(), 1, "{listed}");
}

/// Has the daemon's data root converted; what that said.
fn migrate(sandbox: &mut Sandbox, to: StorageDriver, environment: &[(&str, &str)]) -> Said {
    sandbox.store_beside(to);
    sandbox.run_daemon(&["--migrate-storage"], environment)
}

/// What is the same with each driver: the images, and what is in the containers.
fn everything(sandbox: &Sandbox) -> Vec<String> {
    let archive = sandbox.dir().join("saved.tar");
    sandbox.ok(&["save", "-o", archive.to_str().unwrap(), "stack", "made"]);
    let mut all = vec![
        sandbox.ok(&["images", "--no-trunc", "--format", "{{.Repository}} {{.ID}} {{.Size}}"]),
        sandbox.ok(&["ps", "-a", "--format", "{{.Names}} {{.Image}}"]),
        diff(sandbox, "box"),
        diff(sandbox, "fresh"),
        run_in(sandbox, "stack", LIST),
        list(sandbox, "made"),
    ];
    sandbox.ok(&["commit", "box", "again"]);
    all.push(list(sandbox, "again"));
    sandbox.ok(&["rmi", "again"]);
    all
}

/// A daemon with images, a container that has changed everything, and one that never ran.
fn filled(driver: StorageDriver, on: StorageDriver) -> Sandbox {
    let sandbox = Sandbox::with_storage_on(driver, on);
    load_stack(&sandbox);
    start(&sandbox, "box", "stack", CHANGES);
    sandbox.ok(&["commit", "box", "made"]);
    sandbox.ok(&["create", "--name", "fresh", "made", "true"]);
    sandbox
}

#[test]
fn what_one_driver_has_kept_is_converted_for_another() {
    use StorageDriver::{Btrfs, FuseOverlayfs, Overlay2, Vfs};
    // From each to each other, on a file system that all of them can use.
    let mut sandbox = filled(Overlay2, Btrfs);
    sandbox.ok(&["kill", "box"]);
    let before = everything(&sandbox);
    for to in [
        Vfs,
        Overlay2,
        Btrfs,
        FuseOverlayfs,
        Vfs,
        Btrfs,
        Overlay2,
        FuseOverlayfs,
        Overlay2,
    ] {
        sandbox.terminate();
        let said = migrate(&mut sandbox, to, &[]);
        assert!(said.code == 0, "{said:?}");
        assert!(said.out.ends_with(": 3 images, 1 containers"), "{said:?}");
        sandbox.start(&[]);
        assert_eq!(sandbox.ok(&["info", "--format", "{{.Driver}}"]), to.name());
        assert_eq!(everything(&sandbox), before, "{}", to.name());
        eventually("an empty trash", || entries(&sandbox, "trash").is_empty());
    }
    // What is converted runs on.
    sandbox.ok(&["start", "box"]);
    sandbox.ok(&["start", "-a", "fresh"]);
}

#[test]
fn a_migration_that_is_killed_leaves_the_one_driver_or_the_other() {
    use StorageDriver::{Overlay2, Vfs};
    let mut sandbox = filled(Overlay2, Overlay2);
    sandbox.ok(&["kill", "box"]);
    let before = everything(&sandbox);
    let points = [
        "migrate.layer@1",
        "migrate.layer@4",
        "migrate.container",
        "migrate.before-record",
        "migrate.recorded",
    ];
    let (mut from, mut to) = (Overlay2, Vfs);
    for point in points {
        // There and back.
        for _ in 0..2 {
            sandbox.terminate();
            let said = migrate(&mut sandbox, to, &[("CONEX_FAIL_POINT", point)]);
            assert_ne!(said.code, 0, "{point}: {said:?}");
            sandbox.forget_storage();
            sandbox.start(&[]);
            let now = sandbox.ok(&["info", "--format", "{{.Driver}}"]);
            let expected = if point == "migrate.recorded" { to } else { from };
            assert_eq!(now, expected.name(), "{point}");
            assert_eq!(everything(&sandbox), before, "{point}");
            assert_one_driver(&sandbox, expected, point);
            if expected == from {
                sandbox.terminate();
                let said = migrate(&mut sandbox, to, &[]);
                assert!(said.code == 0, "{point}: {said:?}");
                sandbox.start(&[]);
                assert_eq!(everything(&sandbox), before, "{point}");
            }
            (from, to) = (to, from);
        }
    }
}

/// That nothing is left of another driver.
fn assert_one_driver(sandbox: &Sandbox, driver: StorageDriver, point: &str) {
    eventually(point, || entries(sandbox, "trash").is_empty());
    let own = sandbox
        .dir()
        .join("data/containers")
        .join(inspect(sandbox, "box")["Id"].as_str().unwrap());
    let is_stacked = driver == StorageDriver::Overlay2;
    for (name, is_there) in [
        ("upper", is_stacked),
        ("work", is_stacked),
        ("tree", !is_stacked),
        ("tree.copied", !is_stacked),
    ] {
        assert_eq!(own.join(name).exists(), is_there, "{point}: {name}");
    }
    assert_eq!(entries(sandbox, "layers").len(), 5, "{point}");
}

#[test]
fn nothing_is_converted_while_something_runs() {
    let mut sandbox = filled(StorageDriver::Overlay2, StorageDriver::Overlay2);
    let said = migrate(&mut sandbox, StorageDriver::Vfs, &[]);
    assert!(
        said.code == 1 && said.err.contains(" runs: stop all containers"),
        "{said:?}"
    );
    sandbox.ok(&["kill", "box"]);
    let runs = sandbox.dir().join("exec/containers");
    eventually("the end of the monitor", || fs::read_dir(&runs).unwrap().count() == 0);
    let said = migrate(&mut sandbox, StorageDriver::Vfs, &[]);
    assert!(said.code == 1 && said.err.contains("meta.redb"), "{said:?}");
    sandbox.kill();
    // The control.
    let said = migrate(&mut sandbox, StorageDriver::Vfs, &[]);
    assert!(said.code == 0, "{said:?}");
    sandbox.start(&[]);
    assert_eq!(sandbox.ok(&["info", "--format", "{{.Driver}}"]), "vfs");
}

#[test]
fn a_layer_whose_archive_does_not_come_back_is_converted_all_the_same() {
    let mut sandbox = filled(StorageDriver::Overlay2, StorageDriver::Overlay2);
    sandbox.ok(&["kill", "box"]);
    let before = (
        run_in(&sandbox, "stack", LIST),
        list(&sandbox, "made"),
        diff(&sandbox, "box"),
    );
    for to in [StorageDriver::Vfs, StorageDriver::Overlay2] {
        sandbox.terminate();
        for skeleton in entries(&sandbox, "skeletons") {
            fs::remove_file(skeleton).unwrap();
        }
        let said = migrate(&mut sandbox, to, &[]);
        assert!(said.code == 0, "{said:?}");
        sandbox.start(&[]);
        let after = (
            run_in(&sandbox, "stack", LIST),
            list(&sandbox, "made"),
            diff(&sandbox, "box"),
        );
        assert_eq!(after, before, "{}", to.name());
    }
}
