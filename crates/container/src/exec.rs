//! What an exec request means.

use conex_api_types::ExecCreateRequest;

use crate::invalid::Invalid;

/// A process to start in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecConfig {
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// `NAME=value`, over the container's.
    pub env: Vec<String>,
    /// `user[:group]`, the container's where it is empty.
    pub user: String,
    /// Absolute path, the container's where it is empty.
    pub working_dir: String,
    /// With a terminal.
    pub tty: bool,
    /// With all capabilities.
    pub privileged: bool,
    /// Client to process.
    pub attach_stdin: bool,
    /// Process to client.
    pub attach_stdout: bool,
    /// Process to client.
    pub attach_stderr: bool,
    /// Key sequence.
    pub detach_keys: Option<String>,
    /// Rows and columns.
    pub console_size: Option<(u16, u16)>,
}

impl ExecConfig {
    /// What a request means, or why it is refused.
    pub fn from_request(request: ExecCreateRequest) -> Result<Self, Invalid> {
        if request.cmd.is_empty() {
            return Err(Invalid::field("No exec command specified"));
        }
        if !request.working_dir.is_empty() && !request.working_dir.starts_with('/') {
            return Err(Invalid::Field(format!(
                "the working directory '{}' is invalid, it needs to be an absolute path",
                request.working_dir
            )));
        }
        if let Some(wrong) = request
            .env
            .iter()
            .find(|entry| entry.is_empty() || entry.starts_with('='))
        {
            return Err(Invalid::Field(format!("invalid environment variable: {wrong}")));
        }
        Ok(Self {
            cmd: request.cmd,
            env: request.env,
            user: request.user,
            working_dir: request.working_dir,
            tty: request.tty,
            privileged: request.privileged,
            attach_stdin: request.attach_stdin,
            attach_stdout: request.attach_stdout,
            attach_stderr: request.attach_stderr,
            detach_keys: Some(request.detach_keys).filter(|keys| !keys.is_empty()),
            console_size: request.console_size.map(|[rows, columns]| (rows, columns)),
        })
    }
}
