//! What a list adds up to, and what could not be seen.

use crate::model::{Unseen, UnseenWhat, UnseenWhy};

use super::{List, View, words};

impl View<'_> {
    /// How many objects, processes and ties there are, and what was folded: one sentence or two.
    #[must_use]
    pub fn totals(&self, list: &List) -> String {
        let processes = self.snapshot.processes().iter().filter(|process| !process.is_kernel_thread).count();
        let mut text = format!(
            "{} of {}.",
            words::count(list.objects as u64, "object", "objects"),
            words::count(processes as u64, "process", "processes"),
        );
        if list.folded > 0 {
            let quiet = words::count(list.folded as u64, "quiet one is", "quiet ones are");
            text += &format!(" {quiet} not shown, which one process has to itself or nobody visible holds: --all.");
        }
        text
    }

    /// What could not be seen, one sentence for each reason, without its point; empty if everything was. What went away
    /// meanwhile is not spoken of: who asks a moment later would not miss it.
    #[must_use]
    pub fn unseen(&self) -> Vec<String> {
        let mut reasons: Vec<UnseenWhy> = self.snapshot.unseen().iter().map(|unseen| unseen.why).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons.retain(|why| *why != UnseenWhy::Vanished);
        reasons.into_iter().map(|why| self.unseen_because(why)).collect()
    }

    fn unseen_because(&self, why: UnseenWhy) -> String {
        let all = self.snapshot.unseen().iter().filter(|unseen| unseen.why == why);
        let things: Vec<String> = all.map(things).collect();
        let because = match why {
            UnseenWhy::NoPermission if self.snapshot.viewer().uid == 0 => "this root lacks the capabilities",
            UnseenWhy::NoPermission => "run as root",
            UnseenWhy::Outside => "they live outside of this pid namespace",
            UnseenWhy::Vanished => "gone meanwhile",
            UnseenWhy::NotSupported => "this kernel has no way to ask",
            UnseenWhy::TooMany => "there is more than a scan takes in",
            UnseenWhy::Failed => "the kernel refused",
        };
        format!("{} could not be seen: {because}", words::and(&things))
    }
}

/// What could not be seen, as the subject of a sentence.
fn things(unseen: &Unseen) -> String {
    let count = |one, many| words::count(unseen.count, one, many);
    match unseen.what {
        UnseenWhat::Processes => count("whole process", "whole processes"),
        UnseenWhat::Descriptors => format!("the descriptors of {}", count("process", "processes")),
        UnseenWhat::Mappings => format!("the memory of {}", count("process", "processes")),
        UnseenWhat::Fill => format!("the fill of {}", count("pipe", "pipes")),
        UnseenWhat::Waits => format!("what {} for", count("thread waits", "threads wait")),
        UnseenWhat::IpcNamespaces => format!("the objects of {}", count("IPC namespace", "IPC namespaces")),
        UnseenWhat::NetNamespaces => format!("the sockets of {}", count("network namespace", "network namespaces")),
        UnseenWhat::MountNamespaces => format!("the names of {}", count("mount namespace", "mount namespaces")),
        UnseenWhat::Queues => format!("the POSIX queues of {}", count("IPC namespace", "IPC namespaces")),
        UnseenWhat::SystemV => count("System V object", "System V objects"),
        UnseenWhat::LockHolders => format!("who holds or awaits {}", count("file lock", "file locks")),
        UnseenWhat::Sockets => count("socket or its peer", "sockets or their peers"),
        UnseenWhat::Segments => format!("the inside of {}", count("shared segment", "shared segments")),
        UnseenWhat::SocketFolders => format!("the socket files of {}", count("folder", "folders")),
    }
}
