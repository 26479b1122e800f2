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
            let them = if list.folded == 1 { "it" } else { "them" };
            let which = words::count(
                list.folded as u64,
                "that one process has to itself is",
                "that one process each has to itself are",
            );
            text += &format!(" {which} not shown: --all shows {them}.");
        }
        text
    }

    /// What could not be seen, as sentences; empty if everything was. What went away meanwhile is not spoken of: who asks
    /// a moment later would not miss it.
    #[must_use]
    pub fn unseen(&self) -> Vec<String> {
        let still_there = self.snapshot.unseen().iter().filter(|unseen| unseen.why != UnseenWhy::Vanished);
        still_there.map(|unseen| self.unseen_sentence(unseen)).collect()
    }

    fn unseen_sentence(&self, unseen: &Unseen) -> String {
        let Unseen { what, why, count } = *unseen;
        let (things, could) = match what {
            UnseenWhat::Processes => (words::count(count, "process", "processes"), "could not be seen at all"),
            UnseenWhat::Descriptors => (words::count(count, "process", "processes"), "could not be looked into"),
            UnseenWhat::Mappings => {
                (format!("the memory of {}", words::count(count, "process", "processes")), "could not be looked into")
            }
            UnseenWhat::Fill => {
                (format!("the fill of {}", words::count(count, "pipe", "pipes")), "could not be asked for")
            }
            UnseenWhat::Waits => {
                (format!("what {} for", words::count(count, "thread waits", "threads wait")), "could not be asked for")
            }
            UnseenWhat::IpcNamespaces => {
                (words::count(count, "IPC namespace", "IPC namespaces"), "could not be entered")
            }
            UnseenWhat::NetNamespaces => {
                (words::count(count, "network namespace", "network namespaces"), "could not be entered")
            }
            UnseenWhat::MountNamespaces => {
                (words::count(count, "mount namespace", "mount namespaces"), "could not be entered")
            }
            UnseenWhat::Queues => (
                format!("the POSIX message queues of {}", words::count(count, "IPC namespace", "IPC namespaces")),
                "could not be listed",
            ),
            UnseenWhat::SystemV => (words::count(count, "System V object", "System V objects"), "may not be read"),
            UnseenWhat::LockHolders => {
                (format!("the holder of {}", words::count(count, "file lock", "file locks")), "could not be found")
            }
            UnseenWhat::Sockets => (words::count(count, "socket or peer", "sockets or peers"), "could not be seen"),
        };
        let because = match why {
            UnseenWhy::NoPermission if self.snapshot.viewer().uid == 0 => {
                ": this needs more capabilities than this root has"
            }
            UnseenWhy::NoPermission => ": run as root",
            UnseenWhy::Vanished => ": gone meanwhile",
            UnseenWhy::NotSupported => ": this kernel has no way to ask",
            UnseenWhy::TooMany => ": there is more than the scan takes in",
            UnseenWhy::Failed => ": the kernel refused",
        };
        format!("{things} {could}{because}")
    }
}
