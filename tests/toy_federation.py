"""Least squares by gradient descent, in numpy: a job that every runtime carries out alike."""

import os
import signal
import time
from collections.abc import Mapping, Sequence

import numpy as np

from tunescope.errors import Stopped

NAMES = ("ada", "bob", "cyd", "dan")
STEPS, RATE = 3, 0.05


class ToyClient:
    def __init__(self, name: str, trouble: Mapping[int, str]):
        index = NAMES.index(name)
        random = np.random.default_rng(index)
        self.x = random.standard_normal((8 + 4 * index, 3)).astype(np.float32)
        self.y = self.x @ np.array([1, -2, 0.5], np.float32) + np.float32(0.1 * index)
        self.trouble = trouble

    def fit(self, arrays, config):
        trouble = self.trouble.get(config["round"])
        if trouble == "raise":
            raise RuntimeError("no more disk")
        if trouble == "stop":
            raise Stopped
        if trouble == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if trouble == "hang":
            time.sleep(60)
        w, b = arrays["w"].copy(), arrays["b"].copy()
        for _ in range(STEPS):
            w -= np.float32(RATE) * (self.x.T @ self._error(w, b)) / np.float32(len(self.y))
            b -= np.float32(RATE) * self._error(w, b).mean(keepdims=True)
        w = {"nan": w * np.float32(np.nan), "shape": w[:2]}.get(trouble or "", w)
        metrics = {"loss": float(np.square(self._error(arrays["w"], arrays["b"])).mean())}
        return {"w": w, "b": b, "steps": arrays["steps"] + STEPS}, metrics, len(self.y)

    def evaluate(self, arrays, config):
        return {"loss": float(np.square(self._error(arrays["w"], arrays["b"])).mean())}, len(self.y)

    def _error(self, w, b):
        return self.x @ w + b - self.y


class Toy:
    def __init__(self, names: Sequence[str] = NAMES, trouble: Mapping[str, Mapping[int, str]] | None = None):
        self.clients = names
        self.trouble = trouble or {}

    def initial(self):
        return {"w": np.zeros(3, np.float32), "b": np.zeros(1, np.float32), "steps": np.array(0)}

    def client(self, name):
        return ToyClient(name, self.trouble.get(name, {}))
