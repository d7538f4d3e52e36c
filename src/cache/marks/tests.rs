//! What marks say against a list of all purges that is gone through.

use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};

use super::purge::time;
use super::*;

const HOSTS: [&str; 3] = ["a.example", "b.example", "c"];
const PATHS: [&str; 8] = [
    "/",
    "/a",
    "/ab",
    "/a/",
    "/a/b",
    "/a/b/c.png",
    "/b",
    "/a/b?x=1",
];
const TAGS: [&str; 4] = ["red", "green", "blue", "Blue"];

/// A purge as it is written.
#[derive(Clone, Debug)]
enum What {
    All,
    Url(usize, usize),
    Host(usize),
    Tag(usize),
    Prefix(Option<usize>, &'static str),
}

#[derive(Clone, Debug)]
enum Step {
    Purge(What, bool),
    /// A fill that begins, with its host, its path and its tags.
    Start(usize, usize, Vec<usize>),
    /// The entry of this number, by all that there are.
    Judge(usize),
    /// Everything comes back from the disk.
    Restart,
}

struct Entry {
    start: usize,
    host: usize,
    path: usize,
    tags: Vec<usize>,
    standing: Standing,
}

impl What {
    fn purge(&self) -> Purge {
        let host = |host: &usize| HOSTS[*host].as_bytes();
        match self {
            What::All => Purge::all(),
            What::Url(at, path) => Purge::url(host(at), PATHS[*path].as_bytes()),
            What::Host(at) => Purge::host(host(at)),
            What::Tag(tag) => Purge::tag(TAGS[*tag].as_bytes()),
            What::Prefix(at, path) => Purge::prefix(at.as_ref().map(host), path.as_bytes()),
        }
    }

    fn is_about(&self, entry: &Entry) -> bool {
        match self {
            What::All => true,
            What::Url(host, path) => (*host, *path) == (entry.host, entry.path),
            What::Host(host) => *host == entry.host,
            What::Tag(tag) => {
                let is_same = |other: &usize| TAGS[*other].eq_ignore_ascii_case(TAGS[*tag]);
                entry.tags.iter().any(is_same)
            }
            What::Prefix(host, path) => {
                host.is_none_or(|host| host == entry.host) && PATHS[entry.path].starts_with(path)
            }
        }
    }
}

/// The list of all purges, and the entries.
#[derive(Default)]
struct Model {
    purges: Vec<(What, bool)>,
    entries: Vec<Entry>,
}

impl Model {
    /// What is said of an entry, and the times that may be said of it.
    fn judge(&self, entry: &Entry) -> (u8, Vec<Verdict>) {
        let later = self.purges.iter().enumerate().skip(entry.start);
        let about: Vec<_> = later
            .filter(|(_, (what, _))| what.is_about(entry))
            .collect();
        if about.iter().any(|(_, (_, is_soft))| !is_soft) {
            return (2, vec![Verdict::Dead]);
        }
        let soft = about.iter().map(|(at, _)| Verdict::Soft(at_of(*at)));
        match about.is_empty() {
            true => (0, vec![Verdict::Live]),
            false => (1, soft.collect()),
        }
    }
}

/// When the purge of this number is said to have been.
fn at_of(number: usize) -> SystemTime {
    time(1_000 + number as u64)
}

fn weight(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Live => 0,
        Verdict::Soft(_) => 1,
        Verdict::Dead => 2,
    }
}

fn run(most: usize, steps: &[Step], is_exact: bool) {
    let mut model = Model::default();
    let mut marks = Marks::with(most, 0, []);
    for step in steps {
        match step {
            Step::Purge(what, is_soft) => {
                let at = 1_000 + model.purges.len() as u64;
                let purge = match is_soft {
                    true => what.purge().soft(),
                    false => what.purge(),
                };
                let before = marks.now();
                let mark = marks.purge_at(&purge, at);
                assert_eq!((mark.number(), mark.at), (before + 1, at));
                model.purges.push((what.clone(), *is_soft));
            }
            Step::Start(host, path, tags) => {
                let place = (HOSTS[*host].as_bytes(), PATHS[*path].as_bytes());
                let signs = tags.iter().map(|tag| Sign::tag(TAGS[*tag].as_bytes()));
                let standing = Standing::new(marks.now(), place, signs.collect());
                model.entries.push(Entry {
                    start: model.purges.len(),
                    host: *host,
                    path: *path,
                    tags: tags.clone(),
                    standing,
                });
            }
            Step::Judge(index) => {
                let count = model.entries.len().max(1);
                let Some(entry) = model.entries.get(index % count) else {
                    continue;
                };
                let (expected, verdicts) = model.judge(entry);
                let verdict = marks.judge(&entry.standing, PATHS[entry.path].as_bytes());
                let again = marks.judge(&entry.standing, PATHS[entry.path].as_bytes());
                assert_eq!(verdict, again);
                match is_exact {
                    true => assert!(verdicts.contains(&verdict), "{verdict:?} {verdicts:?}"),
                    false => assert!(weight(verdict) >= expected, "{verdict:?} {verdicts:?}"),
                }
            }
            Step::Restart => {
                let kept: Vec<_> = marks.all().iter().map(Mark::to_bytes).collect();
                let kept = kept
                    .iter()
                    .map(|bytes| Mark::from_bytes(bytes).expect("whole"));
                marks = Marks::with(most, 0, kept);
                for entry in &mut model.entries {
                    let mut bytes = Vec::new();
                    entry.standing.write(&mut bytes);
                    entry.standing = Standing::read(&bytes).expect("whole");
                }
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (host, path, tag) = (0..HOSTS.len(), 0..PATHS.len(), 0..TAGS.len());
    let beginnings = prop_oneof![
        Just(""),
        Just("/"),
        Just("/a"),
        Just("/a/"),
        Just("/a/b"),
        Just("/a/b/"),
        Just("/a/b?"),
        Just("/a/b/c.pngs"),
        Just("/b")
    ];
    let what = prop_oneof![
        1 => Just(What::All),
        6 => (host.clone(), path.clone()).prop_map(|(host, path)| What::Url(host, path)),
        2 => host.clone().prop_map(What::Host),
        5 => tag.clone().prop_map(What::Tag),
        6 => (prop::option::of(host.clone()), beginnings)
            .prop_map(|(host, path)| What::Prefix(host, path)),
    ];
    let tags = prop::collection::vec(tag, 0..3);
    let step = prop_oneof![
        5 => (what, any::<bool>()).prop_map(|(what, is_soft)| Step::Purge(what, is_soft)),
        4 => (host, path, tags).prop_map(|(host, path, tags)| Step::Start(host, path, tags)),
        12 => any::<usize>().prop_map(Step::Judge),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..120)
}

fn check(most: usize, is_exact: bool) {
    let mut runner = TestRunner::new(Runs {
        cases: 1000,
        failure_persistence: None,
        ..Runs::default()
    });
    let ran = runner.run(&steps(), |steps| {
        run(most, &steps, is_exact);
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn they_say_what_a_list_of_all_purges_says() {
    check(1000, true);
}

#[test]
fn with_little_room_too_much_is_purged_and_never_too_little() {
    check(6, false);
    check(1, false);
}

fn standing(marks: &Marks, place: (&str, &str)) -> Standing {
    let place = (place.0.as_bytes(), place.1.as_bytes());
    Standing::new(marks.now(), place, Tags::default())
}

#[test]
fn there_is_a_bound_and_a_floor() {
    let marks = Marks::with(100, 0, []);
    let first = standing(&marks, ("a", "/first"));
    for number in 0..99 {
        marks.purge(&Purge::tag(format!("{number}").as_bytes()));
        assert!(marks.counts().kept <= 100);
    }
    assert_eq!(marks.judge(&first, b"/first"), Verdict::Live);
    // What is purged again and again takes no more room.
    for _ in 0..1000 {
        marks.purge(&Purge::tag(b"98"));
    }
    assert_eq!(marks.judge(&first, b"/first"), Verdict::Live);
    let second = standing(&marks, ("a", "/second"));
    for number in 100..102 {
        marks.purge(&Purge::tag(format!("{number}").as_bytes()));
    }
    assert_eq!(marks.counts().folded, 50);
    assert_eq!(marks.judge(&first, b"/first"), Verdict::Dead);
    assert_eq!(marks.judge(&second, b"/second"), Verdict::Live);
}

#[test]
fn purging_everything_needs_no_marks_of_anything() {
    let marks = Marks::with(100, 0, []);
    (0..40_u8).for_each(|tag| {
        marks.purge(&Purge::tag(&[tag]));
    });
    marks.purge(&Purge::all().soft());
    assert_eq!(marks.all().len(), 41);
    let last = marks.purge(&Purge::all());
    assert_eq!(marks.all().last(), Some(&last));
    assert_eq!(marks.counts(), MarkCounts { kept: 0, folded: 0 });
}

#[test]
fn entries_with_too_many_tags_go_with_any() {
    let marks = Marks::with(100, 0, []);
    let many = Standing::new(marks.now(), (b"a", b"/"), Tags::too_many());
    marks.purge(&Purge::host(b"b"));
    marks.purge(&Purge::prefix(None, b"/b"));
    assert_eq!(marks.judge(&many, b"/"), Verdict::Live);
    marks.purge_at(&Purge::tag(b"t").soft(), 7);
    assert_eq!(marks.judge(&many, b"/"), Verdict::Soft(time(7)));
    marks.purge(&Purge::tag(b"t"));
    assert_eq!(marks.judge(&many, b"/"), Verdict::Dead);
}

#[test]
fn long_prefixes_are_cut_and_so_is_nothing_missed() {
    let marks = Marks::with(100, 0, []);
    let path = "/a".repeat(2000);
    let entry = standing(&marks, ("a", &path));
    let other = standing(&marks, ("a", "/a"));
    marks.purge(&Purge::prefix(Some(b"A"), &path.as_bytes()[..3000]));
    assert_eq!(marks.judge(&entry, path.as_bytes()), Verdict::Dead);
    assert_eq!(marks.judge(&other, b"/a"), Verdict::Live);
}

#[test]
fn a_run_begins_above_whatever_was_lost_of_the_one_before() {
    // What was kept says less than what an entry has seen.
    let earlier = Marks::with(100, 1000, []);
    let kept = earlier.purge(&Purge::tag(b"a"));
    (0..1000).for_each(|_| {
        earlier.purge(&Purge::tag(b"b"));
    });
    let entry = standing(&earlier, ("a", "/"));
    for (unix, kept) in [(1001, None), (1001, Some(kept)), (0, Some(kept))] {
        let later = Marks::with(100, unix, kept);
        entry.forget();
        assert_eq!(later.judge(&entry, b"/"), Verdict::Live, "{unix} {kept:?}");
        later.purge(&Purge::host(b"a"));
        assert_eq!(later.judge(&entry, b"/"), Verdict::Dead, "{unix} {kept:?}");
    }
    // A clock that was set back, and nothing kept: it cannot be told what was purged.
    let later = Marks::with(100, 500, []);
    entry.forget();
    assert_eq!(later.judge(&entry, b"/"), Verdict::Dead);
    let real = Marks::new();
    assert!(real.now() < 1 << 62 && real.now() > 1_500_000_000 << 30);
}

#[test]
fn a_confirmed_entry_begins_anew() {
    let marks = Marks::with(100, 0, []);
    let entry = standing(&marks, ("a", "/"));
    marks.purge_at(&Purge::host(b"a").soft(), 5);
    marks.purge_at(&Purge::url(b"a", b"/").soft(), 9);
    assert_eq!(marks.judge(&entry, b"/"), Verdict::Soft(time(5)));
    let confirmed = entry.confirmed(marks.now(), Tags::default());
    assert_eq!(marks.judge(&confirmed, b"/"), Verdict::Live);
    assert_eq!(marks.judge(&entry, b"/"), Verdict::Soft(time(5)));
}

#[test]
fn purges_of_other_runs_are_learned_late() {
    let earlier = Marks::with(100, 1000, []);
    let old = standing(&earlier, ("a", "/"));
    let tag = earlier.purge_at(&Purge::host(b"a"), 5);
    let new = standing(&earlier, ("a", "/"));
    let everything = earlier.purge_at(&Purge::all(), 6);
    let last = standing(&earlier, ("a", "/"));
    let marks = Marks::with(100, 2000, []);
    let own = standing(&marks, ("b", "/"));
    let purged = standing(&marks, ("c", "/"));
    marks.purge(&Purge::host(b"c"));
    let judge = |entry: &Standing| {
        entry.forget();
        marks.judge(entry, b"/")
    };
    assert_eq!(judge(&old), Verdict::Live, "nothing is known of it yet");
    marks.learn([tag]);
    assert_eq!((judge(&old), judge(&new)), (Verdict::Dead, Verdict::Live));
    // What is older than a mark that is there already does not undo that.
    marks.learn([everything, tag]);
    assert_eq!((judge(&new), judge(&last)), (Verdict::Dead, Verdict::Live));
    assert_eq!(
        (judge(&own), judge(&purged)),
        (Verdict::Live, Verdict::Dead)
    );
    // Of a process that has purged while this one served already.
    let beside = earlier.purge_at(&Purge::host(b"b"), u64::MAX);
    assert_eq!(marks.judge(&own, b"/"), Verdict::Live);
    marks.learn([beside]);
    assert_eq!(
        marks.judge(&own, b"/"),
        Verdict::Dead,
        "also where it is judged already"
    );
    assert_eq!(judge(&last), Verdict::Live);
    let ahead = Marks::with(100, 9000, []).purge_at(&Purge::host(b"d"), 7);
    marks.learn([ahead]);
    assert!(marks.now() > ahead.number());
}

#[test]
fn runs_that_begin_together_are_told_apart() {
    let earlier = Marks::with(100, 1000, []);
    earlier.learn([]);
    let kept = earlier.purge(&Purge::url(b"", b"\0"));
    let entries = ["a", "b"].map(|host| standing(&earlier, (host, "/")));
    let later = Marks::with(100, 1000, []);
    let own = later.purge(&Purge::host(b"a"));
    assert!(own.number() <= entries[0].start(), "they could be mixed up");
    later.learn([kept]);
    let verdicts = entries.map(|entry| later.judge(&entry, b"/"));
    assert_eq!(verdicts, [Verdict::Dead, Verdict::Live]);
    // Opened once more, by the same run: nothing is purged that was not.
    let new = standing(&later, ("a", "/"));
    later.learn(later.all());
    assert_eq!(later.judge(&new, b"/"), Verdict::Live);
}

#[test]
fn a_flood_of_urls_purges_little_else() {
    let marks = Marks::with(100, 0, []);
    let path = |number: usize| format!("/{number}");
    let entries: Vec<_> = (0..2000)
        .map(|number| standing(&marks, ("a", &path(number))))
        .collect();
    let tagged = Standing::new(
        marks.now(),
        (b"b", b"/t"),
        [Sign::tag(b"t")].into_iter().collect(),
    );
    let soft = standing(&marks, ("b", "/soft"));
    marks.purge(&Purge::tag(b"t"));
    marks.purge_at(&Purge::url(b"b", b"/soft").soft(), 7);
    // Of half of them, and of as many that nobody has.
    for number in 0..1000 {
        marks.purge(&Purge::url(b"a", path(number).as_bytes()));
        marks.purge(&Purge::url(b"other", path(number).as_bytes()));
    }
    let later = standing(&marks, ("a", "/0"));
    let again = Marks::with(100, 0, marks.all());
    for marks in [&marks, &again] {
        let is_dead = |number: usize| {
            let entry = &entries[number];
            entry.forget();
            marks.judge(entry, path(number).as_bytes()) == Verdict::Dead
        };
        assert!((0..1000).all(is_dead), "what was purged is");
        let dead = (1000..2000).filter(|number| is_dead(*number)).count();
        // Of 2,000 parts of 524,288 each of them meets one in 262.
        assert!(dead < 20, "{dead} of 1000");
        for entry in [&tagged, &soft, &later] {
            entry.forget();
        }
        assert_eq!(marks.judge(&tagged, b"/t"), Verdict::Dead);
        assert_eq!(marks.judge(&soft, b"/soft"), Verdict::Soft(time(7)));
        assert_eq!(marks.judge(&later, b"/0"), Verdict::Live);
        assert!(marks.counts().kept <= 100);
    }
    assert!(marks.counts().folded > 1000);
    marks.purge(&Purge::all());
    assert_eq!(marks.all().len(), 1);
}
