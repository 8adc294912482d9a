"""Small templates over the language, each compared with Jinja; what Jinja refuses, Cohort must refuse."""

VARIABLES = {
    "s": "Hello, World", "empty": "", "u": "héllo ß 你好 🙂", "spaced": "  a b\t c \n", "lines": "one\ntwo\r\nthree\n\nfive",
    "n": 7, "zero": 0, "neg": -7, "f": 2.5, "big": 18446744073709551615, "t": True, "no": False, "none_": None,
    "l": [3, 1, 2], "names": ["bob", "Alice", "carol", "alice"], "empty_l": [], "nested": [[1, [2, 3]], {"a": [4]}],
    "mixed": [1, "a", 2.5, None, True, [1], {"k": 1}],
    "d": {"b": 1, "a": "x", "C": None}, "empty_d": {},
    "users": [{"name": "Ann", "age": 30, "ok": True}, {"name": "bob", "age": 25, "ok": False}, {"name": "Cy", "age": 35}],
    "msg": {"role": "user", "content": "hi", "items": [1], "keys": 2},
    "html": "<a href=\"x\">'&'</a>",
}

EXPRESSIONS = """
1 + 2
1 + 2 * 3 - 4
7 // 2
-7 // 2
7 // -2
7 % 3
-7 % 3
7 % -3
7 / 2
6 / 3
2 ** 10
2 ** -1
-2 ** 2
2 ** 3 ** 2
7.0 // 2
-7.5 % 2
7.5 // -2
1e3
1e16
1e15
1.5e300 * 1e10
1e-5
0.0001
1/3
0.1 + 0.2
100.0
123456789.123456789
-0.0
1 / 0
1 % 0
1 // 0
1.0 / 0
0x1F
0b101
0o17
1_000
1_0.5
007
1.
.5
1 ~ 2
1 ~ none ~ true
'a' ~ 1.0 ~ [1]
'a' + 'b'
'a' 'b' "c"
'a' + 1
1 + 'a'
'ab' * 3
3 * 'ab'
'ab' * -1
[1] * 2
[1] + [2, 3]
(1,) + (2,)
[1] + (2,)
'a' - 'b'
-'a'
+5
--5
-n
+f
-t
not 1
not not ''
not x is defined
true + true
true * 3
true / 2
big
big + 1
-big
9223372036854775807 + 1
n + f
n == 7.0
1 == true
1 == '1'
'a' == 'a'
[1, 2] == [1, 2]
[1, 2] == (1, 2)
{'a': 1} == {'a': 1.0}
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
none == none
none == false
none == missing
missing == missing2
1 < 2 < 3
1 < 3 < 2
1 < 2 > 1
3 > 2 >= 2 == 2 != 3
'a' < 'b'
'a' < 1
[1, 2] < [1, 3]
[1, 2] < [1, 2, 0]
(1, 'a') < (1, 'b')
none < 1
1 <= 1.0
'Z' < 'a' < 'é'
1 in [1, 2]
3 not in [1, 2]
'ell' in s
'' in s
'x' not in s
1 in s
'a' in d
1 in d
none in d
[1] in d
'a' in missing
1 in 5
true in [1]
'k' in nested[1]
'a' in nested[1]
1 and 2
0 and 2
1 or 2
0 or ''
missing or 'default'
missing and 1
'' or none or 0
not (1 and 0) or 1
1 if true else 2
1 if false else 2
1 if false
(1 if false) is defined
1 if false else 2 if false else 3
'a' if x is defined else 'b'
(1, 2)
(1,)
()
1, 2
[1, 'a', none, true, 1.5]
[]
{}
{'a': 1, 'b': [1, 2], 3: none}
{'a': 1, 'a': 2}
{1: 'a', true: 'b'}
{(1, 2): 3}
{[1]: 3}
{'it\\'s': "q\\"uote"}
['it\\'s', 'q"', '\\'"', '\\n\\t\\\\', '\\x00\\x7f\\xa0', 'é🙂', '\\u200b']
'\\n' ~ '\\t' ~ '\\x41\\u00e9\\U0001F642\\101\\q'
'\\a\\b\\f\\v'|list
"\\""
'\\'' ~ "'"
'a\\
b'
'\\x4'
true
True
false
None
none
s
s[0]
s[-1]
s[100]
s[1:3]
s[:3]
s[-3:]
s[::-1]
s[::2]
s[1:-1:3]
s[5:2]
s[5:2:-1]
s[100:]
s[:-100]
s[::0]
s['a']
s[none]
s[1.5]
s[true]
u[1]
u[-1]
u[6:]
u[::-1]
u|length
l[0]
l[-1]
l[5]
l[5] is defined
l[1:]
l[::-1]
l[:-1]
(1,2,3)[1:]
l['a']
l[0:2][1]
l.0
nested.0.1.0
nested[0][1][0]
nested[1].a[0]
nested[1]['a'][0]
d.a
d['a']
d.missing
d['missing']
d.missing.more
d['missing']['more']
d.missing is defined
d.missing.more is defined
missing
missing.more
missing[0]
missing()
missing|length
missing|upper
missing ~ 'x'
missing + 'x'
missing|default('d')
missing.x|default('d')
d.missing|default('d')
none|default('d')
none|default('d', true)
''|default('d', true)
false|d('d')
0|d('d', boolean=true)
msg['items']
msg.items()
msg['keys']
msg.role
msg.get('role')
msg.get('nope')
msg.get('nope', 'd')
msg.get()
msg.pop('role')
msg.update({})
l.append(1)
l.sort()
l['append']
l.append is defined
s.nope
s.nope is defined
n.nope
none.nope
none['a']
s.__class__
d.__class__
''.__class__.__mro__
d.items()
d.keys()
d.values()
d.items()|list
d.keys()|list
d|list
d|length
d|first
d|last
d.keys()|length
d.keys()[0]
d.keys()|first
d.copy()
l.copy()
l.index(2)
l.index(9)
l.count(1)
(1, 2).count(1)
d|items|list
empty_d|items|list
missing|items|list
5|items|list
d|dictsort
d|dictsort(true)
d|dictsort(reverse=true)
{'x': 2, 'y': 1}|dictsort(by='value')
{'x': 2, 'y': 1}|dictsort(by='other')
d|dictsort(by='value')
d|tojson
nested|tojson
mixed|tojson
html|tojson
u|tojson
u|tojson(ensure_ascii=true)
spaced|tojson
'\\x00\\x1f\\x7f\\u2028'|tojson
d|tojson(indent=2)
nested|tojson(indent=4)
nested|tojson(indent=none)
nested|tojson(indent=0)
{}|tojson(indent=2)
[]|tojson(indent=2)
[{}, []]|tojson(indent=1)
{'b': 1, 'a': {'d': 1, 'c': 2}}|tojson(sort_keys=true)
{'a': [1, 2]}|tojson(separators=(',', ':'))
{'a': [1, 2]}|tojson(separators=(',', ':'), indent=1)
{1: 2, 1.5: 3, true: 4, none: 5}|tojson
(1, 2)|tojson
1.0|tojson
1e100|tojson
big|tojson
none|tojson
missing|tojson
range(3)|tojson
d.keys()|tojson
s.upper|tojson
{'a': missing}|tojson
'x'|tojson|length
l|length
s|length
5|length
none|length
s|count
s|upper
s|lower
u|upper
u|lower
'ǅx ΑΣΩ İ ŉ'|lower
'straße ﬁ'|upper
s|capitalize
'hELLO wORLD'|capitalize
''|capitalize
'ßa'|capitalize
'hello world-foo (bar) it\\'s'|title
'HELLO wORLD'|title
'hello world it\\'s x1y'.title()
s.swapcase()
5|upper
none|upper
s|trim
spaced|trim
spaced|trim ~ '|'
'xxaxx'|trim('x')
'xyaxy'|trim(chars='yx')
'  \\u00a0\\u3000a\\u200b '|trim|tojson
spaced.strip()
spaced.lstrip()|tojson
spaced.rstrip()|tojson
'xxaxx'.strip('x')
'xxaxx'.lstrip('x')
'xxaxx'.rstrip('x')
'abc'.strip('cba')
'a'.strip(none)
'a'.strip(1)
s.split()
spaced.split()
s.split(',')
s.split(', ')
s.split('l', 1)
s.split('l', maxsplit=2)
s.split(sep='o')
s.split('')
''.split()
''.split(',')
'a b  c '.split(none, 1)
'a b  c '.split(' ')
' a  b c '.rsplit(none, 1)
'a,b,c'.rsplit(',', 1)
'a,b,c'.rsplit(',')
' a b '.rsplit()
lines.splitlines()
lines.splitlines(true)
''.splitlines()
'a\\x0bb\\x1cc\\x85d\\u2028e'.splitlines()
s.partition(', ')
s.partition('nope')
s.rpartition('o')
s.rpartition('nope')
s.startswith('Hello')
s.startswith('ello')
s.startswith(('x', 'He'))
s.endswith('World')
s.endswith(('x', 'd'))
s.startswith(1)
s.endswith('')
s.upper()
s.lower()
s.title()
s.capitalize()
s.replace('l', 'L')
s.replace('l', 'L', 2)
s.replace('', '-')
s.replace('', '-', 2)
'aaa'.replace('aa', 'b')
s.replace('l', '')
s.replace('l')
s|replace('l', 'L')
s|replace('l', 'L', 1)
s|replace('', '-')
5|replace(5, 6)
s|replace('o', 0)
s.find('o')
s.find('nope')
s.find('o', 5)
s.rfind('o')
s.index('o')
s.index('nope')
u.find('你')
u.rfind('l')
s.count('l')
s.count('')
'aaaa'.count('aa')
','.join(['a', 'b'])
','.join('abc')
','.join([1])
','.join(d)
''.join([])
'abc'.isalpha()
'ab1'.isalpha()
'123'.isdigit()
'٣'.isdigit()
''.isdigit()
'a1'.isalnum()
' \\t'.isspace()
'ABC'.isupper()
'AbC'.isupper()
'abc1'.islower()
'1'.islower()
'42'.zfill(5)
'-42'.zfill(5)
'abc'.zfill(2)
'ab'.ljust(5) ~ '|'
'ab'.rjust(5)
'ab'.rjust(5, '*')
'ab'.center(5, '*')
'abc'.center(6, '*')
'a'.center(4, '*')
'ab'|center(7) ~ '|'
'ab'.removeprefix('a')
'ab'.removesuffix('b')
'ab'.removeprefix('x')
s.upper().lower().title()
l|join
l|join(', ')
l|join(d='-')
users|join(', ', attribute='name')
users|join(attribute='age')
mixed|join('|')
s|join('.')
d|join(',')
5|join
empty_l|join('x')
l|first
l|last
empty_l|first
empty_l|last
empty_l|first is defined
s|first
s|last
''|first
u|last
l|sum
[1.5, 2]|sum
[]|sum
[[1], [2]]|sum(start=[])
users|sum(attribute='age')
['a']|sum
l|min
l|max
names|min
names|max
[]|max
users|max(attribute='age')
users|map(attribute='age')|min
mixed|max
l|sort
l|sort(reverse=true)
names|sort
names|sort(case_sensitive=true)
users|sort(attribute='age')|map(attribute='name')|list
users|sort(attribute='age', reverse=true)|map(attribute='name')|join(',')
mixed|sort
d|sort
s|sort|join
[[2, 1], [1, 2], [1]]|sort
l|reverse|list
s|reverse
u|reverse
d|reverse|list
5|reverse
names|unique|list
names|unique(case_sensitive=true)|list
[1, 1.0, true, 2]|unique|list
users|unique(attribute='ok')|list|length
[[1], [1]]|unique|list
s|list
5|list
none|list
range(3)|list
range(1, 4)|list
range(5, 0, -2)|list
range(0)|list
range(3)[1]
range(3)|length
range(0)|length
range(1, 10)[2:4]|list
range(1.5)
range()
range(1, 2, 0)
range(1000000)
range(3) == range(3)
3 in range(5)
users|map(attribute='name')|list
users|map(attribute='nope')|list
users|map(attribute='ok', default='?')|list
users|map('length')|list
names|map('upper')|list
names|map('replace', 'a', 'A')|list
l|map('string')|join('+')
nested|map(attribute=0)|list
[[1, 2], [3, 4]]|map('first')|list
[[1, 2], [3, 4]]|map('sum')|sum
users|map('nope')|list
users|map|list
[{'a': {'b': 1}}, {'a': {'b': 2}}]|map(attribute='a.b')|list
[[[1]], [[2]]]|map(attribute='0.0')|list
users|selectattr('ok')|map(attribute='name')|list
users|selectattr('age', 'gt', 26)|map(attribute='name')|list
users|selectattr('name', 'equalto', 'Ann')|list
users|selectattr('ok', 'defined')|list|length
users|selectattr('ok', 'undefined')|list|length
users|rejectattr('ok')|map(attribute='name')|list
users|rejectattr('name', 'in', ['Ann'])|map(attribute='name')|list
users|selectattr('age', '>=', 30)|list|length
users|selectattr('nope', 'none')|list
users|selectattr('name', 'nope')|list
l|select('odd')|list
l|select('gt', 1)|list
l|reject('even')|list
mixed|select|list
mixed|select('string')|list
mixed|reject('none')|list
[1, 'a', none]|select('number')|list
l|select('divisibleby', 2)|list
l|select('in', [1, 2])|list
(l|select('odd')) is defined
l|select('odd')|length
l|select('odd')|first
l|select('gt', 100)|first
'yes' if l|select('gt', 100) else 'no'
(l|select('odd')|list)[0]
(l|select('odd'))[0]
(l|select('odd')) is iterable
(l|select('odd')) is sequence
s is string
5 is string
none is none
missing is none
missing is defined
missing is undefined
missing is not defined
missing is not undefined
s is defined
l is sequence
l is iterable
l is mapping
d is mapping
d is sequence
d is iterable
s is sequence
s is iterable
5 is iterable
none is iterable
none is sequence
missing is iterable
missing is sequence
missing is mapping
range(3) is sequence
range(3) is iterable
d.items() is sequence
d.items() is iterable
5 is number
5.0 is number
true is number
'5' is number
5 is integer
true is integer
5.0 is integer
5.0 is float
5 is float
true is boolean
1 is boolean
true is true
1 is true
false is false
0 is false
5 is odd
4 is even
-3 is odd
'a' is odd
5.5 is odd
9 is divisibleby(3)
9 is divisibleby 3
9 is divisibleby 0
1 is eq 1
1 is equalto 1
1 is ne 2
1 is lt 2
1 is le 1
2 is gt 1
2 is ge 3
1 is sameas 1
true is sameas true
none is sameas none
1 is sameas true
1 is in [1, 2]
1 is not in [1, 2]
'a' is in 'abc'
3 is in(l)
'ABC' is upper
'abc' is lower
s is callable
s.upper is callable
range is callable
raise_exception is defined
strftime_now is defined
'upper' is filter
'nope' is filter
'odd' is test
s is escaped
(s|safe) is escaped
1 is nope
1 is defined is defined
s is string and l is iterable
s is string or missing.x
not s is string
x is defined and x.y
s is not string
s|length is gt 3
s|length > 3
-5|abs
-5.5|abs
(-5)|abs
'a'|abs
true|abs
2.5|round
3.5|round
2.567|round(2)
2.675|round(2)
5|round
5|round(2)
-2.5|round
2.1|round(method='ceil')
2.9|round(0, 'floor')
2.123|round(1, 'ceil')
2.5|round(method='nope')
'a'|round
1e300|round(2)
'42'|int
' 42 '|int
'42.7'|int
'-42'|int
'4_2'|int
'abc'|int
'abc'|int(default=5)
'0x1F'|int(base=16)
'1F'|int(0, 16)
'101'|int(base=2)
'0b11'|int(base=0)
'1e3'|int
42.9|int
-42.9|int
true|int
none|int
none|int(7)
[]|int
missing|int
'inf'|int
''|int
'42.5'|float
'1e3'|float
'abc'|float
'abc'|float(default=1.5)
5|float
'nan'|float
'inf'|float
'1_0.5'|float
'0x10'|float
none|float
5|string
none|string
[1, 'a']|string
true|string
missing|string
s|string is string
'%s and %s' % ('a', 'b')
'%s' % 'a'
'%d' % 5
'%5d|%-5d|%05d|%+d' % (1, 2, 3, 4)
'%.2f' % 2.567
'%8.3f|' % 2.5
'%x %X' % (255, 255)
'%%' % ()
'%s %s' % 'a'
'%s' % ('a', 'b')
'%(a)s' % {'a': 1}
'%s' % [1, 2]
'%r' % 'a'
'%d' % 'a'
'%d' % 5.7
'%5s|%-5s|%.1s' % ('ab', 'ab', 'ab')
'%q' % 1
'abc' % {}
'abc' % [1]
'abc' % 5
'abc' % missing
'%s' % missing
'%s-%s'|format('a', 1)
'%(x)s'|format(x=1)
'a\\nb\\n\\nc'|indent
'a\\nb'|indent(2)
'a\\nb'|indent(2, true)
'a\\n\\nb'|indent(2, blank=true)
'a\\nb'|indent('> ')
'a\\nb'|indent(width=1, first=true)
''|indent
'a\\n'|indent|tojson
lines|indent|tojson
5|indent
html|e
html|escape
html|safe
html|e|e
html|forceescape
(html|safe)|e
'<' + (html|safe)
(html|safe) + '<'
'<' ~ ('<b>'|safe)
('<b>'|safe) ~ '<' ~ 5
('<'|e)|length
[html|e]
d|attr('a')
d|attr('items') is callable
s|attr('upper')()
s|nope
s|upper|nope
s|upper(1)
s|length + 1
'a'|upper ~ 'b'|upper
-1|abs
(1)|string + 'a'
s | upper | lower | title
namespace(a=1).a
namespace({'a': 1}).a
namespace({'a': 1}, b=2).b
namespace().x is defined
namespace(1)
dict(a=1)
dict({'a': 1}, b=2)
dict([('a', 1), ('b', 2)])
dict(1)
raise_exception('no')
raise_exception()
strftime_now('%Y') | length
strftime_now('%d %b %Y') is string
strftime_now() 
loop
1 +
(1
[1, 2
{'a' 1}
1 2
a.b.
a|
a is
'unterminated
s[
@
$
a ? b : c
s.upper(
{{ 1 }}
1 if
1 if true else
not
in [1]
*1
f(*l)
f(**d)
s!r
[1,]
(1,),
{'a': 1,}
[,]
l[1:2:3:4]
""".strip("\n").split("\n")

# What spans lines or begins with a tag: one template each.
TEMPLATES = [
    "", "\n", "\n\n", "a\n", "a\r\n", "a\rb", "a\n\n", "{", "}", "{ {", "}}", "%}", "#}", "{}", "a{b}c", "{{'{{'}}", "{{ '}}' }}",
    "{{ {'a': {'b': 1}} }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{{'a':1}}}", "{{-1}}", "{{- 1 -}}", "{{+1}}",
    "a {{- 1 }} b", "a {{ 1 -}} b", "a\n {{- 1 -}} \n b", "  {{ 1 }}  ", "{%- if true -%} a {%- endif -%}",
    "  {% if true %}  \n  a\n  {% endif %}\n  b", "  {%+ if true %}\na\n {%+ endif +%}\nb", "x {% if true +%}\na{% endif %}\nb",
    "{% if true %}\n\na\n\n{% endif %}\n\nb", "a {% if true %} b {% endif %} c", "\t{% if true %}\tb\t{% endif %}\tc",
    "{# comment #}a", "a {# comment\nof lines #}\n b", "a\n  {#- c -#}\n b", "  {# c #}\nb", "a {#+ c +#}\nb", "{# {{ x }} {% y %} #}z",
    "{# a", "{{", "{%", "{{ 1", "{% if", "{{ 1 }", "{% if true }", "{% raw %}{{ x }}{% y %}{% endraw %}z",
    "{%- raw -%}  {{ x }}  {%- endraw -%}  z", "{% raw %}\n{{ x }}\n{% endraw %}\nz", "{% raw %}a", "  {% raw %}  a  {% endraw %}  b",
    "{% if false %}a{% elif true %}b{% else %}c{% endif %}", "{% if false %}a{% elif false %}b{% else %}c{% endif %}",
    "{% if false %}a{% elif 0 %}b{% elif 1 %}c{% endif %}", "{% if true %}a", "{% endif %}", "{% else %}", "{% if true %}{% else %}{% else %}{% endif %}",
    "{% if 1, 2 %}a{% endif %}", "{% if x %}a{% endif %}b", "{% if (x) %}a{% endif %}", "{% if not x %}a{% endif %}", "{% nope %}", "{% 1 %}", "{% %}",
    "{% for i in l %}{{ i }},{% endfor %}", "{% for i in l %}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for i in [] %}a{% else %}b{% endfor %}", "{% for i in l %}a{% else %}b{% endfor %}", "{% for i in missing %}a{% else %}b{% endfor %}",
    "{% for i in none_ %}a{% endfor %}", "{% for i in 5 %}a{% endfor %}", "{% for c in s %}{{ c }}.{% endfor %}", "{% for c in u %}{{ c }}.{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}", "{% for a, b in [[1, 2], [3, 4]] %}{{ a + b }};{% endfor %}",
    "{% for (a, b), c in [[[1, 2], 3]] %}{{ a + b + c }}{% endfor %}", "{% for a, b in [[1]] %}{% endfor %}", "{% for a, b in [[1, 2, 3]] %}{% endfor %}",
    "{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for i in l %}{{ loop.previtem }}-{{ loop.nextitem }};{% endfor %}", "{% for i in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}",
    "{% for i in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for i in l %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}", "{% for i in l %}{{ loop.nope is defined }}{% endfor %}",
    "{% for i in l %}{% for j in l %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}",
    "{% for i in l %}{% set outer = loop %}{% for j in l %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}", "{{ loop is defined }}",
    "{% for i in l if i > 1 %}{{ i }}{{ loop.length }}{{ loop.index }}{% endfor %}", "{% for i in l if i > 9 %}{{ i }}{% else %}none{% endfor %}",
    "{% for i in l if i is odd %}{{ i }}{% endfor %}", "{% for u in users if u.ok %}{{ u.name }}{% endfor %}", "{% for i in l|sort %}{{ i }}{% endfor %}",
    "{% for i in l|reverse %}{{ i }}{{ loop.length }}{% endfor %}", "{% for i in l[::-1] %}{{ i }}{% endfor %}", "{% for i in range(3) %}{{ i }}{% endfor %}",
    "{% for i in 1, 2, 3 %}{{ i }}{% endfor %}", "{% for i in (1, 2) %}{{ i }}{% endfor %}", "{% for i in [1, 2] + [3] %}{{ i }}{% endfor %}",
    "{% for i in l %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}", "{% for i in l %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in l %}{% for j in l %}{% break %}{% endfor %}{{ i }}{% else %}x{% endfor %}", "{% break %}", "{% continue %}",
    "{% for i in l %}{% endfor %}{{ i }}", "{% set i = 9 %}{% for i in l %}{% endfor %}{{ i }}", "{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% for i in l %}{{ x }}{% set x = i %}{{ x }};{% endfor %}", "{% for i in l %}{% set x = i %}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "{% set ns = namespace(x=1) %}{% set ns.y = 2 %}{{ ns.x + ns.y }}",
    "{% set ns.x = 1 %}", "{% set d.x = 1 %}", "{% set ns = namespace() %}{{ ns.x }}", "{% set ns = namespace() %}{{ ns.x.y }}", "{% set ns = namespace(l=[]) %}{% for i in l %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.l }}",
    "{% set x = 1 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set x, y = [1, 2] %}{{ y }}{{ x }}", "{% set x, y = 1 %}", "{% set x = 1, 2 %}{{ x }}", "{% set (x, y) = (1, 2) %}{{ x }}",
    "{% set x %}a{{ 1 }}b{% endset %}{{ x }}", "{% set x | upper %}a{{ 1 }}b{% endset %}{{ x }}", "{% set x | replace('a', 'b') | upper %}a{% endset %}{{ x }}",
    "{% set x %}\n a\n{% endset %}{{ x|tojson }}", "{% set x %}{% set y = 1 %}{% endset %}{{ y }}", "{% set x = x %}{{ x is defined }}", "{% set true = 1 %}", "{% set 1 = 1 %}", "{% set x %}",
    "{% if true %}{% set x = 1 %}{% endif %}{{ x }}", "{% if true %}{% set s = 1 %}{% endif %}{{ s }}", "{% set s = s + '!' %}{{ s }}", "{% set users = users[1:] %}{{ users|length }}",
    "{% macro f(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ f(1) }} {{ f(1, 3) }} {{ f(b=4, a=5) }} {{ f() }}", "{% macro f() %}{{ s }}{% endmacro %}{{ f() }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=1) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, a=1) }}",
    "{% macro f(a, b=a) %}{{ b }}{% endmacro %}{{ f(1) }}", "{% macro f(a=1, b) %}{% endmacro %}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% macro f(a) %}{{ a is defined }}{% endmacro %}{{ f() }}", "{% macro f() %}{% set x = 1 %}{% endmacro %}{{ f() }}{{ x }}", "{% set x = 1 %}{% macro f() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ f() }}",
    "{% macro f() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ f() }}", "{% for i in l %}{% macro f() %}{{ i }}{% endmacro %}{{ f() }}{% endfor %}", "{% macro f(x) %}{{ x }}{% endmacro %}{{ f([1, 'a']) }}{{ f('<')|upper }}",
    "{% macro f() %}{% for i in l %}{{ loop.index }}{% endfor %}{% endmacro %}{% for i in l %}{{ f() }}{% endfor %}", "{% macro f() %}  a  {% endmacro %}{{ f()|trim }}{{ f()|length }}", "{{ f() }}{% macro f() %}{% endmacro %}",
    "{% macro f(a) -%}\n  {{ a }}\n{%- endmacro %}{{ f(1) }}", "{% macro f(x, y) %}{{ caller() }}{% endmacro %}{% call f(1, 2) %}c{% endcall %}", "{% macro f() %}{{ caller(1) }}{{ caller(2) }}{% endmacro %}{% call(x) f() %}[{{ x }}]{% endcall %}",
    "{% macro f(a) %}{% if a %}{{ f(a[1:]) }}{{ a[0] }}{% endif %}{% endmacro %}{{ f('abc') }}", "{% macro f %}{% endmacro %}", "{% macro f(1) %}{% endmacro %}", "{% call 1 %}{% endcall %}",
    "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}aa{% endfilter %}", "{% filter nope %}{% endfilter %}",
    "{% with %}a{% endwith %}", "{% with x = 1 %}{{ x }}{% endwith %}{{ x }}", "{% with x = 1, y = 2 %}{{ x + y }}{% endwith %}", "{% with x = 1, y = x %}{{ y is defined }}{% endwith %}", "{% with x = 5 %}{% set y = x %}{% endwith %}{{ y }}",
    "a{% generation %}b{{ s }}{% endgeneration %}c", "{% generation %}{% set x = 1 %}{% endgeneration %}{{ x is defined }}", "{% for i in l %}{%- generation -%} {{ i }} {%- endgeneration -%}{% endfor %}",
    "{% set g = l|select('odd') %}{{ g|list }}{{ g|list }}", "{% set g = l|map('string') %}{{ g|first }}{{ g|first }}{{ g|list }}", "{% set g = d|items %}{% for k, v in g %}{{ k }}{% endfor %}{% for k, v in g %}{{ k }}{% endfor %}",
    "{% set g = l|select('odd') %}{{ 3 in g }}{{ 1 in g }}{{ 3 in g }}", "{% if l|select('gt', 9) %}a{% endif %}", "{% set x = l|select('odd')|list %}{{ x[0] }}{{ x|length }}",
    "{{ 1 }}{{ 2 }}\n{{ 3 }}", "{{\n1\n+\n2\n}}", "{% if\ntrue\n%}a{% endif %}", "{{ s\n|upper }}", "{{ [1,\n2] }}", "{{ 'a\nb' }}", "{{ \"a\r\nb\"|length }}", "é{{ 'é' }}🙂", "{{ é }}", "{{ missing_é is defined }}",
    "{{ raise_exception('a' ~ 1) }}", "{% if messages is not defined %}{{ raise_exception('no messages') }}{% endif %}", "{{ 1 if raise_exception('x') else 2 }}", "{{ false and raise_exception('x') }}", "{{ true or raise_exception('x') }}",
    "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% do x %}", "{% autoescape true %}{% endautoescape %}x{{", "{% trans %}{% endtrans %}",
    "{% set x = [] %}{{ x.append(1) }}", "{% set x = {} %}{% set _ = x.update({'a': 1}) %}{{ x }}", "{% set x = d %}{{ x.pop('a') }}",
    "{% for m in users %}{{ m.name }}: {{ m['age'] }}{{ '\n' if not loop.last }}{% endfor %}", "{%- for m in users %}\n  {{- m.name }}\n{%- endfor %}\n", "{% for m in users -%}\n  {{ m.name }}\n{% endfor -%}\nend",
    "{% set content = 'x' %}{% for m in users %}{% if loop.first %}{% set content = m.name %}{% else %}{% set content = content ~ m.name %}{% endif %}{{ content }};{% endfor %}{{ content }}",
    "{{ users | selectattr('name', 'equalto', 'Ann') | map(attribute='age') | first | default('none') }}", "{{ (users | last).name }}", "{{ users[-1]['name'] }}", "{{ users | length - 1 }}", "{{ (users | length) - 1 }}", "{{ not(s.startswith('x') and s.endswith('y')) }}",
    "{{ s.split(', ')[-1].strip('d').rstrip('\\n') }}", "{{ '<|' + msg['role'] + '|>' }}", "{{ 'tool_calls' in msg }}", "{{ msg.tool_calls is defined and msg.tool_calls }}", "{{ msg.content is string and msg.content|trim }}",
]
