//! The runtime with switches for its guards, and what an exploit comes to with them and without.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::bundle::{Bundle, CONEX};

/// A runtime, and the environment that it is called with.
pub(crate) struct Runtime {
    pub(crate) program: PathBuf,
    without: &'static str,
}

impl Runtime {
    /// The released one.
    pub(crate) fn released() -> Runtime {
        Runtime {
            program: PathBuf::from(CONEX),
            without: "",
        }
    }

    /// The one with switches, without these guards; `""` for none.
    pub(crate) fn without(guards: &'static str) -> Runtime {
        Runtime {
            program: weakened().to_owned(),
            without: guards,
        }
    }

    pub(crate) fn bundle(&self, change: impl FnOnce(&mut Value)) -> Bundle {
        Bundle::of(&self.program, change)
    }

    /// A command on a bundle.
    pub(crate) fn command(&self, bundle: &Bundle, arguments: &[&str]) -> Command {
        let mut command = bundle.command(arguments);
        command.env("CONEX_WITHOUT_GUARD", self.without).stdin(Stdio::null());
        command
    }

    /// Runs a container in the foreground.
    pub(crate) fn run(&self, bundle: &Bundle) -> Said {
        Said::of(self.command(bundle, &["run", &bundle.id]).output().unwrap())
    }

    /// Runs a container in the foreground; `exchange` is done while it waits at this moment. `fifo` is its path in the bundle
    /// and for the process that waits.
    pub(crate) fn race(&self, bundle: &Bundle, at: &str, fifo: (&str, &str), exchange: impl FnOnce()) -> Said {
        let place = bundle.path(fifo.0);
        rustix::fs::mkfifoat(rustix::fs::CWD, &place, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        let mut command = self.command(bundle, &["run", &bundle.id]);
        let race = format!("{at}:{}", fifo.1);
        let running = command
            .env("CONEX_RACE", race)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = running.spawn().unwrap();
        match reached(&place, &mut running) {
            Some(door) => {
                exchange();
                drop(door);
            }
            None => panic!(
                "{at} is not come to: {:?}",
                Said::of(running.wait_with_output().unwrap())
            ),
        }
        Said::of(running.wait_with_output().unwrap())
    }
}

/// Waits until a program has opened a fifo for reading; `None` where it ends before.
pub(crate) fn reached(fifo: &Path, running: &mut Child) -> Option<File> {
    loop {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut options = OpenOptions::new();
        // Without a reader it is ENXIO (fifo(7)).
        let opened = std::os::unix::fs::OpenOptionsExt::custom_flags(options.write(true), nonblocking).open(fifo);
        match opened {
            Ok(door) => return Some(door),
            Err(_) if running.try_wait().unwrap().is_some() => return None,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) errors: String,
    pub(crate) success: bool,
}

impl Said {
    fn of(output: Output) -> Said {
        Said {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
            success: output.status.success(),
        }
    }
}

/// Builds the runtime with switches, apart from all that is released: features are united within one build only. The
/// virtual machine, which has no compiler, says where it is.
fn weakened() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(built) = std::env::var_os("CONEX_RUNTIME_WITHOUT_GUARDS") {
            return PathBuf::from(built);
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let target = root.join("target/without-guards");
        let rustc = Command::new("rustc").arg("-vV").output().unwrap();
        let version = String::from_utf8(rustc.stdout).unwrap();
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--locked",
                "-p",
                "conex-runtime",
                "--features",
                "without-guards",
            ])
            .args(["--target", host, "--target-dir"])
            .arg(&target)
            // Static as the released one is: a container has no libraries for it.
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .current_dir(&root)
            .status();
        assert!(built.unwrap().success(), "the runtime with switches is not built");
        target.join(host).join("debug/conex-runtime")
    })
}

/// Makes a file with its directories.
pub(crate) fn write(path: impl AsRef<Path>, contents: &str) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}
