use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;
use crate::limits::Key;

const LONG: Duration = Duration::from_secs(600);

fn patience(class: Criticality, wait: Duration) -> Patience {
    Patience {
        class,
        wait,
        deadline: None,
    }
}

fn key(number: u32) -> Key {
    let mut key = Key::hasher();
    key.part(&number.to_le_bytes());
    key.finish()
}

/// As a new configuration does.
fn set_limit(permits: &Arc<Permits>, limit: u32) {
    let size = permits.size.load(Ordering::Relaxed);
    permits.say(Edition::next(), false, size, || limit);
}

fn calm() -> Patience {
    patience(Criticality::Normal, LONG)
}

fn now(turn: Turn) -> Permit {
    match turn {
        Turn::Now(permit) => permit,
        other => panic!("there is a free place, got {other:?}"),
    }
}

fn later(turn: Turn) -> Waiting {
    match turn {
        Turn::Later(waiting) => waiting,
        other => panic!("there is room in the queue, got {other:?}"),
    }
}

fn never(turn: Turn) -> Refused {
    match turn {
        Turn::Never(refused) => refused,
        other => panic!("there is no place, got {other:?}"),
    }
}

#[tokio::test]
async fn there_are_so_many_places_and_no_more() {
    let permits = Permits::new(2, 1);
    let (first, second) = (now(permits.take(calm())), now(permits.take(calm())));
    let third = later(permits.take(calm()));
    assert_eq!(never(permits.take(calm())), Refused::Full);
    assert_eq!((permits.in_flight(), permits.waiting()), (2, 1));
    drop(first);
    assert_eq!(
        (permits.in_flight(), permits.waiting()),
        (2, 0),
        "it is handed over"
    );
    let third = third.turn().await.unwrap();
    drop((second, third));
    assert_eq!((permits.in_flight(), permits.waiting()), (0, 0));
}

#[tokio::test]
async fn who_gives_up_frees_its_place_in_the_queue() {
    let permits = Permits::new(1, 1);
    let first = now(permits.take(calm()));
    drop(later(permits.take(calm())));
    let second = later(permits.take(calm()));
    drop(first);
    drop(second);
    assert_eq!(permits.in_flight(), 0, "what was handed over comes back");
    drop(now(permits.take(calm())));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_was_said() {
    let permits = Permits::new(1, 9);
    let place = now(permits.take(calm()));
    let begin = tokio::time::Instant::now();
    let patient = patience(Criticality::Normal, Duration::from_millis(300));
    let refused = later(permits.take(patient)).turn().await.unwrap_err();
    assert_eq!(refused, Refused::Late);
    assert!(begin.elapsed() >= Duration::from_millis(250));
    let deadline = Some(Instant::now() + Duration::from_millis(20));
    let hurried = Patience { deadline, ..calm() };
    assert_eq!(
        later(permits.take(hurried)).turn().await.unwrap_err(),
        Refused::Late
    );
    let over = Patience {
        deadline: Some(Instant::now()),
        ..calm()
    };
    assert_eq!(never(permits.take(over)), Refused::Late);
    let impatient = patience(Criticality::Normal, Duration::ZERO);
    assert_eq!(never(permits.take(impatient)), Refused::Full);
    assert_eq!((permits.in_flight(), permits.waiting()), (1, 0));
    drop(place);
}

#[tokio::test]
async fn who_matters_more_takes_the_place_of_who_matters_less() {
    let permits = Permits::new(1, 1);
    let place = now(permits.take(calm()));
    let low = later(permits.take(patience(Criticality::Low, LONG)));
    let high = later(permits.take(patience(Criticality::High, LONG)));
    assert_eq!(low.turn().await.unwrap_err(), Refused::Displaced);
    drop(place);
    high.turn().await.unwrap();
}

#[tokio::test]
async fn the_limit_changes_while_places_are_taken() {
    let permits = Permits::new(1, 9);
    let first = now(permits.take(calm()));
    let second = later(permits.take(calm()));
    set_limit(&permits, 2);
    let second = second.turn().await.unwrap();
    set_limit(&permits, 1);
    assert_eq!(permits.in_flight(), 2, "nobody loses a place");
    let third = later(permits.take(calm()));
    drop(first);
    assert_eq!((permits.in_flight(), permits.waiting()), (1, 1));
    drop(second);
    third.turn().await.unwrap();
    assert_eq!(permits.in_flight(), 0);
}

#[tokio::test]
async fn each_key_has_its_own_places_and_is_forgotten_with_the_last() {
    let permits = KeyedPermits::new(64 * 64, 2);
    let first = now(permits.take(key(7), 1, calm()));
    let second = now(permits.take(key(7), 1, calm()));
    let other = now(permits.take(key(8), 1, calm()));
    let third = later(permits.take(key(7), 1, calm()));
    assert_eq!(never(permits.take(key(7), 1, calm())), Refused::Full);
    assert_eq!(
        (
            permits.counts().keys,
            permits.in_flight(key(7)),
            permits.counts().waiting
        ),
        (2, 2, 1)
    );
    drop(first);
    let third = third.turn().await.unwrap();
    assert_eq!(permits.in_flight(key(7)), 2);
    drop((second, third));
    assert_eq!(permits.counts().keys, 1);
    drop(other);
    assert_eq!(permits.counts().keys, 0);
}

#[tokio::test]
async fn a_higher_limit_holds_at_once_for_those_who_wait_by_any_key() {
    let permits = KeyedPermits::new(64 * 64, 1);
    let (older, newer) = (Edition::next(), Edition::next());
    let mut waiting = Vec::new();
    let held: Vec<Permit> = (0..100)
        .map(|number| {
            let first = now(permits.take(key(number), 9, calm()));
            waiting.push(later(permits.take(key(number), 9, calm())));
            first
        })
        .collect();
    permits.say(newer, 2);
    let mut others = Vec::new();
    for turn in waiting {
        others.push(turn.turn().await.unwrap());
    }
    permits.say(older, 50);
    assert_eq!((permits.limit(), permits.counts().in_flight), (2, 200));
    assert_eq!(never(permits.take(key(7), 0, calm())), Refused::Full);
    drop((held, others));
    assert_eq!(permits.counts(), Default::default());
}

#[test]
fn no_more_keys_are_known_than_were_said() {
    let permits = KeyedPermits::new(64, 1);
    let held: Vec<Turn> = (0..1000)
        .map(|number| permits.take(key(number), 0, calm()))
        .collect();
    assert!(permits.counts().keys <= 64);
    let refused = held
        .iter()
        .filter(|turn| matches!(turn, Turn::Never(Refused::Full)));
    assert_eq!(refused.count(), 1000 - permits.counts().keys);
    drop(held);
    assert_eq!(permits.counts().keys, 0);
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Ends,
    Panics,
    Aborted,
    /// It has little patience.
    Hurries,
    /// It asks, and does not even begin to wait.
    Forgets,
    /// It gives its permit to a task of its own, as a tunnel does, and that ends later.
    Upgrades,
}

#[derive(Clone, Debug)]
struct Plan {
    fate: Fate,
    class: Criticality,
    /// How often it lets others go first.
    yields: u8,
    limit: u32,
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    use Fate::*;
    let fate = prop_oneof![
        Just(Ends),
        Just(Panics),
        Just(Aborted),
        Just(Hurries),
        Just(Forgets),
        Just(Upgrades)
    ];
    let class = proptest::sample::select(&Criticality::ALL[..]);
    let plan = (fate, class, 0..6u8, 1..5u32).prop_map(|(fate, class, yields, limit)| Plan {
        fate,
        class,
        yields,
        limit,
    });
    proptest::collection::vec(plan, 1..60)
}

/// Runs what was planned over places that `take` gives, and says how many had one at a time at most.
async fn run<T>(plans: Vec<Plan>, take: T) -> usize
where
    T: Fn(&Plan, Patience) -> Turn + Clone + Send + Sync + 'static,
{
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    let mut aborted = Vec::new();
    for plan in plans {
        let (take, inside, most) = (take.clone(), inside.clone(), most.clone());
        let is_aborted = matches!(plan.fate, Fate::Aborted);
        let task = tasks.spawn(async move {
            let wait = match plan.fate {
                Fate::Hurries => Duration::from_micros(50 * u64::from(plan.yields)),
                _ => LONG,
            };
            let turn = take(&plan, patience(plan.class, wait));
            let permit = match turn {
                Turn::Never(_) => return,
                Turn::Later(_) if matches!(plan.fate, Fate::Forgets) => return,
                Turn::Later(waiting) => match waiting.turn().await {
                    Ok(permit) => permit,
                    Err(_) => return,
                },
                Turn::Now(permit) => permit,
            };
            // Counted down with the permit, whatever happens.
            let permit = (Inside::new(&inside, &most), permit);
            for _ in 0..plan.yields {
                tokio::task::yield_now().await;
            }
            match plan.fate {
                Fate::Panics => std::panic::resume_unwind(Box::new("on purpose")),
                Fate::Aborted => std::future::pending().await,
                Fate::Upgrades => {
                    let tunnel = tokio::spawn(async move {
                        tokio::task::yield_now().await;
                        drop(permit);
                    });
                    tunnel.await.unwrap();
                }
                _ => drop(permit),
            }
        });
        if is_aborted {
            aborted.push(task);
        }
    }
    // Those that are to be aborted may hold every place, so that the others end only afterwards.
    for task in aborted {
        tokio::task::yield_now().await;
        task.abort();
    }
    while tasks.join_next().await.is_some() {}
    most.load(Ordering::Relaxed)
}

struct Inside(Arc<AtomicUsize>);

impl Inside {
    fn new(inside: &Arc<AtomicUsize>, most: &AtomicUsize) -> Inside {
        let now = inside.fetch_add(1, Ordering::Relaxed) + 1;
        most.fetch_max(now, Ordering::Relaxed);
        Inside(inside.clone())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The property of the whole file: whatever becomes of requests, no place is lost, none is taken twice, and nobody
    /// who waits is forgotten (such a task would never end).
    #[test]
    fn places_return_to_zero_whatever_becomes_of_requests(plans in plans(), limit in 1..6u32, size in 0..20u32) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(3)
            .enable_time()
            .build()
            .unwrap();
        let permits = Permits::new(limit, size);
        let taken_of = permits.clone();
        let most = runtime.block_on(run(plans.clone(), move |_, patience| taken_of.take(patience)));
        prop_assert!(most <= limit as usize, "{most} of {limit}");
        prop_assert_eq!((permits.in_flight(), permits.waiting()), (0, 0));

        // While the limit changes all the time.
        let taken_of = permits.clone();
        let most = runtime.block_on(run(plans.clone(), move |plan, patience| {
            set_limit(&taken_of, plan.limit);
            taken_of.take(patience)
        }));
        prop_assert!(most <= 5, "{most}");
        prop_assert_eq!((permits.in_flight(), permits.waiting()), (0, 0));

        // With three keys.
        let permits = KeyedPermits::new(1 << 16, limit);
        let taken_of = permits.clone();
        let most = runtime.block_on(run(plans, move |plan, patience| {
            taken_of.take(key(u32::from(plan.yields % 3)), size, patience)
        }));
        prop_assert!(most <= 3 * limit as usize, "{most} of {limit}");
        prop_assert_eq!(permits.counts(), Default::default());
    }
}
