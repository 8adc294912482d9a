"""Random templates over the variables of expressions.py: most of them mean something, some are errors."""

ATOMS = ["s", "u", "spaced", "lines", "n", "zero", "neg", "f", "t", "no", "none_", "l", "names", "empty_l", "nested", "mixed", "d",
         "users", "msg", "missing", "html", "0", "1", "2", "-1", "3.5", "1e20", "''", "'a'", "'l'", "', '", "' a b '", "'x\\ny'", "true",
         "none", "[]", "[1, 2]", "['b', 'a']", "{}", "{'a': 1}", "(1, 'x')", "range(4)", "'%s'", "'é'", "'A-b c'"]
BINARY = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
FILTERS = ["abs", "capitalize", "count", "d('x')", "default(1, true)", "dictsort", "first", "float", "indent", "indent(2, true)", "int",
           "items", "join", "join(', ')", "last", "length", "list", "lower", "map('upper')", "map('string')", "map(attribute='name')",
           "map('length')", "max", "min", "reject('none')", "rejectattr('ok')", "replace('a', 'b')", "replace('', '.')", "reverse", "round",
           "round(1)", "select", "select('string')", "select('gt', 1)", "selectattr('name')", "sort", "sort(reverse=true)", "string",
           "sum", "title", "tojson", "tojson(indent=2)", "trim", "unique", "upper", "list|length", "list|first", "list|tojson"]
TESTS = ["defined", "undefined", "none", "string", "mapping", "sequence", "iterable", "number", "integer", "float", "boolean", "true", "false",
         "odd", "even", "lower", "upper", "callable", "eq 1", "in [1, 'a']", "gt 1", "sameas none", "divisibleby 2", "not none", "not string"]
POSTFIXES = ["[0]", "[-1]", "[1:]", "[:-1]", "[::-1]", "[::2]", "['a']", "['name']", "[none]", "[5]", "[:2]", ".name", ".a", ".items()",
             ".keys()", ".values()", ".get('a')", ".get('z', 1)", ".upper()", ".lower()", ".title()", ".strip()", ".strip('a ')", ".lstrip()",
             ".rstrip()", ".split()", ".split('l')", ".split(' ', 1)", ".rsplit(none, 1)", ".splitlines()", ".replace('l', 'LL')",
             ".startswith('H')", ".endswith('d')", ".find('l')", ".rfind('l')", ".count('l')", ".index('l')", ".join(['x', 'y'])", ".capitalize()",
             ".swapcase()", ".partition('l')", ".rpartition(' ')", ".isdigit()", ".isupper()", ".zfill(5)", ".center(9, '*')", ".copy()", ".length"]


def random_expression(rng, depth):
    """An expression of at most `depth` operations within each other."""
    if depth == 0 or rng.random() < 0.1:
        return rng.choice(ATOMS)

    def inner():
        return random_expression(rng, depth - 1)

    kind = rng.randrange(10)
    if kind < 3:
        return f"({inner()})|{rng.choice(FILTERS)}"
    if kind < 5:
        return f"({inner()}){rng.choice(POSTFIXES)}"
    if kind < 7:
        return f"({inner()} {rng.choice(BINARY)} {inner()})"
    if kind == 7:
        return f"({inner()} is {rng.choice(TESTS)})"
    if kind == 8:
        return f"({inner()} if {inner()} else {inner()})"
    return rng.choice([f"[{inner()}, {inner()}]", f"{{'a': {inner()}}}", f"(not {inner()})", f"(-{inner()})", f"({inner()},)"])


def random_space(rng):
    return "".join(rng.choice([" ", "\n", "\t", "x", ""]) for _ in range(rng.randrange(4)))


def random_statements(rng, depth):
    """Statements within each other, with white space and its control all about."""

    def tag(text):
        return f"{{%{rng.choice(['', '', '-', '+'])} {text} {rng.choice(['', '', '-', '+'])}%}}"

    def body():
        return random_statements(rng, depth - 1) if depth > 0 else random_space(rng)

    def value():
        return f"{{{{{rng.choice(['', '-'])} {random_expression(rng, 1)} {rng.choice(['', '-'])}}}}}"

    out = ""
    for _ in range(rng.randrange(1, 4)):
        kind = rng.randrange(9)
        out += random_space(rng)
        if kind == 0:
            out += tag(f"if {random_expression(rng, 1)}") + body() + tag("else") + body() + tag("endif")
        elif kind == 1:
            control = rng.choice(["", "", tag("break"), tag(f"if i == 1") + tag("continue") + tag("endif")])
            out += tag(f"for i in {random_expression(rng, 1)}") + body() + "{{ loop.index }}{{ x }}" + control + tag("endfor")
        elif kind == 2:
            out += tag(f"set {rng.choice(['x', 'y', 's'])} = {random_expression(rng, 2)}")
        elif kind == 3:
            out += tag("set x") + body() + tag("endset")
        elif kind == 4:
            out += tag("macro g(a, b=2)") + body() + "{{ a }}{{ x }}" + tag("endmacro") + "{{ g(1) }}"
        elif kind == 5:
            out += f"{{#{rng.choice(['', '-', '+'])} c {rng.choice(['', '-', '+'])}#}}"
        elif kind == 6:
            out += tag("filter upper") + body() + tag("endfilter")
        else:
            out += value()
        out += random_space(rng)
    return out
