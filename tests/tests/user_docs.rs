//! The examples of the user's documents: every command is executed, and says what the document says.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::process::Command;

use conex_tests::{Disk, Sandbox, dist};

/// Commands of a document's `console` blocks, each with what it prints.
fn examples(document: &str) -> Vec<(String, String)> {
    let mut examples: Vec<(String, String)> = Vec::new();
    let mut is_inside = false;
    for line in document.lines() {
        match line {
            "```console" => is_inside = true,
            "```" => is_inside = false,
            _ if !is_inside => {}
            _ => match line.strip_prefix("$ ") {
                Some(command) => examples.push((command.to_owned(), String::new())),
                None => {
                    let (_, output) = examples.last_mut().expect("output without a command");
                    output.push_str(line);
                    output.push('\n');
                }
            },
        }
    }
    examples
}

#[test]
fn the_examples_of_limits_do_what_they_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/user/limits.md");
    let examples = examples(&fs::read_to_string(path).unwrap());
    assert!(examples.len() > 20, "{} examples", examples.len());
    let sandbox = Sandbox::new();
    let disk = Disk::mount("ext4", 64, &sandbox.dir().join("disk"));
    let path = std::env::var("PATH").unwrap();
    for (command, output) in examples {
        let said = Command::new("sh")
            .args(["-c", &command])
            .env("PATH", format!("{}:{path}", dist().display()))
            .env("DOCKER_HOST", format!("unix://{}", sandbox.socket().display()))
            .env("DISK", disk.device())
            .env("DATA", disk.path())
            .output()
            .unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr),
        );
        assert_eq!(out, output, "$ {command}\n{err}");
    }
}
