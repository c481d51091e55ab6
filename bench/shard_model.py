#!/usr/bin/env python3
"""Split a model folder's model.safetensors into shards with an index, as large models come from the Hub.

    shard_model.py FROM TO SHARDS
"""
import json, os, shutil, struct, sys

source, target, shards = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.makedirs(target, exist_ok=True)
shutil.copy(os.path.join(source, "config.json"), target)
with open(os.path.join(source, "model.safetensors"), "rb") as f:
    size = struct.unpack("<Q", f.read(8))[0]
    header, start = json.loads(f.read(size)), 8 + size
    header.pop("__metadata__", None)
    names = list(header)
    total = sum(header[n]["data_offsets"][1] - header[n]["data_offsets"][0] for n in names)
    parts, held = [[]], 0
    for name in names:  # a new shard where the last one has its share
        if held >= total * len(parts) / shards:
            parts.append([])
        parts[-1].append(name)
        held += header[name]["data_offsets"][1] - header[name]["data_offsets"][0]
    weight_map = {}
    for i, part in enumerate(parts):
        file = f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors"
        head, offset = {}, 0
        for name in part:
            begin, end = header[name]["data_offsets"]
            head[name] = {**header[name], "data_offsets": [offset, offset + end - begin]}
            offset += end - begin
            weight_map[name] = file
        text = json.dumps(head).encode()
        text += b" " * (-len(text) % 8)
        with open(os.path.join(target, file), "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            for name in part:
                begin, end = header[name]["data_offsets"]
                f.seek(start + begin)
                for at in range(begin, end, 1 << 24):
                    out.write(f.read(min(1 << 24, end - at)))
with open(os.path.join(target, "model.safetensors.index.json"), "w") as out:
    json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, out)
