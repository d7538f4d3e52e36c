//! What is left when the process stops in the middle, and when files are not what they were.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::tests::{BOUND, body, key, open, parts, read, regions_size};
use super::*;

/// Says to the test binary, started once more, what to do instead of testing, and in which folder.
const CHILD: &str = "NORTHGATE_TEST_DISK_CHILD";
const FOLDER: &str = "NORTHGATE_TEST_DISK_FOLDER";
const KEYS: u64 = 60;

fn length(seed: u64) -> usize {
    [0, 900, 20_000, 65_536, 200_000][seed as usize % 5]
}

async fn put(disk: &Disk, seed: u64) {
    let meta = Bytes::from(seed.to_string());
    let parts = parts(&body(seed, length(seed)), 50_000);
    while disk.put(key(seed % KEYS), meta.clone(), parts.clone()) == Put::Full {
        disk.flush().await;
    }
}

/// How many of them are there; each as it was written, of its own key, or not at all.
async fn check_objects(disk: &Disk) -> usize {
    let mut there = 0;
    for number in 0..KEYS {
        let Some(found) = disk.find(&key(number)).await else {
            continue;
        };
        let seed: u64 = std::str::from_utf8(found.meta()).unwrap().parse().unwrap();
        assert_eq!(seed % KEYS, number);
        if let Ok(whole) = read(&found, 65_536).await {
            assert!(whole == body(seed, length(seed)), "{number}");
            there += 1;
        }
    }
    there
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A number by chance, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % most
    }
}

#[tokio::test]
async fn a_log_cut_anywhere_has_what_is_before_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    let mut ends = Vec::new();
    for number in 0..5 {
        let body = body(number, 10 + number as usize * 30);
        disk.put(key(number), Bytes::from_static(b"meta"), vec![body]);
        disk.flush().await;
        ends.push(disk.stats().bytes as usize);
    }
    let copied = tempfile::tempdir().unwrap();
    copy(folder.path(), copied.path());
    let path = copied.path().join("region.0000000000000001");
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), *ends.last().unwrap());
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let disk = open(copied.path());
        for number in 0..5u64 {
            let found = disk.find(&key(number)).await;
            let is_there = ends[number as usize] <= length;
            assert_eq!(found.is_some(), is_there, "{number} of {length}");
            if let Some(found) = found {
                let expected = body(number, 10 + number as usize * 30);
                assert!(read(&found, 1000).await.unwrap() == expected);
            }
        }
        // It goes on behind the cut.
        disk.put(key(9), Bytes::new(), vec![body(9, 99)]);
        disk.close();
        let disk = open(copied.path());
        assert!(disk.contains(&key(9)), "{length}");
        disk.close();
        fs::remove_file(&path).unwrap_or_default();
        for left in fs::read_dir(copied.path()).unwrap().map(Result::unwrap) {
            if left.file_name().to_str().unwrap().starts_with("region") {
                fs::remove_file(left.path()).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn what_was_cut_off_never_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    for number in 0..5 {
        disk.put(key(number), Bytes::new(), vec![body(number, 500)]);
    }
    disk.flush().await;
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path());
    let path = crashed.path().join("region.0000000000000001");
    let mut bytes = fs::read(&path).unwrap();
    // In the head of the second.
    let record = (bytes.len() - record::HEADER) / 5;
    bytes[record::HEADER + record + 20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let disk = open(crashed.path());
    assert!(disk.contains(&key(0)) && !disk.contains(&key(2)));
    // Another in its place, behind which those would go on that were there before.
    disk.put(key(9), Bytes::new(), vec![body(9, 500)]);
    disk.flush().await;
    let again = tempfile::tempdir().unwrap();
    copy(crashed.path(), again.path());
    let disk = open(again.path());
    let there: Vec<u64> = (0..10).filter(|n| disk.contains(&key(*n))).collect();
    assert_eq!(there, [0, 9]);
}

#[tokio::test]
async fn whatever_happens_to_the_files_nothing_wrong_is_given_out() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    for seed in 0..150 {
        put(&disk, seed).await;
    }
    disk.flush().await;
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path());
    disk.close();
    let mut dice = Dice(1);
    let mut there = 0;
    for round in 0..60 {
        let from = [&folder, &crashed][round % 2].path();
        let copied = tempfile::tempdir().unwrap();
        copy(from, copied.path());
        let entries = fs::read_dir(copied.path()).unwrap().map(Result::unwrap);
        let regions = entries.map(|entry| entry.path());
        let mut regions: Vec<_> = regions
            .filter(|path| path.to_str().unwrap().contains("region."))
            .collect();
        regions.sort();
        for _ in 0..=round / 4 {
            let path = &regions[dice.below(regions.len())];
            let mut bytes = fs::read(path).unwrap();
            if bytes.is_empty() {
                continue;
            }
            match dice.below(3) {
                0 => {
                    let bit = dice.below(bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                1 => bytes.truncate(dice.below(bytes.len())),
                // A page that never came to the disk.
                _ => {
                    let page = dice.below(bytes.len().div_ceil(4096)) * 4096;
                    let end = (page + 4096).min(bytes.len());
                    bytes[page..end].fill(0);
                }
            }
            fs::write(path, bytes).unwrap();
        }
        let disk = open(copied.path());
        there += check_objects(&disk).await;
        put(&disk, 3).await;
        disk.close();
        let disk = open(copied.path());
        assert!(check_objects(&disk).await > 0);
    }
    assert!(there > 600, "{there}: most of it is not touched");
}

#[tokio::test]
async fn what_cannot_be_opened_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    put(&disk, 1).await;
    disk.close();
    // Nobody writes to a program that runs, whoever it is.
    let program = folder.path().join("region.0000000000000002");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut child = std::process::Command::new(&program)
        .arg("60")
        .spawn()
        .unwrap();
    let opened = Disk::open(folder.path(), BOUND).map(drop);
    child.kill().unwrap();
    child.wait().unwrap();
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("region.0000000000000002"), "{error}");
    let disk = open(folder.path());
    assert_eq!(check_objects(&disk).await, 1);
}

fn child(what: &str, folder: &Path) -> Child {
    // SIGXFSZ is to be an error and not the end; it stays ignored in what is executed.
    let script = match what {
        "limited" => "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\"",
        _ => "exec \"$0\" \"$@\"",
    };
    Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg(format!(
            "{}::in_a_child",
            module_path!().split_once("::").unwrap().1
        ))
        .env(CHILD, what)
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Does nothing by itself.
#[tokio::test]
async fn in_a_child() {
    let (Ok(what), Some(folder)) = (std::env::var(CHILD), std::env::var_os(FOLDER)) else {
        return;
    };
    let disk = open(Path::new(&folder));
    match what.as_str() {
        "write" => write_for_ever(&disk).await,
        _ => write_what_does_not_fit(&disk).await,
    }
}

async fn write_for_ever(disk: &Disk) {
    let marks = disk.take_marks();
    let last = marks.last().map_or(0, |mark| {
        std::str::from_utf8(mark).unwrap().parse().unwrap()
    });
    for seed in last + 1.. {
        put(disk, seed).await;
        if seed % 3 == 0 {
            disk.find(&key(seed * 7 % KEYS)).await;
        }
        if seed % 5 == 0 {
            disk.remove(&key(seed * 3 % KEYS));
        }
        if seed % 4 == 0 {
            disk.log_mark(seed.to_string().as_bytes()).await.unwrap();
            println!("\nlogged {seed}");
        }
        if seed % 64 == 0 {
            let since = disk.marks_position();
            let all = vec![seed.to_string().into_bytes()];
            disk.rewrite_marks(since, all).await.unwrap();
        }
    }
}

#[tokio::test]
async fn killed_at_any_moment_it_serves_no_torn_object_and_loses_no_mark() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(std::process::id().into());
    let mut there = 0;
    for round in 0..20 {
        let mut child = child("write", folder.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut acknowledged, mut left) = (0u64, dice.below(40));
        for line in lines {
            let line = line.unwrap();
            let Some(seed) = line.strip_prefix("logged ") else {
                continue;
            };
            acknowledged = seed.parse().unwrap();
            if left == 0 {
                // Somewhere in the middle of what comes next.
                std::thread::sleep(Duration::from_micros(dice.below(5_000) as u64));
                child.kill().unwrap();
            }
            left = left.saturating_sub(1);
        }
        child.wait().unwrap();
        assert!(acknowledged > 0, "round {round}: it has not come so far");
        assert!(regions_size(folder.path()) <= BOUND);
        let disk = open(folder.path());
        let last = disk.take_marks().pop().unwrap();
        let last: u64 = std::str::from_utf8(&last).unwrap().parse().unwrap();
        assert!(last >= acknowledged, "{last} of {acknowledged}");
        there += check_objects(&disk).await;
        assert_eq!(disk.stats().corrupt, 0, "what is not whole was cut off");
        disk.close();
    }
    assert!(there > 20 * KEYS as usize / 4, "{there}");
}

/// No file may be longer than half a megabyte, or the disk is smaller than the bound.
async fn write_what_does_not_fit(disk: &Disk) {
    for seed in 0..KEYS {
        put(disk, seed).await;
        disk.flush().await;
    }
    let stats = disk.stats();
    let there = check_objects(disk).await;
    assert_eq!((stats.corrupt, stats.read_errors), (0, 0));
    println!(
        "\nwritten {} failed {} there {there}",
        stats.writes, stats.dropped_failed
    );
    disk.close();
}

#[tokio::test]
async fn a_disk_that_takes_no_more_makes_misses() {
    let folder = tempfile::tempdir().unwrap();
    let child = child("limited", folder.path());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let line = said.lines().find(|line| line.starts_with("written "));
    let numbers: Vec<usize> = line
        .unwrap_or_else(|| panic!("{said}"))
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!(
        numbers[0] > 3 && numbers[1] > 40 && numbers[2] > 3,
        "{numbers:?}"
    );
    let disk = open(folder.path());
    assert_eq!(check_objects(&disk).await, numbers[2]);
}
