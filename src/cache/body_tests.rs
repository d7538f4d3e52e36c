use proptest::prelude::*;
use tokio::runtime::Builder;

use super::*;

async fn all(mut reader: Reader) -> (Vec<u8>, Result<(), Broken>) {
    let mut bytes = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some(part)) => bytes.extend_from_slice(&part),
            Ok(None) => return (bytes, Ok(())),
            Err(broken) => return (bytes, Err(broken)),
        }
    }
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_time().build();
    let limit = std::time::Duration::from_secs(20);
    let bounded = async { tokio::time::timeout(limit, future).await.expect("in time") };
    runtime.unwrap().block_on(bounded)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whoever_reads_gets_what_was_written(
        sizes in proptest::collection::vec(prop_oneof![1usize..20, 5000usize..12_000, 60_000usize..90_000], 0..12),
        from in 0u64..30_000,
        is_broken: bool,
    ) {
        let mut written = Vec::new();
        let budget = Arc::new(Budget::new(1 << 30));
        let (mut writer, body) = Body::begin(&budget);
        run(async {
            let early = tokio::spawn(all(body.read_from(0).unwrap()));
            let beyond = tokio::spawn(all(body.read_from(from).unwrap()));
            for (place, size) in sizes.iter().enumerate() {
                let part: Vec<u8> = (0..*size).map(|at| (at * 7 + place) as u8).collect();
                writer.push(&Bytes::from(part.clone())).unwrap();
                written.extend(part);
                if place % 3 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            let middle = tokio::spawn(all(body.read_from(0).unwrap()));
            match is_broken {
                true => drop(writer),
                false => writer.finish(),
            }
            let end = if is_broken { Err(Broken) } else { Ok(()) };
            assert_eq!(body.is_whole(), !is_broken);
            let rest = written.get(from as usize..).unwrap_or_default();
            for (reader, expected) in [(early, &written[..]), (middle, &written[..]), (beyond, rest)] {
                let (bytes, ended) = reader.await.unwrap();
                assert_eq!(ended, end);
                assert!(bytes == expected);
            }
            let (bytes, ended) = all(body.read_from(0).unwrap()).await;
            assert!(bytes == written && ended == end);
        });
        prop_assert!(budget.used() >= written.len() as u64);
        drop(body);
        prop_assert_eq!(budget.used(), 0);
    }
}

#[test]
fn what_has_no_room_is_not_taken() {
    let budget = Arc::new(Budget::new(100));
    let (mut writer, body) = Body::begin(&budget);
    writer.push(&Bytes::from(vec![1; 90])).unwrap();
    assert_eq!(writer.push(&Bytes::from(vec![1; 20])), Err(NoRoom));
    assert_eq!((body.length(), budget.used()), (90, 90));
    writer.finish();
    assert_eq!(body.in_one().map(|it| it.len()), Some(90));
    drop(body);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_is_let_go_waits_for_its_readers_and_keeps_a_window() {
    const PART: usize = 64 * 1024;
    let budget = Arc::new(Budget::new(1));
    let (mut writer, body) = Body::begin(&budget);
    let mut reader = body.read_from(0).unwrap();
    writer.let_go();
    run(async {
        let writing = tokio::spawn(async move {
            for number in 0..64u8 {
                writer.pass(&Bytes::from(vec![number; PART])).await.unwrap();
            }
            writer.finish();
        });
        let mut read = 0;
        while let Some(part) = reader.next().await.unwrap() {
            assert!(part.iter().all(|byte| usize::from(*byte) == read / PART));
            read += part.len();
            assert!(
                budget.used() <= WINDOW + 2 * (PART as u64 + OVERHEAD),
                "{}",
                budget.used()
            );
            tokio::task::yield_now().await;
        }
        assert_eq!(read, 64 * PART);
        writing.await.unwrap();
    });
    // Nobody begins to read it, or takes its end for all of it.
    assert!(body.in_one().is_none() && body.read_from(0).is_none());
}

/// One who reads nothing ends for the others' sake, and never as if all of it had come. Alone it is waited for.
#[tokio::test(start_paused = true)]
async fn who_holds_others_up_is_left_behind() {
    const PART: usize = 64 * 1024;
    for others in [0, 1, 2] {
        let (mut writer, body) = Body::begin(&Arc::new(Budget::new(1)));
        let mut slow = body.read_from(0).unwrap();
        let others: Vec<_> = (0..others)
            .map(|_| tokio::spawn(all(body.read_from(0).unwrap())))
            .collect();
        writer.let_go();
        let began = Instant::now();
        let writing = tokio::spawn(async move {
            for number in 0..64u8 {
                writer.pass(&Bytes::from(vec![number; PART])).await.unwrap();
            }
            writer.finish();
        });
        if others.is_empty() {
            tokio::time::sleep(10 * PATIENCE).await;
            assert!(!writing.is_finished(), "nobody else waits");
            assert_eq!(all(slow).await.0.len(), 64 * PART);
            writing.await.unwrap();
            continue;
        }
        writing.await.unwrap();
        assert!((PATIENCE..2 * PATIENCE).contains(&began.elapsed()));
        for other in others {
            let (bytes, ended) = other.await.unwrap();
            assert_eq!((bytes.len(), ended), (64 * PART, Ok(())));
        }
        assert_eq!(slow.next().await, Err(Broken));
    }
}

/// Who is slow and reads on is waited for, as long as each window takes no longer than others have patience for.
#[tokio::test(start_paused = true)]
async fn who_is_slow_and_reads_on_is_waited_for() {
    const PART: usize = 64 * 1024;
    let (mut writer, body) = Body::begin(&Arc::new(Budget::new(1)));
    let (mut slow, fast) = (body.read_from(0).unwrap(), body.read_from(0).unwrap());
    let fast = tokio::spawn(all(fast));
    writer.let_go();
    let writing = tokio::spawn(async move {
        for number in 0..64u8 {
            writer.pass(&Bytes::from(vec![number; PART])).await.unwrap();
        }
        writer.finish();
    });
    let mut read = 0;
    while let Some(part) = slow.next().await.unwrap() {
        read += part.len();
        tokio::time::sleep(PATIENCE / 16).await;
    }
    writing.await.unwrap();
    assert_eq!((read, fast.await.unwrap().0.len()), (64 * PART, 64 * PART));
}

#[test]
fn nobody_writes_for_nobody() {
    let budget = Arc::new(Budget::new(1 << 20));
    let (mut writer, body) = Body::begin(&budget);
    let reader = body.read_from(0).unwrap();
    writer.let_go();
    run(async move {
        writer.pass(&Bytes::from(vec![1; 10_000])).await.unwrap();
        let waiting = tokio::spawn(async move {
            loop {
                if writer.pass(&Bytes::from(vec![1; 100_000])).await.is_err() {
                    return;
                }
            }
        });
        tokio::task::yield_now().await;
        drop(reader);
        waiting.await.unwrap();
    });
}

#[test]
fn who_comes_at_its_very_end_finds_its_beginning() {
    let budget = Arc::new(Budget::new(1 << 20));
    for _ in 0..2000 {
        let (mut writer, body) = Body::begin(&budget);
        writer.push(&Bytes::from_static(b"all of it")).unwrap();
        let finishing = std::thread::spawn(move || writer.finish());
        while !body.is_whole() {
            assert!(body.read_from(0).is_some());
        }
        finishing.join().unwrap();
        assert!(body.in_one().is_some());
    }
}

/// A body of so many parts of one size keeps no more than it was charged for.
#[test]
fn what_is_kept_is_what_is_charged() {
    for (size, count) in [
        (4096, 8),
        (4096, 9),
        (1, 33_000),
        (700, 150),
        (8191, 9),
        (5000, 40),
    ] {
        let budget = Arc::new(Budget::new(1 << 30));
        let (mut writer, mut body) = Body::begin(&budget);
        for _ in 0..count {
            writer.push(&Bytes::from(vec![7; size])).unwrap();
        }
        writer.finish();
        let length = body.length();
        assert_eq!(length, (size * count) as u64);
        assert!(budget.used() <= length + (length / BLOCK as u64 + 1) * OVERHEAD);
        let body = Arc::get_mut(&mut body).expect("nobody else has it");
        for (_, part) in body.whole.take().expect("its end") {
            let length = part.len();
            let mut part = part.try_into_mut().expect("nobody else holds its room");
            let has_more = part.try_reclaim(length / EXACT + 1);
            assert!(!has_more, "{size} {count}: more is kept than {length}");
        }
    }
}

#[test]
fn whoever_writes_hears_who_begins_to_read() {
    let (_writer, body) = Body::begin(&Arc::new(Budget::new(100)));
    run(async {
        let moved = tokio::spawn({
            let body = body.clone();
            async move { body.readers_moved().await }
        });
        tokio::task::yield_now().await;
        assert!(!moved.is_finished());
        let reader = body.read_from(0);
        moved.await.unwrap();
        // Before it was asked counts as well.
        drop(reader);
        body.readers_moved().await;
    });
}
