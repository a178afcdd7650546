//! `conex commit`.

use clap::{ArgAction, Args};
use conex_client::{Client, CommitOptions};

use crate::commands::image::tag::split;
use crate::failure::Failure;

/// Makes an image of what a container changed.
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// Who makes it: "A Name <name@example.com>"
    #[arg(short, long, default_value = "")]
    author: String,
    /// A comment
    #[arg(short, long, default_value = "")]
    message: String,
    /// Instruction of a Dockerfile: 'ENV A=1'
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Freeze the container's processes meanwhile
    #[arg(
        short,
        long,
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true"
    )]
    pause: bool,
    /// Make one layer of all that the container shows
    #[arg(long)]
    squash: bool,
    /// Container
    container: String,
    /// Name of the image
    #[arg(default_value = "")]
    image: String,
}

impl Commit {
    /// Prints the image's id.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let (repository, tag) = split(&self.image);
        let options = CommitOptions {
            container: &self.container,
            repository,
            tag,
            comment: &self.message,
            author: &self.author,
            unpaused: !self.pause,
            squash: self.squash,
            changes: &self.change,
        };
        println!("{}", client.commit(options).await?);
        Ok(0)
    }
}
