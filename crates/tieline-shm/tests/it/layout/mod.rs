//! What types say of themselves, as users of the derive see it.

#![forbid(unsafe_code)]

mod refused;

use std::num::NonZero;

use tieline_shm::{Layout, Mismatch, ShmSafe};

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C)]
struct Pose {
    at: [f64; 3],
    frame: u32,
    state: State,
    valid: bool,
    _pad: [u8; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(u8)]
enum State {
    Idle,
    Moving = 5,
    Lost,
}

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Pair<A, B>(A, B);

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Frame<T, const N: usize> {
    head: Pose,
    items: [T; N],
}

#[derive(Clone, Copy, ShmSafe)]
#[repr(transparent)]
struct Id(NonZero<u64>);

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Nothing;

#[derive(Clone, Copy, ShmSafe)]
#[repr(i16)]
enum Signed {
    Below = -1,
    Above = 1,
}

/// As a crate that knows this one under another name writes it.
mod facade {
    pub(crate) use tieline_shm as shm;

    #[derive(Clone, Copy, tieline_shm::ShmSafe)]
    #[repr(C)]
    #[shm(crate = crate::layout::facade::shm)]
    pub(crate) struct Elsewhere {
        pub(crate) a: u64,
    }
}

/// The documented algorithm, written a second time and without looking at the first.
fn documented_hash(layout: &Layout) -> u64 {
    fn bytes(layout: &Layout, out: &mut Vec<u8>) {
        use tieline_shm::Shape;
        let number = |number: u64, out: &mut Vec<u8>| out.extend(number.to_le_bytes());
        let text = |text: &str, out: &mut Vec<u8>| {
            out.extend(text.bytes());
            out.push(0);
        };
        match &layout.shape {
            Shape::Primitive => {
                out.push(b'p');
                number(layout.size as u64, out);
                number(layout.align as u64, out);
                text(layout.name, out);
            }
            Shape::Array { element, count } => {
                out.push(b'a');
                number(*count as u64, out);
                bytes(element, out);
            }
            Shape::Struct(fields) => {
                out.push(b's');
                number(layout.size as u64, out);
                number(layout.align as u64, out);
                number(fields.len() as u64, out);
                for field in *fields {
                    text(field.name, out);
                    number(field.offset as u64, out);
                    bytes(field.layout, out);
                }
            }
            Shape::Enum { number: primitive, variants } => {
                out.push(b'e');
                bytes(primitive, out);
                number(variants.len() as u64, out);
                for variant in *variants {
                    text(variant.name, out);
                    number(variant.number.cast_unsigned(), out);
                }
            }
            other => panic!("a shape that the documentation does not know: {other:?}"),
        }
    }
    let mut all = Vec::new();
    bytes(layout, &mut all);
    all.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn the_hash_is_the_documented_one() {
    for layout in [
        u8::LAYOUT,
        f64::LAYOUT,
        Pose::LAYOUT,
        State::LAYOUT,
        Signed::LAYOUT,
        Id::LAYOUT,
        Nothing::LAYOUT,
        Frame::<Pair<u32, i32>, 7>::LAYOUT,
    ] {
        assert_eq!(layout.hash(), documented_hash(layout), "{layout}");
    }
}

/// Numbers from an earlier build: whoever changes one breaks everybody's files and running peers.
#[test]
fn the_hash_stays_what_it_was() {
    assert_eq!(u8::LAYOUT.hash(), PINNED[0], "{:#x}", u8::LAYOUT.hash());
    assert_eq!(Pose::LAYOUT.hash(), PINNED[1], "{:#x}", Pose::LAYOUT.hash());
    assert_eq!(State::LAYOUT.hash(), PINNED[2], "{:#x}", State::LAYOUT.hash());
    assert_eq!(<[u16; 9]>::LAYOUT.hash(), PINNED[3], "{:#x}", <[u16; 9]>::LAYOUT.hash());
}

const PINNED: [u64; 4] = [0x5446_1961_5a78_30e6, 0xf713_4d01_61fc_faf5, 0x48f3_9b8b_0325_60bf, 0xf326_9c54_f90a_9e53];

#[test]
fn what_differs_in_memory_differs_in_hash() {
    mod other {
        use tieline_shm::ShmSafe;

        #[derive(Clone, Copy, ShmSafe)]
        #[repr(C)]
        pub(super) struct Pose {
            at: [f64; 3],
            frame: u32,
            state: super::State,
            valid: bool,
            _pad: [u8; 2],
        }

        #[derive(Clone, Copy, ShmSafe)]
        #[repr(C)]
        pub(super) struct Renamed {
            at: [f64; 3],
            number: u32,
            state: super::State,
            valid: bool,
            _pad: [u8; 2],
        }

        #[derive(Clone, Copy, ShmSafe)]
        #[repr(C)]
        pub(super) struct Retyped {
            at: [f64; 3],
            frame: i32,
            state: super::State,
            valid: bool,
            _pad: [u8; 2],
        }
    }
    assert_eq!(Pose::LAYOUT.hash(), other::Pose::LAYOUT.hash(), "the path does not count");
    assert!(Pose::LAYOUT.is_same(other::Pose::LAYOUT));
    let different = [
        Pose::LAYOUT.hash(),
        other::Renamed::LAYOUT.hash(),
        other::Retyped::LAYOUT.hash(),
        u32::LAYOUT.hash(),
        i32::LAYOUT.hash(),
        f32::LAYOUT.hash(),
        char::LAYOUT.hash(),
        NonZero::<u32>::LAYOUT.hash(),
        <[u32; 1]>::LAYOUT.hash(),
        <[u32; 2]>::LAYOUT.hash(),
        Pair::<u32, u32>::LAYOUT.hash(),
        Pair::<u32, i32>::LAYOUT.hash(),
        Pair::<i32, u32>::LAYOUT.hash(),
    ];
    for (index, one) in different.iter().enumerate() {
        assert!(!different[index + 1..].contains(one), "number {index} is not alone");
    }
}

#[test]
fn only_values_pass() {
    let words = |state: u8, valid: u8| {
        let mut bytes = [0; size_of::<Pose>()];
        bytes[28] = state;
        bytes[29] = valid;
        Pose::check(&bytes)
    };
    assert_eq!(words(0, 0), Ok(()));
    assert_eq!(words(5, 1), Ok(()));
    assert_eq!(words(6, 1), Ok(()));
    let wrong = words(1, 0).unwrap_err();
    assert_eq!((wrong.field, wrong.expected), ("state", "the number of one of Idle, Moving, Lost"));
    assert_eq!(wrong.to_string(), "`state` should hold the number of one of Idle, Moving, Lost");
    assert_eq!(words(0, 2).unwrap_err().field, "valid");
    assert!(Pose::check(&[0; 3]).is_err());

    assert!(Signed::check(&(-1_i16).to_ne_bytes()).is_ok());
    assert!(Signed::check(&0_i16.to_ne_bytes()).is_err());
    assert!(Id::check(&[0; 8]).is_err());
    assert!(Nothing::check(&[]).is_ok());
    // The innermost name is the one that helps.
    let mut bytes = [0; size_of::<Frame<Pose, 2>>()];
    bytes[32 + 32 + 29] = 9;
    assert_eq!(Frame::<Pose, 2>::check(&bytes).unwrap_err().field, "valid");
}

#[test]
fn a_layout_reads_as_people_write_it() {
    assert_eq!(
        Frame::<Pair<u8, u8>, 16>::LAYOUT.to_string(),
        "0: Frame { size 64, align 8\n    \
             0: head: Pose { size 32, align 8\n        \
                 0: at: [f64; 3]\n        \
                 24: frame: u32\n        \
                 28: state: State { u8\n            \
                     Idle = 0\n            \
                     Moving = 5\n            \
                     Lost = 6\n        \
                 }\n        \
                 29: valid: bool\n        \
                 30: _pad: [u8; 2]\n    \
             }\n    \
             32: items: [Pair; 16] { size 32, align 1\n        \
                 32: 0: u8\n        \
                 33: 1: u8\n    \
             }\n\
         }"
    );
}

#[test]
fn a_mismatch_marks_the_field() {
    let ours = Pair::<u32, f32>::LAYOUT.to_string();
    let theirs = Pair::<u32, [u16; 2]>::LAYOUT.to_string();
    let text = Mismatch::new(&ours, &theirs).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "  here                      | there",
            "  0: Pair { size 8, align 4 | 0: Pair { size 8, align 4",
            "      0: 0: u32             |     0: 0: u32",
            "!     4: 1: f32             |     4: 1: [u16; 2]",
            "  }                         | }",
        ]
    );
}

#[test]
fn the_derive_works_through_a_facade() {
    assert_eq!(facade::Elsewhere { a: 1 }.a, 1);
    assert_eq!(facade::Elsewhere::LAYOUT.size, 8);
}
