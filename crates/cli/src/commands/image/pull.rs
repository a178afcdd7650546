//! `conex pull`.

use clap::Args;
use conex_client::{Client, PullOptions};

use crate::failure::Failure;
use crate::{credentials, progress};

/// Downloads an image.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Every image of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Platform of the image: linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
    /// Image
    image: String,
}

impl Pull {
    /// Prints how it goes.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let last = self.image.rsplit('/').next().unwrap_or_default();
        let is_name_only = !last.contains([':', '@']);
        if self.all_tags && !is_name_only {
            return Err(Failure::new(1, "tag can't be used with --all-tags/-a"));
        }
        if !self.quiet && !self.all_tags && is_name_only {
            println!("Using default tag: latest");
        }
        let credentials = credentials::for_image(&self.image);
        let options = PullOptions {
            image: &self.image,
            all_tags: self.all_tags,
            platform: self.platform.as_deref(),
            credentials: credentials.as_deref(),
        };
        let lines = client.pull(options).await?;
        if self.quiet {
            progress::print(lines, &mut std::io::sink(), false).await?;
        } else {
            progress::print(lines, &mut std::io::stdout(), progress::stdout_is_terminal()).await?;
        }
        println!("{}", self.image);
        Ok(0)
    }
}
