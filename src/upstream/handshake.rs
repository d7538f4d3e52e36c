//! TLS of HTTP/1.1 connections, which this room opens itself: whom to believe, and who the gateway says it is.

use std::sync::Arc;
use std::time::Duration;

use pingora::{Error, ErrorType, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connect::Duplex;

/// A decrypted connection.
pub(super) type Secured = TlsStream<Box<dyn Duplex>>;

/// Whose word is taken for who an endpoint is.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    Authorities(Arc<RootCertStore>),
    Anybody,
}

/// A certificate chain with its key.
pub(super) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What all handshakes of an upstream have in common, the sessions that can be resumed among them.
pub(super) fn connector(trust: Trust, own: Option<Pair>) -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::Authorities(roots) => builder.with_root_certificates(roots),
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody::new(&provider))),
    };
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// How connections to one endpoint become TLS.
#[derive(Clone)]
pub(super) struct Handshake {
    connector: TlsConnector,
    host: Box<str>,
    /// What the certificate must be for; `None` where none can be for such a host.
    name: Option<ServerName<'static>>,
    /// For the transport and for the handshake, where each has its own limit.
    apart: Option<(Duration, Duration)>,
}

impl Handshake {
    pub(super) fn new(
        connector: TlsConnector,
        host: &str,
        apart: Option<(Duration, Duration)>,
    ) -> Handshake {
        Handshake {
            connector,
            host: host.into(),
            name: ServerName::try_from(host.to_owned()).ok(),
            apart,
        }
    }

    /// How long the transport below may take, where that is not all that there is.
    pub(super) fn for_transport(&self) -> Option<Duration> {
        self.apart.map(|(transport, _)| transport)
    }

    /// Waits for the other side for as long as it is let.
    pub(super) async fn secure(&self, socket: Box<dyn Duplex>) -> Result<Box<Secured>> {
        let kind = ErrorType::TLSHandshakeFailure;
        let Some(name) = self.name.clone() else {
            let why = format!("no certificate can be for {}", self.host);
            return Err(Error::explain(kind, why).into_up());
        };
        let connecting = self.connector.connect(name, socket);
        let connected = match self.apart {
            None => Ok(connecting.await),
            Some((_, limit)) => tokio::time::timeout(limit, connecting).await,
        };
        match connected {
            Err(_) => {
                let why = format!("the TLS handshake with {}", self.host);
                Err(Error::explain(ErrorType::TLSHandshakeTimedout, why).into_up())
            }
            Ok(Ok(secured)) => Ok(Box::new(secured)),
            Ok(Err(error)) => {
                let why = format!("the TLS handshake with {}", self.host);
                Err(Error::because(kind, why, error).into_up())
            }
        }
    }
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake")
            .field("host", &self.host)
            .finish()
    }
}

/// Believes any certificate, whose key the other side must have all the same.
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl Anybody {
    fn new(provider: &CryptoProvider) -> Anybody {
        Anybody {
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

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
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn pair() -> Pair {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        (vec![cert.der().clone()], key)
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let ((chain, key), (_, other)) = (pair(), pair());
        assert!(connector(Trust::Anybody, Some((chain.clone(), key))).is_ok());
        let refused = connector(Trust::Anybody, Some((chain, other)));
        assert!(matches!(
            refused.err(),
            Some(rustls::Error::InconsistentKeys(_))
        ));
    }

    #[test]
    fn what_no_certificate_can_be_for_has_no_name() {
        for (host, has_name) in [
            ("shop.test", true),
            ("a_b.shop.test", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("", false),
            ("a b", false),
        ] {
            let connector = connector(Trust::Anybody, None).unwrap();
            let handshake = Handshake::new(connector, host, None);
            assert_eq!(handshake.name.is_some(), has_name, "{host}");
        }
    }
}
