//! Camera and discovery.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_camera_shows_pictures_to_one_viewer() {
    let bench = Bench::start("p1s").await;
    let camera = bench.handle.camera().expect("camera").clone();
    for _viewer in 0..2 {
        let CameraFeed::Jpeg(mut pictures) = camera.open().await.expect("feed") else { panic!("pictures") };
        for _ in 0..2 {
            let picture = tokio::time::timeout(DEADLINE, pictures.next())
                .await
                .expect("in time")
                .expect("one")
                .expect("ok");
            assert!(picture.starts_with(&[0xFF, 0xD8]) && picture.ends_with(&[0xFF, 0xD9]));
        }
    }
    assert_eq!(bench.sim.truth().connections["camera"].peak, 1);
    let wrong = run(simulator("p1s", |_| {}).await, |config| config.access_code = Secret::new("wrongone"));
    let camera = wrong.handle.camera().expect("camera").clone();
    let CameraFeed::Jpeg(mut pictures) = camera.open().await.expect("socket") else { panic!("pictures") };
    assert!(matches!(pictures.next().await, Some(Err(CameraError::Blocked(_)))));
    assert!(pictures.next().await.is_none());
    let closed = run(simulator("x1c", |_| {}).await, |config| config.ports.rtsp = 1);
    let opened = closed.handle.camera().expect("an RTSP camera").open().await;
    let Err(CameraError::Blocked(remedy)) = opened else { panic!("nothing listens at the RTSP port") };
    assert!(remedy.contains("LAN Only Liveview"), "{remedy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_printer_answers_who_it_is() {
    let sim = simulator("a1mini", |_| {}).await;
    let port = sim.addresses().detect.port();
    let found = discovery::detect("127.0.0.1", port, DEADLINE).await.expect("found");
    assert_eq!((found.serial.as_str(), found.product), (sim.options().serial.as_str(), Some("A1 mini")));
    assert!(
        discovery::detect("127.0.0.1", sim.addresses().mqtt.port(), Duration::from_millis(300))
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_are_heard() {
    let own = std::net::UdpSocket::bind("127.0.0.1:0").expect("port");
    let listen = own.local_addr().expect("address");
    drop(own);
    let sim = simulator("p1s", |options| options.ssdp_port = Some(0)).await;
    let ground = discovery::Ground { listen, search: vec![sim.addresses().ssdp.expect("ssdp")] };
    let cancel = CancellationToken::new();
    let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let stop = cancel.clone();
    let listening = discovery::watch(
        &ground,
        move |found| {
            tell.send(found).expect("open");
            stop.cancel()
        },
        &cancel,
    );
    tokio::time::timeout(DEADLINE, listening).await.expect("in time").expect("socket");
    let found = heard.recv().await.expect("found");
    assert_eq!((found.serial.as_str(), found.product), (sim.options().serial.as_str(), Some("P1S")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_printer_that_moved_is_found_again() {
    let sim = simulator("p1s", |_| {}).await;
    let (moved, watch) = tokio::sync::watch::channel(None);
    let bench = run(sim, |config| {
        config.host = "127.0.0.2".into();
        config.timing.connect = Duration::from_millis(300);
        config.ports.detect = 0;
        config.moved_to = watch;
    });
    bench.fault("MG-BAMBU-UNREACHABLE").await;
    moved.send(Some("127.0.0.1".parse().expect("address"))).expect("open");
    bench.handle.reconnect();
    bench.online().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_never_takes_a_printer_away_from_its_address() {
    let sim = simulator("p1s", |_| {}).await;
    let (_announce, heard) = tokio::sync::watch::channel(Some("127.0.0.2".parse().expect("address")));
    let bench = run(sim, |config| {
        config.timing.connect = Duration::from_millis(300);
        config.moved_to = heard;
    });
    bench.online().await;
    let port = bench.sim.addresses().ftps.port();
    assert!(bench.handle.files().list().await.is_ok(), "files go where the reports come from, port {port}");
    let CameraFeed::Jpeg(mut pictures) = bench.handle.camera().expect("camera").open().await.expect("feed")
    else {
        panic!("pictures")
    };
    assert!(pictures.next().await.expect("one").is_ok());
    assert_eq!(bench.handle.state().link.made, 1);
}

/// A name in the configuration is another word for an address.
#[tokio::test(flavor = "multi_thread")]
async fn a_printer_that_moved_is_found_again_with_its_files_and_at_once() {
    let sim = simulator("p1s", |_| {}).await;
    let (_announce, heard) = tokio::sync::watch::channel(Some("127.0.0.1".parse().expect("address")));
    let bench = run(sim, |config| {
        config.host = "127.0.0.2".into();
        config.moved_to = heard;
    });
    let state = bench.online().await;
    assert_eq!(state.link.fault, None, "the first attempt went to both addresses");
    assert!(bench.handle.files().list().await.is_ok());
    bench.sim.faults().apply(Fault::DropLink).expect("fault");
    bench.until("again", |state| state.link.made == 2).await;
}

/// get_version, the identity port, announcements, the serial number (bambu.md 1.3): each counts where those before it
/// are silent.
#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_taken_from_the_best_source() {
    let cases = [
        (false, true, Some("N1"), "Bambu Lab A1"),
        (true, true, Some("N1"), "Bambu Lab A1"),
        (true, false, Some("N1"), "Bambu Lab A1 mini"),
        (true, false, None, "Bambu Lab P1S"),
    ];
    for (anonymous, asked, announced, expected) in cases {
        let sim = simulator("a1", |options| options.serial = "01P00A000000001".into()).await;
        sim.faults().apply(Fault::Anonymous { on: anonymous }).expect("fault");
        let (_announce, heard) = tokio::sync::watch::channel(announced.map(str::to_owned));
        let bench = run(sim, |config| {
            config.announced_model = heard;
            if !asked {
                config.ports.detect = 0;
            }
        });
        let known = |state: &PrinterState| state.device.identity.model.as_deref() == Some(expected);
        bench.until(expected, |state| state.link.phase == LinkPhase::Online && known(state)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_camera_follows_an_identity_that_only_the_printer_tells() {
    let sim = simulator("p1s", |options| options.serial = "99Z00A000000001".into()).await;
    let bench = run(sim, |config| config.ports.detect = 0);
    assert_eq!(
        bench.handle.capabilities().camera,
        CameraKind::None,
        "nothing is known before the first contact"
    );
    let camera = bench.handle.camera().expect("a source for whatever it turns out to be").clone();
    assert!(matches!(camera.open().await, Err(CameraError::Blocked(_))));
    bench.online().await;
    let mut capabilities = bench.handle.watch_capabilities();
    let known = capabilities.wait_for(|caps| caps.camera == CameraKind::Jpeg);
    assert!(tokio::time::timeout(DEADLINE, known).await.is_ok_and(|caps| caps.is_ok()));
    let CameraFeed::Jpeg(mut pictures) = camera.open().await.expect("feed") else { panic!("pictures") };
    let picture = tokio::time::timeout(DEADLINE, pictures.next()).await.expect("in time").expect("one");
    assert!(picture.is_ok_and(|picture| picture.starts_with(&[0xFF, 0xD8])));
}
