//! The loop: choose, change, check, keep what is new.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bytes::{Random, mutate};
use crate::corpus;

/// Memory that this program may have: whatever an input says, it is answered within.
const MEMORY: u64 = 2 << 30;

/// An input that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(10);

/// Inputs that are kept while a target runs.
const MOST: usize = 4096;

/// What is fuzzed.
pub(crate) struct Target<'a> {
    /// Its name, and that of its corpus.
    pub(crate) name: &'a str,
    /// Words that its inputs are made of.
    pub(crate) words: &'a [&'a [u8]],
    /// Mends what a change breaks, so that not all end at a sum.
    pub(crate) mend: &'a dyn Fn(&mut Random, &mut [u8]),
    /// Panics where what it should hold does not; tells what the input made it do.
    pub(crate) check: &'a dyn Fn(&[u8]) -> String,
}

impl Target<'_> {
    /// Runs for its time.
    pub(crate) fn run(&self) {
        bound_memory();
        let seed = number("CONEX_FUZZ_SEED", 1);
        let deadline = Instant::now() + Duration::from_secs(number("CONEX_FUZZ_SECONDS", 2));
        // Said past the harness, which keeps what is printed from whoever sees a program that was aborted.
        let _ = writeln!(std::io::stderr(), "fuzz {}: CONEX_FUZZ_SEED={seed}", self.name);
        let mut random = Random(seed);
        let mut inputs = corpus::load(self.name);
        let mut seen: HashSet<u64> = inputs.iter().map(|input| self.tried(input)).collect();
        let mut count = 0_u64;
        while Instant::now() < deadline {
            let mut input = random.of(&inputs).clone();
            let other = random.of(&inputs).clone();
            mutate(&mut random, &mut input, &other, self.words);
            (self.mend)(&mut random, &mut input);
            let did = self.tried(&input);
            if seen.insert(did) && inputs.len() < MOST {
                inputs.push(input);
            }
            count += 1;
        }
        println!("fuzz {}: {count} inputs, {} ways", self.name, seen.len());
        assert!(count >= 20, "{}: {count} inputs only", self.name);
    }

    /// Keeps one input of each way that is found from these on, for the corpus.
    pub(crate) fn keep(&self, seeds: &[(&str, Vec<u8>)]) {
        for (name, seed) in seeds {
            self.tried(seed);
            corpus::save(self.name, name, seed);
        }
    }

    /// What an input makes the target do. One that fails is made smaller, kept and told.
    fn tried(&self, input: &[u8]) -> u64 {
        let begun = Instant::now();
        let outcome = self.outcome(input);
        let slow = begun.elapsed() > LONGEST;
        match outcome {
            Ok(did) if !slow => {
                let mut hasher = DefaultHasher::new();
                did.hash(&mut hasher);
                hasher.finish()
            }
            _ => {
                let small = if slow { input.to_vec() } else { self.smaller(input) };
                let mut hasher = DefaultHasher::new();
                small.hash(&mut hasher);
                let path = corpus::save(self.name, &format!("failed-{:016x}", hasher.finish()), &small);
                let why = self
                    .outcome(&small)
                    .err()
                    .unwrap_or_else(|| "it takes too long".to_owned());
                panic!("fuzz {}: {}: {why}", self.name, path.display());
            }
        }
    }

    fn outcome(&self, input: &[u8]) -> Result<String, String> {
        panic::catch_unwind(AssertUnwindSafe(|| (self.check)(input))).map_err(|reason| {
            let text = reason.downcast_ref::<String>().cloned();
            text.or_else(|| reason.downcast_ref::<&str>().map(|&text| text.to_owned()))
                .unwrap_or_else(|| "a panic".to_owned())
        })
    }

    /// An input that fails with less, as far as a few hundred attempts come.
    fn smaller(&self, input: &[u8]) -> Vec<u8> {
        let mut small = input.to_vec();
        let mut part = small.len().next_power_of_two() / 2;
        while part > 0 {
            let mut at = 0;
            while at < small.len() {
                let end = (at + part).min(small.len());
                let without = [&small[..at], &small[end..]].concat();
                let mut zeroed = small.clone();
                zeroed[at..end].fill(0);
                if self.outcome(&without).is_err() {
                    small = without;
                } else {
                    if zeroed != small && self.outcome(&zeroed).is_err() {
                        small = zeroed;
                    }
                    at = end;
                }
            }
            part = if part > 8 || input.len() < 256 { part / 2 } else { 0 };
        }
        small
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn bound_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let bound = Rlimit {
            current: Some(MEMORY),
            ..getrlimit(Resource::As)
        };
        setrlimit(Resource::As, bound).unwrap();
    });
}

/// Nothing is mended.
pub(crate) fn as_it_is(_: &mut Random, _: &mut [u8]) {}

/// The words of a text without its numbers and names, which are of any number.
pub(crate) fn shape(text: &str) -> String {
    let mut shape = String::new();
    let (mut quoted, mut last) = (false, ' ');
    for letter in text.chars() {
        if letter == '"' && last != '\\' {
            quoted = !quoted;
        }
        if !quoted && !letter.is_ascii_digit() {
            shape.push(letter);
        }
        last = letter;
    }
    shape
}
