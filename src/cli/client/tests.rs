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
    assert!(told.contains("MOONGATE_API_KEY") && told.contains("moongate login"), "{told}");
}

/// A gateway with one user that takes one access token at a time; `/end` makes the next one needed, `/revoke` ends all.
async fn gateway_with_logins() -> String {
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::{get, post};
    use axum::{Json, Router};
    use std::sync::atomic::{AtomicU64, Ordering};
    const REVOKED: u64 = 1000;
    type Counter = std::sync::Arc<AtomicU64>;

    fn refused() -> (StatusCode, Json<Value>) {
        let error = serde_json::json!({"error": {"code": 401, "message": "Unauthorized"}});
        (StatusCode::UNAUTHORIZED, Json(error))
    }
    async fn status(State(now): State<Counter>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
        let wanted = format!("Bearer t.{}.x", now.load(Ordering::Relaxed));
        let shown = headers.get("authorization").and_then(|shown| shown.to_str().ok());
        if headers.get("x-api-key").is_some_and(|key| key == "right-key") {
            return (StatusCode::OK, Json(serde_json::json!({"by": "key"})));
        }
        if shown != Some(wanted.as_str()) {
            return refused();
        }
        (StatusCode::OK, Json(serde_json::json!({"by": "login"})))
    }
    async fn login(State(now): State<Counter>, Json(sent): Json<Value>) -> (StatusCode, Json<Value>) {
        if sent["password"] != "correct horse" {
            let error = serde_json::json!({"error": {"code": 400, "message": "Invalid Password"}});
            return (StatusCode::BAD_REQUEST, Json(error));
        }
        let token = format!("t.{}.x", now.load(Ordering::Relaxed));
        let told =
            serde_json::json!({"username": "alice", "token": token, "refresh_token": "again-and-again"});
        (StatusCode::OK, Json(told))
    }
    async fn refresh(State(now): State<Counter>, Json(sent): Json<Value>) -> (StatusCode, Json<Value>) {
        let now = now.load(Ordering::Relaxed);
        if sent["refresh_token"] != "again-and-again" || now >= REVOKED {
            return refused();
        }
        (StatusCode::OK, Json(serde_json::json!({"token": format!("t.{now}.x")})))
    }
    let counter = Counter::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let end = |by: u64| {
        move |State(now): State<Counter>| async move { now.fetch_add(by, Ordering::Relaxed).to_string() }
    };
    let router = Router::new()
        .route("/status", get(status).post(status))
        .route("/login", post(login))
        .route("/refresh", post(refresh))
        .route("/end", post(end(1)))
        .route("/revoke", post(end(REVOKED)))
        .with_state(counter);
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

#[tokio::test]
async fn a_kept_login_is_shown_renewed_and_told_when_it_has_ended() {
    let url = gateway_with_logins().await;
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path().to_str().expect("text");
    let environment = Environment::of(&[("XDG_STATE_HOME", home)]);
    let client = async |environment: &Environment| {
        Client::new(&args(Some(&url), PathBuf::from("missing.toml")), environment).await.expect("a client")
    };
    let end = async |how: &str| {
        reqwest::Client::new().post(format!("{url}{how}")).send().await.expect("ended");
    };
    let first = client(&environment).await;
    let password = |text: &str| Secret::new(text);
    let wrong = first.log_in("alice", &password("wrong horse")).await.expect_err("refused");
    assert!(wrong.to_string() == "Invalid Password", "{wrong}");
    assert!(first.kept_user().expect("no file").is_none(), "nothing is kept of a refusal");
    assert!(matches!(first.get::<Value>("/status").await, Err(ClientError::NotPermitted(_))));
    assert_eq!(first.log_in("alice", &password("correct horse")).await.expect("let in"), "alice");

    // Tokens without times in them are renewed before each use; the next command finds the new one.
    let second = client(&environment).await;
    assert_eq!(second.kept_user().expect("read").as_deref(), Some("alice"));
    assert_eq!(second.get::<Value>("/status").await.expect("let in")["by"], "login");
    end("/end").await;
    assert_eq!(second.get::<Value>("/status").await.expect("renewed")["by"], "login");
    let file = std::fs::read_to_string(format!("{home}/moongate/logins.json")).expect("kept");
    assert!(file.contains("t.1.x") && file.contains(&url) && !file.contains("correct horse"), "{file}");

    // One that this machine takes for good is renewed when the gateway refuses it.
    let logins = Logins::of(&environment).expect("a home");
    let good = kept::Kept { renew_at: u64::MAX, ..logins.get(&url).expect("read").expect("kept") };
    logins.set(&url, Some(&good)).expect("kept");
    end("/end").await;
    let third = client(&environment).await;
    assert_eq!(third.post::<Value>("/status", &Value::Null).await.expect("sent once more")["by"], "login");

    let key = Environment::of(&[("XDG_STATE_HOME", home), ("MOONGATE_API_KEY", "right-key")]);
    assert_eq!(client(&key).await.get::<Value>("/status").await.expect("let in")["by"], "key");
    assert!(client(&key).await.shows_a_key() && !client(&key).await.as_user().expect("read").shows_a_key());

    end("/revoke").await;
    let ended = client(&environment).await.get::<Value>("/status").await.expect_err("revoked");
    let told = ended.to_string();
    assert!(matches!(ended, ClientError::LoginEnded { .. }), "{told}");
    assert!(
        told.contains("alice") && told.contains("moongate login") && !told.contains("again-and"),
        "{told}"
    );
    client(&environment).await.forget_login().expect("forgotten");
    assert!(matches!(
        client(&environment).await.get::<Value>("/status").await,
        Err(ClientError::NotPermitted(_))
    ));
}

#[tokio::test]
async fn a_login_at_what_is_no_gateway_is_told_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(axum::serve(listener, axum::Router::new()).into_future());
    let home = tempfile::tempdir().expect("a folder");
    let environment = Environment::of(&[("HOME", home.path().to_str().expect("text"))]);
    let file = PathBuf::from("missing.toml");
    let client = Client::new(&args(Some(&url), file.clone()), &environment).await.expect("a client");
    let told = client.log_in("alice", &Secret::new("correct horse")).await.expect_err("nobody there");
    assert!(matches!(told, ClientError::NotAGateway(_)), "{told}");
    let homeless = Client::new(&args(Some(&url), file), &Environment::of(&[])).await.expect("a client");
    let told = homeless.log_in("alice", &Secret::new("correct horse")).await.expect_err("no place");
    assert!(matches!(told, ClientError::NoHome), "{told}");
}

#[test]
fn an_address_has_one_entry_however_it_is_written() {
    let entry = |url: &str| entry(reqwest::Url::parse(url).expect("an address"));
    for url in ["http://Printers.lan:80/", "http://printers.lan", "http://a:b@printers.lan?x=1#y"] {
        assert_eq!(entry(url), "http://printers.lan");
    }
    assert_eq!(entry("https://printers.lan:7100/moon/"), "https://printers.lan:7100/moon");
    assert_ne!(entry("http://127.0.0.1:7100"), entry("http://127.0.0.1:7101"));
}

#[tokio::test]
async fn a_password_that_others_can_read_is_warned_of() {
    for (url, readable) in [
        ("http://127.0.0.1:7100", false),
        ("http://localhost:7100", false),
        ("http://[::1]:7100", false),
        ("http://192.168.1.5:7100", true),
        ("http://printers.lan:7100", true),
    ] {
        let made = Client::new(&args(Some(url), PathBuf::from("missing.toml")), &Environment::of(&[])).await;
        assert_eq!(made.expect("a client").is_readable_on_the_way(), readable, "{url}");
    }
}

#[test]
fn exit_codes_tell_what_to_do_next() {
    let refused = |code: &str| ClientError::Refused { code: code.to_owned(), text: String::new() }.exit();
    assert_eq!(format!("{:?}", refused("busy")), format!("{:?}", ExitCode::from(75)));
    assert_eq!(format!("{:?}", refused("filament")), format!("{:?}", ExitCode::from(1)));
}
