//! Debian's Podman with stores, cgroups and namespaces of its own, under either runtime.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::bundle::{CONEX, runc};

/// A machine of Podman's own: nothing is left when it is dropped.
struct Podman {
    directory: TempDir,
    runtime: PathBuf,
    cgroup: String,
}

/// What a command came to.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    code: Option<i32>,
    output: String,
    errors: String,
}

/// Runs the commands one after the other under each runtime, and compares what each of them came to: the same under both, and
/// an exit with the code that is expected.
pub(crate) fn compare(name: &str, codes: &[i32], commands: &[&[&str]]) {
    assert_eq!(codes.len(), commands.len());
    let mut both = [Path::new(CONEX).to_path_buf(), runc()].map(|runtime| Podman::new(name, runtime));
    for (code, command) in codes.iter().zip(commands) {
        let [ours, theirs] = both.each_mut().map(|podman| podman.told(command));
        assert_eq!(ours, theirs, "ours and runc's of podman {command:?}");
        assert_eq!(ours.code, Some(*code), "podman {command:?}: {ours:?}");
    }
}

impl Podman {
    fn new(name: &str, runtime: PathBuf) -> Podman {
        let directory = TempDir::new().unwrap();
        let kind = runtime.file_name().unwrap().to_string_lossy().into_owned();
        let cgroup = format!("conex-test-podman-{}-{name}-{kind}", std::process::id());
        // The machine may not let limits be raised, and Podman raises them unless it is told.
        let configuration =
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\nnetns = \"none\"\n";
        fs::write(directory.path().join("containers.conf"), configuration).unwrap();
        // Podman runs an init of the host's: this one does no more than is needed to see that it is run.
        let init = directory.path().join("init");
        fs::write(&init, "#!/bin/sh\nshift\necho through the init\nexec \"$@\"\n").unwrap();
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
        let podman = Podman {
            directory,
            runtime,
            cgroup,
        };
        podman.import();
        podman
    }

    /// An image of busybox with users.
    fn import(&self) {
        let root = self.directory.path().join("image");
        for name in ["bin", "etc", "proc", "sys", "dev", "run"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let script = "cp \"$(command -v busybox)\" bin/busybox
            for name in $(bin/busybox --list); do test $name = busybox || ln -s busybox bin/$name; done
            mkdir -m 1777 tmp
            printf 'root:x:0:0::/root:/bin/sh\\napp:x:1000:1001::/home/app:/bin/sh\\n' > etc/passwd
            printf 'root:x:0:\\napp:x:1001:\\n' > etc/group
            tar -cf ../image.tar .";
        let made = Command::new("sh").args(["-ec", script]).current_dir(&root).status();
        assert!(
            made.unwrap().success(),
            "busybox is needed: install Debian's package busybox-static"
        );
        let archive = self.directory.path().join("image.tar");
        let imported = self.call(&["import", "--quiet", archive.to_str().unwrap(), "bb"]);
        assert!(
            imported.status.success(),
            "{}",
            String::from_utf8_lossy(&imported.stderr)
        );
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let of = |name: &str| self.directory.path().join(name);
        let mut command = Command::new("timeout");
        command
            .args(["60", "podman"])
            .args([
                "--cgroup-manager",
                "cgroupfs",
                "--storage-driver",
                "vfs",
                "--events-backend",
                "file",
            ])
            .args(["--log-level", "error", "--runtime"])
            .arg(&self.runtime)
            .env("CONTAINERS_CONF", of("containers.conf"));
        for (flag, name) in [
            ("--root", "root"),
            ("--runroot", "run"),
            ("--tmpdir", "tmp"),
            ("--network-config-dir", "net"),
        ] {
            command.arg(flag).arg(of(name));
        }
        let directory = self.directory.path().to_string_lossy();
        let arguments: Vec<String> = arguments.iter().map(|word| word.replace("DIR", &directory)).collect();
        let (verb, rest) = arguments.split_first().unwrap();
        command.arg(verb);
        if ["run", "create"].contains(&verb.as_str()) {
            command.args(["--cgroup-parent", &format!("/{}", self.cgroup)]);
        }
        command.args(rest).stdin(Stdio::null()).output().unwrap()
    }

    fn told(&mut self, arguments: &[&str]) -> Told {
        let output = self.call(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        Told {
            code: output.status.code(),
            output: self.comparable(&String::from_utf8_lossy(&output.stdout)),
            errors: errors.lines().map(|line| self.comparable(line) + "\n").collect(),
        }
    }

    /// Without ids, and with both runtimes' names and own words taken away.
    fn comparable(&self, text: &str) -> String {
        let text = text
            .replace(&*self.directory.path().to_string_lossy(), "DIR")
            .replace(&*self.runtime.to_string_lossy(), "RUNTIME")
            .replace("runc: runc create failed: ", "RUNTIME: ")
            .replace("RUNTIME: runc create failed: ", "RUNTIME: ")
            .replace("RUNTIME: conex-runtime: ", "RUNTIME: ");
        let mut comparable = String::new();
        for word in text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()) {
            let is_id =
                |word: &str| [12, 64].contains(&word.len()) && word.chars().all(|letter| letter.is_ascii_hexdigit());
            let (plain, end) = match word.char_indices().last() {
                Some((at, last)) if !last.is_ascii_alphanumeric() => word.split_at(at),
                _ => (word, ""),
            };
            comparable.push_str(if is_id(plain) { "ID" } else { plain });
            comparable.push_str(end);
        }
        comparable
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        for arguments in [
            &["rm", "--all", "--force", "--time", "0"][..],
            &["volume", "rm", "--all"],
            &["rmi", "--all", "--force"],
        ] {
            self.call(arguments);
        }
        let Ok(hierarchies) = fs::read_dir("/sys/fs/cgroup") else {
            return;
        };
        for hierarchy in hierarchies.flatten() {
            let parent = hierarchy.path().join(&self.cgroup);
            for below in fs::read_dir(&parent).into_iter().flatten().flatten() {
                // Podman's own process beside each container, which has ended by now.
                let _ = fs::remove_dir(below.path());
            }
            let _ = fs::remove_dir(parent);
        }
    }
}
