"""Sign and order of the Born effective charges against labels, where a structure carries them.

Nothing else in a model tells the sign and the order of uncoupled Born charges: no force and no
dipole depends on them. With labels Y the charges Z as they are must not be worse than -Z and the
transpose are. How good they are is for ``mace_smile_eval_configs`` to say.
"""

import ase
import numpy as np

from mace_smile import quantities
from mace_smile.io.born_order import KEY, born_charges_of, has_born_charges
from mace_smile.selftest.finding import Finding, skipped
from mace_smile.selftest.settings import SelftestSettings
from mace_smile.selftest.subject import Subject

#: By how much the other sign or order may fit better, relative to its error: the noise of labels.
MARGIN = 1.05


def check_labels(subject: Subject, atoms: ase.Atoms, settings: SelftestSettings) -> list[Finding]:
    """Born charges as they are, with the other sign, and transposed, against labels."""
    name, quantity = "labels", "sign and order of Born charges"
    if not subject.options.has_born_charges:
        return [skipped(name, quantity, "the model has no Born effective charges")]
    if not has_born_charges(atoms, KEY):
        return [skipped(name, quantity, f"no labels '{KEY}', nine columns, field index first")]
    labels = born_charges_of(atoms)
    born = subject.evaluate(atoms)[quantities.BORN_EFFECTIVE_CHARGES].astype(float)
    candidates = {"as they are": born, "-Z": -born, "transposed": born.transpose(0, 2, 1)}
    errors = {
        text: float(np.sqrt(np.mean((tensors - labels) ** 2)))
        for text, tensors in candidates.items()
    }
    error = errors.pop("as they are")
    other = min(errors, key=lambda text: errors[text])
    note = f"allowed is {MARGIN:g} times the error of the best other one: {other}"
    return [Finding(name, quantity, "e", error, MARGIN * errors[other], note)]
