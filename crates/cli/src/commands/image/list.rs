//! `conex images`.

use clap::Args;
use conex_api_types::ImageSummary;
use conex_client::{Client, ImagesOptions};
use serde_json::{Value, json};

use crate::commands::container::ps::filters;
use crate::failure::Failure;
use crate::format::Format;
use crate::table::{render, row};
use crate::units;

/// Lists images.
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// With those that have no name
    #[arg(short, long)]
    all: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// With digests
    #[arg(long)]
    digests: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Only those with reference=..., label=..., dangling=...
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only images of this name
    repository: Option<String>,
}

/// One name of an image.
struct Line<'a> {
    repository: &'a str,
    tag: &'a str,
    digest: &'a str,
    image: &'a ImageSummary,
}

impl Images {
    /// Prints the list.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let mut flags = self.filter.clone();
        flags.extend(self.repository.iter().map(|name| format!("reference={name}")));
        let filters = filters(&flags)?;
        let options = ImagesOptions {
            all: self.all,
            filters: filters.as_deref(),
        };
        let format = self.format.as_deref().map(Format::parse).transpose()?;
        let images = client.images(options).await?;
        let lines: Vec<Line<'_>> = images.iter().flat_map(names).collect();
        if self.quiet {
            lines.iter().for_each(|line| println!("{}", self.id(line.image)));
        } else if let Some(format) = format {
            for line in &lines {
                println!("{}", format.render(&self.fields(line))?);
            }
        } else {
            let heads = ["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"];
            let mut rows = vec![self.cells(&heads)];
            rows.extend(lines.iter().map(|line| {
                let (created, size) = (units::ago(line.image.created), units::bytes(line.image.size));
                let id = self.id(line.image);
                self.cells(&[line.repository, line.tag, line.digest, id, &created, &size])
            }));
            print!("{}", render(&rows));
        }
        Ok(0)
    }

    /// A row, the third cell only where digests are asked for.
    fn cells(&self, cells: &[&str; 6]) -> Vec<String> {
        let is_shown = |at: usize| at != 2 || self.digests;
        let shown = cells.iter().enumerate().filter(|(at, _)| is_shown(*at));
        row(&shown.map(|(_, cell)| *cell).collect::<Vec<&str>>())
    }

    fn id<'a>(&self, image: &'a ImageSummary) -> &'a str {
        if self.no_trunc {
            return &image.id;
        }
        let hex = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
        hex.get(..12).unwrap_or(hex)
    }

    fn fields(&self, line: &Line<'_>) -> Value {
        json!({
            "Repository": line.repository, "Tag": line.tag, "Digest": line.digest, "ID": self.id(line.image),
            "CreatedSince": units::ago(line.image.created), "Size": units::bytes(line.image.size),
        })
    }
}

fn names<'a>(image: &'a ImageSummary) -> Vec<Line<'a>> {
    let tags = image.repo_tags.as_deref().unwrap_or_default();
    if tags.is_empty() {
        let digest = image.repo_digests.iter().flatten().next();
        let repository = digest
            .and_then(|name| name.split_once('@'))
            .map_or("<none>", |(name, _)| name);
        return vec![Line {
            repository,
            tag: "<none>",
            digest: digest
                .and_then(|name| name.split_once('@'))
                .map_or("<none>", |(_, digest)| digest),
            image,
        }];
    }
    let line = |name: &'a String| {
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "<none>"));
        let digests = image.repo_digests.iter().flatten();
        let mut digests = digests.filter_map(|name| name.split_once('@'));
        let digest = digests
            .find(|(name, _)| *name == repository)
            .map_or("<none>", |(_, digest)| digest);
        Line {
            repository,
            tag,
            digest,
            image,
        }
    };
    tags.iter().map(line).collect()
}
