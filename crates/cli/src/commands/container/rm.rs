//! `conex rm`.

use clap::Args;
use conex_client::{Client, RemoveOptions};

use super::each;
use crate::failure::Failure;

/// Removes containers.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Kill those that run
    #[arg(short, long)]
    force: bool,
    /// With their anonymous volumes
    #[arg(short, long)]
    volumes: bool,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Rm {
    /// Prints what was removed.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let options = RemoveOptions {
            force: self.force,
            volumes: self.volumes,
        };
        each(&self.containers, |container| client.remove(container, options)).await
    }
}
