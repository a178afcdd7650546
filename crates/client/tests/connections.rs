//! How many connections requests take, told by a daemon that answers as it is told to.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use conex_client::{Client, Endpoint};

/// Takes so many requests on each connection, then closes it; gives the lines that they begin with.
fn daemon(listener: UnixListener, requests: &'static [usize]) -> JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let mut lines = Vec::new();
        for &count in requests {
            let mut connection = BufReader::new(listener.accept().unwrap().0);
            for _ in 0..count {
                let mut head = (&mut connection).lines().map(Result::unwrap);
                lines.push(head.next().unwrap());
                head.find(String::is_empty).unwrap();
                let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                connection.get_mut().write_all(answer).unwrap();
            }
        }
        lines
    })
}

/// Asks for three things one after the other, and checks that the daemon got them.
fn ask(requests: &'static [usize]) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s.sock");
    let daemon = daemon(UnixListener::bind(&socket).unwrap(), requests);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let client = Client::new(Endpoint::Unix(socket));
        for id in ["a", "b", "c"] {
            client.kill(id, None).await.unwrap();
            // So that the end of the connection is there before the next request.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let expected = ["a", "b", "c"].map(|id| format!("POST /v1.50/containers/{id}/kill HTTP/1.1"));
    assert_eq!(daemon.join().unwrap(), expected);
}

#[test]
fn a_connection_serves_requests_one_after_the_other() {
    ask(&[3]);
}

#[test]
fn a_connection_that_the_daemon_closed_is_replaced() {
    ask(&[1, 2]);
}
