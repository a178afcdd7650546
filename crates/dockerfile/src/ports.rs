//! Ports of `EXPOSE`.

use crate::error::InstructionError;

/// The protocols that ports are of.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// The ports that a word of `EXPOSE` means (`80`, `53/udp`, `8000-8010`), as `port/protocol`.
///
/// # Errors
/// It is no port, no range, or of no protocol. A port of the host (`8080:80`) is for `docker run` to say.
pub fn exposed_ports(word: &str) -> Result<Vec<String>, InstructionError> {
    let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !PROTOCOLS.contains(&protocol.as_str()) {
        return Err(InstructionError::Value(format!("Invalid proto: {protocol}")));
    }
    if ports.is_empty() {
        return Err(InstructionError::Value(format!("No port specified: {word}<empty>")));
    }
    let invalid = || InstructionError::Value(format!("Invalid containerPort: {ports}"));
    let number = |text: &str| text.parse::<u16>().map_err(|_| invalid());
    let (first, last) = match ports.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(ports)?, number(ports)?),
    };
    if first > last {
        return Err(invalid());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_ranges_and_protocols() {
        assert_eq!(exposed_ports("80").unwrap(), ["80/tcp"]);
        assert_eq!(exposed_ports("3/UDP").unwrap(), ["3/udp"]);
        assert_eq!(exposed_ports("4-6/sctp").unwrap(), ["4/sctp", "5/sctp", "6/sctp"]);
        for (word, words) in [
            ("foo", "Invalid containerPort: foo"),
            ("70000", "Invalid containerPort: 70000"),
            ("6-4", "Invalid containerPort: 6-4"),
            ("8080:80", "Invalid containerPort: 8080:80"),
            ("80/xyz", "Invalid proto: xyz"),
            ("/tcp", "No port specified: /tcp<empty>"),
        ] {
            assert_eq!(exposed_ports(word).unwrap_err().to_string(), words);
        }
    }
}
