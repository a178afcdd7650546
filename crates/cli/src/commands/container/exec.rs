//! `conex exec`.

use clap::Args;
use conex_api_types::{ExecCreateRequest, ExecStartRequest};
use conex_client::Client;

use super::flags::environment;
use crate::failure::Failure;
use crate::session::{self, End, Input};
use crate::signals::{self, Resized};
use crate::terminal::{self, RawTerminal};

/// Runs another program in a running container.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Do not attach
    #[arg(short, long)]
    detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set an environment variable, NAME=value, or NAME to take ours
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR", default_value = "")]
    workdir: String,
    /// User, and group: name|uid[:group|gid]
    #[arg(short, long, value_name = "USER", default_value = "")]
    user: String,
    /// Give it all privileges of the host
    #[arg(long)]
    privileged: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Container
    container: String,
    /// Program and arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    /// Gives the program's exit code.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        terminal::check_input(self.tty, self.interactive && !self.detach)?;
        let console_size = terminal::size()
            .filter(|_| self.tty)
            .map(|(rows, columns)| [rows, columns]);
        let exec = client.exec_create(&self.container, &self.request(console_size)).await?;
        if self.detach {
            client.exec_start_detached(&exec).await?;
            return Ok(0);
        }
        let request = ExecStartRequest {
            detach: false,
            tty: self.tty,
            console_size,
        };
        let connection = client.exec_start(&exec, &request).await?;
        let raw = match self.tty && self.interactive {
            true => RawTerminal::enter().map_err(|error| Failure::local("set the terminal raw", &error))?,
            false => None,
        };
        if self.tty {
            signals::follow_size(client, Resized::Exec(exec.clone())).await;
        }
        let input = if self.interactive {
            Input::Attached { tty: self.tty }
        } else {
            Input::None
        };
        let end = session::run(connection, input, self.detach_keys.as_deref()).await;
        drop(raw);
        let state = client.exec_inspect(&exec).await?;
        if end? == End::Detached && state.running {
            eprintln!("read escape sequence");
            return Ok(0);
        }
        Ok(state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(1))
    }

    fn request(&self, console_size: Option<[u16; 2]>) -> ExecCreateRequest {
        ExecCreateRequest {
            user: self.user.clone(),
            privileged: self.privileged,
            tty: self.tty,
            console_size,
            attach_stdin: self.interactive && !self.detach,
            attach_stderr: !self.detach,
            attach_stdout: !self.detach,
            detach: self.detach,
            detach_keys: self.detach_keys.clone().unwrap_or_default(),
            env: environment(&self.env),
            working_dir: self.workdir.clone(),
            cmd: self.command.clone(),
        }
    }
}
