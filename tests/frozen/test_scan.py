import json

import numpy as np
import pytest

from frozen_data import CHI, arguments, log_of, prepare, scan_arguments, slabs
from mace_smile.errors import UserError
from mace_smile.frozen import commands, cross_validation
from mace_smile.frozen.store import ScanStore
from mace_smile.model.files import load_model

LIST = ("--susceptibilities", "0", "0.25", "0.45", "0.5", "0.55", "0.8")


def test_scan_recovers_the_susceptibility_of_the_data_and_beats_fixed_charges(tmp_path):
    frames = slabs(4, 2)
    noise = np.random.default_rng(0).normal(scale=0.003, size=4)
    for number, atoms in enumerate(frames):
        atoms.info["REF_dipole"][2] += noise[number // 4]
    prepare(tmp_path, frames)
    result = commands.scan_susceptibility(scan_arguments(tmp_path, "--l2_dipoles=1e-4"))
    assert result.minimum.value == pytest.approx(CHI, abs=0.02)
    assert result.minimum.low <= result.minimum.value + 1e-9
    assert 0.0 < result.minimum.error < 0.05
    assert result.pairs.susceptibility == pytest.approx(CHI, abs=1e-6)
    assert result.pairs.n_geometries == 8
    assert result.smile0_ratio.value > 1.4
    assert result.best_rmse.value < 0.5 * result.best_fixed_rmse.value
    assert result.fixed_difference.high < 0.0
    model = load_model(tmp_path / "film.model")
    assert model.susceptibility_value() == pytest.approx(result.best)

    table = (tmp_path / "film_scan.csv").read_text().splitlines()
    assert [float(row.split(",")[0]) for row in table[1:]] == result.susceptibilities
    assert 0.0 in result.susceptibilities
    stored = json.loads((tmp_path / "film_scan.json").read_text())
    assert stored["minimum"]["error"] == result.minimum.error
    assert (tmp_path / "film_scan.png").stat().st_size > 1000
    assert "minimum at chi = 0.5" in log_of(tmp_path, "film_scan")


def test_interrupted_scan_goes_on_to_the_same_table(tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for directory in (whole, broken):
        directory.mkdir()
        prepare(directory, slabs(4, 1))
    commands.scan_susceptibility(scan_arguments(whole, *LIST, "--write_model=no"))

    add, n_added = ScanStore.add, 0

    def add_some(self, *args):
        nonlocal n_added
        n_added += 1
        if n_added > 7:
            raise KeyboardInterrupt
        add(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(ScanStore, "add", add_some)
        with pytest.raises(KeyboardInterrupt):
            commands.scan_susceptibility(scan_arguments(broken, *LIST, "--write_model=no"))
    path = broken / "film_scan.jsonl"
    path.write_text(path.read_text() + '{"model": "smile", "ch')  # a line cut by a kill
    runs = []
    errors = cross_validation.dipole_errors
    monkeypatch.setattr(
        cross_validation, "dipole_errors", lambda *args: runs.append(1) or errors(*args)
    )
    commands.scan_susceptibility(scan_arguments(broken, *LIST, "--write_model=no"))
    n_fits = len((whole / "film_scan.jsonl").read_text().splitlines()) - 1
    assert n_fits >= 2 * 4 * (len(LIST) - 1)  # two models, four folds
    assert len(runs) == n_fits - 7
    assert "Going on with 7 finished results" in log_of(broken, "film_scan")
    assert (whole / "film_scan.csv").read_text() == (broken / "film_scan.csv").read_text()
    minima = [json.loads((path / "film_scan.json").read_text()) for path in (whole, broken)]
    assert minima[0]["minimum"]["error"] == pytest.approx(minima[1]["minimum"]["error"])

    runs.clear()
    changed = scan_arguments(broken, *LIST, "--write_model=no", "--l2_dipoles=0.1")
    commands.scan_susceptibility(changed)
    assert len(runs) >= 2 * 4 * (len(LIST) - 1)
    assert "starting anew" in log_of(broken, "film_scan")


def test_frames_of_one_run_are_left_out_together(tmp_path):
    prepare(tmp_path)
    few = ("--susceptibilities", "0", "0.5", "1")
    commands.scan_susceptibility(scan_arguments(tmp_path, *few, "--folds=2", "--write_model=no"))
    lines = [json.loads(line) for line in (tmp_path / "film_scan.jsonl").read_text().splitlines()]
    frames = slabs()
    for line in lines[1:]:
        left_out = {frame for frame, _, _ in line["errors"]}
        runs = {frames[n].info["geometry_id"].split("_")[0] for n in left_out}
        assert len(runs) == 2
        assert len(left_out) == 12


def test_scan_without_a_scale_says_that_its_minimum_is_none(tmp_path):
    prepare(tmp_path, slabs(4, 1))
    flags = ("--susceptibilities", "0", "0.5", "1", "--write_model=no")
    commands.scan_susceptibility(scan_arguments(tmp_path, *flags))
    assert "is no susceptibility" not in log_of(tmp_path, "film_scan")
    given = ("--given_susceptibility", str(CHI))
    result = commands.scan_susceptibility(scan_arguments(tmp_path, *flags, *given))
    assert result.fixed_rmse == pytest.approx([result.fixed_rmse[0]] * 3, rel=1e-4)
    assert "The minimum is no susceptibility: nothing tells chi" in log_of(tmp_path, "film_scan")


def test_scan_tells_of_dipoles_with_the_wrong_sign(tmp_path):
    frames = slabs(4, 1)
    for atoms in frames:
        atoms.info["REF_dipole"] *= -1.0
    prepare(tmp_path, frames)
    flags = ("--susceptibilities", "0", "0.5", "1", "--write_model=no")
    result = commands.scan_susceptibility(scan_arguments(tmp_path, *flags))
    assert result.pairs.susceptibility == pytest.approx(-2.0 - CHI, abs=1e-6)
    assert "1 + chi is negative there" in log_of(tmp_path, "film_scan")


def _without_dipoles(frames):
    for atoms in frames:
        del atoms.info["REF_dipole"]
    return frames


def _open(frames):
    for atoms in frames:
        atoms.pbc = False
    return frames


def _thick(frames):
    for atoms in frames:
        atoms.cell[2, 2] = 11.0
    return frames


def _unnamed(frames):
    del frames[3].info["geometry_id"]
    return frames


@pytest.mark.parametrize(
    ("change", "flags", "message"),
    [
        (list, ("--folds=5",), "4 groups of frames but --folds 5"),
        (list, ("--susceptibilities", "0", "-1", "0.5"), "must be above -1"),
        (list, ("--susceptibilities", "0", "0.5"), "at least 3"),
        (list, ("--susceptibility=learned",), "the scan sets it"),
        (list, ("--group_pattern=x(.*)",), "--group_pattern 'x\\(.\\*\\)' does not match"),
        (list, ("--group_pattern=(",), "must be a regular expression"),
        (_unnamed, (), "frame 3 .* has no 'geometry_id'"),
        (_without_dipoles, (), "dipole"),
        (_open, (), "no training frame is a slab"),
        (_thick, (), "no vacuum gap"),
    ],
)
def test_errors_say_what_to_do(tmp_path, change, flags, message):
    prepare(tmp_path, change(slabs(4, 1)))
    with pytest.raises(UserError, match=message):
        commands.scan_susceptibility(scan_arguments(tmp_path, *flags))


def test_group_pattern_needs_a_key(tmp_path):
    prepare(tmp_path, slabs(1, 1))
    with pytest.raises(UserError, match="--group_pattern has no effect"):
        commands.scan_susceptibility(arguments(tmp_path, "--group_pattern=a"))


def test_default_groups_are_equal_positions(tmp_path):
    prepare(tmp_path, slabs(2, 2))
    few = ("--susceptibilities", "0", "0.5", "1")
    args = arguments(tmp_path, *few, "--bootstrap=20", "--write_model=no")
    result = commands.scan_susceptibility(args)
    assert (result.n_groups, result.n_folds) == (4, 4)
    assert np.isfinite(result.minimum.error)
