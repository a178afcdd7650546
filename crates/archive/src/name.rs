//! Names of members, judged without touching a file system.

use crate::error::{ExtractError, text};

/// Longest name that is accepted, as the kernel's `PATH_MAX`.
const LONGEST: usize = 4096;

/// The components of a member's name with `.`, `..` and doubled slashes resolved; empty for the root itself.
pub(crate) fn clean(path: &[u8]) -> Result<Vec<&[u8]>, ExtractError> {
    let outside = || ExtractError::Outside { path: text(path) };
    if path.starts_with(b"/") || path.len() > LONGEST || path.contains(&0) {
        return Err(outside());
    }
    let mut components = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop().ok_or_else(outside)?),
            name => components.push(name),
        }
    }
    Ok(components)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_of_dots_and_doubled_slashes() {
        assert_eq!(clean(b"./usr//bin/../lib/").unwrap(), [b"usr".as_slice(), b"lib"]);
        assert!(clean(b"./").unwrap().is_empty());
    }

    #[test]
    fn names_that_leave_the_root_are_refused() {
        for name in [b"../x".as_slice(), b"a/../../x", b"/etc/passwd", b"..", b"a\0b"] {
            assert!(matches!(clean(name), Err(ExtractError::Outside { .. })), "{name:?}");
        }
        assert!(clean(&[b'a'; LONGEST + 1]).is_err());
        assert!(clean(&[b'a'; LONGEST]).is_ok());
    }
}
