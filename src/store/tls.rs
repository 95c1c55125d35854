//! TLS for those who ask others, by `rustls` with `ring`: no system library, no version of OpenSSL to be found at run time,
//! and nothing older than TLS 1.2. Behind the feature `tls`; without it only plain places can be asked.

#[cfg(feature = "tls")]
use std::path::Path;
use std::path::PathBuf;

/// Where certificates are; all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Who may vouch for the other side; `None`: whom this system trusts.
    pub ca: Option<PathBuf>,
    /// Shown to the other side, with those behind it; needs `key`.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// Why TLS cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file is no PEM, is not there, has nothing of use.
    #[error("cannot use {}: {why}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// A certificate without its key, or the other way round.
    #[error("cannot show a certificate: certificate and key are needed, and only one is named")]
    Half,
    /// Nobody is named whom to trust, and the system names nobody.
    #[error("cannot trust anybody: no certificates of authorities were found on this system")]
    Nobody,
    /// It was left out when this program was built.
    #[cfg(not(feature = "tls"))]
    #[error("cannot use https: this woodward was built without the feature tls")]
    LeftOut,
}

/// Where systems keep the certificates they trust.
#[cfg(feature = "tls")]
const TRUSTED: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

#[cfg(feature = "tls")]
mod real {
    use std::io;
    use std::sync::Arc;

    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::{Files, Path, TRUSTED, TlsError};

    /// Whom to trust and what to show. Cheap to clone.
    #[derive(Clone)]
    pub struct Tls(TlsConnector);

    impl std::fmt::Debug for Tls {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Tls")
        }
    }

    impl Tls {
        /// Reads the files.
        pub fn open(files: &Files) -> Result<Tls, TlsError> {
            let mut roots = RootCertStore::empty();
            match &files.ca {
                Some(ca) => {
                    for certificate in certificates(ca)? {
                        roots.add(certificate).map_err(|error| unusable(ca, error))?;
                    }
                }
                None => {
                    let found = TRUSTED.iter().find_map(|file| certificates(Path::new(file)).ok());
                    roots.add_parsable_certificates(found.ok_or(TlsError::Nobody)?);
                }
            }
            let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| unusable(Path::new("ring"), error))?
                .with_root_certificates(roots);
            let config = match (&files.certificate, &files.key) {
                (Some(certificate), Some(key)) => {
                    let shown = certificates(certificate)?;
                    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error))?;
                    config.with_client_auth_cert(shown, secret).map_err(|error| unusable(key, error))?
                }
                (None, None) => config.with_no_client_auth(),
                _ => return Err(TlsError::Half),
            };
            Ok(Tls(TlsConnector::from(Arc::new(config))))
        }

        /// Shakes hands with `host`, a name or a number, which its certificate must name.
        pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            self.0.connect(name, stream).await
        }
    }

    fn unusable(file: &Path, error: impl std::fmt::Display) -> TlsError {
        TlsError::File { file: file.to_owned(), why: error.to_string() }
    }

    fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let all: Vec<_> = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<_, _>>)
            .map_err(|error| unusable(file, error))?;
        if all.is_empty() { Err(unusable(file, "there is no certificate in it")) } else { Ok(all) }
    }
}

#[cfg(not(feature = "tls"))]
mod real {
    use std::convert::Infallible;
    use std::io;

    use tokio::net::TcpStream;

    use super::{Files, TlsError};

    /// There is none.
    #[derive(Clone, Debug)]
    pub struct Tls(Infallible);

    impl Tls {
        /// Refuses.
        pub fn open(_: &Files) -> Result<Tls, TlsError> {
            Err(TlsError::LeftOut)
        }

        /// Never called.
        pub async fn connect(&self, _: &str, _: TcpStream) -> io::Result<TcpStream> {
            match self.0 {}
        }
    }
}

pub use real::Tls;

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_certificates_are_said_with_their_name() {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "").expect("a file can be written");
        let gone = dir.path().join("gone.pem");
        for (files, file) in [
            (Files { ca: Some(gone.clone()), ..Files::default() }, &gone),
            (Files { ca: Some(empty.clone()), ..Files::default() }, &empty),
        ] {
            let said = Tls::open(&files).expect_err("it is refused").to_string();
            assert!(said.starts_with(&format!("cannot use {}: ", file.display())), "{said}");
        }
    }
}
