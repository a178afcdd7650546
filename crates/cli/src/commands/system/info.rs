//! `conex info`.

use clap::Args;
use conex_client::Client;
use serde_json::json;

use crate::failure::Failure;
use crate::format::Format;
use crate::units;

/// Prints facts of the daemon and its host.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// json, or a template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Info {
    /// Prints them.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let format = self.format.as_deref().map(Format::parse).transpose()?;
        let info = client.info().await?;
        if let Some(format) = format {
            println!("{}", format.render(&json!(info))?);
            return Ok(0);
        }
        let facts = [
            ("Containers", info.containers.to_string()),
            (" Running", info.containers_running.to_string()),
            (" Paused", info.containers_paused.to_string()),
            (" Stopped", info.containers_stopped.to_string()),
            ("Images", info.images.to_string()),
            ("Server Version", info.server_version),
            ("Storage Driver", info.driver),
            ("Logging Driver", info.logging_driver),
            ("Cgroup Driver", info.cgroup_driver),
            ("Cgroup Version", info.cgroup_version),
            ("Default Runtime", info.default_runtime),
            ("Security Options", info.security_options.join(", ")),
            ("Kernel Version", info.kernel_version),
            ("Operating System", info.operating_system),
            ("OSType", info.os_type),
            ("Architecture", info.architecture),
            ("CPUs", info.ncpu.to_string()),
            ("Total Memory", units::bytes(info.mem_total)),
            ("Name", info.name),
            ("ID", info.id),
            ("Root Dir", info.docker_root_dir),
            ("Live Restore Enabled", info.live_restore_enabled.to_string()),
        ];
        println!("Server:");
        for (name, value) in facts {
            println!(" {name}: {value}");
        }
        info.warnings
            .iter()
            .flatten()
            .for_each(|warning| eprintln!("{warning}"));
        Ok(0)
    }
}
