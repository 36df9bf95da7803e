use rumqttc::{ConnectReturnCode, Packet, SubAck, SubscribeReasonCode};
use rustls::version::TLS12;

use super::test_broker::Broker;
use super::*;
use crate::net::tls::test_server::{Identity, SERIAL, server_config};
use crate::net::tls::{PrinterTls, TlsFault};

const REPORT: &str = "device/01S00A000000001/report";
const REQUEST: &str = "device/01S00A000000001/request";
const TOPICS: &[(&str, Qos)] = &[(REPORT, Qos::AtMostOnce)];
const DEADLINE: Duration = Duration::from_secs(10);

fn options(broker: &Broker) -> MqttOptions {
    let mut options = MqttOptions::new("127.0.0.1", broker.address.port(), "moongate-test");
    options.set_credentials("bblp", "12345678");
    options
}

/// Runs the broker's script beside the client's; neither may hang.
async fn together<A, B>(broker: impl Future<Output = A>, client: impl Future<Output = B>) -> (A, B) {
    tokio::time::timeout(DEADLINE, async { tokio::join!(broker, client) }).await.expect("a script hangs")
}

#[tokio::test]
async fn logs_in_subscribes_receives_and_publishes_while_waiting() {
    let broker = Broker::start(None).await;
    let script = async {
        let mut peer = broker.accept().await;
        let connect = peer.login(ConnectReturnCode::Success).await;
        let login = connect.login.unwrap();
        assert_eq!((login.username.as_str(), login.password.as_str()), ("bblp", "12345678"));
        assert!(connect.clean_session);
        // A report may overtake the confirmation of the subscription.
        let Some(Packet::Subscribe(subscribe)) = peer.read().await else { panic!("no SUBSCRIBE") };
        assert_eq!(subscribe.filters[0].path, REPORT);
        peer.publish(REPORT, b"early").await;
        let codes = vec![SubscribeReasonCode::Success(rumqttc::QoS::AtMostOnce)];
        peer.write(Packet::SubAck(SubAck::new(subscribe.pkid, codes))).await;
        // The answer comes only after the command, which is sent while `next` waits.
        let command = peer.publication().await.unwrap();
        assert_eq!((command.topic.as_str(), &command.payload[..]), (REQUEST, &b"pushall"[..]));
        assert_eq!(command.qos, rumqttc::QoS::AtLeastOnce);
        peer.publish(REPORT, &vec![b'x'; 20_000]).await;
        assert!(matches!(peer.read().await, Some(Packet::Disconnect)));
    };
    let client = async {
        let (client, mut events) = connect(options(&broker), TOPICS).await.unwrap();
        assert_eq!(&events.next().await.unwrap().payload[..], b"early");
        // The first poll of `next` finds nothing and is dropped: no message may be lost by that.
        tokio::select! {
            biased;
            message = events.next() => panic!("unexpected {message:?}"),
            () = std::future::ready(()) => {}
        }
        let waiting = tokio::spawn(async move { (events.next().await, events) });
        client.publish(REQUEST, "pushall", Qos::AtLeastOnce).unwrap();
        let (message, events) = waiting.await.unwrap();
        assert_eq!(message.unwrap().payload.len(), 20_000);
        drop(events);
        assert!(matches!(client.publish(REQUEST, "x", Qos::AtMostOnce), Err(MqttError::NotConnected)));
    };
    together(script, client).await;
}

#[tokio::test]
async fn a_wrong_access_code_is_told_apart_from_other_refusals() {
    use ConnectReturnCode::{BadUserNamePassword, NotAuthorized, ServiceUnavailable};
    for code in [BadUserNamePassword, NotAuthorized, ServiceUnavailable] {
        let broker = Broker::start(None).await;
        let script = async { broker.accept().await.login(code).await };
        let (_, result) = together(script, connect(options(&broker), TOPICS)).await;
        match (code, result) {
            (ServiceUnavailable, Err(MqttError::Refused(3))) => {}
            (BadUserNamePassword | NotAuthorized, Err(MqttError::BadCredentials)) => {}
            (code, other) => panic!("{code:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_broker_silent_after_connect_or_after_login_times_out() {
    for greets in [false, true] {
        let broker = Broker::start(None).await;
        let mut options = options(&broker);
        options.connect_timeout = Duration::from_millis(300);
        let script = async {
            let mut peer = broker.accept().await;
            if greets {
                peer.login(ConnectReturnCode::Success).await;
            }
            while peer.read().await.is_some() {}
        };
        let (_, result) = together(script, connect(options, TOPICS)).await;
        assert!(matches!(result, Err(MqttError::Timeout)), "{result:?}");
    }
}

#[tokio::test]
async fn a_refused_port_and_a_refused_subscription_are_typed() {
    let broker = Broker::start(None).await;
    let closed = options(&broker);
    drop(broker);
    assert!(matches!(connect(closed, TOPICS).await, Err(MqttError::Unreachable(_))));

    let broker = Broker::start(None).await;
    let script = async {
        let mut peer = broker.accept().await;
        peer.login(ConnectReturnCode::Success).await;
        let Some(Packet::Subscribe(subscribe)) = peer.read().await else { panic!("no SUBSCRIBE") };
        peer.write(Packet::SubAck(SubAck::new(subscribe.pkid, vec![SubscribeReasonCode::Failure]))).await;
        while peer.read().await.is_some() {}
    };
    let (_, result) = together(script, connect(options(&broker), TOPICS)).await;
    assert!(matches!(result, Err(MqttError::SubscriptionRefused(topic)) if topic == REPORT));
}

#[tokio::test]
async fn a_session_that_is_closed_says_so_even_where_the_process_ends_at_once() {
    let broker = Broker::start(None).await;
    let options = options(&broker);
    let client = tokio::task::spawn_blocking(move || {
        let process = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        process.block_on(async {
            let (_client, events) = connect(options, TOPICS).await.unwrap();
            events.close().await;
        });
    });
    let mut peer = broker.accept().await;
    peer.welcome().await;
    assert!(matches!(peer.read().await, Some(Packet::Disconnect)));
    client.await.unwrap();
}

#[tokio::test]
async fn nothing_published_after_a_drop_reaches_the_next_session() {
    let broker = Broker::start(None).await;
    let script = async {
        let mut peer = broker.accept().await;
        peer.welcome().await;
        assert_eq!(&peer.publication().await.unwrap().payload[..], b"before");
        drop(peer);
        // A second session of the same client id: the command of the dead one must not appear.
        let mut peer = broker.accept().await;
        peer.welcome().await;
        assert_eq!(&peer.publication().await.unwrap().payload[..], b"fresh");
        assert!(matches!(peer.read().await, Some(Packet::Disconnect)));
        assert!(peer.read().await.is_none());
    };
    let client = async {
        let (dead, mut events) = connect(options(&broker), TOPICS).await.unwrap();
        dead.publish(REQUEST, "before", Qos::AtLeastOnce).unwrap();
        assert!(matches!(events.next().await, Err(MqttError::Closed(_))));
        assert!(matches!(events.next().await, Err(MqttError::NotConnected)));
        assert!(!dead.is_connected());
        let refused = dead.publish(REQUEST, "G1 Z100", Qos::AtLeastOnce);
        assert!(matches!(refused, Err(MqttError::NotConnected)), "{refused:?}");

        let (client, events) = connect(options(&broker), TOPICS).await.unwrap();
        client.publish(REQUEST, "fresh", Qos::AtLeastOnce).unwrap();
        drop(events);
    };
    together(script, client).await;
}

#[tokio::test]
async fn a_lagging_consumer_makes_publish_refuse_and_a_dead_session_never_reconnects() {
    let broker = Broker::start(None).await;
    let script = async {
        let mut peer = broker.accept().await;
        peer.welcome().await;
        for _ in 0..200 {
            peer.publish(REPORT, b"flood").await;
        }
        drop(peer);
        let mut next = broker.accept().await;
        let connect = next.login(ConnectReturnCode::Success).await;
        assert_eq!(connect.client_id, "second");
    };
    let client = async {
        let (client, mut events) = connect(options(&broker), TOPICS).await.unwrap();
        while !client.status.congested.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        let refused = client.publish(REQUEST, "G1 Z100", Qos::AtMostOnce);
        assert!(matches!(refused, Err(MqttError::Busy)), "{refused:?}");
        // Reading until the end of the stream is noticed while the queue is still full.
        while client.is_connected() {
            events.next().await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(events);
        // The driving task is gone once nobody else shares the status.
        while Arc::strong_count(&client.status) > 1 {
            tokio::task::yield_now().await;
        }
        let mut second = options(&broker);
        second.client_id = "second".into();
        connect(second, &[]).await.unwrap();
    };
    together(script, client).await;
}

#[tokio::test]
async fn missing_acknowledgements_hold_nothing_back() {
    let broker = Broker::start(None).await;
    let script = async {
        let mut peer = broker.accept().await;
        peer.welcome().await;
        for number in 0..300 {
            let publish = peer.publication().await.unwrap();
            assert_eq!(&publish.payload[..], format!("{number}").as_bytes());
        }
        peer.publish(REPORT, b"done").await;
        while peer.read().await.is_some() {}
    };
    let client = async {
        let (client, mut events) = connect(options(&broker), TOPICS).await.unwrap();
        for number in 0..300 {
            while let Err(error) = client.publish(REQUEST, format!("{number}"), Qos::AtLeastOnce) {
                assert!(matches!(error, MqttError::Busy), "{error:?}");
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(&events.next().await.unwrap().payload[..], b"done");
    };
    together(script, client).await;
}

#[tokio::test]
async fn what_the_broker_wants_acknowledged_is_acknowledged_and_delivered_once() {
    let broker = Broker::start(None).await;
    let script = async {
        let mut peer = broker.accept().await;
        peer.welcome().await;
        for (pkid, qos) in [(7, rumqttc::QoS::AtLeastOnce), (8, rumqttc::QoS::ExactlyOnce)] {
            let mut publish = rumqttc::Publish::new(REPORT, qos, format!("{pkid}"));
            publish.pkid = pkid;
            peer.write(Packet::Publish(publish)).await;
        }
        assert!(matches!(peer.read().await, Some(Packet::PubAck(ack)) if ack.pkid == 7));
        assert!(matches!(peer.read().await, Some(Packet::PubRec(ack)) if ack.pkid == 8));
        peer.write(Packet::PubRel(rumqttc::PubRel::new(8))).await;
        assert!(matches!(peer.read().await, Some(Packet::PubComp(ack)) if ack.pkid == 8));
        peer.publish(REPORT, b"last").await;
        while peer.read().await.is_some() {}
    };
    let client = async {
        let (_client, mut events) = connect(options(&broker), TOPICS).await.unwrap();
        for expected in ["7", "8", "last"] {
            assert_eq!(&events.next().await.unwrap().payload[..], expected.as_bytes());
        }
    };
    together(script, client).await;
}

#[tokio::test]
async fn oversized_messages_are_refused_in_both_directions() {
    let broker = Broker::start(None).await;
    let script = async {
        let mut peer = broker.accept().await;
        peer.welcome().await;
        assert_eq!(&peer.publication().await.unwrap().payload[..], b"still alive");
        peer.publish(REPORT, &vec![0; MAX_INCOMING - 100]).await;
        peer.publish(REPORT, &vec![0; MAX_INCOMING + 1]).await;
        while peer.read().await.is_some() {}
    };
    let client = async {
        let (client, mut events) = connect(options(&broker), TOPICS).await.unwrap();
        let refused = client.publish(REQUEST, vec![0; MAX_OUTGOING], Qos::AtLeastOnce);
        assert!(matches!(refused, Err(MqttError::TooLarge)), "{refused:?}");
        let refused = client.publish("device/+/request", "x", Qos::AtLeastOnce);
        assert!(matches!(refused, Err(MqttError::BadTopic(_))), "{refused:?}");
        client.publish(REQUEST, "still alive", Qos::AtLeastOnce).unwrap();
        assert_eq!(events.next().await.unwrap().payload.len(), MAX_INCOMING - 100);
        assert!(matches!(events.next().await, Err(MqttError::TooLarge)));
    };
    together(script, client).await;
}

#[tokio::test]
async fn an_unanswered_ping_ends_the_session() {
    let broker = Broker::start(None).await;
    let mut options = options(&broker);
    options.keep_alive = Duration::from_secs(1);
    let script = async {
        let mut peer = broker.accept().await;
        peer.welcome().await;
        while peer.read().await.is_some() {}
    };
    let client = async {
        let (_client, mut events) = connect(options, TOPICS).await.unwrap();
        assert!(matches!(events.next().await, Err(MqttError::Timeout)));
    };
    together(script, client).await;
}

/// A flood lasts until `wanted`; each message costs the consumer some time, or none.
async fn flooded(each: Option<Duration>, mut wanted: impl FnMut(&Packet) -> bool + Send + 'static) {
    let broker = Broker::start(None).await;
    let mut options = options(&broker);
    options.keep_alive = Duration::from_secs(1);
    // On a thread of its own, so that there is always more to read.
    let flooding = tokio::spawn(async move {
        let mut peer = broker.accept().await;
        peer.welcome().await;
        peer.flood_until(REPORT, &mut wanted).await;
    });
    let client = async {
        let (client, mut events) = connect(options, TOPICS).await.unwrap();
        let mut told = false;
        while events.next().await.is_ok() {
            // Refused at the moments at which the queue is full.
            told = told || client.publish(REQUEST, "stop", Qos::AtMostOnce).is_ok();
            if let Some(each) = each {
                tokio::time::sleep(each).await;
            }
        }
    };
    together(async { flooding.await.unwrap() }, client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_leave_during_a_flood() {
    flooded(None, |packet| matches!(packet, Packet::Publish(_))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_leave_while_the_consumer_lags_all_the_time() {
    let mut pings = 0;
    let twice = move |packet: &Packet| {
        pings += usize::from(matches!(packet, Packet::PingReq));
        pings >= 2
    };
    flooded(Some(Duration::from_millis(1)), twice).await;
}

#[tokio::test]
async fn tls_uses_the_printers_identity_and_reports_its_fault() {
    let identity = Identity::v1_rsa();
    let broker = Broker::start(Some(server_config(&identity, &TLS12))).await;
    let tls = PrinterTls::new(Some(SERIAL.into()), None).unwrap();
    let mut secure = options(&broker);
    secure.tls = Some(tls.client_config());
    let script = async {
        let mut peer = broker.accept().await;
        peer.welcome().await;
        while peer.read().await.is_some() {}
    };
    let (_, session) = together(script, async { connect(secure, TOPICS).await.map(drop) }).await;
    session.unwrap();
    assert!(tls.observed().is_some());

    let other = PrinterTls::new(Some("01P00B999999999".into()), None).unwrap();
    let mut wrong = options(&broker);
    wrong.tls = Some(other.client_config());
    let refused = tokio::spawn(async move { drop(broker.accept().await) });
    assert!(matches!(connect(wrong, TOPICS).await, Err(MqttError::Tls(_))));
    assert!(matches!(other.fault(), Some(TlsFault::WrongName { .. })));
    assert!(refused.await.unwrap_err().is_panic(), "the broker must see the handshake fail");
}

#[test]
fn the_password_is_not_printed() {
    let mut options = MqttOptions::new("192.0.2.1", 8883, "id");
    options.set_credentials("bblp", "s3cret99");
    let text = format!("{options:?}");
    assert!(text.contains("bblp") && !text.contains("s3cret99"), "{text}");
}
