"""Cross-validated errors of the macro dipole for a list of susceptibilities."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from mace_smile.frozen.fit import HeadFitter, dipole_errors
from mace_smile.frozen.frames import FrozenFrames
from mace_smile.frozen.statistics import parabola_minimum
from mace_smile.frozen.store import Errors, ScanStore
from mace_smile.model.options import SmileOptions

#: The model of the user, and the simplest one: a fixed charge for each element.
SMILE, FIXED_CHARGES = "smile", "fixed charges"
#: Distances in chi from the minimum of a first list at which more values are tried.
REFINEMENT = (-0.1, -0.05, 0.0, 0.05, 0.1)
#: A list whose minimum is at its end goes on in such steps up to this value.
EXTENSION_STEP, LARGEST = 0.5, 6.0

BuildFitter = Callable[[SmileOptions], HeadFitter]


class CrossValidation:
    """Errors of frames whose fold was left out, for models that differ in chi.

    :param build: makes the fitter of a model from its options.
    :param options: of each compared model, by name.
    :param frames: all frames.
    :param folds: of the frames.
    :param store: of finished results.
    """

    def __init__(
        self,
        build: BuildFitter,
        options: dict[str, SmileOptions],
        frames: FrozenFrames,
        folds: Sequence[int],
        store: ScanStore,
    ) -> None:
        self.build = build
        self.options = options
        self.frames = frames
        self.folds = list(folds)
        self.store = store

    def run(self, susceptibilities: Sequence[float]) -> None:
        """Compute what the store does not have yet."""
        missing = [
            (name, chi, fold)
            for chi in susceptibilities
            for name in self.options
            for fold in sorted(set(self.folds))
            if (name, chi, fold) not in self.store.results
        ]
        fitter: tuple[tuple[str, float], HeadFitter] | None = None
        for name, chi, fold in tqdm(missing, desc="scan", unit="fit", disable=None):
            if fitter is None or fitter[0] != (name, chi):
                options = dataclasses.replace(self.options[name], susceptibility=chi)
                fitter = ((name, chi), self.build(options))
            train = [n for n, other in enumerate(self.folds) if other != fold]
            test = [n for n, other in enumerate(self.folds) if other == fold]
            model = fitter[1].fit(train)
            self.store.add(name, chi, fold, dipole_errors(model, self.frames, test))

    def errors(self, name: str, chi: float) -> Errors:
        """Errors of all frames, each from the model that has not seen its fold."""
        found: Errors = []
        for fold in sorted(set(self.folds)):
            found += self.store.results[name, chi, fold]
        return sorted(found)

    def mean_squares(self, name: str, susceptibilities: Sequence[float]) -> np.ndarray:
        """Mean squared error for each susceptibility, shape ``(n,)``, in e^2 A^2."""
        return np.array(
            [
                np.mean([error**2 for _, _, error in self.errors(name, chi)])
                for chi in susceptibilities
            ]
        )

    def run_refined(self, coarse: Sequence[float]) -> list[float]:
        """Run a first list, extend it until the minimum is inside, and refine around that.

        :return: all susceptibilities, in order.
        """
        values = sorted(coarse)
        self.run(values)
        while (
            values[-1] < LARGEST and np.argmin(self.mean_squares(SMILE, values)) > len(values) - 2
        ):
            values.append(values[-1] + EXTENSION_STEP)
            self.run(values[-1:])
        minimum = float(parabola_minimum(values, self.mean_squares(SMILE, values)))
        near = [round(0.05 * round((minimum + step) / 0.05), 2) for step in REFINEMENT]
        values = sorted({*values, *(chi for chi in near if chi > -0.9)})
        self.run(values)
        return values
