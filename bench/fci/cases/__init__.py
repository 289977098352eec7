"""The cases of `make fci`; bench/fci/case.py says how to add one."""
