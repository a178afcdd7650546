//! `conex system check`.

use clap::Args;
use conex_api_types::{CheckFinding, CheckLine, CheckSummary};
use conex_client::{Client, Repair};

use crate::failure::Failure;

/// Looks for damage; exits with 1 where there is some that is not repaired.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Fetch and unpack again what is damaged, and remove what nothing refers to
    #[arg(long)]
    repair: bool,
}

impl Check {
    /// Prints findings as they come, then a summary.
    pub(crate) async fn run(&self, client: &Client) -> Result<i32, Failure> {
        let repair = if self.repair { Repair::Asked } else { Repair::NotAsked };
        let mut lines = client.check(repair).await?;
        while let Some(line) = lines.next().await? {
            match line {
                CheckLine::Finding(finding) => println!("{}", told(&finding)),
                CheckLine::Summary(summary) => {
                    println!("{}", summed_up(&summary));
                    return Ok(i32::from(summary.findings > summary.repaired));
                }
            }
        }
        Err(Failure::new(1, "the check broke off"))
    }
}

fn told(finding: &CheckFinding) -> String {
    let CheckFinding {
        place,
        problem,
        repaired,
        repair,
    } = finding;
    match (repair.is_empty(), repaired) {
        (true, _) => format!("{place}: {problem}"),
        (false, true) => format!("{place}: {problem}; repaired: {repair}"),
        (false, false) => format!("{place}: {problem}; not repaired: {repair}"),
    }
}

fn summed_up(summary: &CheckSummary) -> String {
    let CheckSummary {
        images,
        blobs,
        layers,
        containers,
        volumes,
        findings,
        repaired,
    } = summary;
    let checked =
        format!("checked {images} images, {blobs} blobs, {layers} layers, {containers} containers, {volumes} volumes");
    match findings {
        0 => format!("{checked}: nothing is wrong"),
        _ => format!("{checked}: {findings} findings, {repaired} repaired"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_what_became_of_it() {
        let finding = |repaired, repair: &str| CheckFinding {
            place: "layer a".to_owned(),
            problem: "is gone".to_owned(),
            repaired,
            repair: repair.to_owned(),
        };
        assert_eq!(told(&finding(false, "")), "layer a: is gone");
        assert_eq!(told(&finding(true, "fetched")), "layer a: is gone; repaired: fetched");
        assert_eq!(
            told(&finding(false, "in use")),
            "layer a: is gone; not repaired: in use"
        );
    }
}
