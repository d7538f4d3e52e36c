//! Sessions in a store whose connections break at the worst moment.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::shared::change_of;
use super::*;

/// How often it is looked whether answers are still held.
const LOOK: std::time::Duration = std::time::Duration::from_millis(5);

/// What becomes of a command in which these bytes stand.
#[derive(Clone)]
enum Fault {
    /// It is done, and the connection breaks before its answer comes; once.
    Lost(&'static str),
    /// It is not done, and the connection breaks.
    Refused(&'static str),
    /// It is done, and no answers come through for as long as this is so.
    Held(&'static str),
}

/// The way to a store, which does not always let everything through. Dropping it ends it.
struct Way {
    address: SocketAddr,
    state: Arc<Mutex<(Option<Fault>, u64)>>,
    task: JoinHandle<()>,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Way {
    async fn to(redis: &Redis) -> Way {
        let store = redis.address();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state: Arc<Mutex<(Option<Fault>, u64)>> = Arc::default();
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(store).await.expect("the store");
                tokio::spawn(carry(client, server, shared.clone()));
            }
        });
        Way {
            address,
            state,
            task,
        }
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    fn set(&self, fault: Option<Fault>) {
        self.state.lock().expect("no panic").0 = fault;
    }

    /// How often a command was met.
    fn broken(&self) -> u64 {
        self.state.lock().expect("no panic").1
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    state: Arc<Mutex<(Option<Fault>, u64)>>,
) {
    let (mut up, mut down) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut is_held = false;
    loop {
        is_held &= matches!(state.lock().expect("no panic").0, Some(Fault::Held(_)));
        tokio::select! {
            () = tokio::time::sleep(LOOK), if is_held => {}
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                let sent = &up[..length];
                let fault = fault_of(&state, sent);
                if matches!(fault, Some(Fault::Refused(_))) {
                    return;
                }
                if server.write_all(sent).await.is_err() {
                    return;
                }
                is_held |= matches!(fault, Some(Fault::Held(_)));
                if matches!(fault, Some(Fault::Lost(_))) {
                    // It has been done once there is an answer.
                    let _ = server.read(&mut down).await;
                    return;
                }
            }
            read = server.read(&mut down), if !is_held => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&down[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn fault_of(state: &Mutex<(Option<Fault>, u64)>, sent: &[u8]) -> Option<Fault> {
    let (fault, broken) = &mut *state.lock().expect("no panic");
    let (Fault::Lost(needle) | Fault::Refused(needle) | Fault::Held(needle)) = fault.clone()?;
    let needle = needle.as_bytes();
    let parts = sent.windows(needle.len());
    let met = parts.filter(|part| *part == needle).count();
    if met == 0 {
        return None;
    }
    *broken += met as u64;
    match fault {
        Some(Fault::Lost(_)) => fault.take(),
        _ => fault.clone(),
    }
}

/// A gateway behind such a way, and another one that has its own.
async fn open(redis: &Redis) -> (Way, Shop, Gateway) {
    let way = Way::to(redis).await;
    let (session, sections) = change_of(&way.url(), "refuse");
    let shop = Shop::with(Change {
        session: Some(&session),
        sections: &sections,
        ..Change::default()
    })
    .await;
    let (session, sections) = change_of(&redis.url(), "refuse");
    let other = shop.again(Change {
        session: Some(&session),
        sections: &sections,
        ..Change::default()
    });
    let other = other.await;
    (way, shop, other)
}

#[tokio::test]
async fn a_logout_that_did_not_get_through_can_be_sent_again() {
    let redis = Redis::start().await;
    let (way, shop, other) = open(&redis).await;
    let mut alice = Browser::default();
    alice.log_in(&shop, "/account/x", "alice").await;
    let token = logout::logout_token(&shop, json!({})).await;
    way.set(Some(Fault::Refused("oidc:main}:sub:")));
    logout::send_token(&shop.gateway, &token)
        .await
        .assert_problem(503, "authentication_unavailable");
    assert!(way.broken() > 0);
    assert_eq!(alice.fetch(&other, "/account/x").await.status, 200);
    // The provider tries again.
    way.set(None);
    assert_eq!(logout::send_token(&shop.gateway, &token).await.status, 200);
    assert_eq!(alice.fetch(&shop.gateway, "/account/x").await.status, 401);
    let ended = async || (alice.fetch(&other, "/account/x").await.status == 401).then_some(());
    eventually("it is known at the other gateway", ended).await;

    // The answer of the store is lost, and the command sent again by itself: that is not a second use of the token.
    alice.log_in(&shop, "/account/x", "alice").await;
    let token = logout::logout_token(&shop, json!({})).await;
    let before = way.broken();
    way.set(Some(Fault::Lost("oidc:main}:jti:")));
    assert_eq!(logout::send_token(&shop.gateway, &token).await.status, 200);
    assert_eq!(way.broken(), before + 1);
    assert_eq!(alice.fetch(&shop.gateway, "/account/x").await.status, 401);
    logout::send_token(&shop.gateway, &token)
        .await
        .assert_problem(400, "logout_refused");
}

#[tokio::test]
async fn who_is_looking_a_session_up_does_not_bring_it_back() {
    let redis = Redis::start().await;
    let way = Way::to(&redis).await;
    // Whatever is remembered here is remembered for long.
    let session = "{ keys = [{ file = \"$folder/key\" }], store = \"shared\", remember = \"10m\" }";
    let (_, sections) = change_of(&way.url(), "refuse");
    let shop = Shop::with(Change {
        session: Some(session),
        sections: &sections,
        ..Change::default()
    });
    let shop = shop.await;
    let (session, sections) = change_of(&redis.url(), "refuse");
    let other = shop.again(Change {
        session: Some(&session),
        sections: &sections,
        ..Change::default()
    });
    let other = other.await;
    let mut browser = Browser::default();
    let sent = browser.open(&other, "/account/x").await;
    let callback = browser.log_in_at(&shop.provider, &sent, "alice").await;
    assert_eq!(browser.open(&other, &callback).await.status, 303);
    // A tab is loaded, and has its answer from the store when another one has logged out.
    let (mut tab, mut leaving) = (browser.clone(), browser.clone());
    way.set(Some(Fault::Held("GETEX")));
    let release = async {
        eventually("both have asked the store", async || {
            (way.broken() >= 2).then_some(())
        })
        .await;
        way.set(None);
    };
    let (page, left, ()) = tokio::join!(
        tab.fetch(&shop.gateway, "/account/x"),
        leaving.open(&shop.gateway, "/oauth/logout"),
        release,
    );
    assert_eq!(left.status, 303, "{left:?}");
    assert!([200, 401].contains(&page.status), "{page:?}");
    assert_eq!(browser.fetch(&shop.gateway, "/account/x").await.status, 401);
}

/// Access tokens that live for so many seconds.
async fn short_lived(shop: &Shop, seconds: u64) {
    let mut settings = client();
    settings["ttl"] = json!({ "AccessToken": seconds });
    shop.provider.configure(settings).await;
}

#[tokio::test]
async fn a_lock_whose_answer_is_lost_is_ones_own() {
    let redis = Redis::start().await;
    let (way, shop, _other) = open(&redis).await;
    short_lived(&shop, 4).await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    let renewed = async |browser: &mut Browser, times: u64| {
        eventually("a renewal", async || {
            let answer = browser.fetch(&shop.gateway, "/account/x").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            (shop.provider.count("/token").await >= times).then_some(())
        })
        .await;
    };
    // Once as usual, so that the store knows the commands.
    renewed(&mut browser, 2).await;
    eventually("the lock is given back", async || {
        let dump = redis.dump().await;
        let has_lock = String::from_utf8_lossy(&dump).contains("oidc:main}:lock:");
        (!has_lock).then_some(())
    })
    .await;
    way.set(Some(Fault::Lost("oidc:main}:lock:")));
    renewed(&mut browser, 3).await;
    assert_eq!(way.broken(), 1);
}

#[tokio::test]
async fn what_a_renewal_brings_is_told_before_anybody_else_may_renew() {
    let redis = Redis::start().await;
    let (way, shop, other) = open(&redis).await;
    short_lived(&shop, 4).await;
    let mut browser = Browser::default();
    browser.log_in(&shop, "/account/x", "alice").await;
    // The command that replaces a session.
    way.set(Some(Fault::Refused("$2\r\nXX\r\n")));
    eventually(
        "the session is renewed, and the store not told",
        async || {
            let answer = browser.fetch(&shop.gateway, "/account/x").await;
            assert!([200, 503].contains(&answer.status), "{answer:?}");
            (way.broken() >= 2).then_some(())
        },
    )
    .await;
    assert_eq!(shop.provider.count("/token").await, 2);
    // The other gateway wants to renew it, too. The refresh token that it knows is spent.
    let mut tab = browser.clone();
    let waiting = async {
        eventually("it is good at the other gateway", async || {
            let answer = tab.fetch(&other, "/account/x").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let is_healed = way.state.lock().expect("no panic").0.is_none();
            is_healed.then_some(())
        })
        .await;
    };
    let healing = async {
        let before = redis.calls("evalsha").await;
        eventually("it waits for the lock", async || {
            (redis.calls("evalsha").await >= before + 10).then_some(())
        })
        .await;
        way.set(None);
    };
    tokio::join!(waiting, healing);
    for gateway in [&shop.gateway, &other] {
        let good =
            async || (browser.fetch(gateway, "/account/x").await.status == 200).then_some(());
        eventually("the session goes on", good).await;
    }
    // It is renewed on and on: nobody has shown a refresh token twice.
    let before = shop.provider.count("/token").await;
    eventually("the next renewal", async || {
        let answer = browser.fetch(&other, "/account/x").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (shop.provider.count("/token").await > before).then_some(())
    })
    .await;
}

/// The names of a person's sessions are kept for as long as one of these lasts.
#[tokio::test]
async fn a_short_session_does_not_hide_a_long_one_from_the_provider() {
    let redis = Redis::start().await;
    let (_way, shop, other) = open(&redis).await;
    let mut long = Browser::default();
    long.log_in(&shop, "/account/x", "alice").await;
    let (_, sections) = change_of(&redis.url(), "refuse");
    let session = "{ keys = [{ file = \"$folder/key\" }], store = \"shared\", remember = \"100ms\", idle = \"2s\", lifetime = \"2s\" }";
    let brief = shop.again(Change {
        session: Some(session),
        sections: &sections,
        ..Change::default()
    });
    let brief = brief.await;
    let mut short = Browser::default();
    let sent = short.open(&brief, "/account/x").await;
    let callback = short.log_in_at(&shop.provider, &sent, "alice").await;
    assert_eq!(short.open(&brief, &callback).await.status, 303);
    assert_eq!(short.fetch(&brief, "/account/x").await.status, 200);
    eventually("the short one is over", async || {
        (short.fetch(&brief, "/account/x").await.status == 401).then_some(())
    })
    .await;
    assert_eq!(long.fetch(&other, "/account/x").await.status, 200);
    let token = logout::logout_token(&shop, json!({})).await;
    assert_eq!(logout::send_token(&other, &token).await.status, 200);
    assert_eq!(long.fetch(&other, "/account/x").await.status, 401);
}
