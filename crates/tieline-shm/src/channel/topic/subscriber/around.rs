//! Looking around at all publishers, and waiting between two looks: what a subscriber does when the next message is not
//! simply there.
//!
//! The invariant: publishers are taken up, and forgotten, here only, so that the places to sleep at are always theirs.

use std::sync::Arc;

use super::super::Payload;
use super::super::sources::{LineNumber, Source};
use super::{RECEIVE, Subscriber};
use crate::error::{Error, ErrorKind, Result};
use crate::structure::inlet::Found;
use crate::structure::items::Inline;
use crate::wait::{EventCount, Until, Waiting};

/// What one look around brought.
pub(super) enum Look<F> {
    Found(F),
    Nothing,
    /// Other publishers are there than before.
    Changed,
}

impl<T: Payload + ?Sized> Subscriber<T> {
    #[inline(always)]
    pub(super) fn look(&mut self, inline: &mut Inline<T::Item>) -> Result<Look<Found<T::Item>>> {
        if self.shared.changes() != self.seen {
            self.refresh();
            return Ok(Look::Changed);
        }
        let count = self.sources.len();
        for _ in 0..count {
            let index = self.turn;
            let source = &mut self.sources[index];
            self.turn = if self.turn + 1 < count { self.turn + 1 } else { 0 };
            match source.inlet.try_receive(inline, T::COUNT, true) {
                Ok(Found::Nothing) => {}
                Ok(found) => {
                    self.last = Some(index);
                    return Ok(Look::Found(found));
                }
                Err(error) => {
                    let line = source.line;
                    return Err(self.failed(line, error));
                }
            }
        }
        match self.bury() {
            Some(error) => Err(error),
            None => Ok(Look::Nothing),
        }
    }

    #[cold]
    pub(super) fn failed(&mut self, line: LineNumber, error: Error) -> Error {
        if error.kind() == ErrorKind::Corrupted {
            let who = self.shared.cut(line);
            self.remove(|source| source.line == line);
            if let Some(who) = who {
                return error.also(format_args!("it is of process {} of user {}", who.pid, who.uid));
            }
        }
        error
    }

    /// Forgets publishers that are gone and of which nothing is left to receive.
    #[inline(always)]
    pub(super) fn bury(&mut self) -> Option<Error> {
        if self.sources.iter().any(|source| source.is_gone) {
            // Gone before we looked, so what it published before is seen now.
            self.remove(|source| source.is_gone && !source.inlet.reader().is_ready());
        }
        if self.trouble.is_some() || self.is_alone { self.tell() } else { None }
    }

    #[cold]
    fn tell(&mut self) -> Option<Error> {
        let alone = || std::mem::take(&mut self.is_alone).then(|| Error::new(RECEIVE, ErrorKind::PeerGone));
        let error = self.trouble.take().or_else(alone);
        self.show_news();
        error
    }

    fn remove(&mut self, which: impl Fn(&Source) -> bool) {
        let before = self.sources.len();
        let (past, shared) = (&mut self.past, &self.shared);
        self.sources.retain(|source| {
            let keep = !which(source);
            if !keep {
                shared.forget(source.line);
                past.received += source.inlet.reader().received();
                past.lost = past.lost.saturating_add(source.inlet.reader().lost());
            }
            keep
        });
        if self.sources.len() != before {
            if self.sources.is_empty() {
                self.is_alone = true;
                self.show_news();
            }
            (self.turn, self.last) = (0, None);
            self.list_counts();
        }
    }

    pub(super) fn show_news(&self) {
        self.shared.set_has_news(self.trouble.is_some() || self.is_alone);
    }

    #[cold]
    pub(super) fn refresh(&mut self) {
        self.seen = self.shared.changes();
        let (arrived, gone, trouble) = self.shared.take();
        if let Some(error) = trouble {
            self.trouble.get_or_insert(error.while_to(RECEIVE));
        }
        self.show_news();
        for source in &arrived {
            source.inlet.keep(Arc::clone(&self.membership) as Arc<_>);
        }
        self.sources.extend(arrived);
        for source in &mut self.sources {
            if gone.contains(&source.line) {
                source.is_gone = true;
                source.inlet.distrust();
            }
        }
        self.list_counts();
    }

    fn list_counts(&mut self) {
        let places = self.sources.iter().filter(|source| !source.is_gone);
        let mut places: Vec<_> = places.map(|source| source.inlet.reader().roster().sleepers().clone()).collect();
        self.shared.sleeps_at(if let [lone] = &*places { Some(lone.clone()) } else { None });
        if places.len() != 1 {
            places.insert(0, self.shared.bell().clone());
        }
        self.counts = places;
    }

    pub(super) fn wait(&mut self, inline: &mut Inline<T::Item>, until: Until) -> Result<Found<T::Item>> {
        loop {
            if self.is_crowded(self.counts.len()) {
                match self.look(inline)? {
                    Look::Found(found) => return Ok(found),
                    Look::Changed => {}
                    Look::Nothing => self.sleep_in_crowd(until)?,
                }
                continue;
            }
            let counts = std::mem::take(&mut self.counts);
            let waiting = self.waiting;
            // Who never sleeps needs no places to sleep at.
            let places = if waiting == Waiting::Poll { &counts[..1] } else { &counts[..] };
            let found = EventCount::wait_any(places, waiting, until, RECEIVE, || match self.look(inline) {
                Ok(Look::Nothing) => None,
                Ok(look) => Some(Ok(look)),
                Err(error) => Some(Err(error)),
            });
            if self.counts.is_empty() {
                // Unless the list was made anew.
                self.counts = counts;
            }
            if let Look::Found(found) = found?? {
                return Ok(found);
            }
        }
    }
}
