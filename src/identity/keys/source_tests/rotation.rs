//! Keys that change while their names do not.

use super::*;

fn other(source: &Source, token: u64) -> Wanted<'static> {
    let than = source.current().clone();
    Wanted::Other { than, token }
}

#[tokio::test]
async fn other_keys_of_the_same_name_are_asked_for_once_by_all_who_wait() {
    let origin = Origin::start().await;
    let (old, new) = (Signer::new("EdDSA", "same"), Signer::new("EdDSA", "same"));
    origin.publish([&old]);
    let source = Arc::new(started(quick(&origin.url("/jwks"))));
    eventually("keys", || is_there(&source, "same")).await;
    let before = source.current().clone();
    origin.publish([&new]);
    let mut waiting = JoinSet::new();
    for token in 0..200 {
        assert!(source.keys(Some("same")).is_some() && source.may_change(token));
        let (source, wanted) = (source.clone(), other(&source, token));
        waiting.spawn(async move { source.renewed(wanted).await });
    }
    while let Some(renewed) = within(waiting.join_next()).await {
        assert!(!Arc::ptr_eq(&renewed.unwrap().unwrap(), &before));
    }
    assert_eq!(origin.asked(), 2);
    assert_eq!(origin.most_in_flight.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn forged_tokens_cause_no_storm_and_are_refused_at_once_when_shown_again() {
    let origin = Origin::start().await;
    origin.publish([&Signer::new("EdDSA", "a")]);
    let source = Arc::new(started(quick(&origin.url("/jwks"))));
    eventually("keys", || is_there(&source, "a")).await;
    let before = source.current().clone();
    let begin = Instant::now();
    for round in 0..4 {
        let mut waiting = JoinSet::new();
        for number in 0..500 {
            let source = source.clone();
            let token = round * 500 + number;
            waiting.spawn(async move {
                let renewed = source.renewed(other(&source, token)).await.unwrap();
                (renewed, source.may_change(token))
            });
        }
        while let Some(ended) = within(waiting.join_next()).await {
            let (keys, may_change) = ended.unwrap();
            assert!(Arc::ptr_eq(&keys, &before));
            assert!(!may_change || begin.elapsed() > Duration::from_millis(50));
        }
    }
    // No forged token stands for another, or for a name.
    assert!(source.may_change(u64::MAX) && source.keys(Some("b")).is_none());
    let most = 2 + begin.elapsed().as_millis() / 50;
    let asked = origin.asked();
    assert!((3..=most as usize).contains(&asked), "{asked} of {most}");
    assert_eq!(origin.most_in_flight.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn whether_there_are_other_keys_is_not_known_without_an_answer() {
    let origin = Origin::start().await;
    origin.publish([&Signer::new("EdDSA", "a")]);
    let source = started(quick(&origin.url("/jwks")));
    eventually("keys", || is_there(&source, "a")).await;
    origin.answer("/jwks", Answer::Status(500));
    let renewed = within(source.renewed(other(&source, 1))).await;
    assert_eq!(renewed.err(), Some(Unavailable));
    assert!(source.may_change(1));
}
