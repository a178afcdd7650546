//! `conex ps`.

use clap::Args;
use conex_api_types::ContainerSummary;
use conex_client::{Client, ListOptions};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::format::Format;
use crate::table::{render, row};
use crate::units;

/// Widest command in a table.
const COMMAND_WIDTH: usize = 20;

/// Lists containers.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// With those that do not run
    #[arg(short, long)]
    all: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// The newest ones, as many
    #[arg(short = 'n', long, value_name = "NUMBER")]
    last: Option<u32>,
    /// The newest one
    #[arg(short, long)]
    latest: bool,
    /// Only those with name=..., status=..., label=..., ...
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Ps {
    /// Prints the list.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let filters = filters(&self.filter)?;
        let limit = if self.latest { Some(1) } else { self.last };
        let options = ListOptions {
            all: self.all || limit.is_some(),
            limit,
            size: false,
            filters: filters.as_deref(),
        };
        let format = self.format.as_deref().map(Format::parse).transpose()?;
        let containers = client.containers(options).await?;
        if self.quiet {
            containers
                .iter()
                .for_each(|container| println!("{}", self.id(container)));
        } else if let Some(format) = format {
            for container in &containers {
                println!("{}", format.render(&self.fields(container))?);
            }
        } else {
            print!("{}", self.table(&containers));
        }
        Ok(0)
    }

    fn id<'a>(&self, container: &'a ContainerSummary) -> &'a str {
        if self.no_trunc {
            &container.id
        } else {
            container.id.get(..12).unwrap_or(&container.id)
        }
    }

    fn command(&self, container: &ContainerSummary) -> String {
        let command = &container.command;
        if self.no_trunc || command.chars().count() <= COMMAND_WIDTH {
            return format!("{command:?}");
        }
        let short: String = command.chars().take(COMMAND_WIDTH - 1).collect();
        format!("\"{short}…\"")
    }

    fn table(&self, containers: &[ContainerSummary]) -> String {
        let mut rows = vec![row(&[
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "PORTS",
            "NAMES",
        ])];
        rows.extend(containers.iter().map(|container| {
            vec![
                self.id(container).to_owned(),
                container.image.clone(),
                self.command(container),
                units::ago(container.created),
                container.status.clone(),
                ports(container),
                names(container),
            ]
        }));
        render(&rows)
    }

    fn fields(&self, container: &ContainerSummary) -> Value {
        let labels = container.labels.iter().map(|(name, value)| format!("{name}={value}"));
        json!({
            "ID": self.id(container), "Image": container.image, "Command": self.command(container),
            "CreatedAt": container.created.to_string(), "RunningFor": units::ago(container.created),
            "State": container.state, "Status": container.status, "Ports": ports(container),
            "Names": names(container), "Labels": labels.collect::<Vec<_>>().join(","),
            "Networks": container.network_settings.networks.keys().cloned().collect::<Vec<_>>().join(","),
        })
    }
}

fn names(container: &ContainerSummary) -> String {
    let names: Vec<&str> = container
        .names
        .iter()
        .map(|name| name.trim_start_matches('/'))
        .collect();
    names.join(",")
}

fn ports(container: &ContainerSummary) -> String {
    let port = |port: &conex_api_types::Port| match port.public_port {
        Some(public) => format!("{}:{public}->{}/{}", port.ip, port.private_port, port.kind),
        None => format!("{}/{}", port.private_port, port.kind),
    };
    container.ports.iter().map(port).collect::<Vec<_>>().join(", ")
}

/// `name=value` flags as the API's JSON.
pub(crate) fn filters(flags: &[String]) -> Result<Option<String>, Failure> {
    let mut filters = serde_json::Map::new();
    for flag in flags {
        let wrong = || {
            Failure::new(
                1,
                format!(
                    "invalid argument {flag:?} for \"-f, --filter\" flag: bad format of filter (expected name=value)"
                ),
            )
        };
        let (name, value) = flag.split_once('=').ok_or_else(wrong)?;
        let values = filters.entry(name.trim().to_lowercase()).or_insert_with(|| json!([]));
        if let Some(values) = values.as_array_mut() {
            values.push(Value::from(value.trim()));
        }
    }
    Ok((!filters.is_empty()).then(|| Value::Object(filters).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_one_name_are_alternatives() {
        let flags = [
            "status=exited".to_owned(),
            "status=created".to_owned(),
            "label=a=b".to_owned(),
        ];
        let json = filters(&flags).unwrap().unwrap();
        assert_eq!(json, r#"{"label":["a=b"],"status":["exited","created"]}"#);
        assert!(filters(&["x".to_owned()]).is_err());
        assert_eq!(filters(&[]).unwrap(), None);
    }
}
