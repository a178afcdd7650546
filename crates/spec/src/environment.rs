//! The environment of a process: what Docker adds to the variables of the image and the client.

/// Docker's `PATH` for images that have none.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `PATH`, `HOSTNAME` and, with a terminal, `TERM` first, each replaced by the request's value where it has one.
/// An entry without `=` takes the variable away, as `docker run -e NAME` does when the client has none.
pub(crate) fn environment(requested: &[String], hostname: &str, terminal: bool) -> Vec<String> {
    let mut variables = vec![format!("PATH={DEFAULT_PATH}")];
    if !hostname.is_empty() {
        variables.push(format!("HOSTNAME={hostname}"));
    }
    if terminal {
        variables.push("TERM=xterm".to_string());
    }
    for entry in requested {
        let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
        let place = variables
            .iter()
            .position(|known| known.split_once('=').is_some_and(|(other, _)| other == name));
        match (place, entry.contains('=')) {
            (Some(place), true) => variables[place].clone_from(entry),
            (Some(place), false) => {
                variables.remove(place);
            }
            (None, true) => variables.push(entry.clone()),
            (None, false) => {}
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_replaces_the_defaults_in_place_and_an_entry_without_value_removes() {
        let requested = ["TERM=vt100", "A=1", "HOSTNAME", "A=2"].map(String::from);
        assert_eq!(
            environment(&requested, "box", true),
            vec![format!("PATH={DEFAULT_PATH}"), "TERM=vt100".into(), "A=2".into()]
        );
    }
}
