//! RSA keys whose private half can be computed from the public one, because of how a chip made them (CVE-2017-15361; Nemec
//! et al., "The Return of Coppersmith's Attack", CCS 2017).

/// The odd primes below 168.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Such a modulus is a power of 65537 modulo each of the primes (section 2.1 of the paper). Of 238 million others one is, too.
pub(super) fn is_made_so(modulus: &[u8]) -> bool {
    PRIMES
        .iter()
        .all(|prime| is_power(remainder(modulus, *prime), *prime))
}

/// Of a big-endian number.
fn remainder(number: &[u8], prime: u32) -> u32 {
    let digits = number.iter().map(|digit| u32::from(*digit));
    digits.fold(0, |rest, digit| (rest * 256 + digit) % prime)
}

fn is_power(rest: u32, prime: u32) -> bool {
    let mut power = 1;
    for _ in 1..prime {
        if power == rest {
            return true;
        }
        power = power * (65_537 % prime) % prime;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers() {
        // Of 65537 there are 1 and 10 modulo 11, and all from 1 to 22 modulo 23.
        let powers = |prime| (0..prime).filter(move |rest| is_power(*rest, prime));
        assert_eq!(powers(11).collect::<Vec<_>>(), [1, 10]);
        assert_eq!(powers(23).collect::<Vec<_>>(), Vec::from_iter(1..23));
        assert_eq!(remainder(&[1, 0, 1], 11), 65_537 % 11);
    }

    #[test]
    fn numbers() {
        assert!(is_made_so(&[1]));
        assert!(is_made_so(&[1, 0, 1]));
        assert!(!is_made_so(&[1, 0, 3]));
        assert!(!is_made_so(&[]));
    }
}
