#!/usr/bin/env python3
"""Writes the tree file of a bench run: woodward_tree.py CONFIG.toml SPEC.json  (see --ours-gen in README.md).

Tuned: restarts at once, for ever, all children beside each other. Default: what a tree file without any keys gets.
"""
import json
import sys


def text(value):
    return json.dumps(value)        # a TOML basic string and a JSON string are written alike


def main():
    config, spec_file = sys.argv[1:]
    with open(spec_file) as f:
        spec = json.load(f)
    out = ['id = "bench"', 'order = "dependencies"']
    if spec["tuned"]:
        out += ["intensity = 1000000", 'period = "1s"']
    out += ["", "[defaults]"]
    if spec["tuned"]:
        out += ['backoff = { immediate = 1000000, first = "0ms", max = "0ms", reset_after = "0ms", jitter = "0%" }']
    if spec["log_dir"]:
        out += [f'output = {{ file = {text(spec["log_dir"] + "/${id}.log")}, max_size = "1G", keep = 9 }}']
    else:
        out += ['output = "null"']
    for service in spec["services"]:
        out += ["", "[[child]]", f'id = {text(service["name"])}', f'command = {json.dumps(service["argv"])}']
    with open(config, "w") as f:
        f.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
