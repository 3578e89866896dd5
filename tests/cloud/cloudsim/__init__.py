"""A cloud for tests: moto, the behaviour of EC2 that moto lacks, real processes, and faults.

One process, one port. The API of AWS is at `/`, the controls are under `/_sim/`. See
`tests/cloud/README.md` for both, and for what is not simulated.
"""
