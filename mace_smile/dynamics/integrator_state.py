"""What an integrator of ASE knows beside positions and momenta: random numbers and chains."""

from typing import Any

import numpy as np
from ase.md.md import MolecularDynamics

from mace_smile.errors import UserError

#: Attributes that change in a run, by the class of the integrator; dots lead into its parts.
CHANGING: dict[str, tuple[str, ...]] = {
    "VelocityVerlet": (),
    "Langevin": ("rng",),
    "Andersen": ("rng",),
    "Bussi": ("rng", "transferred_energy"),
    "NVTBerendsen": (),
    "NoseHooverChainNVT": ("_q", "_p", "_thermostat._eta", "_thermostat._p_eta"),
}


def integrator_state(dynamics: MolecularDynamics) -> dict[str, Any]:
    """State of an integrator, which JSON can hold.

    :raises UserError: for an integrator that is not in the table.
    """
    name = type(dynamics).__name__
    if name not in CHANGING:
        raise UserError(
            f"a run with {name} cannot be resumed exactly; take one of {', '.join(CHANGING)}"
        )
    state: dict[str, Any] = {"class": name, "timestep": dynamics.dt, "step": dynamics.nsteps}
    for path in CHANGING[name]:
        owner, attribute = _owner(dynamics, path)
        value = getattr(owner, attribute)
        state[path] = _random_state(value) if attribute == "rng" else np.asarray(value).tolist()
    return state


def set_integrator_state(dynamics: MolecularDynamics, state: dict[str, Any]) -> None:
    """Bring an integrator where another one was.

    :raises UserError: for another integrator, time step or kind of random numbers.
    """
    for what, wanted, given in (
        ("integrator", state["class"], type(dynamics).__name__),
        ("time step", state["timestep"], dynamics.dt),
    ):
        if wanted != given:
            raise UserError(
                f"the run was started with the {what} {wanted} and is resumed with {given}; take "
                "the same, or begin a new run"
            )
    for path in CHANGING[state["class"]]:
        owner, attribute = _owner(dynamics, path)
        value = getattr(owner, attribute)
        if attribute == "rng":
            _set_random_state(value, state[path])
        elif isinstance(value, np.ndarray):
            value[...] = state[path]
        else:
            setattr(owner, attribute, state[path])
    dynamics.nsteps = state["step"]


def _owner(dynamics: MolecularDynamics, path: str) -> tuple[Any, str]:
    """The object that has the last attribute of a dotted path, and its name."""
    *parts, attribute = path.split(".")
    owner: Any = dynamics
    for part in parts:
        owner = getattr(owner, part)
    return owner, attribute


def _random_state(source: Any) -> dict[str, Any]:
    """State of random numbers: a Generator, a RandomState, or the module ``numpy.random``."""
    if isinstance(source, np.random.Generator):
        return {"kind": "Generator", "state": _plain(source.bit_generator.state)}
    return {"kind": "RandomState", "state": _plain(source.get_state(legacy=False))}


def _set_random_state(source: Any, stored: dict[str, Any]) -> None:
    is_generator = isinstance(source, np.random.Generator)
    given = "Generator" if is_generator else "RandomState"
    current = source.bit_generator.state if is_generator else source.get_state(legacy=False)
    kind = stored["state"]["bit_generator"]
    if stored["kind"] != given or kind != current["bit_generator"]:
        raise UserError(
            f"the run was started with random numbers {stored['kind']} ({kind}) and is resumed "
            f"with {given} ({current['bit_generator']}); give the integrator the same `rng`"
        )
    if is_generator:
        source.bit_generator.state = _with_arrays(stored["state"])
    else:
        source.set_state(_with_arrays(stored["state"]))


def _plain(value: Any) -> Any:
    """With lists in place of arrays, and plain numbers."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return {"uint": str(value.dtype), "values": value.tolist()}
    return value.item() if isinstance(value, np.generic) else value


def _with_arrays(value: Any) -> Any:
    """The inverse of :func:`_plain`."""
    if isinstance(value, dict):
        if set(value) == {"uint", "values"}:
            return np.array(value["values"], dtype=value["uint"])
        return {key: _with_arrays(part) for key, part in value.items()}
    return value
