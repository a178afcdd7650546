//! `conex inspect`.

use clap::{Args, ValueEnum};
use conex_client::Client;
use serde_json::Value;

use crate::commands::image::platform;
use crate::failure::Failure;
use crate::format::Format;

/// What a name may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
}

/// Prints all facts of containers or images.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// json, or a template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only containers, or only images
    #[arg(long = "type", value_enum, value_name = "KIND")]
    kind: Option<Kind>,
    /// The image of this platform: linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

impl Inspect {
    /// Prints what was found; errors of the others afterwards.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let format = self.format.as_deref().map(Format::parse).transpose()?;
        let platform = self.platform.as_deref().map(platform::to_json).transpose()?;
        let mut found = Vec::new();
        let mut errors = Vec::new();
        for name in &self.names {
            match self.find(client, name, platform.as_deref()).await {
                Ok(value) => found.push(value),
                Err(failure) => errors.push(failure.message),
            }
        }
        match &format {
            None => println!("{}", pretty(&Value::Array(found))),
            Some(Format::Json) => println!("{}", Value::Array(found)),
            Some(format) => {
                for value in &found {
                    println!("{}", format.render(value)?);
                }
            }
        }
        errors.iter().for_each(|error| eprintln!("{error}"));
        Ok(i32::from(!errors.is_empty()))
    }

    async fn find(&self, client: &Client, name: &str, platform: Option<&str>) -> Result<Value, Failure> {
        if self.kind != Some(Kind::Image) && platform.is_none() {
            match client.inspect::<Value>(name).await {
                Err(error) if error.status() == Some(404) && self.kind.is_none() => {}
                other => return Ok(other?),
            }
        }
        match client.image::<Value>(name, platform).await {
            Err(error) if error.status() == Some(404) && self.kind.is_none() => {
                Err(Failure::new(1, format!("Error: No such object: {name}")))
            }
            other => Ok(other?),
        }
    }
}

/// Indented by four spaces, as Docker has it.
fn pretty(value: &Value) -> String {
    let two = serde_json::to_string_pretty(value).unwrap_or_default();
    let indent = |line: &str| {
        let text = line.trim_start_matches(' ');
        format!("{}{text}\n", " ".repeat(2 * (line.len() - text.len())))
    };
    two.lines().map(indent).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_by_four() {
        let text = pretty(&serde_json::json!([{"A": {"B": 1}}]));
        assert_eq!(
            text,
            "[\n    {\n        \"A\": {\n            \"B\": 1\n        }\n    }\n]"
        );
    }
}
