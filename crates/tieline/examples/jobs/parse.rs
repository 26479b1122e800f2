//! From a line of text to pipelines. Knows nothing of processes.

use std::fmt;

/// Commands whose outputs and inputs are connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pipeline {
    /// At least one.
    pub(crate) stages: Vec<Stage>,
    /// Whether the shell goes on without waiting.
    pub(crate) background: bool,
    /// What was typed, for lists of jobs.
    pub(crate) text: String,
}

/// One command with its redirections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stage {
    /// The command and its arguments: at least one.
    pub(crate) words: Vec<String>,
    pub(crate) redirections: Vec<Redirection>,
}

/// A file instead of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Redirection {
    /// `< file`
    From(String),
    /// `> file`
    To(String),
    /// `>> file`
    Append(String),
}

/// Why a line is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SyntaxError {
    /// Nothing stands before this operator, or after it where something must.
    Missing(&'static str),
    /// This quote is opened and not closed.
    Open(char),
    /// A backslash ends the line.
    Backslash,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(operator) => write!(f, "a command or file is missing at {operator}"),
            Self::Open(quote) => write!(f, "the quote {quote} is not closed"),
            Self::Backslash => write!(f, "nothing follows the backslash"),
        }
    }
}

/// The pipelines of a line, in order; none for an empty line or a comment.
pub(crate) fn parse(line: &str) -> Result<Vec<Pipeline>, SyntaxError> {
    let tokens = tokens(line)?;
    let mut pipelines = Vec::new();
    let mut stages = Vec::new();
    let mut stage = Stage::default();
    let mut start = 0;
    let mut tokens = tokens.into_iter();
    while let Some(Token { kind, at, end }) = tokens.next() {
        match kind {
            Kind::Word(word) => stage.words.push(word),
            Kind::Operator(operator @ (PIPE | BACKGROUND | THEN)) => {
                if stage.words.is_empty() {
                    return Err(SyntaxError::Missing(operator));
                }
                stages.push(std::mem::take(&mut stage));
                if operator != PIPE {
                    let text = line[start..at].trim().to_owned();
                    pipelines.push(Pipeline {
                        stages: std::mem::take(&mut stages),
                        background: operator == BACKGROUND,
                        text,
                    });
                    start = end;
                }
            }
            Kind::Operator(operator) => match tokens.next() {
                Some(Token { kind: Kind::Word(file), .. }) => stage.redirections.push(match operator {
                    FROM => Redirection::From(file),
                    TO => Redirection::To(file),
                    _ => Redirection::Append(file),
                }),
                _ => return Err(SyntaxError::Missing(operator)),
            },
        }
    }
    Ok(pipelines)
}

const PIPE: &str = "|";
const BACKGROUND: &str = "&";
const THEN: &str = ";";
const FROM: &str = "<";
const TO: &str = ">";
const APPEND: &str = ">>";

#[derive(Debug)]
struct Token {
    kind: Kind,
    /// Where it begins and ends in the line, in bytes.
    at: usize,
    end: usize,
}

#[derive(Debug)]
enum Kind {
    Word(String),
    Operator(&'static str),
}

/// The tokens of a line; a last command that is not closed by `;` or `&` gets its `;`.
fn tokens(line: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = line[at..].chars().next() {
        let rest = &line[at..];
        if first == '#' {
            break;
        }
        let operator =
            [APPEND, PIPE, BACKGROUND, THEN, FROM, TO].into_iter().find(|operator| rest.starts_with(operator));
        let (kind, length) = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if let Some(operator) = operator {
            (Kind::Operator(operator), operator.len())
        } else {
            let (word, length) = word(rest)?;
            (Kind::Word(word), length)
        };
        tokens.push(Token { kind, at, end: at + length });
        at += length;
    }
    let open = !matches!(tokens.last(), None | Some(Token { kind: Kind::Operator(BACKGROUND | THEN), .. }));
    if open {
        tokens.push(Token { kind: Kind::Operator(THEN), at, end: at });
    }
    Ok(tokens)
}

/// The word at the start of `text`, without its quotes, and its length with them.
fn word(text: &str) -> Result<(String, usize), SyntaxError> {
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '\\') => word.push(letters.next().ok_or(SyntaxError::Backslash)?.1),
            (Some('"'), '\\') => match letters.next().ok_or(SyntaxError::Open('"'))?.1 {
                escaped @ ('"' | '\\') => word.push(escaped),
                other => word.extend(['\\', other]),
            },
            (None, letter) if letter.is_whitespace() || "|&;<>".contains(letter) => return Ok((word, at)),
            (_, letter) => word.push(letter),
        }
    }
    quote.map_or(Ok((word, text.len())), |open| Err(SyntaxError::Open(open)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<Vec<String>>> {
        let stages = |pipeline: Pipeline| pipeline.stages.into_iter().map(|stage| stage.words).collect();
        parse(line).unwrap().into_iter().map(stages).collect()
    }

    #[test]
    fn a_line_becomes_pipelines_of_words() {
        assert_eq!(words("a b|c;d&e"), [vec![vec!["a", "b"], vec!["c"]], vec![vec!["d"]], vec![vec!["e"]]]);
        assert_eq!(words("  # nothing"), Vec::<Vec<Vec<String>>>::new());
        assert_eq!(words("a#b # c"), [vec![vec!["a#b"]]]);
        let pipelines = parse("sleep 1 | cat  & echo x").unwrap();
        assert_eq!((pipelines[0].text.as_str(), pipelines[0].background), ("sleep 1 | cat", true));
        assert_eq!((pipelines[1].text.as_str(), pipelines[1].background), ("echo x", false));
    }

    #[test]
    fn quotes_and_backslashes_protect() {
        assert_eq!(words(r#"'a | b' "c \" \n 'd'" e\ f ''"#), [vec![vec!["a | b", "c \" \\n 'd'", "e f", ""]]]);
        assert_eq!(words("x'y'\"z\""), [vec![vec!["xyz"]]]);
        assert_eq!(words("größe 'ß'"), [vec![vec!["größe", "ß"]]]);
    }

    #[test]
    fn redirections_may_stand_anywhere() {
        let pipelines = parse("< in sort -r>out | tee >>'log file'").unwrap();
        let stages = &pipelines[0].stages;
        assert_eq!(stages[0].words, ["sort", "-r"]);
        assert_eq!(stages[0].redirections, [Redirection::From("in".into()), Redirection::To("out".into())]);
        assert_eq!(stages[1].redirections, [Redirection::Append("log file".into())]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let wrong = [
            ("|", SyntaxError::Missing("|")),
            ("a |", SyntaxError::Missing(";")),
            ("a | | b", SyntaxError::Missing("|")),
            ("& a", SyntaxError::Missing("&")),
            ("a;;", SyntaxError::Missing(";")),
            ("a >", SyntaxError::Missing(">")),
            ("a > | b", SyntaxError::Missing(">")),
            ("> file", SyntaxError::Missing(";")),
            ("'a", SyntaxError::Open('\'')),
            ("\"a\\", SyntaxError::Open('"')),
            ("a\\", SyntaxError::Backslash),
        ];
        for (line, error) in wrong {
            assert_eq!(parse(line), Err(error), "{line}");
        }
    }
}
