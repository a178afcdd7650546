//! Debian's Podman with stores, cgroups and namespaces of its own, under either runtime.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::bundle::{CONEX, runc};
use crate::scenarios::{self, Manager, Told, remove_cgroup, without_ids};

/// A machine of Podman's own: nothing is left when it is dropped.
struct Podman {
    directory: TempDir,
    runtime: PathBuf,
    cgroup: String,
}

/// Holds a scenario with our runtime against the same with runc.
pub(crate) fn compare(name: &str, commands: &str) {
    let [ours, theirs] = [Path::new(CONEX).to_path_buf(), runc()].map(|runtime| Podman::new(name, runtime));
    let wrong = scenarios::compare((name, commands), [&ours, &theirs]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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

    /// Without ids, and with both runtimes' names and own words taken away.
    fn comparable(&self, text: &[u8]) -> String {
        let text = String::from_utf8_lossy(text)
            .replace(&*self.directory.path().to_string_lossy(), "DIR")
            .replace(&*self.runtime.to_string_lossy(), "RUNTIME")
            .replace("runc: runc create failed: ", "RUNTIME: ")
            .replace("RUNTIME: runc create failed: ", "RUNTIME: ")
            .replace("RUNTIME: conex-runtime: ", "RUNTIME: ");
        without_ids(&text)
    }
}

impl Manager for Podman {
    fn told(&self, words: &[&str]) -> Told {
        let output = self.call(words);
        Told {
            code: output.status.code().unwrap_or(-1),
            output: self.comparable(&output.stdout),
            errors: self.comparable(&output.stderr),
        }
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
        // Podman's own process beside each container, which has ended by now, leaves its directory.
        remove_cgroup(&self.cgroup);
    }
}
