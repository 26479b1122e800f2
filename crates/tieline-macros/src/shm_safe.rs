//! `derive(ShmSafe)`: from the written type to the promise about its layout.
//!
//! What can be seen in the source is refused here, with a message at the field; what cannot (padding, foreign types)
//! is refused by the code that is made, when it is compiled. The invariant: nothing is accepted whose layout Rust may
//! choose.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Ident, Index, Meta, Path, Result, Token, Type, parse_quote};

mod refuse;

/// The implementation, or the compile errors that say why there is none. `shm` is where `ShmSafe` is found unless the
/// type says otherwise.
pub(crate) fn expand(input: TokenStream, shm: TokenStream) -> TokenStream {
    syn::parse2(input).and_then(|input| implement(&input, parse_quote!(#shm))).unwrap_or_else(Error::into_compile_error)
}

fn implement(input: &DeriveInput, shm: Path) -> Result<TokenStream> {
    let shm = crate_path(input, shm)?;
    let repr = Repr::of(input)?;
    match &input.data {
        Data::Struct(data) => structure(input, &data.fields, &repr, &shm),
        Data::Enum(data) => enumeration(input, data, &repr, &shm),
        Data::Union(data) => Err(Error::new(
            data.union_token.span,
            "a union may not lie in shared memory: nobody could check which of its fields is there",
        )),
    }
}

fn structure(input: &DeriveInput, fields: &Fields, repr: &Repr, shm: &Path) -> Result<TokenStream> {
    if !(repr.c || repr.transparent) {
        return Err(Error::new(
            input.ident.span(),
            "Rust may arrange the fields of this struct anew in each program: write #[repr(C)] above it",
        ));
    }
    refuse::fields(fields)?;
    let name = input.ident.to_string();
    let names: Vec<String> = (0..)
        .zip(fields)
        .map(|(index, field)| match &field.ident {
            Some(ident) => ident.to_string().trim_start_matches("r#").to_owned(),
            None => usize::to_string(&index),
        })
        .collect();
    let members: Vec<TokenStream> = (0..)
        .zip(fields)
        .map(|(index, field)| match &field.ident {
            Some(ident) => quote!(#ident),
            None => {
                let index = Index { index, span: Span::call_site() };
                quote!(#index)
            }
        })
        .collect();
    let types: Vec<&Type> = fields.iter().map(|field| &field.ty).collect();
    let body = quote! {
        const LAYOUT: &'static #shm::Layout = const {
            &#shm::Layout::structure::<Self>(#name, const {
                &[#(#shm::Field::new(
                    #names,
                    ::core::mem::offset_of!(Self, #members),
                    <#types as #shm::ShmSafe>::LAYOUT,
                )),*]
            })
        };

        #[inline]
        fn check(bytes: &[u8]) -> ::core::result::Result<(), #shm::Invalid> {
            if bytes.len() != ::core::mem::size_of::<Self>() {
                return ::core::result::Result::Err(#shm::Invalid::new(#name, "as many bytes as the type has"));
            }
            #(#shm::Invalid::of_field::<#types>(bytes, ::core::mem::offset_of!(Self, #members), #names)?;)*
            ::core::result::Result::Ok(())
        }
    };
    Ok(implementation(input, &body, shm))
}

fn enumeration(input: &DeriveInput, data: &syn::DataEnum, repr: &Repr, shm: &Path) -> Result<TokenStream> {
    let Some(number) = &repr.number else {
        return Err(Error::new(
            input.ident.span(),
            "how large this enum is would be Rust's choice: write #[repr(u8)], or a larger number, above it",
        ));
    };
    refuse::variants(data)?;
    let name = input.ident.to_string();
    let variants: Vec<&Ident> = data.variants.iter().map(|variant| &variant.ident).collect();
    let names: Vec<String> = variants.iter().map(ToString::to_string).collect();
    let expected = format!("the number of one of {}", names.join(", "));
    let body = quote! {
        const LAYOUT: &'static #shm::Layout = const {
            &#shm::Layout::enumeration::<Self>(#name, <#number as #shm::ShmSafe>::LAYOUT, const {
                &[#(#shm::Variant::new(#names, Self::#variants as #number as i64)),*]
            })
        };

        #[inline]
        fn check(bytes: &[u8]) -> ::core::result::Result<(), #shm::Invalid> {
            let number = match <[u8; ::core::mem::size_of::<Self>()]>::try_from(bytes) {
                ::core::result::Result::Ok(bytes) => #number::from_ne_bytes(bytes),
                ::core::result::Result::Err(_) => {
                    return ::core::result::Result::Err(#shm::Invalid::new(#name, "as many bytes as the type has"));
                }
            };
            if #(number == Self::#variants as #number)||* {
                ::core::result::Result::Ok(())
            } else {
                ::core::result::Result::Err(#shm::Invalid::new(#name, #expected))
            }
        }
    };
    Ok(implementation(input, &body, shm))
}

/// The `unsafe impl`, and for a type without parameters a line that makes the compiler look at the layout at once.
fn implementation(input: &DeriveInput, body: &TokenStream, shm: &Path) -> TokenStream {
    let ident = &input.ident;
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(#shm::ShmSafe));
    }
    let (parameters, arguments, conditions) = generics.split_for_impl();
    let looked_at = generics.params.is_empty().then(|| {
        quote! { const _: &#shm::Layout = <#ident as #shm::ShmSafe>::LAYOUT; }
    });
    quote! {
        // SAFETY: the layout is fixed by `repr`, each field is itself ShmSafe, padding does not compile
        // (`Layout::structure`), and `check` looks at each field.
        #[automatically_derived]
        unsafe impl #parameters #shm::ShmSafe for #ident #arguments #conditions { #body }
        #looked_at
    }
}

/// Where `ShmSafe` is found.
fn crate_path(input: &DeriveInput, usual: Path) -> Result<Path> {
    let mut path = usual;
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("shm")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("the only setting is #[shm(crate = path)]"));
            }
            path = meta.value()?.call(Path::parse_mod_style)?;
            Ok(())
        })?;
    }
    Ok(path)
}

/// What the `repr` attributes say.
#[derive(Default)]
struct Repr {
    c: bool,
    transparent: bool,
    number: Option<Ident>,
}

impl Repr {
    fn of(input: &DeriveInput) -> Result<Self> {
        let mut repr = Self::default();
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("repr")) {
            for meta in attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)? {
                let Some(word) = meta.path().get_ident() else { continue };
                match word.to_string().as_str() {
                    "C" => repr.c = true,
                    "transparent" => repr.transparent = true,
                    "packed" => {
                        return Err(Error::new(
                            meta.span(),
                            "fields of a packed struct are not aligned: order them by size instead",
                        ));
                    }
                    "u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64" => repr.number = Some(word.clone()),
                    "usize" | "isize" => {
                        return Err(Error::new(meta.span(), "not of the same size on every machine: write u64 or i64"));
                    }
                    _ => {}
                }
            }
        }
        Ok(repr)
    }
}

#[cfg(test)]
mod tests;
