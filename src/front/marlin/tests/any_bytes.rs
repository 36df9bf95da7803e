use proptest::prelude::*;

use super::*;

/// Everything that is held back comes in this time: 40 lines of at most 20 s each.
fn settle(rig: &mut Rig) -> Vec<String> {
    let mut lines = rig.lines();
    for _ in 0..60 {
        lines.extend(rig.wait(30_000));
    }
    lines
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "M105",
        "M400",
        "M25",
        "M26 S0",
        "M24",
        "M23 cube.gco",
        "M27",
        "M112",
        "N0 M110 N0*125",
        "N1 M115*39",
        "M28 x.gco",
        "M29",
        "M30 cube.gco",
        "M20",
        "M155 S2",
        "G1 X1 E1",
        "N5 G1 X1*7",
        "M876 S0",
        "M108",
        "N-1",
    ]);
    prop_oneof![
        3 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (0usize..6000).prop_map(|length| vec![b'x'; length]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// One `ok` for every line that is not blank, whatever came and however the library halts it, and no panic.
    #[test]
    fn every_line_has_its_ok(parts in prop::collection::vec(pieces(), 0..40), cut in 1usize..50, stands in any::<u32>()) {
        let mut rig = Rig::connected();
        let bytes: Vec<u8> = parts.into_iter().flat_map(|part| [part, b"\n".to_vec()].concat()).collect();
        let sent = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.trim_ascii().is_empty());
        let sent = sent.count();
        for (index, piece) in bytes.chunks(cut).enumerate() {
            rig.dialogue.stand(stands >> (index % 32) & 1 == 1, &rig.view);
            rig.dialogue.bytes(piece, &rig.view);
        }
        rig.dialogue.stand(false, &rig.view);
        let told = settle(&mut rig);
        let oks = told.iter().filter(|line| *line == "ok" || line.starts_with("ok ")).count();
        prop_assert_eq!(oks, sent, "{:?}", told);
    }
}
