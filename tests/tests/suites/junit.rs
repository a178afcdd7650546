//! The results that pytest and schemathesis write (`--junit-xml`), as much of them as is wanted: each `testcase` with its
//! name, and whether a `failure`, an `error` or a `skipped` is within.

use std::path::Path;

use crate::suite::{Results, Verdict};

/// Reads a report.
pub(crate) fn load(path: &Path) -> Results {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(&text)
}

/// Each case: the tag without its brackets, and what is within.
pub(crate) fn cases(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("<testcase ").skip(1).map(|case| {
        let (head, body) = case.split_once('>').expect("a tag ends");
        if head.ends_with('/') {
            (head, "")
        } else {
            (head, body.split("</testcase>").next().unwrap_or_default())
        }
    })
}

fn parse(text: &str) -> Results {
    let mut results = Results::new();
    for (head, body) in cases(text) {
        let name = match (attribute(head, "classname"), attribute(head, "name")) {
            (Some(class), Some(name)) => format!("{class}::{name}"),
            (_, name) => name.expect("a test has a name"),
        };
        let verdict = if body.contains("<failure") || body.contains("<error") {
            Verdict::Failed
        } else if body.contains("<skipped") {
            Verdict::Skipped
        } else {
            Verdict::Passed
        };
        // A test whose tear-down fails is told twice.
        let worst = results.entry(name).or_insert(verdict);
        if verdict == Verdict::Failed {
            *worst = verdict;
        }
    }
    results
}

/// A value, without the entities that XML writes for what cannot stand there.
pub(crate) fn attribute(head: &str, name: &str) -> Option<String> {
    let begin = format!("{name}=\"");
    let at = head
        .match_indices(&begin)
        .find(|(at, _)| *at == 0 || head[..*at].ends_with(' '))?
        .0;
    let value = head[at + begin.len()..].split('"').next()?;
    let plain = [("&quot;", "\""), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    let value = plain
        .iter()
        .fold(value.to_owned(), |value, (entity, plain)| value.replace(entity, plain));
    Some(value)
}

#[test]
fn a_report_is_read() {
    let results = parse(
        r#"<testsuites><testsuite><testcase classname="tests.a" name="x[&lt;1&gt;]" time="0.1" />
        <testcase classname="tests.a" name="y"><failure message="&lt;skipped">no</failure></testcase>
        <testcase time="1" name="z"><skipped type="pytest.skip" /></testcase>
        <testcase classname="tests.a" name="w"></testcase><testcase classname="tests.a" name="w"><error/></testcase>
        </testsuite></testsuites>"#,
    );
    let expected = [
        ("tests.a::w", Verdict::Failed),
        ("tests.a::x[<1>]", Verdict::Passed),
        ("tests.a::y", Verdict::Failed),
        ("z", Verdict::Skipped),
    ];
    assert_eq!(
        results,
        expected.map(|(name, verdict)| (name.to_owned(), verdict)).into()
    );
}
