//! A part of an address together with where it stands, so that every error can point.

/// A part of the text, and its distance from the text's start in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> Piece<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.text.is_empty()
    }

    /// The position just behind it.
    pub(super) fn end(self) -> usize {
        self.at + self.text.len()
    }

    /// What stands before and after the first `separator`, if there is one.
    pub(super) fn split(self, separator: char) -> Option<(Self, Self)> {
        self.text.find(separator).map(|index| self.cut(index, separator.len_utf8()))
    }

    /// The same at the last `separator`.
    pub(super) fn split_last(self, separator: char) -> Option<(Self, Self)> {
        self.text.rfind(separator).map(|index| self.cut(index, separator.len_utf8()))
    }

    pub(super) fn strip(self, prefix: &str) -> Option<Self> {
        self.text.strip_prefix(prefix).map(|text| Self { text, at: self.at + prefix.len() })
    }

    /// The parts between `separator`s.
    pub(super) fn parts(self, separator: char) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let piece: Self = rest?;
            let (part, next) = piece.split(separator).map_or((piece, None), |(part, next)| (part, Some(next)));
            rest = next;
            Some(part)
        })
    }

    fn cut(self, index: usize, gap: usize) -> (Self, Self) {
        let before = Self { text: &self.text[..index], at: self.at };
        let after = Self { text: &self.text[index + gap..], at: self.at + index + gap };
        (before, after)
    }
}
