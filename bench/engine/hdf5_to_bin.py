#!/usr/bin/env python3
"""Converts an ann-benchmarks HDF5 file for index_bench: hdf5_to_bin.py data.hdf5 out_dir

Writes train.f32, test.f32 and neighbors.i32. Each begins with two int32: rows, columns.
"""
import os
import sys

import h5py
import numpy as np


def write(path, array, dtype):
    array = np.ascontiguousarray(array, dtype=dtype)
    with open(path, "wb") as f:
        np.array(array.shape, dtype=np.int32).tofile(f)
        array.tofile(f)
    print(path, array.shape)


def main():
    source, out = sys.argv[1], sys.argv[2]
    os.makedirs(out, exist_ok=True)
    with h5py.File(source, "r") as f:
        print(dict(f.attrs), list(f.keys()))
        write(os.path.join(out, "train.f32"), f["train"][:], np.float32)
        write(os.path.join(out, "test.f32"), f["test"][:], np.float32)
        write(os.path.join(out, "neighbors.i32"), f["neighbors"][:], np.int32)


main()
