#!/usr/bin/env python
"""Sanity analysis of the collected data: eps_inf from same-geometry pairs, dipole vs
potential step, flatness of both vacua, basic statistics. Prints a summary (used in README).

usage: analyse.py FRAMES.xyz POTENTIAL.npz"""
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import numpy as np
from ase.io import read
from common import *

fr = read(sys.argv[1], ':')
P = np.load(sys.argv[2])
z, phi = P['z'], P['phi'].astype(float)
gid = np.array([a.info['geometry_id'] for a in fr]); q = np.array([a.info['wall_charge'] for a in fr])
mu = np.array([a.info['REF_dipole'][2] for a in fr]); step = np.array([a.info['mu_z_from_phi_step'] for a in fr])
print('frames', len(fr), 'geometries', len(set(gid)), 'wall charges', {float(x): int(n) for x, n in zip(*np.unique(q, return_counts=True))})
print('mu_z range %.3f %.3f std %.3f eA; |mu - mu_step| rms %.1e max %.1e eA' % (
    mu.min(), mu.max(), mu.std(), np.sqrt(((mu - step) ** 2).mean()), abs(mu - step).max()))
lo, hi = (z > 1.0) & (z < 2.0), (z > CELL[2] - 2) & (z < CELL[2] - .5)
print('vacuum flatness (peak-to-peak, V): bottom max %.1e, top max %.1e' % (np.ptp(phi[:, lo], axis=1).max(), np.ptp(phi[:, hi], axis=1).max()))
F = np.array([a.arrays['REF_forces'] for a in fr]); w = 3 * NW
print('force rms (eV/A): O %.3f H %.3f Ne %.3f; |F|max %.2f; |sum F| rms %.3f' % (
    np.sqrt((F[:, 0:w:3] ** 2).mean()), np.sqrt((np.delete(F[:, :w], np.s_[0:w:3], 1) ** 2).mean()),
    np.sqrt((F[:, w:] ** 2).mean()), abs(F).max(), np.sqrt((F.sum(1) ** 2).sum(-1).mean())))
E = np.array([a.info['REF_energy'] for a in fr]); print('energy range eV %.3f %.3f' % (E.min(), E.max()))
for k in ('REF_hirshfeld', 'REF_mulliken'):
    c = np.array([a.arrays[k] for a in fr])
    zz = np.array([a.positions[:, 2] for a in fr])
    m = (c * zz).sum(1)
    print(k, 'O %.3f H %.3f; sum_i q_i z_i vs mu: rmse %.3f eA, correlation %.3f' % (
        c[:, 0:w:3].mean(), np.delete(c[:, :w], np.s_[0:w:3], 1).mean(), np.sqrt(((m - mu) ** 2).mean()), np.corrcoef(m, mu)[0, 1]))
for k in ('REF_hirshfeld', 'REF_mulliken'):
    sl = []
    for g in dict.fromkeys(gid):
        ii = np.where(gid == g)[0]
        if len(ii) > 1:
            sl.append(np.polyfit(q[ii], [(fr[i].arrays[k] * fr[i].positions[:, 2]).sum() for i in ii], 1)[0])
    if sl:
        print('d(sum_i q_i z_i)/dQ from', k, '%.3f +- %.3f A' % (np.mean(sl), np.std(sl)))
# electronic response at fixed geometry
rows = []
for g in dict.fromkeys(gid):
    ii = np.where(gid == g)[0]
    for a in range(len(ii)):
        for b in range(a):
            i, j = ii[a], ii[b]
            dq = q[i] - q[j]
            if abs(dq) < 0.03:
                continue
            dE = dq * EPS0_INV / AREA
            gap = fr[i].info['wall_gap']
            dphi = phi[i] - phi[j]
            m = (z > CELL[2] / 2 - 3.0) & (z < CELL[2] / 2 + 3.0)
            s = np.polyfit(z[m], dphi[m], 1)[0]
            rows.append((g, dq, (mu[i] - mu[j]) / dq, -dE / s, gap))
r = np.array([x[1:] for x in rows], float)
if len(r):
    print('same-geometry pairs', len(r))
    print('d mu / dQ: mean %.4f std %.4f A  (bare, unscreened: -gap = %.3f / %.3f)' % (r[:, 1].mean(), r[:, 1].std(), -12.0, -12.375))
    sc = -r[:, 1] / r[:, 3]
    print('screening factor -(dmu/dQ)/gap: mean %.4f std %.4f -> effective eps_inf over the wall gap %.3f' % (sc.mean(), sc.std(), 1 / sc.mean()))
    print('eps_inf from slope of dphi within +-3 A of the film centre: mean %.3f std %.3f' % (r[:, 2].mean(), r[:, 2].std()))
    for gset in sorted(set(r[:, 3])):
        k = r[:, 3] == gset
        print('   gap %.4f: dmu/dQ %.4f +- %.4f, eps(slope) %.3f +- %.3f, n=%d' % (gset, r[k, 1].mean(), r[k, 1].std(), r[k, 2].mean(), r[k, 2].std(), k.sum()))
    # linearity on the geometry with the most charges
    g = max(dict.fromkeys(gid), key=lambda x: (gid == x).sum()); ii = np.where(gid == g)[0]
    c = np.polyfit(q[ii], mu[ii], 1); print('linearity', g, 'Q', q[ii], 'mu', mu[ii].round(5), 'slope %.4f' % c[0], 'max residual %.1e eA' % abs(np.polyval(c, q[ii]) - mu[ii]).max())
