//! How the rest of an instruction's line is divided.

use crate::error::InstructionError;
use crate::instruction::Pair;

/// Whether a word goes on with another character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    Word,
    Quote(char),
}

/// The words of a text; quotes and escapes stay in them, and white space between quotes divides nothing.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut place) = (String::new(), Place::Between);
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        match place {
            Place::Between | Place::Word if letter.is_whitespace() => {
                if place == Place::Word {
                    words.push(std::mem::take(&mut word));
                }
                place = Place::Between;
                continue;
            }
            Place::Between | Place::Word if matches!(letter, '\'' | '"') => place = Place::Quote(letter),
            Place::Between => place = Place::Word,
            Place::Quote(quote) if letter == quote => place = Place::Word,
            _ => {}
        }
        let escapes = letter == '\\' && place != Place::Quote('\'');
        match (escapes, escapes.then(|| rest.next()).flatten()) {
            (false, _) => word.push(letter),
            (true, Some(next)) => word.extend([letter, next]),
            // One at the end of the line escapes nothing.
            (true, None) => {}
        }
    }
    if place != Place::Between && !word.is_empty() {
        words.push(word);
    }
    words
}

/// The flags at the beginning of a text (`--name=value`), without quotes, and what follows them.
pub(crate) fn flags(text: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let (mut flag, mut place, mut end) = (String::new(), Place::Word, rest.len());
        let mut letters = rest.char_indices();
        while let Some((at, letter)) = letters.next() {
            match place {
                Place::Quote(quote) if letter == quote => place = Place::Word,
                Place::Word if letter.is_whitespace() => {
                    end = at;
                    break;
                }
                Place::Word if matches!(letter, '\'' | '"') => place = Place::Quote(letter),
                _ if letter == '\\' => flag.extend(letters.next().map(|(_, next)| next)),
                _ => flag.push(letter),
            }
        }
        rest = rest[end..].trim_start();
        // What follows two dashes is no flag.
        if flag == "--" {
            break;
        }
        flags.push(flag);
    }
    (flags, rest)
}

/// `name value`, or `name=value ...`; whichever the first word is.
pub(crate) fn pairs(text: &str, instruction: &'static str) -> Result<Vec<Pair>, InstructionError> {
    let words = words(text);
    let Some(first) = words.first() else {
        return Err(InstructionError::Arguments {
            instruction,
            wanted: "at least one argument",
        });
    };
    let pair = |name: &str, value: &str| {
        if name.is_empty() {
            return Err(InstructionError::BlankName(instruction));
        }
        Ok(Pair {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    };
    if !first.contains('=') {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or(InstructionError::NoValue(instruction))?;
        return Ok(vec![pair(name, value.trim_start())?]);
    }
    let divided = |word: &String| {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| InstructionError::NoPair(word.clone()))?;
        pair(name, value)
    };
    words.iter().map(divided).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes_keep_words_together() {
        assert_eq!(
            words(r#"a "b c" d\ e 'f "g' h"#),
            ["a", "\"b c\"", "d\\ e", "'f \"g'", "h"]
        );
        assert_eq!(words(" '' x\\"), ["''", "x"]);
        assert!(words("  ").is_empty());
    }

    #[test]
    fn flags_stand_at_the_beginning() {
        assert_eq!(
            flags("--a=1 --b='x y' CMD --c"),
            (vec!["--a=1".into(), "--b=x y".into()], "CMD --c")
        );
        assert_eq!(flags("-- --x"), (vec![], "--x"));
        assert_eq!(flags("x"), (vec![], "x"));
    }

    #[test]
    fn the_first_word_says_how_pairs_are_written() {
        let read = |text: &str| {
            pairs(text, "ENV").map(|pairs| {
                pairs
                    .into_iter()
                    .map(|pair| (pair.name, pair.value))
                    .collect::<Vec<_>>()
            })
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("A a  b   c"), Ok(vec![pair("A", "a  b   c")]));
        assert_eq!(
            read("A=1 B=\"x y\" C="),
            Ok(vec![pair("A", "1"), pair("B", "\"x y\""), pair("C", "")])
        );
        assert_eq!(read("A"), Err(InstructionError::NoValue("ENV")));
        assert_eq!(read("=x"), Err(InstructionError::BlankName("ENV")));
        assert_eq!(read("A=1 B"), Err(InstructionError::NoPair("B".into())));
    }
}
