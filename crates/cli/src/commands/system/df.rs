//! `conex system df`.

use std::collections::BTreeMap;

use clap::Args;
use conex_api_types::{DiskUsage, DiskUsageRow};
use conex_client::Client;
use serde_json::json;

use crate::failure::Failure;
use crate::format::Format;
use crate::table;
use crate::units;

/// Shows every byte of the data root, as `du` counts them.
#[derive(Debug, Args)]
pub(crate) struct Df {
    /// Show each layer, blob, container and volume
    #[arg(short, long)]
    verbose: bool,

    /// json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Df {
    /// Prints a table by kind, or one of everything, with the sum as the last row.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let format = self.format.as_deref().map(Format::parse).transpose()?;
        let usage = client.disk_usage().await?;
        if let Some(format) = format {
            println!("{}", format.render(&json!(usage))?);
            return Ok(0);
        }
        let rows = if self.verbose { all(&usage) } else { by_kind(&usage) };
        print!("{}", table::render(&rows));
        Ok(0)
    }
}

fn all(usage: &DiskUsage) -> Vec<Vec<String>> {
    let mut sorted: Vec<&DiskUsageRow> = usage.rows.iter().collect();
    sorted.sort_by(|one, other| one.kind.cmp(&other.kind).then(other.size.cmp(&one.size)));
    let mut rows = vec![table::row(&["TYPE", "NAME", "BYTES", "SIZE", "OF"])];
    for row in sorted {
        let (bytes, of) = (row.size.to_string(), row.of.join(", "));
        rows.push(table::row(&[&row.kind, &row.name, &bytes, &human(row.size), &of]));
    }
    rows.push(table::row(&["Total", "", &usage.size.to_string(), &human(usage.size)]));
    rows
}

fn by_kind(usage: &DiskUsage) -> Vec<Vec<String>> {
    let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for row in &usage.rows {
        let (count, size) = kinds.entry(&row.kind).or_default();
        *count += 1;
        *size += row.size;
    }
    let mut rows = vec![table::row(&["TYPE", "TOTAL", "SIZE"])];
    let kinds = kinds.iter();
    rows.extend(kinds.map(|(kind, (count, size))| table::row(&[kind, &count.to_string(), &human(*size)])));
    rows.push(table::row(&["Total", "", &human(usage.size)]));
    rows
}

fn human(bytes: u64) -> String {
    units::bytes(i64::try_from(bytes).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> DiskUsage {
        let row = |kind: &str, name: &str, size| DiskUsageRow {
            kind: kind.to_owned(),
            name: name.to_owned(),
            of: vec!["x:1".to_owned()],
            size,
        };
        DiskUsage {
            size: 6000,
            rows: vec![
                row("layer", "a", 1000),
                row("layer", "b", 2000),
                row("metadata", "", 3000),
            ],
        }
    }

    #[test]
    fn rows_are_summed_up_by_kind_and_the_sum_is_last() {
        let expected = [
            ["TYPE", "TOTAL", "SIZE"],
            ["layer", "2", "3kB"],
            ["metadata", "1", "3kB"],
            ["Total", "", "6kB"],
        ];
        assert_eq!(by_kind(&usage()), expected.map(|row| table::row(&row)));
    }

    #[test]
    fn everything_is_shown_the_largest_of_a_kind_first() {
        let rows = all(&usage());
        assert_eq!(rows[1], table::row(&["layer", "b", "2000", "2kB", "x:1"]));
        assert_eq!(rows[4], table::row(&["Total", "", "6000", "6kB"]));
    }
}
