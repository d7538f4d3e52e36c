//! How soon a disk cache with a million objects is there, what its index takes in memory, and what it costs to find one.
//! Takes a gigabyte and a half in the folder for temporary files, or in the one that is given as an argument.

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use northgate::cache::disk::{Disk, Key, Put};

const OBJECTS: u64 = 1_000_000;
const ASKED: u64 = 100_000;
const BOUND: u64 = 8 << 30;

fn key(number: u64) -> Key {
    let half = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (u128::from(half) | u128::from(number) << 64).to_le_bytes()
}

fn main() {
    // Criterion's own arguments are of no use here.
    let given = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let folder = match given {
        Some(folder) => tempfile::tempdir_in(PathBuf::from(folder)),
        None => tempfile::tempdir(),
    };
    let folder = folder.expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let disk = Disk::open(folder.path(), BOUND).expect("it is new");
        let (meta, body) = (vec![1; 300], Bytes::from(vec![7; 1024]));
        let meta = Bytes::from(meta);
        let began = Instant::now();
        for number in 0..OBJECTS {
            while disk.put(key(number), meta.clone(), vec![body.clone()]) == Put::Full {
                disk.flush().await;
            }
        }
        disk.flush().await;
        println!("written in {:?}", began.elapsed());
        disk.close();

        let began = Instant::now();
        let disk = Disk::open(folder.path(), BOUND).expect("it was closed");
        println!("opened in {:?}", began.elapsed());
        let stats = disk.stats();
        assert_eq!(stats.objects, OBJECTS);
        let each = stats.index_bytes as f64 / OBJECTS as f64;
        println!("an object takes {each:.1} bytes in the index");

        let began = Instant::now();
        for number in 0..ASKED {
            let found = disk.find(&key(number * 7919 % OBJECTS)).await;
            let found = found.expect("it was written");
            assert_eq!(found.read(0, 1 << 16).await.expect("it is whole"), body);
        }
        println!(
            "found and read in {:?} each",
            began.elapsed() / ASKED as u32
        );

        let began = Instant::now();
        let there = (0..OBJECTS).filter(|number| disk.contains(&key(OBJECTS + number)));
        assert_eq!(there.count(), 0);
        println!("a miss in {:?}", began.elapsed() / OBJECTS as u32);
        disk.close();
    });
}
