"""Water clusters and small bulk cells with Born charges from CP2K finite fields: inputs and job loop (one worker).

CP2K_DATA_DIR in the environment names the folder of basis sets and potentials."""
import os, sys, glob, subprocess, time, json
import numpy as np
HA, BOHR = 27.211386245988, 0.529177210903
EAU = 0.001  # field, a.u. (0.0514 V/A)
ROOT = os.environ.get("CLUSTER_ROOT", os.getcwd())
INP = """&GLOBAL
  PROJECT c
  RUN_TYPE ENERGY_FORCE
  PRINT_LEVEL MEDIUM
&END GLOBAL
&FORCE_EVAL
  METHOD QS
  &DFT
    BASIS_SET_FILE_NAME BASIS_MOLOPT
    POTENTIAL_FILE_NAME GTH_POTENTIALS
    {wfn}
    &QS
      EPS_DEFAULT 1.0E-10
    &END QS
    &MGRID
      CUTOFF 280
      REL_CUTOFF 40
      NGRIDS 5
    &END MGRID
    {field}
    &SCF
      SCF_GUESS {guess}
      EPS_SCF 5.0E-7
      MAX_SCF 40
      &OUTER_SCF
        MAX_SCF 5
        EPS_SCF 5.0E-7
      &END OUTER_SCF
      &OT
        MINIMIZER DIIS
        PRECONDITIONER FULL_SINGLE_INVERSE
      &END OT
      &PRINT
        &RESTART
          BACKUP_COPIES 0
          FILENAME ={out}.wfn
        &END RESTART
      &END PRINT
    &END SCF
    &XC
      &XC_FUNCTIONAL PBE
      &END XC_FUNCTIONAL
      &XC_GRID
        XC_DERIV NN10_SMOOTH
        XC_SMOOTH_RHO NN10
      &END XC_GRID
      &VDW_POTENTIAL
        POTENTIAL_TYPE PAIR_POTENTIAL
        &PAIR_POTENTIAL
          TYPE DFTD3
          PARAMETER_FILE_NAME dftd3.dat
          REFERENCE_FUNCTIONAL PBE
          R_CUTOFF 15.0
        &END PAIR_POTENTIAL
      &END VDW_POTENTIAL
    &END XC
    &PRINT
      &MOMENTS
        PERIODIC .TRUE.
        FILENAME ={out}.mom
      &END MOMENTS
    &END PRINT
  &END DFT
  &SUBSYS
    &CELL
      ABC {L:.6f} {L:.6f} {L:.6f}
    &END CELL
    &COORD
{coord}    &END COORD
    &KIND O
      BASIS_SET DZVP-MOLOPT-SR-GTH
      POTENTIAL GTH-PBE-q6
    &END KIND
    &KIND H
      BASIS_SET DZVP-MOLOPT-SR-GTH
      POTENTIAL GTH-PBE-q1
    &END KIND
  &END SUBSYS
  &PRINT
    &FORCES
      FILENAME ={out}.frc
    &END FORCES
  &END PRINT
&END FORCE_EVAL
"""
def run(d, out, pos, sym, L, e=None, guess="ATOMIC", wfn=None):
    field = ""
    if e is not None:
        field = "&PERIODIC_EFIELD\n      INTENSITY %.6f\n      POLARISATION %g %g %g\n    &END PERIODIC_EFIELD" % (EAU, *e)
    txt = INP.format(out=out, L=L, field=field, guess=guess, wfn="" if wfn is None else "WFN_RESTART_FILE_NAME %s.wfn" % wfn,
                     coord="".join("      %s %.8f %.8f %.8f\n" % (s, *p) for s, p in zip(sym, pos)))
    open(os.path.join(d, out + ".inp"), "w").write(txt)
    env = dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_btl="self", OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_hwloc_base_binding_policy="none")
    if os.environ.get("BLAS_DIR"): env["LD_LIBRARY_PATH"] = os.environ["BLAS_DIR"]
    t = time.time()
    subprocess.run(["cp2k.psmp", "-i", out + ".inp", "-o", out + ".out"], cwd=d, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.time() - t
BATCHES = {1: (5, 0, [2, 3, 4, 5, 6, 1, 3, 4]), 2: (15, 100, [7, 2, 8, 3, 5, 1, 6, 4])}  # seed, first number, sizes
def clusters(batch=1):
    seed, first, sizes = BATCHES[batch]
    rng = np.random.default_rng(seed); files = sorted(glob.glob(os.path.join(os.environ.get("SLAB_WATER_ROOT", "."), "md", "r*.npz"))); k = 0
    while True:
        d = np.load(files[k % len(files)]); s = rng.integers(len(d["pos"])); p = d["pos"][s][:54].reshape(18, 3, 3)
        n = sizes[k % 8]
        i = rng.integers(18); dx = p[:, 0] - p[i, 0]; sh = np.zeros_like(dx); sh[:, :2] = -np.round(dx[:, :2] / 7.8) * 7.8
        near = np.argsort(np.linalg.norm(dx + sh, axis=1))[:n]
        q = (p[near] + sh[near][:, None]).reshape(-1, 3); q -= q.mean(0)
        L = np.ceil(2 * (np.ptp(q, axis=0).max() + 8.0)) / 2
        yield first + k, q + L / 2, ["O", "H", "H"] * n, float(L)
        k += 1
if __name__ == "__main__":
    w, nw, tmax = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]); t0 = time.time()
    for k, q, sym, L in clusters(int(sys.argv[4]) if len(sys.argv) > 4 else 1):
        if time.time() - t0 > tmax: break
        if k % nw != w: continue
        d = os.path.join(ROOT, "c%03d" % k); os.makedirs(d, exist_ok=True)
        if os.path.exists(os.path.join(d, "done")): continue
        t = [run(d, "f0", q, sym, L)]
        for a in range(3):
            for s in (1, -1):
                e = [0, 0, 0]; e[a] = s
                t.append(run(d, "f%d%s" % (a, "p" if s > 0 else "m"), q, sym, L, e, "RESTART", "f0"))
        np.savez(os.path.join(d, "geo.npz"), pos=q, sym=sym, L=L); open(os.path.join(d, "done"), "w").write("ok")
        print(k, len(q), L, "t", [round(x, 1) for x in t], flush=True)
