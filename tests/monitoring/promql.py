"""Parsing of queries: selectors, and the labels that they group and join by."""

from dataclasses import dataclass

import promql_parser as ast


@dataclass(frozen=True)
class Selector:
    """A metric with its matchers: label, operator, value."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]

    def without(self, label: str) -> "Selector":
        """The same selector without matchers for a label."""
        return Selector(self.name, tuple(m for m in self.matchers if m[0] != label))

    def __str__(self) -> str:
        matchers = ", ".join(f"{label}{op}{_quoted(value)}" for label, op, value in self.matchers)
        return f"{self.name}{{{matchers}}}"


@dataclass(frozen=True)
class Grouping:
    """Labels that a part of a query names, and the selectors that have to provide them."""

    labels: tuple[str, ...]
    selectors: tuple[Selector, ...]


def selectors(query: str) -> tuple[Selector, ...]:
    """The selectors of a query."""
    return _selectors(ast.parse(query))


def groupings(query: str) -> list[Grouping]:
    """The labels that a query names in `by`, `without`, `on` and `ignoring`."""
    found = []

    def visit(node: ast.Expr) -> None:
        if isinstance(node, ast.AggregateExpr) and node.modifier:
            found.append(Grouping(tuple(node.modifier.labels), _selectors(node.expr)))
        if isinstance(node, ast.BinaryExpr) and node.modifier and node.modifier.matching:
            labels = tuple(node.modifier.matching.labels)
            found.extend(Grouping(labels, _selectors(side)) for side in (node.lhs, node.rhs))

    ast.walk(ast.parse(query), visit)
    return found


def _selectors(root: ast.Expr) -> tuple[Selector, ...]:
    found = []

    def visit(node: ast.Expr) -> None:
        if isinstance(node, ast.VectorSelector):
            matchers = tuple(
                (m.name, _OPERATORS[str(m.op)], m.value) for m in node.matchers.matchers
            )
            found.append(Selector(node.name or "", matchers))

    ast.walk(root, visit)
    return tuple(found)


_OPERATORS = {
    "MatchOp.Equal": "=",
    "MatchOp.NotEqual": "!=",
    "MatchOp.Re": "=~",
    "MatchOp.NotRe": "!~",
}


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
