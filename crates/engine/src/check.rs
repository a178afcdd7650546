//! Whether the stores are what the records say, and making right what is not: `POST /conex/system/check`.
//!
//! ```text
//!   images, layers, blobs (conex_image::Images::check) -+
//!   containers: image, directories                      +--> findings --repair?--> lines --> summary
//!   volumes: records, directories                      -+
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use conex_api_types as api;
use conex_image::{Checked, Finding};
use conex_registry::{Credentials, Registry};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::mpsc;

use crate::engine::{Engine, Inner};
use crate::error::{Error, ErrorKind, Result};

/// Lines of a check, while it goes on.
pub type CheckStream = BoxStream<'static, api::CheckLine>;

/// Whether a check repairs what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// What can be.
    Asked,
    /// It only tells.
    NotAsked,
}

/// What was found, and who knows what to do about it.
enum Found {
    /// Of images.
    Image(Finding),
    /// A directory that no record names.
    Unrecorded(Unrecorded),
    /// A volume without its directory.
    Volume(String),
    /// What nobody can make right.
    Lost { place: String, problem: String },
}

/// A directory that no record names.
struct Unrecorded {
    place: String,
    problem: String,
    path: std::path::PathBuf,
}

/// How much was looked at.
#[derive(Default)]
struct Counts {
    images: Checked,
    containers: u64,
    volumes: u64,
}

impl Engine {
    /// Looks at images, containers and volumes. One check goes on at a time.
    ///
    /// # Errors
    /// 409 where another is under way.
    pub fn check(&self, repair: Repair) -> Result<CheckStream> {
        let Ok(only) = self.inner.checking.clone().try_lock_owned() else {
            return Err(Error::new(ErrorKind::Conflict, "a check is already running"));
        };
        let (lines, told) = mpsc::unbounded_channel();
        let inner = self.inner.clone();
        tokio::spawn(async move {
            let summary = inner.check(repair, &lines).await;
            // A client that went away is told nothing more.
            let _ = lines.send(api::CheckLine::Summary(summary));
            drop(only);
        });
        let next = |mut told: mpsc::UnboundedReceiver<_>| async { told.recv().await.map(|line| (line, told)) };
        Ok(stream::unfold(told, next).boxed())
    }
}

type Lines = mpsc::UnboundedSender<api::CheckLine>;

impl Inner {
    async fn check(self: &Arc<Self>, repair: Repair, lines: &Lines) -> api::CheckSummary {
        let (findings, mut found) = mpsc::unbounded_channel();
        let inner = self.clone();
        let checking = tokio::task::spawn_blocking(move || inner.look(&findings));
        let (mut all, mut waiting) = (0, Vec::new());
        while let Some(finding) = found.recv().await {
            all += 1;
            match repair {
                Repair::NotAsked => tell(lines, finding.line()),
                // What is found later may explain what was found before.
                Repair::Asked => waiting.push(finding),
            }
        }
        let mut repaired = 0;
        for finding in waiting {
            let mut line = finding.line();
            let outcome = self.repair(finding).await;
            line.repaired = outcome.is_ok();
            line.repair = outcome.unwrap_or_else(|reason| reason);
            repaired += u64::from(line.repaired);
            tell(lines, line);
        }
        let counts = match checking.await {
            Ok(counts) => counts,
            Err(error) => {
                all += 1;
                tell(lines, broken_off(&error));
                Counts::default()
            }
        };
        api::CheckSummary {
            images: counts.images.images,
            blobs: counts.images.blobs,
            layers: counts.images.layers,
            containers: counts.containers,
            volumes: counts.volumes,
            findings: all,
            repaired,
        }
    }

    fn look(&self, findings: &mpsc::UnboundedSender<Found>) -> Counts {
        let tell = |found| {
            // The receiver is there until this ends.
            let _ = findings.send(found);
        };
        let images = self.images.check(&mut |finding| tell(Found::Image(finding)));
        let images = images.unwrap_or_else(|error| {
            tell(Found::Lost {
                place: "images".to_owned(),
                problem: error.to_string(),
            });
            Checked::default()
        });
        Counts {
            images,
            containers: self.look_at_containers(&tell),
            volumes: self.look_at_volumes(&tell),
        }
    }

    fn look_at_containers(&self, tell: &dyn Fn(Found)) -> u64 {
        let containers = self.containers.all();
        for container in &containers {
            let is_there = || self.containers.find(&container.id).is_ok();
            if self.images.find_of_container(&container.image).is_err() && is_there() {
                tell(Found::Lost {
                    place: format!("container {}", container.name),
                    problem: format!("its image {} is not there", container.image),
                });
            }
        }
        let known = || -> BTreeSet<String> { self.containers.all().iter().map(|one| one.id.clone()).collect() };
        let places = ("containers", self.files.data().to_owned(), "no container has it");
        self.look_for_strays(&places, &known, tell);
        containers.len() as u64
    }

    fn look_at_volumes(&self, tell: &dyn Fn(Found)) -> u64 {
        let known = || self.volumes.names();
        let names = known();
        for name in &names {
            if !self.volumes.data(name).is_dir() && known().contains(name) {
                tell(Found::Volume(name.clone()));
            }
        }
        let places = ("volumes", self.settings.data_root.join("volumes"), "no volume has it");
        self.look_for_strays(&places, &known, tell);
        names.len() as u64
    }

    /// Directories that no record names, seen twice: what is just made has its directory first, what is just removed
    /// has it still.
    fn look_for_strays(
        &self,
        (what, dir, problem): &(&str, std::path::PathBuf, &str),
        known: &dyn Fn() -> BTreeSet<String>,
        tell: &dyn Fn(Found),
    ) {
        let strays = |known: BTreeSet<String>| -> io::Result<BTreeSet<String>> {
            let found = names_in(dir)?;
            Ok(found.difference(&known).cloned().collect())
        };
        let first = strays(known());
        let again = match &first {
            Ok(first) if first.is_empty() => return,
            _ => {
                std::thread::sleep(std::time::Duration::from_millis(200));
                strays(known())
            }
        };
        match first.and_then(|first| Ok((first, again?))) {
            Ok((first, again)) => first.intersection(&again).for_each(|name| {
                tell(Found::Unrecorded(Unrecorded {
                    place: format!("{what}/{name}"),
                    problem: (*problem).to_owned(),
                    path: dir.join(name),
                }));
            }),
            Err(error) => tell(Found::Lost {
                place: (*what).to_owned(),
                problem: error.to_string(),
            }),
        }
    }

    async fn repair(self: &Arc<Self>, found: Found) -> std::result::Result<String, String> {
        match found {
            Found::Image(finding) => {
                let registry: Arc<dyn Registry> = Arc::new(self.registries.registry(Credentials::default()));
                let users = || self.users_of_images();
                self.images.repair(&finding, &registry, &users).await
            }
            Found::Unrecorded(stray) => {
                let discarded = self.snapshots.discard_stray(&stray.path);
                discarded
                    .map(|()| "removed".to_owned())
                    .map_err(|error| error.to_string())
            }
            // Without one it could be neither used nor removed.
            Found::Volume(name) => fs::create_dir_all(self.volumes.data(&name))
                .map(|()| "made again, empty: what was in it is lost".to_owned())
                .map_err(|error| error.to_string()),
            Found::Lost { .. } => Err("nothing here has what is lost".to_owned()),
        }
    }
}

impl Found {
    fn line(&self) -> api::CheckFinding {
        let (place, problem) = match self {
            Self::Image(finding) => (finding.place.clone(), finding.problem.clone()),
            Self::Unrecorded(Unrecorded { place, problem, .. }) | Self::Lost { place, problem } => {
                (place.clone(), problem.clone())
            }
            Self::Volume(name) => (format!("volume {name}"), "its directory is gone".to_owned()),
        };
        api::CheckFinding {
            place,
            problem,
            ..api::CheckFinding::default()
        }
    }
}

fn tell(lines: &Lines, line: api::CheckFinding) {
    // A client that went away is told nothing more.
    let _ = lines.send(api::CheckLine::Finding(line));
}

fn broken_off(error: &tokio::task::JoinError) -> api::CheckFinding {
    api::CheckFinding {
        place: "check".to_owned(),
        problem: format!("it broke off: {error}"),
        ..api::CheckFinding::default()
    }
}

fn names_in(dir: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect()
}
