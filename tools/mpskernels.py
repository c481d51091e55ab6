#!/usr/bin/env python3
"""Writes trainer/testdata/mps_kernels.txt: every operator of PyTorch that an Apple GPU can run, and how.

    python3 tools/mpskernels.py [native_functions.yaml]

The table of operators ships with PyTorch (BSD licence), in Debian with python3-torch. "kernel": it has one for MPS, its own or
that of the operator that it delegates to. "composite": it is made of other operators on every device, so that those have to
be looked at.
"""
import re
import sys

path = sys.argv[1] if len(sys.argv) > 1 else "/usr/lib/python3/dist-packages/torchgen/packaged/ATen/native/native_functions.yaml"
operators, current, section = {}, None, None
for line in open(path):
    if m := re.match(r"- func: ([\w.]+)\(", line):
        current = operators[m[1]] = {"dispatch": {}, "delegate": None, "structured": False, "autogen": []}
        section = None
    elif current is None or not line.strip() or line.lstrip().startswith("#"):
        continue
    elif m := re.match(r"  (\w+):\s*(.*?)\s*(#.*)?$", line):
        section = m[1]
        if section == "structured_delegate":
            current["delegate"] = m[2]
        elif section == "structured":
            current["structured"] = m[2] == "True"
        elif section == "autogen":
            current["autogen"] = [name.strip() for name in m[2].split(",")]
    elif section == "dispatch" and (m := re.match(r"    ([\w, ]+):\s*(\S+)", line)):
        for key in m[1].split(","):
            current["dispatch"][key.strip()] = m[2]


def kind(name):
    o = operators[name]
    if "MPS" in o["dispatch"] or (o["delegate"] and kind(o["delegate"]) == "kernel"):
        return "kernel"
    if any(key.startswith("Composite") for key in o["dispatch"]) or not (o["dispatch"] or o["delegate"] or o["structured"]):
        return "composite"
    return None


kinds = {name: kind(name) for name in operators}
for o in operators.values():
    for name in o["autogen"]:
        kinds.setdefault(name, "composite")
version = re.search(r"__version__ = '(.*?)'", open(path.split("/torchgen/")[0] + "/torch/version.py").read())[1]
with open("trainer/testdata/mps_kernels.txt", "w") as out:
    out.write(f"# Made by tools/mpskernels.py from PyTorch {version}'s native_functions.yaml.\n")
    for name in sorted(kinds):
        if kinds[name]:
            out.write(f"{name} {kinds[name]}\n")
