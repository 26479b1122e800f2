//! A monitor: an account that several processes pay into and draw from. Who draws waits until there is enough.
//!
//! Run with `cargo run -p tieline-shm --example monitor`.

mod classics;

use classics::{Outcome, finish, role, segment, start};
use tieline_shm::sync::{Monitor, MutexOptions};

/// The one condition: money came in.
const PAID_IN: usize = 0;

const PAYMENTS: u64 = 600;
const PAYERS: u64 = 3;

/// The balance of the account.
type Account = Monitor<u64, 1>;

fn pay_in(account: &Account) -> tieline_shm::Result<()> {
    for _ in 0..PAYMENTS {
        let mut balance = account.lock()?;
        *balance += 10;
        balance.notify_all(PAID_IN);
    }
    Ok(())
}

/// Draws `sum` so often that both who draw empty the account between them.
fn draw(account: &Account, sum: u64) -> tieline_shm::Result<()> {
    for _ in 0..PAYERS * PAYMENTS * 10 / 2 / sum {
        let mut balance = account.when(PAID_IN, |balance| *balance >= sum)?;
        *balance -= sum;
    }
    Ok(())
}

fn main() -> Outcome {
    if let Some((role, number)) = role() {
        let account = Account::from_fd(segment(0)?)?;
        if role == "payer" {
            pay_in(&account)?;
        } else {
            draw(&account, [30, 50][number])?;
        }
        return Ok(());
    }
    let account = Account::anonymous(0, &MutexOptions::new().name("account"))?;
    let crowd =
        |role, count| (0..count).map(|number| start(role, number, &[account.as_fd()])).collect::<Outcome<Vec<_>>>();
    let drawers = crowd("drawer", 2)?;
    finish(crowd("payer", PAYERS as usize)?)?;
    finish(drawers)?;
    let left = *account.lock().map_err(tieline_shm::Error::from)?;
    assert_eq!(left, 0, "what was paid in was drawn");
    println!("{PAYERS} processes paid in, 2 drew, and the account was never overdrawn");
    Ok(())
}
