//! `conex kill`.

use clap::Args;
use conex_client::Client;

use super::each;
use crate::failure::Failure;

/// Sends a signal to running containers.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Signal in place of SIGKILL
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Kill {
    /// Prints what was signalled.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        each(&self.containers, |container| {
            client.kill(container, self.signal.as_deref())
        })
        .await
    }
}
