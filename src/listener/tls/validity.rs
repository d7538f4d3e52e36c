//! From when to when a certificate is good.

use x509_parser::certificate::X509Certificate;
use x509_parser::time::ASN1Time;

pub(super) const DAY: i64 = 24 * 60 * 60;
/// A certificate is renewed when about a third of its time is left; one that has less than a tenth of its time, or
/// this many days, was forgotten.
const SOON: i64 = 30 * DAY;

/// From when to when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Validity {
    not_before: ASN1Time,
    not_after: ASN1Time,
}

impl Validity {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Validity {
        Validity {
            not_before: certificate.validity().not_before,
            not_after: certificate.validity().not_after,
        }
    }

    /// Unix time in seconds.
    pub(super) fn not_after(&self) -> i64 {
        self.not_after.timestamp()
    }

    /// What is to be said of it at this Unix time, if anything.
    pub(super) fn warning(&self, now: i64) -> Option<String> {
        let (begin, end) = (self.not_before.timestamp(), self.not_after.timestamp());
        let soon = (end.saturating_sub(begin) / 10).min(SOON);
        if now >= end {
            Some(format!("has expired on {}", date(self.not_after)))
        } else if now < begin {
            Some(format!("is not good before {}", date(self.not_before)))
        } else if end.saturating_sub(now) < soon {
            Some(format!("expires on {}", date(self.not_after)))
        } else {
            None
        }
    }
}

fn date(time: ASN1Time) -> String {
    time.to_datetime().date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_forgets_to_renew_is_told() {
        let check = |begin: i64, end: i64, now: i64, expected: Option<&str>| {
            let validity = Validity {
                not_before: ASN1Time::from_timestamp(begin * DAY).unwrap(),
                not_after: ASN1Time::from_timestamp(end * DAY).unwrap(),
            };
            assert_eq!(validity.warning(now * DAY).as_deref(), expected);
        };
        check(0, 90, 0, None);
        check(0, 90, 80, None);
        check(0, 90, 82, Some("expires on 1970-04-01"));
        check(0, 90, 90, Some("has expired on 1970-04-01"));
        check(1, 90, 0, Some("is not good before 1970-01-02"));
        // Ten years, of which a tenth would be a whole one.
        check(0, 3650, 3619, None);
        check(0, 3650, 3621, Some("expires on 1979-12-30"));
    }
}
