//! Any list of operations against a queue that keeps everything in lists, and any memory.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

/// One operation of the oracle test.
#[derive(Clone, Copy, Debug)]
enum Op {
    Claim { member: u32 },
    Commit { nth: usize },
    Abandon { nth: usize },
    Take { member: u32 },
    Finish { nth: usize },
    Requeue { nth: usize },
    Depart { member: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let member = 0..3_u32;
    let nth = 0..8_usize;
    prop_oneof![
        4 => member.clone().prop_map(|member| Op::Claim { member }),
        4 => nth.clone().prop_map(|nth| Op::Commit { nth }),
        1 => nth.clone().prop_map(|nth| Op::Abandon { nth }),
        4 => member.clone().prop_map(|member| Op::Take { member }),
        3 => nth.clone().prop_map(|nth| Op::Finish { nth }),
        1 => nth.prop_map(|nth| Op::Requeue { nth }),
        1 => member.prop_map(|member| Op::Depart { member }),
    ]
}

/// A queue that keeps everything in lists.
#[derive(Default)]
struct Oracle {
    /// Claimed, by number, with the member, the position, and whether the item was gone past.
    writing: BTreeMap<u64, (u32, u64, bool)>,
    /// Ready in turn, with the position.
    ready: BTreeMap<u64, u64>,
    /// Ready out of turn, with the number of attempts.
    behind: HashMap<u64, u8>,
    taken: BTreeMap<u64, (u32, u8)>,
}

/// Where consumers meet what was claimed at `position`: it loses its place to others once they are a lap further.
fn turn(position: u64, slots: u32, queue: &WorkQueue) -> u64 {
    let oldest = queue.control.tail.value.load(Ordering::Relaxed).saturating_sub(u64::from(slots));
    let missed_laps = oldest.saturating_sub(position).div_ceil(u64::from(slots));
    position + missed_laps * u64::from(slots)
}

impl Oracle {
    fn held(&self) -> usize {
        self.writing.len() + self.ready.len() + self.behind.len() + self.taken.len()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_list_of_operations_does_what_the_oracle_says(slots in 0..4_u32, ops in prop::collection::vec(op(), 1..200)) {
        let slots = 1 << slots;
        let queue = queue(slots, 8);
        let mut oracle = Oracle::default();
        let mut claims: HashMap<u64, Claimed> = HashMap::new();
        let mut holdings: HashMap<u64, Taken> = HashMap::new();
        let mut generations = [1, 1, 1];
        let mut next = 0_u64;
        for op in ops {
            match op {
                Op::Claim { member } => {
                    let owner = Owner::new(member, generations[member as usize]).unwrap();
                    match queue.claim(owner, next as u8) {
                        Ok(claimed) => {
                            prop_assert!(oracle.held() < slots as usize);
                            queue.cells().copy_in(claimed.item_offset(queue.geometry()), &next.to_ne_bytes());
                            claims.insert(next, claimed);
                            oracle.writing.insert(next, (member, claimed.position, false));
                            next += 1;
                        }
                        Err(error) => {
                            prop_assert_eq!(error.kind(), ErrorKind::Full);
                            let in_turn = !oracle.ready.is_empty();
                            prop_assert!(in_turn || oracle.held() == slots as usize);
                        }
                    }
                }
                Op::Commit { nth } => {
                    let Some(&number) = oracle.writing.keys().nth(nth) else { continue };
                    let (_, position, is_passed) = oracle.writing.remove(&number).unwrap();
                    queue.commit(claims.remove(&number).unwrap(), 8).unwrap();
                    if is_passed { oracle.behind.insert(number, 0); } else { oracle.ready.insert(number, position); }
                }
                Op::Abandon { nth } => {
                    let Some(&number) = oracle.writing.keys().nth(nth) else { continue };
                    oracle.writing.remove(&number);
                    queue.abandon(claims.remove(&number).unwrap()).unwrap();
                }
                Op::Take { member } => {
                    let owner = Owner::new(member, generations[member as usize]).unwrap();
                    match take(&queue, owner) {
                        Ok((number, taken)) => {
                            let attempts = if let Some(attempts) = oracle.behind.remove(&number) {
                                attempts
                            } else {
                                prop_assert!(oracle.behind.is_empty(), "what is behind comes first");
                                let now = |position| turn(position, slots, &queue);
                                let first = oracle.ready.values().copied().map(now).min().unwrap();
                                let position = now(oracle.ready.remove(&number).unwrap());
                                prop_assert_eq!(position, first, "in order");
                                for (_, writing, is_passed) in oracle.writing.values_mut() {
                                    *is_passed |= now(*writing) < position;
                                }
                                0
                            };
                            prop_assert_eq!(taken.attempts, attempts);
                            holdings.insert(number, taken);
                            oracle.taken.insert(number, (member, attempts));
                        }
                        Err(error) => {
                            prop_assert!(error.is_would_block());
                            prop_assert!(oracle.ready.is_empty() && oracle.behind.is_empty());
                        }
                    }
                }
                Op::Finish { nth } => {
                    let Some(&number) = oracle.taken.keys().nth(nth) else { continue };
                    oracle.taken.remove(&number);
                    queue.finish(holdings.remove(&number).unwrap()).unwrap();
                }
                Op::Requeue { nth } => {
                    let Some(&number) = oracle.taken.keys().nth(nth) else { continue };
                    let (_, attempts) = oracle.taken.remove(&number).unwrap();
                    queue.requeue(holdings.remove(&number).unwrap()).unwrap();
                    oracle.behind.insert(number, (attempts + 1).min(word::ATTEMPTS_MAX));
                }
                Op::Depart { member } => {
                    let generation = &mut generations[member as usize];
                    queue.departed(Owner::new(member, *generation).unwrap()).unwrap();
                    *generation += 1;
                    let lost: Vec<u64> = oracle.writing.iter().filter(|(_, w)| w.0 == member).map(|(n, _)| *n).collect();
                    for number in lost {
                        oracle.writing.remove(&number);
                        let refused = queue.commit(claims.remove(&number).unwrap(), 8).unwrap_err();
                        prop_assert_eq!(refused.kind(), ErrorKind::OwnerDied);
                    }
                    let lost: Vec<u64> = oracle.taken.iter().filter(|(_, t)| t.0 == member).map(|(n, _)| *n).collect();
                    for number in lost {
                        let (_, attempts) = oracle.taken.remove(&number).unwrap();
                        let refused = queue.finish(holdings.remove(&number).unwrap()).unwrap_err();
                        prop_assert_eq!(refused.kind(), ErrorKind::OwnerDied);
                        oracle.behind.insert(number, (attempts + 1).min(word::ATTEMPTS_MAX));
                    }
                }
            }
        }
    }

    /// Whatever lies in the memory, every operation ends, and with an answer.
    #[test]
    fn garbage_in_the_memory_is_survived(seed in prop::collection::vec(any::<u64>(), 1..64), flips in prop::collection::vec((0..512_usize, any::<u64>()), 0..32)) {
        let queue = queue(8, 48);
        for (index, value) in seed.iter().cycle().take(64).enumerate() {
            queue.cells.word(index * 8).store(*value, Ordering::Relaxed);
        }
        queue.control.tail.value.store(seed[0], Ordering::Relaxed);
        queue.control.head.value.store(seed[seed.len() / 2], Ordering::Relaxed);
        queue.control.behind.store(seed[seed.len() - 1], Ordering::Relaxed);
        for (place, value) in flips {
            let _ = put(&queue, owner(0), value);
            queue.cells.word(place & !7).store(value, Ordering::Relaxed);
            if let Ok(taken) = queue.take(owner(1)) {
                prop_assert!(taken.len_bytes <= 48);
                let _ = queue.finish(taken);
            }
            queue.departed(owner(2)).unwrap();
        }
    }
}
