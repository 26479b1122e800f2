//! The derives of Tieline. Use them through the crate `tieline`, which exports each beside its trait.

#![forbid(unsafe_code)]

mod shm_safe;

use proc_macro::TokenStream;

/// Implements `ShmSafe`: the type may lie in memory that other processes map.
///
/// For structs and tuple structs with `repr(C)` or `repr(transparent)`, and for enums without fields whose number type
/// is written down (`repr(u8)` ... `repr(i64)`). Type parameters get the bound `ShmSafe`. What is wrong with a type is
/// said at the field where it can be mended. `#[shm(crate = path)]` names the crate in which `ShmSafe` is found, where
/// that is neither `::tieline_shm` nor, for the derive that the crate `tieline` exports, `::tieline::shm`.
///
/// The documentation of `ShmSafe` shows what is accepted and what is refused.
#[proc_macro_derive(ShmSafe, attributes(shm))]
pub fn derive_shm_safe(input: TokenStream) -> TokenStream {
    shm_safe::expand(input.into(), quote::quote!(::tieline_shm)).into()
}

/// Its code finds the trait at `::tieline::shm::ShmSafe`, as users of the crate `tieline` do.
#[doc(hidden)]
#[proc_macro_derive(ShmSafeOfFacade, attributes(shm))]
pub fn derive_shm_safe_of_facade(input: TokenStream) -> TokenStream {
    shm_safe::expand(input.into(), quote::quote!(::tieline::shm)).into()
}
