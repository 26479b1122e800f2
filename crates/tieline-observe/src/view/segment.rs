//! Segments of `tieline-shm` in words: who is behind by how much, who holds what, who is gone and not cleared away.

use tieline_shm::inspect::{Live, LockUse, Policy};

use crate::model::{Member, Object, Reading, Segment};

use super::party::Party;
use super::sentence::limited;
use super::{View, process_name, words};

impl View<'_> {
    /// What people want to know of a segment, the first being who has to do with it.
    pub(super) fn of_shared_segment(&self, object: &Object, segment: &Segment, parties: &[Party<'_>]) -> Vec<String> {
        let title = self.title(object);
        let Some(told) = &segment.told else {
            let mut sentences = vec![format!("{} {} {title} mapped.", self.all(parties), has(parties))];
            sentences.push(match &segment.damage {
                Some(why) => format!("What it says of itself makes no sense: {why}."),
                None => "What it says of itself could not be read.".to_owned(),
            });
            return sentences;
        };
        let mut sentences = match &told.live {
            Live::Log(log) => self.of_topic(&title, segment, parties, log.published),
            live => {
                let mut sentences = vec![format!("{} {} {title} mapped.", self.all(parties), has(parties))];
                of_live(live, &mut sentences);
                sentences
            }
        };
        let holding = |member: &&Member| member.items != (0, 0);
        let held: Vec<String> = told.members.iter().filter(holding).map(|one| self.holding(one)).collect();
        if !held.is_empty() {
            sentences.push(format!("{}.", capital(&words::and(&limited(held)))));
        }
        let stale: Vec<String> = segment.stale().map(|member| self.member(member)).collect();
        if !stale.is_empty() {
            let (are, them) = if stale.len() == 1 { ("is", "it") } else { ("are", "them") };
            sentences.push(format!(
                "{} {are} gone, or not of this pid namespace, and not cleared away: nobody has noticed the end of {them} yet.",
                capital(&words::and(&limited(stale)))
            ));
        }
        if let Some(path) = &segment.path {
            let host = segment.host.map_or_else(
                || "; nobody answers for the name right now".to_owned(),
                |pid| format!("; {} answers for the name", self.pid(pid)),
            );
            sentences.push(format!("It is joined at {path}{host}."));
        }
        if told.is_cut {
            sentences.push("Some of its numbers are too many to be read, or could not be.".to_owned());
        }
        sentences
    }

    fn of_topic(&self, title: &str, segment: &Segment, parties: &[Party<'_>], published: u64) -> Vec<String> {
        let is_writer = |party: &&Party<'_>| party.access().write;
        let publishers: Vec<String> =
            parties.iter().filter(is_writer).map(|party| process_name(party.process)).collect();
        let mut names: Vec<String> = segment.members().iter().map(|member| self.member(member)).collect();
        names.dedup();
        let published = words::count(published, "message", "messages");
        let publishes = match &publishers[..] {
            [] => format!("Nobody publishes to {title} any more, after {published}"),
            [one] => format!("{one} publishes to {title}, {published} so far"),
            many => format!("{} publish to {title}, {published} so far", words::and(many)),
        };
        let subscribes = match &names[..] {
            [] => "nobody subscribes".to_owned(),
            [one] => format!("{one} subscribes"),
            many => format!("{} subscribe", words::and(&limited(many.to_vec()))),
        };
        let mut sentences = vec![format!("{publishes}; {subscribes}.")];
        let reading = |member: &Member| member.reading.map(|reading| (self.member(member), reading));
        let furthest = segment.members().iter().filter_map(reading).max_by_key(|(_, reading)| reading.lag);
        if let Some((name, Reading { lag: behind @ 1.., policy, .. })) = furthest {
            let waits =
                if policy == Policy::Block { ", and the publisher waits for it when the log is full" } else { "" };
            let count = words::count(behind, "message", "messages");
            sentences.push(format!("Furthest behind is {name}, by {count}{waits}."));
        }
        let holds = |(name, reading): (String, Reading)| {
            (reading.held > 0).then(|| format!("{name} holds {}", words::count(reading.held.into(), "loan", "loans")))
        };
        let held: Vec<String> = segment.members().iter().filter_map(reading).filter_map(holds).collect();
        if !held.is_empty() {
            sentences.push(format!("{}.", capital(&words::and(&limited(held)))));
        }
        let lost: u64 = segment.members().iter().filter_map(|member| member.reading).map(|one| one.lost).sum();
        if lost > 0 {
            sentences.push(format!("{} were lost by subscribers that are not waited for.", words::number(lost)));
        }
        sentences
    }

    fn holding(&self, member: &Member) -> String {
        let (taken, written) = member.items;
        let mut items = Vec::new();
        if taken > 0 {
            items.push(format!("has taken {}", words::count(taken, "item", "items")));
        }
        if written > 0 {
            items.push(format!("is writing {}", words::count(written, "item", "items")));
        }
        format!("{} {}", self.member(member), words::and(&items))
    }

    /// What a member is called: a process that maps the segment by its name, any other by the number it gave.
    pub(super) fn member(&self, member: &Member) -> String {
        match self.snapshot.process_with_pid(member.pid).filter(|_| member.is_seen) {
            Some(process) => process_name(process),
            None => format!("process {}", member.pid),
        }
    }
}

/// What one who takes part does, in a few words each.
pub(super) fn member_words(object: &Object, member: &Member, how: &mut Vec<String>) {
    if let Some(reading) = member.reading {
        how.push(match (object.kind, reading.lag) {
            // Only with the messages is it known how far the publisher is.
            (crate::model::Kind::ShmRoster, _) => "subscribes".to_owned(),
            (_, 0) => "subscribes, has all".to_owned(),
            (_, lag) => format!("subscribes, {} behind", words::number(lag)),
        });
        how.push(policy(reading.policy).to_owned());
        if reading.held > 0 {
            how.push(format!("holds {}", words::count(reading.held.into(), "loan", "loans")));
        }
        if reading.lost > 0 {
            how.push(format!("lost {}", words::number(reading.lost)));
        }
    }
    let (taken, written) = member.items;
    if taken > 0 {
        how.push(format!("has taken {}", words::count(taken, "item", "items")));
    }
    if written > 0 {
        how.push(format!("writes {}", words::count(written, "item", "items")));
    }
    if member.is_writer {
        how.push("writes the value".to_owned());
    }
    if !member.is_alive {
        how.push("counted as dead, not cleared away".to_owned());
    } else if !member.is_seen {
        how.push("not cleared away".to_owned());
    }
}

/// What happens when a subscriber is slow.
pub(super) fn policy(policy: Policy) -> &'static str {
    match policy {
        Policy::Block => "is waited for",
        Policy::DropOldest => "loses the oldest",
        Policy::DropNewest => "loses the newest",
        Policy::SkipToLatest => "skips to the latest",
        Policy::Disconnect => "is disconnected when slow",
        _ => "of an unknown policy",
    }
}

/// In few words, for a column.
pub(super) fn details(segment: &Segment, words: &mut Vec<String>) {
    let Some(told) = &segment.told else {
        words.push(if segment.damage.is_some() { "damaged" } else { "unread" }.to_owned());
        return;
    };
    if !told.layout.is_empty() {
        words.push(format!("of {}", told.layout));
    }
    match &told.live {
        Live::Log(log) => {
            let count = told.members.len() as u64;
            words.push(words::count(count, "subscriber", "subscribers"));
            words.push(format!("{} published", words::number(log.published)));
        }
        Live::Queue(queue) => {
            words.push(format!("{} ready", words::number(queue.ready)));
            words.extend((queue.redelivered > 0).then(|| format!("{} redelivered", queue.redelivered)));
            words.extend((queue.skipped > 0).then(|| format!("{} skipped", queue.skipped)));
        }
        Live::OwnLog(own) => {
            words.push("one subscriber's own".to_owned());
            words.extend((own.dropped > 0).then(|| format!("{} lost", words::number(own.dropped))));
        }
        Live::Calls(calls) if calls.requests.entries == 0 => words.push("where its server waits".to_owned()),
        Live::Calls(calls) => {
            words.push(format!("{} in flight", words::number(calls.in_flight())));
            words.push(format!("{} received", words::number(calls.requests.received)));
            let held = calls.requests.held + calls.responses.held;
            words.extend((held > 0).then(|| words::count(held, "loan held", "loans held")));
        }
        Live::Latest(latest) => words.push(format!("version {}", latest.version)),
        Live::Event(event) => words.push(format!("{} notifications", words::number(event.total))),
        Live::Arena(arena) => {
            words.extend(arena.is_changing.then(|| "a change is open".to_owned()));
            words.extend((arena.recoveries > 0).then(|| format!("{} taken back", words::number(arena.recoveries))));
        }
        Live::Locks(locks) => {
            let held = locks.iter().filter(|lock| lock.owner.is_some() && lock.what != LockUse::Waiter).count();
            words.push(format!("{held} held"));
            words.extend(locks.iter().any(|lock| lock.owner_died).then(|| "owner died".to_owned()));
            words.extend(locks.iter().any(|lock| lock.is_given_up).then(|| "given up".to_owned()));
        }
        _ => {}
    }
    let stale = segment.stale().count();
    words.extend((stale > 0).then(|| format!("{stale} not cleared away")));
}

fn of_live(live: &Live, sentences: &mut Vec<String>) {
    match live {
        Live::Roster(roster) => {
            let count = words::count(roster.subscribers.len() as u64, "subscriber is", "subscribers are");
            sentences.push(format!("{count} in it, of {} that could be.", roster.entries));
        }
        Live::Queue(queue) => {
            let waits = words::count(queue.ready, "item waits", "items wait");
            let again = match queue.redelivered {
                0 => String::new(),
                some => format!(", {some} of them again after a consumer failed"),
            };
            sentences.push(format!("{waits} to be taken{again}."));
            let mut ended = Vec::new();
            if queue.orphaned > 0 {
                let count = words::count(queue.orphaned, "delivery", "deliveries");
                ended.push(format!("{count} ended with the consumer's death"));
            }
            if queue.skipped > 0 {
                let count = words::count(queue.skipped, "place", "places");
                ended.push(format!("{count} of dead producers were skipped"));
            }
            if queue.rejected > 0 {
                ended.push(format!("{} were refused", words::count(queue.rejected, "item", "items")));
            }
            if !ended.is_empty() {
                sentences.push(format!("Since it was made, {}.", words::and(&ended)));
            }
        }
        Live::Stream(stream) => {
            for (ring, from) in stream.rings.iter().zip(["the listening side", "the connecting side"]) {
                if ring.waiting > 0 {
                    let count = words::count(ring.waiting, "byte", "bytes");
                    sentences.push(format!("{count} from {from} wait to be read."));
                }
            }
        }
        Live::OwnLog(own) => {
            let given = words::count(own.given, "message was", "messages were");
            let lost = words::number(own.dropped);
            sentences.push(format!(
                "It is the log of one subscriber that loses the newest: {given} put in, {lost} found no room."
            ));
        }
        Live::Calls(calls) if calls.requests.entries == 0 => {
            let sleeps = if calls.server_sleeps { " It says that it sleeps." } else { "" };
            sentences.push(format!("Here the server waits for the requests of all clients of one user.{sleeps}"));
        }
        Live::Calls(calls) => {
            let flight = words::count(calls.in_flight(), "call is", "calls are");
            let (waiting, in_work) = (words::number(calls.requests.waiting), words::number(calls.in_work));
            let received = words::count(calls.requests.received, "request was", "requests were");
            sentences.push(format!(
                "{flight} in flight: {waiting} wait for the server, {in_work} are in its work. {received} taken so far."
            ));
            for (ring, who, what) in
                [(&calls.requests, "The server", "requests"), (&calls.responses, "The client", "answers")]
            {
                if ring.held > 0 {
                    sentences.push(format!("{who} holds {} of {} large {what}.", ring.held, ring.areas));
                }
            }
            if calls.responses.waiting > 0 {
                let count = words::count(calls.responses.waiting, "message waits", "messages wait");
                sentences.push(format!("{count} for the client to take."));
            }
        }
        Live::Latest(latest) if latest.version == 0 => sentences.push("It has no value yet.".to_owned()),
        Live::Latest(latest) => {
            let writes = if latest.writer.is_some() { "" } else { "; nobody writes it now" };
            let count = words::count(latest.version.into(), "value", "values");
            sentences.push(format!("It has had {count} so far{writes}."));
        }
        Live::Event(event) => {
            let count = words::count(event.total, "notification was", "notifications were");
            sentences.push(format!("{count} made of its {}.", words::count(event.ids, "event", "events")));
        }
        Live::Locks(locks) => {
            if locks.iter().any(|lock| lock.is_given_up) {
                sentences.push("It was given up after its owner died: nobody will take it again.".to_owned());
            } else if locks.iter().any(|lock| lock.owner_died) {
                sentences.push("Its owner died holding it: the next who takes it is told.".to_owned());
            }
        }
        Live::Arena(arena) => {
            if arena.is_changing {
                sentences.push("A change is open.".to_owned());
            }
            if arena.recoveries > 0 {
                let count =
                    words::count(arena.recoveries, "change of dead processes was", "changes of dead processes were");
                sentences.push(format!("{count} taken back."));
            }
        }
        _ => {}
    }
}

fn has(parties: &[Party<'_>]) -> &'static str {
    if parties.iter().filter(|party| party.is_user()).count() > 1 { "have" } else { "has" }
}

/// Our own word at the beginning of a sentence grows; names stay as they are.
fn capital(text: &str) -> String {
    text.strip_prefix("process ").map_or_else(|| text.to_owned(), |rest| format!("Process {rest}"))
}
