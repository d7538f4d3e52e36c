//! Whether a listener would serve, found out by a request that no client sent.
//!
//! The request comes by a connection that goes through the listener's TLS, the reading of HTTP and the proxy, as
//! every other does, but not through its socket. Its method is `TRACE`, which the gateway answers by itself (501), so
//! that no upstream sees it; the access log and the metrics do.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::listener::{self, Drain, Listener, OpenConnections, Protocol, Serve};

/// For the whole of it: nothing in it leaves the process.
const LIMIT: Duration = Duration::from_secs(10);
/// What HTTP/1.1 is asked, and how the answer begins.
const QUESTION: &[u8] =
    b"TRACE / HTTP/1.1\r\nhost: northgate.invalid\r\nuser-agent: northgate-upgrade\r\nconnection: close\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 501 ";

/// Why a listener is not known to serve.
#[derive(Debug, thiserror::Error)]
#[error("listener {name} does not serve: {cause}")]
pub struct Unproven {
    name: Box<str>,
    cause: io::Error,
}

/// Asks a listener that accepts nothing yet.
pub(in crate::gateway) async fn prove(
    listener: &Arc<Listener>,
    server: Arc<dyn Serve>,
) -> Result<(), Unproven> {
    let asked = async {
        let (open, _) = OpenConnections::new();
        let stream = listener::connect(listener, server, open, Drain::new())?;
        ask(listener, stream).await
    };
    let outcome = match tokio::time::timeout(LIMIT, asked).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::Error::other(format!(
            "there was no answer in {LIMIT:?}"
        ))),
    };
    outcome.map_err(|cause| Unproven {
        name: listener.name.clone(),
        cause,
    })
}

async fn ask(
    listener: &Listener,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<()> {
    let protocol = listener.protocols().into_iter().last();
    let protocol = protocol.ok_or_else(|| io::Error::other("it speaks no protocol"))?;
    if !listener.is_tls() {
        return speak(protocol, stream).await;
    }
    let connector = TlsConnector::from(Arc::new(trusting(protocol)?));
    // An address is no name to ask for, so the first certificate is shown.
    let nobody = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
    let is_told = |error: &io::Error| {
        let cause = error.get_ref().and_then(|it| it.downcast_ref());
        matches!(cause, Some(rustls::Error::AlertReceived(_)))
    };
    match connector.connect(nobody, stream).await {
        // Nobody has a certificate that it would take: it has shown its own, and proven that it has the key.
        Ok(_) if listener.requires_certificates() => Ok(()),
        Err(error) if listener.requires_certificates() && is_told(&error) => Ok(()),
        Ok(stream) => speak(protocol, stream).await,
        Err(error) => Err(error),
    }
}

async fn speak(
    protocol: Protocol,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<()> {
    match protocol {
        Protocol::Http11 => speak_http1(stream).await,
        Protocol::H2 => speak_h2(stream).await,
    }
}

async fn speak_http1(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.write_all(QUESTION).await?;
    stream.flush().await?;
    let mut begin = [0; ANSWER.len()];
    stream.read_exact(&mut begin).await?;
    match begin == *ANSWER {
        true => Ok(()),
        false => Err(unexpected(&String::from_utf8_lossy(&begin))),
    }
}

async fn speak_h2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<()> {
    let (mut requests, connection) = h2::client::handshake(stream)
        .await
        .map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let mut question = Request::new(());
    *question.method_mut() = Method::TRACE;
    *question.uri_mut() = http::Uri::from_static("http://northgate.invalid/");
    let (answer, _) = requests
        .send_request(question, true)
        .map_err(io::Error::other)?;
    let answer = answer.await.map_err(io::Error::other);
    connection.abort();
    match answer?.status() {
        StatusCode::NOT_IMPLEMENTED => Ok(()),
        other => Err(unexpected(other.as_str())),
    }
}

fn unexpected(answer: &str) -> io::Error {
    io::Error::other(format!("it was asked for 501 and answered {answer:?}"))
}

/// A client that takes any certificate whose key is proven.
fn trusting(protocol: Protocol) -> io::Result<ClientConfig> {
    let provider = CryptoProvider::get_default();
    let provider = provider.ok_or_else(|| io::Error::other("no cryptography is installed"))?;
    let mut config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider.clone())))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    Ok(config)
}

/// Takes any certificate. Who it names does not matter to whoever has just loaded it.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
