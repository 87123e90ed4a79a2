//! What encoding and decoding costs, printed: `cargo test --release --lib format::measure -- --nocapture`.
//! In a debug build it only checks that the loops run.

use std::hint::black_box;
use std::time::Instant;

use arrow::buffer::Buffer;

use super::frame;
use super::log_batch::BatchHeader;
use super::samples::{wide_batch, wide_schema};
use super::{BatchMeta, Compression, Decoder, Encoder, Layout};

/// Nanoseconds per call, the best of many short rounds: what it costs when nobody disturbs.
#[expect(clippy::disallowed_methods, reason = "a stopwatch")]
pub(super) fn cost(calls: usize, mut call: impl FnMut()) -> f64 {
    let (rounds, calls) = if cfg!(debug_assertions) { (1, 1) } else { (200, calls.div_ceil(50)) };
    let round = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed().as_nanos() as f64 / calls as f64
    };
    (0..rounds).map(|_| round(&mut call)).fold(f64::MAX, f64::min)
}

#[test]
fn encode_and_decode() {
    let schema = wide_schema();
    let meta = BatchMeta::append(1);
    for rows in [1, 1_000, 10_000] {
        let calls = 2_000_000 / (rows + 20);
        let batch = wide_batch(&schema, rows, 1);
        let per_row = |cost: f64| if rows == 1 { format!("{cost:.0} ns") } else { format!("{:.2} ns/row", cost / rows as f64) };
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd(1), Compression::Zstd(3)] {
            let encoder = Encoder::new(&schema, Layout::Native, compression).unwrap();
            let mut out = vec![0; encoder.size_bound(&batch, &meta) + 64];
            let start = out.as_ptr().align_offset(64);
            let out = &mut out[start..];
            let calls = if compression == Compression::None { calls } else { calls / 20 };
            let size = cost(calls, || _ = black_box(encoder.size_bound(black_box(&batch), &meta)));
            let encode = cost(calls, || _ = black_box(encoder.encode(black_box(&batch), &meta, out).unwrap()));
            let length = encoder.encode(&batch, &meta, out).unwrap();
            let stored = Buffer::from(&out[..length]);
            let header = BatchHeader::read(&stored).unwrap();
            let verify = cost(calls, || black_box(&header).verify(black_box(&stored)).unwrap());
            println!(
                "{rows} rows {compression:?}, {length} B: size {}, encode {}, verify {}",
                per_row(size),
                per_row(encode),
                per_row(verify)
            );
            for columns in [20, 10, 2, 1, 0] {
                let chosen: Vec<usize> = (0..columns).map(|column| 19 - column).collect();
                let decoder = Decoder::projected(&schema, if columns == 20 { &ALL } else { &chosen }).unwrap();
                let decode = cost(calls, || _ = black_box(decoder.decode(black_box(&stored)).unwrap()));
                println!("    decode {columns} columns {}", per_row(decode));
            }
            let decoder = Decoder::new(&schema).unwrap();
            let layout = cost(calls, || _ = black_box(decoder.layout(&header, black_box(&stored)).unwrap()));
            println!("    layout {layout:.0} ns");
        }
    }
}

const ALL: [usize; 20] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];

#[test]
fn seal_and_parse() {
    let head = frame::FrameHead { segment_id: 1, ..Default::default() };
    for lengths in [vec![3520; 1], vec![3520; 16]] {
        let (spans, bytes) = frame::lay_out(&lengths).unwrap();
        let mut frame = vec![0; bytes];
        let seal = cost(200_000, || frame::seal(black_box(&mut frame), &head, &spans));
        let parse = cost(200_000, || {
            let frame::Parsed::Frame(parsed) = frame::parse(black_box(&frame), 1, 0) else { panic!("no frame") };
            assert!(parsed.verify(&frame));
        });
        println!("frame of {} batches: seal {seal:.0} ns, parse and verify {parse:.0} ns", lengths.len());
    }
}
