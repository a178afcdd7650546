//! From a text to instructions.

use conex_units::duration;

use crate::error::InstructionError;
use crate::instruction::{CommandLine, Healthcheck, Instruction};
use crate::lines::lines;
use crate::words::{flags, pairs};

/// The shortest time that a health check may name, nanoseconds.
const LEAST_TIME: i64 = 1_000_000;

/// Reads the instructions of several texts, one below the other.
///
/// # Errors
/// There is none, one is not among those that change a configuration, or one does not say what it must.
pub fn parse_changes(texts: &[impl AsRef<str>]) -> Result<Vec<Instruction>, InstructionError> {
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let lines = lines(&texts.join("\n"));
    if lines.is_empty() {
        return Err(InstructionError::Nothing);
    }
    lines.iter().map(|line| instruction(line)).collect()
}

fn instruction(line: &str) -> Result<Instruction, InstructionError> {
    let line = line.trim();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (flags, rest) = flags(rest);
    let rest = rest.trim();
    let kind = name.to_ascii_lowercase();
    if kind == "healthcheck" {
        return healthcheck(&flags, rest).map(Instruction::Healthcheck);
    }
    let read = match kind.as_str() {
        "cmd" => Instruction::Cmd(command_line(rest)?.unwrap_or_else(|| CommandLine::Shell(String::new()))),
        "entrypoint" => Instruction::Entrypoint(command_line(rest)?.unwrap_or(CommandLine::Exec(Vec::new()))),
        "env" => Instruction::Env(pairs(rest, "ENV")?),
        "expose" => Instruction::Expose(at_least_one(divided(rest), "EXPOSE")?),
        "label" => Instruction::Label(pairs(rest, "LABEL")?),
        "onbuild" => Instruction::OnBuild(trigger(rest)?),
        "stopsignal" => Instruction::StopSignal(exactly_one(rest, "STOPSIGNAL")?),
        "user" => Instruction::User(exactly_one(rest, "USER")?),
        "volume" => Instruction::Volume(volumes(rest)?),
        "workdir" => Instruction::Workdir(exactly_one(rest, "WORKDIR")?),
        _ => return Err(InstructionError::NoChange(name.to_owned())),
    };
    match flags.first() {
        Some(flag) => Err(unknown_flag(flag)),
        None => Ok(read),
    }
}

fn unknown_flag(flag: &str) -> InstructionError {
    InstructionError::Flag {
        problem: "unknown flag",
        flag: flag.split('=').next().unwrap_or(flag).to_owned(),
    }
}

fn divided(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn at_least_one(words: Vec<String>, instruction: &'static str) -> Result<Vec<String>, InstructionError> {
    if words.is_empty() {
        let wanted = "at least one argument";
        return Err(InstructionError::Arguments { instruction, wanted });
    }
    Ok(words)
}

fn exactly_one(text: &str, instruction: &'static str) -> Result<String, InstructionError> {
    if text.is_empty() {
        let wanted = "exactly one argument";
        return Err(InstructionError::Arguments { instruction, wanted });
    }
    Ok(text.to_owned())
}

/// A list of strings in JSON; `None` where the text is no JSON.
fn json_list(text: &str) -> Result<Option<Vec<String>>, InstructionError> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Ok(None);
    };
    let string = |value: serde_json::Value| match value {
        serde_json::Value::String(word) => Ok(word),
        _ => Err(InstructionError::NoStrings),
    };
    values.into_iter().map(string).collect::<Result<_, _>>().map(Some)
}

fn command_line(text: &str) -> Result<Option<CommandLine>, InstructionError> {
    if text.is_empty() {
        return Ok(None);
    }
    let list = json_list(text)?.map(CommandLine::Exec);
    Ok(Some(list.unwrap_or_else(|| CommandLine::Shell(text.to_owned()))))
}

fn volumes(text: &str) -> Result<Vec<String>, InstructionError> {
    let paths = json_list(text)?.unwrap_or_else(|| divided(text));
    let paths = at_least_one(paths, "VOLUME")?;
    paths.iter().map(|path| volume(path)).collect()
}

fn volume(path: &str) -> Result<String, InstructionError> {
    match path.trim() {
        "" => Err(InstructionError::Value(
            "VOLUME specified can not be an empty string".to_owned(),
        )),
        path => Ok(path.to_owned()),
    }
}

/// An instruction that is for a later build; what that build will not take is refused now.
fn trigger(text: &str) -> Result<String, InstructionError> {
    let name = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match name.as_str() {
        "" => Err(InstructionError::Arguments {
            instruction: "ONBUILD",
            wanted: "at least one argument",
        }),
        "ONBUILD" => Err(InstructionError::Value(
            "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
        )),
        "FROM" | "MAINTAINER" => Err(InstructionError::Value(format!(
            "{name} isn't allowed as an ONBUILD trigger"
        ))),
        "ENV" | "LABEL" => {
            let instruction = if name == "ENV" { "ENV" } else { "LABEL" };
            let rest = text[name.len()..].trim();
            // Without any argument it is the build that complains.
            if !rest.is_empty() {
                pairs(rest, instruction)?;
            }
            Ok(text.to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

fn healthcheck(flags: &[String], text: &str) -> Result<Healthcheck, InstructionError> {
    let (kind, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim_start();
    let kind = kind.to_ascii_uppercase();
    if kind.is_empty() {
        return Err(InstructionError::Arguments {
            instruction: "HEALTHCHECK",
            wanted: "at least one argument",
        });
    }
    if kind == "NONE" && !rest.is_empty() {
        return Err(InstructionError::Value(
            "HEALTHCHECK NONE takes no arguments".to_owned(),
        ));
    }
    let mut check = Healthcheck::default();
    if kind == "NONE" {
        if let Some(flag) = flags.first() {
            return Err(unknown_flag(flag));
        }
        check.test = vec![kind];
        return Ok(check);
    }
    let mut values = health_flags(flags)?;
    if kind != "CMD" {
        let words = format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)");
        return Err(InstructionError::Value(words));
    }
    let command = command_line(rest)?.filter(|line| *line != CommandLine::Exec(Vec::new()));
    check.test = match command {
        None => {
            let words = "Missing command after HEALTHCHECK CMD";
            return Err(InstructionError::Value(words.to_owned()));
        }
        Some(CommandLine::Exec(words)) => ["CMD".to_owned()].into_iter().chain(words).collect(),
        Some(CommandLine::Shell(line)) => vec!["CMD-SHELL".to_owned(), line],
    };
    let mut time = |index: usize| health_time(HEALTH_FLAGS[index], std::mem::take(&mut values[index]));
    check.interval = time(0)?;
    check.timeout = time(1)?;
    check.start_period = time(2)?;
    check.start_interval = time(3)?;
    check.retries = retries(values[4].take())?;
    Ok(check)
}

/// Flags of a health check; all but the last are times.
const HEALTH_FLAGS: [&str; 5] = ["interval", "timeout", "start-period", "start-interval", "retries"];

fn health_flags(flags: &[String]) -> Result<[Option<String>; 5], InstructionError> {
    let mut values: [Option<String>; 5] = Default::default();
    for flag in flags {
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag.as_str(), None),
        };
        let known = HEALTH_FLAGS
            .iter()
            .position(|known| name.strip_prefix("--") == Some(known));
        let index = known.ok_or_else(|| unknown_flag(flag))?;
        let wrong = |problem| InstructionError::Flag {
            problem,
            flag: name.to_owned(),
        };
        if values[index].is_some() {
            return Err(wrong("duplicate flag specified"));
        }
        values[index] = Some(value.ok_or_else(|| wrong("missing a value on flag"))?.to_owned());
    }
    Ok(values)
}

fn health_time(name: &str, text: Option<String>) -> Result<i64, InstructionError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(0);
    };
    let time = duration::parse(&text)?;
    if time != 0 && time < LEAST_TIME {
        let words = format!("Interval {name:?} cannot be less than 1ms");
        return Err(InstructionError::Value(words));
    }
    Ok(time)
}

fn retries(text: Option<String>) -> Result<i64, InstructionError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(0);
    };
    let number: i32 = text
        .parse()
        .map_err(|_| InstructionError::Value(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?;
    if number < 0 {
        return Err(InstructionError::Value(format!(
            "--retries cannot be negative ({number})"
        )));
    }
    Ok(number.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Result<Instruction, String> {
        let mut read = parse_changes(&[text]).map_err(|error| error.to_string())?;
        assert_eq!(read.len(), 1);
        Ok(read.remove(0))
    }

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn instructions_are_read_in_both_forms() {
        for (text, expected) in [
            ("cmd a  b", Instruction::Cmd(CommandLine::Shell("a  b".into()))),
            (
                r#"CMD ["a", "b"]"#,
                Instruction::Cmd(CommandLine::Exec(strings(&["a", "b"]))),
            ),
            ("CMD ['a']", Instruction::Cmd(CommandLine::Shell("['a']".into()))),
            ("CMD", Instruction::Cmd(CommandLine::Shell(String::new()))),
            ("ENTRYPOINT", Instruction::Entrypoint(CommandLine::Exec(Vec::new()))),
            ("EXPOSE 1 2/tcp", Instruction::Expose(strings(&["1", "2/tcp"]))),
            (r#"VOLUME ["/x y"]"#, Instruction::Volume(strings(&["/x y"]))),
            ("VOLUME /a  /b", Instruction::Volume(strings(&["/a", "/b"]))),
            ("  user  a b ", Instruction::User("a b".into())),
            ("ONBUILD  run  x  y", Instruction::OnBuild("run  x  y".into())),
        ] {
            assert_eq!(one(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn health_checks_have_times_and_retries() {
        let check = one("HEALTHCHECK --interval=5s --retries=3 --start-interval=2s CMD a b");
        let expected = Healthcheck {
            test: strings(&["CMD-SHELL", "a b"]),
            interval: 5_000_000_000,
            start_interval: 2_000_000_000,
            retries: 3,
            ..Healthcheck::default()
        };
        assert_eq!(check, Ok(Instruction::Healthcheck(expected)));
        let none = Healthcheck {
            test: strings(&["NONE"]),
            ..Healthcheck::default()
        };
        assert_eq!(one("HEALTHCHECK none"), Ok(Instruction::Healthcheck(none)));
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_docker() {
        for (text, words) in [
            ("RUN x", "RUN is not a valid change command"),
            (" ", "file with no instructions"),
            (
                r#"CMD ["a",1]"#,
                "when using JSON array syntax, arrays must be comprised of strings only",
            ),
            ("ENV", "ENV requires at least one argument"),
            ("ENV x", "ENV must have two arguments"),
            ("WORKDIR", "WORKDIR requires exactly one argument"),
            ("VOLUME", "VOLUME requires at least one argument"),
            (r#"VOLUME [""]"#, "VOLUME specified can not be an empty string"),
            ("ONBUILD", "ONBUILD requires at least one argument"),
            ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
            (
                "ONBUILD onbuild RUN x",
                "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
            ),
            ("onbuild env x", "ENV must have two arguments"),
            ("CMD --foo=1 x", "unknown flag: --foo"),
            ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
            ("HEALTHCHECK x", "Unknown type \"X\" in HEALTHCHECK (try CMD)"),
            ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
            ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
            ("HEALTHCHECK --nosuch=x CMD y", "unknown flag: --nosuch"),
            ("HEALTHCHECK --interval CMD y", "missing a value on flag: --interval"),
            (
                "HEALTHCHECK --interval=1s --interval=2s CMD a",
                "duplicate flag specified: --interval",
            ),
            ("HEALTHCHECK --interval=x CMD y", "time: invalid duration \"x\""),
            (
                "HEALTHCHECK --interval=1us CMD y",
                "Interval \"interval\" cannot be less than 1ms",
            ),
            ("HEALTHCHECK --retries=-1 CMD y", "--retries cannot be negative (-1)"),
            (
                "HEALTHCHECK --retries=x CMD y",
                "strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
        ] {
            assert_eq!(one(text), Err(words.to_owned()), "{text}");
        }
    }

    #[test]
    fn texts_are_read_one_below_the_other() {
        assert_eq!(parse_changes(&["ENV A=1 \\", "B=2", "", "# no"]).unwrap().len(), 1);
        assert_eq!(parse_changes(&["ENV A=1\nUSER x"]).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn no_text_crashes_the_parser(text in ".{0,40}", name in "(CMD|ENV|LABEL|HEALTHCHECK|ONBUILD|VOLUME|EXPOSE) ") {
            let _ = parse_changes(&[&text]);
            let _ = parse_changes(&[name + &text]);
        }
    }
}
