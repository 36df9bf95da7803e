use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, &Environment::of(&[("CODE", "12345678"), ("XDG_RUNTIME_DIR", "/run/user/7")]))
}

fn complaints(text: &str) -> Vec<String> {
    parse(text).expect_err("must be refused").0.iter().map(ToString::to_string).collect()
}

const GOOD: &str = r#"
[[printer]]
name = "p1s"
kind = "bambu"
host = "192.168.1.50"
serial = "01p00a000000001"
access_code = 12345678
"#;

#[test]
fn the_shortest_config_is_enough() {
    let config = parse(GOOD).expect("good");
    let printer = &config.printers[0];
    assert_eq!((printer.name.as_str(), printer.moonraker_port), ("p1s", 7125));
    assert_eq!(printer.serial.as_deref(), Some("01P00A000000001"), "topics are case sensitive (bambu.md T1)");
    assert_eq!(printer.access_code.as_ref().map(Secret::expose), Some("12345678"));
    assert!(config.gateway.listen.is_loopback());
    assert_eq!(config.gateway.runtime_dir, PathBuf::from("/run/user/7/moongate"));
}

#[test]
fn every_mistake_is_told_at_once_with_its_line() {
    let text = r#"
[gateway]
listen = "everywhere"
prot = 7100

[[printer]]
name = "My Printer"
kind = "banbu"
hots = "192.168.1.50"
serail = "01P"
read_only = "yes"
mqtt_port = 99999

[[printer]]
name = "b"
kind = "elegoo_cc1"
host = "http://192.168.1.60/"
moonraker_port = 7100
"#;
    let all = complaints(text);
    let expected = [
        (3, "listen in [gateway] must be an address"),
        (4, "unknown key \"prot\" in [gateway]; did you mean \"port\"?"),
        (6, "[[printer]] lacks host"),
        (7, "name \"My Printer\" must be"),
        (8, "unknown kind \"banbu\"; did you mean \"bambu\"?"),
        (9, "unknown key \"hots\" in [[printer]]; did you mean \"host\"?"),
        (10, "unknown key \"serail\" in [[printer]]; did you mean \"serial\"?"),
        (11, "read_only in [[printer]] must be true or false"),
        (12, "mqtt_port in [[printer]] must be a whole number from 1 to 65535"),
        (17, "must be a bare address or name"),
        (18, "moonraker_port 7100 belongs to the gateway itself already"),
    ];
    for (line, text) in expected {
        assert!(
            all.iter().any(|told| told.starts_with(&format!("config line {line}: ")) && told.contains(text)),
            "line {line} {text:?} is missing from {all:#?}"
        );
    }
    assert_eq!(all.len(), expected.len(), "{all:#?}");
}

#[test]
fn broken_toml_is_told_without_repeating_the_line() {
    let all = complaints(
        "[[printer]]\nname = \"a\"\nkind = \"elegoo_cc1\"\nhost = \"h\"\naccess_code = sup3rsecret\n",
    );
    assert!(all.iter().any(|told| told.starts_with("config line 5: ")), "{all:?}");
    assert!(all.iter().all(|told| !told.contains("sup3rsecret")), "{all:?}");
}

#[test]
fn serial_numbers_of_elegoo_printers_stay_as_they_are() {
    for kind in ["elegoo_cc1", "elegoo_cc2"] {
        let text =
            format!("[[printer]]\nname=\"a\"\nkind=\"{kind}\"\nhost=\"10.0.0.1\"\nserial=\" f01aB_2-x \"\n");
        let config = parse(&text).expect(kind);
        assert_eq!(config.printers[0].serial.as_deref(), Some("f01aB_2-x"), "{kind}");
    }
}

#[test]
fn bambu_needs_serial_and_code_and_secrets_come_from_elsewhere() {
    let bare = "[[printer]]\nname=\"a\"\nkind=\"bambu\"\nhost=\"h\"\n";
    let all = complaints(bare);
    assert!(
        all.iter().any(|t| t.contains("lacks serial")) && all.iter().any(|t| t.contains("lacks access_code"))
    );
    let config =
        parse(&format!("{bare}serial=\"01P\"\naccess_code_env=\"CODE\"\n")).expect("from the environment");
    assert_eq!(config.printers[0].access_code.as_ref().map(Secret::expose), Some("12345678"));
    let missing = complaints(&format!("{bare}serial=\"01P\"\naccess_code_env=\"NO_SUCH\"\n"));
    assert!(missing.iter().any(|t| t.contains("the environment has no NO_SUCH")), "{missing:?}");
}

#[test]
fn two_printers_need_two_names_and_get_ports_in_order() {
    let two = |a: &str, b: &str| {
        format!(
            "[[printer]]\nname=\"{a}\"\nkind=\"elegoo_cc1\"\nhost=\"h\"\n[[printer]]\nname=\"{b}\"\nkind=\"elegoo_cc1\"\nhost=\"i\"\n"
        )
    };
    assert!(complaints(&two("a", "a")).iter().any(|t| t.contains("two printers are called")));
    let ports: Vec<u16> =
        parse(&two("a", "b")).expect("fine").printers.iter().map(|p| p.moonraker_port).collect();
    assert_eq!(ports, [7125, 7126]);
}

#[test]
fn a_host_is_a_bare_address_or_name() {
    let with = |host: &str| format!("[[printer]]\nname=\"a\"\nkind=\"elegoo_cc1\"\nhost=\"{host}\"\n");
    for good in ["192.168.1.5", "printer.lan", "fe80::1", "fe80::1%eth0", "drücker"] {
        assert!(parse(&with(good)).is_ok(), "{good}");
    }
    for wrong in ["http://192.168.1.5", "192.168.1.5:8883", "[fe80::1]", "a b", "me@printer", "printer:80"] {
        assert!(complaints(&with(wrong))[0].contains("must be a bare address or name"), "{wrong}");
    }
    for mistyped in ["10.0.0.300", "192.168.1", "192.168.1.5.", "192.168..5"] {
        assert!(complaints(&with(mistyped))[0].contains("is no address: four numbers"), "{mistyped}");
    }
}

#[test]
fn no_printer_is_a_mistake() {
    assert!(complaints("")[0].contains("no printer is configured"));
    assert!(complaints("[printer]\nname=\"a\"\n")[0].contains("two brackets"));
}

#[test]
fn the_example_file_is_valid() {
    let example = include_str!("../../docs/config.example.toml");
    let config = parse(example).expect("the documented example must parse");
    assert_eq!(config.printers.len(), 3, "one of each kind");
}

/// Keys of [gateway] and [access]: what is written, and what is said of it.
#[test]
fn mistakes_in_gateway_and_access_are_told() {
    let printer = "[[printer]]\nname=\"a\"\nkind=\"elegoo_cc1\"\nhost=\"h\"\n";
    for (text, told) in [
        ("[gateway]\ntls=\"maybe\"", "tls in [gateway] must be \"self-signed\" or \"off\""),
        ("[gateway]\ntls=true", "tls in [gateway] must be"),
        ("[gateway]\ntls_cert=\"/c.pem\"", "tls_cert and tls_key in [gateway] go together"),
        ("[gateway]\ntls_key=\"/k.pem\"", "tls_cert and tls_key in [gateway] go together"),
        (
            "[gateway]\ntls=\"self-signed\"\ntls_cert=\"/c\"\ntls_key=\"/k\"",
            "is named by tls_cert and tls_key instead",
        ),
        (
            "[gateway]\ntls_cert=\"/no/c\"\ntls_key=\"/dev/null\"",
            "tls_cert in [gateway]: there is no file /no/c",
        ),
        ("[gateway]\nstate_dir=\"~/state\"", "state_dir in [gateway] must be a whole path"),
        ("[gateway]\nruntime_dir=\"\"", "runtime_dir in [gateway] must be a whole path"),
        ("[gateway]\nmax_upload_mb=0", "max_upload_mb in [gateway] must be a whole number from 1"),
        ("[gateway]\nmin_free_mb=-1", "min_free_mb in [gateway] must be a whole number from 0"),
        ("[gateway]\nannounce=\"yes\"", "announce in [gateway] must be true or false"),
        ("[gateway]\nspoolman=\"192.168.1.5\"", "must be the server's address"),
        (
            "[access]\ntrusted_clients=[\"10.0.0.0/33\"]",
            "\"10.0.0.0/33\" in trusted_clients is no address or network",
        ),
        ("[access]\ntrusted_clients=\"10.0.0.0/8\"", "trusted_clients in [access] must be"),
        (
            "[access]\ntrusted_proxies=[\"proxy.lan\"]",
            "\"proxy.lan\" in trusted_proxies is no address or network",
        ),
        (
            "[access]\ntrusted_role=\"king\"",
            "trusted_role must be \"view\", \"operate\" or \"admin\", not \"king\"",
        ),
        ("[access]\nforce_logins=1", "force_logins in [access] must be true or false"),
        ("[access]\nviewers=\"vera\"", "viewers in [access] must be"),
        ("[access]\noperators=[1]", "operators in [access] must be"),
        ("[access]\ncors_domains=\"*\"", "cors_domains in [access] must be"),
        ("[access]\ntrusted_client=[]", "did you mean \"trusted_clients\"?"),
        ("[acces]\nviewers=[]", "did you mean \"access\"?"),
        ("access=1", "access must be a table"),
    ] {
        let all = complaints(&format!("{text}\n{printer}"));
        assert!(all.iter().any(|line| line.contains(told)), "{text:?}: {told:?} is missing from {all:#?}");
        assert!(all.iter().all(|line| line.starts_with("config line ")), "{all:#?}");
    }
    let told = complaints(&format!("{GOOD}unheard_of = 1\n"));
    assert!(told[0].contains("known keys are name, kind, host, serial, access_code,"), "each once: {told:?}");
}

/// Opening to everybody is allowed, and said.
#[test]
fn trusting_everybody_is_a_warning() {
    let printer = "[[printer]]\nname=\"a\"\nkind=\"elegoo_cc1\"\nhost=\"h\"\n";
    let open = "[gateway]\nlisten=\"0.0.0.0\"\n[access]\ntrusted_clients=[\"0.0.0.0/0\"]\n";
    let config = parse(&format!("{open}{printer}")).expect("allowed");
    assert!(config.warnings.iter().any(|text| text.contains("without credentials")), "{:?}", config.warnings);
    assert!(parse(printer).expect("good").warnings.is_empty());
}

#[test]
fn rtsp_is_off_unless_it_has_an_address() {
    assert_eq!(parse(GOOD).expect("good").rtsp, None);
    for (text, expected) in [("127.0.0.1", "127.0.0.1:8554"), ("[::]:554", "[::]:554"), ("::1", "[::1]:8554")]
    {
        let config = parse(&format!("[rtsp]\nlisten = \"{text}\"\n{GOOD}")).expect("good");
        assert_eq!(config.rtsp.map(|address| address.to_string()).as_deref(), Some(expected));
    }
    for wrong in ["\"8554\"", "\"localhost:8554\"", "8554", "\"1.2.3.4:99999\""] {
        let told = complaints(&format!("[rtsp]\nlisten = {wrong}\n{GOOD}"));
        assert!(told.len() == 1 && told[0].contains("line 2: listen in [rtsp] must be"), "{told:?}");
    }
    assert!(complaints(&format!("[rstp]\n{GOOD}"))[0].contains("did you mean \"rtsp\""));
    let empty = parse(&format!("[rtsp]\n{GOOD}")).expect("good").warnings;
    assert!(empty.iter().any(|told| told.contains("cameras are not served")), "{empty:?}");
    for (listen, port, owner) in
        [("127.0.0.1", 7100, "the gateway itself"), ("0.0.0.0", 7125, "printer \"p1s\"")]
    {
        let told = complaints(&format!("[rtsp]\nlisten = \"{listen}:{port}\"\n{GOOD}"));
        assert!(told.len() == 1 && told[0].contains(&format!("port {port} belongs to {owner}")), "{told:?}");
    }
    assert!(parse(&format!("[rtsp]\nlisten = \"127.0.0.2:7100\"\n{GOOD}")).is_ok(), "another address");
}

#[test]
fn a_text_that_is_no_toml_is_not_guessed_at() {
    let all = complaints("[gateway\nlisten = \"0.0.0.0\"\n");
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].starts_with("config line 1: this is not TOML"), "{all:?}");
    assert!(complaints("[[printer]]\nhost = 192.0.2.1")[0].ends_with("host = \"192.168.1.50\"."));
    assert!(complaints("[[printer]]\nhost = p1s.lan")[0].ends_with("host = \"192.168.1.50\"."));
}

#[test]
fn a_code_that_cannot_be_had_is_one_mistake() {
    for named in [
        "access_code_file = \"/nowhere/code\"",
        "access_code_file = \"/dev/null\"",
        "access_code_env = \"NOT_THERE\"",
    ] {
        let all = complaints(&GOOD.replace("access_code = 12345678", named));
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].starts_with("config line 7: access_code_"), "{all:?}");
    }
}

#[test]
fn what_cannot_be_read_has_a_remedy_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = |path: &Path| Config::load(path, &Environment::default()).expect_err("unreadable").to_string();
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, [0xff, 0xfe]).expect("written");
    assert!(told(&binary).ends_with("Save it as text in UTF-8."), "{}", told(&binary));
    assert!(told(folder.path()).ends_with("Name the file in it."), "{}", told(folder.path()));
    assert!(told(&folder.path().join("none")).contains("moongate init"));
}

#[test]
fn accounts_that_are_not_there_are_a_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    let warned = |lines: &str| {
        let path = folder.path().join("moongate.toml");
        std::fs::write(
            &path,
            format!("{}{lines}\n", GOOD.replace("access_code = 12345678", "access_code_env = \"CODE\"")),
        )
        .expect("written");
        Config::load(&path, &Environment::of(&[("CODE", "12345678")])).expect("good").warnings
    };
    assert_eq!(warned("pty_group = \"nobody-has-this\"\npty_owner = \"nor-this\"").len(), 2);
    assert_eq!(warned("pty_group = \"nobody-has-this\"\npty = false").len(), 0);
    assert_eq!(warned("pty_owner = \"root\"").len(), 0);
}

#[test]
fn a_page_that_the_service_cannot_see_is_told_as_such() {
    let mut config = parse(GOOD).expect("good");
    config.gateway.web_root = Some("/home/me/mainsail".into());
    config.gateway.tls = Tls::Files { certificate: "/etc/ssl/a.pem".into(), key: "/root/a.key".into() };
    let service = source::hidden_from_service(Path::new("/etc/moongate/moongate.toml"), &config.gateway);
    assert_eq!(service.len(), 2, "{service:?}");
    assert!(
        service[0].starts_with("web_root /home/me/mainsail: The service sees nothing below /home"),
        "{service:?}"
    );
    assert!(service[1].starts_with("tls_key /root/a.key"), "{service:?}");
    let own = source::hidden_from_service(Path::new("/home/me/moongate.toml"), &config.gateway);
    assert_eq!(own, Vec::<String>::new(), "whoever runs it by hand sees its own files");

    let folder = tempfile::tempdir().expect("a folder");
    let told = |root: &Path| parse(&format!("[gateway]\nweb_root = \"{}\"\n{GOOD}", root.display()));
    assert!(told(folder.path()).expect_err("empty").to_string().contains("has no index.html"));
    std::fs::write(folder.path().join("index.html"), "").expect("written");
    assert!(told(folder.path()).is_ok());
}

#[test]
fn a_key_that_is_for_another_kind_is_a_warning() {
    let warned = |kind: &str, key: &str| {
        let text = format!(
            "[[printer]]\nname=\"a\"\nkind=\"{kind}\"\nhost=\"h\"\nserial=\"01P00A000000001\"\n{key}\n"
        );
        parse(&text).expect("good").warnings
    };
    assert_eq!(
        warned("elegoo_cc1", "access_code=\"12345678\""),
        ["access_code of a does nothing: it is for bambu and elegoo_cc2 only. Take it out, or correct kind."]
    );
    assert_eq!(warned("elegoo_cc2", "websocket_port=3030").len(), 1);
    assert!(warned("elegoo_cc2", "access_code=\"123456\"\njobs_on_usb=true\nhttp_port=80").is_empty());
}

#[test]
fn two_tables_for_one_printer_are_a_warning() {
    let twice = |port: &str, serial: &str| {
        let again = GOOD.replace("\"p1s\"", "\"again\"").replace("01p00a000000001", serial);
        let text = format!("{GOOD}mqtt_port = 8883\n{again}mqtt_port = {port}\n");
        parse(&text).expect("good").warnings
    };
    let warned = |told: &[String], what: &str| {
        assert!(matches!(told, [only] if only.starts_with(&format!("p1s and again {what}"))), "{told:?}");
    };
    warned(&twice("8883", "01p00a000000001"), "are at the same address");
    warned(&twice("8884", "01P00A000000001"), "have the same serial number");
    assert_eq!(twice("8884", "01P00A000000002").len(), 0, "two printers behind one address");
}

#[test]
fn an_api_key_of_the_users_choice_comes_from_a_file_or_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    let with = |key: &str, lines: &str| {
        std::fs::write(&file, format!("{key}\n")).expect("written");
        let text = format!("[access]\n{}\n{GOOD}", lines.replace("FILE", &file.display().to_string()));
        Config::parse(&text, &Environment::of(&[("KEY", "0123456789abcdef")]))
    };
    let key = |lines| with("a-key_of_mine-0123", lines).expect("good").access.api_key.expect("a key");
    assert_eq!(key("api_key_file = \"FILE\"").expose(), "a-key_of_mine-0123");
    assert_eq!(key("api_key_env = \"KEY\"").expose(), "0123456789abcdef");
    assert_eq!(parse(GOOD).expect("good").access.api_key, None);
    for (held, lines, told) in [
        ("short", "api_key_file = \"FILE\"", "api_key_file: a key is 16 to 128 letters"),
        ("sixteen letters and blanks", "api_key_file = \"FILE\"", "`openssl rand -hex 16` makes one"),
        ("", "api_key_file = \"FILE\"", "is empty"),
        ("", "api_key_env = \"NOT_THERE\"", "the environment has no NOT_THERE"),
        ("a-key_of_mine-0123", "api_key_file = \"FILE\"\napi_key_env = \"KEY\"", "give only one of"),
    ] {
        let error = with(held, lines).expect_err(told).to_string();
        assert!(error.contains(told) && !error.contains("letters and blanks"), "{error}");
    }
}

#[test]
fn a_machine_that_trusts_not_even_itself_is_told_how_its_key_is_had() {
    let warned = |lines: &str| {
        let text = format!("[access]\n{lines}\n{GOOD}");
        let config = Config::parse(&text, &Environment::of(&[("KEY", "0123456789abcdef")])).expect("good");
        config.warnings.iter().any(|text| text.contains("leaves out this machine"))
    };
    assert!(warned("trusted_clients = []") && warned("trusted_clients = [\"192.168.1.5\"]"));
    assert!(!warned("") && !warned("trusted_clients = [\"127.0.0.1\"]"));
    assert!(!warned("trusted_clients = []\napi_key_env = \"KEY\""));
}
