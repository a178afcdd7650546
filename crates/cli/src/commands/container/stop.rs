//! `conex stop`.

use clap::Args;
use conex_client::{Client, StopOptions};

use super::each;
use crate::failure::Failure;

/// Stops running containers.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Signal in place of the container's own
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds until it is killed; -1 for ever
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "SECONDS",
        allow_hyphen_values = true
    )]
    time: Option<i64>,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Stop {
    /// Prints what was stopped.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let options = StopOptions {
            signal: self.signal.as_deref(),
            timeout: self.time,
        };
        each(&self.containers, |container| client.stop(container, options)).await
    }
}
