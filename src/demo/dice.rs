//! Chance that always falls the same way: the shop's data is rolled from ids, never stored and never random.

/// A number below `sides`, the same one for the same `id` and `what` on every machine. `sides` is not zero.
pub(super) fn roll(id: u32, what: &str, sides: u32) -> u32 {
    // FNV-1a spreads short keys well except in the low bits, which are the ones a remainder looks at; the two
    // shifts and the multiplication bring the high bits down.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in what.bytes().chain(id.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((hash >> 32) % u64::from(sides)) as u32
}

/// One of `faces`.
pub(super) fn pick<const N: usize>(id: u32, what: &str, faces: &[&'static str; N]) -> &'static str {
    faces[roll(id, what, N as u32) as usize]
}

#[cfg(test)]
mod tests {
    use super::roll;

    #[test]
    fn the_same_roll_falls_the_same_way_and_all_faces_come_up() {
        let rolls: Vec<u32> = (1..=100).map(|id| roll(id, "city", 8)).collect();
        assert_eq!(
            rolls,
            (1..=100).map(|id| roll(id, "city", 8)).collect::<Vec<_>>()
        );
        for face in 0..8 {
            let times = rolls.iter().filter(|&&rolled| rolled == face).count();
            assert!(
                (4..=24).contains(&times),
                "face {face} came up {times} times of 100"
            );
        }
    }
}
