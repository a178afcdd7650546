//! `conex logs`.

use clap::Args;
use conex_client::{Client, LogsOptions};

use crate::failure::Failure;
use crate::session;

/// Prints a container's log.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on while the container runs
    #[arg(short, long)]
    follow: bool,
    /// A time before each line
    #[arg(short, long)]
    timestamps: bool,
    /// The last lines, as many
    #[arg(
        short = 'n',
        long,
        visible_alias = "tail",
        value_name = "NUMBER",
        default_value = "all"
    )]
    lines: String,
    /// From this time on, in seconds since 1970
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Up to this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Container
    container: String,
}

impl Logs {
    /// Prints it.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let options = LogsOptions {
            follow: self.follow,
            timestamps: self.timestamps,
            tail: Some(&self.lines),
            since: self.since.as_deref(),
            until: self.until.as_deref(),
        };
        session::print(client.logs(&self.container, options).await?).await?;
        Ok(0)
    }
}
