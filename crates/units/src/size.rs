//! Sizes as people write them, as Docker reads them (`go-units`).

/// In thousands: `10m` is ten million bytes.
pub fn decimal(text: &str) -> Option<u64> {
    parse(text, 1000.0)
}

/// In 1024s.
pub fn binary(text: &str) -> Option<u64> {
    parse(text, 1024.0)
}

/// A number, a unit in either case, and `b` or `ib` behind it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float is cut to the integers that there are"
)]
fn parse(text: &str, base: f64) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim_start_matches(' ').to_ascii_lowercase();
    let unit = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')) {
        Some(prefix) => prefix,
        None => &unit,
    };
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    Some((number * base.powi(power)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_units() {
        for (text, thousands, binaries) in [
            ("5", Some(5), Some(5)),
            ("10m", Some(10_000_000), Some(10 << 20)),
            ("1.5KB", Some(1500), Some(1536)),
            ("1 kib", Some(1000), Some(1024)),
            ("2g", Some(2_000_000_000), Some(2 << 30)),
            ("", None, None),
            ("m", None, None),
            ("-1", None, None),
            ("1x", None, None),
            ("1.2.3", None, None),
        ] {
            assert_eq!((decimal(text), binary(text)), (thousands, binaries), "{text}");
        }
    }
}
