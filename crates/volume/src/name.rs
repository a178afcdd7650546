//! Names of volumes.

use crate::error::VolumeError;

/// Longest name of a directory (`NAME_MAX`), less what stands before a name while its volume is being made.
const LONGEST: usize = 250;

/// Refuses what is no name, in Docker's words.
///
/// # Errors
/// `VolumeError::Invalid`.
pub fn check_name(name: &str) -> Result<(), VolumeError> {
    let invalid = |words: String| Err(VolumeError::Invalid(words));
    if name.len() == 1 {
        return invalid("volume name is too short, names should be at least two alphanumeric characters".to_owned());
    }
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !first || !name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c)) {
        return invalid(format!(
            "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. \
             If you intended to pass a host directory, use absolute path"
        ));
    }
    if name.len() > LONGEST {
        return invalid(format!("volume name is too long, the maximum length is {LONGEST}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_of_two_characters_or_more() {
        assert!(check_name("a1").is_ok() && check_name("Data_1.x-y").is_ok());
        for wrong in ["", "a", "-ab", ".ab", "a/b", "a b", "..", "ä1"] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
        assert!(check_name(&"a".repeat(251)).is_err());
    }

    proptest! {
        #[test]
        fn a_name_is_a_single_component_of_a_path(name in ".*") {
            if check_name(&name).is_ok() {
                let parts: Vec<_> = std::path::Path::new(&name).components().collect();
                prop_assert!(matches!(parts[..], [std::path::Component::Normal(_)]));
            }
        }
    }
}
