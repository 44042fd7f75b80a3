//! Rewrites a template's syntax tree so that its results are metered.
//!
//! | in the template | becomes |
//! |---|---|
//! | `a + b`, `a ~ b`, literals, slices, calls, filters | `… \| __made` |
//! | `a * b` | `a \| __times(b)` |
//! | text | itself behind `__text(length)` |
//! | `set ns.x = e` | `set ns.x = e \| __kept` |
//! | a loop's body | itself behind `__text(0)` |

use minijinja::machinery::Span;
use minijinja::machinery::ast::{
    BinOp, BinOpKind, Call, CallArg, CallBlock, Compare, CompareOp, Const, Do, EmitExpr, EmitRaw,
    Expr, Filter, FilterBlock, ForLoop, GetAttr, GetItem, IfCond, IfExpr, List, Macro, Map, Set,
    SetBlock, Slice, Spanned, Stmt, Template, Test, Tuple, UnaryOp, UnaryOpKind, Var, WithBlock,
};
use minijinja::{Error, ErrorKind, Value};

/// Checks the value that stands before it.
pub(super) const MADE: &str = "__made";
/// Checks a value that a namespace will keep.
pub(super) const KEPT: &str = "__kept";
/// Multiplies.
pub(super) const TIMES: &str = "__times";
/// Counts text that the template writes itself.
pub(super) const TEXT: &str = "__text";

type Result<T> = std::result::Result<T, Error>;

/// The rewritten statement.
///
/// # Errors
/// For tags that need other templates.
pub(super) fn statement<'a>(stmt: &Stmt<'a>) -> Result<Stmt<'a>> {
    Ok(match stmt {
        Stmt::Template(t) => Stmt::Template(Spanned::new(
            Template {
                children: body(&t.children)?,
            },
            t.span(),
        )),
        Stmt::EmitExpr(e) => {
            // A call stands bare here: the compiler treats `{{ loop(x) }}` and
            // `{{ super() }}` apart, and what is printed is metered anyway.
            let expr = match &e.expr {
                Expr::Call(c) => Expr::Call(Spanned::new(call(c)?, c.span())),
                other => expr(other)?,
            };
            Stmt::EmitExpr(Spanned::new(EmitExpr { expr }, e.span()))
        }
        Stmt::EmitRaw(r) => Stmt::EmitRaw(Spanned::new(EmitRaw { raw: r.raw }, r.span())),
        Stmt::ForLoop(f) => {
            let mut loop_body = vec![text(0, f.span())];
            loop_body.extend(body(&f.body)?);
            let new = ForLoop {
                target: target(&f.target)?,
                iter: expr(&f.iter)?,
                filter_expr: optional(f.filter_expr.as_ref())?,
                recursive: f.recursive,
                body: loop_body,
                else_body: body(&f.else_body)?,
            };
            Stmt::ForLoop(Spanned::new(new, f.span()))
        }
        Stmt::IfCond(i) => {
            let new = IfCond {
                expr: expr(&i.expr)?,
                true_body: body(&i.true_body)?,
                false_body: body(&i.false_body)?,
            };
            Stmt::IfCond(Spanned::new(new, i.span()))
        }
        Stmt::WithBlock(w) => {
            let assignments = w
                .assignments
                .iter()
                .map(|(to, e)| Ok((target(to)?, expr(e)?)));
            let new = WithBlock {
                assignments: assignments.collect::<Result<_>>()?,
                body: body(&w.body)?,
            };
            Stmt::WithBlock(Spanned::new(new, w.span()))
        }
        Stmt::Set(s) => {
            let value = expr(&s.expr)?;
            let kept = matches!(s.target, Expr::GetAttr(_));
            let value = if kept {
                filter(KEPT, value, Vec::new(), s.span())
            } else {
                value
            };
            Stmt::Set(Spanned::new(
                Set {
                    target: target(&s.target)?,
                    expr: value,
                },
                s.span(),
            ))
        }
        Stmt::SetBlock(s) => {
            let new = SetBlock {
                target: target(&s.target)?,
                filter: optional(s.filter.as_ref())?,
                body: body(&s.body)?,
            };
            Stmt::SetBlock(Spanned::new(new, s.span()))
        }
        Stmt::FilterBlock(f) => {
            let new = FilterBlock {
                filter: expr(&f.filter)?,
                body: body(&f.body)?,
            };
            Stmt::FilterBlock(Spanned::new(new, f.span()))
        }
        Stmt::Macro(m) => Stmt::Macro(Spanned::new(macro_decl(m)?, m.span())),
        Stmt::CallBlock(c) => {
            let new = CallBlock {
                call: Spanned::new(call(&c.call)?, c.call.span()),
                macro_decl: Spanned::new(macro_decl(&c.macro_decl)?, c.macro_decl.span()),
            };
            Stmt::CallBlock(Spanned::new(new, c.span()))
        }
        Stmt::Do(d) => {
            let new = Do {
                call: Spanned::new(call(&d.call)?, d.call.span()),
            };
            Stmt::Do(Spanned::new(new, d.span()))
        }
        Stmt::Continue(c) => {
            Stmt::Continue(Spanned::new(minijinja::machinery::ast::Continue, c.span()))
        }
        Stmt::Break(b) => Stmt::Break(Spanned::new(minijinja::machinery::ast::Break, b.span())),
        _ => {
            let reason =
                "block, include, import, extends and autoescape are not for chat templates";
            return Err(Error::new(ErrorKind::SyntaxError, reason));
        }
    })
}

fn body<'a>(stmts: &[Stmt<'a>]) -> Result<Vec<Stmt<'a>>> {
    let mut new = Vec::with_capacity(stmts.len());
    for stmt in stmts {
        if let Stmt::EmitRaw(raw) = stmt {
            new.push(text(raw.raw.len(), raw.span()));
        }
        new.push(statement(stmt)?);
    }
    Ok(new)
}

fn macro_decl<'a>(m: &Macro<'a>) -> Result<Macro<'a>> {
    Ok(Macro {
        name: m.name,
        args: m.args.iter().map(target).collect::<Result<_>>()?,
        defaults: m.defaults.iter().map(expr).collect::<Result<_>>()?,
        body: body(&m.body)?,
    })
}

/// `{{ length | __text }}`, which prints nothing.
fn text<'a>(length: usize, span: Span) -> Stmt<'a> {
    let length = Expr::Const(Spanned::new(
        Const {
            value: Value::from(length),
        },
        span,
    ));
    let expr = filter(TEXT, length, Vec::new(), span);
    Stmt::EmitExpr(Spanned::new(EmitExpr { expr }, span))
}

fn filter<'a>(name: &'static str, value: Expr<'a>, args: Vec<CallArg<'a>>, span: Span) -> Expr<'a> {
    Expr::Filter(Spanned::new(
        Filter {
            name,
            expr: Some(value),
            args,
        },
        span,
    ))
}

fn made(value: Expr<'_>) -> Expr<'_> {
    let span = value.span();
    filter(MADE, value, Vec::new(), span)
}

fn optional<'a>(value: Option<&Expr<'a>>) -> Result<Option<Expr<'a>>> {
    value.map(expr).transpose()
}

fn call<'a>(c: &Call<'a>) -> Result<Call<'a>> {
    // Not through `expr`: a name and an attribute before a call are no values.
    let callee = match &c.expr {
        Expr::GetAttr(g) => Expr::GetAttr(Spanned::new(
            GetAttr {
                expr: expr(&g.expr)?,
                name: g.name,
            },
            g.span(),
        )),
        other => expr(other)?,
    };
    Ok(Call {
        expr: callee,
        args: args(&c.args)?,
    })
}

fn args<'a>(args: &[CallArg<'a>]) -> Result<Vec<CallArg<'a>>> {
    let arg = |arg: &CallArg<'a>| {
        Ok(match arg {
            CallArg::Pos(e) => CallArg::Pos(expr(e)?),
            CallArg::Kwarg(name, e) => CallArg::Kwarg(name, expr(e)?),
            CallArg::PosSplat(e) => CallArg::PosSplat(expr(e)?),
            CallArg::KwargSplat(e) => CallArg::KwargSplat(expr(e)?),
        })
    };
    args.iter().map(arg).collect()
}

/// What a value is assigned to: only names, lists of them and attributes.
fn target<'a>(e: &Expr<'a>) -> Result<Expr<'a>> {
    Ok(match e {
        Expr::List(l) => {
            let items = l.items.iter().map(target).collect::<Result<_>>()?;
            Expr::List(Spanned::new(List { items }, l.span()))
        }
        Expr::Tuple(t) => {
            let items = t.items.iter().map(target).collect::<Result<_>>()?;
            Expr::Tuple(Spanned::new(Tuple { items }, t.span()))
        }
        other => expr(other)?,
    })
}

fn expr<'a>(e: &Expr<'a>) -> Result<Expr<'a>> {
    Ok(match e {
        Expr::Var(v) => Expr::Var(Spanned::new(Var { id: v.id }, v.span())),
        Expr::Const(c) => Expr::Const(Spanned::new(
            Const {
                value: c.value.clone(),
            },
            c.span(),
        )),
        Expr::Slice(s) => {
            let new = Slice {
                expr: expr(&s.expr)?,
                start: optional(s.start.as_ref())?,
                stop: optional(s.stop.as_ref())?,
                step: optional(s.step.as_ref())?,
            };
            made(Expr::Slice(Spanned::new(new, s.span())))
        }
        Expr::UnaryOp(u) => {
            let not = matches!(u.op, UnaryOpKind::Not);
            let op = if not {
                UnaryOpKind::Not
            } else {
                UnaryOpKind::Neg
            };
            Expr::UnaryOp(Spanned::new(
                UnaryOp {
                    op,
                    expr: expr(&u.expr)?,
                },
                u.span(),
            ))
        }
        Expr::BinOp(b) => {
            let (left, right) = (expr(&b.left)?, expr(&b.right)?);
            if matches!(b.op, BinOpKind::Mul) {
                return Ok(filter(TIMES, left, vec![CallArg::Pos(right)], b.span()));
            }
            let new = Expr::BinOp(Spanned::new(
                BinOp {
                    op: b.op,
                    left,
                    right,
                },
                b.span(),
            ));
            match b.op {
                BinOpKind::Add | BinOpKind::Concat => made(new),
                _ => new,
            }
        }
        Expr::Compare(c) => {
            let op = |op: &CompareOp<'a>| {
                Ok(CompareOp {
                    op: op.op,
                    expr: expr(&op.expr)?,
                })
            };
            let ops = c.ops.iter().map(op).collect::<Result<_>>()?;
            Expr::Compare(Spanned::new(
                Compare {
                    expr: expr(&c.expr)?,
                    ops,
                },
                c.span(),
            ))
        }
        Expr::IfExpr(i) => {
            let new = IfExpr {
                test_expr: expr(&i.test_expr)?,
                true_expr: expr(&i.true_expr)?,
                false_expr: optional(i.false_expr.as_ref())?,
            };
            Expr::IfExpr(Spanned::new(new, i.span()))
        }
        Expr::Filter(f) => {
            let new = Filter {
                name: f.name,
                expr: optional(f.expr.as_ref())?,
                args: args(&f.args)?,
            };
            made(Expr::Filter(Spanned::new(new, f.span())))
        }
        Expr::Test(t) => {
            let new = Test {
                name: t.name,
                expr: expr(&t.expr)?,
                args: args(&t.args)?,
            };
            Expr::Test(Spanned::new(new, t.span()))
        }
        Expr::GetAttr(g) => Expr::GetAttr(Spanned::new(
            GetAttr {
                expr: expr(&g.expr)?,
                name: g.name,
            },
            g.span(),
        )),
        Expr::GetItem(g) => {
            let new = GetItem {
                expr: expr(&g.expr)?,
                subscript_expr: expr(&g.subscript_expr)?,
            };
            Expr::GetItem(Spanned::new(new, g.span()))
        }
        Expr::Call(c) => made(Expr::Call(Spanned::new(call(c)?, c.span()))),
        Expr::List(l) => {
            let items = l.items.iter().map(expr).collect::<Result<_>>()?;
            made(Expr::List(Spanned::new(List { items }, l.span())))
        }
        Expr::Tuple(t) => {
            let items = t.items.iter().map(expr).collect::<Result<_>>()?;
            made(Expr::Tuple(Spanned::new(Tuple { items }, t.span())))
        }
        Expr::Map(m) => {
            let new = Map {
                keys: m.keys.iter().map(expr).collect::<Result<_>>()?,
                values: m.values.iter().map(expr).collect::<Result<_>>()?,
            };
            made(Expr::Map(Spanned::new(new, m.span())))
        }
    })
}
