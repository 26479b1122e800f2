//! A monitor: an account that several processes pay into and draw from. Who draws waits until there is enough.
//! One payer is killed when it has paid, before it could tell: those who wait learn of the money all the same.
//!
//! Run with `cargo run -p tieline-shm --example monitor`.

mod classics;

use classics::{Outcome, finish, role, segment, start};
use tieline_shm::sync::{LockError, Monitor, MonitorGuard, MutexOptions};

/// The one condition: money came in.
const PAID_IN: usize = 0;

const PAYMENTS: u64 = 600;
const PAYERS: u64 = 3;

/// The balance of the account.
type Account = Monitor<u64, 1>;

/// The account, for one payment or one draught.
type Balance<'a> = MonitorGuard<'a, u64, 1>;

/// Whoever died left a balance of before or after its payment: both are right. To say so wakes all who wait.
fn repair(balance: &Balance<'_>) {
    println!("a payer died inside; the balance is {}", **balance);
    balance.mark_consistent();
}

fn locked(account: &Account) -> tieline_shm::Result<Balance<'_>> {
    match account.lock() {
        Ok(balance) => Ok(balance),
        Err(LockError::OwnerDied(balance)) => {
            repair(&balance);
            Ok(balance)
        }
        Err(LockError::Failed(error)) => Err(error),
    }
}

fn locked_when_there_is(account: &Account, sum: u64) -> tieline_shm::Result<Balance<'_>> {
    loop {
        match account.when(PAID_IN, |balance| *balance >= sum) {
            Ok(balance) => return Ok(balance),
            Err(LockError::OwnerDied(balance)) => repair(&balance),
            Err(LockError::Failed(error)) => return Err(error),
        }
    }
}

fn pay_in(account: &Account, dies: bool) -> tieline_shm::Result<()> {
    for _ in 0..PAYMENTS {
        let mut balance = locked(account)?;
        *balance += 10;
        if dies {
            std::process::abort();
        }
        balance.notify_all(PAID_IN);
    }
    Ok(())
}

/// Draws `sum` so often that both who draw take what the payers who live have paid.
fn draw(account: &Account, sum: u64) -> tieline_shm::Result<()> {
    for _ in 0..PAYERS * PAYMENTS * 10 / 2 / sum {
        *locked_when_there_is(account, sum)? -= sum;
    }
    Ok(())
}

fn main() -> Outcome {
    if let Some((role, number)) = role() {
        let account = Account::from_fd(segment(0)?)?;
        if role == "drawer" {
            draw(&account, [30, 50][number])?;
        } else {
            pay_in(&account, role == "unlucky")?;
        }
        return Ok(());
    }
    let account = Account::anonymous(0, &MutexOptions::new().name("account"))?;
    let crowd =
        |role, count| (0..count).map(|number| start(role, number, &[account.as_fd()])).collect::<Outcome<Vec<_>>>();
    let drawers = crowd("drawer", 2)?;
    let status = start("unlucky", 0, &[account.as_fd()])?.wait()?;
    assert!(!status.success(), "it was to die");
    finish(crowd("payer", PAYERS as usize)?)?;
    finish(drawers)?;
    assert_eq!(*locked(&account)?, 10, "what the dead one paid is left");
    println!("{PAYERS} processes paid in, 2 drew, and the account was never overdrawn");
    Ok(())
}
