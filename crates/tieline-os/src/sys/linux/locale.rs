//! The C library's locales by handle, and its two questions about characters, which libc does not name.

use std::ffi::CStr;

use libc::{
    LC_COLLATE_MASK, LC_CTYPE_MASK, LC_MESSAGES_MASK, LC_MONETARY_MASK, LC_NUMERIC_MASK, LC_TIME_MASK, c_char, c_int,
    c_uint, wchar_t,
};

/// The categories of POSIX. A locale is installed as a whole, so that those which a C library has beside them make no
/// difference.
const CATEGORIES: c_int =
    LC_COLLATE_MASK | LC_CTYPE_MASK | LC_MESSAGES_MASK | LC_MONETARY_MASK | LC_NUMERIC_MASK | LC_TIME_MASK;

unsafe extern "C" {
    /// `wint_t` is an unsigned int on all targets of ours.
    fn iswprint(letter: c_uint) -> c_int;
    fn wcwidth(letter: wchar_t) -> c_int;
}

/// A locale that is not the process's. It is used by the thread that holds it and by no other.
pub(crate) struct Handle(libc::locale_t);

impl Handle {
    /// The locale of the environment, unless a part of it is not installed.
    pub(crate) fn of_environment() -> Option<Self> {
        // SAFETY: the name is a NUL-terminated string, the empty one, which means the environment; a null base asks
        // for a new object. Nobody sets environment variables meanwhile: the standard library's `set_var` demands
        // that of its caller.
        let locale = unsafe { libc::newlocale(CATEGORIES, c"".as_ptr(), std::ptr::null_mut()) };
        // Not `then_some`: a handle of nothing must not even be dropped.
        (!locale.is_null()).then(|| Self(locale))
    }

    /// The name of its character set.
    pub(crate) fn codeset(&self) -> Vec<u8> {
        self.item(libc::CODESET)
    }

    /// What stands before decimals.
    pub(crate) fn decimal_point(&self) -> Vec<u8> {
        self.item(libc::RADIXCHAR)
    }

    fn item(&self, item: libc::nl_item) -> Vec<u8> {
        self.entered(|| {
            // SAFETY: the call takes a number and answers a string for any of them, the empty one for an unknown.
            let text: *const c_char = unsafe { libc::nl_langinfo(item) };
            // SAFETY: the string is NUL-terminated and belongs to the locale that is in use on this thread, which
            // neither ends nor changes before the copy is made, because `self` is borrowed.
            unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()
        })
    }

    /// The cells that a character fills, if it can be printed.
    pub(crate) fn cells(&self, letter: char) -> Option<usize> {
        let number = u32::from(letter);
        let cells = self.entered(|| {
            // SAFETY: any number may be asked about; both calls only read tables of the thread's locale.
            match unsafe { iswprint(number) } {
                0 => -1,
                // SAFETY: as above. `wchar_t` has 32 bits on Linux, and a char is below 2^21.
                _ => unsafe { wcwidth(number as wchar_t) },
            }
        });
        usize::try_from(cells).ok()
    }

    /// Runs `action` with this as the thread's locale. It must not unwind and must not call `entered` again.
    fn entered<T>(&self, action: impl FnOnce() -> T) -> T {
        // SAFETY: the handle is a live object made by `newlocale`; it is taken out of use again below, before it can
        // be freed, and only this thread's setting changes.
        let before = unsafe { libc::uselocale(self.0) };
        let answer = action();
        // SAFETY: `before` is what this thread used a moment ago, so it is a live object or the mark for the global one.
        unsafe { libc::uselocale(before) };
        answer
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the object was made by `newlocale`, is in use nowhere (`entered` has returned), and is freed once.
        unsafe { libc::freelocale(self.0) };
    }
}
