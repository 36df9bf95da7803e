use super::*;

#[test]
fn refusals_are_read_in_both_forms() {
    let own = refusal(r#"{"error":{"code":"busy","text":"Printing."}}"#);
    assert_eq!(own, Some(("busy".to_owned(), "Printing.".to_owned())));
    let moonraker = refusal(r#"{"error":{"code":404,"message":"File not found","traceback":""}}"#);
    assert_eq!(moonraker, Some(("404".to_owned(), "File not found".to_owned())));
    assert_eq!(refusal("<html>"), None);
}

fn args(gateway: Option<&str>, config: PathBuf) -> GatewayArgs {
    GatewayArgs {
        gateway: gateway.map(str::to_owned),
        gateway_cert: None,
        gateway_pin: None,
        config: ConfigArgs { config: Some(config) },
    }
}

#[tokio::test]
async fn the_address_comes_from_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("moongate.toml");
    let printer = "[[printer]]\nname=\"a\"\nkind=\"elegoo_cc1\"\nhost=\"h\"\n";
    let environment = Environment::of(&[]);
    for (text, base) in [
        ("[gateway]\nlisten=\"0.0.0.0\"\nport=7200\n", "http://127.0.0.1:7200"),
        ("[gateway]\nlisten=\"::\"\n", "http://[::1]:7100"),
        ("", "http://127.0.0.1:7100"),
    ] {
        std::fs::write(&file, format!("{text}{printer}")).expect("written");
        let client = Client::new(&args(None, file.clone()), &environment).await;
        assert_eq!(client.expect("a client").base(), base);
    }
    for wrong in ["ftp://x", "x", "unix:/tmp/a"] {
        let made = Client::new(&args(Some(wrong), file.clone()), &environment).await;
        assert!(matches!(made, Err(ClientError::BadAddress(_))), "{wrong}");
    }
}

#[tokio::test]
async fn a_named_configuration_that_is_wrong_leads_to_no_other_gateway() {
    let folder = tempfile::tempdir().expect("a folder");
    let (none, wrong) = (folder.path().join("none.toml"), folder.path().join("wrong.toml"));
    std::fs::write(&wrong, "[gateway]\nprot = 7200\n").expect("written");
    let environment = Environment::of(&[]);
    for file in [&none, &wrong] {
        let made = Client::new(&args(None, file.clone()), &environment).await;
        assert!(matches!(made, Err(ClientError::Config(_))), "{}", file.display());
        let told = Client::new(&args(Some("http://127.0.0.1:9"), file.clone()), &environment).await;
        assert!(told.is_ok(), "an address needs no configuration");
    }
    let named = Environment::of(&[("MOONGATE_CONFIG", none.to_str().expect("text"))]);
    let unnamed = GatewayArgs { config: ConfigArgs { config: None }, ..args(None, none.clone()) };
    assert!(matches!(Client::new(&unnamed, &named).await, Err(ClientError::Config(_))));
    let home = Environment::of(&[("XDG_CONFIG_HOME", folder.path().to_str().expect("text"))]);
    assert_eq!(Client::new(&unnamed, &home).await.expect("a client").base(), "http://127.0.0.1:7100");
}

#[test]
fn a_key_is_taken_without_the_end_of_its_line() {
    assert_eq!(header("abc123\n").expect("a key"), "abc123");
    assert!(matches!(header("a\nb"), Err(ClientError::BadKey)));
}

#[tokio::test]
async fn https_wants_to_know_the_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let environment = Environment::of(&[]);
    let nothing = folder.path().join("missing.toml");
    let made = Client::new(&args(Some("https://127.0.0.1:9/"), nothing), &environment).await;
    assert!(matches!(made, Err(ClientError::NoPin(_))));
    let file = folder.path().join("moongate.toml");
    let text = format!("[gateway]\ntls=\"self-signed\"\nstate_dir={:?}\n", folder.path());
    let printer = "[[printer]]\nname=\"a\"\nkind=\"elegoo_cc1\"\nhost=\"h\"\n";
    std::fs::write(&file, format!("{text}{printer}")).expect("written");
    let made = Client::new(&args(None, file), &environment).await;
    let told = made.err().expect("no certificate yet").to_string();
    assert!(told.contains("cert.pem") && told.contains("--gateway-pin"), "{told}");
}

#[tokio::test]
async fn a_stranger_is_told_what_to_do() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let body = r#"{"error":{"code":401,"message":"Unauthorized","traceback":""}}"#;
    let router =
        axum::Router::new().fallback(move || async move { (axum::http::StatusCode::UNAUTHORIZED, body) });
    tokio::spawn(axum::serve(listener, router).into_future());
    let client = Client::new(&args(Some(&url), PathBuf::from("missing.toml")), &Environment::of(&[])).await;
    let refused = client.expect("a client").get::<Value>("/status").await;
    let told = refused.expect_err("no credentials").to_string();
    assert!(told.contains("MOONGATE_API_KEY"), "{told}");
}

#[test]
fn exit_codes_tell_what_to_do_next() {
    let refused = |code: &str| ClientError::Refused { code: code.to_owned(), text: String::new() }.exit();
    assert_eq!(format!("{:?}", refused("busy")), format!("{:?}", ExitCode::from(75)));
    assert_eq!(format!("{:?}", refused("filament")), format!("{:?}", ExitCode::from(1)));
}
