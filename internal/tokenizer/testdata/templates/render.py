"""Writes rendered.jsonl: what Jinja2, set up as transformers sets it up, makes of some conversations with the
templates in this folder. null is an error, such as raise_exception. Written with Jinja2 3.1.6.

    python3 render.py
"""
import json
import pathlib
import random

import jinja2
import jinja2.ext
import jinja2.sandbox


class Generation(jinja2.ext.Extension):
    """{% generation %}: renders what is inside, in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


here = pathlib.Path(__file__).parent
env = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
env.globals["raise_exception"] = refuse
templates = {path.stem: env.from_string(path.read_text()) for path in sorted(here.glob("*.jinja"))}


def render(template, messages, generate):
    try:
        return template.render(messages=messages, add_generation_prompt=generate, tools=None, documents=None,
                               bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>")
    except jinja2.exceptions.TemplateError:
        return None


conversations = [(roles, ["Be kind.", "One?", "Two.", "Three?", "Four.", "Five?"][-len(roles):], generate)
                 for roles in ["u", "ua", "uau", "uaua", "uauaua", "su", "sua", "suau", "suaua", "s", "a", "sa", "uu",
                               "uaa", "suu", "au"]
                 for generate in [False, True]]
spaces = ["", " ", "\n", "\n\n", "\t", "\r\n", "\v", "\f", "\x1c", "\x1f", "\x85", "\xa0", "\u2003", "\u2028", "\u3000",
          "\ufeff", "\u200b"]
words = ["Hello", "socks", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>\n<start_of_turn>model\n", "{{ 1 }}", "\\n",
         "'", '"', "&", "日本", "🫠", "e\u0301", "\x00", "\x1b[31m", "▁", "a b", "1 234", "</think>"]
rng = random.Random(3)
for _ in range(60):
    roles = rng.choice(["u", "ua", "uau", "uaua", "su", "sua", "suau"])
    contents = []
    for _ in roles:
        inner = "".join(rng.choice([rng.choice(words), rng.choice(spaces)]) for _ in range(rng.randrange(6)))
        contents.append(rng.choice(spaces) + rng.choice(spaces) + inner + rng.choice(spaces) + rng.choice(spaces))
    conversations.append((roles, contents, rng.random() < 0.5))

names = {"s": "system", "u": "user", "a": "assistant"}
with open(here / "rendered.jsonl", "w") as out:
    for roles, contents, generate in conversations:
        messages = [{"role": names[role], "content": content} for role, content in zip(roles, contents)]
        out.write(json.dumps({
            "messages": messages, "add_generation_prompt": generate,
            "rendered": {name: render(template, messages, generate) for name, template in templates.items()},
        }) + "\n")
