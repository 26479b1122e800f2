//! Timers as descriptors.

use std::time::{Duration, Instant, SystemTime};

use tieline_os::ErrorKind;
use tieline_os::poll::{self, Interest};
use tieline_os::timerfd::{Clock, Schedule, TimerFd};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_delay_is_kept_on_every_clock() {
    for clock in [Clock::Monotonic, Clock::Boottime, Clock::Realtime] {
        let timer = TimerFd::new(clock).unwrap();
        assert!(timer.try_read().unwrap_err().is_would_block(), "stopped");
        assert_eq!(timer.remaining().unwrap(), None);
        timer.set(Schedule::after(600_000 * MS)).unwrap();
        assert!(timer.remaining().unwrap().unwrap() <= 600_000 * MS);
        assert!(timer.read_timeout(MS).unwrap_err().is_timeout());
        let start = Instant::now();
        timer.set(Schedule::after(20 * MS)).unwrap();
        assert_eq!(timer.read().unwrap(), 1);
        assert!(start.elapsed() >= 20 * MS);
        assert_eq!((timer.remaining().unwrap(), timer.interval().unwrap()), (None, None));
        assert!(timer.try_read().unwrap_err().is_would_block(), "once");
    }
}

/// Expirations nobody read are counted, and the interval does not drift by late reading.
#[test]
fn missed_expirations_are_counted() {
    let timer = TimerFd::new(Clock::Monotonic).unwrap();
    let start = Instant::now();
    timer.set(Schedule::after(Duration::ZERO).every(2 * MS)).unwrap();
    assert_eq!(timer.interval().unwrap(), Some(2 * MS));
    let mut count = timer.read().unwrap();
    tieline_testkit::pause(31 * MS);
    let late = timer.read().unwrap();
    assert!(late >= 15, "{late}");
    count += late;
    let most = start.elapsed().as_millis() / 2 + 1;
    assert!(u128::from(count) <= most, "{count} in {most}");
}

#[test]
fn zero_and_past_moments_mean_at_once() {
    let timer = TimerFd::new(Clock::Realtime).unwrap();
    for schedule in [
        Schedule::after(Duration::ZERO),
        Schedule::at(Duration::ZERO),
        Schedule::at_time(SystemTime::UNIX_EPOCH - MS),
        Schedule::at_time(SystemTime::now() - MS),
        Schedule::at_time(SystemTime::now() + 5 * MS).or_clock_set(),
    ] {
        timer.set(schedule).unwrap();
        assert_eq!(timer.read_timeout(tieline_testkit::PATIENCE).unwrap(), 1, "{schedule:?}");
    }
}

#[test]
fn setting_and_stopping_forget_what_was() {
    let timer = TimerFd::new(Clock::Monotonic).unwrap();
    timer.set(Schedule::after(Duration::ZERO)).unwrap();
    poll::wait(&timer, Interest::READABLE).unwrap();
    timer.set(Schedule::after(Duration::from_secs(600))).unwrap();
    assert!(timer.try_read().unwrap_err().is_would_block());
    timer.set(Schedule::after(Duration::ZERO).every(MS)).unwrap();
    poll::wait(&timer, Interest::READABLE).unwrap();
    timer.stop().unwrap();
    assert_eq!(timer.interval().unwrap(), None);
    assert!(timer.read_timeout(5 * MS).unwrap_err().is_timeout());
}

#[test]
fn an_interval_of_zero_is_refused_and_changes_nothing() {
    let timer = TimerFd::new(Clock::Monotonic).unwrap();
    timer.set(Schedule::after(Duration::from_secs(600))).unwrap();
    let error = timer.set(Schedule::after(MS).every(Duration::ZERO)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(timer.remaining().unwrap().unwrap() > Duration::from_secs(500));
}

/// A delay beyond what the kernel's clock can hold is a timer that does not fire, not an error or a wrap.
#[test]
fn the_longest_delay_never_fires() {
    let timer = TimerFd::new(Clock::Monotonic).unwrap();
    timer.set(Schedule::after(Duration::MAX)).unwrap();
    assert!(timer.read_timeout(5 * MS).unwrap_err().is_timeout());
    assert!(timer.remaining().unwrap().unwrap() > Duration::from_secs(1 << 32));
}

/// A waiting reader is woken by another thread's setting of the timer.
#[test]
fn a_stopped_timer_can_be_waited_for() {
    let timer = TimerFd::new(Clock::Monotonic).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| timer.read_timeout(tieline_testkit::PATIENCE));
        timer.set(Schedule::after(MS)).unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), 1);
    });
}

#[test]
fn only_a_timer_is_taken_over() {
    let timer = TimerFd::new(Clock::Monotonic).unwrap();
    timer.set(Schedule::after(Duration::ZERO)).unwrap();
    assert_eq!(TimerFd::from_fd(timer.into()).unwrap().read().unwrap(), 1);
    let (reader, _writer) = std::io::pipe().unwrap();
    assert_eq!(TimerFd::from_fd(reader.into()).unwrap_err().kind(), ErrorKind::InvalidInput);
}
