//! Certificates, keys, authorities and revocation lists that change while they are used.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use crate::harness::*;

async fn gateway(tls: &str) -> Gateway {
    Gateway::start(&format!(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        tls = {{ {tls} }}

        [routes.all]
        match = {{ path = "/{{*rest}}" }}
        respond = {{ body = "served" }}
        "#
    ))
    .await
}

/// Whether a new connection for this name is shown this certificate. Every handshake must succeed.
async fn is_shown(gateway: &Gateway, name: &str, by: &Authority, expected: &Certificate) -> bool {
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(by.client_config()));
    let stream = within("the handshake", connector.connect(name, stream)).await;
    let stream = stream.expect("a handshake");
    stream.get_ref().1.peer_certificates().unwrap()[0] == expected.der
}

async fn until_shown(gateway: &Gateway, name: &str, by: &Authority, expected: &Certificate) {
    eventually("a new certificate", async || {
        is_shown(gateway, name, by, expected).await.then_some(())
    })
    .await;
}

/// Waits until this many changes have come to this end.
async fn until_counted(gateway: &Gateway, result: &str, count: u32) {
    let series = format!(
        "northgate_certificate_reloads_total{{northgate_listener=\"public\",result=\"{result}\"}} {count}\n"
    );
    eventually(&series, async || {
        gateway.metrics().await.contains(&series).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_leaves_the_others() {
    let authority = Authority::new();
    let (old, new) = (
        authority.issue(&["shop.test"]),
        authority.issue(&["shop.test"]),
    );
    let gateway = gateway(&format!("certificates = [{}]", old.entry())).await;
    let clients = [Protocol::Http1, Protocol::H2].map(|protocol| {
        let config = authority.client_config();
        (
            protocol,
            Client::over_tls(gateway.address(), protocol, "shop.test", config),
        )
    });
    for (_, client) in &clients {
        assert_eq!(client.send(get("/")).await.text(), "served");
    }
    assert!(is_shown(&gateway, "shop.test", &authority, &old).await);
    old.replace_by(&new);
    until_shown(&gateway, "shop.test", &authority, &new).await;
    for (protocol, client) in &clients {
        assert_eq!(client.send(get("/")).await.text(), "served", "{protocol:?}");
    }
    let metrics = gateway.metrics().await;
    // Two connections that were open before, and the one that asks for the metrics is not among them.
    let open = "northgate_connections{northgate_listener=\"public\"} 2\n";
    assert!(metrics.contains(open), "{metrics}");
    let (_, expiry) = metrics
        .split_once("northgate_certificate_not_after_timestamp_seconds{certificate=")
        .expect("when it expires");
    assert!(
        expiry.starts_with(&format!("{:?}", old.cert_path)),
        "{expiry}"
    );
}

#[tokio::test]
async fn a_pair_is_taken_whole_or_not_at_all() {
    let authority = Authority::new();
    let (old, new) = (
        authority.issue(&["shop.test"]),
        authority.issue(&["shop.test"]),
    );
    let other = authority.issue(&["other.test"]);
    let gateway = gateway(&format!(
        "certificates = [{}, {}]",
        old.entry(),
        other.entry()
    ))
    .await;
    // The certificate has come, its key has not.
    std::fs::copy(&new.cert_path, &old.cert_path).unwrap();
    until_counted(&gateway, "refused", 1).await;
    assert!(is_shown(&gateway, "shop.test", &authority, &old).await);
    // One that waits for its key holds up no other.
    let newer = authority.issue(&["other.test"]);
    other.replace_by(&newer);
    until_shown(&gateway, "other.test", &authority, &newer).await;
    assert!(is_shown(&gateway, "shop.test", &authority, &old).await);
    std::fs::copy(&new.key_path, &old.key_path).unwrap();
    until_shown(&gateway, "shop.test", &authority, &new).await;
}

#[tokio::test]
async fn bad_files_change_nothing() {
    let authority = Authority::new();
    let pair = authority.issue(&["shop.test"]);
    let gateway = gateway(&format!("certificates = [{}]", pair.entry())).await;
    let good = std::fs::read(&pair.cert_path).unwrap();
    let half = &good[..good.len() / 2];
    let mut refused = 0;
    for bad in [&b""[..], b"garbage", half] {
        std::fs::write(&pair.cert_path, bad).unwrap();
        refused += 1;
        // A file that has just changed is looked at twice, so the count may run ahead.
        eventually("a refusal", async || {
            let metrics = gateway.metrics().await;
            let line = metrics
                .lines()
                .find(|line| line.contains("result=\"refused\""))?;
            let count: u32 = line.rsplit_once(' ')?.1.parse().ok()?;
            (count >= refused).then(|| refused = count)
        })
        .await;
        assert!(is_shown(&gateway, "shop.test", &authority, &pair).await);
    }
    std::fs::remove_file(&pair.cert_path).unwrap();
    until_more_refused(&gateway, refused).await;
    assert!(is_shown(&gateway, "shop.test", &authority, &pair).await);
    // What was there comes back: nothing is new, and nothing is wrong.
    std::fs::write(&pair.cert_path, &good).unwrap();
    let new = authority.issue(&["shop.test"]);
    pair.replace_by(&new);
    until_shown(&gateway, "shop.test", &authority, &new).await;
}

async fn until_more_refused(gateway: &Gateway, than: u32) {
    eventually("one more refusal", async || {
        let metrics = gateway.metrics().await;
        let mut lines = metrics.lines();
        let line = lines.find(|line| line.contains("result=\"refused\""))?;
        let count: u32 = line.rsplit_once(' ')?.1.parse().ok()?;
        (count > than).then_some(())
    })
    .await;
}

/// As container platforms mount secrets: the files are links into a folder that is itself a link, and that one is
/// changed at once.
#[tokio::test]
async fn a_link_that_leads_elsewhere_is_a_change() {
    let authority = Authority::new();
    let (old, new) = (
        authority.issue(&["shop.test"]),
        authority.issue(&["shop.test"]),
    );
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let link = |to: &Path, from: &str| std::os::unix::fs::symlink(to, at(from)).unwrap();
    for (version, pair) in [("1", &old), ("2", &new)] {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::copy(&pair.cert_path, at(version).join("tls.crt")).unwrap();
        std::fs::copy(&pair.key_path, at(version).join("tls.key")).unwrap();
    }
    link(Path::new("1"), "data");
    link(Path::new("data/tls.crt"), "tls.crt");
    link(Path::new("data/tls.key"), "tls.key");
    let gateway = gateway(&format!(
        "certificates = [{{ cert = {:?}, key = {{ file = {:?} }} }}]",
        at("tls.crt"),
        at("tls.key")
    ))
    .await;
    assert!(is_shown(&gateway, "shop.test", &authority, &old).await);
    link(Path::new("2"), "new");
    std::fs::rename(at("new"), at("data")).unwrap();
    until_shown(&gateway, "shop.test", &authority, &new).await;
}

#[tokio::test]
async fn who_is_revoked_comes_in_no_more_and_resumes_nothing() {
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let client = authority.issue(&["billing.test"]);
    let list = authority.revoke(&[]);
    let gateway = gateway(&format!(
        "certificates = [{}], client_auth = {{ mode = \"required\", ca = {:?}, crl = [{list:?}] }}",
        server.entry(),
        authority.path()
    ))
    .await;
    // One client keeps its connection; others come anew, with the tickets that they were given.
    let config = authority.client_config_with(&client);
    let keeps = Client::over_tls(
        gateway.address(),
        Protocol::Http1,
        "shop.test",
        config.clone(),
    );
    assert_eq!(keeps.send(get("/")).await.text(), "served");
    let anew = async || {
        // The store of sessions is shared by clones of a configuration.
        let config: ClientConfig = config.clone();
        let client = Client::over_tls(gateway.address(), Protocol::Http1, "shop.test", config);
        within("an end", client.try_send(get("/"))).await.is_ok()
    };
    assert!(anew().await);
    // Garbage opens no door and closes none.
    let good = std::fs::read(&list).unwrap();
    std::fs::write(&list, "garbage").unwrap();
    until_more_refused(&gateway, 0).await;
    assert!(anew().await);
    std::fs::write(&list, &good).unwrap();
    authority.revoke(&[&client]);
    eventually("a refusal", async || (!anew().await).then_some(())).await;
    assert!(!anew().await);
    assert_eq!(keeps.send(get("/")).await.text(), "served");
    // Pardoned.
    authority.revoke(&[]);
    eventually("an admission", async || anew().await.then_some(())).await;
}
