//! `conex rmi`.

use clap::Args;
use conex_client::Client;

use crate::commands::image::platform;
use crate::failure::Failure;

/// Removes images.
#[derive(Debug, Args)]
pub(crate) struct Rmi {
    /// Even where containers use it
    #[arg(short, long)]
    force: bool,
    /// Keep parents that have no name
    #[arg(long)]
    no_prune: bool,
    /// Only the image of this platform: linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<String>,
    /// Images
    #[arg(required = true)]
    images: Vec<String>,
}

impl Rmi {
    /// Prints what was removed.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let platforms = self.platform.iter().map(|text| platform::to_json(text));
        let platforms = platforms.collect::<Result<Vec<String>, Failure>>()?;
        let mut code = 0;
        for image in &self.images {
            match client.remove_image(image, self.force, !self.no_prune, &platforms).await {
                Ok(removed) => {
                    for item in removed {
                        item.untagged.iter().for_each(|name| println!("Untagged: {name}"));
                        item.deleted.iter().for_each(|id| println!("Deleted: {id}"));
                    }
                }
                Err(error) => {
                    eprintln!("{error}");
                    code = 1;
                }
            }
        }
        Ok(code)
    }
}
