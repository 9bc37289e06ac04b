# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Expressions in validation rules (CEL), as far as the CustomResourceDefinitions of a virtualisation cluster use them.

Literals, operators, ``? :``, fields, indexes, ``in``, ``has``, ``size``, ``string``, ``int``; the macros all, exists,
exists_one, filter and map; startsWith, endsWith, contains, matches, lowerAscii, upperAscii; the named formats
dns1123Label, dns1123Subdomain, qualifiedName and labelValue with validate, hasValue and value.
"""

from __future__ import annotations

import functools
import re

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import naming

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+\.\d+|\d+)u?|(?P<text>r?'(?:[^'\\]|\\.)*'|r?"(?:[^"\\]|\\.)*")|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<sign>\|\||&&|==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}]))""")
_LEVELS = (("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"))
_CONSTANTS = {"true": True, "false": False, "null": None}


class CelError(Exception):
    """An expression that does not parse, or that cannot be evaluated on this object."""


@functools.lru_cache(maxsize=1000)
def compiled(text):
    """The function ``f(variables)`` of an expression.

    :raises CelError: when it does not parse.
    """
    parser = _Parser(text)
    found = parser.choice()
    if parser.at < len(parser.tokens):
        raise CelError("unexpected %s in %s" % (parser.tokens[parser.at][1], text))
    return found


def mentions(text, name):
    """Whether an expression uses a variable."""
    return any(kind == "name" and word == name for kind, word in _tokens(text))


def _tokens(text):
    found, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if not match:
            raise CelError("unexpected %r in %s" % (text[at:at + 10], text))
        found.append((match.lastgroup, match.group(match.lastgroup)))
        at = match.end()
    return found


class _Parser:
    def __init__(self, text):
        self.text = text
        self.tokens = _tokens(text)
        self.at = 0

    def peek(self, *words):
        return self.at < len(self.tokens) and self.tokens[self.at][0] != "text" and self.tokens[self.at][1] in words

    def take(self, *words):
        if words and not self.peek(*words):
            raise CelError("expected %s in %s" % (words[0], self.text))
        if self.at >= len(self.tokens):
            raise CelError("unexpected end of %s" % self.text)
        self.at += 1
        return self.tokens[self.at - 1]

    def choice(self):
        test = self.level(0)
        if not self.peek("?"):
            return test
        self.take("?")
        then = self.choice()
        self.take(":")
        other = self.choice()
        return lambda scope: then(scope) if test(scope) else other(scope)

    def level(self, depth):
        if depth == len(_LEVELS):
            return self.unary()
        left = self.level(depth + 1)
        while self.peek(*_LEVELS[depth]):
            sign = self.take()[1]
            left = _joined(sign, left, self.level(depth + 1))
        return left

    def unary(self):
        if self.peek("!"):
            self.take()
            inner = self.unary()
            return lambda scope: not inner(scope)
        if self.peek("-"):
            self.take()
            inner = self.unary()
            return lambda scope: -inner(scope)
        found = self.primary()
        while self.peek(".", "["):
            if self.take()[1] == "[":
                found = _index(found, self.choice())
                self.take("]")
            else:
                found = self.member(found)
        return found

    def member(self, target):
        name = self.take()[1]
        if not self.peek("("):
            return _field(target, name)
        self.take("(")
        if name in _MACROS:
            variable = self.take()[1]
            self.take(",")
            body = self.choice()
            self.take(")")
            return lambda scope: _MACROS[name](
                list(target(scope)), lambda item: body(dict(scope, **{variable: item})))
        arguments = self.arguments()
        if name not in _METHODS:
            raise CelError("undeclared reference to '%s' in %s" % (name, self.text))
        return lambda scope: _METHODS[name](target(scope), *(argument(scope) for argument in arguments))

    def arguments(self):
        found = []
        while not self.peek(")"):
            found.append(self.choice())
            if not self.peek(")"):
                self.take(",")
        self.take(")")
        return found

    def primary(self):
        kind, word = self.take()
        if kind == "number":
            value = float(word) if "." in word else int(word)
            return lambda scope: value
        if kind == "text":
            value = word[2:-1] if word[0] == "r" else re.sub(r"\\(.)", r"\1", word[1:-1])
            return lambda scope: value
        if word == "(":
            inner = self.choice()
            self.take(")")
            return inner
        if word == "[":
            items = []
            while not self.peek("]"):
                items.append(self.choice())
                if not self.peek("]"):
                    self.take(",")
            self.take("]")
            return lambda scope: [item(scope) for item in items]
        if kind != "name":
            raise CelError("unexpected %s in %s" % (word, self.text))
        if word in _CONSTANTS:
            return lambda scope: _CONSTANTS[word]
        if self.peek("("):
            return self.call(word)
        if word == "format":
            self.take(".")
            name = self.take()[1]
            self.take("(")
            self.take(")")
            if name not in _FORMATS:
                raise CelError("unknown format %s in %s" % (name, self.text))
            return lambda scope: _FORMATS[name]
        return lambda scope: _variable(scope, word)

    def call(self, name):
        self.take("(")
        if name == "has":
            inner = self.unary()
            self.take(")")
            return lambda scope: _present(inner, scope)
        arguments = self.arguments()
        if name not in _FUNCTIONS:
            raise CelError("undeclared reference to '%s' in %s" % (name, self.text))
        return lambda scope: _FUNCTIONS[name](*(argument(scope) for argument in arguments))


def _variable(scope, name):
    if name not in scope:
        raise CelError("undeclared reference to '%s'" % name)
    return scope[name]


def _field(target, name):
    def read(scope):
        value = target(scope)
        if not isinstance(value, dict) or name not in value:
            raise CelError("no such key: %s" % name)
        return value[name]

    return read


def _index(target, key):
    def read(scope):
        try:
            return target(scope)[key(scope)]
        except (KeyError, IndexError, TypeError) as exc:
            raise CelError("no such key: %s" % exc) from exc

    return read


def _present(inner, scope):
    try:
        inner(scope)
    except CelError:
        return False
    return True


def _joined(sign, left, right):
    if sign in ("&&", "||"):
        decisive = sign == "||"

        def both(scope):  # an error on one side does not matter when the other decides
            try:
                if left(scope) is decisive:
                    return decisive
            except CelError:
                if right(scope) is decisive:
                    return decisive
                raise
            return right(scope)

        return both
    work = _OPERATIONS[sign]
    return lambda scope: work(left(scope), right(scope))


def _divided(one, other):
    if isinstance(one, float) or isinstance(other, float):
        return one / other
    return int(one / other)


_OPERATIONS = {
    "==": lambda one, other: one == other, "!=": lambda one, other: one != other, "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other, ">": lambda one, other: one > other, ">=": lambda one, other: one >= other,
    "in": lambda one, other: one in other, "+": lambda one, other: one + other, "-": lambda one, other: one - other,
    "*": lambda one, other: one * other, "/": _divided, "%": lambda one, other: one % other,
}
_MACROS = {
    "all": lambda items, test: all(test(item) for item in items),
    "exists": lambda items, test: any(test(item) for item in items),
    "exists_one": lambda items, test: sum(bool(test(item)) for item in items) == 1,
    "filter": lambda items, test: [item for item in items if test(item)],
    "map": lambda items, change: [change(item) for item in items],
}
_FORMATS = {
    "dns1123Subdomain": naming.subdomain, "qualifiedName": naming.qualified_name, "labelValue": naming.label_value,
    "dns1123Label": lambda text: naming.subdomain(text, naming.DNS_LABEL, "[a-z0-9]([-a-z0-9]*[a-z0-9])?", 63),
}
_FUNCTIONS = {"size": len, "string": str, "int": int, "double": float}
_METHODS = {
    "size": len, "startsWith": str.startswith, "endsWith": str.endswith, "contains": lambda text, part: part in text,
    "matches": lambda text, pattern: re.search(pattern, text) is not None, "lowerAscii": str.lower, "upperAscii": str.upper,
    "trim": str.strip, "split": str.split, "validate": lambda check, text: check(text) or None,
    "hasValue": lambda found: found is not None, "value": lambda found: found,
}
