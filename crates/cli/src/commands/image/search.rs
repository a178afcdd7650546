//! `conex search`.

use clap::Args;
use conex_api_types::SearchResult;
use conex_client::{Client, SearchOptions};
use serde_json::json;

use crate::commands::container::ps::filters;
use crate::failure::Failure;
use crate::format::Format;
use crate::table::{render, row};

/// Characters of a description that a table shows.
const SHOWN: usize = 45;

/// Searches an index of images.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Only those with is-official=..., stars=...
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Most results
    #[arg(long, value_name = "NUMBER")]
    limit: Option<String>,
    /// Whole descriptions
    #[arg(long)]
    no_trunc: bool,
    /// json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Name or a part of it
    term: String,
}

impl Search {
    /// Prints what was found.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let filters = filters(&self.filter)?;
        let format = self.format.as_deref().map(Format::parse).transpose()?;
        let options = SearchOptions {
            term: &self.term,
            limit: self.limit.as_deref(),
            filters: filters.as_deref(),
        };
        let found = client.search(options).await?;
        if let Some(format) = format {
            for result in &found {
                let fields = json!({
                    "Name": result.name, "Description": self.description(result),
                    "StarCount": result.star_count, "IsOfficial": result.is_official,
                });
                println!("{}", format.render(&fields)?);
            }
            return Ok(0);
        }
        let mut rows = vec![row(&["NAME", "DESCRIPTION", "STARS", "OFFICIAL"])];
        rows.extend(found.iter().map(|result| {
            let official = if result.is_official { "[OK]" } else { "" };
            let stars = result.star_count.to_string();
            row(&[&result.name, &self.description(result), &stars, official])
        }));
        print!("{}", render(&rows));
        Ok(0)
    }

    /// On one line, cut off where it is long.
    fn description(&self, result: &SearchResult) -> String {
        let line = result.description.replace(['\n', '\r'], " ");
        if self.no_trunc || line.chars().count() <= SHOWN {
            return line;
        }
        let start: String = line.chars().take(SHOWN - 1).collect();
        format!("{start}\u{2026}")
    }
}
