//! Differences that are meant, from a file: who, which bundle, which file and line of it, our value and theirs, and below
//! that the reason. `*` stands for anything.

use std::cell::Cell;
use std::fmt;

/// What one runtime shows otherwise than ours.
pub(crate) struct Difference<'a> {
    pub(crate) peer: &'a str,
    pub(crate) bundle: &'a str,
    pub(crate) file: &'a str,
    pub(crate) line: &'a str,
    pub(crate) ours: &'a str,
    pub(crate) theirs: &'a str,
}

impl Difference<'_> {
    fn fields(&self) -> [&str; 6] {
        [self.peer, self.bundle, self.file, self.line, self.ours, self.theirs]
    }
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.fields().join(" | "))
    }
}

/// A pattern of differences with its reason.
pub(crate) struct Reason {
    pattern: [&'static str; 6],
    met: Cell<bool>,
}

impl Reason {
    /// Whether it is the reason of this difference.
    pub(crate) fn explains(&self, difference: &Difference<'_>) -> bool {
        let fields = difference.fields();
        let explains = self
            .pattern
            .iter()
            .zip(fields)
            .all(|(pattern, field)| matches(pattern, field));
        if explains {
            self.met.set(true);
        }
        explains
    }

    /// The pattern, where nothing was explained by it.
    pub(crate) fn unmet(&self) -> Option<String> {
        (!self.met.get()).then(|| self.pattern.join(" | "))
    }
}

/// All that a file of reasons says.
pub(crate) fn parse(text: &'static str) -> Vec<Reason> {
    let mut lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .peekable();
    let mut reasons = Vec::new();
    while let Some(line) = lines.next() {
        let (line, comes_and_goes) = match line.strip_prefix("sometimes ") {
            Some(rest) => (rest, true),
            None => (line, false),
        };
        let fields: Vec<&str> = line.split(" | ").collect();
        let pattern = fields
            .try_into()
            .unwrap_or_else(|_| panic!("six fields are needed: {line}"));
        let mut reason = String::new();
        while let Some(words) = lines.next_if(|line| line.starts_with(' ')) {
            reason += words.trim();
        }
        assert!(!reason.is_empty(), "a reason is needed: {line}");
        reasons.push(Reason {
            pattern,
            met: Cell::new(comes_and_goes),
        });
    }
    reasons
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(before) else {
        return false;
    };
    let places = rest.char_indices().map(|(place, _)| place).chain([rest.len()]);
    places.into_iter().any(|place| matches(after, &rest[place..]))
}

#[test]
fn a_star_stands_for_anything() {
    for (pattern, text, expected) in [
        ("*", "", true),
        ("a*c", "abc", true),
        ("a*c", "acb", false),
        ("a*b*", "a/b/c", true),
        ("abc", "abc", true),
        ("ab", "abc", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} and {text}");
    }
}
