//! Simulated printers at 127.0.0.1 that are configured at 127.0.0.2, and somebody who tells where they are.

use std::net::SocketAddr;

use tokio::net::UdpSocket;
use tokio_util::task::TaskTracker;

use super::*;
use crate::app;
use crate::config::{Config, Environment};
use crate::printer::{PrinterSettings, start};
use crate::sim;

const DEADLINE: Duration = Duration::from_secs(60);

/// Hears what is sent to every address of the loopback network, and brings it to the simulator and back.
async fn relay(to: SocketAddr) -> u16 {
    let answers = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = answers.local_addr().unwrap().port();
    let questions = UdpSocket::bind(("127.255.255.255", port)).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, asker)) = questions.recv_from(&mut buffer).await {
            let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            far.send_to(&buffer[..length], to).await.unwrap();
            let answered = tokio::time::timeout(Duration::from_secs(5), far.recv(&mut buffer)).await;
            let Ok(Ok(length)) = answered else { continue };
            answers.send_to(&buffer[..length], asker).await.unwrap();
        }
    });
    port
}

struct Bench {
    config: PrinterConfig,
    store: Store,
    cancel: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Bench {
    fn new(keys: &str) -> Self {
        let text = format!("[[printer]]\nname = \"mover\"\nmoonraker_port = 7125\n{keys}");
        let mut config = Config::parse(&text, &Environment::of(&[])).unwrap();
        Self {
            config: config.printers.remove(0),
            store: Store::in_memory(),
            cancel: CancellationToken::new(),
        }
    }

    /// A simulated Centauri Carbon that is asked at this port who it is.
    fn of_cc1(at: &sim::elegoo_cc1::Addresses, discovery_port: u16) -> Self {
        Self::new(&format!(
            "kind = \"elegoo_cc1\"\nhost = \"127.0.0.1\"\nwebsocket_port = {}\nhttp_port = {}\ncamera_port = {}\n\
             discovery_port = {discovery_port}\n",
            at.websocket.port(),
            at.http.port(),
            at.camera.port()
        ))
    }

    /// A life of the gateway: the printer, and what follows it.
    fn run(&self) -> (PrinterHandle, Followed) {
        let trail = Trail::of(&self.config, &self.store);
        let (handle, _forget) = self.run_on(&trail);
        (handle.clone(), trail.follow(&self.config, handle))
    }

    /// The printer alone, and how who it was is forgotten.
    fn run_on(&self, trail: &Trail) -> (PrinterHandle, Arc<dyn Fn() + Send + Sync>) {
        let parts = app::driver(&self.config, &self.store, trail);
        let settings = PrinterSettings {
            name: "mover".into(),
            title: "Mover".into(),
            read_only: false,
            allow_vendor: false,
        };
        let handle = start(settings, parts, &TaskTracker::new(), self.cancel.clone());
        (handle, trail.forget.clone())
    }

    async fn found(&self, serial: &str) {
        let (printer, followed) = self.run();
        let mut watch = printer.watch();
        let away = watch.wait_for(|state| state.link.fault.is_some());
        tokio::time::timeout(DEADLINE, away).await.expect("nobody is at the old address").unwrap();
        let cancel = self.cancel.clone();
        tokio::spawn(async move { search(&[followed], Duration::from_millis(300), &cancel).await });
        let online = watch.wait_for(|state| state.online());
        tokio::time::timeout(DEADLINE, online).await.expect("found at the new address").unwrap();
        let kept = self.store.get(IDENTITIES, "mover").unwrap();
        if let Some(kept) = kept {
            assert_eq!(kept["serial"].as_str().unwrap().to_lowercase(), serial.to_lowercase());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_centauri_carbon_2_that_moved_is_found_by_its_serial() {
    let printer = sim::elegoo_cc2::start(sim::elegoo_cc2::Options::default()).await.unwrap();
    let (at, options) = (printer.addresses(), sim::elegoo_cc2::Options::default());
    let bench = Bench::new(&format!(
        "kind = \"elegoo_cc2\"\nhost = \"127.0.0.2\"\naccess_code = \"{}\"\nserial = \"{}\"\nmqtt_port = {}\nhttp_port = {}\n\
         camera_port = {}\ndiscovery_port = {}\n",
        options.access_code,
        options.serial,
        at.mqtt.port(),
        at.http.port(),
        at.camera.port(),
        relay(at.discovery).await
    ));
    bench.found(&options.serial).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_centauri_carbon_that_moved_is_found_by_the_id_it_told_before() {
    let printer = sim::elegoo_cc1::start(sim::elegoo_cc1::Options::default()).await.unwrap();
    let at = printer.addresses();
    let mut bench = Bench::of_cc1(&at, relay(at.discovery).await);
    // In an earlier life it was where the configuration says.
    let (first, _followed) = bench.run();
    let mut watch = first.watch();
    tokio::time::timeout(DEADLINE, watch.wait_for(|state| state.online())).await.unwrap().unwrap();
    let kept = bench.store.get(IDENTITIES, "mover").unwrap().expect("who it is, is remembered");
    let id = kept["serial"].as_str().unwrap().to_owned();
    bench.cancel.cancel();
    bench.cancel = CancellationToken::new();
    // Nobody is where it was: the simulator stays, the configuration moves, and with it what is remembered.
    bench.config.host = "127.0.0.2".into();
    bench.store.put(IDENTITIES, "mover", json!({"host": "127.0.0.2", "serial": id})).unwrap();
    bench.found(&id).await;
}

#[tokio::test]
async fn what_was_learned_at_another_address_is_not_believed() {
    let bench = Bench::new("kind = \"elegoo_cc1\"\nhost = \"192.0.2.1\"\n");
    bench.store.put(IDENTITIES, "mover", json!({"host": "192.0.2.9", "serial": "abc"})).unwrap();
    let known = || Trail::of(&bench.config, &bench.store).known.borrow().clone().map(|known| known.serial);
    assert_eq!(known(), None);
    bench.store.put(IDENTITIES, "mover", json!({"host": "192.0.2.1", "serial": "abc"})).unwrap();
    assert_eq!(known().as_deref(), Some("abc"));
}

#[tokio::test]
async fn the_address_in_use_is_kept_while_the_printer_is_heard_there() {
    let bench = Bench::new("kind = \"elegoo_cc1\"\nhost = \"127.0.0.1\"\nwebsocket_port = 1\n");
    let (_printer, followed) = bench.run();
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    followed.seen_at(&[ip("127.0.0.7"), ip("127.0.0.1")]);
    assert_eq!(*followed.moved.borrow(), None, "it is where it was");
    followed.seen_at(&[ip("0.0.0.0"), ip("224.0.0.1")]);
    assert_eq!(*followed.moved.borrow(), None, "that is no address of a printer");
    followed.seen_at(&[ip("127.0.0.7")]);
    assert_eq!(*followed.moved.borrow(), Some(ip("127.0.0.7")));
    followed.seen_at(&[ip("127.0.0.1")]);
    assert_eq!(*followed.moved.borrow(), None, "back again");
}

/// The printer at the address was replaced while the gateway was off: told, and taken when a person says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_printer_that_was_replaced_meanwhile_is_taken_only_when_a_person_says_so() {
    let printer = sim::elegoo_cc1::start(sim::elegoo_cc1::Options::default()).await.unwrap();
    let at = printer.addresses();
    let mut bench = Bench::of_cc1(&at, at.discovery.port());
    let (first, _followed) = bench.run();
    tokio::time::timeout(DEADLINE, first.watch().wait_for(|state| state.online())).await.unwrap().unwrap();
    let kept = bench.store.get(IDENTITIES, "mover").unwrap().expect("kept");
    assert_eq!(kept["mac"], sim::elegoo_cc1::Options::default().mac);
    bench.cancel.cancel();
    bench.cancel = CancellationToken::new();

    let (new_id, mac) = ("ab".repeat(16), "02:00:00:cc:99:99".to_owned());
    let other = sim::elegoo_cc1::Fault::Identity { mainboard_id: new_id.clone(), mac };
    printer.faults().apply(other).unwrap();
    let trail = Trail::of(&bench.config, &bench.store);
    let (second, forget) = bench.run_on(&trail);
    let told = |state: &Arc<crate::model::PrinterState>| {
        state.link.fault.as_ref().is_some_and(|fault| fault.code == "MG-CC1-OTHER")
    };
    tokio::time::timeout(DEADLINE, second.watch().wait_for(told)).await.unwrap().unwrap();
    forget();
    assert_eq!(bench.store.get(IDENTITIES, "mover").unwrap(), None);
    second.reconnect();
    tokio::time::timeout(DEADLINE, second.watch().wait_for(|state| state.online())).await.unwrap().unwrap();
    assert_eq!(bench.store.get(IDENTITIES, "mover").unwrap().expect("kept")["serial"], new_id.as_str());
}

#[tokio::test]
async fn who_was_at_another_port_or_under_another_configured_serial_is_not_believed() {
    let keys = "kind = \"elegoo_cc2\"\nhost = \"192.0.2.1\"\nmqtt_port = 4000\n";
    let entry = |port: u16, configured: Value| json!({"host": "192.0.2.1", "port": port, "configured": configured, "serial": "F01", "mac": null});
    let known = |keys: &str, entry: Value| {
        let bench = Bench::new(keys);
        bench.store.put(IDENTITIES, "mover", entry).unwrap();
        Trail::of(&bench.config, &bench.store).kept.map(|kept| kept.serial)
    };
    assert_eq!(known(keys, entry(4000, Value::Null)).as_deref(), Some("F01"));
    assert_eq!(known(keys, entry(4001, Value::Null)), None);
    assert_eq!(known(keys, entry(4000, json!("F02"))), None);
    let configured = format!("{keys}serial = \"F02\"\n");
    assert_eq!(known(&configured, entry(4000, Value::Null)), None);
    assert_eq!(known(&configured, entry(4000, json!("F02"))).as_deref(), Some("F01"));
}
