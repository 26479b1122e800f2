//! A camera publishes images of 8 MiB to three processes, and one of them is killed with an image in its hands.
//!
//! ```text
//! cargo run --release -p tieline --example shm_camera
//! ```
//!
//! Nobody copies an image: the camera writes it where the others read it. All memory is there before the first kill, and
//! what the dead process held is used again.

mod crew;

use std::time::{Duration, Instant};

use crew::{Outcome, Worker, name_of, role, say};
use tieline::shm::topic::{Policy, Publisher, Topic};
use tieline::shm::{ErrorKind, ShmSafe};

const PIXELS: usize = 8 << 20;
/// The camera keeps four images and writes the next, and each who watches may have an older one in its hands.
const MEMORY_MAX: usize = 5 + 3;
const TIME: Duration = Duration::from_millis(2400);

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Image {
    number: u64,
    pixels: [u8; PIXELS],
}

fn main() -> Outcome {
    match role() {
        Some((role, name)) => watch(&role, &name),
        None => film(),
    }
}

fn film() -> Outcome {
    let name = name_of("camera");
    let topic = Topic::<Image>::create(name.as_str())?;
    let camera = topic.publisher()?;
    let mut watchers = Vec::new();
    for role in ["display", "recorder", "detector"] {
        let mut watcher = Worker::start(role, &name)?;
        watcher.hear()?;
        watchers.push(watcher);
    }
    let mut detector = watchers.pop().ok_or("there are three")?;
    let count = camera.subscribers();
    println!(
        "8 MiB images to {count} processes: a display that wants the newest, a recorder and a detector that want all"
    );

    let start = Instant::now();
    let mut number = 0;
    shoot(&camera, &mut number, start, TIME / 2)?;
    let memory_before = camera.committed_payloads();
    println!("  {:.0} images a second; memory for {memory_before} images in all", rate(number, start.elapsed()));

    // It holds an image, and the camera would wait for it for ever.
    detector.kill()?;
    let killed = Instant::now();
    while camera.subscribers() > 2 {
        shoot(&camera, &mut number, start, Duration::ZERO)?;
    }
    println!("killed the detector ({}); the camera knew after {}", detector.id(), in_ms(killed.elapsed()));

    let (before, since) = (number, Instant::now());
    shoot(&camera, &mut number, start, TIME)?;
    let memory = camera.committed_payloads();
    println!("  {:.0} images a second; memory for {memory} images in all", rate(number - before, since.elapsed()));

    drop(camera);
    println!("{number} images published; the camera left:");
    for mut watcher in watchers {
        println!("  {}", watcher.hear()?);
        watcher.finish()?;
    }
    if memory > MEMORY_MAX {
        return Err(format!("the memory grew from {memory_before} to {memory} images").into());
    }
    Ok(())
}

/// Publishes one image, and more until `time` has passed since `start`.
fn shoot(camera: &Publisher<Image>, number: &mut u64, start: Instant, time: Duration) -> Outcome {
    loop {
        let mut image = camera.loan()?;
        image.number = *number;
        image.pixels.fill(shade(*number));
        image.send()?;
        *number += 1;
        if start.elapsed() >= time {
            return Ok(());
        }
    }
}

fn watch(role: &str, name: &str) -> Outcome {
    // The display wants the newest image only; for the others the camera waits.
    let policy = if role == "display" { Policy::SkipToLatest } else { Policy::Block };
    let mut images = Topic::<Image>::open(name)?.subscriber_options().policy(policy).open()?;
    say("ready");
    let (mut count, mut longest) = (0_u64, Duration::ZERO);
    let (mut start, mut last) = (None, Instant::now());
    loop {
        let image = match images.recv() {
            Ok(image) => image,
            Err(error) if error.kind() == ErrorKind::PeerGone => break,
            Err(error) => return Err(error.into()),
        };
        // A byte of each page: all of them would be a measurement of the memory.
        let mut pixels = image.pixels.iter().step_by(4096).chain(image.pixels.last());
        if !pixels.all(|pixel| *pixel == shade(image.number)) {
            return Err(format!("image {} is not whole", image.number).into());
        }
        if start.is_some() {
            longest = longest.max(last.elapsed());
        }
        last = Instant::now();
        start.get_or_insert(last);
        count += 1;
    }
    let told = last.elapsed();
    let lost = images.counters().lost;
    let rate = rate(count, start.map_or(Duration::ZERO, |start| last - start));
    say(&format!(
        "{role:8} saw {count} whole images ({rate:.0} a second), skipped {lost}, waited {} for one at most, \
         and was told of the end {} after its last",
        in_ms(longest),
        in_ms(told),
    ));
    Ok(())
}

fn shade(number: u64) -> u8 {
    (number % 251) as u8
}

fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

fn in_ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
