//! The files of the JavaScript client (protocol.md §17.4).

use std::fs;
use std::path::PathBuf;

use crate::inflate::decoded;
use crate::raw::request;
use crate::site::on_io_with;

const FILES: [&str; 4] =
    ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js"];

/// A package as npm would install it, removed when it is dropped.
struct Package(PathBuf);

impl Package {
    /// `name` tells the tests of this process apart.
    fn new(name: &str) -> Package {
        let own = format!("fanfare-bundle-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(own);
        fs::create_dir_all(folder.join("dist")).unwrap();
        fs::write(folder.join("package.json"), r#"{"version":"4.8.4"}"#).unwrap();
        for file in FILES {
            fs::write(folder.join("dist").join(file), format!("// {file}")).unwrap();
            let map = format!("{file}.map");
            fs::write(folder.join("dist").join(&map), format!("{{\"file\":\"{map}\"}}")).unwrap();
        }
        Package(folder)
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        // The folder is below the one for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bundle_head(content_type: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=0\r\nContent-Type: {content_type}\r\n\
         ETag: \"4.8.4\"\r\nContent-Length: {length}\r\nConnection: keep-alive\r\n\r\n"
    )
}

#[test]
fn b28_1_b28_2_b28_4_b28_9_b28_11_b34_12_b34_13_b34_15_b34_17_every_file_is_served() {
    let package = Package::new("served");
    on_io_with(
        |builder| builder.client_folder(package.0.join("dist")),
        |site| {
            let mut client = site.client();
            for file in FILES {
                for query in ["", "?v=1", "?"] {
                    let response = client.get(&format!("/socket.io/{file}{query}"));
                    let script = "application/javascript; charset=utf-8";
                    assert_eq!(response.head, bundle_head(script, response.body.len()));
                    assert_eq!(response.text(), format!("// {file}"));
                }
            }
        },
    );
}

#[test]
fn b28_3_b28_5_b28_10_b28_12_b34_14_b34_16_b34_18_every_file_has_its_map() {
    let package = Package::new("maps");
    on_io_with(
        |builder| builder.client_folder(package.0.join("dist")),
        |site| {
            let mut client = site.client();
            for file in FILES {
                let response = client.get(&format!("/socket.io/{file}.map"));
                let json = "application/json; charset=utf-8";
                assert_eq!(response.head, bundle_head(json, response.body.len()));
                assert_eq!(response.text(), format!("{{\"file\":\"{file}.map\"}}"));
            }
        },
    );
}

#[test]
fn b28_6_b28_7_files_are_compressed_as_the_client_likes() {
    let package = Package::new("compressed");
    let script = "const words = 'again and again';\n".repeat(100);
    fs::write(package.0.join("dist/socket.io.js"), &script).unwrap();
    on_io_with(
        |builder| builder.client_folder(package.0.join("dist")),
        |site| {
            let mut client = site.client();
            let mut get = |accepted: &str| {
                let headers = format!("Accept-Encoding: {accepted}\r\n");
                client.ask(request("GET /socket.io/socket.io.js", &headers))
            };
            for (accepted, encoding) in [
                ("gzip, deflate, br", "gzip"),
                ("gzip, deflate, br", "gzip"),
                ("deflate;q=0.9, gzip;q=0.1", "deflate"),
            ] {
                let response = get(accepted);
                assert_eq!(response.header("content-encoding"), Some(encoding));
                assert_eq!(response.header("etag"), Some("\"4.8.4\""));
                assert!(response.body.len() * 10 < script.len());
                assert_eq!(decoded(encoding, &response.body), script.as_bytes());
            }
            assert_eq!(get("identity").text(), script);
            #[cfg(feature = "brotli")]
            for accepted in ["br", "*"] {
                let response = get(accepted);
                assert_eq!(response.header("content-encoding"), Some("br"));
                let mut found = Vec::new();
                brotli::BrotliDecompress(&mut &response.body[..], &mut found).unwrap();
                assert_eq!(found, script.as_bytes());
            }
            let headers = "Accept-Encoding: gzip\r\nIf-None-Match: \"4.8.4\"\r\n";
            let known = client.ask(request("GET /socket.io/socket.io.js", headers));
            assert_eq!((known.status, known.header("content-encoding")), (304, None));
        },
    );
}

#[test]
fn b28_13_b28_14_b34_21_b34_22_the_tag_of_the_version_saves_the_body() {
    let package = Package::new("tags");
    on_io_with(
        |builder| builder.client_folder(package.0.join("dist")),
        |site| {
            let mut client = site.client();
            let mut status = |tag: &str| {
                let headers = format!("If-None-Match: {tag}\r\n");
                client.ask(request("GET /socket.io/socket.io.js", &headers)).status
            };
            for tag in ["\"4.8.4\"", "W/\"4.8.4\""] {
                assert_eq!(status(tag), 304, "{tag}");
            }
            for tag in ["\"4.8.3\"", "4.8.4", "*", "\"a\", \"4.8.4\"", ""] {
                assert_eq!(status(tag), 200, "{tag}");
            }
        },
    );
}

#[test]
fn b28_18_b28_19_b34_19_other_names_are_not_served() {
    let package = Package::new("names");
    on_io_with(
        |builder| builder.client_folder(package.0.join("dist")),
        |site| {
            let mut client = site.client();
            for name in [
                "socket.io.slim.js",
                "socket.io.js.map.map",
                "socket.io%2Ejs",
                "SOCKET.IO.JS",
                "./socket.io.js",
                "../package.json",
                "%2e%2e/package.json",
                "a/socket.io.js",
                "package.json",
                "__proto__",
            ] {
                let response = client.get(&format!("/socket.io/{name}"));
                let body = r#"{"code":0,"message":"Transport unknown"}"#;
                assert_eq!((response.status, response.text()), (400, body), "{name}");
            }
        },
    );
}

#[test]
fn b28_15_without_serve_client_there_are_no_files() {
    let package = Package::new("off");
    on_io_with(
        |builder| builder.client_folder(package.0.join("dist")).serve_client(false),
        |site| assert_eq!(site.client().get("/socket.io/socket.io.js").status, 400),
    );
}

#[test]
fn a_file_answers_every_method_and_its_body_is_left_out_for_head() {
    let package = Package::new("methods");
    on_io_with(
        |builder| builder.client_folder(package.0.join("dist")),
        |site| {
            let mut client = site.client();
            client.send(request("HEAD /socket.io/socket.io.js", ""));
            assert_eq!(client.head_response().header("content-length"), Some("15"));
            assert_eq!(client.ask(request("PUT /socket.io/socket.io.js", "")).status, 200);
            // A body that nobody reads ends the connection behind the answer.
            assert_eq!(client.post("/socket.io/socket.io.js", "GET / HTTP/1.1\r\n").status, 200);
            client.expect_end();
        },
    );
}

#[test]
fn a_folder_without_the_bundle_is_named() {
    let builder = fanfare::Server::builder().client_folder("/nowhere");
    let Err(error) = builder.build() else { panic!("there is no bundle") };
    assert!(error.to_string().starts_with("the client bundle is not in /nowhere"), "{error}");
}
