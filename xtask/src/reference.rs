//! The reference engine: Docker's own, by which the client tests are tested, so that a wrong test is found.

use std::path::{Path, PathBuf};

use crate::run::{Outcome, cargo, run};
use crate::{packages, unstable};

/// Debian's packages of the reference.
const PACKAGES: [&str; 6] = [
    "docker.io",
    "containerd",
    "docker-cli",
    "docker-buildx",
    "docker-compose",
    "tini",
];

/// What the reference needs of the machine.
pub(crate) const NEEDED: [(&str, &str); 2] = [("/usr/sbin/runc", "runc"), ("/usr/sbin/iptables", "iptables")];

/// Test programs that any engine must pass.
const TESTS: [&str; 13] = [
    "commit",
    "compose",
    "concurrency",
    "containers",
    "copy",
    "image_verbs",
    "images",
    "isolation",
    "network",
    "observing",
    "push",
    "refusals",
    "system",
];

/// Tests of what is ours alone, and why they are.
const OURS: [(&str, &str); 22] = [
    (
        "nobody_waits_for_a_container_whose_start_hangs",
        "stops a process of ours",
    ),
    (
        "of_two_starts_one_starts",
        "Docker answers both at times as if each had started",
    ),
    (
        "of_two_removals_one_removes",
        "Docker answers all at times as if each had removed",
    ),
    (
        "a_copy_of_one_that_does_not_run_leaves_nothing_mounted",
        "Docker mounts where the host sees it",
    ),
    (
        "archives_that_cannot_be_unpacked_are_refused",
        "our reasons for each of them",
    ),
    ("what_is_not_done_is_refused_by_name", "Docker does it"),
    ("fields_whose_mechanism_is_not_there", "Docker has what they ask for"),
    (
        "services_wait_for_each_others_health",
        "Docker restarts nothing for its health",
    ),
    (
        "what_runs_outlives_the_daemon",
        "Docker's containers die with their daemon",
    ),
    ("a_full_disk_is_told_and_leaves_nothing", "kills the daemon"),
    ("a_bad_archive_leaves_nothing_behind", "looks into our layer store"),
    ("a_layer_whose_files_were_changed", "looks into our layer store"),
    (
        "a_layer_is_unpacked_while_another",
        "Docker unpacks one layer after the other",
    ),
    ("the_first_files_of_a_layer", "Docker unpacks a layer when it is whole"),
    ("what_a_registry_does_wrong", "looks into our layer store"),
    ("a_layer_that_leaves_the_root", "looks into our layer store"),
    ("transfers_that_break_off", "looks into our layer store"),
    (
        "a_pull_that_breaks_off",
        "Docker begins again when it has been started again",
    ),
    ("what_was_kept_of_a_pull", "as above"),
    ("a_pull_that_dies_with_the_daemon", "looks into our layer store"),
    ("an_image_keeps_its_digest", "Docker writes the manifest anew"),
    (
        "no_signal_that_the_daemon",
        "Docker's runtime passes on what is blocked, and signal 32 where it is ignored",
    ),
];

/// Fetches the reference and runs the client tests on it.
pub(crate) fn reference() -> Outcome {
    install()?;
    let reference = fetch()?;
    unstable::fetch("compose", &["docker-compose"])?;
    let mut test = cargo();
    test.args(["test", "--release", "--locked", "--no-fail-fast", "-p", "conex-tests"]);
    for name in TESTS {
        test.args(["--test", name]);
    }
    test.args(["--", "--test-threads=2"]);
    for (name, why) in OURS {
        println!("not on the reference: {name}: {why}");
        test.args(["--skip", name]);
    }
    test.env("CONEX_TEST_REFERENCE", &reference)
        .env("CONEX_TEST_PATIENCE", "60")
        .env("PATH", path_with(&reference));
    run(&mut test)?;
    // Both engines at once, on one thread: what is compared are answers, not times.
    run(cargo()
        .args(["test", "--release", "--locked", "--no-fail-fast", "-p", "conex-tests"])
        .args([
            "--test",
            "differential",
            "--test",
            "runtimes",
            "--test",
            "containerd",
            "--",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("CONEX_TEST_REFERENCE", &reference)
        .env("CONEX_TEST_PATIENCE", "60")
        .env("PATH", path_with(&reference)))
}

/// Installs what the reference and its tests need of the machine.
pub(crate) fn install() -> Outcome {
    packages::install(&packages::RUN)?;
    packages::install(&NEEDED)?;
    packages::install(&packages::REGISTRY)?;
    packages::install(&packages::TEST)?;
    packages::install_docker_client()
}

/// The reference's packages, unpacked.
pub(crate) fn fetch() -> Outcome<PathBuf> {
    unstable::fetch("reference", &PACKAGES)
}

/// `PATH` with the reference's programs after the machine's own.
pub(crate) fn path_with(reference: &Path) -> std::ffi::OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let own = ["usr/sbin", "usr/bin"].map(|directory| reference.join(directory));
    let all = std::env::split_paths(&inherited).chain(own);
    std::env::join_paths(all).unwrap_or(inherited)
}
