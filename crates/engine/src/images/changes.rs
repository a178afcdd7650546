//! What instructions of a Dockerfile change in an image's configuration (`docker commit --change`, `docker import --change`).

use std::collections::BTreeMap;

use conex_container::signals;
use conex_dockerfile::{CommandLine, Instruction, InstructionError, exposed_ports, parse_changes};
use conex_image::{Healthcheck, RunConfig};
use serde_json::{Value, json};

use crate::error::Result;
use crate::images::invalid;

/// What runs a command line where the image names no shell.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Reads instructions; there may be none.
///
/// # Errors
/// 400 for what is no instruction, or one that changes no configuration.
pub(crate) fn parse(texts: &[String]) -> Result<Vec<Instruction>> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    parse_changes(texts).map_err(invalid)
}

/// Carries instructions out, one after the other: a variable that one sets stands in those after it.
///
/// # Errors
/// 400 for a word that cannot be expanded, and for what is no port, signal or path.
pub(crate) fn apply(run: &mut RunConfig, instructions: Vec<Instruction>) -> Result<()> {
    let mut has_cmd = false;
    for instruction in instructions {
        let env = run.env.clone();
        let variable = |name: &str| {
            let values = env.iter().filter_map(|entry| entry.split_once('='));
            values
                .into_iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.to_owned())
        };
        let instruction = instruction.expanded(&variable).map_err(invalid)?;
        apply_one(run, instruction, &mut has_cmd).map_err(invalid)?;
    }
    Ok(())
}

fn apply_one(
    run: &mut RunConfig,
    instruction: Instruction,
    has_cmd: &mut bool,
) -> std::result::Result<(), InstructionError> {
    match instruction {
        Instruction::Cmd(line) => {
            *has_cmd = !matches!(&line, CommandLine::Exec(words) if words.is_empty());
            run.cmd = Some(argv(line, run.shell.as_ref()));
            run.args_escaped = false;
        }
        Instruction::Entrypoint(line) => {
            run.entrypoint = Some(argv(line, run.shell.as_ref())).filter(|words| !words.is_empty());
            // Arguments that were meant for another program.
            if !*has_cmd {
                run.cmd = None;
            }
        }
        Instruction::Env(pairs) => {
            for pair in pairs {
                set_variable(&mut run.env, &pair.name, &pair.value);
            }
        }
        Instruction::Label(pairs) => run.labels.extend(pairs.into_iter().map(|pair| (pair.name, pair.value))),
        Instruction::Expose(words) => {
            for word in &words {
                run.exposed_ports.extend(exposed_ports(word)?.into_iter().map(member));
            }
        }
        Instruction::Healthcheck(check) => {
            run.healthcheck = Some(Healthcheck {
                test: check.test,
                interval: check.interval,
                timeout: check.timeout,
                start_period: check.start_period,
                start_interval: check.start_interval,
                retries: check.retries,
            });
        }
        Instruction::OnBuild(trigger) => run.on_build.get_or_insert_default().push(trigger),
        Instruction::StopSignal(signal) => {
            signals::parse(&signal).map_err(|error| InstructionError::Value(error.to_string()))?;
            run.stop_signal = signal;
        }
        Instruction::User(user) => run.user = user,
        Instruction::Volume(paths) => {
            if paths.iter().any(String::is_empty) {
                let words = "VOLUME specified can not be an empty string";
                return Err(InstructionError::Value(words.to_owned()));
            }
            run.volumes.extend(paths.into_iter().map(member));
        }
        Instruction::Workdir(path) if path.is_empty() => {
            return Err(InstructionError::Value("cannot normalize nothing".to_owned()));
        }
        Instruction::Workdir(path) => run.working_dir = below(&run.working_dir, &path),
    }
    Ok(())
}

fn argv(line: CommandLine, shell: Option<&Vec<String>>) -> Vec<String> {
    match line {
        CommandLine::Exec(words) => words,
        CommandLine::Shell(line) => {
            let shell = shell.filter(|words| !words.is_empty()).cloned();
            let mut words = shell.unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
            words.extend(Some(line).filter(|line| !line.is_empty()));
            words
        }
    }
}

/// One of a set, as Go writes sets.
fn member(name: String) -> (String, Value) {
    (name, json!({}))
}

/// Whether an entry of an environment is of this variable.
fn is_of(entry: &str, name: &str) -> bool {
    entry.split('=').next() == Some(name)
}

fn set_variable(env: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    match env.iter_mut().find(|known| is_of(known, name)) {
        Some(known) => *known = entry,
        None => env.push(entry),
    }
}

/// A path below another unless it is absolute, without dots and doubled slashes.
fn below(directory: &str, path: &str) -> String {
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{directory}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Fills in what one configuration leaves out from another, as Docker's commit does.
pub(crate) fn fill_in(run: &mut RunConfig, from: &RunConfig) {
    if run.user.is_empty() {
        run.user.clone_from(&from.user);
    }
    let name = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
    let lacking = from
        .env
        .iter()
        .filter(|entry| !run.env.iter().any(|own| is_of(own, &name(entry))));
    let lacking: Vec<String> = lacking.cloned().collect();
    run.env.extend(lacking);
    fill_map(&mut run.exposed_ports, &from.exposed_ports);
    fill_map(&mut run.labels, &from.labels);
    fill_map(&mut run.volumes, &from.volumes);
    if run.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if run.cmd.as_ref().is_none_or(Vec::is_empty) {
            run.cmd.clone_from(&from.cmd);
        }
        if run.entrypoint.is_none() {
            run.entrypoint.clone_from(&from.entrypoint);
        }
        // An empty one has kept the other away, and that is all that it says.
        run.entrypoint = run.entrypoint.take().filter(|words| !words.is_empty());
    }
    if let Some(from) = &from.healthcheck {
        fill_health(run.healthcheck.get_or_insert_default(), from);
    }
    if run.working_dir.is_empty() {
        run.working_dir.clone_from(&from.working_dir);
    }
    if run.stop_signal.is_empty() {
        run.stop_signal.clone_from(&from.stop_signal);
    }
}

fn fill_map<T: Clone>(map: &mut BTreeMap<String, T>, from: &BTreeMap<String, T>) {
    for (key, value) in from {
        map.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn fill_health(check: &mut Healthcheck, from: &Healthcheck) {
    if check.test.is_empty() {
        check.test.clone_from(&from.test);
    }
    for (own, other) in [
        (&mut check.interval, from.interval),
        (&mut check.timeout, from.timeout),
        (&mut check.start_period, from.start_period),
        (&mut check.start_interval, from.start_interval),
        (&mut check.retries, from.retries),
    ] {
        if *own == 0 {
            *own = other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn changed(from: RunConfig, texts: &[&str]) -> std::result::Result<RunConfig, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let mut run = from;
        let applied = parse(&texts).and_then(|instructions| apply(&mut run, instructions));
        applied.map(|()| run).map_err(|error| error.message().to_owned())
    }

    fn image() -> RunConfig {
        RunConfig {
            cmd: strings(&["true"]),
            env: vec!["PATH=/bin".into()],
            working_dir: "/home".into(),
            ..RunConfig::default()
        }
    }

    #[test]
    fn instructions_change_what_they_name() {
        let run = changed(
            image(),
            &[
                "ENV A=$PATH B='$PATH'",
                "ENV PATH=/x C=${A}y",
                "EXPOSE 81 82/udp",
                "LABEL $A=1",
                "USER worker",
                "VOLUME /v",
                "WORKDIR sub",
                "WORKDIR ../other/",
                "STOPSIGNAL 9",
                "ONBUILD RUN x",
                "HEALTHCHECK CMD y",
            ],
        )
        .unwrap();
        assert_eq!(run.env, ["PATH=/x", "A=/bin", "B=$PATH", "C=/biny"]);
        assert_eq!(run.exposed_ports.keys().collect::<Vec<_>>(), ["81/tcp", "82/udp"]);
        assert_eq!(run.labels["/bin"], "1");
        assert_eq!((run.user.as_str(), run.working_dir.as_str()), ("worker", "/home/other"));
        assert_eq!((run.stop_signal.as_str(), run.on_build), ("9", strings(&["RUN x"])));
        assert_eq!(run.healthcheck.unwrap().test, ["CMD-SHELL", "y"]);
        assert!(run.volumes.contains_key("/v"));
    }

    #[test]
    fn an_entrypoint_takes_the_command_away_unless_it_was_given_too() {
        let run = changed(image(), &["ENTRYPOINT [\"e\"]"]).unwrap();
        assert_eq!((run.entrypoint, run.cmd), (strings(&["e"]), None));
        let run = changed(image(), &["CMD x", "ENTRYPOINT [\"e\"]"]).unwrap();
        assert_eq!(
            (run.entrypoint, run.cmd),
            (strings(&["e"]), strings(&["/bin/sh", "-c", "x"]))
        );
        let shell = RunConfig {
            shell: strings(&["s", "-x"]),
            ..image()
        };
        assert_eq!(changed(shell, &["CMD z"]).unwrap().cmd, strings(&["s", "-x", "z"]));
        assert_eq!(changed(image(), &["CMD"]).unwrap().cmd, strings(&["/bin/sh", "-c"]));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (text, words) in [
            ("STOPSIGNAL NOSUCH", "invalid signal: NOSUCH"),
            ("EXPOSE $PATH", "Invalid proto: bin"),
            ("WORKDIR ''", "cannot normalize nothing"),
            ("VOLUME ''", "VOLUME specified can not be an empty string"),
            ("ENV A=${", "failed to process \"${\": syntax error: missing '}'"),
        ] {
            assert_eq!(changed(image(), &[text]), Err(words.to_owned()));
        }
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let mut run = RunConfig {
            env: vec!["PATH=x".into(), "Q=1".into()],
            entrypoint: Some(Vec::new()),
            healthcheck: Some(Healthcheck {
                interval: 5,
                ..Healthcheck::default()
            }),
            ..RunConfig::default()
        };
        let from = RunConfig {
            env: vec!["PATH=/bin".into(), "R=2".into()],
            entrypoint: strings(&["e"]),
            user: "worker".into(),
            healthcheck: Some(Healthcheck {
                test: vec!["CMD".into(), "y".into()],
                interval: 7,
                retries: 3,
                ..Healthcheck::default()
            }),
            ..image()
        };
        fill_in(&mut run, &from);
        assert_eq!(run.env, ["PATH=x", "Q=1", "R=2"]);
        // An empty entrypoint is not one that was left out.
        assert_eq!((run.entrypoint, run.cmd), (None, strings(&["true"])));
        let check = run.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries, check.test.len()), (5, 3, 2));
        assert_eq!((run.user.as_str(), run.working_dir.as_str()), ("worker", "/home"));
    }
}
