//! `conex push`.

use clap::Args;
use conex_client::{Client, PushOptions};

use crate::commands::image::platform;
use crate::failure::Failure;
use crate::{credentials, progress};

/// Uploads an image.
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// All tags of the image
    #[arg(short, long)]
    all_tags: bool,
    /// Only the image of this platform: linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Say nothing but the image's name
    #[arg(short, long)]
    quiet: bool,
    /// Image
    image: String,
}

impl Push {
    /// Prints how it goes.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let last = self.image.rsplit('/').next().unwrap_or_default();
        let image = match (self.all_tags, last.contains([':', '@'])) {
            (true, true) => return Err(Failure::new(1, "tag can't be used with --all-tags/-a")),
            (false, false) => format!("{}:latest", self.image),
            _ => self.image.clone(),
        };
        if !self.quiet && image != self.image {
            println!("Using default tag: latest");
        }
        let platform = self.platform.as_deref().map(platform::to_json).transpose()?;
        let credentials = credentials::for_image(&image);
        let options = PushOptions {
            image: &image,
            platform: platform.as_deref(),
            credentials: credentials.as_deref(),
        };
        let lines = client.push(options).await?;
        if self.quiet {
            progress::print(lines, &mut std::io::sink(), false).await?;
            println!("{image}");
        } else {
            progress::print(lines, &mut std::io::stdout(), progress::stdout_is_terminal()).await?;
        }
        Ok(0)
    }
}
