//! `conex create`.

use clap::Args;
use conex_client::Client;

use super::flags::Flags;
use crate::failure::Failure;

/// Creates a container.
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    flags: Flags,
}

impl Create {
    /// Prints its id.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        println!("{}", self.flags.create(client, true).await?);
        Ok(0)
    }
}
