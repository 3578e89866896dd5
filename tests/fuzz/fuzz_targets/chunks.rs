//! A chunked body is read alike at once and in two pieces.

use balancer::http1::{BadChunk, ChunkDecoder};

/// What was consumed, the data, whether it has ended, and the trailers.
type Read = (usize, Vec<u8>, bool, Vec<u8>);

/// Bytes of the chunked body at the start of `rest`; `None` where it is malformed or not whole. `cut`
/// says where it is parted.
///
/// # Panics
///
/// It is read in two ways.
pub fn whole(rest: &[u8], cut: usize) -> Option<usize> {
    let at_once = decode(&[rest]);
    let (first, second) = rest.split_at(cut % (rest.len() + 1));
    assert_eq!(at_once, decode(&[first, second]), "{} cut at {}", rest.escape_ascii(), first.len());
    at_once.ok().filter(|(_, _, done, _)| *done).map(|(used, ..)| used)
}

fn decode(pieces: &[&[u8]]) -> Result<Read, BadChunk> {
    let mut decoder = ChunkDecoder::new();
    let (mut used, mut data, mut done) = (0, Vec::new(), false);
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        let mut piece = piece.to_vec();
        let decoded = decoder.decode(&mut piece)?;
        used += decoded.consumed;
        data.extend_from_slice(&piece[..decoded.data]);
        done |= decoded.done;
    }
    Ok((used, data, done, decoder.trailers().to_vec()))
}
