//! Words as a shell reads them: quotes, escapes and variables (POSIX Shell Command Language, "Parameter Expansion").

use std::iter::Peekable;
use std::str::Chars;

use crate::error::InstructionError;

/// The value of a variable by its name.
pub type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A word as what it stands for.
pub(crate) fn expand(word: &str, variables: &Variables<'_>) -> Result<String, InstructionError> {
    read(word, variables).map(|expansion| expansion.text)
}

/// As `expand`, divided where the value of a variable has white space.
pub(crate) fn expand_to_words(word: &str, variables: &Variables<'_>) -> Result<Vec<String>, InstructionError> {
    read(word, variables).map(|expansion| expansion.words)
}

fn read(word: &str, variables: &Variables<'_>) -> Result<Expansion, InstructionError> {
    let mut reader = Reader {
        rest: word.chars().peekable(),
        variables,
    };
    reader.until(None).map_err(|reason| InstructionError::Word {
        word: word.to_owned(),
        reason,
    })
}

/// What a word comes to.
#[derive(Default)]
struct Expansion {
    text: String,
    words: Vec<String>,
    in_word: bool,
}

impl Expansion {
    /// Adds what divides nothing.
    fn add(&mut self, text: &str) {
        self.text.push_str(text);
        if text.is_empty() {
            return;
        }
        if !self.in_word {
            self.words.push(String::new());
            self.in_word = true;
        }
        if let Some(word) = self.words.last_mut() {
            word.push_str(text);
        }
    }

    /// Adds what is divided at white space.
    fn add_divided(&mut self, text: &str) {
        for letter in text.chars() {
            if letter.is_whitespace() {
                self.text.push(letter);
                self.in_word = false;
            } else {
                self.add(letter.encode_utf8(&mut [0; 4]));
            }
        }
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    variables: &'a Variables<'a>,
}

impl Reader<'_> {
    /// Reads to the end, or behind the character that ends a part.
    fn until(&mut self, end: Option<char>) -> Result<Expansion, String> {
        let mut expansion = Expansion::default();
        while let Some(letter) = self.rest.next() {
            match letter {
                _ if Some(letter) == end => return Ok(expansion),
                '\'' => expansion.add(&self.single_quoted()?),
                '"' => expansion.add(&self.double_quoted()?),
                '$' => {
                    let value = self.variable()?;
                    expansion.add_divided(&value);
                }
                '\\' => {
                    if let Some(escaped) = self.rest.next() {
                        expansion.add(escaped.encode_utf8(&mut [0; 4]));
                    }
                }
                letter => expansion.add_divided(letter.encode_utf8(&mut [0; 4])),
            }
        }
        match end {
            None => Ok(expansion),
            Some(_) => Err("syntax error: missing '}'".to_owned()),
        }
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        for letter in self.rest.by_ref() {
            if letter == '\'' {
                return Ok(text);
            }
            text.push(letter);
        }
        Err("unexpected end of statement while looking for matching single-quote".to_owned())
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        while let Some(letter) = self.rest.next() {
            match letter {
                '"' => return Ok(text),
                '$' => text.push_str(&self.variable()?),
                // Only what means something between these quotes can be escaped.
                '\\' => match self.rest.next_if(|next| matches!(next, '"' | '$' | '\\')) {
                    Some(escaped) => text.push(escaped),
                    None if self.rest.peek().is_none() => {}
                    None => text.push('\\'),
                },
                letter => text.push(letter),
            }
        }
        Err("unexpected end of statement while looking for matching double-quote".to_owned())
    }

    /// Behind a dollar sign.
    fn variable(&mut self) -> Result<String, String> {
        if self.rest.next_if_eq(&'{').is_some() {
            return self.substitution();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok((self.variables)(&name).unwrap_or_default())
    }

    /// Behind `${`.
    fn substitution(&mut self) -> Result<String, String> {
        match self.rest.peek() {
            None => return Err("syntax error: missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        let value = (self.variables)(&name);
        let mut modifier = String::new();
        let Some(mut first) = self.rest.next() else {
            return Err("syntax error: missing '}'".to_owned());
        };
        if first == '}' {
            return Ok(value.unwrap_or_default());
        }
        // With a colon, what is empty counts as not set.
        let given = if first == ':' {
            modifier.push(first);
            first = self.rest.next().ok_or("syntax error: missing '}'")?;
            value.clone().filter(|value| !value.is_empty())
        } else {
            value.clone()
        };
        modifier.push(first);
        if !matches!(first, '-' | '+' | '?') {
            return Err(format!("unsupported modifier ({modifier}) in substitution"));
        }
        let word = self.until(Some('}'))?.text;
        match (first, given) {
            ('-', given) => Ok(given.unwrap_or(word)),
            ('+', given) => Ok(given.map(|_| word).unwrap_or_default()),
            (_, Some(given)) => Ok(given),
            (_, None) if !word.is_empty() => Err(format!("{name}: {word}")),
            (_, None) if value.is_some() => Err(format!("{name}: is not allowed to be empty")),
            (_, None) => Err(format!("{name}: is not allowed to be unset")),
        }
    }

    /// A name: letters, digits and underscores, one of the shell's own parameters, or a number.
    fn name(&mut self) -> String {
        let special = |letter: &char| matches!(letter, '@' | '*' | '#' | '?' | '-' | '$' | '!');
        if let Some(special) = self.rest.next_if(special) {
            return special.to_string();
        }
        let is_number = self.rest.peek().is_some_and(char::is_ascii_digit);
        let belongs = |letter: &char| {
            if is_number {
                letter.is_ascii_digit()
            } else {
                letter.is_alphanumeric() || *letter == '_'
            }
        };
        let mut name = String::new();
        while let Some(letter) = self.rest.next_if(belongs) {
            name.push(letter);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables(name: &str) -> Option<String> {
        match name {
            "A" => Some("a b".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn expanded(word: &str) -> Result<String, String> {
        expand(word, &variables).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_quotes_and_escapes_are_read() {
        for (word, text) in [
            ("$A", "a b"),
            ("x${A}y", "xa by"),
            ("'$A'", "$A"),
            (r#""$A'\"\x""#, r#"a b'"\x"#),
            (r"d\ e\$A", "d e$A"),
            ("$NO$", "$"),
            ("${NO:-d$A}", "da b"),
            ("${EMPTY-x}${EMPTY:-y}", "y"),
            ("${A:+yes}${EMPTY:+no}${EMPTY+set}", "yesset"),
            ("${A?m}", "a b"),
            ("x\\", "x"),
            ("$1x$", "x$"),
        ] {
            assert_eq!(expanded(word).as_deref(), Ok(text), "{word}");
        }
    }

    #[test]
    fn what_has_no_end_or_no_meaning_is_refused() {
        for (word, reason) in [
            (
                "\"x",
                "unexpected end of statement while looking for matching double-quote",
            ),
            (
                "'x",
                "unexpected end of statement while looking for matching single-quote",
            ),
            ("${A", "syntax error: missing '}'"),
            ("${A:-x", "syntax error: missing '}'"),
            ("${}", "syntax error: bad substitution"),
            ("${NO?msg}", "NO: msg"),
            ("${NO?}", "NO: is not allowed to be unset"),
            ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
            ("${A#a}", "unsupported modifier (#) in substitution"),
            ("${A:#a}", "unsupported modifier (:#) in substitution"),
        ] {
            assert_eq!(expanded(word), Err(format!("failed to process {word:?}: {reason}")));
        }
    }

    #[test]
    fn only_values_are_divided_into_words() {
        let words = |word: &str| expand_to_words(word, &variables).unwrap();
        assert_eq!(words("$A"), ["a", "b"]);
        assert_eq!(words("x$A'$A'"), ["xa", "b$A"]);
        assert_eq!(words("\"$A\""), ["a b"]);
        assert!(words("$NO").is_empty());
    }

    proptest! {
        #[test]
        fn no_word_crashes_the_reader(word in r#"[a-zA\\$\{\}:?+'" -]{0,24}"#) {
            let _ = (expand(&word, &variables), expand_to_words(&word, &variables));
        }
    }
}
