//! Processes move money between the accounts of a shared map, and one of them is killed between taking and giving.
//!
//! ```text
//! cargo run --release -p tieline --example shm_map
//! ```
//!
//! The map lies in shared memory under a reader-writer lock. A change happens whole or not at all: the next who locks
//! finds the dead writer's unfinished change and takes it back, and no reader ever sees a sum that is wrong.

mod crew;

use std::time::{Duration, Instant};

use crew::{Outcome, Worker, name_of, role, say};
use tieline::shm::{Error, SharedArena, ShmMap};

type Accounts = ShmMap<u32, i64>;

const ACCOUNTS: u32 = 100;
const EACH: i64 = 1000;
const TRANSFERS: u32 = 20_000;

fn main() -> Outcome {
    match role() {
        Some((role, name)) => {
            let bank = SharedArena::open(name.as_str())?;
            match role.as_str() {
                "auditor" => audit(&bank),
                "clerk" => serve(&bank),
                _ => steal(&bank),
            }
        }
        None => lead(),
    }
}

fn lead() -> Outcome {
    let name = name_of("bank");
    let bank = SharedArena::create(name.as_str(), 1 << 20)?;
    bank.write()?.change(|change| {
        let accounts: Accounts = change.root_or_new()?;
        (0..ACCOUNTS).try_for_each(|account| accounts.insert(change, &account, &EACH).map(drop))
    })?;
    println!("{ACCOUNTS} accounts with {} in all; an auditor reads, two clerks transfer", sum(&bank)?);

    let mut auditor = Worker::start("auditor", &name)?;
    auditor.hear()?;
    let mut clerks = (0..2).map(|_| Worker::start("clerk", &name)).collect::<Outcome<Vec<_>>>()?;
    for clerk in &mut clerks {
        clerk.hear()?;
    }

    let mut thief = Worker::start("thief", &name)?;
    println!("  {}", thief.hear()?);
    thief.kill()?;
    let killed = Instant::now();
    let recoveries = bank.read_timeout(Duration::from_secs(10))?.usage().recoveries;
    let after = killed.elapsed().as_secs_f64() * 1e3;
    println!("killed process {} there; {after:.1} ms later the map can be read again", thief.id());
    println!("  unfinished changes taken back: {recoveries}");

    for mut clerk in clerks {
        println!("  {}", clerk.hear()?);
        clerk.finish()?;
    }
    // The word to go home: no account has this number otherwise.
    bank.write()?.change(|change| change.root_or_new::<Accounts>()?.insert(change, &u32::MAX, &0))?;
    println!("  {}", auditor.hear()?);
    auditor.finish()?;
    println!("the sum is {}", sum(&bank)?);
    bank.read()?.check()?;
    if recoveries != 1 || sum(&bank)? != i64::from(ACCOUNTS) * EACH {
        return Err("the bank has lost count".into());
    }
    Ok(())
}

/// Moves `amount` between two accounts; `between` is called when it is in neither.
fn transfer(bank: &SharedArena, from: u32, to: u32, amount: i64, between: impl FnOnce()) -> Result<(), Error> {
    bank.write()?.change(|change| {
        let accounts: Accounts = change.root_or_new()?;
        let balance = accounts.get(change, &from)?.unwrap_or(0);
        accounts.insert(change, &from, &(balance - amount))?;
        between();
        let balance = accounts.get(change, &to)?.unwrap_or(0);
        accounts.insert(change, &to, &(balance + amount))?;
        Ok(())
    })
}

fn sum(bank: &SharedArena) -> Result<i64, Error> {
    let arena = bank.read()?;
    let Some(accounts) = arena.root::<Accounts>()? else { return Ok(0) };
    accounts.iter(&arena)?.map(|entry| entry.map(|(_, balance)| balance)).sum()
}

fn serve(bank: &SharedArena) -> Outcome {
    say("ready");
    for number in 0..TRANSFERS {
        transfer(bank, number * 7 % ACCOUNTS, number * 13 % ACCOUNTS, i64::from(number % 50), || ())?;
    }
    say(&format!("a clerk made {TRANSFERS} transfers"));
    Ok(())
}

fn steal(bank: &SharedArena) -> Outcome {
    transfer(bank, 3, 4, 500, || {
        say("a third clerk has taken 500 from account 3 and not yet given it to account 4");
        std::thread::sleep(Duration::from_secs(60));
    })?;
    Err("it was to be killed".into())
}

fn audit(bank: &SharedArena) -> Outcome {
    say("ready");
    let mut count = 0_u32;
    loop {
        let sum = sum(bank)?;
        if sum != i64::from(ACCOUNTS) * EACH {
            return Err(format!("the sum is {sum}").into());
        }
        count += 1;
        let arena = bank.read()?;
        if arena.root::<Accounts>()?.is_some_and(|accounts| accounts.contains_key(&arena, &u32::MAX).unwrap_or(false)) {
            say(&format!("the auditor added it all up {count} times, and never found it wrong"));
            return Ok(());
        }
    }
}
