"""Averages of profiles: over frames with an error, over a Gaussian, over macroscopic windows."""

from collections.abc import Sequence

import numpy as np


def block_error(values: np.ndarray, n_blocks: int) -> np.ndarray:
    """Standard error of the mean over frames, from means over blocks of successive frames.

    Frames of a trajectory that follow each other closely are not independent; blocks that are
    longer than their memory are.

    :param values: shape ``(n_frames, ...)``.
    :param n_blocks: number of blocks, at most one a frame.
    :return: shape ``(...)``, unit of ``values``; nan for a single block, which tells nothing.
    """
    n_blocks = min(n_blocks, len(values))
    if n_blocks < 2:
        return np.full(values.shape[1:], np.nan)
    means = np.stack([block.mean(axis=0) for block in np.array_split(values, n_blocks)])
    return means.std(axis=0, ddof=1) / np.sqrt(n_blocks)


def smooth(points: np.ndarray, values: np.ndarray, width: float) -> np.ndarray:
    """Values convolved with a Gaussian; outside they are what they are at the ends.

    :param points: evenly spaced, ascending, shape ``(n_points,)``, in A.
    :param values: shape ``(..., n_points)``.
    :param width: standard deviation of the Gaussian in A.
    :return: shape of ``values``.
    """
    spacing = (points[-1] - points[0]) / (len(points) - 1)
    reach = int(np.ceil(6.0 * width / spacing))
    kernel = np.exp(-0.5 * (spacing * np.arange(-reach, reach + 1) / width) ** 2)
    kernel /= kernel.sum()
    padded = np.concatenate(
        [np.repeat(values[..., :1], reach, -1), values, np.repeat(values[..., -1:], reach, -1)], -1
    )
    rows = padded.reshape(-1, padded.shape[-1])
    result = np.stack([np.convolve(row, kernel, mode="valid") for row in rows])
    return result.reshape(values.shape)


def macroscopic_average(
    points: np.ndarray, values: np.ndarray, windows: Sequence[float]
) -> np.ndarray:
    """Values averaged over one window, or over two, one after the other.

    A window as long as the period of the structure on one side of an interface removes
    its oscillation; two are for two materials.

    :param points: ascending, shape ``(n_points,)``, in A.
    :param values: shape ``(..., n_points)``; outside they are what they are at the ends.
    :param windows: full lengths in A.
    :return: shape of ``values``.
    """
    result = values
    for window in windows:
        half = 0.5 * window
        grid = np.concatenate([[points[0] - window], points, [points[-1] + window]])
        padded = np.concatenate([result[..., :1], result, result[..., -1:]], axis=-1)
        slabs = 0.5 * (padded[..., 1:] + padded[..., :-1]) * np.diff(grid)
        integral = np.concatenate(
            [np.zeros_like(padded[..., :1]), np.cumsum(slabs, axis=-1)], axis=-1
        )
        rows = [
            np.interp(points + half, grid, row) - np.interp(points - half, grid, row)
            for row in integral.reshape(-1, len(grid))
        ]
        result = np.stack(rows).reshape(values.shape) / window
    return result
