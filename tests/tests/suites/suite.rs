//! A suite's results on both engines, compared.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use conex_tests::Engine;

use crate::stage::{Stage, suites};

/// What became of one test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Skipped,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// Tests by name.
pub(crate) type Results = BTreeMap<String, Verdict>;

/// Tests by a part of their names, or what else tells them, and the reason why they are left out.
pub(crate) type LeftOut = (String, &'static str);

/// A table of what is left out.
pub(crate) fn left_out(table: &[(&str, &'static str)]) -> Vec<LeftOut> {
    table.iter().map(|(name, why)| ((*name).to_owned(), *why)).collect()
}

/// A suite of a foreign client.
pub(crate) struct Suite {
    /// Its name, and that of its files.
    pub(crate) name: &'static str,
    /// Images that are pulled before.
    pub(crate) images: &'static [&'static str],
    /// Flags of the daemon besides.
    pub(crate) flags: &'static [&'static str],
    /// What of it neither engine is given, and why.
    pub(crate) left_out: fn() -> Vec<LeftOut>,
    /// Runs all of it but what is left out.
    pub(crate) run: fn(&Stage) -> Results,
    /// Tests that pass on Docker and need not pass here, with the reason.
    pub(crate) differences: &'static [(&'static str, &'static str)],
}

impl Suite {
    /// Runs it on both engines; what passes on Docker's must pass on ours.
    pub(crate) fn compare(&self) {
        for (name, why) in (self.left_out)() {
            println!("left out of {}: {name}: {why}", self.name);
        }
        let root =
            std::env::var_os("CONEX_TEST_REFERENCE").expect("CONEX_TEST_REFERENCE names the reference's directory");
        let theirs = self.on(Engine::Reference(root.into()), "docker");
        let ours = self.on(Engine::Conex, "conex");
        println!("{}", self.table(&theirs, &ours));
        println!("{}: Docker {}", self.name, counts(&theirs));
        println!("{}: Conex  {}", self.name, counts(&ours));
        let passes = theirs.values().filter(|verdict| **verdict == Verdict::Passed).count();
        assert!(passes > 0, "no test of {} passes on the reference", self.name);
        let worse = self.worse(&theirs, &ours);
        assert!(
            worse.is_empty(),
            "passed by Docker, not by Conex:\n{}",
            worse.join("\n")
        );
        let stale = self.stale(&ours);
        assert!(
            stale.is_empty(),
            "listed as different and passed:\n{}",
            stale.join("\n")
        );
    }

    fn on(&self, engine: Engine, name: &str) -> Results {
        let log = fs::File::create(log_file(self.name, name)).unwrap();
        let stage = Stage::new(engine, self.images, self.flags, log);
        (self.run)(&stage)
    }

    fn reason(&self, test: &str) -> Option<&'static str> {
        let known = self.differences.iter().find(|(name, _)| *name == test);
        known.map(|(_, why)| *why)
    }

    /// What passes on theirs and not on ours without a reason.
    fn worse(&self, theirs: &Results, ours: &Results) -> Vec<String> {
        let passed = theirs.iter().filter(|(_, verdict)| **verdict == Verdict::Passed);
        let worse = passed.filter(|(name, _)| ours.get(*name) != Some(&Verdict::Passed));
        let unknown = worse.filter(|(name, _)| self.reason(name).is_none());
        unknown.map(|(name, _)| name.clone()).collect()
    }

    /// Differences that are none any more.
    fn stale(&self, ours: &Results) -> Vec<&'static str> {
        let names = self.differences.iter().map(|(name, _)| *name);
        names.filter(|name| ours.get(*name) == Some(&Verdict::Passed)).collect()
    }

    /// A line for each test: both verdicts, its name and the reason of a difference.
    fn table(&self, theirs: &Results, ours: &Results) -> String {
        let mut names: Vec<&String> = theirs.keys().chain(ours.keys()).collect();
        names.sort();
        names.dedup();
        let word = |results: &Results, name: &String| results.get(name).map_or("absent", |verdict| verdict.word());
        let mut table = format!("{:8} {:8} {}\n", "Docker", "Conex", self.name);
        for name in names {
            let (docker, conex) = (word(theirs, name), word(ours, name));
            let why = self.reason(name).map(|why| format!(" ({why})")).unwrap_or_default();
            let _ = writeln!(table, "{docker:8} {conex:8} {name}{why}");
        }
        fs::write(suites().join(format!("{}.results", self.name)), &table).unwrap();
        table
    }
}

fn counts(results: &Results) -> String {
    let count = |wanted| results.values().filter(|verdict| **verdict == wanted).count();
    let (passed, failed) = (count(Verdict::Passed), count(Verdict::Failed));
    format!("{passed} passed, {failed} failed, {} skipped", count(Verdict::Skipped))
}

/// Where all that a suite said on an engine is kept.
fn log_file(suite: &str, engine: &str) -> PathBuf {
    suites().join(format!("{suite}-{engine}.log"))
}
