//! The shell: runs pipelines, hands the terminal to them and takes it back.

use std::io::Write;

use tieline::os::job::{self, Modes, Terminal};
use tieline::os::process::{self, Changes, Children, Pid, WaitStatus};
use tieline::os::signal::{self, Flag, Signal};
use tieline::os::{ErrorKind, Result};

use crate::launch::{Launched, launch, open};
use crate::parse::{Pipeline, Redirection, parse};
use crate::table::{State, Table};
use crate::{USAGE_ERROR, builtin, gate, say};

/// How often a shell in the background asks to be brought to the foreground: an orphaned one never will be.
const ATTEMPTS: usize = 16;

/// A shell with its jobs.
pub(crate) struct Shell {
    pub(crate) table: Table,
    desk: Option<Desk>,
    /// The exit status of the last command.
    status: i32,
    over: bool,
    is_interactive: bool,
    has_warned: bool,
    /// Caught, not ignored: a caught signal has its default action again in the programs we execute.
    _unmoved: Option<Flag>,
}

/// The terminal the shell sits at.
struct Desk {
    terminal: Terminal,
    /// As the shell wants them.
    modes: Modes,
    /// The group that was in the foreground when the shell came.
    owner: Pid,
    /// The shell's own.
    group: Pid,
}

impl Drop for Desk {
    /// Leaves the terminal to the group it was taken from.
    fn drop(&mut self) {
        if self.owner != self.group {
            let _ = self.terminal.set_foreground(self.owner);
        }
    }
}

impl Shell {
    /// A shell for a person at the controlling terminal.
    pub(crate) fn interactive() -> Result<Self> {
        let terminal = Terminal::open()?;
        for _ in 0..ATTEMPTS {
            if terminal.is_foreground()? {
                break;
            }
            // Started in the background: stop until the shell above brings us forward.
            signal::send_to_own_group(Signal::TTIN)?;
        }
        // Who started us may have had signals ignored, as for a script in the background, and programs inherit that:
        // of those that we do not catch ourselves, the ones that job control lives by.
        for signal in [Signal::TTIN, Signal::TTOU] {
            signal::set_default(signal)?;
        }
        let unmoved = Flag::new([Signal::QUIT, Signal::TSTP])?;
        let owner = terminal.foreground()?;
        let group = process::current();
        if process::group() != Some(group) {
            process::set_group(group, group)?;
        }
        terminal.set_foreground(group)?;
        let modes = terminal.modes()?;
        let desk = Some(Desk { terminal, modes, owner, group });
        Ok(Self { desk, is_interactive: true, _unmoved: Some(unmoved), ..Self::bare() })
    }

    /// A shell for a script. At a terminal, in the foreground, its pipelines get the terminal too.
    pub(crate) fn batch() -> Result<Self> {
        let terminal = Terminal::open().ok().filter(|terminal| terminal.is_foreground().unwrap_or(false));
        let desk = terminal.zip(process::group()).map(|(terminal, group)| {
            let modes = terminal.modes()?;
            Ok::<_, tieline::os::Error>(Desk { terminal, modes, owner: group, group })
        });
        Ok(Self { desk: desk.transpose()?, ..Self::bare() })
    }

    fn bare() -> Self {
        Self {
            table: Table::default(),
            desk: None,
            status: 0,
            over: false,
            is_interactive: false,
            has_warned: false,
            _unmoved: None,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    pub(crate) fn status(&self) -> i32 {
        self.status
    }

    /// Ends with `status`; with stopped jobs only when asked for twice.
    pub(crate) fn exit(&mut self, status: i32) {
        let stopped = self.table.iter().any(|job| job.state() == State::Stopped);
        if stopped && self.is_interactive && !self.has_warned {
            say("jobs: there are stopped jobs");
            self.has_warned = true;
            return;
        }
        self.status = status;
        self.over = true;
    }

    pub(crate) fn end_of_input(&mut self) {
        if self.is_interactive {
            say("exit");
        }
        self.exit(self.status);
    }

    /// Takes note of what has happened to jobs in the background, and tells a person at the terminal.
    pub(crate) fn report_changes(&mut self) {
        self.look();
        let news = self.table.take_news();
        if self.is_interactive {
            news.iter().for_each(say);
        }
        self.table.forget_ended();
    }

    /// Takes note of all changes there are, without waiting.
    pub(crate) fn look(&mut self) {
        while let Ok(change) = process::try_wait(Children::Any, Changes::all()) {
            self.table.note(change);
        }
    }

    pub(crate) fn run_line(&mut self, line: &str) {
        let before = self.has_warned;
        match parse(line) {
            Ok(pipelines) => {
                for pipeline in pipelines {
                    if self.over {
                        break;
                    }
                    self.status = self.run(&pipeline);
                }
            }
            Err(error) => {
                say(format_args!("jobs: {error}"));
                self.status = USAGE_ERROR.into();
            }
        }
        // The warning is for the very next line.
        self.has_warned &= !before;
    }

    fn run(&mut self, pipeline: &Pipeline) -> i32 {
        if let [stage] = &pipeline.stages[..]
            && !pipeline.background
            && builtin::is_one(&stage.words[0])
        {
            let mut out: Box<dyn Write> = Box::new(std::io::stdout());
            for redirection in &stage.redirections {
                match (open(redirection), redirection) {
                    (Ok(_), Redirection::From(_)) => {}
                    (Ok(file), _) => out = Box::new(file),
                    (Err(error), _) => {
                        say(format_args!("jobs: {error}"));
                        return 1;
                    }
                }
            }
            return builtin::run(self, &stage.words, &mut out);
        }
        let Launched { group, processes } = match launch(pipeline) {
            Ok(launched) => launched,
            Err(error) => {
                say(format_args!("jobs: {error}"));
                return 1;
            }
        };
        let Some(group) = group else {
            return processes.last().and_then(|process| process.last).map_or(1, WaitStatus::shell_code);
        };
        let number = self.table.add(group, pipeline.text.clone(), processes);
        // Before the gate opens, so that it stands before all that the job itself writes.
        if pipeline.background && self.is_interactive {
            say(format_args!("[{number}] {group}"));
        }
        let handed_over = match &self.desk {
            Some(desk) if !pipeline.background => desk.terminal.set_foreground(group),
            _ => Ok(()),
        };
        if let Err(error) = handed_over.and_then(|()| gate::open(group)) {
            say(format_args!("jobs: {error}"));
        }
        if pipeline.background {
            return 0;
        }
        self.wait_in_foreground(number)
    }

    /// Brings a job to the foreground, lets it go on if it is stopped, and waits for it.
    pub(crate) fn foreground(&mut self, number: usize) -> Result<i32> {
        let Some(job) = self.table.get(number) else { return Ok(1) };
        if let Some(desk) = &self.desk {
            if let Some(modes) = &job.modes {
                desk.terminal.set_modes(modes)?;
            }
            desk.terminal.set_foreground(job.group)?;
        }
        job.goes_on();
        let resumed = job::resume(job.group);
        if let Err(error) = resumed {
            self.take_terminal_back();
            return Err(error);
        }
        Ok(self.wait_in_foreground(number))
    }

    /// Waits until a job has ended or stopped, takes the terminal back, and returns its exit status.
    fn wait_in_foreground(&mut self, number: usize) -> i32 {
        let state = self.wait_for(number);
        if let (State::Stopped, Some(desk), Some(job)) = (state, &self.desk, self.table.get(number)) {
            job.modes = desk.terminal.modes().ok();
        }
        if let (State::Ended(WaitStatus::Exited(_)), Some(desk)) = (state, &mut self.desk) {
            // What a command that ends by itself has set is meant to stay, as with stty.
            desk.modes = desk.terminal.modes().unwrap_or_else(|_| desk.modes.clone());
        }
        self.take_terminal_back();
        match state {
            State::Stopped | State::Running => {
                if self.is_interactive {
                    say("");
                    self.table.take_news().iter().for_each(say);
                }
                128 + Signal::TSTP.number()
            }
            State::Ended(end) => {
                if let Some(job) = self.table.get(number) {
                    job.told = true;
                }
                self.table.forget_ended();
                self.after(end)
            }
        }
    }

    /// Says what killed a command, and ends a script that the user has interrupted.
    fn after(&mut self, end: WaitStatus) -> i32 {
        match end {
            WaitStatus::Killed { signal: Signal::INT, .. } if self.is_interactive => say(""),
            WaitStatus::Killed { signal: Signal::INT, .. } => self.exit(end.shell_code()),
            WaitStatus::Killed { signal: Signal::PIPE, .. } => {}
            WaitStatus::Killed { signal, .. } => say(format_args!("{signal}: {}", signal.description())),
            _ => {}
        }
        end.shell_code()
    }

    /// Waits until a job no longer runs.
    pub(crate) fn wait_for(&mut self, number: usize) -> State {
        loop {
            match self.table.get(number).map(|job| job.state()) {
                None => return State::Ended(WaitStatus::Exited(0)),
                Some(State::Running) => {}
                Some(state) => return state,
            }
            // Of any child: others may change meanwhile, and one of ours may have left its group.
            match process::wait(Children::Any, Changes::all()) {
                Ok(change) => self.table.note(change),
                Err(error) => {
                    if error.kind() != ErrorKind::NotFound {
                        say(format_args!("jobs: {error}"));
                    }
                    return State::Ended(WaitStatus::Exited(1));
                }
            }
        }
    }

    fn take_terminal_back(&self) {
        if let Some(desk) = &self.desk {
            let taken = desk.terminal.set_foreground(desk.group);
            if let Err(error) = taken.and_then(|()| desk.terminal.set_modes(&desk.modes)) {
                say(format_args!("jobs: {error}"));
            }
        }
    }
}
