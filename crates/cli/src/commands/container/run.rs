//! `conex run`: create, attach, wait and start, in the order in which nothing is missed.

use std::time::Duration;

use clap::Args;
use conex_api_types::ContainerInspect;
use conex_client::{AttachOptions, Client, RemoveOptions, Wait, WaitCondition};

use super::flags::Flags;
use crate::failure::Failure;
use crate::session::{self, End, Input};
use crate::signals::{self, Resized};
use crate::terminal::{self, RawTerminal};

/// How long a daemon that went away may take to be there again and tell the exit code.
const DAEMON_BACK_WITHIN: Duration = Duration::from_secs(30);
/// Between two questions for it.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Creates a container and runs it.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Print its id and leave it alone
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Pass signals on to the program
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    #[command(flatten)]
    flags: Flags,
}

impl Run {
    /// Gives the container's exit code.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        if self.detach {
            let id = self.flags.create(client, false).await?;
            self.start(client, &id).await?;
            println!("{id}");
            return Ok(0);
        }
        terminal::check_input(self.flags.tty, self.flags.interactive)?;
        let id = self.flags.create(client, true).await?;
        self.attached(client, &id).await
    }

    async fn attached(&self, client: &Client, id: &str) -> Result<i32, Failure> {
        let of_run = |error| Failure::of_run(&error);
        let options = AttachOptions {
            stream: true,
            stdin: self.flags.interactive,
            stdout: true,
            stderr: true,
            detach_keys: self.detach_keys.as_deref(),
            ..AttachOptions::default()
        };
        let connection = client.attach(id, options).await.map_err(of_run)?;
        let condition = if self.flags.rm {
            WaitCondition::Removed
        } else {
            WaitCondition::NextExit
        };
        let wait = client.wait(id, condition).await.map_err(of_run)?;
        if self.sig_proxy {
            signals::pass_on(client, id);
        }
        self.start(client, id).await?;
        let raw = match self.flags.tty && self.flags.interactive {
            true => RawTerminal::enter().map_err(|error| Failure::local("set the terminal raw", &error))?,
            false => None,
        };
        if self.flags.tty {
            signals::follow_size(client, Resized::Container(id.to_owned())).await;
        }
        let input = match self.flags.interactive {
            true => Input::Attached { tty: self.flags.tty },
            false => Input::None,
        };
        let end = session::run(connection, input, self.detach_keys.as_deref()).await;
        drop(raw);
        outcome(client, id, end?, wait).await
    }

    async fn start(&self, client: &Client, id: &str) -> Result<(), Failure> {
        let started = client.start(id, self.detach_keys.as_deref()).await;
        if let Err(error) = started {
            if self.flags.rm {
                // The daemon removes it as well; whoever is later finds nothing.
                let _ = client
                    .remove(
                        id,
                        RemoveOptions {
                            force: true,
                            volumes: true,
                        },
                    )
                    .await;
            }
            return Err(Failure::of_run(&error));
        }
        Ok(())
    }
}

/// The exit code of a container whose connection closed, or 0 where its keys detached from it.
pub(crate) async fn outcome(client: &Client, id: &str, end: End, wait: Wait) -> Result<i32, Failure> {
    if end == End::Detached && is_running(client, id).await {
        eprintln!("read escape sequence");
        return Ok(0);
    }
    match wait.outcome().await {
        Ok(Some(response)) => {
            if let Some(error) = response.error {
                eprintln!("Error waiting for container: {}", error.message);
                return Ok(125);
            }
            Ok(i32::try_from(response.status_code).unwrap_or(125))
        }
        Ok(None) | Err(_) => exit_code_of_next_daemon(client, id).await,
    }
}

async fn is_running(client: &Client, id: &str) -> bool {
    client
        .inspect::<ContainerInspect>(id)
        .await
        .is_ok_and(|container| container.state.running)
}

/// The daemon that would have told is gone, the container is not: the next daemon knows.
async fn exit_code_of_next_daemon(client: &Client, id: &str) -> Result<i32, Failure> {
    let asking = async {
        loop {
            match client.inspect::<ContainerInspect>(id).await {
                Ok(container) if !container.state.running => return Ok(container.state.exit_code),
                Ok(_) | Err(conex_client::Error::Connect { .. } | conex_client::Error::Connection { .. }) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    match tokio::time::timeout(DAEMON_BACK_WITHIN, asking).await {
        Ok(Ok(code)) => Ok(i32::try_from(code).unwrap_or(125)),
        Ok(Err(error)) => Err(Failure::new(125, format!("error waiting for container: {error}"))),
        Err(_) => Err(Failure::new(125, "error waiting for container: the daemon went away")),
    }
}
