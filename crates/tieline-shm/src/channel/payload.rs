//! What a channel carries: values of one type, or bytes.

use crate::error::Result;
use crate::layout::{Layout, ShmSafe};
use crate::raw::words;
use crate::structure::held::Held;

/// What a channel carries: any [`ShmSafe`] type, or `[u8]` for plain bytes of any length up to the channel's maximum.
pub trait Payload: sealed::Described {}

pub(crate) use sealed::Incoming;

impl<P: sealed::Described + ?Sized> Payload for P {}

pub(crate) mod sealed {
    use crate::error::Result;
    use crate::layout::Layout;

    /// What both sides must agree on.
    pub trait Described: Send + Sync + 'static {
        /// 0 for plain bytes.
        const HASH: u64;
        /// The length of each payload; `None` for plain bytes.
        const LEN_BYTES: Option<usize>;
        /// `None` for plain bytes.
        const TYPE: Option<&'static Layout>;
        /// For people.
        fn text() -> String;
        /// Its bytes.
        #[doc(hidden)]
        fn bytes(&self) -> &[u8];
        /// Whether the bytes that came are such a payload.
        #[doc(hidden)]
        fn check(held: &mut Incoming, operation: &'static str) -> Result<()>;
        /// The payload that the bytes were seen to be.
        #[doc(hidden)]
        fn view(held: &Incoming) -> &Self;
    }

    /// Bytes that came.
    #[derive(Debug)]
    pub struct Incoming(pub(crate) super::Held);
}

impl<T: ShmSafe> sealed::Described for T {
    const HASH: u64 = T::LAYOUT.hash();
    const LEN_BYTES: Option<usize> = Some(size_of::<T>());
    const TYPE: Option<&'static Layout> = Some(T::LAYOUT);

    fn text() -> String {
        T::LAYOUT.to_string()
    }

    fn bytes(&self) -> &[u8] {
        words::bytes_of(self)
    }

    fn check(held: &mut Incoming, operation: &'static str) -> Result<()> {
        held.0.check::<T>(operation)
    }

    fn view(held: &Incoming) -> &Self {
        held.0.value()
    }
}

impl sealed::Described for [u8] {
    const HASH: u64 = 0;
    const LEN_BYTES: Option<usize> = None;
    const TYPE: Option<&'static Layout> = None;

    fn text() -> String {
        "bytes".to_owned()
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    fn check(_: &mut Incoming, _: &'static str) -> Result<()> {
        Ok(())
    }

    fn view(held: &Incoming) -> &Self {
        held.0.as_bytes()
    }
}
