"""The results of sweeps beside the paper's: what the pages "Results" and "Studies" are made of."""
