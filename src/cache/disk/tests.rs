//! The tier as a whole: what comes back, in what order things go, and what it makes of a folder.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// Four regions of two megabytes.
pub(super) const BOUND: u64 = 8 << 20;

pub(super) fn key(number: u64) -> Key {
    // Spread, as of a hash.
    let half = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&half.to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

/// Bytes that no other seed has, and no other page of them.
pub(super) fn body(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1;
    let mut page = Vec::with_capacity(4096);
    while page.len() < 4096 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        page.extend_from_slice(&state.to_le_bytes());
    }
    let mut body = Vec::with_capacity(length + 4096);
    while body.len() < length {
        page[..8].copy_from_slice(&(state ^ body.len() as u64).to_le_bytes());
        body.extend_from_slice(&page);
    }
    body.truncate(length);
    body.into()
}

pub(super) fn parts(body: &Bytes, size: usize) -> Vec<Bytes> {
    let starts = (0..body.len()).step_by(size);
    starts
        .map(|at| body.slice(at..(at + size).min(body.len())))
        .collect()
}

/// The whole body, in pieces of `most`.
pub(super) async fn read(found: &Found, most: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let piece = found.read(body.len() as u64, most).await?;
        assert!(piece.len() <= most);
        if piece.is_empty() {
            assert_eq!(body.len() as u64, found.body_length());
            return Ok(body);
        }
        body.extend_from_slice(&piece);
    }
}

pub(super) fn open(folder: &Path) -> Disk {
    Disk::open(folder, BOUND).unwrap()
}

/// Of all that the bound is for.
pub(super) fn regions_size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let regions =
        entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with("region."));
    regions.map(|entry| entry.metadata().unwrap().len()).sum()
}

async fn put(disk: &Disk, number: u64, seed: u64, length: usize) {
    let body = body(seed, length);
    let meta = Bytes::from(format!("{seed}"));
    while disk.put(key(number), meta.clone(), parts(&body, 10_000)) == Put::Full {
        disk.flush().await;
    }
}

async fn is_found(disk: &Disk, number: u64, seed: u64, length: usize) -> bool {
    let Some(found) = disk.find(&key(number)).await else {
        return false;
    };
    assert_eq!(found.meta(), seed.to_string().as_bytes());
    assert!(read(&found, 70_000).await.unwrap() == body(seed, length));
    true
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64, usize),
    Remove(u64),
    Find(u64),
    Flush,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![0..3_000usize, 60_000..70_000usize, 100_000..700_000usize];
    prop_oneof![
        8 => (0..20u64, length).prop_map(|(number, length)| Step::Put(number, length)),
        2 => (0..20u64).prop_map(Step::Remove),
        6 => (0..20u64).prop_map(Step::Find),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn it_is_a_map_that_may_forget_what_is_old(steps in proptest::collection::vec(step(), 1..150)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check_steps(steps));
    }
}

async fn check_steps(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = open(folder.path());
    let mut expected: HashMap<u64, (u64, usize)> = HashMap::new();
    let mut evicted = 0;
    for (seed, step) in (1..).zip(steps) {
        match step {
            Step::Put(number, length) => {
                put(&disk, number, seed, length).await;
                expected.insert(number, (seed, length));
            }
            Step::Remove(number) => {
                disk.remove(&key(number));
                expected.remove(&number);
            }
            Step::Find(number) => match expected.get(&number) {
                Some((seed, length)) => {
                    let is_found = is_found(&disk, number, *seed, *length).await;
                    let may_be_gone = evicted + disk.stats().evicted > 0;
                    assert!(is_found || may_be_gone, "{number}");
                }
                None => assert!(disk.find(&key(number)).await.is_none(), "{number}"),
            },
            Step::Flush => {
                disk.flush().await;
                assert!(regions_size(folder.path()) <= BOUND);
                assert!(disk.stats().bytes <= BOUND);
            }
            Step::Reopen => {
                disk.close();
                evicted += disk.stats().evicted;
                assert!(regions_size(folder.path()) <= BOUND);
                disk = open(folder.path());
            }
        }
    }
    assert_eq!(disk.stats().corrupt, 0);
}

#[tokio::test]
async fn any_part_of_a_body_can_be_read_before_and_after_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    for (number, length) in (0..).zip([0, 1, 65_536, 65_537, 300_000, 1_400_000]) {
        put(&disk, number, 7, length).await;
        let whole = body(7, length);
        let queued = disk.find(&key(number)).await.unwrap();
        disk.flush().await;
        let written = disk.find(&key(number)).await.unwrap();
        for found in [queued, written] {
            for (offset, most) in [(0, 1), (65_535, 2), (65_536, 1 << 20), (250_000, 9)] {
                let piece = found.read(offset, most).await.unwrap();
                let rest = &whole[whole.len().min(offset as usize)..];
                assert!(rest.starts_with(&piece) && piece.len() <= most);
                assert_eq!(piece.is_empty(), rest.is_empty());
            }
            assert!(found.read(u64::MAX, usize::MAX).await.unwrap().is_empty());
            assert!(read(&found, 3_333).await.unwrap() == whole);
        }
    }
}

#[tokio::test]
async fn what_is_asked_for_stays_and_what_is_not_goes_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    put(&disk, 0, 1, 50_000).await;
    put(&disk, 1, 1, 50_000).await;
    for number in 2..1_000 {
        put(&disk, number, 1, 50_000).await;
        disk.flush().await;
        assert!(regions_size(folder.path()) <= BOUND);
        assert!(is_found(&disk, 0, 1, 50_000).await, "{number}");
    }
    assert!(!disk.contains(&key(1)) && !disk.contains(&key(800)));
    assert!(disk.contains(&key(999)) && disk.contains(&key(920)));
    let stats = disk.stats();
    assert!(
        stats.carried > 4 && stats.evicted > 700 && stats.corrupt == 0,
        "{stats:?}"
    );
    disk.close();
    let disk = open(folder.path());
    assert!(is_found(&disk, 0, 1, 50_000).await && is_found(&disk, 999, 1, 50_000).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_reads_while_regions_go_reads_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(open(folder.path()));
    let reader = |first: u64| {
        let disk = disk.clone();
        tokio::spawn(async move {
            let (mut read_whole, mut number) = (0, first);
            while disk.contains(&key(u64::MAX)) || read_whole == 0 {
                number = (number + 7) % 100;
                let Some(found) = disk.find(&key(number)).await else {
                    continue;
                };
                let seed: u64 = std::str::from_utf8(found.meta()).unwrap().parse().unwrap();
                tokio::task::yield_now().await;
                // Who is overtaken by the whole log may get an error, and nothing else.
                if let Ok(whole) = read(&found, 65_536).await {
                    assert!(whole == body(seed, 150_000));
                    read_whole += 1;
                }
            }
            read_whole
        })
    };
    // For as long as this is there, which is being asked for and therefore stays.
    put(&disk, u64::MAX, 0, 10).await;
    let readers: Vec<_> = (0..3).map(reader).collect();
    for seed in 0..600 {
        put(&disk, seed % 100, seed, 150_000).await;
        disk.find(&key(u64::MAX)).await.unwrap();
    }
    disk.remove(&key(u64::MAX));
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    let stats = disk.stats();
    assert!(stats.evicted > 0 && stats.corrupt == 0, "{stats:?}");
}

#[tokio::test]
async fn what_was_found_outlives_the_object_and_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    put(&disk, 1, 1, 500_000).await;
    disk.flush().await;
    let found = disk.find(&key(1)).await.unwrap();
    put(&disk, 1, 2, 500_000).await;
    disk.remove(&key(1));
    for number in 10..40 {
        put(&disk, number, 1, 500_000).await;
    }
    disk.flush().await;
    assert!(disk.stats().evicted > 0);
    disk.close();
    assert!(read(&found, 65_536).await.unwrap() == body(1, 500_000));
    assert!(disk.find(&key(39)).await.is_none() && !disk.contains(&key(39)));
    assert_eq!(disk.put(key(1), Bytes::new(), Vec::new()), Put::Closed);
    assert!(disk.log_mark(b"late").await.is_err());
    assert!(!disk.contains(&key(1)));
}

#[tokio::test]
async fn who_reads_too_slowly_holds_no_more_than_a_share_of_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    let mut founds = Vec::new();
    for number in 0..60 {
        put(&disk, number, number, 500_000).await;
        disk.flush().await;
        if number < 12 {
            founds.push(disk.find(&key(number)).await.unwrap());
        }
    }
    let mut read_whole = Vec::new();
    for (number, found) in (0..).zip(&founds) {
        if let Ok(whole) = read(found, 65_536).await {
            assert!(whole == body(number, 500_000));
            read_whole.push(number);
        }
    }
    assert!(
        !read_whole.contains(&0) && read_whole.contains(&11),
        "{read_whole:?}"
    );
    assert_eq!(disk.stats().corrupt, 0);
}

#[tokio::test]
async fn what_does_not_fit_is_told_and_hides_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    for (meta, length, expected) in [
        (0, 1_500_000, Put::Queued),
        (0, 1_600_000, Put::TooLarge),
        (MOST_META, 10, Put::Queued),
        (MOST_META + 1, 10, Put::TooLarge),
    ] {
        put(&disk, 1, 1, 100).await;
        let meta = Bytes::from(vec![b'm'; meta]);
        let put = disk.put(key(1), meta.clone(), vec![body(2, length)]);
        assert_eq!(put, expected);
        disk.flush().await;
        match disk.find(&key(1)).await {
            Some(found) => assert!(read(&found, 99_999).await.unwrap() == body(2, length)),
            None => assert_eq!(expected, Put::TooLarge),
        }
        assert_eq!(disk.contains(&key(1)), expected == Put::Queued);
    }
    assert!(matches!(
        Disk::open(folder.path(), 1_000),
        Err(OpenError::TooSmall)
    ));
}

#[tokio::test]
async fn half_a_key_is_not_enough() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    put(&disk, 1, 1, 100).await;
    let mut other = key(1);
    other[15] ^= 1;
    assert!(disk.find(&other).await.is_none());
    disk.flush().await;
    assert!(disk.find(&other).await.is_none());
    assert!(
        is_found(&disk, 1, 1, 100).await,
        "it is not taken for damage"
    );
}

#[tokio::test]
async fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let disk = open(&path);
    assert!(matches!(Disk::open(&path, BOUND), Err(OpenError::Busy)));
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
    put(&disk, 1, 1, 100).await;
    disk.flush().await;
    assert_eq!(
        (mode(""), mode("lock"), mode("marks")),
        (0o700, 0o600, 0o600)
    );
    assert_eq!(mode("region.0000000000000001"), 0o600);
    disk.close();
    disk.close();
    let disk = open(&path);
    assert!(is_found(&disk, 1, 1, 100).await);
}

#[tokio::test]
async fn marks_outlive_the_process_and_their_loss_drops_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let disk = open(path);
    put(&disk, 1, 1, 100).await;
    let (first, second) = tokio::join!(disk.log_mark(b"one"), disk.log_mark(b"two"));
    assert!(first.is_ok() && second.is_ok());
    let since = disk.marks_position();
    disk.log_mark(b"three").await.unwrap();
    disk.rewrite_marks(since, vec![b"both".to_vec()])
        .await
        .unwrap();
    assert!(disk.rewrite_marks(since, Vec::new()).await.is_err());
    disk.close();
    let disk = open(path);
    assert_eq!(disk.take_marks(), [&b"both"[..], b"three"]);
    assert_eq!(disk.take_marks(), Vec::<Vec<u8>>::new());
    assert!(is_found(&disk, 1, 1, 100).await);
    disk.close();
    for damage in ["flip", "remove"] {
        let disk = open(path);
        put(&disk, 1, 1, 100).await;
        disk.close();
        let marks = path.join("marks");
        match damage {
            "flip" => {
                let mut bytes = fs::read(&marks).unwrap();
                bytes[20] ^= 1;
                fs::write(&marks, bytes).unwrap();
            }
            _ => fs::remove_file(&marks).unwrap(),
        }
        let disk = open(path);
        assert_eq!(disk.stats().objects, 0, "{damage}");
        assert!(disk.take_marks().is_empty() && !disk.contains(&key(1)));
        disk.log_mark(b"anew").await.unwrap();
        disk.close();
    }
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("notes.txt"), "mine").unwrap();
    fs::write(path.join("region.0000000000000001"), "mine as well").unwrap();
    fs::write(path.join("region.1"), "").unwrap();
    std::os::unix::fs::symlink("notes.txt", path.join("region.0000000000000002")).unwrap();
    fs::create_dir(path.join("region.0000000000000003")).unwrap();
    let before = fs::read_dir(path).unwrap().count();
    // Ours, but never begun, and of another version.
    fs::write(path.join("region.0000000000000004"), "").unwrap();
    fs::write(path.join("region.0000000000000005"), "NGcache\n\x07").unwrap();
    let disk = open(path);
    assert_eq!(fs::read_dir(path).unwrap().count(), before + 2);
    put(&disk, 1, 1, 100).await;
    disk.close();
    assert_eq!(fs::read(path.join("notes.txt")).unwrap(), b"mine");
    let disk = open(path);
    assert!(is_found(&disk, 1, 1, 100).await);
}

#[tokio::test]
async fn a_smaller_bound_keeps_what_is_newest() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    for number in 0..60 {
        put(&disk, number, 1, 100_000).await;
    }
    disk.close();
    for bound in [BOUND / 2, BOUND / 8] {
        let disk = Disk::open(folder.path(), bound).unwrap();
        put(&disk, 99, 1, 100).await;
        disk.flush().await;
        assert!(regions_size(folder.path()) <= bound);
        assert!(is_found(&disk, 99, 1, 100).await && !disk.contains(&key(0)));
        disk.close();
    }
}

#[tokio::test]
async fn the_tier_goes_on_without_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let disk = open(&path);
    put(&disk, 1, 1, 100_000).await;
    disk.flush().await;
    fs::remove_dir_all(&path).unwrap();
    for number in 2..60 {
        put(&disk, number, 1, 100_000).await;
        disk.flush().await;
    }
    let stats = disk.stats();
    assert!(
        stats.dropped_failed > 0 && stats.write_errors > 0,
        "{stats:?}"
    );
    assert!(is_found(&disk, 1, 1, 100_000).await, "what is open is read");
    assert!(!disk.contains(&key(59)));
    disk.remove(&key(1));
    disk.flush().await;
    let removals = disk.stats().dropped_removals;
    assert!(removals > stats.dropped_removals, "{removals}");
    disk.close();
}

#[tokio::test]
async fn a_body_that_changes_on_the_disk_is_not_given_out() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path());
    for (number, length) in [(1, 1_000), (2, 300_000)] {
        put(&disk, number, 1, length).await;
    }
    disk.flush().await;
    let path = folder.path().join("region.0000000000000001");
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"X", 700).unwrap();
    file.write_all_at(b"X", 250_000).unwrap();
    assert!(disk.find(&key(1)).await.is_none());
    let found = disk.find(&key(2)).await.unwrap();
    assert!(read(&found, 65_536).await.is_err());
    assert!(!disk.contains(&key(1)) && !disk.contains(&key(2)));
    assert_eq!(disk.stats().corrupt, 2);
}
