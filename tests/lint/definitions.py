"""What a C++ file defines that other files could define too, for lint.py. Knows as much of C++ as the house style uses."""
import re

# Comments, texts and directives.
BLANKED = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])*\''
                     r"|^[ \t]*#(?:\\\n|[^\n])*", re.S | re.M)
TOKEN = re.compile(r"\w+|::|[^\s\w]")

# Of the tokens before a brace, with a blank between each two.
NAMESPACE = re.compile(r"(?:inline )?namespace ?((?:\w+(?: :: )?)*)")
CLASS = re.compile(r"(?:class|struct|union|enum(?: class)?) (?:alignas \( .* \) |\[ \[ [^]]* \] \] )?"
                   r"((?:\w+ :: )*\w+)(?: final)?(?: : .*)?")
FUNCTION = re.compile(r"(?!.*\b(?:static|extern|friend|using) )[^=(]*[\w>*&] "
                      r"((?:\w+ :: )*(?:operator [^\w\s(]+(?: [^\w\s(]+)*|\w+)) (\(.*)")


def without_template(tokens):
    """`tokens` behind the "template <...>" that they may begin with."""
    depth = 0
    for i, token in enumerate(tokens):
        if i == 0 and token != "template":
            return tokens
        depth += (token == "<") - (token == ">")
        if i > 0 and depth == 0:
            return tokens[i + 1:]
    return []


def opened(tokens):
    """What the brace behind `tokens` opens, "namespace", "class", "function" or "body", and its name."""
    if match := NAMESPACE.fullmatch(" ".join(tokens)):
        return "namespace", match[1].replace(" ", "")
    text = " ".join(without_template(tokens))
    if match := CLASS.fullmatch(text):
        return "class", match[1].replace(" ", "")
    if match := FUNCTION.fullmatch(text):
        return "function", (match[1] + match[2]).replace(" ", "")
    return "body", ""


def definitions(text):
    """Yields (name, line) of each class, and of each function in a namespace, that has external linkage. Names have
    their namespaces, and functions their parameters."""
    text = BLANKED.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    scopes = []  # (kind, name) of the open braces; a body and an unnamed namespace have no name
    tokens = []  # since the last ; { or }
    for match in TOKEN.finditer(text):
        token = match[0]
        if token in (";", "}"):
            if token == "}" and scopes:
                scopes.pop()
            tokens = []
        elif token == "{":
            kind, name = opened(tokens)
            names = [scope[1] for scope in scopes]
            is_inline_member = kind == "function" and scopes and scopes[-1][0] == "class"
            if kind in ("class", "function") and all(names) and not is_inline_member:
                yield "::".join([*names, name]), text.count("\n", 0, match.start()) + 1
            scopes.append((kind, name if kind in ("namespace", "class") else ""))
            tokens = []
        elif tokens in (["public"], ["private"], ["protected"]):
            tokens = []  # and the ":" behind them
        else:
            tokens.append(token)
