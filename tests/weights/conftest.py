"""Tests that need PyTorch are left out where it is not installed; CI installs and runs them."""

import importlib.util

_NEED_TORCH = ["test_caffe.py", "test_readers_torch.py"]
collect_ignore = [] if importlib.util.find_spec("torch") else _NEED_TORCH
