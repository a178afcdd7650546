//! Damage of every kind, found, named and made right where it can be; against a registry in memory.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/scripted.rs"]
#[allow(dead_code, reason = "shared with the tests of pulls and removals")]
mod scripted;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conex_image::{Base, Creation, Finding, History, ImageConfig, Keep, User};
use conex_metadata::{Changes, Table};
use conex_reference::{Digest, Reference};
use conex_registry::Registry;
use futures_util::StreamExt;
use scripted::{Layer, Member, Store, archive, files, layer};

/// Nobody has an image.
fn nobody() -> Vec<User> {
    Vec::new()
}

/// A store with a pulled image of two layers and one that was made here.
async fn store(keep: Keep) -> Store {
    let store = Store::keeping(keep);
    let first = archive(&[Member::File("one"), Member::Symlink("link", "one")]);
    let second = archive(&[Member::File("two")]);
    store.registry.add("x:1", &[Layer::gzip(&first), Layer::gzip(&second)]);
    store.pull("x:1").await.unwrap();
    let base = store.images.base(&id(&store, "x:1")).await.unwrap();
    make(&store, Some(base), "made:1", "three").await;
    settle(&store).await;
    store
}

/// Waits until nothing is written any more that what is damaged could get into.
async fn settle(store: &Store) {
    let images = store.images.clone();
    tokio::task::spawn_blocking(move || images.settle_layout())
        .await
        .unwrap();
}

async fn make(store: &Store, base: Option<Base>, name: &str, file: &str) {
    let archive = futures_util::stream::iter([Ok(bytes::Bytes::from(archive(&[Member::File(file)])))]);
    let made = store.images.read_layer(archive.boxed(), |_| {}).await.unwrap();
    let creation = Creation {
        base,
        layer: made,
        config: ImageConfig {
            author: name.to_owned(),
            ..ImageConfig::default()
        },
        entry: History::default(),
        name: Some(Reference::parse(name).unwrap().with_default_tag()),
    };
    store.images.create(creation).await.unwrap();
}

fn id(store: &Store, name: &str) -> String {
    store.images.find(name).unwrap().id.clone()
}

async fn findings(store: &Store) -> Vec<Finding> {
    let images = store.images.clone();
    let looking = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        images.check(&mut |finding| found.push(finding)).unwrap();
        found
    });
    looking.await.unwrap()
}

/// What a repair says of each finding; nothing may be wrong afterwards but what it could not do.
async fn repair(store: &Store, users: &(dyn Fn() -> Vec<User> + Sync)) -> Vec<Result<String, String>> {
    let registry: Arc<dyn Registry> = store.registry.clone();
    let mut outcomes = Vec::new();
    for finding in findings(store).await {
        outcomes.push(store.images.repair(&finding, &registry, users).await);
    }
    outcomes
}

fn places(findings: &[Finding]) -> Vec<(&str, &str)> {
    let pairs = findings
        .iter()
        .map(|finding| (finding.place.as_str(), finding.problem.as_str()));
    pairs.collect()
}

fn blob(store: &Store, digest: &str) -> PathBuf {
    store
        .dir
        .path()
        .join("content/blobs/sha256")
        .join(&digest["sha256:".len()..])
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path) {
    fs::File::options().write(true).open(path).unwrap().set_len(3).unwrap();
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

/// Finds one thing at this place, makes it right in this way, and finds nothing then.
async fn finds_and_repairs(store: &Store, place: &str, problem: &str, repaired: &str) {
    let found = findings(store).await;
    assert_eq!(places(&found), [(place, problem)]);
    assert_eq!(repair(store, &nobody).await, [Ok(repaired.to_owned())], "{place}");
    assert_eq!(places(&findings(store).await), [], "{place}");
    settle(store).await;
}

/// What is done to a layer's directory.
type Damage<'a> = &'a dyn Fn(&Path);

const WRONG: &str = "its contents are not what its digest says";

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_store_has_no_findings() {
    for keep in [Keep::UntilUnpacked, Keep::Always] {
        let mut store = store(keep).await;
        assert_eq!(places(&findings(&store).await), []);
        store.reopen();
        assert_eq!(places(&findings(&store).await), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_configurations_come_back() {
    let store = store(Keep::UntilUnpacked).await;
    let (pulled, made) = (id(&store, "x:1"), id(&store, "made:1"));
    for damage in [flip, truncate] {
        damage(&blob(&store, &pulled));
        let place = format!("configuration {pulled} of x:1");
        finds_and_repairs(&store, &place, WRONG, "fetched again").await;
    }
    remove(&blob(&store, &pulled));
    let place = format!("configuration {pulled} of x:1");
    finds_and_repairs(&store, &place, "is gone", "fetched again").await;
    flip(&blob(&store, &made));
    let place = format!("configuration {made} of made:1");
    finds_and_repairs(&store, &place, WRONG, "written again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_configuration_is_damaged_is_not_used_and_comes_back() {
    let mut store = store(Keep::UntilUnpacked).await;
    let pulled = id(&store, "x:1");
    flip(&blob(&store, &pulled));
    store.reopen();
    assert!(store.images.find("x:1").is_err());
    // What it has is still there.
    assert_eq!(store.layers().len(), 3);
    let place = format!("configuration {pulled} of x:1");
    finds_and_repairs(&store, &place, WRONG, "fetched again").await;
    assert_eq!(id(&store, "x:1"), pulled);
    flip(&blob(&store, &pulled));
    store.reopen();
    // A pull does as well.
    store.pull("x:1").await.unwrap();
    assert_eq!(id(&store, "x:1"), pulled);
    assert_eq!(places(&findings(&store).await), [(place.as_str(), WRONG)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_manifests_come_back() {
    let store = store(Keep::UntilUnpacked).await;
    let ids = [id(&store, "x:1"), id(&store, "made:1")];
    let manifests: Vec<PathBuf> = files(&store.dir.path().join("content/blobs/sha256"))
        .into_iter()
        .filter(|path| ids.iter().all(|id| *path != blob(&store, id)))
        .collect();
    assert_eq!(manifests.len(), 2);
    for path in manifests {
        let is_pulled = String::from_utf8(fs::read(&path).unwrap()).unwrap().contains(&ids[0]);
        let (name, way) = if is_pulled {
            ("x:1", "fetched again")
        } else {
            ("made:1", "made again")
        };
        let digest = path.file_name().unwrap().to_str().unwrap();
        let place = format!("manifest sha256:{digest} of {name}");
        flip(&path);
        finds_and_repairs(&store, &place, WRONG, way).await;
        remove(&path);
        // Its size is in `index.json`, which cannot be written without it.
        let found = findings(&store).await;
        assert!(places(&found).contains(&(place.as_str(), "is gone")), "{found:?}");
        assert!(repair(&store, &nobody).await.iter().all(Result::is_ok));
        assert_eq!(places(&findings(&store).await), []);
        settle(&store).await;
    }
}

/// The directories of the layers of `x:1`, lowest first.
fn directories(store: &Store) -> Vec<PathBuf> {
    let image = store.images.find("x:1").unwrap();
    let layers = image.layers.iter().rev();
    layers
        .map(|layer| store.dir.path().join("layers").join(layer.name.as_str()))
        .collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_layers_are_unpacked_again() {
    let store = store(Keep::UntilUnpacked).await;
    let skeletons = store.dir.path().join("skeletons");
    let damages: [(&str, Damage<'_>); 6] = [
        ("its files are not what they were", &|layer| flip(&layer.join("one"))),
        ("", &|layer| remove(&layer.join("one"))),
        ("", &|layer| fs::write(layer.join("one"), "o").unwrap()),
        ("its directory is gone", &|layer| fs::remove_dir_all(layer).unwrap()),
        ("its reconstruction data are gone", &|layer| {
            remove(&skeletons.join(name_of(layer)))
        }),
        ("", &|layer| flip(&skeletons.join(name_of(layer)))),
    ];
    for (number, (problem, damage)) in damages.iter().enumerate() {
        fs::write(directories(&store)[0].join("one"), "one").unwrap();
        damage(&directories(&store)[0]);
        let found = findings(&store).await;
        let damaged = name_of(&directories(&store)[0]);
        assert!(
            found[0].place.starts_with(&format!("layer {damaged} of ")),
            "{number}: {found:?}"
        );
        assert!(
            problem.is_empty() || found[0].problem == *problem,
            "{number}: {found:?}"
        );
        let outcomes = repair(&store, &nobody).await;
        let expected = Ok("unpacked again from docker.io/library/x".to_owned());
        assert_eq!(outcomes[0], expected, "{number}");
        assert_eq!(places(&findings(&store).await), [], "{number}");
        assert_eq!(fs::read_to_string(directories(&store)[0].join("one")).unwrap(), "one");
        store.assert_complete();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_a_layer_is_asked_of_nobody() {
    let store = store(Keep::Always).await;
    store.registry.asked.lock().unwrap().clear();
    flip(&directories(&store)[1].join("two"));
    assert_eq!(
        repair(&store, &nobody).await,
        [Ok("unpacked again from what is kept".to_owned())]
    );
    assert_eq!(places(&findings(&store).await), []);
    assert_eq!(*store.registry.asked.lock().unwrap(), []);
    // And so in a pull that finds a layer gone.
    fs::remove_dir_all(&directories(&store)[1]).unwrap();
    store.pull("x:1").await.unwrap();
    let config = Digest::parse(&id(&store, "x:1")).unwrap();
    assert_eq!(*store.registry.asked.lock().unwrap(), [config]);
    store.assert_complete();
    assert_eq!(places(&findings(&store).await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_runs_is_left_alone() {
    let store = store(Keep::UntilUnpacked).await;
    let damaged = directories(&store)[0].clone();
    flip(&damaged.join("one"));
    let made = id(&store, "made:1");
    let users = move || {
        vec![User {
            container: "0123456789abcdef".to_owned(),
            image: made.clone(),
            running: true,
        }]
    };
    let expected = Err("container 0123456789ab runs on it; stop it and repair again".to_owned());
    assert_eq!(repair(&store, &users).await, [expected]);
    assert!(damaged.is_dir());
    assert_eq!(findings(&store).await.len(), 1);
    assert!(repair(&store, &nobody).await[0].is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_was_made_here_cannot_be_had_unless_it_is_kept() {
    for (keep, is_had) in [(Keep::UntilUnpacked, false), (Keep::Always, true)] {
        let store = store(keep).await;
        let image = store.images.find("made:1").unwrap();
        flip(
            &store
                .dir
                .path()
                .join("layers")
                .join(image.layers[0].name.as_str())
                .join("three"),
        );
        let outcome = repair(&store, &nobody).await.remove(0);
        assert_eq!(outcome.is_ok(), is_had, "{outcome:?}");
        assert_eq!(findings(&store).await.is_empty(), is_had);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_blobs_of_layers_come_back() {
    let store = store(Keep::Always).await;
    let image = store.images.find("made:1").unwrap();
    let own = image.config.rootfs.diff_ids.last().unwrap().clone();
    flip(&blob(&store, &own));
    let place = format!("compressed layer {own} of made:1");
    finds_and_repairs(&store, &place, WRONG, "written again from its files").await;
    let pulled = Layer::gzip(&archive(&[Member::File("two")])).digest.to_string();
    for damage in [flip, truncate, remove] {
        damage(&blob(&store, &pulled));
        let problem = if blob(&store, &pulled).exists() {
            WRONG
        } else {
            "is gone"
        };
        let place = format!("compressed layer {pulled} of made:1, x:1");
        finds_and_repairs(&store, &place, problem, "fetched again from docker.io/library/x").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_refers_to_is_removed() {
    let store = store(Keep::UntilUnpacked).await;
    let root = store.dir.path();
    let orphan = Digest::of(b"orphan");
    fs::write(blob(&store, &orphan.to_string()), "orphan").unwrap();
    fs::create_dir_all(root.join("layers/0123/etc")).unwrap();
    fs::write(root.join("skeletons/4567"), "").unwrap();
    fs::write(root.join("content/partial/readme"), "").unwrap();
    fs::write(root.join("content/blobs/sha256/x"), "").unwrap();
    let expected = [
        (format!("blob {orphan}"), "no image has it"),
        (
            "content/blobs/sha256/x".to_owned(),
            "it is no file of the content store",
        ),
        (
            "content/partial/readme".to_owned(),
            "it is no file of the content store",
        ),
        ("layers/0123".to_owned(), "no record names this layer"),
        ("layers/4567".to_owned(), "no record names this layer"),
    ];
    let found = findings(&store).await;
    assert_eq!(
        places(&found),
        expected.each_ref().map(|(place, problem)| (place.as_str(), *problem))
    );
    let removed = Ok("removed".to_owned());
    assert_eq!(repair(&store, &nobody).await, vec![removed; 5]);
    assert_eq!(places(&findings(&store).await), []);
    assert!(!root.join("layers/0123").exists() && !root.join("skeletons/4567").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_layouts_own_files_are_written_again() {
    let store = store(Keep::UntilUnpacked).await;
    let root = store.dir.path().join("content");
    for (file, problem, damage) in [
        ("index.json", "does not say what the store has", truncate as fn(&Path)),
        ("index.json", "is gone", remove),
        ("oci-layout", "is not what it was", truncate),
        ("oci-layout", "is not what it was", remove),
    ] {
        settle(&store).await;
        damage(&root.join(file));
        finds_and_repairs(&store, &format!("content/{file}"), problem, "written again").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_no_image_are_taken_away() {
    let mut store = store(Keep::UntilUnpacked).await;
    let lost = Digest::of(b"lost").to_string();
    // As names were stored before they could mean several images.
    let changes = Changes::new().put(Table::Tags, "docker.io/library/lost:1", lost.as_str());
    store.metadata.commit(changes).await.unwrap();
    store.reopen();
    let problem = format!("there is no image {lost}");
    finds_and_repairs(&store, "name docker.io/library/lost:1", &problem, "removed").await;
    store.reopen();
    assert_eq!(places(&findings(&store).await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pull_is_about_to_have_is_no_damage() {
    let store = Arc::new(store(Keep::Always).await);
    let stalled = layer("stalled");
    store.registry.add("y:1", &[layer("four"), stalled.clone()]);
    *store.registry.stalled.lock().unwrap() = Some(stalled.digest);
    let pulling = tokio::spawn({
        let store = store.clone();
        async move { store.pull("y:1").await.map(|_| ()) }
    });
    let has_arrived = || store.registry.asked.lock().unwrap().contains(&stalled.digest);
    while !has_arrived() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(places(&findings(&store).await), []);
    pulling.abort();
}
