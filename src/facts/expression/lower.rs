//! Loops as the crate evaluates them: an accumulator, a condition to go on, and a step.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, operators,
};

use super::parse::LoopKind;

/// The accumulator, which nobody can write.
const RESULT: &str = "@result";

pub(super) fn over(kind: LoopKind, variable: &str, range: IdedExpr, body: IdedExpr) -> Expr {
    let go_on = truth(true);
    let (initial, condition, step, result) = match kind {
        LoopKind::All => (
            truth(true),
            call(operators::NOT_STRICTLY_FALSE, [accumulator()]),
            call(operators::LOGICAL_AND, [accumulator(), body]),
            accumulator(),
        ),
        LoopKind::Exists => {
            let not = call(operators::LOGICAL_NOT, [accumulator()]);
            (
                truth(false),
                call(operators::NOT_STRICTLY_FALSE, [not]),
                call(operators::LOGICAL_OR, [accumulator(), body]),
                accumulator(),
            )
        }
        LoopKind::ExistsOne => {
            let more = call(operators::ADD, [accumulator(), int(1)]);
            (
                int(0),
                go_on,
                call(operators::CONDITIONAL, [body, more, accumulator()]),
                call(operators::EQUALS, [accumulator(), int(1)]),
            )
        }
        LoopKind::Filter => {
            let element = list(vec![ided(Expr::Ident(variable.to_owned()))]);
            let more = call(operators::ADD, [accumulator(), element]);
            (
                list(Vec::new()),
                go_on,
                call(operators::CONDITIONAL, [body, more, accumulator()]),
                accumulator(),
            )
        }
    };
    Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: range,
        iter_var: variable.to_owned(),
        iter_var2: None,
        accu_var: RESULT.to_owned(),
        accu_init: initial,
        loop_cond: condition,
        loop_step: step,
        result,
    }))
}

fn accumulator() -> IdedExpr {
    ided(Expr::Ident(RESULT.to_owned()))
}

fn truth(truth: bool) -> IdedExpr {
    ided(Expr::Literal(LiteralValue::Boolean(truth.into())))
}

fn int(number: i64) -> IdedExpr {
    ided(Expr::Literal(LiteralValue::Int(number.into())))
}

fn list(elements: Vec<IdedExpr>) -> IdedExpr {
    ided(Expr::List(ListExpr::new(elements)))
}

fn call<const N: usize>(operator: &str, args: [IdedExpr; N]) -> IdedExpr {
    ided(Expr::Call(CallExpr {
        func_name: operator.to_owned(),
        target: None,
        args: args.into(),
    }))
}

/// The crate counts expressions to tell their places, which are known here already.
pub(super) fn ided(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}
