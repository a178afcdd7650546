//! `conex wait`.

use clap::Args;
use conex_client::{Client, WaitCondition};

use crate::failure::Failure;

/// Waits until containers stop.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Wait {
    /// Prints their exit codes.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        for container in &self.containers {
            let wait = client.wait(container, WaitCondition::NotRunning).await?;
            let gone = || Failure::new(1, "error waiting for container: the daemon went away");
            println!("{}", wait.outcome().await?.ok_or_else(gone)?.status_code);
        }
        Ok(0)
    }
}
