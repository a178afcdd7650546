//! Filters that ask an agent about system calls.

#![allow(clippy::unwrap_used, reason = "what a test unwraps is its assertion")]

#[path = "support/bundle.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bundle;

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bundle::Bundle;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What an agent has seen of one process.
struct Seen {
    message: Value,
    /// What the descriptor is.
    kind: PathBuf,
    /// Whether a call waited for an answer.
    asked: bool,
}

/// Takes one listener, waits until it is asked, and goes away; the kernel then answers ENOSYS (seccomp_unotify(2)).
fn agent(socket: &Path) -> JoinHandle<Seen> {
    let socket = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (stream, _) = socket.accept().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = vec![0_u8; 65536];
        let received = rustix::net::recvmsg(
            &stream,
            &mut [IoSliceMut::new(&mut text)],
            &mut control,
            RecvFlags::empty(),
        );
        let length = received.unwrap().bytes;
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let [listener] = <[OwnedFd; 1]>::try_from(rights.flatten().collect::<Vec<_>>()).expect("one descriptor");
        let patience = Timespec::try_from(Duration::from_secs(20)).unwrap();
        let mut polled = [PollFd::new(&listener, PollFlags::IN)];
        poll(&mut polled, Some(&patience)).unwrap();
        Seen {
            message: serde_json::from_slice(&text[..length]).unwrap(),
            kind: fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap(),
            asked: polled[0].revents().contains(PollFlags::IN),
        }
    })
}

fn asks(socket: &Path, no_new_privileges: bool, script: &str) -> impl FnOnce(&mut Value) {
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_TSYNC"],
        "listenerPath": socket,
        "listenerMetadata": "for whom it may concern",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]
    });
    let args = json!(["sh", "-c", script]);
    move |specification| {
        specification["process"]["args"] = args;
        specification["process"]["noNewPrivileges"] = json!(no_new_privileges);
        specification["linux"]["seccomp"] = filter;
    }
}

#[test]
fn an_agent_gets_the_listener_of_the_first_process_and_is_asked() {
    for no_new_privileges in [true, false] {
        let place = TempDir::new().unwrap();
        let socket = place.path().join("agent.sock");
        let agent = agent(&socket);
        let bundle = Bundle::new(asks(&socket, no_new_privileges, "mkdir /dev/shm/x; echo $?"));
        assert!(bundle.call_into(&["create", &bundle.id], "log"));
        let pid = bundle.state()["pid"].clone();
        assert!(!agent.is_finished(), "nothing is asked before the start");
        bundle.succeed(&["start", &bundle.id]);
        let seen = agent.join().unwrap();
        bundle.wait_for("log", "1\n");
        let log = fs::read_to_string(bundle.path("log")).unwrap();
        assert!(log.contains("Function not implemented"), "{log}");

        assert!(seen.asked);
        assert_eq!(seen.kind, Path::new("anon_inode:seccomp notify"));
        let message = seen.message;
        assert_eq!((&message["fds"], &message["pid"]), (&json!(["seccompFd"]), &pid));
        assert_eq!(message["metadata"], "for whom it may concern");
        let state = &message["state"];
        assert_eq!(
            (&state["id"], &state["status"]),
            (&json!(bundle.id), &json!("creating"))
        );
        assert_eq!(state["bundle"], json!(bundle.directory.path()));
        bundle.succeed(&["delete", "--force", &bundle.id]);
        bundle.assert_nothing_left();
    }
}

#[test]
fn an_agent_gets_the_listener_of_a_later_process() {
    let place = TempDir::new().unwrap();
    let socket = place.path().join("agent.sock");
    let first = agent(&socket);
    let bundle = Bundle::new(asks(&socket, true, "mkdir /dev/shm/x; exec sleep 60"));
    assert!(bundle.call_into(&["run", "--detach", &bundle.id], "log"));
    assert_eq!(first.join().unwrap().message["pid"], bundle.state()["pid"]);

    fs::remove_file(&socket).unwrap();
    let second = agent(&socket);
    let output = bundle.call(&["exec", &bundle.id, "mkdir", "/dev/shm/y"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("Function not implemented"));
    let seen = second.join().unwrap();
    assert!(seen.asked);
    assert_eq!(seen.message["state"]["status"], "running");
    assert_ne!(seen.message["pid"], bundle.state()["pid"]);
    bundle.succeed(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}

#[test]
fn without_an_agent_nothing_is_started_and_nothing_left() {
    let place = TempDir::new().unwrap();
    let bundle = Bundle::new(asks(&place.path().join("nobody.sock"), true, "true"));
    let output = bundle.call(&["run", &bundle.id]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && words.contains("connect to the seccomp agent"),
        "{words}"
    );
    bundle.assert_nothing_left();

    let refusal = |change: &dyn Fn(&mut Value)| {
        let bundle = Bundle::new(|specification| {
            asks(&place.path().join("nobody.sock"), true, "true")(specification);
            change(&mut specification["linux"]["seccomp"]);
        });
        let output = bundle.call(&["run", &bundle.id]);
        assert!(!output.status.success());
        bundle.assert_nothing_left();
        String::from_utf8(output.stderr).unwrap()
    };
    let words = refusal(&|filter| filter["listenerPath"] = json!(""));
    assert!(words.contains("SCMP_ACT_NOTIFY needs a listenerPath"), "{words}");
    let words = refusal(&|filter| filter["defaultAction"] = json!("SCMP_ACT_NOTIFY"));
    assert!(
        words.contains("SCMP_ACT_NOTIFY cannot be used as default action"),
        "{words}"
    );
}
