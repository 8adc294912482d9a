"""Conversations that chat templates are tried with: variables of a template, by name."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Gets the weather: \"now\" & <later>.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "A city, e.g. Zürich"},
                "days": {"type": "integer", "description": "How many", "default": 3},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius",
                         "description": "Of temperature"},
                "tags": {"type": "array", "items": {"type": "string"}, "description": "Any"},
                "grid": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}, "description": "2D"},
                "extra": {"type": "object", "additionalProperties": {"type": "number"}, "description": "More"},
                "either": {"type": ["string", "null"], "description": "Or nothing"},
            },
            "required": ["city"],
        },
        "return": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
PLAIN_TOOL = {
    "type": "function",
    "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}},
}


def call(name, arguments, call_id):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


def tool(content, call_id="abcdefghi", **more):
    return {"role": "tool", "content": content, "tool_call_id": call_id, **more}


LONG = "\n\n".join(f"Paragraph {i}: " + "word " * 40 for i in range(30))
CALLED = [
    user("Weather in Zürich?"),
    assistant("", tool_calls=[call("get_weather", {"city": "Zürich", "days": 2}, "abcdefghi")]),
    tool('{"temp": 21.5}', name="get_weather"),
    assistant("21.5 degrees."),
    user("And tomorrow?"),
]
CALLED_WITHOUT_CONTENT = [
    user("Both, please"),
    {"role": "assistant", "content": None,
     "tool_calls": [call("get_weather", {"city": "Łódź", "nested": {"a": [1, 2.5, None, True]}}, "abcdefghi"),
                    call("now", {}, "ABCDEFGHI")]},
    tool("rain"),
    tool("12:00", call_id="ABCDEFGHI"),
]

CONVERSATIONS = {
    "empty": {"messages": []},
    "one": {"messages": [user("Hello")]},
    "system": {"messages": [system("Be brief."), user("Hello")]},
    "system only": {"messages": [system("Be brief.")]},
    "turns": {"messages": [user("1+1?"), assistant("2"), user("2+2?"), assistant("4"), user("3+3?")]},
    "system and turns": {"messages": [system("Count."), user("1"), assistant("2"), user("3"), assistant("4")]},
    "system in the middle": {"messages": [user("1"), assistant("2"), system("Now in words."), user("3")]},
    "prefilled": {"messages": [user("Write JSON"), assistant('{"answer": ')], "add_generation_prompt": False},
    "not alternating": {"messages": [user("a"), user("b")]},
    "begins with assistant": {"messages": [assistant("Hi"), user("b")]},
    "unknown role": {"messages": [{"role": "narrator", "content": "Once"}]},
    "developer": {"messages": [{"role": "developer", "content": "Be brief."}, user("Hello")]},
    "space": {"messages": [system("  \n padded \t"), user("\n\n x \n"), assistant("  y  "), user("\u00a0z\u3000")]},
    "empty texts": {"messages": [system(""), user(""), assistant(""), user("")]},
    "unicode": {"messages": [user("héllo 你好 🙂 \u200b ñ \u0301"), assistant("ﬁne ß"), user("٣ и Ω")]},
    "control tokens": {"messages": [user("<|im_end|><|eot_id|></s>[/INST]<end_of_turn>{{ 7*7 }}{% if x %}")]},
    "quotes": {"messages": [user("it's \"quoted\" \\ and \n a line\r\n\r\nmore\ttab"), assistant("'"), user('"')]},
    "thinking": {"messages": [user("why?"), assistant("<think>\nbecause\n</think>\n\nSo."), user("and?"),
                              assistant("<think>hm</think>Yes"), user("<tool_response>x</tool_response>")]},
    "reasoning": {"messages": [user("a"), assistant("b", reasoning_content="\nthought\n")], "add_generation_prompt": False},
    "no thinking": {"messages": [user("Hello")], "enable_thinking": False},
    "no think in system": {"messages": [system("Short. /no_think"), user("Hello"), assistant("\nHi")]},
    "tools": {"messages": [system("Use tools."), user("Weather?")], "tools": [WEATHER, PLAIN_TOOL]},
    "no tools": {"messages": [user("Weather?")], "tools": None},
    "one plain tool": {"messages": [user("Time?")], "tools": [PLAIN_TOOL]},
    "tool calls": {"messages": CALLED, "tools": [WEATHER]},
    "tool calls without content": {"messages": CALLED_WITHOUT_CONTENT, "tools": [WEATHER, PLAIN_TOOL]},
    "tool calls, no tools": {"messages": CALLED},
    "tools in the system message": {"messages": [user("Weather?")], "tools": [WEATHER], "tools_in_user_message": False},
    "date": {"messages": [user("Hello")], "date_string": "1 Jan 2025"},
    "content in parts": {"messages": [system([{"type": "text", "text": "Be brief."}]),
                                      user([{"type": "text", "text": " What is this? "}, {"type": "image"}])]},
    "content is a number": {"messages": [user(7)]},
    "content is missing": {"messages": [{"role": "user"}]},
    "role is missing": {"messages": [{"content": "x"}]},
    "documents": {"messages": [user("Tell me")], "documents": [{"text": "First"}, {"text": "Second"}],
                  "controls": {"citations": True, "length": "short"}},
    "documents and tools": {"messages": [user("Tell me")], "documents": [{"text": "First"}], "tools": [PLAIN_TOOL]},
    "messages is missing": {},
    "long": {"messages": [user(LONG), assistant(LONG), user("Sum up")]},
    "many": {"messages": [user(f"q{i}") if i % 2 == 0 else assistant(f"a{i}") for i in range(101)]},
}
