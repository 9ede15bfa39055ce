//! The identities of hosts: a secret key of each, known by the fingerprint of its public key.
//!
//! A topology pins the public key of an agent, and an agent those of its peers: there is no certificate authority. For TLS, a
//! pinned key becomes the root certificate of its own certificate: rustls takes the subject and the key of a root, and does not
//! check its signature.
//!
//! Zenoh's clients trust the authorities of the web as well, and the name in a certificate cannot be compared with an address.
//! So each session refuses every message of a peer whose certificate does not have a pinned fingerprint as its name: an
//! authority certifies domain names, and a fingerprint is none.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use camrig::files::NewFile;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SignatureAlgorithm, date_time_ymd,
};
use serde_json::json;

/// The beginning of a fingerprint.
const BEGIN: &str = "ed25519:";

/// The number of bytes of a public key.
const KEY_BYTES: usize = 32;

/// Maximum size of the file of an identity, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Permissions of the file: only its owner can read it.
const SECRET: u32 = 0o600;

/// Permissions that it must not have.
const OTHERS: u32 = 0o077;

/// Maximum number of pinned peers of a session.
pub const PEERS_MAX: usize = 64;

/// An error of an identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file that cannot be read or written.
    #[error("identity `{path}` {fact}")]
    File {
        /// The file.
        path: PathBuf,
        /// A phrase that follows its name.
        fact: String,
    },
    /// A text that is not a fingerprint.
    #[error(
        "`{0}` is not a fingerprint: expected `ed25519:` and 43 characters, as `camrig join --new-identity` prints them"
    )]
    Fingerprint(String),
    /// No pinned peer, or too many.
    #[error("a session has {0} pinned peers; it needs 1 to {PEERS_MAX}")]
    Peers(usize),
    /// A certificate that cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A configuration that Zenoh refuses.
    #[error("TLS cannot be configured: {0}")]
    Session(String),
}

/// The public key of a host.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; KEY_BYTES]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{BEGIN}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let key = text.strip_prefix(BEGIN).and_then(|key| URL_SAFE_NO_PAD.decode(key).ok());
        let key = key.and_then(|key| key.try_into().ok());
        key.map(Self).ok_or_else(|| IdentityError::Fingerprint(text.to_owned()))
    }
}

impl PublicKeyData for Fingerprint {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl Fingerprint {
    fn of(key: &KeyPair) -> Result<Self, IdentityError> {
        let raw = key.public_key_raw();
        raw.try_into()
            .map(Self)
            .map_err(|_| IdentityError::Fingerprint(format!("a key of {} bytes", raw.len())))
    }

    /// Returns the name of the certificate of its host.
    fn name(self) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, self.to_string());
        name
    }

    /// Returns the certificate that makes the host's own one trusted.
    fn root(self) -> Result<String, IdentityError> {
        let mut params = params(self);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // The signature of a root is never checked, and its key is not available here.
        let any = KeyPair::generate_for(&PKCS_ED25519)?;
        Ok(params.signed_by(&self, &Issuer::from_params(&params, &any))?.pem())
    }
}

/// Returns the certificate of a host as it is before it is signed. It does not expire: the topology pins the key, so a new
/// key needs a change of the topology.
fn params(fingerprint: Fingerprint) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = fingerprint.name();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params
}

/// Makes an identity: a file with a secret key, which only its owner can read. Returns its fingerprint.
///
/// # Errors
/// If the file exists, or cannot be written.
pub fn create(path: &Path) -> Result<Fingerprint, IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let fingerprint = Fingerprint::of(&key)?;
    let write = |mut file: NewFile| {
        file.file().set_permissions(fs::Permissions::from_mode(SECRET))?;
        file.file().write_all(key.serialize_pem().as_bytes())?;
        file.keep()
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made =
        folder.map_or(Ok(()), fs::create_dir_all).and_then(|()| NewFile::creating(path)).and_then(write);
    let refused = |error: io::Error| {
        let fact = match error.kind() {
            io::ErrorKind::AlreadyExists => "exists; it is not replaced".to_owned(),
            _ => format!("cannot be written: {error}"),
        };
        IdentityError::File { path: path.to_owned(), fact }
    };
    made.map_err(refused)?;
    Ok(fingerprint)
}

/// Returns the fingerprint of the identity in a file.
///
/// # Errors
/// If there is none, or other users can read it.
pub fn read(path: &Path) -> Result<Fingerprint, IdentityError> {
    Fingerprint::of(&read_key(path)?)
}

fn read_key(path: &Path) -> Result<KeyPair, IdentityError> {
    let refused = |fact: String| IdentityError::File { path: path.to_owned(), fact };
    let describe = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            refused("does not exist; `camrig join --new-identity` makes one".to_owned())
        }
        _ => refused(format!("cannot be read: {error}")),
    };
    let file = fs::File::open(path).map_err(describe)?;
    if file.metadata().map_err(describe)?.permissions().mode() & OTHERS != 0 {
        return Err(refused("can be read by other users; `chmod 600` keeps it secret".to_owned()));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(describe)?;
    let key = KeyPair::from_pkcs8_pem_and_sign_algo(&text, &PKCS_ED25519);
    key.map_err(|_| refused("is not an Ed25519 key; `camrig join --new-identity` makes one".to_owned()))
}

/// Returns the certificate that a host shows.
fn certificate(key: &KeyPair) -> Result<String, IdentityError> {
    let mut params = params(Fingerprint::of(key)?);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params.self_signed(key)?.pem())
}

/// Returns the file of the identity of this user: `CAMRIG_IDENTITY`, or `camrig/identity.pem` in the folder of configurations.
pub fn default_file() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("CAMRIG_IDENTITY").unwrap_or_else(|| {
        let home = || folder("HOME").unwrap_or_default().join(".config");
        folder("XDG_CONFIG_HOME").unwrap_or_else(home).join("camrig/identity.pem")
    })
}

/// Configures a session with TLS: both sides show certificates, and only pinned peers are trusted.
///
/// # Errors
/// If the identity cannot be read, or there is no pinned peer.
pub fn secure(
    config: &mut zenoh::Config,
    identity: &Path,
    peers: &[Fingerprint],
) -> Result<(), IdentityError> {
    if peers.is_empty() || peers.len() > PEERS_MAX {
        return Err(IdentityError::Peers(peers.len()));
    }
    let key = read_key(identity)?;
    let certificate = certificate(&key)?;
    let roots: Vec<_> = peers.iter().map(|peer| peer.root()).collect::<Result<_, _>>()?;
    let (key, certificate, roots) =
        (STANDARD.encode(key.serialize_pem()), STANDARD.encode(certificate), STANDARD.encode(roots.concat()));
    let tls = json!({
        "root_ca_certificate_base64": roots,
        "listen_private_key_base64": key,
        "listen_certificate_base64": certificate,
        "connect_private_key_base64": key,
        "connect_certificate_base64": certificate,
        "enable_mtls": true,
        "verify_name_on_connect": false,
    });
    let names: Vec<_> = peers.iter().map(Fingerprint::to_string).collect();
    let messages = [
        "put",
        "delete",
        "declare_subscriber",
        "query",
        "reply",
        "declare_queryable",
        "liveliness_token",
        "declare_liveliness_subscriber",
        "liveliness_query",
    ];
    let access = json!({
        "enabled": true,
        "default_permission": "deny",
        "rules": [{
            "id": "all", "permission": "allow", "flows": ["ingress", "egress"], "messages": messages, "key_exprs": ["**"],
        }],
        "subjects": [{ "id": "pinned", "cert_common_names": names }],
        "policies": [{ "rules": ["all"], "subjects": ["pinned"] }],
    });
    for (key, value) in [("transport/link/tls", tls), ("access_control", access)] {
        config
            .insert_json5(key, &value.to_string())
            .map_err(|error| IdentityError::Session(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("of/arm.pem");
        let made = create(&path).unwrap();
        assert_eq!(read(&path).unwrap(), made);
        assert_eq!(made.to_string().parse::<Fingerprint>().unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SECRET);
        let again = create(&path).unwrap_err().to_string();
        assert_eq!(again, format!("identity `{}` exists; it is not replaced", path.display()));
        assert_eq!(read(&path).unwrap(), made);
    }

    #[test]
    fn an_identity_that_is_not_secret_or_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("arm.pem");
        let fact = |path: &Path| read(path).unwrap_err().to_string();
        assert!(fact(&path).ends_with("does not exist; `camrig join --new-identity` makes one"));
        create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(fact(&path).ends_with("can be read by other users; `chmod 600` keeps it secret"));
        fs::write(&path, "nothing").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(SECRET)).unwrap();
        assert!(fact(&path).ends_with("is not an Ed25519 key; `camrig join --new-identity` makes one"));
    }

    #[test]
    fn a_text_that_is_not_a_fingerprint_is_refused() {
        for text in ["", "ed25519:", "sha256:AAAA", "ed25519:AAAA", "ed25519:!!!"] {
            let refused = text.parse::<Fingerprint>().unwrap_err().to_string();
            assert!(refused.starts_with(&format!("`{text}` is not a fingerprint")), "{refused}");
        }
        let mut config = zenoh::Config::default();
        let refused = secure(&mut config, Path::new("/nowhere"), &[]).unwrap_err().to_string();
        assert_eq!(refused, "a session has 0 pinned peers; it needs 1 to 64");
    }
}
