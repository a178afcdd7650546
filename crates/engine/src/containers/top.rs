//! `GET /containers/{id}/top`: the host's `ps` with the client's options, and of its lines those of the container.

use std::collections::BTreeSet;
use std::process::Stdio;

use conex_api_types as api;
use tokio::process::Command;

use crate::containers::launch::system;
use crate::containers::task::{not_running, restarting};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};

/// Options where the client gives none.
const OPTIONS: &str = "-ef";

/// What divides fields: blanks of other alphabets are part of a command.
const BLANKS: [char; 6] = [' ', '\t', '\n', '\x0b', '\x0c', '\r'];

impl Engine {
    /// The processes of a container that runs.
    pub async fn top(&self, id: &str, options: &str) -> Result<api::ContainerTopResponse> {
        let options = if options.is_empty() { OPTIONS } else { options };
        check(options)?;
        let container = self.inner.containers.find(id)?;
        let state = container.view().state;
        if state.is_restarting() {
            return Err(restarting(&container.id));
        }
        if !state.is_running() {
            return Err(not_running(&container));
        }
        let cgroup = self.inner.cgroup(&container);
        let pids = tokio::task::spawn_blocking(move || cgroup.processes()).await;
        let pids = pids.map_err(std::io::Error::other).and_then(|pids| pids);
        let pids: BTreeSet<i32> = pids.map_err(system("list the processes"))?.into_iter().collect();
        let output = ps(options, &pids).await?;
        let top = parse(&output, &pids)?;
        self.inner.events.container(&container, "top", &[]);
        Ok(top)
    }
}

/// Refuses options by which another column would be taken for that of the pids (`-o comm=PID`).
fn check(options: &str) -> Result<()> {
    for (at, letter) in options.char_indices() {
        if !BLANKS.contains(&letter) {
            continue;
        }
        let rest = options[at..].trim_start_matches(BLANKS);
        let word = rest.split(BLANKS).next().unwrap_or_default();
        let mut named = word.match_indices('=').filter_map(|(equals, _)| {
            let title = rest[equals + 1..].trim_start_matches(BLANKS);
            let title = title.split(BLANKS).next().unwrap_or_default();
            title.starts_with("PID").then(|| (&word[..equals], title))
        });
        // The last equals sign that fits counts, as for a greedy expression.
        if let Some((column, title)) = named.next_back()
            && column != "pid"
        {
            return Err(Error::new(
                ErrorKind::System,
                format!("specifying \"{column}={title}\" is not allowed"),
            ));
        }
    }
    Ok(())
}

async fn ps(options: &str, pids: &BTreeSet<i32>) -> Result<String> {
    let list: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let selection = format!("-q{}", list.join(","));
    let output = run(options, Some(&selection)).await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    // Some options, `f` among them, do not go with a selection.
    let output = run(options, None).await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().next().unwrap_or_default();
    let words = if line.is_empty() {
        output.status.to_string()
    } else {
        line.to_owned()
    };
    Err(Error::new(ErrorKind::System, format!("ps: {words}")))
}

async fn run(options: &str, selection: Option<&str>) -> Result<std::process::Output> {
    Command::new("ps")
        .args(options.split(' '))
        .args(selection)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(system("ps"))
}

/// Titles, and the lines of the pids; the last field has the rest of a line.
fn parse(output: &str, pids: &BTreeSet<i32>) -> Result<api::ContainerTopResponse> {
    let fields = |line: &str| -> Vec<String> {
        let fields = line.split(BLANKS).filter(|field| !field.is_empty());
        fields.map(str::to_owned).collect()
    };
    let mut lines = output.lines();
    let titles = fields(lines.next().unwrap_or_default());
    let column = titles.iter().position(|title| title == "PID");
    let column = column.ok_or_else(|| Error::new(ErrorKind::System, "Couldn't find PID field in ps output"))?;
    let mut processes = Vec::new();
    // Threads have no pid; they belong to the process above.
    let mut included = false;
    for line in lines.filter(|line| !line.is_empty()) {
        let mut fields = fields(line);
        let pid = fields.get(column).map_or("", String::as_str);
        if pid != "-" {
            let number: i32 = pid.parse().map_err(|_| {
                let words = format!("unexpected pid '{pid}': it is not a number");
                Error::new(ErrorKind::System, words)
            })?;
            included = pids.contains(&number);
        }
        if !included {
            continue;
        }
        let rest = fields.split_off((titles.len() - 1).min(fields.len()));
        fields.push(rest.join(" "));
        processes.push(fields);
    }
    Ok(api::ContainerTopResponse { processes, titles })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_processes_are_left_out_and_threads_stay_with_theirs() {
        let output =
            "  PID   LWP COMMAND\n    1     - init\n    -     1 -\n    7     - sh -c  sleep 1\n    -     7 -\n";
        let top = parse(output, &BTreeSet::from([7])).unwrap();
        assert_eq!(top.titles, ["PID", "LWP", "COMMAND"]);
        assert_eq!(top.processes, [vec!["7", "-", "sh -c sleep 1"], vec!["-", "7", "-"]]);
        let error = parse("COMMAND\nsh\n", &BTreeSet::new()).unwrap_err();
        assert_eq!(error.message(), "Couldn't find PID field in ps output");
        assert!(parse("PID\nx\n", &BTreeSet::new()).is_err());
    }

    #[test]
    fn another_column_cannot_pose_as_that_of_the_pids() {
        for options in ["-ef", "aux", "-o pid=PID", "-o pid,comm", "-o ppid=PARENT"] {
            assert!(check(options).is_ok(), "{options}");
        }
        for options in [
            "-o ppid=PID",
            "-eo comm=PIDX",
            "-e -o ppid= PID",
            "-o pid=PID,comm=PIDx",
        ] {
            assert!(check(options).is_err(), "{options}");
        }
        let error = check("-o pid=PID,comm=PIDx").unwrap_err();
        assert_eq!(error.message(), "specifying \"pid=PID,comm=PIDx\" is not allowed");
    }
}
