//! Arenas against plain collections, against death at every store, and against flipped bytes; within one process.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ShmSafe;

fn arena() -> Arena {
    ArenaOptions::new("test").create(256 * 1024).unwrap()
}

/// The same memory as another process has it.
fn other(arena: &Arena) -> Arena {
    Arena::accept(arena.try_clone_fd().unwrap()).unwrap()
}

/// Something with an odd size and bytes that are not all values.
#[derive(Clone, Copy, Debug, PartialEq, tieline_macros::ShmSafe)]
#[repr(C)]
#[shm(crate = crate)]
struct Odd {
    number: [u8; 10],
    flag: bool,
}

fn odd(number: u8) -> Odd {
    Odd { number: [number; 10], flag: number % 2 == 1 }
}

/// What the containers of the tests hold, as plain collections.
#[derive(Clone, Debug, Default, PartialEq)]
struct Plain {
    vec: Vec<Odd>,
    map: BTreeMap<u16, [u8; 5]>,
    text: String,
    number: u64,
}

/// The containers of the tests.
#[derive(Clone, Copy, Debug, tieline_macros::ShmSafe)]
#[repr(C)]
#[shm(crate = crate)]
struct Shared {
    vec: ShmVec<Odd>,
    map: ShmMap<u16, [u8; 5]>,
    text: ShmString,
    number: ShmBox<u64>,
}

fn containers(arena: &mut Arena) -> Shared {
    arena
        .change(|change| {
            let shared = Shared {
                vec: ShmVec::new(change)?,
                map: ShmMap::new(change)?,
                text: ShmString::new(change, "")?,
                number: ShmBox::new(change, &0)?,
            };
            let root = ShmBox::new(change, &shared)?;
            change.set_root(root)?;
            Ok::<_, Error>(shared)
        })
        .unwrap()
}

/// What the containers hold, by every way of reading.
fn plain(arena: &Arena) -> Result<Plain> {
    let root: ShmBox<Shared> = arena.root()?.expect("it was set");
    let shared = root.get(arena)?;
    let map = shared.map.iter(arena)?.collect::<Result<BTreeMap<_, _>>>()?;
    assert_eq!(map.len(), shared.map.len(arena)?);
    for (key, value) in &map {
        assert_eq!(shared.map.get(arena, key)?, Some(*value));
    }
    let vec = shared.vec.to_vec(arena)?;
    assert_eq!(vec.last().copied(), vec.len().checked_sub(1).and_then(|last| shared.vec.get(arena, last).unwrap()));
    Ok(Plain { vec, map, text: shared.text.get(arena)?, number: shared.number.get(arena)? })
}

#[derive(Clone, Debug)]
enum Op {
    Push(u8),
    Pop,
    Insert(usize, u8),
    Remove(usize),
    Set(usize, u8),
    Truncate(usize),
    Extend(Vec<u8>),
    MapInsert(u16, u8),
    MapRemove(u16),
    Text(String),
    PushStr(String),
    Number(u64),
    Replace,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => any::<u8>().prop_map(Op::Push),
        1 => Just(Op::Pop),
        1 => (0..40_usize, any::<u8>()).prop_map(|(index, number)| Op::Insert(index, number)),
        1 => (0..40_usize).prop_map(Op::Remove),
        1 => (0..40_usize, any::<u8>()).prop_map(|(index, number)| Op::Set(index, number)),
        1 => (0..60_usize).prop_map(Op::Truncate),
        1 => proptest::collection::vec(any::<u8>(), 0..30).prop_map(Op::Extend),
        6 => (0..50_u16, any::<u8>()).prop_map(|(key, number)| Op::MapInsert(key, number)),
        3 => (0..50_u16).prop_map(Op::MapRemove),
        1 => "[a-zö]{0,20}".prop_map(Op::Text),
        1 => "[a-zö]{0,50}".prop_map(Op::PushStr),
        1 => any::<u64>().prop_map(Op::Number),
        1 => Just(Op::Replace),
    ]
}

/// Does the same to both, and compares the answers.
fn apply(op: &Op, shared: &mut Shared, change: &mut Change<'_>, plain: &mut Plain) -> Result<()> {
    let refused = |answer: Result<()>| match answer {
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        Ok(()) => panic!("an index behind the end was taken"),
        Err(error) => Err(error),
    };
    match op {
        Op::Push(number) => {
            shared.vec.push(change, &odd(*number))?;
            plain.vec.push(odd(*number));
        }
        Op::Pop => assert_eq!(shared.vec.pop(change)?, plain.vec.pop()),
        Op::Insert(index, number) if *index <= plain.vec.len() => {
            shared.vec.insert(change, *index, &odd(*number))?;
            plain.vec.insert(*index, odd(*number));
        }
        Op::Insert(index, number) => refused(shared.vec.insert(change, *index, &odd(*number)))?,
        Op::Remove(index) if *index < plain.vec.len() => {
            assert_eq!(shared.vec.remove(change, *index)?, plain.vec.remove(*index));
        }
        Op::Remove(index) => refused(shared.vec.remove(change, *index).map(|_| ()))?,
        Op::Set(index, number) if *index < plain.vec.len() => {
            shared.vec.set(change, *index, &odd(*number))?;
            plain.vec[*index] = odd(*number);
        }
        Op::Set(index, number) => refused(shared.vec.set(change, *index, &odd(*number)))?,
        Op::Truncate(len) => {
            shared.vec.truncate(change, *len)?;
            plain.vec.truncate(*len);
        }
        Op::Extend(numbers) => {
            let values: Vec<Odd> = numbers.iter().copied().map(odd).collect();
            shared.vec.extend_from_slice(change, &values)?;
            plain.vec.extend(values);
        }
        Op::MapInsert(key, number) => {
            assert_eq!(shared.map.insert(change, key, &[*number; 5])?, plain.map.insert(*key, [*number; 5]));
        }
        Op::MapRemove(key) => assert_eq!(shared.map.remove(change, key)?, plain.map.remove(key)),
        Op::Text(text) => {
            shared.text.set(change, text)?;
            plain.text.clone_from(text);
        }
        Op::PushStr(text) => {
            shared.text.push_str(change, text)?;
            plain.text.push_str(text);
        }
        Op::Number(number) => {
            shared.number.set(change, number)?;
            plain.number = *number;
        }
        Op::Replace => {
            // All are freed and made anew with the same content, in one change.
            let copy = plain_of(shared, change)?;
            shared.vec.free(change)?;
            shared.map.free(change)?;
            shared.text.free(change)?;
            shared.vec = ShmVec::new(change)?;
            shared.vec.extend_from_slice(change, &copy.vec)?;
            shared.map = ShmMap::new(change)?;
            for (key, value) in &copy.map {
                shared.map.insert(change, key, value)?;
            }
            shared.text = ShmString::new(change, &copy.text)?;
            let root: ShmBox<Shared> = change.root()?.expect("it was set");
            root.set(change, shared)?;
        }
    }
    Ok(())
}

fn plain_of(shared: &Shared, arena: &Arena) -> Result<Plain> {
    Ok(Plain {
        vec: shared.vec.to_vec(arena)?,
        map: shared.map.iter(arena)?.collect::<Result<_>>()?,
        text: shared.text.get(arena)?,
        number: shared.number.get(arena)?,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two handles take turns; some changes are taken back by an error at their end.
    #[test]
    fn containers_do_what_plain_ones_do(
        changes in proptest::collection::vec((proptest::collection::vec(op(), 1..12), 0..4_u8), 1..25)
    ) {
        let mut one = arena();
        let mut two = other(&one);
        let mut shared = containers(&mut one);
        let mut expected = Plain::default();
        for (index, (ops, fate)) in changes.iter().enumerate() {
            let arena = if index % 2 == 0 { &mut two } else { &mut one };
            let (mut after, mut handles) = (expected.clone(), shared);
            let answer = arena.change(|change| {
                for op in ops {
                    apply(op, &mut handles, change, &mut after)?;
                }
                if *fate == 0 { Err(Error::new("go on", ErrorKind::TimedOut)) } else { Ok(()) }
            });
            match answer {
                Ok(()) => (expected, shared) = (after, handles),
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::TimedOut, "{}", error),
            }
            prop_assert_eq!(&plain(&one).unwrap(), &expected);
            one.check().unwrap();
        }
    }

    /// Blocks of any size, taken and given back in any order: none overlaps another, and in the end all is one again.
    #[test]
    fn blocks_never_overlap(sizes in proptest::collection::vec((1..5000_usize, any::<bool>()), 1..120)) {
        let mut arena = arena();
        let mut held: Vec<(ShmVec<u8>, u8, usize)> = Vec::new();
        for (index, (size, give_back)) in sizes.into_iter().enumerate() {
            let mark = index as u8;
            if give_back && !held.is_empty() {
                let (vec, mark, size) = held.swap_remove(index % held.len());
                prop_assert_eq!(vec.to_vec(&arena).unwrap(), vec![mark; size]);
                arena.change(|change| vec.free(change)).unwrap();
            } else {
                let made = arena.change(|change| {
                    let vec = ShmVec::new(change)?;
                    vec.extend_from_slice(change, &vec![mark; size])?;
                    Ok::<_, Error>(vec)
                });
                match made {
                    Ok(vec) => held.push((vec, mark, size)),
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Full),
                }
            }
            arena.check().unwrap();
        }
        for (vec, mark, size) in held {
            prop_assert_eq!(vec.to_vec(&arena).unwrap(), vec![mark; size]);
            arena.change(|change| vec.free(change)).unwrap();
        }
        prop_assert_eq!(arena.usage().used, 0);
        arena.check().unwrap();
    }
}

/// Lets a change die before each of its stores in turn; answers how many there are. After each death another process
/// recovers, dying itself before each of its own stores when `twice`, and must find the state before or after.
fn die_at_every_store(ops: &[Op], twice: bool) -> std::result::Result<u64, String> {
    let prepare = || {
        let mut arena = arena();
        let mut shared = containers(&mut arena);
        let mut expected = Plain::default();
        let before = [Op::Extend((0..20).collect()), Op::Text("before".into()), Op::Number(1)];
        let keys = (0..6).map(|key| Op::MapInsert(key, key as u8));
        for op in before.into_iter().chain(keys) {
            arena.change(|change| apply(&op, &mut shared, change, &mut expected)).unwrap();
        }
        (arena, shared, expected)
    };
    for store in 0.. {
        let (mut arena, mut shared, before) = prepare();
        let mut after = before.clone();
        death::plan(Some(store));
        let answer = arena.change(|change| ops.iter().try_for_each(|op| apply(op, &mut shared, change, &mut after)));
        let died = death::is_dead() && answer.is_err();
        death::plan(None);
        let mut survivor = other(&arena);
        if !died {
            answer.map_err(|error| error.to_string())?;
            survivor.check().map_err(|error| error.to_string())?;
            return if plain(&survivor).map_err(|error| error.to_string())? == after {
                Ok(store)
            } else {
                Err("no change".into())
            };
        }
        if !survivor.is_change_open() {
            return Err(format!("a death before store {store} cannot be seen"));
        }
        let refused = survivor.change(|_| Ok::<_, Error>(())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OwnerDied);
        assert_eq!(plain(&survivor).unwrap_err().kind(), ErrorKind::OwnerDied);
        for again in (0..).take_while(|_| twice) {
            death::plan(Some(again));
            let answer = survivor.recover();
            let died = death::is_dead() && answer.is_err();
            death::plan(None);
            if !died {
                break;
            }
        }
        survivor.recover().map_err(|error| error.to_string())?;
        survivor.check().map_err(|error| format!("before store {store}: {error}"))?;
        let found = plain(&survivor).map_err(|error| format!("before store {store}: {error}"))?;
        if found != before && found != after {
            return Err(format!("before store {store}: neither before nor after: {found:?}"));
        }
        // And it goes on.
        survivor.change(|change| shared.number.set(change, &99)).map_err(|error| error.to_string())?;
        survivor.check().map_err(|error| error.to_string())?;
    }
    unreachable!("a change ends")
}

#[test]
fn a_death_at_any_store_leaves_before_or_after() {
    let many: Vec<Op> = (0..40).map(|key| Op::MapInsert(key, 7)).collect();
    let changes: &[&[Op]] = &[
        &[Op::Push(1)],
        &[Op::Pop, Op::Push(2), Op::Set(3, 9)],
        &[Op::Insert(0, 3), Op::Remove(5)],
        &[Op::Extend((0..100).collect())],
        &[Op::MapRemove(3), Op::MapInsert(3, 8), Op::MapInsert(40, 1)],
        &many,
        &[Op::PushStr("longer than the block that was there before it".into())],
        &[Op::Replace, Op::Number(2)],
    ];
    let mut deaths = 0;
    for ops in changes {
        deaths += die_at_every_store(ops, false).unwrap();
    }
    deaths += die_at_every_store(changes[1], true).unwrap();
    println!("{deaths} deaths");
    assert!(deaths > 500, "{deaths}");
}

/// The planted bug: without old values in the journal, the suite must find a state that is neither.
#[test]
fn a_change_that_notes_nothing_is_found_out() {
    death::forget_to_note(true);
    let found = die_at_every_store(&[Op::Pop, Op::Push(2), Op::Set(3, 9)], false);
    death::forget_to_note(false);
    assert!(found.is_err(), "the tests see nothing");
}

#[test]
fn a_panic_takes_the_change_back() {
    let mut arena = arena();
    let shared = containers(&mut arena);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        arena.change(|change| {
            shared.number.set(change, &5)?;
            std::panic::resume_unwind(Box::new(()));
            #[expect(unreachable_code, reason = "says what the closure would answer")]
            Ok::<_, Error>(())
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(shared.number.get(&arena).unwrap(), 0);
    arena.change(|change| shared.number.set(change, &6)).unwrap();
}

#[test]
fn a_full_arena_says_so_and_goes_on() {
    let mut arena = ArenaOptions::new("small").create(LEN_MIN).unwrap();
    let vec = arena.change(ShmVec::<u64>::new).unwrap();
    let mut count = 0;
    let error = loop {
        match arena.change(|change| vec.push(change, &count)) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert_eq!(vec.to_vec(&arena).unwrap(), (0..count).collect::<Vec<u64>>());
    arena.check().unwrap();
    arena.change(|change| vec.free(change)).unwrap();
    assert_eq!(arena.usage().used, 0);
}

#[test]
fn a_growable_arena_grows_for_all() {
    let mut one = ArenaOptions::new("growing").growable(64 << 20).create(LEN_MIN).unwrap();
    let two = other(&one);
    let vec = one.change(ShmVec::<[u64; 16]>::new).unwrap();
    for index in 0..20_000 {
        one.change(|change| vec.push(change, &[index; 16])).unwrap();
    }
    assert_eq!(vec.get(&two, 19_999).unwrap(), Some([19_999; 16]));
    assert!(two.usage().heap >= 20_000 * 128);
    two.check().unwrap();
    let error = one.change(|change| vec.extend_from_slice(change, &vec![[0; 16]; 1 << 19])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    one.check().unwrap();
}

#[test]
fn a_change_larger_than_the_journal_is_refused() {
    let mut arena = ArenaOptions::new("small journal").journal_entries(512).create(256 * 1024).unwrap();
    let large = arena.change(|change| ShmBox::new(change, &[0_u64; 1000])).unwrap();
    let error = arena.change(|change| large.set(change, &[1; 1000])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!(large.get(&arena).unwrap(), [0; 1000]);
    // A vector goes around it by a new block.
    let vec = arena.change(ShmVec::<u64>::new).unwrap();
    arena.change(|change| vec.extend_from_slice(change, &[1; 1000])).unwrap();
    arena.change(|change| vec.insert(change, 0, &2)).unwrap();
    assert_eq!(vec.remove_all(&mut arena), 1001);
}

impl ShmVec<u64> {
    fn remove_all(self, arena: &mut Arena) -> usize {
        let len = self.len(arena).unwrap();
        arena.change(|change| self.truncate(change, 0)).unwrap();
        len
    }
}

#[test]
fn handles_name_only_what_they_should() {
    let mut arena = arena();
    let shared = containers(&mut arena);
    let kind = |answer: Result<()>| answer.unwrap_err().kind();
    let wrong = ShmBox::<u32>::at(shared.number.offset());
    assert_eq!(kind(wrong.get(&arena).map(|_| ())), ErrorKind::Corrupted);
    for offset in [0, 1, 15, 16, 17, 48, 1 << 40, u64::MAX, u64::MAX - 15] {
        let wild = ShmVec::<Odd>::at(offset);
        if offset != shared.vec.offset() {
            assert_eq!(kind(wild.len(&arena).map(|_| ())), ErrorKind::Corrupted, "{offset}");
            assert_eq!(kind(arena.change(|change| wild.free(change))), ErrorKind::Corrupted, "{offset}");
        }
    }
    arena.change(|change| shared.vec.free(change)).unwrap();
    assert_eq!(kind(shared.vec.len(&arena).map(|_| ())), ErrorKind::Corrupted);
    assert_eq!(kind(arena.change(|change| shared.vec.free(change))), ErrorKind::Corrupted, "freed twice");
    assert_eq!(kind(arena.root::<ShmString>().map(|_| ())), ErrorKind::Mismatch);
    arena.check().unwrap();
}

/// Every byte that could matter, flipped in every way that could matter: each call ends with a value or an error.
#[test]
fn no_flipped_byte_does_harm() {
    let mut arena = ArenaOptions::new("flipped").create(LEN_MIN).unwrap();
    let mut shared = containers(&mut arena);
    let mut expected = Plain::default();
    for op in [Op::Extend((0..20).collect()), Op::Text("text".into()), Op::MapInsert(1, 1), Op::MapInsert(2, 2)] {
        arena.change(|change| apply(&op, &mut shared, change, &mut expected)).unwrap();
    }
    let mut good = vec![0; LEN_MIN];
    arena.store.segment().read(0, &mut good).unwrap();
    // The arena's own words, the journal's first ones, and all that is used of the heap.
    let heap = usize::try_from(arena.heap.geometry.heap_start).unwrap();
    let places = (0..600).chain(heap..heap + 4096);
    let mut errors = 0;
    for place in places {
        for flip in [0x01, 0x80, 0xff] {
            arena.store.segment().write(0, &good).unwrap();
            arena.store.segment().write(place, &[good[place] ^ flip]).unwrap();
            let Ok(mut victim) = Arena::accept(arena.try_clone_fd().unwrap()) else {
                errors += 1;
                continue;
            };
            let answers = [
                victim.recover().map(|_| ()),
                shared.vec.to_vec(&victim).map(|_| ()),
                shared.map.iter(&victim).and_then(Iterator::collect::<Result<Vec<_>>>).map(|_| ()),
                shared.text.get(&victim).map(|_| ()),
                shared.map.get(&victim, &1).map(|_| ()),
                victim.check(),
                victim.change(|change| shared.vec.extend_from_slice(change, &[odd(1); 60])),
                victim.change(|change| shared.map.insert(change, &9, &[9; 5]).map(|_| ())),
                victim.change(|change| shared.text.set(change, "another text, which is longer than the first")),
                victim.change(|change| shared.vec.free(change)),
                victim.check(),
            ];
            for error in answers.into_iter().filter_map(Result::err) {
                errors += 1;
                let expected = matches!(error.kind(), ErrorKind::Corrupted | ErrorKind::OwnerDied | ErrorKind::Full);
                assert!(expected, "place {place} flip {flip:#x}: {error}");
            }
        }
    }
    assert!(errors > 1000, "flipping {errors} times meant nothing");
}

/// What is pinned here is the format: `docs/formats/shm-arena.md`.
#[test]
fn the_words_are_where_the_format_says() {
    let mut arena = ArenaOptions::new("pinned").journal_entries(512).create(LEN_MIN).unwrap();
    let value = arena.change(|change| ShmBox::new(change, &0x1122_3344_5566_7788_u64)).unwrap();
    arena.change(|change| change.set_root(value)).unwrap();
    let segment = arena.store.segment();
    let word = |offset| {
        let mut bytes = [0; 8];
        segment.read(offset, &mut bytes).unwrap();
        u64::from_ne_bytes(bytes)
    };
    assert_eq!(word(0).to_le_bytes(), *b"ARENA\0\0\x01");
    assert_eq!((word(8), word(16)), (512, 512 + 512 * 16));
    assert_eq!(word(48), value.offset());
    assert_eq!((word(80), word(88)), (0, 0), "no change is open");
    let block = word(16) + value.offset() - 16;
    assert_eq!(word(block as usize) & 0xffff, 0x05A5, "a used block of order 5");
    assert_eq!(word(block as usize + 16), 0x1122_3344_5566_7788);
    let told = segment.description().unwrap();
    assert_eq!(told.facts[0].name, "arena used bytes");
    assert_eq!(word(told.facts[0].offset as usize - 4096), arena.usage().used);
}

#[test]
fn containers_hold_containers() {
    assert_ne!(ShmVec::<u8>::LAYOUT.hash(), ShmVec::<u16>::LAYOUT.hash(), "what it holds is part of a handle's type");
    let mut arena = arena();
    let map = arena
        .change(|change| {
            let map = ShmMap::<u8, ShmVec<ShmString>>::new(change)?;
            let vec = ShmVec::new(change)?;
            let text = ShmString::new(change, "inside")?;
            vec.push(change, &text)?;
            map.insert(change, &1, &vec)?;
            Ok::<_, Error>(map)
        })
        .unwrap();
    let text = map.get(&arena, &1).unwrap().unwrap().get(&arena, 0).unwrap().unwrap();
    assert_eq!(text.get(&arena).unwrap(), "inside");
}
