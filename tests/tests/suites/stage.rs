//! An engine with what the suites expect around it: Docker Hub, and a registry at `localhost:5000`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use conex_tests::{Engine, Sandbox, eventually};

use crate::hub;

/// Where `cargo xtask suites` keeps what it fetched.
pub(crate) fn suites() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/suites");
    assert!(dir.is_dir(), "{} is needed: cargo xtask suites", dir.display());
    dir.canonicalize().unwrap()
}

/// An engine that a suite is run on.
pub(crate) struct Stage {
    // Before the sandbox, whose directory it uses.
    _registry: Registry,
    sandbox: Sandbox,
    log: fs::File,
}

/// Longest time of a whole suite.
const PATIENCE: &str = "1800";

impl Stage {
    /// Starts the engine with these flags and pulls these images. What the suite says goes to the log.
    pub(crate) fn new(engine: Engine, images: &[&str], flags: &[&str], log: fs::File) -> Self {
        let mirror = ["--registry-mirror", "http://127.0.0.1:5000"];
        let sandbox = Sandbox::with_flags(engine, &[&mirror, flags].concat());
        let registry = Registry::start(&sandbox);
        for image in images {
            sandbox.ok(&["pull", "-q", image]);
        }
        Self {
            _registry: registry,
            sandbox,
            log,
        }
    }

    /// A scratch directory.
    pub(crate) fn dir(&self) -> &Path {
        self.sandbox.dir()
    }

    /// Appends what a program wrote to a file of its own to the log.
    pub(crate) fn keep(&self, said: &Path) {
        let mut log = self.log.try_clone().unwrap();
        log.write_all(&fs::read(said).unwrap()).unwrap();
    }

    /// A program that finds the engine as clients do, in the engine's network, ended after half an hour.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let home = self.dir().join("home");
        fs::create_dir_all(&home).unwrap();
        let mut command = Command::new("nsenter");
        command
            .arg(self.sandbox.namespace_option())
            .args(["timeout", PATIENCE])
            .arg(program)
            .env("DOCKER_HOST", format!("unix://{}", self.sandbox.socket().display()))
            .env("HOME", home)
            .env_remove("DOCKER_CONFIG")
            .stdin(Stdio::null())
            .stdout(self.log.try_clone().unwrap())
            .stderr(self.log.try_clone().unwrap());
        command
    }
}

/// Debian's `docker-registry` in the engine's network, with the images of the hub. It is that hub's mirror too.
struct Registry(Child);

impl Registry {
    fn start(sandbox: &Sandbox) -> Self {
        let dir = sandbox.dir().join("registry");
        let copied = Command::new("cp").arg("-a").arg(hub::stored()).arg(&dir).status();
        assert!(copied.unwrap().success());
        let config = sandbox.dir().join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: ':5000', secret: s}}\n",
            dir.display()
        );
        fs::write(&config, text).unwrap();
        let child = Command::new("nsenter")
            .arg(sandbox.namespace_option())
            .args(["docker-registry", "serve"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry (Debian package docker-registry) is needed");
        let registry = Self(child);
        eventually("an answer of the registry", || {
            let asked = sandbox.in_namespace("curl", &["-fs", "http://127.0.0.1:5000/v2/"]);
            asked.code == 0
        });
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
