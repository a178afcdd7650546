//! From nothing to a container that runs.

use std::fs;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::{Outcome, output};
use crate::{build, image, packages};

/// Builds, starts a daemon of its own, and runs a container: from Docker Hub where it is reachable, else from an image
/// made of Debian's busybox and served by a registry on this machine.
pub(crate) fn quickstart() -> Outcome {
    packages::install(&packages::RUN)?;
    build::build()?;
    let scratch = Scratch::new()?;
    let (image, _registry) = if docker_hub_answers() {
        ("busybox".to_owned(), None)
    } else {
        let (image, registry) = scratch.own_image()?;
        (image, Some(registry))
    };
    let daemon = scratch.start_daemon()?;
    let conex = build::dist().join("conex");
    let host = format!("unix://{}", scratch.dir.join("conex.sock").display());
    let said = output(Command::new(conex).args(["-H", &host, "run", "--rm", &image, "echo", "hello from a container"]));
    drop(daemon);
    let said = said?;
    print!("{said}");
    if said.trim() == "hello from a container" {
        Ok(())
    } else {
        Err(format!("the container said {said:?}"))
    }
}

/// Parent of the containers' cgroups.
const CGROUP: &str = "conex-quickstart";

/// A directory and processes that go when they are dropped.
struct Scratch {
    dir: PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for cgroup in hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]) {
            // Not every hierarchy has one.
            let _ = fs::remove_dir(cgroup.join(CGROUP));
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("xtask: remove {}: {error}", self.dir.display());
        }
    }
}

/// A process that is ended by SIGTERM when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

impl Scratch {
    fn new() -> Outcome<Self> {
        let dir = std::env::temp_dir().join(format!("conex-quickstart-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|error| format!("create {}: {error}", dir.display()))?;
        Ok(Self { dir })
    }

    fn start_daemon(&self) -> Outcome<Running> {
        let log = fs::File::create(self.dir.join("log")).map_err(|error| error.to_string())?;
        let path = |name: &str| self.dir.join(name);
        let mut command = Command::new(build::dist().join("conexd"));
        command
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("-H")
            .arg(format!("unix://{}", path("conex.sock").display()))
            .args(["--cgroup-parent", &format!("/{CGROUP}"), "--bridge", "conexq0"])
            .stderr(Stdio::from(log));
        let daemon = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let daemon = Running(daemon);
        wait_until(|| path("conex.sock").exists(), "the daemon's socket")?;
        Ok(daemon)
    }

    /// Makes an image of Debian's busybox and serves it from a registry on this machine; both go when they are dropped.
    fn own_image(&self) -> Outcome<(String, Running)> {
        packages::install(&packages::REGISTRY)?;
        let address = free_address()?;
        let storage = self.dir.join("registry");
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            storage.display()
        );
        let config_file = self.dir.join("registry.yml");
        fs::write(&config_file, config).map_err(|error| format!("write {}: {error}", config_file.display()))?;
        let mut command = Command::new("docker-registry");
        command
            .arg("serve")
            .arg(&config_file)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let registry = Running(command.spawn().map_err(|error| format!("{command:?}: {error}"))?);
        wait_until(|| TcpStream::connect(&address).is_ok(), "the registry")?;
        image::push_busybox(&self.dir, &address)?;
        Ok((format!("{address}/busybox"), registry))
    }
}

fn free_address() -> Outcome<String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("find a free port: {error}"))?;
    listener
        .local_addr()
        .map(|address| address.to_string())
        .map_err(|error| error.to_string())
}

fn docker_hub_answers() -> bool {
    let addresses = ("registry-1.docker.io", 443).to_socket_addrs();
    addresses.is_ok_and(|mut addresses| {
        addresses.any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(3)).is_ok())
    })
}

fn wait_until(ready: impl Fn() -> bool, what: &str) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if ready() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("{what} does not appear"))
}
