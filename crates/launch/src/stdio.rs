//! Standard input, output and error of a process.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use conex_spec::plan::Stdio;
use rustix::pipe::PipeFlags;

/// The parent's side.
#[derive(Debug)]
pub enum ProcessStdio {
    /// Pipes; `stdin` is absent where the process reads `/dev/null`.
    Pipes {
        /// Write end.
        stdin: Option<OwnedFd>,
        /// Read end.
        stdout: OwnedFd,
        /// Read end.
        stderr: OwnedFd,
    },
    /// The master of its terminal.
    Terminal {
        /// The master.
        master: OwnedFd,
    },
    /// The parent's own.
    Inherit,
}

/// The child's side, made before the clone.
#[derive(Debug)]
pub(crate) enum ChildStdio {
    Pipes {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// Made by a step in the container's own devpts.
    Terminal,
    Inherit,
}

/// Makes both sides; `None` for the parent's where the child makes a terminal.
pub(crate) fn prepare(stdio: Stdio) -> io::Result<(ChildStdio, Option<ProcessStdio>)> {
    match stdio {
        Stdio::Inherit => Ok((ChildStdio::Inherit, Some(ProcessStdio::Inherit))),
        Stdio::Terminal { .. } => Ok((ChildStdio::Terminal, None)),
        Stdio::Pipes { stdin } => {
            let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
            let (stdin, input) = if stdin {
                let (read, write) = pipe()?;
                (read, Some(write))
            } else {
                (OpenOptions::new().read(true).open("/dev/null")?.into(), None)
            };
            let (stdout, child_stdout) = pipe()?;
            let (stderr, child_stderr) = pipe()?;
            let child = ChildStdio::Pipes {
                stdin,
                stdout: child_stdout,
                stderr: child_stderr,
            };
            Ok((
                child,
                Some(ProcessStdio::Pipes {
                    stdin: input,
                    stdout,
                    stderr,
                }),
            ))
        }
    }
}

impl ChildStdio {
    /// Makes the pipes the standard descriptors.
    pub(crate) fn install(&self) -> io::Result<()> {
        if let Self::Pipes { stdin, stdout, stderr } = self {
            rustix::stdio::dup2_stdin(stdin.as_fd())?;
            rustix::stdio::dup2_stdout(stdout.as_fd())?;
            rustix::stdio::dup2_stderr(stderr.as_fd())?;
        }
        Ok(())
    }
}
