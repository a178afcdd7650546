//! A scratch daemon.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::engine::{DEFAULT_SLICE, Engine, Place, dist};
use crate::http::{Answer, Question, Reply, exchange, hijack, request};
use crate::storage::{Disk, StorageDriver};

/// Environment variable by which the processes of a sandbox are found.
pub(crate) const MARK: &str = "CONEX_TEST_SANDBOX";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A daemon with its data, its network namespace and its cgroup parent; all of it goes when it is dropped.
pub struct Sandbox {
    engine: Engine,
    programs: PathBuf,
    dir: TempDir,
    cgroup: String,
    bridge: String,
    flags: Vec<String>,
    before: Vec<String>,
    namespace: Child,
    daemon: Option<Child>,
    storage: Option<StorageDriver>,
    disk: Option<Disk>,
}

/// Where the daemon's network is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    Own,
    Host,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Standard output without white space at its end.
    pub out: String,
    /// Standard error without white space at its end.
    pub err: String,
    /// Exit code.
    pub code: i32,
}

impl Said {
    /// What a program that has ended said.
    #[must_use]
    pub fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Self {
            out: text(&output.stdout),
            err: text(&output.stderr),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

/// Waits until something holds; panics with its name where it does not within ten seconds, or those of
/// `CONEX_TEST_PATIENCE` on a machine that is emulated.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let patience = std::env::var("CONEX_TEST_PATIENCE").map_or(10, |seconds| seconds.parse().unwrap());
    let deadline = Instant::now() + Duration::from_secs(patience);
    while !holds() {
        assert!(Instant::now() < deadline, "does not come about: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

impl Sandbox {
    /// A daemon that has the image `busybox:latest`.
    pub fn new() -> Self {
        Self::with_busybox(Engine::chosen())
    }

    /// A daemon of this engine that has the image `busybox:latest`.
    pub fn with_busybox(engine: Engine) -> Self {
        Self::in_network(engine, Network::Own, &[]).loaded()
    }

    /// As `with_busybox`, reaching registries as one `beside_registries` does.
    pub fn with_busybox_beside_registries(engine: Engine) -> Self {
        Self::in_network(engine, Network::Host, &[]).loaded()
    }

    /// Gives the daemon the image `busybox:latest`.
    pub fn load_busybox(&self) {
        let archive = crate::busybox_archive(self.dir.path());
        self.ok(&["load", "-q", "-i", archive.to_str().unwrap()]);
    }

    fn loaded(self) -> Self {
        self.load_busybox();
        self
    }

    /// A daemon without images.
    pub fn empty() -> Self {
        Self::in_network(Engine::chosen(), Network::Own, &[])
    }

    /// A daemon without images that reaches registries on the loopback of the host. It makes no bridge.
    pub fn beside_registries() -> Self {
        Self::in_network(Engine::chosen(), Network::Host, &[])
    }

    /// As `beside_registries`, of this engine and with these flags besides.
    pub fn beside_registries_with(engine: Engine, flags: &[&str]) -> Self {
        Self::in_network(engine, Network::Host, flags)
    }

    /// What the next daemon is started with besides.
    pub fn set_flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    }

    /// A daemon of this engine without images, with these flags besides.
    pub fn with_flags(engine: Engine, flags: &[&str]) -> Self {
        Self::in_network(engine, Network::Own, flags)
    }

    /// As `with_flags`, with this environment of the daemon's besides.
    pub fn with_settings(engine: Engine, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut sandbox = Self::in_namespace_of(engine, Network::Own, flags);
        sandbox.start(environment);
        sandbox
    }

    /// As `new`, with this storage driver.
    pub fn with_storage(driver: StorageDriver) -> Self {
        let mut sandbox = Self::in_namespace_of(Engine::chosen(), Network::Own, &[]);
        sandbox.store_by(driver);
        sandbox.start(&[]);
        sandbox.loaded()
    }

    /// As `with_storage`, with these flags besides.
    pub fn with_storage_flags(driver: StorageDriver, flags: &[&str]) -> Self {
        let mut sandbox = Self::in_namespace_of(Engine::Conex, Network::Own, flags);
        sandbox.store_by(driver);
        sandbox.start(&[]);
        sandbox.loaded()
    }

    /// As `new`, with the cgroups that a daemon chooses by itself on a host of systemd.
    pub fn with_systemd() -> Self {
        let mut sandbox = Self::in_namespace_of(Engine::chosen(), Network::Own, &[]);
        DEFAULT_SLICE.clone_into(&mut sandbox.cgroup);
        sandbox.start(&[]);
        sandbox.loaded()
    }

    /// As `with_storage_flags`, its data on a file system of this kind that has quotas of projects.
    pub fn with_projects(kind: &str, flags: &[&str]) -> Self {
        let mut sandbox = Self::in_namespace_of(Engine::Conex, Network::Own, flags);
        let data = sandbox.dir.path().join("data");
        sandbox.disk = Some(Disk::with_projects(kind, 1024, &data));
        sandbox.start(&[]);
        sandbox.loaded()
    }

    /// As `new`, with cgroups that systemd makes in a slice of the sandbox's own.
    pub fn in_slice() -> Self {
        let mut sandbox = Self::in_namespace_of(Engine::chosen(), Network::Own, &[]);
        // A dash would lead into another slice.
        sandbox.cgroup = format!("{}.slice", sandbox.cgroup.replace('-', ""));
        sandbox.start(&[]);
        sandbox.loaded()
    }

    /// Has the daemon that is started next put containers below another parent.
    pub fn set_cgroup_parent(&mut self, parent: &str) {
        parent.clone_into(&mut self.cgroup);
    }

    /// Starts a daemon that does not start, and says why.
    pub fn refused_start(&self) -> String {
        let before = self.log().len();
        let ended = self.spawn(&[]).wait().unwrap();
        assert!(!ended.success());
        self.log()[before..].to_owned()
    }

    /// Whether the storage driver stacks layers, so that there can be too many.
    pub fn is_stacked(&self) -> bool {
        self.storage.is_some_and(StorageDriver::is_stacked)
    }

    /// Does not tell the daemons that are started from now on which storage driver to use.
    pub fn forget_storage(&mut self) {
        self.storage = None;
    }

    /// As `with_storage`, with what another storage driver needs mounted below its data.
    pub fn with_storage_on(driver: StorageDriver, on: StorageDriver) -> Self {
        let mut sandbox = Self::in_namespace_of(Engine::chosen(), Network::Own, &[]);
        sandbox.store_by(on);
        sandbox.store_beside(driver);
        sandbox.start(&[]);
        sandbox.loaded()
    }

    /// Has the daemon that is started next use another storage driver where the data is.
    pub fn store_beside(&mut self, driver: StorageDriver) {
        self.storage = Some(driver);
    }

    /// Has the daemon that is started next use another storage driver, with what that needs mounted below its data.
    pub fn store_by(&mut self, driver: StorageDriver) {
        self.disk = driver.prepare(&self.dir.path().join("data"));
        self.storage = Some(driver);
    }

    /// As `new`, the daemon started by this command, to which its own command line is given.
    pub fn started_by(command: &[&str]) -> Self {
        let mut sandbox = Self::in_namespace_of(Engine::chosen(), Network::Own, &[]);
        sandbox.before = command.iter().map(|&word| word.to_owned()).collect();
        sandbox.start(&[]);
        sandbox.loaded()
    }

    /// As `beside_registries`, the daemon started by this command, to which its own command line is given.
    pub fn beside_registries_by(command: &[&str]) -> Self {
        let mut sandbox = Self::in_namespace_of(Engine::chosen(), Network::Host, &[]);
        sandbox.before = command.iter().map(|&word| word.to_owned()).collect();
        sandbox.start(&[]);
        sandbox
    }

    /// As `new`, with the programs in this directory.
    pub fn of_programs(programs: &Path, environment: &[(&str, &str)]) -> Self {
        let mut sandbox = Self::in_namespace_of(Engine::Conex, Network::Own, &[]);
        sandbox.programs = programs.to_owned();
        sandbox.start(environment);
        sandbox.loaded()
    }

    fn in_network(engine: Engine, network: Network, flags: &[&str]) -> Self {
        let mut sandbox = Self::in_namespace_of(engine, network, flags);
        sandbox.start(&[]);
        sandbox
    }

    /// All that a daemon needs, before it is started.
    fn in_namespace_of(engine: Engine, network: Network, flags: &[&str]) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::tempdir().unwrap();
        let (program, arguments, bridge): (_, &[&str], _) = match network {
            Network::Own => (
                "unshare",
                &[
                    "--net",
                    "sh",
                    "-c",
                    "ip link set lo up && echo ready && exec sleep infinity",
                ],
                "conexbr0",
            ),
            Network::Host => ("sh", &["-c", "echo ready && exec sleep infinity"], "none"),
        };
        let mut namespace = Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare(1) is needed");
        let mut ready = [0; 6];
        namespace
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut ready)
            .expect("a network namespace");
        let mut sandbox = Self {
            engine,
            programs: dist(),
            cgroup: format!("conex-test-{}-{number}", std::process::id()),
            bridge: bridge.to_owned(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            before: Vec::new(),
            dir,
            namespace,
            daemon: None,
            storage: None,
            disk: None,
        };
        // So that every test can be run with every driver.
        if let Ok(name) = std::env::var("CONEX_TEST_STORAGE_DRIVER") {
            sandbox.store_by(StorageDriver::named(&name));
        }
        sandbox
    }

    /// The scratch directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("s.sock")
    }

    /// Starts the daemon with more environment, and waits until it answers.
    pub fn start(&mut self, environment: &[(&str, &str)]) {
        let daemon = self.spawn(environment);
        self.daemon = Some(daemon);
        self.await_answer();
    }

    /// Runs the daemon with more flags until it ends by itself.
    pub fn run_daemon(&self, flags: &[&str], environment: &[(&str, &str)]) -> Said {
        let output = self
            .daemon_command(environment)
            .args(flags)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said::new(&output)
    }

    /// Starts the daemon without waiting; for one that dies at a fail point.
    fn spawn(&self, environment: &[(&str, &str)]) -> Child {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        self.daemon_command(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn daemon_command(&self, environment: &[(&str, &str)]) -> Command {
        let place = Place {
            programs: &self.programs,
            dir: self.dir.path(),
            socket: &self.socket(),
            cgroup: &self.cgroup,
            bridge: &self.bridge,
        };
        let mut daemon = Command::new("nsenter");
        daemon
            .arg(format!("--net=/proc/{}/ns/net", self.namespace.id()))
            .args(&self.before)
            .args(self.engine.daemon(&place))
            .args(self.storage.map(|driver| format!("--storage-driver={}", driver.name())))
            .args(&self.flags)
            .env("PATH", self.engine.path())
            .env(MARK, self.dir.path())
            .envs(environment.iter().copied());
        daemon
    }

    fn await_answer(&self) {
        eventually(&format!("an answer of the daemon: {}", self.log()), || {
            self.command(&["version", "--format", "{{.Server.Version}}"])
                .output()
                .is_ok_and(|output| output.status.success())
        });
    }

    /// Kills the daemon as `kill -9` does.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// Asks the daemon to end, and waits until it has.
    pub fn terminate(&mut self) {
        end(self.daemon.take().unwrap()).unwrap();
    }

    /// Waits for a daemon that dies by itself.
    pub fn await_death(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        eventually("the daemon's death", || {
            Path::new(&format!("/proc/{}/stat", daemon.id())).exists()
        });
        daemon.wait().unwrap();
    }

    /// Time of the processor that the daemon has had, with its children that ended (`utime` to `cstime` of
    /// proc_pid_stat(5), in the kernel's hundredths of a second).
    pub fn processor_time(&self) -> Duration {
        let daemon = self.daemon.as_ref().unwrap().id();
        let stat = fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap();
        // After the name, which may have blanks.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(4)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// Whether the daemon is still there.
    pub fn is_alive(&mut self) -> bool {
        self.daemon
            .as_mut()
            .is_some_and(|daemon| daemon.try_wait().unwrap().is_none())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .args(arguments);
        command
    }

    /// Runs the `docker` CLI.
    pub fn docker(&self, arguments: &[&str]) -> Said {
        let output = self
            .command(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the docker client is needed");
        Said::new(&output)
    }

    /// Runs the `docker` CLI, which must succeed; returns what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let said = self.docker(arguments);
        assert!(said.code == 0, "docker {arguments:?}: {said:?}\n{}", self.log());
        said.out
    }

    /// Runs a script in a new container of busybox, which must succeed.
    pub fn run(&self, options: &[&str], script: &str) -> String {
        let arguments: Vec<&str> = ["run", "--rm"]
            .into_iter()
            .chain(options.iter().copied())
            .chain(["busybox", "sh", "-c", script])
            .collect();
        self.ok(&arguments)
    }

    /// Runs the `docker` CLI with this input.
    pub fn with_input(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        // A process that does not read its input is the test's business.
        let _ = writer.join().unwrap();
        Said::new(&output)
    }

    /// Runs the `docker` CLI on a terminal, typing each line after the pause before it.
    pub fn on_terminal(&self, arguments: &[&str], typed: &[(Duration, &str)]) -> Said {
        let mut child = self.spawn_on_terminal(arguments);
        let mut stdin = child.stdin.take().unwrap();
        for (pause, text) in typed {
            thread::sleep(*pause);
            stdin.write_all(text.as_bytes()).unwrap();
            stdin.flush().unwrap();
        }
        // script(1) ends its session at the end of its input; the pause lets the answer come first.
        thread::sleep(Duration::from_millis(500));
        drop(stdin);
        Said::new(&child.wait_with_output().unwrap())
    }

    /// Starts the `docker` CLI on a terminal.
    pub fn spawn_on_terminal(&self, arguments: &[&str]) -> Child {
        let quoted: Vec<String> = arguments
            .iter()
            .map(|argument| format!("'{}'", argument.replace('\'', "'\\''")))
            .collect();
        Command::new("script")
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .args([
                "--quiet",
                "--return",
                "--flush",
                "--command",
                &format!("docker {}", quoted.join(" ")),
                "/dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("script(1) is needed")
    }

    /// Starts the `docker` CLI and returns at once.
    pub fn background(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// A request as bytes; the status and the body of the answer.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = self.ask(method, path, body);
        (answer.status, answer.body)
    }

    /// A request as bytes, and all that matters of the answer.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        request(&self.socket(), method, path, body)
    }

    /// A request with all that can be said in one, and the answer as bytes.
    pub fn exchange(&self, question: &Question<'_>) -> Reply {
        exchange(&self.socket(), question)
    }

    /// A request to change the protocol that was let in: from here on the connection is the stream of a process.
    pub fn hijack(&self, path: &str, body: &str) -> UnixStream {
        hijack(&self.socket(), path, body)
    }

    /// The option of nsenter(1) that names the daemon's network namespace.
    pub fn namespace_option(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.namespace.id())
    }

    /// Runs a program in the daemon's network namespace.
    pub fn in_namespace(&self, program: &str, arguments: &[&str]) -> Said {
        let output = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", self.namespace.id()))
            .arg(program)
            .args(arguments)
            .output()
            .unwrap();
        Said::new(&output)
    }

    /// What the daemon logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The parent of containers' cgroups, without a leading slash. It is there from the first container on.
    pub fn cgroup_parent(&self) -> &str {
        &self.cgroup
    }

    /// Directories of containers' cgroups.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(root).unwrap().flatten().map(|entry| entry.path());
        let parents = hierarchies
            .chain([root.to_owned()])
            .map(|hierarchy| hierarchy.join(&self.cgroup));
        let below = parents
            .filter_map(|parent| fs::read_dir(parent).ok())
            .flatten()
            .flatten();
        // In a slice there may be others.
        let prefix = if self.cgroup.ends_with(".slice") { "docker-" } else { "" };
        below
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    }

    /// Everything that is left of containers: cgroups, run-time files, mounts, interfaces.
    pub fn remains(&self) -> Vec<String> {
        let mut remains: Vec<String> = self.cgroups().iter().map(|path| path.display().to_string()).collect();
        if self.engine != Engine::Conex {
            return remains;
        }
        let run = self.dir.path().join("exec/containers");
        remains.extend(
            fs::read_dir(run)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path().display().to_string()),
        );
        let data = self.dir.path().join("data/containers");
        remains.extend(
            fs::read_dir(data)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path().display().to_string()),
        );
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = self.dir.path().to_str().unwrap().to_owned();
        let is_left = |line: &&str| line.contains(&ours) && !self.is_of_disk(line);
        remains.extend(mounts.lines().filter(is_left).map(str::to_owned));
        if self.bridge != "none" {
            for kind in ["veth", "ifb"] {
                let links = self.in_namespace("ip", &["-o", "link", "show", "type", kind]).out;
                remains.extend(links.lines().map(str::to_owned));
            }
        }
        remains
    }

    /// Whether a line of mountinfo is that of the file system that the data root is on.
    fn is_of_disk(&self, line: &str) -> bool {
        let at = self.disk.as_ref().and_then(|disk| disk.path().to_str());
        line.split(' ').nth(4) == at && at.is_some()
    }

    /// Processes that are left, as text.
    fn processes(&self) -> Vec<String> {
        let usage = self.usage().into_iter();
        usage.map(|usage| format!("{}: {}", usage.pid, usage.command)).collect()
    }

    /// Ends the daemon in order and checks that nothing is left.
    fn close(&mut self) -> Vec<String> {
        let ids = self.docker(&["ps", "-aq"]).out;
        for id in ids.lines() {
            self.docker(&["rm", "-f", id]);
        }
        if let Some(daemon) = self.daemon.take() {
            // It may have ended by itself.
            let _ = end(daemon);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        let left = || [self.remains(), self.processes()].concat();
        let mut remains = left();
        while !remains.is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
            remains = left();
        }
        if self.engine != Engine::Conex {
            self.engine.clean(self.dir.path());
            return Vec::new();
        }
        if self.disk.take().is_some_and(|disk| !disk.unmount()) {
            remains.push("what uses the data root's file system".to_owned());
        }
        if self.bridge == "none" {
            return remains;
        }
        let links = self.in_namespace("ip", &["-o", "link", "show", "type", "bridge"]).out;
        remains.extend(links.lines().map(str::to_owned));
        remains.extend(
            self.in_namespace("nft", &["list", "tables"])
                .out
                .lines()
                .map(str::to_owned),
        );
        remains
    }
}

/// Asks a daemon to end, and waits until it has: by the kernel's own call, as kill(1) may be missing.
fn end(mut daemon: Child) -> io::Result<()> {
    rustix::process::kill_process(Pid::from_child(&daemon), Signal::TERM)?;
    daemon.wait().map(drop)
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let remains = self.close();
        let _ = self.namespace.kill();
        let _ = self.namespace.wait();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join(&self.cgroup));
        }
        let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(&self.cgroup));
        if !thread::panicking() {
            assert!(remains.is_empty(), "left behind: {remains:#?}\n{}", self.log());
        }
    }
}
