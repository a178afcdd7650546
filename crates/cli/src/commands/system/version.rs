//! `conex version`.

use clap::Args;
use conex_client::{API_VERSION, Client};
use serde_json::json;

use crate::failure::Failure;
use crate::format::Format;

/// Prints versions.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// json, or a template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Version {
    /// The client's first, which are known without a daemon.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let own = env!("CARGO_PKG_VERSION");
        let format = self.format.as_deref().map(Format::parse).transpose()?;
        let server = client.version().await;
        if let Some(format) = format {
            let value = json!({"Client": {"Version": own, "ApiVersion": API_VERSION}, "Server": server?});
            println!("{}", format.render(&value)?);
            return Ok(0);
        }
        let arch = std::env::consts::ARCH;
        println!(
            "Client:\n Version:           {own}\n API version:       {API_VERSION}\n OS/Arch:           linux/{arch}"
        );
        let server = server?;
        println!(
            "\nServer:\n Engine:\n  Version:          {}\n  API version:      {} (minimum version {})\n  OS/Arch:          {}/{}\n  Kernel:           {}",
            server.version, server.api_version, server.min_api_version, server.os, server.arch, server.kernel_version
        );
        Ok(0)
    }
}
