//! Endpoints from DNS, with a real name server (NSD) whose zone changes.

use std::time::{Duration, Instant};

use crate::discovery::{has, standing, toml};
use crate::harness::*;

fn name(server: &NameServer, origin: &Origin) -> String {
    let (port, server) = (origin.port(), server.address());
    format!("dns = {{ name = \"users.test\", port = {port}, servers = [\"{server}\"] }}")
}

fn service(server: &NameServer) -> String {
    let server = server.address();
    format!("dns = {{ srv = \"_http._tcp.users.test\", servers = [\"{server}\"] }}")
}

/// An origin on each of these addresses, all with the same port.
fn fleet(addresses: &[&'static str]) -> Vec<Origin> {
    let (first, others) = addresses.split_first().unwrap();
    let named = |address: &'static str, port: &str| {
        Origin::at(&format!("{address}:{port}"), move |_| text(address))
    };
    let mut origins = vec![named(first, "0")];
    let port = origins[0].port().to_owned();
    origins.extend(others.iter().map(|&address| named(address, &port)));
    origins
}

#[tokio::test]
async fn addresses_of_a_name_come_and_go() {
    let origins = fleet(&["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    let mut server = NameServer::start("users 1 IN A 127.0.0.2").await;
    let gateway = Gateway::start(&toml(&name(&server, &origins[0]))).await;
    let traffic = Crowd::on(gateway.address());
    let [two, three, four] = [0, 1, 2].map(|number: usize| origins[number].to_string());
    has(&gateway, &[&two]).await;
    server
        .set("users 1 IN A 127.0.0.2\nusers 1 IN A 127.0.0.3")
        .await;
    has(&gateway, &[&two, &three]).await;
    server
        .set("users 1 IN CNAME others\nothers 1 IN A 127.0.0.4")
        .await;
    has(&gateway, &[&four]).await;
    traffic.more(20).await;
    println!("{} requests, none failed", traffic.end().await);
    assert_eq!(gateway.http1().send(get("/")).await.text(), "127.0.0.4");
}

#[tokio::test]
async fn a_name_server_that_fails_takes_nothing_away() {
    let origins = fleet(&["127.0.0.5", "127.0.0.6"]);
    let records = "users 1 IN A 127.0.0.5";
    let mut server = NameServer::start(records).await;
    let gateway = Gateway::start(&toml(&name(&server, &origins[0]))).await;
    let traffic = Crowd::on(gateway.address());
    let fails = async |kind: &str| {
        eventually(kind, async || {
            let series = format!(
                "northgate_discovery_failures_total{{error=\"{kind}\",northgate_upstream=\"users\",source=\"dns\"}}"
            );
            let is_counted = gateway.metrics().await.contains(&series);
            let is_down = standing(&gateway).await["up"] == false;
            (is_counted && is_down).then_some(())
        })
        .await;
    };
    let is_up = async || {
        eventually("it answers again", async || {
            (standing(&gateway).await["up"] == true).then_some(())
        })
        .await;
    };
    // Silence, or nobody there.
    server.stop().await;
    fails("unreachable").await;
    traffic.more(20).await;
    server.start_again().await;
    is_up().await;
    // It is there, and what is asked gets lost.
    server.pause();
    fails("unreachable").await;
    traffic.more(20).await;
    server.resume();
    is_up().await;
    // SERVFAIL.
    server.stop().await;
    server.start_broken().await;
    fails("refused").await;
    traffic.more(20).await;
    server.stop().await;
    server
        .set_stopped("users 1 IN A 127.0.0.5\nusers 1 IN A 127.0.0.6")
        .await;
    let [five, six] = [0, 1].map(|number: usize| origins[number].to_string());
    has(&gateway, &[&five, &six]).await;
    // The name is gone, or it has no addresses: that is an answer, and not believed.
    for records in ["", "users 1 IN TXT nothing"] {
        server.set(records).await;
        eventually("there is nothing", async || {
            let aside = gateway.metrics().await;
            let series =
                "northgate_discovery_empty_total{northgate_upstream=\"users\",source=\"dns\"} ";
            let count = aside.lines().find_map(|line| line.strip_prefix(series))?;
            let before = if records.is_empty() { 0 } else { 1 };
            (count.parse::<u64>().unwrap() > before).then_some(())
        })
        .await;
        has(&gateway, &[&five, &six]).await;
        assert_eq!(standing(&gateway).await["up"], true);
    }
    println!("{} requests, none failed", traffic.end().await);
}

#[tokio::test]
async fn servers_of_a_service_have_ports_weights_and_priorities() {
    let origins = [1, 3].map(|weight| (weight, Origin::http1(move |_| text(weight.to_string()))));
    let record = |priority: u16, weight: u16, port: &str, name: &str| {
        format!("_http._tcp.users 1 IN SRV {priority} {weight} {port} {name}\n")
    };
    let hosts = "a 1 IN A 127.0.0.1\nb 1 IN A 127.0.0.1\n";
    let both: String = origins
        .iter()
        .map(|(weight, it)| record(0, *weight, it.port(), "a"))
        .collect();
    let mut server = NameServer::start(&format!("{hosts}{both}")).await;
    let gateway = Gateway::start(&toml(&service(&server))).await;
    let [one, three] = [&origins[0].1, &origins[1].1].map(ToString::to_string);
    has(&gateway, &[&one, &three]).await;
    let client = gateway.http1();
    let mut of_three = 0;
    for _ in 0..40 {
        of_three += usize::from(client.send(get("/")).await.text() == "3");
    }
    assert_eq!(of_three, 30);
    server
        .set(&format!(
            "{hosts}{}",
            record(0, 1, origins[0].1.port(), "b")
        ))
        .await;
    has(&gateway, &[&one]).await;
    // A target of `.` says that there is no such service.
    server.set("_http._tcp.users 1 IN SRV 0 0 0 .").await;
    let aside = "northgate_discovery_empty_total{northgate_upstream=\"users\",source=\"dns\"}";
    eventually("it is left aside", async || {
        gateway.metrics().await.contains(aside).then_some(())
    })
    .await;
    has(&gateway, &[&one]).await;
}

#[tokio::test]
async fn many_answers_come_over_tcp() {
    // Forty servers of long names do not fit into a datagram.
    let long = "a-name-that-takes-much-room-in-an-answer-of-many";
    let records: String = (1..=40)
        .map(|number| {
            format!(
                "_http._tcp.users 1 IN SRV 0 1 80 n{number}.{long}{number}\nn{number}.{long}{number} 1 IN A 10.1.0.{number}\n"
            )
        })
        .collect();
    let server = NameServer::start(&records).await;
    let gateway = Gateway::start(&toml(&service(&server))).await;
    let expected: Vec<String> = (1..=40)
        .map(|number| format!("10.1.0.{number}:80"))
        .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    has(&gateway, &expected).await;
}

#[tokio::test]
async fn no_request_waits_for_a_name_server() {
    let origins = fleet(&["127.0.0.7"]);
    let server = NameServer::start("users 1 IN A 127.0.0.7").await;
    let gateway = Gateway::start(&toml(&name(&server, &origins[0]))).await;
    let client = gateway.http1();
    assert_eq!(client.send(get("/")).await.status, 200);
    server.pause();
    eventually("it is silent", async || {
        (standing(&gateway).await["up"] == false).then_some(())
    })
    .await;
    // Every question takes seconds now, and none of the requests does.
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(client.send(get("/")).await.status, 200);
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    server.resume();
    eventually("it answers again", async || {
        (standing(&gateway).await["up"] == true).then_some(())
    })
    .await;
}

/// A name in a zone that the server does not know, which it refuses to answer for.
#[tokio::test]
async fn a_server_of_a_service_that_cannot_be_resolved_concerns_nobody_else() {
    let origin = Origin::http1(|_| text("well"));
    let record = |name: &str| format!("_http._tcp.users 1 IN SRV 0 1 {} {name}\n", origin.port());
    let records = format!("a 1 IN A 127.0.0.1\n{}", record("a"));
    let mut server = NameServer::start(&records).await;
    let gateway = Gateway::start(&toml(&service(&server))).await;
    let traffic = Crowd::on(gateway.address());
    server
        .set(&format!("{records}{}", record("b.elsewhere.")))
        .await;
    eventually("the name is told of", async || {
        let shown = standing(&gateway).await;
        let error = shown["last_error"]["error"].as_str()?.to_owned();
        assert_eq!(shown["up"], true, "{shown}");
        error.contains("b.elsewhere").then_some(())
    })
    .await;
    has(&gateway, &[&origin.to_string()]).await;
    traffic.more(20).await;
    println!("{} requests, none failed", traffic.end().await);
}
