//! Which registries have a layer: learned at pulls and pushes, so that a later push need not send it.

use std::cmp::Reverse;
use std::collections::HashSet;

use conex_metadata::{Changes, CommitError, Table};
use conex_reference::{Digest, Reference};

use crate::images::Images;
use crate::records::{Origin, OriginsRecord, VERSION};
use crate::tag::encode;

/// Origins that are kept of a layer; the oldest go.
const KEPT: usize = 16;

impl OriginsRecord {
    /// Adds an origin as the newest.
    fn add(&mut self, origin: Origin) {
        self.version = VERSION;
        let is_same = |other: &Origin| other.digest == origin.digest && other.repository == origin.repository;
        self.origins.retain(|other| !is_same(other));
        self.origins.push(origin);
        let surplus = self.origins.len().saturating_sub(KEPT);
        self.origins.drain(..surplus);
    }
}

impl Images {
    /// The records of these layers with the origins added, by diff id.
    pub(crate) fn with_origins(&self, origins: Vec<(String, Origin)>) -> Vec<(String, OriginsRecord)> {
        let index = self.shared.index();
        let added = |(diff_id, origin): (String, Origin)| {
            let mut record = index.origins.get(&diff_id).cloned().unwrap_or_default();
            record.add(origin);
            (diff_id, record)
        };
        origins.into_iter().map(added).collect()
    }

    /// What is known of a layer, the newest first.
    pub(crate) fn origins_of(&self, diff_id: &str) -> Vec<Origin> {
        let index = self.shared.index();
        let known = index.origins.get(diff_id).map(|record| record.origins.iter().rev());
        known.into_iter().flatten().cloned().collect()
    }

    /// Remembers that a repository has a layer, which an image has.
    pub(crate) async fn remember(&self, diff_id: &str, origin: Origin) -> Result<(), CommitError> {
        let _changes = self.shared.changes.lock().await;
        let is_used = || {
            let index = self.shared.index();
            let mut diff_ids = index.holders().flat_map(|(_, stored)| &stored.config.rootfs.diff_ids);
            diff_ids.any(|used| used == diff_id)
        };
        if !is_used() {
            return Ok(());
        }
        self.keep(self.with_origins(vec![(diff_id.to_owned(), origin)])).await
    }

    /// Forgets that a repository has a blob.
    pub(crate) async fn forget(&self, diff_id: &str, digest: Digest, repository: &str) -> Result<(), CommitError> {
        let _changes = self.shared.changes.lock().await;
        let known = self.shared.index().origins.get(diff_id).cloned();
        let Some(mut record) = known else { return Ok(()) };
        record
            .origins
            .retain(|origin| origin.digest != digest || origin.repository != repository);
        self.keep(vec![(diff_id.to_owned(), record)]).await
    }

    /// Whoever calls it holds `Shared::changes`.
    async fn keep(&self, records: Vec<(String, OriginsRecord)>) -> Result<(), CommitError> {
        let put = |changes: Changes, (diff_id, record): &(String, OriginsRecord)| {
            changes.put(Table::Origins, diff_id.as_str(), encode(record))
        };
        self.shared
            .metadata
            .commit(records.iter().fold(Changes::new(), put))
            .await?;
        self.shared.index().origins.extend(records);
        Ok(())
    }
}

/// How a layer may come into a repository without being sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    /// The repository may have these.
    pub(crate) present: Vec<Origin>,
    /// Other repositories of its registry may have these.
    pub(crate) mounts: Vec<(Reference, Origin)>,
    /// The repository may have these too, as somebody else may have pushed them.
    pub(crate) guesses: Vec<Origin>,
}

/// How often each way is tried: often for what is long to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effort {
    mounts: usize,
    guesses: usize,
}

impl Effort {
    /// For a layer of this many bytes; Docker's numbers.
    pub(crate) fn of(size: u64) -> Self {
        let (mounts, guesses) = match size {
            0..=102_400 => (1, 0),
            102_401..=10_485_760 => (3, 0),
            _ => (4, 3),
        };
        Self { mounts, guesses }
    }
}

/// Sorts what is known of a layer, newest first, by what can be done with it at `target`. A blob that the image came with
/// goes before others, so that its manifest stays what it was.
pub(crate) fn ways(origins: Vec<Origin>, target: &Reference, own: Option<Digest>, effort: Effort) -> Ways {
    let mut ways = Ways::default();
    let mut guesses = Vec::new();
    for origin in origins {
        match Reference::parse(&origin.repository) {
            Ok(repository) if repository.name() == target.name() => ways.present.push(origin),
            Ok(repository) if repository.domain() == target.domain() => {
                guesses.push(origin.clone());
                ways.mounts.push((repository, origin));
            }
            _ => guesses.push(origin),
        }
    }
    let is_own = |origin: &Origin| Some(origin.digest) == own;
    ways.present.sort_by_key(|origin| Reverse(is_own(origin)));
    ways.mounts
        .sort_by_key(|(from, origin)| Reverse((is_own(origin), alike(from.path(), target.path()))));
    ways.mounts.truncate(effort.mounts);
    guesses.sort_by_key(|origin| Reverse(is_own(origin)));
    let mut asked: HashSet<Digest> = ways.present.iter().map(|origin| origin.digest).collect();
    ways.guesses = guesses
        .into_iter()
        .filter(|origin| asked.insert(origin.digest))
        .take(effort.guesses)
        .collect();
    ways
}

/// How many components two paths have in common, from their beginning.
fn alike(one: &str, other: &str) -> usize {
    let pairs = one.split('/').zip(other.split('/'));
    pairs.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(content: &str, repository: &str) -> Origin {
        Origin {
            digest: Digest::of(content.as_bytes()),
            size: 1,
            media_type: String::new(),
            repository: repository.to_owned(),
        }
    }

    fn target() -> Reference {
        Reference::parse("reg:5000/team/app").unwrap()
    }

    const LARGE: Effort = Effort { mounts: 4, guesses: 3 };

    #[test]
    fn what_the_repository_has_itself_goes_first_then_its_neighbours_then_guesses() {
        let known = [
            origin("a", "reg:5000/other/x"),
            origin("b", "reg:5000/team/y"),
            origin("c", "docker.io/library/z"),
            origin("d", "reg:5000/team/app"),
            origin("d", "docker.io/library/w"),
        ];
        let ways = ways(known.to_vec(), &target(), None, LARGE);
        assert_eq!(ways.present, [known[3].clone()]);
        let mounts: Vec<&str> = ways.mounts.iter().map(|(from, _)| from.path()).collect();
        assert_eq!(mounts, ["team/y", "other/x"]);
        assert_eq!(ways.guesses, [known[0].clone(), known[1].clone(), known[2].clone()]);
    }

    #[test]
    fn blobs_that_the_image_came_with_go_before_others() {
        let known = vec![
            origin("a", "reg:5000/team/app"),
            origin("b", "reg:5000/team/app"),
            origin("c", "reg:5000/team/y"),
            origin("b", "reg:5000/x"),
        ];
        let ways = ways(known.clone(), &target(), Some(Digest::of(b"b")), LARGE);
        assert_eq!(ways.present, [known[1].clone(), known[0].clone()]);
        assert_eq!(ways.mounts[0].1, known[3]);
    }

    #[test]
    fn little_is_sent_rather_than_looked_for() {
        let known: Vec<Origin> = (0..9)
            .map(|n| origin(&n.to_string(), &format!("reg:5000/{n}")))
            .collect();
        let tried = |size| {
            let ways = ways(known.clone(), &target(), None, Effort::of(size));
            (ways.mounts.len(), ways.guesses.len())
        };
        assert_eq!([tried(1), tried(1 << 20), tried(1 << 30)], [(1, 0), (3, 0), (4, 3)]);
    }

    #[test]
    fn the_oldest_origins_are_forgotten_and_none_is_kept_twice() {
        let mut record = OriginsRecord::default();
        for n in 0..20 {
            record.add(origin(&n.to_string(), "reg:5000/a"));
        }
        record.add(origin("10", "reg:5000/a"));
        assert_eq!(record.origins.len(), KEPT);
        assert_eq!(record.origins.last(), Some(&origin("10", "reg:5000/a")));
        assert_eq!(record.origins.first(), Some(&origin("4", "reg:5000/a")));
    }
}
