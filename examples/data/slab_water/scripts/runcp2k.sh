#!/bin/bash
# Runs one CP2K job (1 core) in directory $1. CP2K_DATA_DIR must name the folder of basis sets and potentials;
# a serial OpenBLAS on LD_LIBRARY_PATH was about twice as fast as the threaded one.
cd "$1" || exit 1
: "${CP2K_DATA_DIR:?set it to the data folder of CP2K}"
export OMP_NUM_THREADS=1 OMPI_MCA_btl=self OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
exec cp2k.psmp -i c.inp -o c.out
