//! Types that can be seen not to fit, each with what to write instead.

use syn::spanned::Spanned;
use syn::{DataEnum, Error, Fields, Result, Type};

/// Refuses fields that can never lie in shared memory, all of them at once.
pub(super) fn fields(fields: &Fields) -> Result<()> {
    let errors = fields.iter().filter_map(|field| reason(&field.ty).map(|why| Error::new(field.ty.span(), why)));
    together(errors)
}

/// Refuses enums that are more than a list of names.
pub(super) fn variants(data: &DataEnum) -> Result<()> {
    if data.variants.is_empty() {
        return Err(Error::new(data.enum_token.span, "an enum without a variant has no value that could be shared"));
    }
    together(data.variants.iter().filter(|variant| !variant.fields.is_empty()).map(|variant| {
        Error::new(
            variant.fields.span(),
            "the bytes of a variant with fields depend on which variant it is, and some would be undefined: \
             use a struct with a number that says what it means",
        )
    }))
}

fn together(errors: impl Iterator<Item = Error>) -> Result<()> {
    let all = errors.reduce(|mut all, error| {
        all.combine(error);
        all
    });
    all.map_or(Ok(()), Err)
}

/// Why a type can be seen not to fit; what only looks right is left to the compiler.
fn reason(ty: &Type) -> Option<String> {
    const POINTER: &str = "an address means nothing in another process";
    match ty {
        Type::Reference(_) => {
            Some(format!("a reference may not lie in shared memory, {POINTER}: hold the value itself, or an index"))
        }
        Type::Ptr(_) => Some(format!("a pointer may not lie in shared memory, {POINTER}: hold an offset as u64")),
        Type::BareFn(_) => {
            Some(format!("a function may not lie in shared memory, {POINTER}: hold a number that says which"))
        }
        Type::TraitObject(_) | Type::ImplTrait(_) => {
            Some(format!("an object of a trait has an address inside, and {POINTER}"))
        }
        Type::Slice(_) => Some("a slice has no size of its own: write an array, [T; N]".to_owned()),
        Type::Tuple(tuple) if !tuple.elems.is_empty() => {
            Some("Rust may arrange a tuple anew in each program: write a struct with #[repr(C)]".to_owned())
        }
        Type::Array(array) => reason(&array.elem),
        Type::Group(group) => reason(&group.elem),
        Type::Paren(paren) => reason(&paren.elem),
        Type::Path(path) if path.qself.is_none() => {
            let name = path.path.segments.last()?.ident.to_string();
            match name.as_str() {
                "usize" => Some("usize is not of the same size on every machine: write u64".to_owned()),
                "isize" => Some("isize is not of the same size on every machine: write i64".to_owned()),
                "Box" | "Rc" | "Arc" => {
                    Some(format!("{name} points to this process's own memory: hold the value itself, or a ShmBox"))
                }
                "Vec" => {
                    Some("Vec points to this process's own memory: write an array, [T; N], or use a ShmVec".to_owned())
                }
                "String" => Some(
                    "String points to this process's own memory: write an array of bytes, or use a ShmString"
                        .to_owned(),
                ),
                "HashMap" | "BTreeMap" => Some(format!("{name} points to this process's own memory: use a ShmMap")),
                "Option" => Some(
                    "how an Option lies in memory is Rust's choice: add a bool, or use a number that means none"
                        .to_owned(),
                ),
                "Cell" | "RefCell" | "UnsafeCell" | "Mutex" | "RwLock" => {
                    Some(format!("{name} is for threads of one process: see the locks in the module sync"))
                }
                _ => None,
            }
        }
        _ => None,
    }
}
