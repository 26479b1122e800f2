//! The jobs the shell has started and not yet forgotten.

use std::fmt;

use tieline::os::job::Modes;
use tieline::os::process::{Change, Pid, WaitStatus};

/// A pipeline that was started.
#[derive(Debug)]
pub(crate) struct Job {
    /// What people call it by: `%1`.
    pub(crate) number: usize,
    /// The process group all its processes are in.
    pub(crate) group: Pid,
    pub(crate) text: String,
    processes: Vec<Process>,
    /// The terminal's modes as a stopped job has left them.
    pub(crate) modes: Option<Modes>,
    /// Whether the user has been told of its present state.
    pub(crate) told: bool,
}

/// One command of a pipeline.
#[derive(Debug)]
pub(crate) struct Process {
    /// None for a command that could not be started.
    pub(crate) pid: Option<Pid>,
    /// The last that was heard of it; nothing yet, or that it goes on, means it runs.
    pub(crate) last: Option<WaitStatus>,
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Stopped,
    /// All processes have ended; the last one's end is the job's.
    Ended(WaitStatus),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.pad("Running"),
            Self::Stopped => f.pad("Stopped"),
            Self::Ended(WaitStatus::Exited(0)) => f.pad("Done"),
            Self::Ended(WaitStatus::Killed { signal, .. }) => f.pad(&format!("Killed by {signal}")),
            Self::Ended(status) => f.pad(&format!("Exit {}", status.shell_code())),
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]  {:<20}  {}", self.number, self.state(), self.text)
    }
}

impl Job {
    pub(crate) fn state(&self) -> State {
        let mut living = self.processes.iter().filter(|process| !process.last.is_some_and(WaitStatus::is_end));
        let is_stopped = |process: &Process| matches!(process.last, Some(WaitStatus::Stopped(_)));
        match (living.next(), self.processes.last().and_then(|process| process.last)) {
            (None, end) => State::Ended(end.unwrap_or(WaitStatus::Exited(0))),
            (Some(first), _) if is_stopped(first) && living.all(is_stopped) => State::Stopped,
            _ => State::Running,
        }
    }

    /// It was continued by us; the kernel's own notice comes later.
    pub(crate) fn goes_on(&mut self) {
        for process in &mut self.processes {
            if matches!(process.last, Some(WaitStatus::Stopped(_))) {
                process.last = Some(WaitStatus::Continued);
            }
        }
        self.told = true;
    }
}

/// All jobs, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Table {
    jobs: Vec<Job>,
}

impl Table {
    /// Adds a job and returns its number: one above the highest in use.
    pub(crate) fn add(&mut self, group: Pid, text: String, processes: Vec<Process>) -> usize {
        let number = self.jobs.last().map_or(1, |job| job.number + 1);
        self.jobs.push(Job { number, group, text, processes, modes: None, told: true });
        number
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter()
    }

    pub(crate) fn get(&mut self, number: usize) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.number == number)
    }

    /// The job meant by `%n`, or by nothing: then the last one that is stopped, else the last one.
    pub(crate) fn find(&mut self, name: Option<&str>) -> Result<&mut Job, String> {
        let found = match name {
            Some(name) => {
                let digits = name.strip_prefix('%').unwrap_or(name);
                let number: usize = digits.parse().map_err(|_| format!("{name} names no job; jobs are %1, %2, …"))?;
                self.jobs.iter().position(|job| job.number == number)
            }
            None => {
                let stopped = self.jobs.iter().rposition(|job| job.state() == State::Stopped);
                stopped.or(self.jobs.len().checked_sub(1))
            }
        };
        let missing = || name.map_or("there is no job".to_owned(), |name| format!("there is no job {name}"));
        found.map(|index| &mut self.jobs[index]).ok_or_else(missing)
    }

    /// Writes down what happened to a child.
    pub(crate) fn note(&mut self, change: Change) {
        for job in &mut self.jobs {
            let before = job.state();
            for process in &mut job.processes {
                if process.pid == Some(change.pid) && !process.last.is_some_and(WaitStatus::is_end) {
                    process.last = Some(change.status);
                }
            }
            if job.state() != before {
                job.told = false;
            }
        }
    }

    /// Forgets the jobs that have ended and of which the user knows.
    pub(crate) fn forget_ended(&mut self) {
        self.jobs.retain(|job| !(job.told && matches!(job.state(), State::Ended(_))));
    }

    /// The jobs whose state the user does not know yet, which from now on he does.
    pub(crate) fn take_news(&mut self) -> Vec<String> {
        let mut news = Vec::new();
        for job in self.jobs.iter_mut().filter(|job| !job.told) {
            job.told = true;
            if job.state() != State::Running {
                news.push(job.to_string());
            }
        }
        news
    }
}
