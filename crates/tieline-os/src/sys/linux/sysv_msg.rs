//! System V message queues: `msgget`, `msgsnd`, `msgrcv`, `msgctl`.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use libc::{c_int, c_long, msginfo, msqid_ds};
use rustix::io::Errno;

use super::sysv_key::{MSG_STAT, MSG_STAT_ANY, stat_or_slot};
use super::{check, last_errno};

/// Texts up to this length, the kernel's default `msgmax`, pass through the stack; longer ones through the heap.
const STACK_TEXT_BYTES: usize = 8192;

const TYPE_BYTES: usize = size_of::<c_long>();

/// The kernel wants the type directly before the text, which a caller's slice does not have.
#[repr(C)]
struct StackMessage {
    message_type: MaybeUninit<c_long>,
    text: [MaybeUninit<u8>; STACK_TEXT_BYTES],
}

pub(crate) fn msgget(key: i32, flags: c_int) -> Result<c_int, Errno> {
    // SAFETY: msgget takes two numbers and touches no memory of ours.
    check(unsafe { libc::msgget(key, flags) })
}

/// Sends one message; never retries.
pub(crate) fn msgsnd(id: c_int, message_type: c_long, text: &[u8], flags: c_int) -> Result<(), Errno> {
    with_buffer(text.len(), |buffer| {
        // SAFETY: the buffer is aligned for the type and has room for it.
        unsafe { buffer.write(message_type) };
        // SAFETY: the text begins one c_long into the buffer, which has room for a c_long and the text.
        let start = unsafe { buffer.add(1) }.cast::<u8>();
        // SAFETY: text.len() bytes follow `start` in the buffer, which is ours alone and so cannot overlap `text`.
        unsafe { start.copy_from_nonoverlapping(NonNull::from(text).cast(), text.len()) };
        // SAFETY: the kernel reads a c_long and text.len() bytes, all written above.
        check(unsafe { libc::msgsnd(id, buffer.as_ptr().cast(), text.len(), flags) }).map(drop)
    })?
}

/// Takes (or, with `MSG_COPY`, copies) one message; never retries. Returns its type and how many bytes of `text` it
/// filled.
pub(crate) fn msgrcv(id: c_int, text: &mut [u8], selector: c_long, flags: c_int) -> Result<(c_long, usize), Errno> {
    let capacity = text.len();
    with_buffer(capacity, |buffer| {
        if flags & libc::MSG_COPY != 0 {
            // To size its copy, the kernel first reads the whole buffer: it must not be uninitialised.
            // SAFETY: the buffer has room for a c_long and `capacity` bytes.
            unsafe { buffer.cast::<u8>().write_bytes(0, TYPE_BYTES + capacity) };
        }
        // SAFETY: the kernel writes a c_long and at most `capacity` bytes, for which the buffer has room.
        let received = unsafe { libc::msgrcv(id, buffer.as_ptr().cast(), capacity, selector, flags) };
        let len = usize::try_from(received).map_err(|_| last_errno())?;
        assert!(len <= capacity, "the kernel keeps to the size it was given");
        // SAFETY: the call succeeded, so the kernel has written the type.
        let message_type = unsafe { buffer.read() };
        // SAFETY: one c_long into the buffer, which holds a c_long and the text.
        let start = unsafe { buffer.add(1) }.cast::<u8>();
        // SAFETY: the kernel has written `len` bytes from `start`; `text` is longer or as long, and separate memory.
        unsafe { start.copy_to_nonoverlapping(NonNull::from(text).cast(), len) };
        Ok((message_type, len))
    })?
}

/// Lends memory for a type and `text_bytes` of text, aligned for the type, uninitialised.
fn with_buffer<T>(text_bytes: usize, work: impl FnOnce(NonNull<c_long>) -> T) -> Result<T, Errno> {
    if text_bytes <= STACK_TEXT_BYTES {
        let mut message = MaybeUninit::<StackMessage>::uninit();
        return Ok(work(NonNull::from(&mut message).cast()));
    }
    let mut words: Vec<c_long> = Vec::new();
    words.try_reserve_exact(1 + text_bytes.div_ceil(TYPE_BYTES)).map_err(|_| Errno::NOMEM)?;
    Ok(work(NonNull::new(words.as_mut_ptr()).ok_or(Errno::NOMEM)?))
}

/// The state of one object; needs no read permission.
pub(crate) fn stat(id: c_int) -> Result<msqid_ds, Errno> {
    stat_or_slot(id, |id| msgctl_out(id, libc::IPC_STAT).map(|(_, state)| state), stat_any)
}

/// The id and state of the queue in slot `index` of the kernel's table; needs no read permission.
pub(crate) fn stat_any(index: c_int) -> Result<(c_int, msqid_ds), Errno> {
    msgctl_out(index, MSG_STAT_ANY)
}

/// The same for a queue that the caller may read; else `EACCES`.
pub(crate) fn stat_readable(index: c_int) -> Result<(c_int, msqid_ds), Errno> {
    msgctl_out(index, MSG_STAT)
}

pub(crate) fn set(id: c_int, state: &msqid_ds) -> Result<(), Errno> {
    let mut state = *state;
    // SAFETY: IPC_SET reads one msqid_ds, which lives through the call.
    check(unsafe { libc::msgctl(id, libc::IPC_SET, &raw mut state) }).map(drop)
}

pub(crate) fn remove(id: c_int) -> Result<(), Errno> {
    // SAFETY: IPC_RMID does not use its third argument.
    check(unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) }).map(drop)
}

/// The limits of this IPC namespace.
pub(crate) fn limits() -> Result<msginfo, Errno> {
    msgctl_info(libc::IPC_INFO).map(|(_, info)| info)
}

/// The highest used slot, and what is in use: queues in `msgpool`, messages in `msgmap`, bytes in `msgtql`.
pub(crate) fn usage() -> Result<(c_int, msginfo), Errno> {
    msgctl_info(libc::MSG_INFO)
}

fn msgctl_out(id: c_int, command: c_int) -> Result<(c_int, msqid_ds), Errno> {
    let mut state = MaybeUninit::<msqid_ds>::zeroed();
    // SAFETY: the commands given here (IPC_STAT, MSG_STAT, MSG_STAT_ANY) write one msqid_ds, for which there is room.
    let answer = check(unsafe { libc::msgctl(id, command, state.as_mut_ptr()) })?;
    // SAFETY: all fields are integers, for which the zeros of `zeroed` are already valid.
    Ok((answer, unsafe { state.assume_init() }))
}

fn msgctl_info(command: c_int) -> Result<(c_int, msginfo), Errno> {
    let mut info = MaybeUninit::<msginfo>::zeroed();
    // SAFETY: the commands given here (IPC_INFO, MSG_INFO) write one msginfo, whatever the pointer's type says.
    let answer = check(unsafe { libc::msgctl(0, command, info.as_mut_ptr().cast()) })?;
    // SAFETY: all fields are integers, for which the zeros of `zeroed` are already valid.
    Ok((answer, unsafe { info.assume_init() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The buffer lent is aligned and large enough on both of its paths: every length around the border goes through
    /// the kernel whole.
    #[test]
    fn texts_around_the_stack_limit_pass_whole() {
        let id = msgget(libc::IPC_PRIVATE, 0o600).unwrap();
        let sent = (0..).step_by(997).take_while(|len| *len < STACK_TEXT_BYTES).chain([STACK_TEXT_BYTES]);
        let passed = sent.map(|len| {
            let text: Vec<u8> = (0..len).map(|index| index as u8).collect();
            msgsnd(id, 7, &text, libc::IPC_NOWAIT)?;
            let mut back = vec![0; len + 100];
            let (message_type, filled) = msgrcv(id, &mut back, 0, libc::IPC_NOWAIT)?;
            Ok::<_, Errno>(message_type == 7 && back[..filled] == text)
        });
        let passed: Result<Vec<bool>, Errno> = passed.collect();
        remove(id).unwrap();
        assert!(passed.unwrap().into_iter().all(|whole| whole));
    }

    #[test]
    fn the_type_sits_directly_before_the_text() {
        assert_eq!(std::mem::offset_of!(StackMessage, text), TYPE_BYTES);
    }
}
