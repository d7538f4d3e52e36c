//! What is written of a response is read again, and nothing else is.

use proptest::prelude::*;

use super::super::body::Budget;
use super::super::marks::{Sign, Tags};
use super::*;

fn entry(headers: HeaderMap, lifetime: Lifetime, age: u64) -> Entry {
    let budget = Arc::new(Budget::new(1 << 20));
    let (writer, body) = Body::begin(&budget);
    writer.finish();
    let tags: Tags = [Sign::tag(b"a"), Sign::tag(b"b")].into_iter().collect();
    Entry {
        key: Key::of_digest(b"0123456789abcdef"),
        status: StatusCode::OK,
        vary: Vary::of(&headers),
        headers,
        lifetime,
        times: Times {
            received: Instant::now(),
            received_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            initial_age: Duration::from_millis(age),
        },
        standing: Standing::new(7 << 40, (b"example.com", b"/a?b"), tags),
        path: "/a?b".into(),
        body,
        for_first: None,
        uses: AtomicU32::new(3),
    }
}

fn kept(bytes: &[u8]) -> Kept {
    match read(bytes) {
        Some(Meta::Entry(kept)) => *kept,
        other => panic!("{other:?}"),
    }
}

fn standing(standing: &Standing) -> Vec<u8> {
    let mut bytes = Vec::new();
    standing.write(&mut bytes);
    bytes
}

fn lifetime() -> impl Strategy<Value = Lifetime> {
    let millis = || (0..u64::MAX / 4).prop_map(Duration::from_millis);
    let flags = any::<[bool; 4]>();
    let fields = (millis(), millis(), millis(), flags);
    fields.prop_map(|(fresh, while_revalidate, if_error, flags)| {
        let [is_guess, is_unproven, is_strict, is_for_shared] = flags;
        Lifetime {
            fresh,
            is_guess,
            is_unproven,
            is_strict,
            is_for_shared,
            while_revalidate,
            if_error,
        }
    })
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let value = prop::collection::vec(prop_oneof![Just(b'\t'), 32..=126u8, 128..=255u8], 0..40);
    let name = prop_oneof![Just("vary".to_owned()), "[a-z][a-z0-9-]{0,12}"];
    prop::collection::vec((name, value), 0..12).prop_map(|fields| {
        let field = |(name, value): (String, Vec<u8>)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_bytes(&value).unwrap())
        };
        fields.into_iter().fold(HeaderMap::new(), |mut map, it| {
            let (name, value) = field(it);
            map.append(name, value);
            map
        })
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(headers in headers(), lifetime in lifetime(), age in 0..u64::MAX / 4) {
        let entry = entry(headers, lifetime, age);
        let kept = kept(&of_entry(&entry));
        prop_assert_eq!(kept.status, entry.status);
        prop_assert_eq!(kept.headers, entry.headers);
        prop_assert_eq!(&kept.vary, &entry.vary);
        prop_assert_eq!(kept.lifetime, entry.lifetime);
        prop_assert_eq!(kept.received_at, entry.times.received_at);
        prop_assert_eq!(kept.initial_age, entry.times.initial_age);
        prop_assert_eq!(standing(&kept.standing), standing(&entry.standing));
        prop_assert_eq!(kept.path, entry.path);
        let Some(Meta::Variants(vary)) = read(&of_variants(&entry.vary)) else {
            panic!("it is whole");
        };
        prop_assert_eq!(vary, entry.vary);
    }

    #[test]
    fn anything_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let _ = read(&[&[VERSION, ENTRY], &*bytes].concat());
        let _ = read(&[&[VERSION, VARIANTS], &*bytes].concat());
    }

    #[test]
    fn what_is_changed_can_be_read(at in 0..400usize, byte in any::<u8>()) {
        let mut bytes = usual();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = read(&bytes);
    }
}

fn usual() -> Vec<u8> {
    let fields = [("vary", "accept, x-a"), ("etag", "\"1\""), ("x-a", "b")];
    let field = |(name, value): (&'static str, &'static str)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    };
    let headers = fields.into_iter().map(field).collect();
    of_entry(&entry(headers, Lifetime::default(), 5)).to_vec()
}

#[test]
fn what_is_not_whole_is_not_read() {
    let bytes = usual();
    assert!(read(&bytes).is_some());
    // Behind the fields of fixed length and each header there could be an end.
    let ends = (0..bytes.len()).filter(|&cut| read(&bytes[..cut]).is_some());
    assert_eq!(ends.count(), 3, "before each of three headers");
    for (place, byte) in [(0, VERSION + 1), (1, 0), (1, 3), (44, 16), (45, 3)] {
        let mut bytes = bytes.clone();
        bytes[place] = byte;
        assert!(read(&bytes).is_none(), "{place} {byte}");
    }
    let mut vary = of_variants(&Vary::Nothing).to_vec();
    assert!(read(&vary).is_some());
    vary.push(0);
    assert!(read(&vary).is_none());
}

#[test]
fn it_ages_on_disk() {
    let now = SystemTime::now();
    let entry_of = |ago: Duration, fresh: u64, etag: Option<&str>| {
        let headers = etag.map(|etag| (ETAG, HeaderValue::from_str(etag).unwrap()));
        let lifetime = Lifetime {
            fresh: Duration::from_secs(fresh),
            ..Lifetime::default()
        };
        let mut entry = entry(headers.into_iter().collect(), lifetime, 10_000);
        entry.times.received_at = now - ago;
        let (_, body) = Body::begin(&Arc::new(Budget::new(0)));
        kept(&of_entry(&entry)).into_entry(entry.key, body)
    };
    let minute = Duration::from_secs(60);
    let entry = entry_of(minute, 100, None).expect("it is fresh");
    let age = entry.age(Instant::now()).as_secs();
    assert!((70..75).contains(&age), "{age}");
    assert!(entry_of(minute, 69, None).is_none(), "it is of no use");
    assert!(entry_of(minute, 69, Some("\"1\"")).is_some());
    let mut future = kept(&usual());
    future.received_at = now + minute;
    let (_, body) = Body::begin(&Arc::new(Budget::new(0)));
    let key = Key::of_digest(b"");
    assert!(
        future.into_entry(key, body).is_none(),
        "it is of the future"
    );
}
