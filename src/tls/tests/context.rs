//! Which certificate a client is shown, and files that are at fault.

use std::fs;

use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;

use super::authority::Certified;
use super::*;
use crate::error::Error;

/// The certificate that a client is shown who asks for a host.
fn shown(context: &Arc<Context>, name: &str) -> CertificateDer<'static> {
    let network = Network::new(1, Faults::none());
    let driver = Tls::new(network.driver(&Limits::default()), Arc::clone(context), None);
    let mut bench = Bench { network, driver, reported: VecDeque::new() };
    bench.driver.listen(address());
    let config = Arc::new(authority().client());
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let tls = ClientConnection::new(config, name).unwrap();
    let client = bench.network.connect(address());
    let mut peer = Peer { tls, client, received: Vec::new(), is_finished: false };
    bench.accept();
    bench.settle(&mut peer);
    peer.tls.peer_certificates().unwrap()[0].clone()
}

fn options(certified: &Certified) -> TlsOptions {
    TlsOptions::pem_files(&certified.chain, &certified.key)
}

#[test]
fn a_host_has_its_certificate_and_all_others_the_default() {
    let authority = authority();
    // The client of these tests checks names, so that the default is good for some of its own.
    let default = authority.certify("default", &["localhost", "deep.b.example.org", "127.0.0.1"]);
    let exact = authority.certify("exact", &["a.example.org"]);
    let wild = authority.certify("wild", &["*.example.org"]);
    let options = options(&default).host("A.example.org", &exact.chain, &exact.key).host(
        "*.example.org",
        &wild.chain,
        &wild.key,
    );
    let context = Arc::new(Context::new(&options).unwrap());
    for (name, certified) in [
        ("localhost", &default),
        ("a.example.org", &exact),
        ("b.example.org", &wild),
        ("deep.b.example.org", &default),
        ("127.0.0.1", &default),
    ] {
        assert!(shown(&context, name) == certified.certificate(), "{name}");
    }
}

#[test]
fn new_handshakes_have_the_new_certificate_and_old_connections_stay() {
    let authority = authority();
    let (old, new) =
        (authority.certify("old", &["localhost"]), authority.certify("new", &["localhost"]));
    let served =
        Certified { chain: authority.path("served.pem"), key: authority.path("served.key") };
    old.replaces(&served);
    let context = Arc::new(Context::new(&options(&served)).unwrap());
    assert!(shown(&context, "localhost") == old.certificate());
    new.replaces(&served);
    assert!(shown(&context, "localhost") == old.certificate(), "nobody has asked to read it");
    context.reload().unwrap();
    assert!(shown(&context, "localhost") == new.certificate());
    fs::write(&served.chain, "nonsense").unwrap();
    let Err(Error::Tls(file, _)) = context.reload() else { panic!("it is nonsense") };
    assert_eq!(file, served.chain);
    assert!(shown(&context, "localhost") == new.certificate());
}

#[test]
fn an_error_names_the_file_and_what_is_wrong_with_it() {
    let authority = authority();
    let good = authority.certify("good", &["localhost"]);
    let other = authority.certify("other", &["localhost"]);
    let empty = authority.path("empty.pem");
    fs::write(&empty, "").unwrap();
    let missing = authority.path("missing.pem");
    let cases = [
        (&missing, &good.key, &missing, "No such file"),
        (&good.chain, &missing, &missing, "No such file"),
        (&empty, &good.key, &empty, "there is no certificate in it"),
        (&good.chain, &empty, &empty, "there is no private key in it"),
        (&good.key, &good.key, &good.key, "there is no certificate in it"),
        (&good.chain, &good.chain, &good.chain, "there is no private key in it"),
        (&good.chain, &other.key, &other.key, "it is not the key of"),
    ];
    for (chain, key, file, why) in cases {
        let error = Context::new(&TlsOptions::pem_files(chain, key)).unwrap_err();
        let text = error.to_string();
        assert!(matches!(&error, Error::Tls(named, _) if named == file), "{text}");
        assert!(text.contains(why), "{text}");
    }
    let error = Context::new(&options(&good).client_authority(&empty)).unwrap_err();
    assert!(matches!(error, Error::Tls(named, _) if named == empty));
    let error = Context::new(&options(&good).host("a", &missing, &good.key)).unwrap_err();
    assert!(matches!(error, Error::Tls(named, _) if named == missing));
}

#[test]
fn a_client_that_comes_back_goes_on_with_its_ticket_on_either_driver() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut here = Bench::new(Faults::none());
        let config = Arc::new(authority().client_of(&[version]));
        let (_, first) = here.connect_as(&config);
        assert_eq!(first.tls.handshake_kind(), Some(HandshakeKind::Full));
        let mut other = Bench::new(Faults::none());
        let (_, second) = other.connect_as(&config);
        assert_eq!(second.tls.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn a_client_that_insists_on_another_protocol_is_told_so() {
    for (offered, is_served) in [(&["h2"][..], false), (&["h2", "http/1.1"], true), (&[], true)] {
        let mut bench = Bench::new(Faults::none());
        let mut config = authority().client();
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        if is_served {
            let (_, peer) = bench.connect_as(&Arc::new(config));
            let agreed = (!offered.is_empty()).then_some(&b"http/1.1"[..]);
            assert_eq!(peer.tls.alpn_protocol(), agreed);
            continue;
        }
        let mut peer = Peer::new(&bench.network, &Arc::new(config));
        let key = bench.accept();
        peer.pump();
        bench.turn();
        bench.ends(key, Some(libc::EPROTO));
        let arrived = peer.client.read();
        peer.tls.read_tls(&mut &arrived[..]).unwrap();
        let told = peer.tls.process_new_packets().unwrap_err();
        let alert = rustls::AlertDescription::NoApplicationProtocol;
        assert_eq!(told, rustls::Error::AlertReceived(alert));
    }
}
