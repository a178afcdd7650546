//! What both engines make of the same archive: unpacked by `import`, and compared entry by entry on the disk.

mod cases;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use conex_tests::{Engine, Sandbox};

use self::cases::{archives, compressions};
use self::tree::{Tree, tree};

/// What stays different: the archive, what of it (a path, or `outcome`), and why.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("kinds", ".", "what an archive says of the root is taken"),
    ("whiteout-of-what-is-there", "outcome", WHITEOUT),
    ("whiteouts", ".wh.plnk", "bookkeeping of aufs is left out"),
    ("whiteouts", ".wh.aufs", "bookkeeping of aufs is left out"),
    ("hard-dressed", "f", LINK),
    ("hard-dressed", "h", LINK),
    (
        "replaced",
        "outcome",
        "the last of several members counts, as for tar(1)",
    ),
    ("times", "negative", TIME),
    ("times", "negative-whole", TIME),
    ("times", "binary-negative", TIME),
    ("times-beyond", "huge", TIME),
    ("times-beyond", "larger", TIME),
    ("id-no-change", "outcome", OWNER),
    ("id-beyond", "outcome", OWNER),
    ("id-negative", "outcome", OWNER),
    ("id-binary-negative", "outcome", OWNER),
    (
        "attributes-of-overlayfs",
        "steers",
        "what steers overlayfs is not the archive's to say",
    ),
    (
        "attributes-of-overlayfs",
        "steers-user",
        "what steers overlayfs is not the archive's to say",
    ),
    ("attribute-of-nothing", "outcome", ATTRIBUTE),
    ("attribute-of-a-link", "outcome", ATTRIBUTE),
    ("sparse-old", "outcome", KIND),
    ("type-contiguous", "outcome", KIND),
    ("type-label", "outcome", KIND),
    ("type-solaris", "outcome", KIND),
    ("out-absolute", "outcome", OUTSIDE),
    ("out-through", "outcome", OUTSIDE),
    ("name-empty", "outcome", ROOT),
    ("root-as-file", "outcome", ROOT),
    ("root-as-link", "outcome", ROOT),
    ("end-in-padding", "outcome", "what breaks off is not whole"),
    ("gzip and garbage", "outcome", "what follows belongs to nothing"),
    ("zstd and garbage", "outcome", "what follows belongs to nothing"),
];

const WHITEOUT: &str = "a whiteout speaks of lower layers only";
const LINK: &str = "owner and mode are those of the file, not of another name's header";
const TIME: &str = "times before 1970 and far away are kept as far as the file system can";
const OWNER: &str = "there is no such owner";
const ATTRIBUTE: &str = "where an object can have no such attribute it does without";
const KIND: &str = "GNU tar and others write them";
const OUTSIDE: &str = "nothing reaches out of the root";
const ROOT: &str = "it is no name of anything";

/// An engine, and where it has unpacked a layer.
struct Side {
    sandbox: Sandbox,
    layer: fn(&Sandbox) -> PathBuf,
}

/// The directory that the reference's driver says.
fn their_layer(sandbox: &Sandbox) -> PathBuf {
    let directory = sandbox.ok(&[
        "image",
        "inspect",
        "--format",
        "{{.GraphDriver.Data.UpperDir}}",
        "made:1",
    ]);
    PathBuf::from(directory)
}

/// The only directory that there is.
fn our_layer(sandbox: &Sandbox) -> PathBuf {
    let layers = fs::read_dir(sandbox.dir().join("data/layers")).unwrap();
    let layers: Vec<PathBuf> = layers
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(layers.len(), 1, "{layers:?}");
    layers[0].clone()
}

impl Side {
    /// The tree that an archive becomes, or what is said of it.
    fn unpacked(&self, archive: &[u8]) -> Result<Tree, String> {
        let said = self.sandbox.with_input(&["import", "-", "made:1"], archive);
        if said.code != 0 {
            return Err(format!("{}{}", said.out, said.err));
        }
        let found = tree(&(self.layer)(&self.sandbox));
        self.sandbox.ok(&["rmi", "made:1"]);
        Ok(found)
    }
}

fn sides() -> (Side, Side) {
    let root = std::env::var_os("CONEX_TEST_REFERENCE").expect("CONEX_TEST_REFERENCE names the reference's directory");
    let theirs = Side {
        sandbox: Sandbox::with_flags(Engine::Reference(root.into()), &[]),
        layer: their_layer,
    };
    assert_eq!(theirs.sandbox.ok(&["info", "--format", "{{.Driver}}"]), "overlay2");
    let ours = Side {
        sandbox: Sandbox::with_flags(Engine::Conex, &[]),
        layer: our_layer,
    };
    (theirs, ours)
}

/// What differs of two outcomes: where, and how.
fn differences(theirs: &Result<Tree, String>, ours: &Result<Tree, String>) -> Vec<(String, String)> {
    match (theirs, ours) {
        (Err(_), Err(_)) => Vec::new(),
        (Ok(theirs), Ok(ours)) => {
            let paths: BTreeMap<&String, ()> = theirs.keys().chain(ours.keys()).map(|path| (path, ())).collect();
            let differs = paths.into_keys().filter(|path| theirs.get(*path) != ours.get(*path));
            differs
                .map(|path| {
                    (
                        path.clone(),
                        format!("{:?}\n      {:?}", theirs.get(path), ours.get(path)),
                    )
                })
                .collect()
        }
        (theirs, ours) => {
            let told = |outcome: &Result<Tree, String>| match outcome {
                Ok(tree) => format!("{} entries", tree.len()),
                Err(error) => error.clone(),
            };
            vec![("outcome".to_owned(), format!("{}\n      {}", told(theirs), told(ours)))]
        }
    }
}

#[test]
#[ignore = "needs the reference engine (cargo xtask reference)"]
fn archives_are_unpacked_as_by_the_reference() {
    let (theirs, ours) = sides();
    let (mut report, mut met) = (String::new(), vec![false; DIFFERENCES.len()]);
    let (mut entries, all) = (0, archives());
    let plain = all.iter().find(|(name, _)| *name == "kinds").unwrap().1.clone();
    let whole = ours.unpacked(&plain).unwrap();
    let compressed = compressions(&plain);
    let packed: Vec<&str> = compressed.iter().map(|(name, ..)| *name).collect();
    let cases = all
        .into_iter()
        .map(|(name, archive)| (name, archive, false))
        .chain(compressed);
    for (name, archive, is_whole) in cases {
        let (their, our) = (theirs.unpacked(&archive), ours.unpacked(&archive));
        entries += our.as_ref().map_or(0, Tree::len);
        if is_whole {
            assert_eq!(our.as_ref().unwrap(), &whole, "{name}");
        }
        for (place, how) in differences(&their, &our) {
            // The root differs in each compression as it does without one.
            let of = if place == "." && packed.contains(&name) {
                "kinds"
            } else {
                name
            };
            let listed = DIFFERENCES
                .iter()
                .position(|(case, path, _)| *case == of && *path == place);
            match listed {
                Some(listed) => met[listed] = true,
                None => report += &format!("{name}: {place}:\n      {how}\n"),
            }
        }
    }
    for (met, difference) in met.iter().zip(DIFFERENCES) {
        if !met {
            report += &format!("is not met any more: {difference:?}\n");
        }
    }
    println!("unpack: {entries} entries compared");
    assert!(report.is_empty(), "\n{report}");
}
