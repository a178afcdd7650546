//! Files of containers: copied both ways, exported, listed as changes.

use crate::harness::{Difference, Pair, Request, get, head, post, put, with};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    (
        "HEAD /containers/new/archive?path=%2Fetc",
        "/mtime",
        "nothing is made in a container before it starts",
    ),
    (
        "GET /containers/new/archive?path=%2Fetc",
        "",
        "nothing is made in a container before it starts",
    ),
    (
        "GET /containers/new/export",
        "",
        "nothing is made in a container before it starts",
    ),
    (
        "HEAD /containers/sealed/archive?path=%2Ft",
        "/X-Docker-Container-Path-Stat",
        "what is mounted is seen, as the container sees it",
    ),
    (
        "GET /containers/sealed/archive?path=%2Ft",
        "",
        "what is mounted is seen, as the container sees it",
    ),
    (
        "HEAD /containers/runs/archive?path=%2Fdev%2Fnull",
        "",
        "what is mounted is seen, as the container sees it",
    ),
    (
        "GET /containers/runs/archive?path=%2Fdev%2Fnull",
        "",
        "what is mounted is seen, as the container sees it",
    ),
    (
        "HEAD /containers/runs/archive?path=%2Fproc%2Fself",
        "",
        "what is mounted is seen, as the container sees it",
    ),
    (
        "PUT /containers/still/archive?path=%2Ftmp",
        "/message",
        "where an archive breaks off is said",
    ),
    (
        "PUT /containers/runs/archive?path=%2Ftmp",
        "/message",
        "where an archive breaks off is said",
    ),
    (
        "/containers/",
        "/.dockerenv",
        "no files of the engine's are left in a layer",
    ),
    ("/containers/", "/dev/", "no files of the engine's are left in a layer"),
    (
        "/containers/",
        "/etc/mtab",
        "no files of the engine's are left in a layer",
    ),
    (
        "/containers/",
        "/etc/hosts/mode",
        "mount points have the modes of files",
    ),
    (
        "/containers/",
        "/etc/hostname/mode",
        "mount points have the modes of files",
    ),
    (
        "/containers/",
        "/etc/resolv.conf/mode",
        "mount points have the modes of files",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn files_are_copied_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&population());
    for container in ["still", "runs"] {
        pair.compare(&stats(container));
        pair.compare(&downloads(container));
        pair.compare(&uploads(container));
        pair.compare(&impossible_uploads(container));
        pair.compare(&changes(container));
    }
    pair.compare(&changed());
    pair.compare(&exports());
    pair.finish(
        &[
            ("HEAD", "/containers/{id}/archive", &[200, 400, 404]),
            ("GET", "/containers/{id}/archive", &[200, 400, 404]),
            ("PUT", "/containers/{id}/archive", &[200, 400, 403, 404]),
            ("GET", "/containers/{id}/changes", &[200, 404]),
            ("GET", "/containers/{id}/export", &[200, 404]),
        ],
        &[(
            "PUT",
            "/containers/{id}/archive",
            403,
            "Docker answers what is read-only with 500",
        )],
    );
}

/// Files of every kind, in a container that has ended and in one that runs; a read-only one beside them.
const SCRIPT: &str = "mkdir -p /d/e; echo file > /d/file; chmod 4755 /d/file; chown 1000:29 /d/e; ln -s file /d/link; \
    ln -s /d/e /d/to-e; ln -s nosuch /d/dangling; ln -s /etc/../../../etc/passwd /d/out; mkfifo /d/fifo; \
    echo deep > /d/e/deep; ln /d/file /d/hard; rm /etc/secret; echo changed >> /etc/group; echo up";

fn population() -> Vec<Request> {
    let create = |name: &str, script: &str, host: &str| {
        let body = format!(r#"{{"Image":"busybox","Cmd":["sh","-c","{script}"],"HostConfig":{{{host}}}}}"#);
        post(format!("/containers/create?name={name}"), body)
    };
    vec![
        create("still", SCRIPT, r#""Tmpfs":{"/t":"size=1m"}"#),
        post("/containers/still/start", "").unseen(),
        post("/containers/still/wait", ""),
        create(
            "runs",
            &format!("{SCRIPT}; sleep 1000"),
            r#""Binds":["/etc/ssl:/bound:ro"]"#,
        ),
        post("/containers/runs/start", "").unseen(),
        get("/containers/runs/logs?stdout=1").until("up"),
        create(
            "sealed",
            "sleep 1000",
            r#""ReadonlyRootfs":true,"Tmpfs":{"/t":"size=1m"}"#,
        ),
        post("/containers/sealed/start", ""),
        create("new", "true", r#""NetworkMode":"none""#),
    ]
}

fn at(container: &str, path: &str) -> String {
    with(&format!("/containers/{container}/archive"), &[("path", path)])
}

const PATHS: [&str; 22] = [
    "/d",
    "/d/",
    "/d/.",
    "/d/file",
    "/d/file/",
    "/d/file/.",
    "d/file",
    "/d/link",
    "/d/to-e",
    "/d/to-e/",
    "/d/to-e/.",
    "/d/dangling",
    "/d/out",
    "/d/fifo",
    "/d/hard",
    "/nosuch",
    "/d/file/nosuch",
    "/../../d/e",
    "/etc/secret",
    "/etc/group",
    "/dev/null",
    "/tmp",
];

fn stats(container: &str) -> Vec<Request> {
    let more = [
        head("/containers/nosuch/archive?path=/d"),
        head(format!("/containers/{container}/archive")),
        head(format!("/containers/{container}/archive?path=")),
        head("/containers/nosuch/archive"),
        head(at(container, "/proc/self")),
        head(at("new", "/etc")),
        head(at("sealed", "/t")),
    ];
    PATHS.iter().map(|path| head(at(container, path))).chain(more).collect()
}

fn downloads(container: &str) -> Vec<Request> {
    let more = [
        get("/containers/nosuch/archive?path=/d"),
        get(format!("/containers/{container}/archive")),
        get(format!("/containers/{container}/archive?path=")),
        get("/containers/nosuch/archive"),
        get(at("new", "/etc")),
        get(at("sealed", "/t")),
        get(at(container, "/home")),
    ];
    PATHS.iter().map(|path| get(at(container, path))).chain(more).collect()
}

/// An archive of members: a path that ends with a slash is a directory, others are files with this content.
fn archive(members: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in members {
        let mut header = tar::Header::new_ustar();
        let is_directory = path.ends_with('/');
        header.set_entry_type(if is_directory {
            tar::EntryType::Directory
        } else {
            tar::EntryType::Regular
        });
        header.set_mode(if is_directory { 0o750 } else { 0o640 });
        header.set_uid(1000);
        header.set_gid(29);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn upload(container: &str, parameters: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Request {
    put(with(&format!("/containers/{container}/archive"), parameters), body).header("Content-Type", "application/x-tar")
}

fn uploads(container: &str) -> Vec<Request> {
    let members = archive(&[("up/", ""), ("up/a", "a\n"), ("b", "b\n")]);
    vec![
        upload(container, &[("path", "/tmp")], members.clone()),
        get(at(container, "/tmp/up")),
        get(at(container, "/tmp/b")),
        upload(container, &[("path", "/home/"), ("copyUIDGID", "1")], members.clone()),
        get(at(container, "/home")),
        upload(container, &[("path", "/d/to-e")], archive(&[("through", "link\n")])),
        get(at(container, "/d/e/through")),
        upload(
            container,
            &[("path", "/d/e"), ("noOverwriteDirNonDir", "true")],
            archive(&[("deep", "new\n")]),
        ),
        get(at(container, "/d/e")),
        upload(container, &[("path", "/tmp")], archive(&[])),
        upload(container, &[("path", "/tmp")], ""),
        upload(container, &[("path", "tmp")], archive(&[("relative", "x\n")])),
        get(at(container, "/tmp/relative")),
        upload(
            container,
            &[("path", "/tmp")],
            archive(&[("up", "a file where a directory was\n")]),
        ),
        get(at(container, "/tmp")),
    ]
}

fn impossible_uploads(container: &str) -> Vec<Request> {
    let file = || archive(&[("d", "no directory\n")]);
    vec![
        upload("nosuch", &[("path", "/tmp")], file()),
        upload(container, &[], file()),
        upload(container, &[("path", "")], file()),
        upload(container, &[("path", "/nosuch")], file()),
        upload(container, &[("path", "/d/file")], file()),
        upload(container, &[("path", "/d/dangling")], file()),
        upload(container, &[("path", "/tmp")], "no archive"),
        upload(container, &[("path", "/"), ("noOverwriteDirNonDir", "1")], file()),
        upload(
            container,
            &[("path", "/d"), ("noOverwriteDirNonDir", "1")],
            archive(&[("file/", "")]),
        ),
        upload("sealed", &[("path", "/tmp")], file()),
        upload("runs", &[("path", "/bound")], file()),
    ]
}

fn changes(container: &str) -> Vec<Request> {
    vec![
        get(format!("/containers/{container}/changes")),
        get(format!("/containers/{container}/changes")).version("/v1.24"),
        get(format!("/containers/{container}/changes")).version("/v1.43"),
    ]
}

fn changed() -> Vec<Request> {
    vec![
        get("/containers/new/changes"),
        get("/containers/sealed/changes"),
        get("/containers/nosuch/changes"),
        get("/containers/nosuch/changes").version("/v1.24"),
    ]
}

fn exports() -> Vec<Request> {
    let whole =
        |container: &str| get(format!("/containers/{container}/export")).reading(crate::decode::Reading::Archive);
    vec![
        whole("new"),
        whole("still"),
        whole("runs"),
        whole("sealed"),
        whole("nosuch"),
        whole("still").version("/v1.24"),
        whole("new").version("/v1.41"),
        whole("nosuch").version("/v1.24"),
    ]
}
