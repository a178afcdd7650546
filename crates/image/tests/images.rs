//! Pulls and removals that meet, break off, or are given something bad; against a registry in memory.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/scripted.rs"]
mod scripted;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use conex_image::{LayerError, Removal, RemoveError, Removed, User, Which};
use conex_metadata::Table;
use conex_reference::Reference;
use scripted::{Layer, Member, Store, archive, chain_id, files, layer};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(15);

fn removal<'a>(name: &'a str, users: &'a (dyn Fn() -> Vec<User> + Sync)) -> Removal<'a> {
    Removal {
        which: Which::All,
        name,
        force: false,
        prune: true,
        users,
    }
}

/// Polls so many times at most, and drops the future then.
async fn abandon<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left -= 1;
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

/// Waits until memory says of images and names what the disk says.
async fn settle(store: &Store) {
    tokio::time::sleep(Duration::from_millis(50)).await;
    let agree = || {
        let mut ids: Vec<String> = store.images.list().iter().map(|image| image.id.clone()).collect();
        ids.sort();
        let tags: usize = store.images.list().iter().map(|image| image.repo_tags.len()).sum();
        let on_disk = store
            .keys(Table::Tags)
            .iter()
            .filter(|name| !name.contains('@'))
            .count();
        ids == store.keys(Table::Images) && tags == on_disk
    };
    let settled = async {
        while !agree() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), settled)
        .await
        .expect("memory and disk disagree");
    store.assert_complete();
}

#[tokio::test]
async fn memory_and_disk_agree_wherever_a_pull_is_abandoned() {
    for polls in 1.. {
        let store = Store::new();
        store.registry.add("a", &[layer("one")]);
        let pulled = abandon(store.pull("a"), polls).await;
        settle(&store).await;
        if let Some(pulled) = pulled {
            pulled.unwrap();
            return;
        }
        // Nothing of it is in the way of the next.
        store.pull("a").await.unwrap();
        store.images.remove(removal("a", &Vec::new)).await.unwrap();
        assert_eq!(store.keys(Table::Layers), Vec::<String>::new());
        assert!(store.layers().is_empty(), "{:?}", store.layers());
    }
}

#[tokio::test]
async fn memory_and_disk_agree_where_a_tag_or_a_removal_is_abandoned() {
    let store = Store::new();
    store.registry.add("a", &[layer("one")]);
    let id = store.pull("a").await.unwrap().image.id.clone();
    let name = Reference::parse("b:latest").unwrap();
    assert!(abandon(store.images.tag(&id, &name), 1).await.is_none());
    settle(&store).await;
    assert_eq!(store.images.find("b").unwrap().repo_tags.len(), 2);
    for name in ["a", "b"] {
        assert!(
            abandon(store.images.remove(removal(name, &Vec::new)), 1)
                .await
                .is_none()
        );
        settle(&store).await;
    }
    assert!(store.images.list().is_empty());
}

#[tokio::test]
async fn a_pull_during_a_removal_keeps_the_layers_that_both_have() {
    let store = Store::new();
    store.registry.add("a", &[layer("base"), layer("one")]);
    store.registry.add("b", &[layer("base"), layer("two")]);
    store.pull("a").await.unwrap();
    let (removed, pulled) = tokio::join!(store.images.remove(removal("a", &Vec::new)), store.pull("b"));
    removed.unwrap();
    pulled.unwrap();
    store.assert_complete();
    assert_eq!(store.layers().len(), 2);
}

#[tokio::test]
async fn two_removals_at_once_leave_no_layer_that_both_had() {
    let store = Store::new();
    store.registry.add("a", &[layer("base"), layer("one")]);
    store.registry.add("b", &[layer("base"), layer("two")]);
    store.pull("a").await.unwrap();
    store.pull("b").await.unwrap();
    let (one, other) = tokio::join!(
        store.images.remove(removal("a", &Vec::new)),
        store.images.remove(removal("b", &Vec::new)),
    );
    one.unwrap();
    other.unwrap();
    assert_eq!(store.keys(Table::Layers), Vec::<String>::new());
    assert!(store.layers().is_empty());
}

#[tokio::test]
async fn layers_that_another_image_has_are_not_told_as_deleted() {
    let store = Store::new();
    let (low, middle, top) = (layer("low"), layer("middle"), layer("top"));
    store.registry.add("a", &[low.clone(), middle.clone(), top.clone()]);
    store.registry.add("b", &[layer("other"), middle.clone()]);
    store.pull("a").await.unwrap();
    store.pull("b").await.unwrap();
    let removed = store.images.remove(removal("a", &Vec::new)).await.unwrap();
    let deleted: Vec<String> = removed
        .into_iter()
        .filter_map(|removed| match removed {
            Removed::DeletedLayer { id, .. } => Some(id),
            _ => None,
        })
        .collect();
    let low_chain = low.diff_id.to_string();
    let top_chain = chain_id(&chain_id(&low_chain, &middle.diff_id), &top.diff_id);
    assert_eq!(deleted, [top_chain, low_chain]);
    store.assert_complete();
}

#[tokio::test]
async fn a_removal_waits_for_a_lease_and_sees_who_uses_the_image_since() {
    let store = Store::new();
    store.registry.add("a", &[layer("one")]);
    let id = store.pull("a").await.unwrap().image.id.clone();
    let containers = std::sync::Mutex::new(Vec::new());
    let users = || containers.lock().unwrap().clone();
    let lease = store.images.hold("a", None).await.unwrap();
    let mut removing = pin!(store.images.remove(removal("a", &users)));
    let early = tokio::time::timeout(Duration::from_millis(100), removing.as_mut()).await;
    assert!(early.is_err(), "{early:?}");
    containers.lock().unwrap().push(User {
        container: "c".repeat(64),
        image: id,
        running: false,
    });
    drop(lease);
    let refused = removing.await;
    assert!(matches!(refused, Err(RemoveError::Referenced { .. })), "{refused:?}");
    store.assert_complete();
}

/// A container that has an image.
fn user(image: &str, running: bool) -> User {
    User {
        container: "c".repeat(64),
        image: image.to_owned(),
        running,
    }
}

#[tokio::test]
async fn what_is_removed_by_force_stays_for_stopped_containers_alone_and_goes_with_them() {
    let mut store = Store::new();
    store.registry.add("a", &[layer("base"), layer("one")]);
    store.registry.add("b", &[layer("base")]);
    let id = store.pull("a").await.unwrap().image.id.clone();
    let users = || vec![user(&id, false)];
    let forced = Removal {
        force: true,
        ..removal("a", &users)
    };
    let removed = store.images.remove(forced).await.unwrap();
    // The layers are the container's now.
    assert_eq!(removed.last(), Some(&Removed::DeletedImage(id.clone())));
    for _ in 0..2 {
        assert!(store.images.list().is_empty());
        assert!(store.images.find("a").is_err() && store.images.find(&id).is_err() && store.images.id_of(&id).is_err());
        assert_eq!(store.images.find_of_container(&id).unwrap().layers.len(), 2);
        assert_eq!(store.layers().len(), 2);
        store.images.collect_retained(&users).await.unwrap();
        store.reopen();
    }
    // Another image shares a layer with it, and goes without taking that along.
    store.pull("b").await.unwrap();
    store.images.remove(removal("b", &users)).await.unwrap();
    assert_eq!(store.layers().len(), 2);
    store.images.collect_retained(&Vec::new).await.unwrap();
    assert!(store.images.find_of_container(&id).is_err());
    assert!(store.layers().is_empty());
    assert_eq!(store.keys(Table::Images), Vec::<String>::new());
    assert_eq!(store.keys(Table::Layers), Vec::<String>::new());
    store.reopen();
}

#[tokio::test]
async fn what_was_removed_by_force_is_there_again_once_it_is_pulled() {
    let mut store = Store::new();
    store.registry.add("a", &[layer("one")]);
    let id = store.pull("a").await.unwrap().image.id.clone();
    let users = || vec![user(&id, false)];
    let forced = Removal {
        force: true,
        ..removal(&id, &users)
    };
    store.images.remove(forced).await.unwrap();
    assert!(!store.pull("a").await.unwrap().up_to_date);
    store.images.collect_retained(&Vec::new).await.unwrap();
    store.reopen();
    assert_eq!(store.images.find("a").unwrap().id, id);
    store.assert_complete();
    store.images.remove(removal("a", &Vec::new)).await.unwrap();
    assert!(store.layers().is_empty());
}

#[tokio::test]
async fn what_runs_keeps_its_image_without_a_name() {
    let store = Store::new();
    store.registry.add("a", &[layer("one")]);
    let id = store.pull("a").await.unwrap().image.id.clone();
    // The stopped one comes first.
    let users = || vec![user(&id, false), user(&id, true)];
    let forced = Removal {
        force: true,
        ..removal("a", &users)
    };
    let removed = store.images.remove(forced).await.unwrap();
    assert!(!removed.contains(&Removed::DeletedImage(id.clone())), "{removed:?}");
    assert!(store.images.find(&id).unwrap().repo_tags.is_empty());
    let forced = Removal {
        force: true,
        ..removal(&id, &users)
    };
    let refused = store.images.remove(forced).await;
    assert!(matches!(refused, Err(RemoveError::Running { .. })), "{refused:?}");
}

#[tokio::test]
async fn members_that_would_leave_the_root_are_refused_and_nothing_is_left() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap().to_owned();
    let absolute = format!("{target}/file");
    let climbing = format!("../../../../../../..{target}/file");
    let link_out = format!("../../../../../../..{target}");
    let cases: [(&[Member<'_>], &str); 4] = [
        (
            &[Member::File("good"), Member::File(&absolute)],
            "is outside of the root file system",
        ),
        (
            &[Member::File("good"), Member::File(&climbing)],
            "is outside of the root file system",
        ),
        (
            &[Member::Symlink("link", &target), Member::File("link/file")],
            "is a symbolic link that leads out of it",
        ),
        (
            &[Member::Symlink("link", &link_out), Member::File("link/file")],
            "is a symbolic link that leads out of it",
        ),
    ];
    for (members, expected) in cases {
        let store = Store::new();
        store.registry.add("a", &[layer("base"), Layer::new(archive(members))]);
        let error = store.pull_broken("a").await.to_string();
        assert!(
            error.starts_with("failed to register layer: ") && error.contains(expected),
            "{error}"
        );
        assert!(files(outside.path()).is_empty(), "{error}");
        assert!(store.layers().is_empty(), "{error}");
        assert!(store.images.list().is_empty());
        assert_eq!(store.keys(Table::Layers), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_of_the_same_layers_in_another_order_do_not_wait_for_each_other() {
    let pulls = async {
        for _ in 0..10 {
            let store = Store::new();
            let (one, two) = (layer("etc/one"), layer("etc/two"));
            store.registry.add("a", &[one.clone(), two.clone()]);
            store.registry.add("b", &[two.clone(), one.clone()]);
            // A layer that comes twice waits for itself no more than for another pull's.
            store
                .registry
                .add("c", &[one.clone(), two.clone(), layer("three"), two, one]);
            let (a, b, c) = tokio::join!(store.pull("a"), store.pull("b"), store.pull("c"));
            for pulled in [a, b, c] {
                pulled.unwrap();
            }
            store.assert_complete();
        }
    };
    tokio::time::timeout(LIMIT, pulls)
        .await
        .expect("the pulls wait for each other");
}

#[tokio::test]
async fn a_download_is_given_up_before_the_layers_below_are_waited_for() {
    let store = Store::new();
    let (one, two) = (layer("etc/one"), layer("etc/two"));
    store.registry.add("a", &[one.clone(), two.clone()]);
    store.registry.add("b", &[two.clone(), one.clone()]);
    store.registry.add("first", std::slice::from_ref(&one));
    // While this one holds the layer up, `a` has its upper layer and `b` is the next to get its own upper one.
    *store.registry.stalled.lock().unwrap() = Some(one.digest);
    let mut first = Box::pin(store.pull("first"));
    let started = Duration::from_millis(100);
    assert!(tokio::time::timeout(started, first.as_mut()).await.is_err());
    *store.registry.stalled.lock().unwrap() = None;
    let mut both = Box::pin(async { tokio::join!(store.pull("a"), store.pull("b")) });
    assert!(tokio::time::timeout(started, both.as_mut()).await.is_err());
    drop(first);
    let (a, b) = tokio::time::timeout(LIMIT, both)
        .await
        .expect("the pulls wait for each other");
    a.unwrap();
    b.unwrap();
    store.assert_complete();
}

#[tokio::test]
async fn a_wrong_digest_is_told_rather_than_what_it_did_to_the_archive() {
    let plain = archive(&[Member::File("one")]);
    for position in [15, 40] {
        let mut wrong = Layer::gzip(&plain);
        wrong.bytes[position] ^= 0xff;
        let store = Store::new();
        store.registry.add("a", &[wrong]);
        let error = store.pull_broken("a").await;
        assert!(matches!(error, LayerError::Blob { .. }), "{error}");
        assert!(store.layers().is_empty());
    }
    // The archive is at fault where the digest is right.
    let mut broken = plain;
    broken[0] ^= 0xff;
    let store = Store::new();
    let broken = Layer::new(broken);
    store.registry.add("a", std::slice::from_ref(&broken));
    let error = store.pull_broken("a").await;
    let place = format!("(byte 0 of the archive) (layer {})", broken.digest);
    assert!(error.to_string().ends_with(&place), "{error}");
}

#[tokio::test]
async fn a_truncated_layer_is_told_as_such() {
    for mut short in [layer("one"), Layer::gzip(&archive(&[Member::File("one")]))] {
        short.bytes.truncate(short.bytes.len() - 20);
        let store = Store::new();
        store.registry.add("a", &[short]);
        let error = store.pull_broken("a").await;
        assert!(matches!(error, LayerError::Truncated { .. }), "{error}");
        assert!(error.to_string().starts_with("unexpected EOF"), "{error}");
        assert!(store.layers().is_empty());
    }
}

#[tokio::test]
async fn no_more_is_read_than_the_descriptor_says() {
    let mut long = layer("one");
    long.bytes.extend([0; 100_000]);
    let store = Store::new();
    store.registry.add("a", &[long]);
    let error = store.pull_broken("a").await;
    assert!(matches!(error, LayerError::Blob { .. }), "{error}");
}

#[tokio::test]
async fn where_layers_came_from_is_known_as_long_as_an_image_has_them() {
    let store = Store::new();
    let (shared, own) = (layer("shared"), layer("own"));
    store.registry.add("a", std::slice::from_ref(&shared));
    store.registry.add("b", &[shared, own]);
    store.pull("a").await.unwrap();
    assert_eq!(store.keys(Table::Origins).len(), 1);
    store.pull("b").await.unwrap();
    let both = store.keys(Table::Origins);
    assert_eq!(both.len(), 2);
    let record = store.metadata.read(Table::Origins, &both[0]).unwrap().unwrap();
    assert!(String::from_utf8(record).unwrap().contains("docker.io/library/b"));
    store.images.remove(removal("b", &Vec::new)).await.unwrap();
    assert_eq!(store.keys(Table::Origins).len(), 1);
    store.images.remove(removal("a", &Vec::new)).await.unwrap();
    assert_eq!(store.keys(Table::Origins), [""; 0]);
}
