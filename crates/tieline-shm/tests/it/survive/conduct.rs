//! The conductor: rounds, fates, figures.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tieline_testkit::{PATIENCE, Peer, Role, pause, role};

use super::census::Census;
use super::{Subject, steps};

/// What happens to a victim.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// Killed so long after it was started, wherever it is then.
    KilledEarly(Duration),
    /// Killed so long after it had joined.
    Killed(Duration),
    /// Killed by itself at the n-th passing of a step.
    AtStep(String, u32, Duration),
    /// Stopped by itself there, continued, and killed.
    Frozen(String, u32, Duration),
    /// Writes down which steps it passes, and is killed so long after it had joined.
    Noted(PathBuf, Duration),
}

/// Where subject and victims meet.
pub(crate) struct Place {
    directory: PathBuf,
    me: Option<Role>,
}

impl Place {
    /// The name of an object there.
    pub(super) fn name(&self, object: &str) -> String {
        format!("{}/{object}", self.directory.display())
    }

    /// A victim has joined.
    pub(super) fn ready(&self) {
        self.me.as_ref().expect("a victim").say("ready");
    }

    /// Whether this victim is one that is not killed.
    pub(super) fn is_bystander() -> bool {
        std::env::var("BYSTANDER").is_ok()
    }
}

/// What is known of the victim's end.
#[derive(Debug)]
pub(crate) struct End {
    killed: OnceLock<Instant>,
    process: OnceLock<u32>,
    was_ready: AtomicBool,
    is_reaped: AtomicBool,
    /// It ends itself at an instant that nobody writes down.
    ends_itself: bool,
    deadline: Instant,
}

/// No round takes so long, unless a survivor is stuck; with a planted bug it probably is, and that is known sooner.
fn round_max() -> Duration {
    if std::env::var_os(PLANT).is_some() { Duration::from_secs(4) } else { PATIENCE * 5 / 6 }
}
/// How long a step may let itself be waited for.
const STEP_MAX: Duration = Duration::from_millis(1200);
/// And again, if nobody came to it before.
const STEP_MAX_AGAIN: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(25)];

impl End {
    fn new(fate: &Fate) -> Self {
        Self {
            killed: OnceLock::new(),
            process: OnceLock::new(),
            was_ready: AtomicBool::new(false),
            is_reaped: AtomicBool::new(false),
            ends_itself: matches!(fate, Fate::AtStep(..)),
            deadline: Instant::now() + round_max(),
        }
    }

    /// The victim is dead or will be in no time.
    pub(super) fn is_dead(&self) -> bool {
        self.go_on();
        self.killed.get().is_some()
    }

    /// The victim may be dead.
    pub(super) fn may_be_dead(&self) -> bool {
        self.ends_itself || self.is_dead()
    }

    /// The victim is no more.
    pub(super) fn is_reaped(&self) -> bool {
        self.go_on();
        self.is_reaped.load(Ordering::Acquire)
    }

    /// The victim's process, as soon as it has one.
    pub(super) fn process(&self) -> u32 {
        *self.process.wait()
    }

    /// The victim had joined.
    pub(super) fn was_ready(&self) -> bool {
        self.was_ready.load(Ordering::Acquire)
    }

    fn go_on(&self) {
        assert!(Instant::now() < self.deadline, "a survivor is stuck: {self:?}");
    }
}

/// How long one is watched to see which steps it passes.
const NOTING: Duration = Duration::from_millis(150);
/// The first passing is often that of an empty channel, a later one is not.
const PASSINGS: [u32; 2] = [1, 40];

/// How many rounds.
pub(super) struct Rounds {
    count: u64,
    time: Duration,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

impl Rounds {
    /// For every day: more than 300 with all subjects.
    pub(super) fn few() -> Self {
        Self { count: 24, time: Duration::from_secs(3600) }
    }

    /// As `cargo xtask soak` says.
    pub(super) fn asked_for() -> Self {
        let time = Duration::from_secs(number("TIELINE_SOAK_SECONDS").unwrap_or(3600));
        Self { count: number("TIELINE_SOAK_ROUNDS").unwrap_or(1000), time }
    }
}

/// Deaths at random instants.
pub(super) fn at_any_instant<S: Subject>(test: &str, rounds: Rounds) {
    play::<S>(test, |conductor| {
        let mut chance = Chance::new();
        let begin = Instant::now();
        let mut count = 0;
        while count < rounds.count && begin.elapsed() < rounds.time {
            let role = S::ROLES[count as usize % S::ROLES.len()];
            let fate = if chance.below(4) == 0 {
                Fate::KilledEarly(Duration::from_micros(chance.below(30_000)))
            } else {
                Fate::Killed(Duration::from_micros(chance.below(6_000)))
            };
            conductor.round(role, fate);
            count += 1;
        }
        conductor.say(&format!("{test}: {count} rounds"));
    });
}

/// With the bug planted in all processes the suite fails.
pub(super) fn notices<S: Subject>(test: &str, bug: &str) {
    if role().is_some() {
        return at_any_instant::<S>(test, Rounds { count: 2000, time: PATIENCE * 5 });
    }
    let mut conductor = Peer::of(test).role("conductor").env(PLANT, bug).spawn();
    let begin = Instant::now();
    while conductor.is_running() {
        assert!(begin.elapsed() < PATIENCE * 6, "neither passes nor fails with {bug}");
        pause(Duration::from_millis(20));
    }
    assert!(!conductor.exit_status().success(), "the suite does not notice {bug}");
}

/// Names a bug that the crate then has; see `planted` in the sources.
const PLANT: &str = "TIELINE_PLANT";

/// Deaths and freezes at each step that is passed in any role: with `everywhere` in each role that can be found to pass
/// it with some patience, otherwise in those that pass it at once.
pub(super) fn at_every_step<S: Subject>(test: &str, everywhere: bool) {
    play::<S>(test, |conductor| {
        let mut left = steps::of(S::STEPS);
        let mut passed = Vec::new();
        for role in S::ROLES {
            let noted = conductor.steps_of(role);
            for step in &left {
                let count = noted.get(step).copied().unwrap_or(0);
                let patience = if everywhere || count > 0 { STEP_MAX } else { Duration::ZERO };
                if !patience.is_zero() && conductor.ends_at(step, role, patience, count < PASSINGS[1] && !everywhere) {
                    passed.push(step.clone());
                }
            }
        }
        left.retain(|step| !passed.contains(step));
        // What happens seldom.
        left.retain(|step| {
            let elsewhere = S::ELSEWHERE.iter().find(|(name, _)| name == step);
            let mut patience = vec![STEP_MAX];
            patience.extend(STEP_MAX_AGAIN.into_iter().filter(|_| elsewhere.is_none()));
            let is_passed = patience.iter().any(|patience| {
                let mut roles = S::ROLES.iter();
                roles.any(|role| conductor.ends_at(step, role, *patience, false))
            });
            if let (Some((_, place)), false) = (elsewhere, is_passed) {
                conductor.say(&format!("{step}: not passed here, but in {place}"));
            }
            !is_passed && elsewhere.is_none()
        });
        conductor.say(&format!("{test}: {} rounds", conductor.rounds));
        assert!(left.is_empty(), "nobody passes {left:?}");
    });
}

/// Acts the part of this process: the test, the conductor, or a victim.
fn play<S: Subject>(test: &str, conduct: impl FnOnce(&mut Conductor<'_, S>)) {
    match role() {
        None => {
            let mut conductor = Peer::of(test).role("conductor").spawn();
            loop {
                match conductor.hear().as_str() {
                    "round" => {}
                    "done" => break,
                    words => println!("{words}"),
                }
            }
            conductor.succeeds();
        }
        Some(me) if me.name() == "conductor" => {
            let directory = tempfile::tempdir().expect("a directory");
            let place = Place { directory: directory.path().to_owned(), me: Some(me) };
            let mut conductor = Conductor::<S>::new(test, &place);
            conduct(&mut conductor);
            conductor.finish();
            place.me.expect("us").say("done");
        }
        Some(me) => {
            let name = me.name().to_owned();
            let place = Place { directory: me.env("PLACE").into(), me: Some(me) };
            // Ends with the conductor, however that ends.
            std::thread::spawn(|| role().expect("our role").wait_for("never"));
            S::victim(&name, &place);
        }
    }
}

struct Conductor<'a, S> {
    test: &'a str,
    place: &'a Place,
    subject: S,
    bystander: Option<Peer>,
    usual: Option<Census>,
    rounds: u64,
    told: Vec<Duration>,
}

impl<'a, S: Subject> Conductor<'a, S> {
    fn new(test: &'a str, place: &'a Place) -> Self {
        let subject = S::start(place);
        let mut conductor = Self { test, place, subject, bystander: None, usual: None, rounds: 0, told: Vec::new() };
        if let Some(role) = S::BYSTANDER {
            let mut bystander = conductor.victim(role).env("BYSTANDER", "1").spawn();
            bystander.wait_for("ready");
            conductor.bystander = Some(bystander);
        }
        // What is made once is made by then: threads that are kept, the first of each kind.
        for (role, after_ms) in S::ROLES.iter().flat_map(|role| [(role, 2), (role, 40)]) {
            conductor.round(role, Fate::Killed(Duration::from_millis(after_ms)));
        }
        conductor.usual = Some(Census::take(&place.directory));
        conductor
    }

    fn say(&self, words: &str) {
        self.place.me.as_ref().expect("us").say(words);
    }

    fn victim(&self, role: &str) -> tieline_testkit::PeerBuilder {
        let mut peer = Peer::of(self.test).role(role).env("PLACE", &self.place.directory);
        for (name, fd) in self.subject.descriptors() {
            peer = peer.env(name, format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()));
        }
        peer
    }

    /// Victims in `role` die and freeze at `step`, the first time they pass it, and later unless it is `seldom`. `false`
    /// if none comes to it.
    fn ends_at(&mut self, step: &str, role: &str, patience: Duration, seldom: bool) -> bool {
        let passings = if seldom { &PASSINGS[..1] } else { &PASSINGS };
        for (index, passing) in passings.iter().enumerate() {
            if !self.round(role, Fate::AtStep(step.to_owned(), *passing, patience)) {
                return index > 0;
            }
            self.round(role, Fate::Frozen(step.to_owned(), *passing, patience));
        }
        true
    }

    /// How often a victim in `role` passes which steps in a short while.
    fn steps_of(&mut self, role: &str) -> BTreeMap<String, u32> {
        // Not among the files that are counted.
        let directory = tempfile::tempdir().expect("a directory");
        let notes = directory.path().join("steps");
        self.round(role, Fate::Noted(notes.clone(), NOTING));
        // No file if it passed none.
        let text = std::fs::read_to_string(notes).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.filter_map(|(step, count)| Some((step.to_owned(), count.parse().ok()?))).collect()
    }

    /// One victim's life. `false` if it never came to the step it was to end at.
    fn round(&mut self, role: &str, fate: Fate) -> bool {
        let mut victim = self.victim(role);
        if let Fate::AtStep(step, passing, _) = &fate {
            victim = victim.env("TIELINE_STEP", format!("kill:{step}:{passing}"));
        }
        if let Fate::Frozen(step, passing, _) = &fate {
            victim = victim.env("TIELINE_STEP", format!("stop:{step}:{passing}"));
        }
        if let Fate::Noted(file, _) = &fate {
            victim = victim.env("TIELINE_STEP", format!("note:{}", file.display()));
        }
        let end = End::new(&fate);
        let mut told = None;
        let was_met = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| watch(victim.spawn(), &fate, &end));
            told = self.subject.round(role, &end);
            watcher.join().expect("the victim lived as it should")
        });
        self.rounds += 1;
        if let (Some(told), Some(killed), true) = (told, end.killed.get(), matches!(fate, Fate::Killed(_))) {
            self.told.push(told.saturating_duration_since(*killed));
        }
        if let Some(usual) = &self.usual {
            let excess = usual.excess(&self.place.directory, || self.subject.look());
            assert!(excess.is_empty(), "after {role} {fate:?}: {excess:?}");
        }
        self.say("round");
        was_met
    }

    fn finish(mut self) {
        let name = std::any::type_name::<S>();
        self.told.sort();
        if let Some(slowest) = self.told.last() {
            let at = |percent: usize| self.told[(self.told.len() - 1) * percent / 100];
            let (half, most, count) = (at(50), at(99), self.told.len());
            self.say(&format!(
                "{name}: seen after p50 {half:.1?}, p99 {most:.1?}, at most {slowest:.1?}, of {count}, load {}",
                load()
            ));
        }
        if let Some(bystander) = &mut self.bystander {
            let state = state_of(bystander);
            assert!(state.is_some_and(|state| state != 'Z'), "the bystander did not survive");
            bystander.kill();
        }
        drop(self.subject);
        let left = Census::take(&self.place.directory);
        // Whoever comes next finds the names free and leaves no more than there is.
        drop(S::start(self.place));
        let excess = left.excess(&self.place.directory, || {});
        assert!(excess.is_empty(), "after the end: {excess:?}");
    }
}

/// How many wanted to run on this machine in the last minute, on average.
pub(super) fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// Brings the fate about. `false` if a step was never passed.
fn watch(mut victim: Peer, fate: &Fate, end: &End) -> bool {
    let set_killed = || {
        let _ = end.killed.set(Instant::now());
    };
    end.process.set(victim.id()).expect("one victim in each round");
    let mut was_met = true;
    match fate {
        Fate::KilledEarly(after) => pause(*after),
        Fate::Killed(after) | Fate::Noted(_, after) => {
            victim.wait_for("ready");
            end.was_ready.store(true, Ordering::Release);
            pause(*after);
        }
        Fate::AtStep(.., patience) => was_met = comes_to(&victim, 'Z', *patience),
        Fate::Frozen(.., patience) => {
            was_met = comes_to(&victim, 'T', *patience);
            if was_met {
                pause(Duration::from_millis(12));
                victim.signal(Signal::CONT);
                pause(Duration::from_millis(4));
            }
        }
    }
    if matches!(fate, Fate::AtStep(..)) && was_met {
        set_killed();
        let status = victim.exit_status();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "the victim failed: {status}");
    } else {
        assert_ne!(state_of(&victim), Some('Z'), "the victim ended by itself");
        set_killed();
        victim.kill();
    }
    end.is_reaped.store(true, Ordering::Release);
    was_met
}

fn comes_to(victim: &Peer, wanted: char, patience: Duration) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < patience {
        if state_of(victim) == Some(wanted) {
            return true;
        }
        pause(Duration::from_millis(1));
    }
    false
}

fn state_of(peer: &Peer) -> Option<char> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(peer.id().to_string()).join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Numbers that differ from run to run; a failure says at which instant it killed.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new() -> Self {
        let seed = number("TIELINE_SEED").unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
            now.as_nanos() as u64 ^ u64::from(std::process::id()) << 40
        });
        Self(seed | 1)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
