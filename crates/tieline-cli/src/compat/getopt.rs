//! Command lines as `getopt_long(3)` of the GNU C library reads them, with its messages.
//!
//! What must be the same as there: operands may stand between options and are moved behind them, unless
//! `POSIXLY_CORRECT` is set; `--` ends the options; a long option may be shortened as long as it is clear which is
//! meant; `-ovalue`, `-o value`, `--option=value` and `--option value` are the same, but an optional value must be
//! attached. Messages begin with `argv[0]` as it was given, while everything else the tools say begins with its last
//! part.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Whether an option has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    Value,
    /// Attached to the option, or none.
    OptionalValue,
}

/// An option of one letter, and what it means.
pub(crate) type Short<T> = (u8, Takes, T);

/// An option with a name, and what it means.
pub(crate) type Long<T> = (&'static str, Takes, T);

/// The options of a program. The order of the long ones is that of the possibilities in messages.
pub(crate) struct Options<T: 'static> {
    pub(crate) short: &'static [Short<T>],
    pub(crate) long: &'static [Long<T>],
}

/// What stands on a command line next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a, T> {
    /// An option with its value.
    Option(T, Option<&'a OsStr>),
    /// Something that is no option of this program, with the message about it, which lacks only the end of the line.
    Bad(Vec<u8>),
}

/// A walk over the options of a command line.
pub(crate) struct Getopt<'a, T: 'static> {
    program: &'a OsStr,
    options: Options<T>,
    /// The words behind `argv[0]`.
    words: &'a [OsString],
    /// The next word to look at.
    next: usize,
    /// The rest of a word of several one-letter options.
    letters: &'a [u8],
    operands: Vec<&'a OsStr>,
    in_order: bool,
}

impl<'a, T: Copy + PartialEq> Getopt<'a, T> {
    /// A walk over `words`, which are what stands behind `program`, the `argv[0]`.
    pub(crate) fn new(program: &'a OsStr, words: &'a [OsString], options: Options<T>) -> Self {
        let in_order = std::env::var_os("POSIXLY_CORRECT").is_some();
        Self { program, options, words, next: 0, letters: &[], operands: Vec::new(), in_order }
    }

    /// The next option; `None` behind the last.
    pub(crate) fn next(&mut self) -> Option<Found<'a, T>> {
        if !self.letters.is_empty() {
            return Some(self.letter());
        }
        while let Some(word) = self.words.get(self.next) {
            match word.as_bytes() {
                b"--" => {
                    self.next += 1;
                    return None;
                }
                [b'-', b'-', name @ ..] => {
                    self.next += 1;
                    return Some(self.named(name));
                }
                [b'-', letters @ ..] if !letters.is_empty() => {
                    self.next += 1;
                    self.letters = letters;
                    return Some(self.letter());
                }
                _ if self.in_order => return None,
                _ => {
                    self.next += 1;
                    self.operands.push(word);
                }
            }
        }
        None
    }

    /// What is no option, once [`next`](Self::next) has answered `None`.
    pub(crate) fn operands(self) -> Vec<&'a OsStr> {
        let mut operands = self.operands;
        operands.extend(self.words[self.next..].iter().map(OsString::as_os_str));
        operands
    }

    fn letter(&mut self) -> Found<'a, T> {
        let (letter, rest) = (self.letters[0], &self.letters[1..]);
        self.letters = rest;
        let Some(&(_, takes, meaning)) = self.options.short.iter().find(|(known, ..)| *known == letter) else {
            return self.bad(&[b"invalid option -- '", &[letter], b"'"]);
        };
        match takes {
            Takes::Nothing => return Found::Option(meaning, None),
            Takes::OptionalValue if rest.is_empty() => return Found::Option(meaning, None),
            Takes::Value | Takes::OptionalValue => self.letters = &[],
        }
        if !rest.is_empty() {
            return Found::Option(meaning, Some(OsStr::from_bytes(rest)));
        }
        match self.following() {
            Some(value) => Found::Option(meaning, Some(value)),
            None => self.bad(&[b"option requires an argument -- '", &[letter], b"'"]),
        }
    }

    /// The option behind two dashes.
    fn named(&mut self, word: &'a [u8]) -> Found<'a, T> {
        let end = word.iter().position(|byte| *byte == b'=');
        let (typed, value) = (&word[..end.unwrap_or(word.len())], end.map(|end| &word[end + 1..]));
        let (name, takes, meaning) = match self.meant(typed) {
            Meant::One(option) => option,
            Meant::Nothing => return self.bad(&[b"unrecognized option '--", word, b"'"]),
            Meant::Several(names) => {
                let possibilities: String = names.iter().map(|name| format!(" '--{name}'")).collect();
                return self.bad(&[b"option '--", word, b"' is ambiguous; possibilities:", possibilities.as_bytes()]);
            }
        };
        match (value, takes) {
            (Some(_), Takes::Nothing) => self.bad(&[b"option '--", name.as_bytes(), b"' doesn't allow an argument"]),
            (Some(value), _) => Found::Option(meaning, Some(OsStr::from_bytes(value))),
            (None, Takes::Value) => match self.following() {
                Some(value) => Found::Option(meaning, Some(value)),
                None => self.bad(&[b"option '--", name.as_bytes(), b"' requires an argument"]),
            },
            (None, _) => Found::Option(meaning, None),
        }
    }

    /// Which long option somebody meant who typed this much of it.
    fn meant(&self, typed: &[u8]) -> Meant<T> {
        let long = self.options.long;
        if let Some(option) = long.iter().find(|(name, ..)| name.as_bytes() == typed) {
            return Meant::One(*option);
        }
        let mut candidates = long.iter().filter(|(name, ..)| name.as_bytes().starts_with(typed));
        let Some(first) = candidates.next() else { return Meant::Nothing };
        // Two names for one thing are no ambiguity.
        let others: Vec<&str> = candidates
            .filter(|(_, takes, meaning)| (takes, meaning) != (&first.1, &first.2))
            .map(|(name, ..)| *name)
            .collect();
        if others.is_empty() { Meant::One(*first) } else { Meant::Several([&[first.0], &others[..]].concat()) }
    }

    fn following(&mut self) -> Option<&'a OsStr> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    fn bad(&self, parts: &[&[u8]]) -> Found<'a, T> {
        let mut message = [self.program.as_bytes(), b": "].concat();
        message.extend(parts.concat());
        Found::Bad(message)
    }
}

enum Meant<T> {
    One(Long<T>),
    Several(Vec<&'static str>),
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Flag {
        Key,
        Color,
        List,
    }

    const OPTIONS: Options<Flag> = Options {
        short: &[
            (b'k', Takes::Value, Flag::Key),
            (b'c', Takes::OptionalValue, Flag::Color),
            (b'l', Takes::Nothing, Flag::List),
        ],
        long: &[
            ("key", Takes::Value, Flag::Key),
            ("color", Takes::OptionalValue, Flag::Color),
            ("colour", Takes::OptionalValue, Flag::Color),
            ("list", Takes::Nothing, Flag::List),
            ("listing", Takes::Nothing, Flag::List),
            ("limit", Takes::Value, Flag::List),
        ],
    };

    /// What was found, in one line; then the operands.
    fn read(words: &[&str], in_order: bool) -> String {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let mut line = Getopt::new(OsStr::new("./prog"), &words, OPTIONS);
        line.in_order = in_order;
        let mut said = Vec::new();
        while let Some(found) = line.next() {
            said.push(match found {
                Found::Option(flag, None) => format!("{flag:?}"),
                Found::Option(flag, Some(value)) => format!("{flag:?}={}", value.display()),
                Found::Bad(message) => String::from_utf8_lossy(&message).into_owned(),
            });
        }
        let operands = line.operands();
        said.extend((!operands.is_empty()).then(|| format!("{operands:?}")));
        said.join(" ")
    }

    #[test]
    fn options_are_found_wherever_they_stand() {
        let given: &[(&[&str], &str)] = &[
            (&[], ""),
            (&["-l", "-k", "v", "-kv"], "List Key=v Key=v"),
            (&["-lkv"], "List Key=v"),
            (&["-k", "-l"], "Key=-l"),
            (&["-c", "x"], "Color [\"x\"]"),
            (&["-cx", "-c"], "Color=x Color"),
            (&["--key", "v", "--key=v", "--key="], "Key=v Key=v Key="),
            (&["--color", "x", "--color=x"], "Color Color=x [\"x\"]"),
            (&["a", "-l", "-", "b"], "List [\"a\", \"-\", \"b\"]"),
            (&["a", "-l", "--", "-l", "b"], "List [\"a\", \"-l\", \"b\"]"),
        ];
        for (words, found) in given {
            assert_eq!(&read(words, false), found, "{words:?}");
        }
        assert_eq!(read(&["-l", "a", "-l"], true), "List [\"a\", \"-l\"]");
    }

    #[test]
    fn long_options_may_be_shortened_while_it_is_clear_what_is_meant() {
        assert_eq!(read(&["--ke=v", "--col", "--colou=x"], false), "Key=v Color Color=x");
        // Two names of the same thing are no ambiguity, and an exact name is none either.
        assert_eq!(read(&["--list", "--lis"], false), "List List");
        assert_eq!(read(&["--li=3"], false), "./prog: option '--li=3' is ambiguous; possibilities: '--list' '--limit'");
        assert_eq!(
            read(&["--"], false) + &read(&["--=x"], false),
            "./prog: option '--=x' is ambiguous; possibilities: '--key' '--color' '--colour' '--list' '--listing' '--limit'"
        );
    }

    #[test]
    fn messages_are_those_of_the_c_library() {
        let given: &[(&[&str], &str)] = &[
            (&["--no-such=3"], "./prog: unrecognized option '--no-such=3'"),
            (&["--list=3"], "./prog: option '--list' doesn't allow an argument"),
            (&["--ke"], "./prog: option '--key' requires an argument"),
            (&["-k"], "./prog: option requires an argument -- 'k'"),
            (&["-xl"], "./prog: invalid option -- 'x' List"),
        ];
        for (words, found) in given {
            assert_eq!(&read(words, false), found, "{words:?}");
        }
    }
}
