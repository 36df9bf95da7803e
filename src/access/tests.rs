//! The judge by himself: origins, keys, records that survive a restart.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::*;

fn access() -> Arc<Access> {
    Access::open(AccessSettings::default(), &Store::in_memory())
}

#[test]
fn local_pages_pass_and_foreign_ones_do_not() {
    let access = access();
    let allowed = |origin: &str| {
        let headers = HeaderMap::from_iter([(header::ORIGIN, origin.parse().expect("header"))]);
        access.allowed_origin(&headers).is_some()
    };
    for good in [
        "http://mainsail.local",
        "http://mainsail.local:8080",
        "http://127.0.0.1:8080",
        "http://192.168.1.2",
        "http://[fd00::1]:80",
        "https://my.mainsail.xyz",
        "http://app.fluidd.xyz",
        "http://localhost:3000",
    ] {
        assert!(allowed(good), "{good}");
    }
    for bad in [
        "http://evil.example",
        "http://8.8.8.8",
        "https://my.mainsail.xyz.evil.example",
        "http://evil.example/x.local",
        "http://192.168.1.2.evil.example",
        "http://192.168.1.2@evil.example",
        "null",
    ] {
        assert!(!allowed(bad), "{bad}");
    }
}

#[tokio::test]
async fn a_renewed_key_is_on_the_disk_or_there_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("moongate.redb");
    let store = Store::open(&place).expect("a store");
    let access = Access::open(AccessSettings::default(), &store);
    let renewed = access.renew_api_key().await.expect("kept");
    store.fill();
    let refused = access.renew_api_key().await.expect_err("the disk is full");
    assert!(refused.to_string().starts_with("The API key stays as it is"), "{refused}");
    assert_eq!(access.api_key().expose(), renewed.expose());
    drop((access, store));
    let after = Access::open(AccessSettings::default(), &Store::open(&place).expect("a store"));
    assert_eq!(after.api_key().expose(), renewed.expose());
}

#[test]
fn a_socket_opens_from_the_same_host() {
    let access = access();
    let mut headers = HeaderMap::from_iter([
        (header::ORIGIN, HeaderValue::from_static("http://printer.example:7125")),
        (header::HOST, HeaderValue::from_static("printer.example:7125")),
    ]);
    assert!(access.socket_allowed(&headers));
    assert_eq!(access.judge(&headers, "", "192.168.1.2".parse().ok()), Ok(None), "but has no rights there");
    headers.insert(header::HOST, HeaderValue::from_static("printer.example:7126"));
    assert!(!access.socket_allowed(&headers));
}

#[test]
fn a_name_of_one_s_own_is_told_once_and_known_by_cors_domains() {
    let mine = vec!["https://printers.example.org".to_owned()];
    let told =
        Access::open(AccessSettings { cors_domains: mine, ..AccessSettings::default() }, &Store::in_memory());
    for (access, expected) in [(access(), None), (told, Some(Identity::Trusted))] {
        let headers = HeaderMap::from_iter([
            (header::HOST, HeaderValue::from_static("printers.example.org")),
            (HeaderName::from_static("sec-fetch-site"), HeaderValue::from_static("same-origin")),
        ]);
        for _ in 0..2 {
            assert_eq!(access.judge(&headers, "", "192.168.1.2".parse().ok()), Ok(expected.clone()));
        }
        let names: Vec<String> = access.unknown_names.lock().expect("unpoisoned").iter().cloned().collect();
        assert_eq!(names.len(), usize::from(expected.is_none()), "{names:?}");
    }
}

#[tokio::test]
async fn users_and_key_outlive_a_restart_and_hold_no_password() {
    let store = Store::in_memory();
    let first = Access::open(AccessSettings::default(), &store);
    let login = first.create_user("alice", "correct horse", Role::Operate).await.expect("made");
    let second = Access::open(AccessSettings::default(), &store);
    assert_eq!(second.api_key(), first.api_key());
    assert_eq!(second.check_token(login.token.expose()), Ok(login.identity.clone()));
    assert_eq!(second.role(&login.identity), Some(Role::Operate));
    assert_eq!(second.check_token(login.refresh_token.expose()), Err(AccessError::Unauthorized));
    let stored = format!("{:?}", store.list(USERS));
    assert!(!stored.contains("correct horse") && stored.contains("alice"), "{stored}");
    assert!(!format!("{login:?}").contains(login.token.expose()));
    let wrong = second.login("alice", "correct horsf", None).await;
    assert_eq!(wrong.map(drop), Err(AccessError::Invalid("Invalid Password".to_owned())));
    second.login("alice", "correct horse", None).await.expect("the right one");
}

#[tokio::test]
async fn odd_names_and_passwords_are_refused() {
    let access = access();
    let long = "x".repeat(1000);
    for name in ["", " a", "a\nb", "a/b", "_TRUSTED_USER_", "_API_KEY_USER_", long.as_str()] {
        assert!(access.create_user(name, "pw", Role::View).await.is_err(), "{name:?}");
    }
    for password in ["", long.as_str()] {
        assert!(access.create_user("bob", password, Role::View).await.is_err());
    }
    assert!(access.users().is_empty());
    assert!(access.logout(&Identity::Trusted).await.is_err());
    assert!(access.change_password(&Identity::ApiKey, "a", "b", None).await.is_err());
}

#[test]
fn a_token_is_for_one_request_of_its_address() {
    let access = access();
    let (one, other) = ("203.0.113.1".parse().ok(), "203.0.113.2".parse().ok());
    let judged = |token: &str, address| access.judge(&HeaderMap::new(), &format!("token={token}"), address);
    let token = access.oneshot_token(one, Identity::ApiKey);
    assert_eq!(judged(&token, one), Ok(Some(Identity::ApiKey)));
    assert_eq!(judged(&token, one), Ok(None), "once");
    let token = access.oneshot_token(one, Identity::ApiKey);
    assert_eq!(judged(&token, other), Ok(None), "from elsewhere");
    assert_eq!(judged(&token, one), Ok(None), "and then it is spent");
    assert_eq!(judged(access.api_key().expose(), other), Ok(Some(Identity::ApiKey)), "KlipperScreen's way");
    let home = "127.0.0.1".parse().ok();
    for none in ["", "False", token.as_str()] {
        assert_eq!(judged(none, home), Ok(Some(Identity::Trusted)), "KlipperScreen without a key: {none}");
    }
}
