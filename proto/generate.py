#!/usr/bin/env python3
"""Makes a protobuf descriptor set of Milvus's protos out of a pinned public package.

The protos are not kept in this repository. The pymilvus wheel on PyPI carries each of them as a serialized
FileDescriptorProto inside its *_pb2.py modules; this script reads those bytes without importing the package (the
module text is parsed, nothing of it is run) and writes them as one FileDescriptorSet, from which
`protoc --descriptor_set_in` generates C++.

    generate.py --cache DIR --out milvus.protoset [--wheel FILE]
"""
import argparse
import ast
import hashlib
import os
import subprocess
import sys
import zipfile

PACKAGE = "pymilvus==3.0.2"
WHEEL = "pymilvus-3.0.2-py3-none-any.whl"
SHA256 = "0ec7ca3a7d24d2ce13b2610c577f0978b08f461176222ea4dc1440375efc1cea"
FOLDER = "pymilvus/grpc_gen/"
MODULES = ["common_pb2.py", "schema_pb2.py", "rg_pb2.py", "feder_pb2.py", "msg_pb2.py", "milvus_pb2.py"]


def fail(message):
    sys.exit(f"proto/generate.py: {message}")


def find_wheel(cache):
    """The pinned wheel in `cache`, downloaded if it isn't there."""
    path = os.path.join(cache, WHEEL)
    if not os.path.exists(path):
        os.makedirs(cache, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check",
                   "--dest", cache, PACKAGE]
        if subprocess.run(command, stdin=subprocess.DEVNULL).returncode != 0:
            fail(f"`{' '.join(command)}` failed: is pip installed (./dev install does it) and PyPI reachable? "
                 f"A wheel fetched by other means can be put at {path}")
        if not os.path.exists(path):
            fail(f"pip left no {path}")
    with open(path, "rb") as wheel:
        digest = hashlib.sha256(wheel.read()).hexdigest()
    if digest != SHA256:
        fail(f"{path} has sha256 {digest}, expected {SHA256}: remove it and run again")
    return path


def serialized_file(module, text):
    """The bytes that the module passes to AddSerializedFile()."""
    for node in ast.walk(ast.parse(text)):
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                and node.func.attr == "AddSerializedFile" and node.args and isinstance(node.args[0], ast.Constant)
                and isinstance(node.args[0].value, bytes)):
            return node.args[0].value
    fail(f"{module} has no AddSerializedFile(b'…')")


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", required=True, help="folder that keeps the downloaded wheel")
    parser.add_argument("--out", required=True, help="the descriptor set to write")
    parser.add_argument("--wheel", help="use this wheel instead of the pinned one")
    args = parser.parse_args()
    descriptor_set = bytearray()
    with zipfile.ZipFile(args.wheel or find_wheel(args.cache)) as wheel:
        for module in MODULES:
            data = serialized_file(module, wheel.read(FOLDER + module).decode())
            descriptor_set += b"\x0a" + varint(len(data)) + data  # FileDescriptorSet.file = 1
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    temporary = f"{args.out}.{os.getpid()}.tmp"
    with open(temporary, "wb") as out:
        out.write(descriptor_set)
    os.replace(temporary, args.out)


if __name__ == "__main__":
    main()
