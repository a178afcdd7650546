//! Entries as syslog has them (RFC 3164, RFC 5424), in Docker's forms of both.

use conex_container::logging::{Address, Format, Syslog};
use conex_log::{Entry, Stream};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::order::About;

/// Severity of standard output: informational (RFC 5424, section 6.2.1).
const INFORMATIONAL: u8 = 6;

/// Severity of standard error.
const ERROR: u8 = 3;

/// An entry as it is sent, with what parts it from the next one where it goes into a stream.
pub(crate) fn message(syslog: &Syslog, about: &About, entry: &Entry<'_>) -> Vec<u8> {
    let severity = match entry.stream {
        Stream::Stdout => INFORMATIONAL,
        Stream::Stderr => ERROR,
    };
    let priority = syslog.facility * 8 + severity;
    let (tag, host, pid) = (&about.tag, &about.hostname, std::process::id());
    let time: Timestamp = entry.time.parse().unwrap_or_default();
    let time = time.to_zoned(TimeZone::system());
    let head = match syslog.format {
        Format::Local => format!("<{priority}>{} {tag}[{pid}]: ", time.strftime("%b %e %H:%M:%S")),
        Format::Rfc3164 => format!("<{priority}>{} {host} {tag}[{pid}]: ", time.strftime("%b %e %H:%M:%S")),
        Format::Rfc5424 => format!(
            "<{priority}>1 {} {host} {tag} {pid} {tag} - ",
            time.strftime("%Y-%m-%dT%H:%M:%S%:z")
        ),
        Format::Rfc5424Micro => {
            format!(
                "<{priority}>1 {} {host} {tag} {pid} {tag} - ",
                time.strftime("%Y-%m-%dT%H:%M:%S.%6f%:z")
            )
        }
    };
    let text = entry.line.strip_suffix(b"\n").unwrap_or(entry.line);
    let mut message = [head.as_bytes(), text].concat();
    match (&syslog.address, syslog.format) {
        // Its length stands before it (RFC 5425, section 4.3).
        (Address::Tcp { tls: Some(_), .. }, Format::Rfc5424 | Format::Rfc5424Micro) => {
            [format!("{} ", message.len()).as_bytes(), &message].concat()
        }
        _ => {
            message.push(b'\n');
            message
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conex_container::logging::Tls;
    use conex_log::Attributes;

    fn sent(format: Format, address: Address) -> String {
        let syslog = Syslog {
            address,
            facility: 3,
            format,
        };
        let about = About {
            tag: "box".into(),
            hostname: "host".into(),
            ..About::default()
        };
        let entry = Entry {
            stream: Stream::Stderr,
            time: "2026-03-04T05:06:07.123456789Z",
            line: b"words\n",
            attributes: &Attributes::new(),
        };
        let text = String::from_utf8(message(&syslog, &about, &entry)).unwrap_or_default();
        text.replace(&std::process::id().to_string(), "PID")
    }

    #[test]
    fn messages_are_those_of_docker() {
        let udp = || Address::Udp { to: "x:1".into() };
        let local = sent(Format::Local, udp());
        assert!(
            local.starts_with("<27>Mar  4 ") && local.ends_with(" box[PID]: words\n"),
            "{local}"
        );
        let old = sent(Format::Rfc3164, udp());
        assert!(
            old.starts_with("<27>Mar  4 ") && old.ends_with(" host box[PID]: words\n"),
            "{old}"
        );
        let new = sent(Format::Rfc5424, udp());
        assert!(
            new.starts_with("<27>1 2026-03-04T") && new.ends_with(" host box PID box - words\n"),
            "{new}"
        );
        assert!(sent(Format::Rfc5424Micro, udp()).contains(".123456"));
        let tls = Address::Tcp {
            to: "x:1".into(),
            tls: Some(Tls::default()),
        };
        let framed = sent(Format::Rfc5424, tls);
        assert!(framed.contains(" <27>1 ") && framed.ends_with("words"), "{framed}");
    }
}
