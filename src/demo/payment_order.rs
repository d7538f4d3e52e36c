//! What a payment needs to be taken: every rule, and every field that breaks one.

use serde::{Deserialize, Serialize};

use super::IDS;
use super::payments::Payment;

const CURRENCIES: [&str; 4] = ["EUR", "USD", "GBP", "SEK"];
const LARGEST_AMOUNT: u64 = 1_000_000;

/// The body of `POST /payments`. Fields that are missing are found by [`PaymentOrder::check`] with all the others.
#[derive(Deserialize)]
pub(super) struct PaymentOrder {
    order_id: Option<u64>,
    amount_cents: Option<u64>,
    currency: Option<String>,
    card_token: Option<String>,
}

/// A field of a payment that was refused, and the rule that it breaks.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub(super) struct Complaint {
    field: &'static str,
    rule: &'static str,
}

impl PaymentOrder {
    /// The payment that this asks for, still without an id, or everything that is wrong with it.
    pub(super) fn check(self) -> Result<Payment, Vec<Complaint>> {
        let order_id = self
            .order_id
            .and_then(|id| u32::try_from(id).ok())
            .filter(|id| IDS.contains(id));
        let amount_cents = self
            .amount_cents
            .filter(|cents| (1..=LARGEST_AMOUNT).contains(cents));
        let currency = CURRENCIES
            .into_iter()
            .find(|&known| self.currency.as_deref() == Some(known));
        let card = self.card_token.filter(|token| is_card_token(token));

        match (order_id, amount_cents, currency, card) {
            (Some(order_id), Some(amount_cents), Some(currency), Some(card)) => Ok(Payment {
                id: 0,
                order_id,
                amount_cents,
                currency,
                card,
                status: "captured",
            }),
            (order_id, amount_cents, currency, card) => {
                let rules = [
                    (
                        order_id.is_some(),
                        "order_id",
                        "is the id of an order, 1 to 100",
                    ),
                    (
                        amount_cents.is_some(),
                        "amount_cents",
                        "lies between 1 and 1000000",
                    ),
                    (
                        currency.is_some(),
                        "currency",
                        "is one of EUR, USD, GBP, SEK",
                    ),
                    (
                        card.is_some(),
                        "card_token",
                        "starts with tok_ and has letters, digits and _ only",
                    ),
                ];
                let broken = rules.into_iter().filter(|(kept, ..)| !kept);
                Err(broken
                    .map(|(_, field, rule)| Complaint { field, rule })
                    .collect())
            }
        }
    }
}

/// Tokens stand for cards; a card number has no business here and is refused.
fn is_card_token(text: &str) -> bool {
    let name = text.strip_prefix("tok_").unwrap_or_default();
    (1..=60).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
