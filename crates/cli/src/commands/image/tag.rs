//! `conex tag`.

use clap::Args;
use conex_client::Client;

use crate::failure::Failure;

/// Gives an image another name.
#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// Image
    source: String,
    /// Its further name
    target: String,
}

impl Tag {
    /// Says nothing.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        // A colon before the last slash is that of a port.
        let (repository, tag) = match self.target.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (self.target.as_str(), "latest"),
        };
        client.tag_image(&self.source, repository, tag).await?;
        Ok(0)
    }
}
