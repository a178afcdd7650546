//! The child between clone and exec: one `match` over the steps.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use conex_cgroup::{Cgroup, Version};
use conex_spec::plan::{
    Capabilities, ClockOffsets, FdSlot, Hook, MountSource, Namespace, Propagation, Stdio, Step, UserSpec,
};
use conex_sys::guard::{self, Guard};
use conex_sys::process::ExecStrings;
use conex_sys::seqpacket::Socket;
use conex_sys::{capability, mount, process, pty, seccomp, selinux};
use rustix::fs::{OFlags, XattrFlags};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::process::{Gid, Uid};
use rustix::thread::LinkNameSpaceType;

use crate::account;
use crate::attributes;
use crate::hook::run_hook;
use crate::kernel::KernelMounts;
use crate::listener;
use crate::mounts;
use crate::status::Report;
use crate::stdio::ChildStdio;

/// What the child works with.
pub(crate) struct Child<'a> {
    /// The plan's descriptors.
    pub(crate) fds: &'a [OwnedFd],
    /// The plan's cgroup.
    pub(crate) cgroup: Option<&'a Cgroup>,
    /// Whether the parent has the cgroup made around it.
    pub(crate) is_placed: bool,
    /// Its end of the status socket.
    pub(crate) status: &'a Socket,
    /// How many descriptors behind the standard ones reach the program.
    pub(crate) preserved: u32,
    /// SELinux's label for the file systems that it makes.
    pub(crate) label: Option<&'a str>,
    /// What its terminal is like.
    pub(crate) stdio: Stdio,
    /// Whether it is in a user namespace, and the parent has done what needs rights on the host (`UserNamespace`).
    pub(crate) is_mapped: bool,
    /// Whether `attributes::prepare` was called for it.
    pub(crate) is_prepared: bool,
    /// The new root, once it is attached; until then the root that was inherited.
    pub(crate) root: Option<OwnedFd>,
    /// Mounts of the kernel's file systems.
    pub(crate) kernel: KernelMounts,
    /// Makes what the plan asks for below `/dev`.
    pub(crate) maker: conex_sys::path::Maker,
    /// Whether the terminal is also `/dev/console`: the first process's is, a later one's would outlive it there.
    pub(crate) is_first: bool,
    /// Home of the user, once it is known.
    pub(crate) home: Option<String>,
    /// What is to run the program, where it does not run by itself.
    pub(crate) init: Option<OwnedFd>,
}

/// Why a step failed.
pub(crate) struct Failure {
    pub(crate) errno: i32,
    pub(crate) detail: String,
}

impl Failure {
    /// With the object that the step worked on.
    pub(crate) fn on(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let detail = operation.into();
        move |error| Self {
            errno: error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error()),
            detail,
        }
    }
}

/// Carries the steps out; ends in the program or by exiting.
pub(crate) fn run(mut child: Child<'_>, stdio: &ChildStdio, steps: &[Step]) -> ! {
    let prepared = conex_sys::signal::reset()
        .and_then(|()| stdio.install())
        // Whatever the daemon was started with must not reach into the container.
        .and_then(|()| conex_sys::descriptor::close_on_exec_from(3 + child.preserved))
        .map_err(Failure::on("prepare the standard descriptors"));
    if let Err(failure) = prepared {
        child.fail(None, failure);
    }
    // Modes are exactly those of the plan, which sets the container's umask in a step.
    rustix::process::umask(rustix::fs::Mode::empty());
    let reordered;
    let steps = if Guard::KernelMounts.holds() {
        steps
    } else {
        reordered = by_the_containers_proc(steps);
        &reordered
    };
    for (index, step) in steps.iter().enumerate() {
        let ready = match step {
            Step::WorkingDirectory { .. } => child.let_go(&steps[index..]),
            _ => Ok(()),
        };
        if let Err(failure) = ready.and_then(|()| child.step(step)) {
            child.fail(Some(index), failure);
        }
    }
    child.fail(
        None,
        Failure {
            errno: Errno::INVAL.raw_os_error(),
            detail: "the plan executes nothing".into(),
        },
    )
}

/// The steps as others take them, for the test that shows what comes of that: the score is written to what the container
/// has for `/proc`.
fn by_the_containers_proc(steps: &[Step]) -> Vec<Step> {
    let (scores, mut others): (Vec<_>, Vec<_>) = steps
        .iter()
        .cloned()
        .partition(|step| matches!(step, Step::OomScoreAdj(_)));
    let pivoted = others
        .iter()
        .position(|step| *step == Step::PivotRoot)
        .map_or(0, |index| index + 1);
    others.splice(pivoted..pivoted, scores);
    others
}

impl Child<'_> {
    /// Tells the parent and ends. Where the parent does not listen any more, the exit code has to do.
    pub(crate) fn fail(&self, step: Option<usize>, failure: Failure) -> ! {
        let code = if failure.errno == Errno::NOENT.raw_os_error() {
            127
        } else {
            126
        };
        let report = Report::Failed {
            step,
            errno: failure.errno,
            detail: failure.detail,
        };
        let _ = report.send(self.status, None);
        process::exit(code)
    }

    pub(crate) fn fd(&self, slot: FdSlot) -> Result<BorrowedFd<'_>, Failure> {
        let found = self.fds.get(usize::from(slot.0)).map(AsFd::as_fd);
        found.ok_or_else(|| Failure {
            errno: Errno::BADF.raw_os_error(),
            detail: format!("the plan names descriptor {} which was not handed over", slot.0),
        })
    }

    /// The root beneath which targets are resolved.
    pub(crate) fn root(&mut self) -> Result<BorrowedFd<'_>, Failure> {
        if self.root.is_none() {
            self.root = Some(conex_sys::path::open_dir(Path::new("/")).map_err(Failure::on("open the root"))?);
        }
        self.opened_root()
    }

    /// The root, where a step has opened it.
    fn opened_root(&self) -> Result<BorrowedFd<'_>, Failure> {
        self.root.as_ref().map(AsFd::as_fd).ok_or_else(|| Failure {
            errno: 0,
            detail: "no root".into(),
        })
    }

    /// Closes all that the rest of the steps does not need. What they follow from here on, a working directory or a program,
    /// was named by an image, which may name a descriptor (`/proc/self/fd/7`).
    fn let_go(&self, rest: &[Step]) -> Result<(), Failure> {
        if !Guard::Descriptors.holds() {
            return Ok(());
        }
        let slots = rest.iter().filter_map(|step| match step {
            Step::EnterNamespace { fd, .. } => Some(*fd),
            Step::Seccomp { filter, .. } => Some(*filter),
            Step::AwaitStart { fifo } => Some(*fifo),
            _ => None,
        });
        let mut kept = slots.map(|slot| self.fd(slot)).collect::<Result<Vec<_>, _>>()?;
        kept.push(self.status.as_fd());
        kept.extend(self.root.iter().chain(&self.init).map(AsFd::as_fd));
        conex_sys::descriptor::close_from_but(3 + self.preserved, &kept)
            .map_err(Failure::on("close what the program must not have"))
    }

    #[expect(clippy::too_many_lines, reason = "one flat match over all steps")]
    fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::EnterNamespace { namespace, fd } => {
                rustix::thread::move_into_link_name_space(self.fd(*fd)?, Some(kind(*namespace)))
                    .map_err(|errno| Failure::on(format!("enter the {namespace:?} namespace"))(errno.into()))
            }
            // Whoever made this process has taken what it could not (`attributes::prepare`).
            Step::Rlimit { .. } if self.is_mapped => Ok(()),
            Step::OomScoreAdj(_) | Step::Label { .. } if self.is_prepared => Ok(()),
            Step::Rlimit { name, soft, hard } => attributes::rlimit(name, *soft, *hard),
            Step::OomScoreAdj(score) => attributes::oom_score(*score),
            Step::Label { module, label } => attributes::label(*module, label),
            Step::JoinCgroup if self.is_placed => self.wait(&Report::Unplaced),
            // Born in it, and without a right to come into it.
            Step::JoinCgroup if self.is_mapped && self.cgroup.is_some_and(|own| own.version() == Version::V2) => Ok(()),
            Step::JoinCgroup => self
                .cgroup
                .map_or(Ok(()), Cgroup::join)
                .map_err(Failure::on("join the cgroup")),
            Step::UnshareCgroup => unshare_cgroup().map_err(Failure::on("unshare the cgroup namespace")),
            Step::SetHostname(name) => rustix::system::sethostname(name.as_bytes())
                .map_err(|e| Failure::on(format!("sethostname {name}"))(e.into())),
            Step::SetDomainname(name) => rustix::system::setdomainname(name.as_bytes())
                .map_err(|e| Failure::on(format!("setdomainname {name}"))(e.into())),
            Step::SetPropagation(propagation) => mount::set_propagation(propagation_flags(*propagation))
                .map_err(Failure::on("change the propagation of /")),
            Step::AttachRoot { root, at } => {
                let detached = match root {
                    conex_spec::plan::Root::Detached(slot) => Some(self.fd(*slot)?),
                    _ => None,
                };
                self.root = Some(mounts::attach_root((root, detached), at, self.label)?);
                Ok(())
            }
            Step::Mount(wanted) => {
                self.maker.forget();
                let tree = match &wanted.source {
                    MountSource::Detached { fd } => Some(
                        self.fd(*fd)?
                            .try_clone_to_owned()
                            .map_err(Failure::on("duplicate a descriptor"))?,
                    ),
                    MountSource::Elsewhere { namespace, path } => Some(
                        mounts::clone_from(self.fd(*namespace)?, path)
                            .map_err(Failure::on(format!("open {} of the other container", path.display())))?,
                    ),
                    MountSource::Remount => {
                        let found = self.kernel.find(self.opened_root()?, &wanted.target);
                        found.map_err(Failure::on(format!("find {}", wanted.target.display())))?
                    }
                    _ => None,
                };
                let around = mounts::Around {
                    cgroup: self.cgroup,
                    is_mapped: self.is_mapped,
                    label: self.label,
                };
                let kept = mounts::mount(self.root()?, wanted, tree, around)?;
                if wanted.source != MountSource::Remount {
                    self.kernel.mounted(&wanted.target, kept);
                }
                Ok(())
            }
            Step::Device(device) => {
                let mut maker = std::mem::take(&mut self.maker);
                let made = mounts::device(self.root()?, &mut maker, device);
                self.maker = maker;
                made
            }
            Step::Symlink { target, contents } => {
                let mut maker = std::mem::take(&mut self.maker);
                let made = maker.symlink(self.root()?, target, contents);
                self.maker = maker;
                made.map_err(Failure::on(format!("symlink {}", target.display())))
            }
            Step::Console => self.console(),
            Step::MoveRoot => mount::move_over_root(self.root()?).map_err(Failure::on("move the root")),
            Step::PivotRoot => mount::pivot_into(self.root()?).map_err(Failure::on("pivot_root")),
            Step::Mask(path) => mounts::mask(self.opened_root()?, (&self.kernel, self.label), path),
            Step::ReadonlyPath(path) => mounts::readonly_path(self.opened_root()?, &self.kernel, path),
            Step::ReadonlyRoot => mounts::readonly_root(self.root()?),
            Step::RootPropagation(propagation) => mounts::root_propagation(self.root()?, *propagation),
            Step::Sysctl { name, value } => mounts::sysctl(self.opened_root()?, &self.kernel, name, value),
            Step::Scheduler(wanted) => attributes::scheduler(wanted),
            Step::IoPriority(priority) => conex_sys::scheduling::set_io_priority(*priority)
                .map_err(Failure::on(format!("set I/O priority {priority:#x}"))),
            Step::MemoryPolicy(wanted) => attributes::memory_policy(wanted),
            Step::Personality(domain) => conex_sys::scheduling::set_personality(*domain)
                .map_err(Failure::on(format!("set personality {domain:#x}"))),
            Step::CpuAffinity(cpus) => attributes::affinity(cpus),
            Step::UnshareTime(ClockOffsets { monotonic, boot }) => {
                conex_sys::scheduling::unshare_time(*monotonic, *boot).map_err(Failure::on(format!(
                    "make a time namespace {monotonic:?} and {boot:?} away"
                )))
            }
            Step::Hold => self.wait(&Report::Held),
            Step::Hooks { point, hooks, state } => run_hooks(point, hooks, state),
            Step::SessionKeyring(name) => session_keyring(name),
            Step::FindProgram { program, env } => find(program, env).map(|_| ()),
            Step::AwaitStart { fifo } => self.await_start(*fifo),
            Step::NewSession => rustix::process::setsid()
                .map(|_| ())
                .map_err(|e| Failure::on("setsid")(e.into())),
            Step::User(user) => self.become_user(user),
            Step::Umask(mask) => {
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(*mask));
                Ok(())
            }
            Step::Capabilities(sets) => set_capabilities(*sets).map_err(Failure::on("set the capabilities")),
            Step::NoNewPrivileges => {
                rustix::thread::set_no_new_privs(true).map_err(|e| Failure::on("set no_new_privs")(e.into()))
            }
            Step::WorkingDirectory { path, create } => self.working_directory(path, *create),
            Step::Seccomp { filter, flags } => {
                let program =
                    conex_sys::memfd::read(self.fd(*filter)?).map_err(Failure::on("read the seccomp filter"))?;
                let install = || seccomp::install(&program, *flags);
                if listener::is_wanted(*flags) {
                    return listener::hand_over(self.status, install);
                }
                install().map_err(Failure::on("install the seccomp filter"))
            }
            Step::Init => {
                let init = conex_sys::init::sealed().map_err(Failure::on("make the init"))?;
                if let Some(label) = self.label {
                    // The container's processes may execute what is theirs.
                    rustix::fs::fsetxattr(&init, selinux::LABEL, label.as_bytes(), XattrFlags::empty())
                        .map_err(|errno| Failure::on("label the init")(errno.into()))?;
                }
                self.init = Some(init);
                Ok(())
            }
            Step::Execute { argv, env } => self.execute(argv, env),
        }
    }

    /// Says what it waits for, and waits.
    fn wait(&self, report: &Report) -> Result<(), Failure> {
        report
            .send(self.status, None)
            .map_err(Failure::on("report that the process waits"))?;
        match self.status.receive() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => process::exit(1),
            Err(error) => Err(Failure::on("wait for the go")(error)),
        }
    }

    fn await_start(&self, fifo: FdSlot) -> Result<(), Failure> {
        rustix::net::shutdown(self.status, rustix::net::Shutdown::Both)
            .map_err(|errno| Failure::on("close the status socket")(errno.into()))?;
        let mut byte = [0_u8; 1];
        rustix::io::retry_on_intr(|| rustix::io::read(self.fd(fifo).ok().ok_or(Errno::BADF)?, &mut byte))
            .map(|_| ())
            .map_err(|errno| Failure::on("wait for the start")(errno.into()))
    }

    fn console(&mut self) -> Result<(), Failure> {
        let Stdio::Terminal { rows, columns } = self.stdio else {
            return Err(Failure {
                errno: Errno::INVAL.raw_os_error(),
                detail: "a console without a terminal".into(),
            });
        };
        let on = |operation: &'static str| Failure::on(operation);
        let terminal = pty::open_in(self.root()?).map_err(on("open a terminal in the container's devpts"))?;
        pty::set_size(terminal.master.as_fd(), rows, columns).map_err(on("set the size of the terminal"))?;
        pty::make_controlling(terminal.slave.as_fd()).map_err(on("make the terminal the controlling one"))?;
        pty::become_stdio(terminal.slave.as_fd()).map_err(on("make the terminal the standard descriptors"))?;
        Report::Terminal
            .send(self.status, Some(&terminal.master))
            .map_err(on("hand the terminal over"))?;
        if self.is_first {
            mounts::console(self.root()?, terminal.slave.as_fd())?;
        }
        Ok(())
    }

    fn become_user(&mut self, user: &UserSpec) -> Result<(), Failure> {
        let account = account::look_up(user).map_err(|detail| Failure { errno: 0, detail })?;
        let failed = |errno: Errno| {
            let why = match errno {
                // No such id, or an id of all ones (setresuid(2), setgroups(2)).
                Errno::INVAL => ": not all of its ids are mapped in the user namespace",
                _ => "",
            };
            Failure::on(format!("become user {}:{}{why}", account.uid, account.gid))(errno.into())
        };
        if [account.uid, account.gid].contains(&u32::MAX) {
            // To the kernel it means that nothing is to change.
            return Err(failed(Errno::INVAL));
        }
        if account.uid != 0 {
            // Whoever is not root any more cannot give anything away.
            self.own_stdio(account.uid)?;
        }
        let groups: Vec<Gid> = account.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        if !matches!(user, UserSpec::WithoutGroups { .. }) {
            rustix::thread::set_thread_groups(&groups).map_err(failed)?;
        }
        capability::keep_over_user_change().map_err(Failure::on("keep capabilities"))?;
        let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed)?;
        self.home = Some(account.home);
        Ok(())
    }

    /// Programs reopen `/dev/stdout` by its link in `/proc`, which asks for permission on the pipe or terminal itself.
    fn own_stdio(&self, uid: u32) -> Result<(), Failure> {
        let own = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        // Without a pipe there it is the host's `/dev/null`.
        let skipped = usize::from(matches!(self.stdio, Stdio::Pipes { stdin: false }));
        let null = rustix::fs::makedev(1, 3);
        for fd in own.into_iter().skip(skipped) {
            // The host's, which the caller may have given us, is everybody's.
            if rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_rdev == null) {
                continue;
            }
            match rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), None) {
                // One who is not mapped is told of when he is to be become.
                Ok(()) | Err(Errno::PERM | Errno::ROFS | Errno::INVAL | Errno::BADF) => {}
                Err(errno) => return Err(Failure::on("give the standard descriptors to the user")(errno.into())),
            }
        }
        Ok(())
    }

    fn working_directory(&mut self, path: &Path, create: bool) -> Result<(), Failure> {
        let on = || Failure::on(format!("chdir to cwd {}", path.display()));
        if !Guard::WorkingDirectory.holds() && path.is_dir() {
            return rustix::process::chdir(path).map_err(|errno| on()(errno.into()));
        }
        let root = self.root()?;
        // Links of `/proc` lead to directories that no path below the root has.
        let directory = match conex_sys::path::open_in(root, path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                conex_sys::path::make_dirs_in(root, path)
            }
            opened => opened,
        };
        let directory = directory.map_err(on())?;
        conex_sys::path::enter_dir(directory.as_fd()).map_err(on())
    }

    fn execute(&self, argv: &[String], env: &[String]) -> Result<(), Failure> {
        let name = argv.first().map_or("", String::as_str);
        let mut env = env.to_vec();
        if let Some(home) = &self.home
            && !env.iter().any(|variable| variable.starts_with("HOME="))
        {
            env.push(format!("HOME={home}"));
        }
        let on = || Failure::on(format!("exec {name}"));
        let environment = ExecStrings::new(&env).map_err(on())?;
        if let Some(init) = &self.init {
            // The init could tell of a missing program only by its status.
            let words = ["conex-init".to_owned(), find(name, &env)?];
            let arguments = ExecStrings::new(&[&words[..], argv].concat()).map_err(on())?;
            let error = process::execute_fd(init.as_fd(), &arguments, &environment);
            return Err(Failure::on("exec the init")(error));
        }
        let arguments = ExecStrings::new(argv).map_err(on())?;
        guard::race("execute", Path::new(name));
        let mut outcome = io::Error::from(Errno::NOENT);
        for candidate in candidates(name, &env) {
            let Ok(path) = CString::new(candidate) else { continue };
            let error = process::execute(&path, &arguments, &environment);
            match Errno::from_io_error(&error) {
                // Not there; the next directory may have it.
                Some(Errno::NOENT | Errno::NOTDIR) => {}
                // Found, and not to be executed: told only when no other directory has a better one.
                _ => outcome = error,
            }
        }
        Err(on()(outcome))
    }
}

/// Paths that a program's name may mean, in the order in which they are tried.
fn candidates(name: &str, env: &[String]) -> Vec<String> {
    if name.is_empty() || name.contains('/') {
        return vec![name.to_owned()];
    }
    let path = env
        .iter()
        .rev()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH);
    path.split(':')
        .map(|dir| {
            if dir.is_empty() {
                format!("./{name}")
            } else {
                format!("{dir}/{name}")
            }
        })
        .collect()
}

/// Where programs are searched when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn find(name: &str, env: &[String]) -> Result<String, Failure> {
    let mut outcome = io::Error::from(Errno::NOENT);
    for candidate in candidates(name, env) {
        match rustix::fs::access(candidate.as_str(), rustix::fs::Access::EXEC_OK) {
            Ok(()) if !Path::new(&candidate).is_dir() => return Ok(candidate),
            Ok(()) => outcome = io::Error::from(Errno::ACCESS),
            // Not there, as far as anybody can tell.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => {}
            Err(errno) => outcome = errno.into(),
        }
    }
    Err(Failure::on(format!("exec {name}"))(outcome))
}

fn run_hooks(point: &str, hooks: &[Hook], state: &str) -> Result<(), Failure> {
    let pid = rustix::process::getpid().as_raw_nonzero();
    let state = match state.strip_suffix('}') {
        Some(open) => format!("{open},\"pid\":{pid}}}"),
        None => state.to_owned(),
    };
    for hook in hooks {
        run_hook(hook, &state).map_err(|error| Failure {
            errno: error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error()),
            detail: format!("{point} hook {}: {error}", hook.path.display()),
        })?;
    }
    Ok(())
}

fn kind(namespace: Namespace) -> LinkNameSpaceType {
    match namespace {
        Namespace::Cgroup => LinkNameSpaceType::ControlGroup,
        Namespace::Ipc => LinkNameSpaceType::InterProcessCommunication,
        Namespace::Mount => LinkNameSpaceType::Mount,
        Namespace::Network => LinkNameSpaceType::Network,
        Namespace::Pid => LinkNameSpaceType::ProcessID,
        Namespace::Time => LinkNameSpaceType::Time,
        Namespace::User => LinkNameSpaceType::User,
        Namespace::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
    }
}

/// The kernel's flags for a propagation, without recursion.
pub(crate) fn propagation_flags(propagation: Propagation) -> MountPropagationFlags {
    match propagation {
        Propagation::Private => MountPropagationFlags::PRIVATE,
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        Propagation::Shared => MountPropagationFlags::SHARED,
        Propagation::Unbindable => MountPropagationFlags::UNBINDABLE,
    }
}

fn unshare_cgroup() -> io::Result<()> {
    conex_sys::process::unshare_cgroup()
}

/// The user may have changed: what is still permitted is made effective, so that the bounding set can be lowered.
fn set_capabilities(sets: Capabilities) -> io::Result<()> {
    let permitted = rustix::thread::capabilities(None)?.permitted.bits();
    capability::set(permitted, permitted, sets.inheritable & permitted)?;
    capability::limit_bounding(sets.bounding)?;
    capability::set(
        sets.effective & permitted,
        sets.permitted & permitted,
        sets.inheritable & permitted,
    )?;
    capability::raise_ambient(sets.ambient)
}

fn session_keyring(name: &str) -> Result<(), Failure> {
    let on = || Failure::on("join a session keyring");
    let name = CString::new(name).map_err(|error| on()(error.into()))?;
    match conex_sys::process::join_session_keyring(&name) {
        Err(error) if !matches!(Errno::from_io_error(&error), Some(Errno::NOSYS | Errno::PERM)) => Err(on()(error)),
        _ => Ok(()),
    }
}
