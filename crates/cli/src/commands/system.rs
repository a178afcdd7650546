//! The daemon itself.

pub(crate) mod check;
pub(crate) mod df;
pub(crate) mod info;
pub(crate) mod version;

use clap::{Args, Subcommand};
use conex_client::Client;

use crate::failure::Failure;

/// `conex system ...`.
#[derive(Debug, Args)]
pub(crate) struct System {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Look for damage in images, layers, containers and volumes
    Check(check::Check),
    /// Show what the data root has and how much it takes
    Df(df::Df),
    /// Print facts of the daemon and its host
    Info(info::Info),
}

impl System {
    /// Carries it out; gives the exit code.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        match &self.verb {
            Verb::Check(command) => command.run(client).await,
            Verb::Df(command) => command.run(client).await,
            Verb::Info(command) => command.run(client).await,
        }
    }
}
