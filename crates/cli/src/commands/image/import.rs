//! `conex import`.

use std::fs::File;
use std::io::{self, Read};

use clap::Args;
use conex_client::{Archive, Client, ImportOptions};

use crate::commands::image::load::read;
use crate::commands::image::tag::split;
use crate::failure::Failure;
use crate::progress;

/// Makes an image of the archive of a root file system.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Instruction of a Dockerfile: 'CMD ["sh"]'
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// A comment
    #[arg(short, long, default_value = "")]
    message: String,
    /// Platform of the image: linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Archive, URL of one, or - for standard input
    source: String,
    /// Name of the image
    #[arg(default_value = "")]
    image: String,
}

impl Import {
    /// Prints how it goes, and the image's id.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let is_url = ["http://", "https://"]
            .iter()
            .any(|scheme| self.source.starts_with(scheme));
        let archive = if is_url { None } else { Some(self.open()?) };
        let (repository, tag) = split(&self.image);
        let options = ImportOptions {
            source: if is_url { &self.source } else { "-" },
            repository,
            tag,
            message: &self.message,
            platform: self.platform.as_deref(),
            changes: &self.change,
        };
        let archive = archive.map(|archive| Archive::from_stream(read(archive)));
        let lines = client.import(options, archive).await?;
        progress::print(lines, &mut io::stdout(), progress::stdout_is_terminal()).await?;
        Ok(0)
    }

    fn open(&self) -> Result<Box<dyn Read + Send>, Failure> {
        if self.source == "-" {
            return Ok(Box::new(io::stdin()));
        }
        let file = File::open(&self.source);
        let file = file.map_err(|error| Failure::local(&format!("open {}", self.source), &error))?;
        Ok(Box::new(file))
    }
}
